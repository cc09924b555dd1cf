"""The canonical bytes of a tensor are those of `numpy.save`, and only those are read."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from proofml.tensors import (
    DTYPES,
    MAX_RANK,
    dtype_name,
    from_npy,
    nbytes,
    npy_header,
    same_bits,
    tensor_digest,
    to_npy,
)

SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)
ARRAYS = st.sampled_from(sorted(DTYPES)).flatmap(lambda name: hnp.arrays(DTYPES[name], SHAPES))


def saved(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@given(ARRAYS)
def test_bytes_of_numpy_save(array: Any) -> None:
    assert to_npy(array) == saved(array)
    assert tensor_digest(array) == hashlib.sha256(saved(array)).hexdigest()


@given(ARRAYS)
def test_round_trip(array: Any) -> None:
    name = dtype_name(array)
    assert name is not None
    back = from_npy(to_npy(array), name, array.shape)
    assert same_bits(back, array)
    assert back.shape == array.shape
    assert not back.flags.writeable
    assert np.array_equal(np.load(io.BytesIO(to_npy(array))), array, equal_nan=name != "bool")


@given(ARRAYS)
def test_layout_and_byte_order_do_not_matter(array: Any) -> None:
    for twin in (
        np.array(array, order="F"),
        array.astype(array.dtype.newbyteorder(">")),
        np.stack([array, array], axis=-1)[..., 0],
    ):
        assert tensor_digest(twin) == tensor_digest(array)


@given(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 2**40), max_size=MAX_RANK))
def test_header_of_any_shape(name: str, shape: list[int]) -> None:
    """The header is computed without making the array, also where it would not fit in memory."""
    header = npy_header(name, shape)
    assert len(header) % 64 == 0
    assert header.endswith(b"\n")
    assert nbytes(name, shape) == int(np.dtype(DTYPES[name]).itemsize) * _product(shape)


def _product(shape: list[int]) -> int:
    result = 1
    for side in shape:
        result *= side
    return result


@given(ARRAYS, st.data())
def test_one_changed_byte(array: Any, data: st.DataObject) -> None:
    """Another header is refused; other elements are another tensor."""
    body = bytearray(to_npy(array))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    name = str(dtype_name(array))
    try:
        back = from_npy(bytes(body), name, array.shape)
    except ValueError:
        return
    assert at >= len(npy_header(name, array.shape))
    assert not same_bits(back, array)


@given(
    st.binary(max_size=200),
    st.sampled_from(sorted(DTYPES)),
    st.lists(st.integers(0, 4), max_size=3),
)
def test_any_bytes(data: bytes, name: str, shape: list[int]) -> None:
    try:
        array = from_npy(data, name, shape)
    except ValueError:
        return
    assert to_npy(array) == data


def test_refusals() -> None:
    body = to_npy(np.zeros(3, np.float32))
    for wrong in (
        body[:-1],
        body + b"\0",
        b"",
        b"\x80\x04pickle",
        body.replace(b"False", b"True "),
    ):
        with pytest.raises(ValueError, match=r"expected|header"):
            from_npy(wrong, "float32", (3,))
    with pytest.raises(ValueError, match="expected"):
        from_npy(body, "float32", (4,))
    with pytest.raises(ValueError, match="header"):
        from_npy(body, "int32", (3,))
    with pytest.raises(ValueError, match="expected"):
        from_npy(body, "float32", (2**40,) * 32)


def test_bool_holds_no_other_bytes() -> None:
    body = bytearray(to_npy(np.array([True, False])))
    body[-1] = 2
    with pytest.raises(ValueError, match="bool"):
        from_npy(bytes(body), "bool", (2,))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(1, np.complex64),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array([object()]),
        np.zeros(1, [("a", "f4")]),
        np.zeros(1, "datetime64[s]"),
        np.zeros(1, np.longdouble),
    ],
)
def test_no_exact_form(array: Any) -> None:
    assert dtype_name(array) is None
    with pytest.raises(ValueError, match="no canonical form"):
        to_npy(array)


def test_same_bits() -> None:
    zero, minus, nan = (np.array([v], np.float32) for v in (0.0, -0.0, np.nan))
    assert same_bits(nan, nan.copy())
    assert not same_bits(zero, minus)
    assert not same_bits(zero, zero.astype(np.float64))
    assert not same_bits(zero, zero[np.newaxis])
