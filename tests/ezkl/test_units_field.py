"""Field elements, the proof section and the record: what is read, and what is refused."""

from __future__ import annotations

import json
import struct

import ezkl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.errors import VerificationError
from proofml.fields import FieldError
from proofml.statement import Computation
from proofml.tensors import Array
from proofml.zkml.ezkl.evidence import MAGIC, ProofBlob
from proofml.zkml.ezkl.fidelity import measure
from proofml.zkml.ezkl.field import R, decode, dequantise, encode, is_canonical, quantise
from proofml.zkml.ezkl.params import KIND
from proofml.zkml.ezkl.record import Record

TYPES = {
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "Int": np.int64,
    "Bool": np.bool_,
}


def samples(dtype: type) -> Array:
    """A thousand numbers: ordinary, large, tiny, negative, and exact halves of a step."""
    rng = np.random.default_rng(5)
    if dtype is np.bool_:
        return np.array([False, True])
    if dtype is np.int64:
        return rng.integers(-(2**40), 2**40, size=1000)
    halves = (rng.integers(-2000, 2000, size=300) + 0.5) / 2**7
    wide = rng.normal(size=100) * (100 if dtype is np.float16 else 1e6)
    tiny = rng.normal(size=100) * 2.0**-9
    return np.concatenate([rng.normal(size=500), halves, wide, tiny]).astype(dtype)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("scale", [0, 7, 12])
def test_quantise_is_ezkls_rule(kind: str, scale: int) -> None:
    """Element by element, ties and signs included."""
    array = samples(TYPES[kind])
    used = 0 if kind in ("Int", "Bool") else scale
    ours = [encode(value).hex() for value in quantise(array, used)]
    theirs = [
        ezkl.float_to_felt(float(value), used, getattr(ezkl.PyInputType, kind)) for value in array
    ]
    assert ours == theirs


def test_halves_go_away_from_zero() -> None:
    values = np.array([0.5, 1.5, -0.5, -1.5, 0.49999997, -0.0], np.float32)
    assert quantise(values, 0) == [1, 2, -1, -2, 0, 0]


@pytest.mark.parametrize(
    "value", [np.nan, np.inf, -np.inf, 2.0**127, -(2.0**127), 1.7e308, 2.0**120]
)
def test_numbers_without_a_fixed_point_form(value: float) -> None:
    with pytest.raises(ValueError, match=r"magnitude|NaN"):
        quantise(np.array([0.0, value]), 7)


@given(st.integers(-(R // 2), R // 2))
def test_elements_round_trip(value: int) -> None:
    element = encode(value)
    assert is_canonical(element)
    assert decode(element) == value


@pytest.mark.parametrize(
    "element", [R.to_bytes(32, "little"), b"\xff" * 32, bytes(31), bytes(33), b""]
)
def test_no_element(element: bytes) -> None:
    assert not is_canonical(element)


def test_dequantise_undoes_quantise() -> None:
    for dtype in (np.float32, np.float64):
        array = (np.random.default_rng(3).integers(-(2**20), 2**20, size=(3, 4)) / 2**7).astype(
            dtype
        )
        back = dequantise(quantise(array, 7), 7, array.dtype.name, array.shape)
        assert back.dtype == array.dtype
        assert (back == array).all()


@pytest.mark.parametrize(
    ("values", "scale", "dtype"),
    [
        ([3], 1, "int64"),
        ([2], 0, "bool"),
        ([-1], 0, "uint8"),
        ([256], 0, "uint8"),
        ([1 << 70], 0, "int64"),
    ],
)
def test_integers_that_the_type_cannot_hold(values: list[int], scale: int, dtype: str) -> None:
    with pytest.raises(ValueError, match=r"whole|outside"):
        dequantise(values, scale, dtype, (1,))


def test_integers_at_a_scale() -> None:
    assert dequantise([-256, 0, 128], 7, "int64", (3,)).tolist() == [-2, 0, 1]
    assert dequantise([0, 1], 0, "bool", (2,)).tolist() == [False, True]


# -- the section ----------------------------------------------------------------------------------

ELEMENTS = st.integers(0, R - 1).map(lambda value: value.to_bytes(32, "little"))


@given(st.lists(ELEMENTS, max_size=5), st.binary(max_size=200))
def test_section_round_trip(instances: list[bytes], transcript: bytes) -> None:
    blob = ProofBlob(tuple(instances), transcript)
    assert ProofBlob.unpack(blob.pack()) == blob
    told = json.loads(blob.to_ezkl())
    assert ProofBlob.from_ezkl(told) == blob


@given(st.binary(max_size=300), st.sampled_from([b"", MAGIC, MAGIC + struct.pack("<I", 1)]))
def test_section_of_any_bytes(data: bytes, head: bytes) -> None:
    """One content has one form: what is read is written alike; the rest is ezkl.7."""
    try:
        blob = ProofBlob.unpack(head + data)
    except VerificationError as error:
        assert error.check == "ezkl.7"  # noqa: PT017
    else:
        assert blob.pack() == head + data


# -- the record -----------------------------------------------------------------------------------

DETAIL = {
    "ezkl": "23.0.5",
    "settings_sha256": "1" * 64,
    "verifying_key_sha256": "2" * 64,
    "srs_sha256": "3" * 64,
    "srs_k": 8,
    "parameters": "fixed",
    "parameters_commitment": None,
}
ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=70), st.just([]))


def test_record_is_read() -> None:
    record = Record.read(Computation(KIND, DETAIL))
    assert (record.srs_k, record.parameters, record.commitment) == (8, "fixed", None)
    hashed = {**DETAIL, "parameters": "hashed", "parameters_commitment": "ab" * 32}
    assert Record.read(Computation(KIND, hashed)).commitment == b"\xab" * 32


@pytest.mark.parametrize("key", DETAIL)
def test_record_needs_every_key(key: str) -> None:
    with pytest.raises(FieldError, match=key):
        Record.read(Computation(KIND, {k: v for k, v in DETAIL.items() if k != key}))


@given(st.sampled_from(sorted(DETAIL)), ANYTHING)
def test_record_of_any_values(key: str, value: object) -> None:
    try:
        record = Record.read(Computation(KIND, {**DETAIL, key: value}))  # type: ignore[dict-item]
    except FieldError:
        return
    assert (record.parameters == "hashed") == (record.commitment is not None)


# -- fidelity -------------------------------------------------------------------------------------


def test_fidelity_of_equal_outputs() -> None:
    same = {"y": np.array([[1.0, 2.0]], np.float32)}
    found = measure(same, same)
    assert (found.max_error, found.argmax) == (0.0, True)


def test_fidelity_names_the_worst() -> None:
    proven = {"y": np.array([[1.0, 2.0]], np.float32), "z": np.array(5, np.int64)}
    wanted = {"y": np.array([[1.5, 1.25]], np.float32), "z": np.array(9, np.int64)}
    found = measure(proven, wanted)
    assert (found.max_error, found.argmax) == (4.0, False)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_fidelity_of_no_number(value: float) -> None:
    """What cannot be compared is infinitely far."""
    wanted = {"y": np.array([[value]], np.float32)}
    assert measure({"y": np.array([[0.0]], np.float32)}, wanted).max_error == np.inf
