"""Codecs against onnxruntime's kernels, and their edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from proofml.circuits.codec import decode_output, encode_input, encode_output
from proofml.circuits.functions import bits_of
from proofml.circuits.graph import Codec, Port

RANGES = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767)}
TINY = float(np.float32(1.2e-38))
SCALES = (0.1, 1.0, 1 / 3, 0.007843138, 2.0**-20, 3.0e30, 1e-30, TINY)


def port(kind: str, codec: Codec | None = None, shape: tuple[int, ...] = (4,), **more: Any) -> Port:
    values = {"dtype": "float32", "scale": bits_of(0.5), "zero_point": 3, "low": 0, "high": 255}
    return Port("t", shape, 0, codec or Codec(kind, **{**values, **more}))


def run(operator: str, dtype: str, x: np.ndarray, scale: np.float32, zero_point: int) -> np.ndarray:
    import onnxruntime

    element = TensorProto.DataType.Value(dtype.upper())
    ends = (TensorProto.FLOAT, element) if operator == "QuantizeLinear" else (element, 1)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "s", "z"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", ends[0], ["n"])],
        [helper.make_tensor_value_info("y", ends[1], ["n"])],
        [
            helper.make_tensor("s", TensorProto.FLOAT, [], [scale]),
            helper.make_tensor("z", element, [], [zero_point]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    result: np.ndarray = session.run(None, {"x": x})[0]
    return result


def edges(scale: np.float32, zero_point: int, low: int, high: int) -> np.ndarray:
    """Ties and their neighbours, signed zeros, subnormals, the largest floats, any bits."""
    rng = np.random.default_rng(0)
    codes = np.arange(low - zero_point - 3, high - zero_point + 4, dtype=np.float64)[:70_000]
    ties = ((codes + 0.5) * np.float64(scale)).astype(np.float32)
    any_bits = rng.integers(0, 1 << 32, 60_000, dtype=np.uint32).view(np.float32)
    spread = (rng.uniform(-1.5, 1.5, 60_000) * 65536 * np.float64(scale)).astype(np.float32)
    small = (rng.normal(0, 200, 60_000) * np.float64(scale)).astype(np.float32)
    largest = np.finfo(np.float32).max
    special = np.array([0.0, -0.0, 1e-45, -1e-45, TINY, largest, -largest], np.float32)
    up, down = np.float32(np.inf), np.float32(-np.inf)
    every = np.concatenate(
        [ties, np.nextafter(ties, up), np.nextafter(ties, down), any_bits, spread, small, special]
    )
    return every[np.isfinite(every)]


@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.filterwarnings("ignore:overflow")
def test_quantise_and_dequantise_are_those_of_onnxruntime(dtype: str) -> None:
    pytest.importorskip("onnxruntime")
    low, high = RANGES[dtype]
    tried = 0
    for i, number in enumerate(SCALES):
        scale = np.float32(number)
        zero_point = (low, high, (low + high + 1) // 2, low + 7)[i % 4]
        x = edges(scale, zero_point, low, high)
        there = run("QuantizeLinear", dtype, x, scale, zero_point)
        codec = Codec("quantise", "float32", bits_of(scale), zero_point, low, high)
        here = encode_input(port("", codec, x.shape), x)
        np.testing.assert_array_equal(here + zero_point, there.astype(np.int64))
        tried += len(x)

        codes = np.arange(low, high + 1).astype(dtype)
        floats = run("DequantizeLinear", dtype, codes, scale, zero_point)
        codec = Codec("dequantise", "float32", bits_of(scale), zero_point, low, high)
        output = port("", codec, codes.shape)
        centred = codes.astype(np.int64) - zero_point
        mine = decode_output(output, centred)
        np.testing.assert_array_equal(mine.view(np.uint32), floats.view(np.uint32))
        np.testing.assert_array_equal(encode_output(output, floats), centred)
    assert tried > 1_000_000


def test_every_other_float_is_refused_as_an_output() -> None:
    output = port("dequantise", shape=(1,), scale=bits_of(1 / 3))
    exact = [decode_output(output, np.array([code])) for code in range(-3, 253)]
    neighbours = [np.nextafter(e, np.float32(to)) for e in exact for to in (-np.inf, np.inf)]
    for wrong in (*neighbours, *(-e for e in exact if e > 1)):
        with pytest.raises(ValueError, match="no dequantised code"):
            encode_output(output, wrong)


@pytest.mark.parametrize("value", [-0.0, np.nan, np.inf, -np.inf, 0.25, 300.0, -300.0, 1e-45])
def test_floats_that_are_no_code(value: float) -> None:
    with pytest.raises(ValueError, match="no dequantised code"):
        encode_output(port("dequantise"), np.array([0, 0.5, value, 1], np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_input_that_is_not_finite_has_no_code(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        encode_input(port("quantise"), np.array([0, 1, 2, value], np.float32))


def test_codes_lose_their_zero_point_and_get_it_back() -> None:
    both = port("codes", dtype="uint8", scale=0, zero_point=128)
    codes = np.array([0, 127, 128, 255], np.uint8)
    np.testing.assert_array_equal(encode_input(both, codes), [-128, -1, 0, 127])
    np.testing.assert_array_equal(encode_output(both, codes), [-128, -1, 0, 127])
    back = decode_output(both, np.array([-128, -1, 0, 127]))
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, codes)


def test_wide_integers_are_not_cut() -> None:
    wide = port("codes", dtype="uint64", scale=0, zero_point=0, high=9)
    with pytest.raises(ValueError, match="expected 0 to 9"):
        encode_input(wide, np.array([0, 1, 2, 2**64 - 1], np.uint64))
    index = port("codes", dtype="int64", scale=0, zero_point=0, high=9)
    assert decode_output(index, np.array([0, 1, 2, 9])).dtype == np.int64
    with pytest.raises(ValueError, match="expected 0 to 9"):
        decode_output(index, np.array([0, 1, 2, 10]))


@pytest.mark.parametrize("array", [np.zeros(3, np.float32), np.zeros(4), np.zeros(4, np.int8)])
def test_shape_and_dtype_are_those_of_the_port(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        encode_input(port("quantise"), array)
    with pytest.raises(ValueError, match="expected"):
        encode_output(port("dequantise"), array)


def test_inputs_and_outputs_have_codecs_of_their_own() -> None:
    with pytest.raises(ValueError, match="one of outputs"):
        encode_input(port("dequantise"), np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="one of inputs"):
        encode_output(port("quantise"), np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="one of inputs"):
        decode_output(port("quantise"), np.zeros(4, np.int64))


def test_rank_0_stays_rank_0() -> None:
    scalar = port("dequantise", shape=())
    value = decode_output(scalar, np.array(5))
    assert np.asarray(value).shape == ()
    assert encode_output(scalar, np.asarray(value)).shape == ()
    assert encode_input(port("quantise", shape=()), np.array(1.5, np.float32)).shape == ()
