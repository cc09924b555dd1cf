"""BN254's scalar field as EZKL uses it: quantised numbers to field elements and back.

EZKL quantises a real x at scale s to round(x * 2^s), halves away from zero, after rounding x to
float32 where the tensor is float32 or float16. Integers and booleans have scale 0. A negative
number v is the field element r - |v|. Elements are written as 32 bytes, little-endian, < r.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from proofml.tensors import Array

#: Order of the scalar field of BN254 (EIP-197).
R = 0x30644E72E131A029B85045B68181585D2833E84879B9709143E1F593F0000001
BYTES = 32
#: EZKL's integers are i128.
MAX_BITS = 127


def encode(value: int) -> bytes:
    """A signed integer as a canonical element; |value| must be below r / 2."""
    return (value % R).to_bytes(BYTES, "little")


def decode(element: bytes) -> int:
    """A canonical element as an integer in (-r/2, r/2)."""
    value = int.from_bytes(element, "little")
    return value - R if value > R // 2 else value


def is_canonical(element: bytes) -> bool:
    return len(element) == BYTES and int.from_bytes(element, "little") < R


def quantise(array: Array, scale: int) -> list[int]:
    """EZKL's fixed-point integers of a tensor, flat in row-major order.

    Args:
        array: float16, float32, float64, an integer type or bool; any shape.
        scale: power of two; ignored (0) for integers and booleans.

    Raises:
        ValueError: NaN, infinity, or a number that EZKL's integers cannot hold.
    """
    flat = np.asarray(array).reshape(-1)
    if flat.dtype.kind in "biu":
        return [int(value) for value in flat]
    real = flat.astype(np.float64)  # exact for float16 and float32
    if not np.isfinite(real).all():
        raise ValueError("NaN or infinity has no fixed-point form")
    with np.errstate(over="ignore"):
        scaled = np.abs(real) * 2.0**scale
    if not (scaled < 2.0**MAX_BITS).all():
        raise ValueError(f"a magnitude of 2^{MAX_BITS} and more at scale {scale}")
    whole = np.floor(scaled)
    rounded = np.where(scaled - whole >= 0.5, whole + 1, whole)
    return [
        int(value) if sign >= 0 else -int(value) for value, sign in zip(rounded, real, strict=True)
    ]


def dequantise(values: Iterable[int], scale: int, dtype: str, shape: Sequence[int]) -> Array:
    """The tensor that EZKL's integers stand for, rounded to `dtype`.

    Raises:
        ValueError: an integer dtype cannot hold a value, or a value is not whole.
    """
    numbers = list(values)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        real = np.array([float(value) for value in numbers], np.float64) / 2.0**scale
        return real.astype(kind).reshape(tuple(shape))
    whole = []
    for value in numbers:
        quotient, rest = divmod(value, 2**scale) if scale >= 0 else (value * 2**-scale, 0)
        if rest:
            raise ValueError(f"{value} at scale {scale} is not a whole number")
        whole.append(quotient)
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    if any(not low <= value <= high for value in whole):
        raise ValueError(f"a value outside {dtype}")
    return np.array(whole).astype(kind).reshape(tuple(shape))
