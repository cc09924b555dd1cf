"""Tensors as evidence: one canonical byte string and one digest for each value.

The canonical bytes of a tensor are the bytes of a `.npy` file of format version 1.0 (NumPy
NEP 1): little-endian, C order, header padded with spaces to a multiple of 64. So the digest in
a Statement is what `sha256sum` prints for the file that `numpy.save` writes, and an extracted
tensor opens anywhere. A reader never parses a header: it builds the one that the claimed dtype
and shape demand and compares bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.canonical import sha256

Array: TypeAlias = NDArray[Any]

#: Element types that have an exact `.npy` form, by the name used in Statements.
DTYPES: dict[str, str] = {
    "bool": "|b1",
    "int8": "|i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "uint8": "|u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
}

MAX_RANK = 32
MAX_TENSOR_BYTES = 1 << 30

#: `numpy.save` leaves room for the first axis to grow to this many digits.
_GROWTH_DIGITS = 21
_MAGIC = b"\x93NUMPY\x01\x00"


def dtype_name(array: Array) -> str | None:
    """The Statement's name of the array's element type; None where it has no exact form."""
    name = array.dtype.newbyteorder("=").name
    return name if name in DTYPES else None


def nbytes(dtype: str, shape: Sequence[int]) -> int:
    """Size of the raw data in bytes, computed without overflow."""
    return np.dtype(DTYPES[dtype]).itemsize * math.prod(shape)


def npy_header(dtype: str, shape: Sequence[int]) -> bytes:
    """The exact header bytes that `numpy.save` (1.26 and later) writes."""
    dims = "(" + ", ".join(str(dim) for dim in shape) + ("," if len(shape) == 1 else "") + ")"
    text = f"{{'descr': '{DTYPES[dtype]}', 'fortran_order': False, 'shape': {dims}, }}"
    if shape:
        text += " " * (_GROWTH_DIGITS - len(str(shape[0])))
    fill = 64 - (len(_MAGIC) + 2 + len(text) + 1) % 64
    body = (text + " " * fill + "\n").encode("latin-1")
    return _MAGIC + len(body).to_bytes(2, "little") + body


def to_npy(array: Array) -> bytes:
    """Canonical bytes of `array` (any shape; a dtype of `DTYPES`).

    Raises:
        ValueError: the dtype has no exact form.
    """
    name = dtype_name(array)
    if name is None:
        raise ValueError(f"dtype {array.dtype} has no canonical form; known: {', '.join(DTYPES)}")
    data = np.asarray(array, dtype=np.dtype(DTYPES[name])).tobytes(order="C")
    return npy_header(name, array.shape) + data


def from_npy(data: bytes, dtype: str, shape: Sequence[int]) -> Array:
    """Read canonical bytes of a tensor whose dtype and shape are already known.

    Returns a read-only array that shares memory with `data`.

    Raises:
        ValueError: the bytes are not exactly header + data of that dtype and shape.
    """
    header = npy_header(dtype, shape)
    if len(data) != len(header) + nbytes(dtype, shape):
        raise ValueError(
            f"expected {len(header) + nbytes(dtype, shape)} bytes for {dtype}{list(shape)}, "
            f"got {len(data)}"
        )
    if data[: len(header)] != header:
        raise ValueError(f"the .npy header is not the one of {dtype}{list(shape)}")
    flat = np.frombuffer(data, dtype=np.dtype(DTYPES[dtype]), offset=len(header))
    if dtype == "bool" and flat.size and int(flat.view(np.uint8).max()) > 1:
        raise ValueError("a bool tensor holds bytes other than 0 and 1")
    return flat.reshape(tuple(shape))


def tensor_digest(array: Array) -> str:
    """SHA-256 of the canonical bytes."""
    return sha256(to_npy(array))


def same_bits(left: Array, right: Array) -> bool:
    """Equal dtype, shape and bits (NaN equals the same NaN; -0.0 differs from 0.0)."""
    return left.dtype == right.dtype and left.shape == right.shape and to_npy(left) == to_npy(right)
