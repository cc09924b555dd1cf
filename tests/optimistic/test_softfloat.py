"""softfloat: against NumPy, against `Requant`, and against onnxruntime's integer kernels."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from proofml.circuits.functions import Requant
from proofml.optimistic import softfloat

from . import requant_cases

COUNT = 1_000_000
FINITE = st.one_of(
    st.integers(0, (1 << 32) - 1).filter(lambda bits: bits & 0x7F800000 != 0x7F800000),
    # Subnormal numbers and their neighbours, of both signs.
    st.builds(lambda low, sign: low | sign << 31, st.integers(0, 0x01000000), st.integers(0, 1)),
)


def bits(value: np.float32) -> int:
    return int(value.view(np.uint32))


def number(value: int) -> np.float32:
    return np.uint32(value).view(np.float32)


def tied(product: NDArray[np.float32]) -> int:
    """How many lie in the middle between two integers."""
    return int((np.abs(product[np.isfinite(product)] % 1) == 0.5).sum())


@given(st.integers(-(1 << 63), (1 << 63) - 1))
@example((1 << 24) + 1)
@example((1 << 24) + 3)
@example(-(1 << 63))
@example((1 << 63) - 1)
def test_from_int(value: int) -> None:
    assert softfloat.from_int(value) == bits(np.array([value], np.int64).astype(np.float32)[0])


def test_from_int_overflows() -> None:
    largest = (1 << 128) - (1 << 104)
    assert softfloat.from_int(largest) == 0x7F7FFFFF
    assert softfloat.from_int(largest + (1 << 103) - 1) == 0x7F7FFFFF
    assert softfloat.from_int(largest + (1 << 103)) == 0x7F800000
    assert softfloat.from_int(-(1 << 200)) == 0xFF800000


@settings(max_examples=2000)
@given(FINITE, FINITE)
@example(0x7F7FFFFF, 0x7F7FFFFF)
@example(0x00800000, 0x3F000000)  # the largest subnormal's neighbour, halved
@example(0x00000001, 0x3F000000)  # a tie that rounds to zero
@example(0x00000003, 0x3F000000)
@example(0x00FFFFFF, 0x3F000000)  # rounds up from the subnormal numbers to the normal ones
@example(0x80000000, 0x3F800000)
def test_multiply(a: int, b: int) -> None:
    with np.errstate(all="ignore"):
        assert softfloat.multiply(a, b) == bits(number(a) * number(b))


@given(FINITE)
@example(0x3F000000)
@example(0x3FC00000)
@example(0xBF000000)
@example(0x4B000001)
def test_to_int(value: int) -> None:
    assert softfloat.to_int(value) == int(np.rint(number(value)))


def test_no_numbers() -> None:
    assert softfloat.to_int(0x7F800000) == softfloat.BEYOND
    assert softfloat.to_int(0xFF800000) == -softfloat.BEYOND
    with pytest.raises(ValueError, match="expected a finite number, got bits 0x7fc00000"):
        softfloat.to_int(0x7FC00000)
    with pytest.raises(ValueError, match="expected a finite number"):
        softfloat.multiply(0x3F800000, 0x7F800000)


@pytest.mark.parametrize("scale", [0, 1, 0x007FFFFF, 0x7F800000, 0x80800000, 0xFFFFFFFF])
def test_scales_that_no_model_has(scale: int) -> None:
    with pytest.raises(ValueError, match="positive normal scale"):
        softfloat.requantise(1, scale, -128, 127)


def test_a_range_upside_down() -> None:
    with pytest.raises(ValueError, match="a range"):
        softfloat.requantise(1, 0x3F800000, 1, 0)


def test_requantise_like_requant() -> None:
    """10^6 cases, ties and saturation among them in numbers."""
    given_ = requant_cases.cases(COUNT, 1)
    with np.errstate(over="ignore"):
        expected = given_.expected()
        product = given_.state.astype(np.float32) * given_.scale.view(np.float32)
    assert tied(product) > COUNT // 50
    assert int((product > given_.high).sum()) > COUNT // 10, "saturated above"
    assert int((product < given_.low).sum()) > COUNT // 10, "saturated below"
    assert int((np.abs(given_.state) > 1 << 24).sum()) > COUNT // 10, "conversions that round"
    # Real arithmetic, rounded once, is another function: what a careless twin would compute.
    real = given_.state * given_.scale.view(np.float32).astype(np.float64)
    real = np.rint(np.clip(real, given_.low, given_.high)).astype(np.int64)
    assert int((real != expected).sum()) > COUNT // 1000
    found = [
        softfloat.requantise(*case)
        for case in zip(
            given_.state.tolist(),
            given_.scale.tolist(),
            given_.low.tolist(),
            given_.high.tolist(),
            strict=True,
        )
    ]
    assert np.array_equal(found, expected)


@given(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(0x00800000, 0x7F7FFFFF),
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(-(1 << 31), (1 << 31) - 1),
)
def test_requantise_whatever_a_record_says(state: int, scale: int, low: int, high: int) -> None:
    low, high = sorted((low, high))
    with np.errstate(over="ignore"):
        expected = int(Requant(scale, low, high).evaluate(np.array([state], np.int64))[0])
    assert softfloat.requantise(state, scale, low, high) == expected


# ---------------------------------------------------------------- onnxruntime
#: So many bytes of 127 add up to every state of the test below.
TERMS = 560
ROWS, GROUPS = 1000, 500
BOUND = 1 << 24


def kernel(out: type[np.signedinteger | np.unsignedinteger], zero: int, groups: int) -> bytes:
    """QLinearMatMul of one row for each state by the columns +-(127, ..., 127, 1)."""
    column = np.concatenate([np.full(TERMS, 127, np.int8), np.ones(1, np.int8)])
    weights = np.stack([column, -column], axis=1)
    names = ["a", "one", "least", "b", "scale", "none", "one", "zero"]
    codes = helper.np_dtype_to_tensor_dtype(np.dtype(out))
    constants = [
        helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("least", codes, [], [np.iinfo(out).min]),
        helper.make_tensor("none", TensorProto.INT8, [], [0]),
        helper.make_tensor("zero", codes, [], [zero]),
        helper.make_tensor("b", TensorProto.INT8, weights.shape, weights.tobytes(), raw=True),
    ]
    graph = helper.make_graph(
        [helper.make_node("QLinearMatMul", names, ["y"])],
        "requantise",
        [
            helper.make_tensor_value_info("a", codes, [groups, TERMS + 1]),
            helper.make_tensor_value_info("scale", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info("y", codes, [groups, 2])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def rows_of(states: NDArray[np.int64]) -> NDArray[np.uint8]:
    """For each state s >= 0 bytes whose product with (127, ..., 127, 1) is s."""
    bytes_, rest = np.divmod(states, 127)
    whole, part = np.divmod(bytes_, 255)
    place = np.arange(TERMS)[None, :]
    found = np.where(place < whole[:, None], 255, 0)
    found = np.where(place == whole[:, None], part[:, None], found)
    return np.concatenate([found, rest[:, None]], axis=1).astype(np.uint8)


@pytest.mark.parametrize(("out", "zero"), [(np.int8, 0), (np.uint8, 117)])
def test_requantise_like_onnxruntime(out: type[np.int8 | np.uint8], zero: int) -> None:
    """10^6 states in all, half near ties of 500 scales each, and their opposites."""
    session = onnxruntime.InferenceSession(
        kernel(out, zero, ROWS), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(zero)
    scales = requant_cases.scales(rng, GROUPS // 2)
    info = np.iinfo(out)
    low, high = int(info.min) - zero, int(info.max) - zero
    ties = 0
    for scale in scales:
        repeated = np.repeat(scale, ROWS)
        states = np.abs(requant_cases.near_halves(rng, repeated, BOUND))
        states[ROWS // 2 :] = rng.integers(0, BOUND, ROWS - ROWS // 2)
        codes = (rows_of(states).astype(np.int64) + info.min).astype(out)
        given_ = {"a": codes, "scale": np.array(scale).view(np.float32)}
        made = session.run(None, given_)[0].astype(np.int64) - zero
        with np.errstate(over="ignore"):
            ties += tied(states.astype(np.float32) * number(int(scale)))
        for column, sign in enumerate((1, -1)):
            found = [softfloat.requantise(sign * s, int(scale), low, high) for s in states.tolist()]
            assert np.array_equal(found, made[:, column]), hex(int(scale))
    assert ties > ROWS * GROUPS // 200
