"""The prime field of p = 15 * 2^27 + 1 ("BabyBear") over NumPy arrays of uint64.

p - 1 is divisible by 2^27, so the field has subgroups of every order 2^n, n <= 27, and with them
radix-2 transforms. Values are canonical (below p) at every boundary. A product of two of them is
below 2^62, and four such products still fit a uint64: that is all the head room that is used.

Transform: Stockham's self-sorting form (Cochran et al., "What is the fast Fourier transform?",
Proc. IEEE 55, 1967): natural order in, natural order out, no bit reversal.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.uint64]

P: Final = 2013265921
GENERATOR: Final = 31  # of the multiplicative group
TWO_ADICITY: Final = 27  # p - 1 = 15 * 2^27

_P: Final = np.uint64(P)


def root_of_unity(log_order: int) -> int:
    """omega of order 2^log_order; the square of each is the one of half the order."""
    if not 0 <= log_order <= TWO_ADICITY:
        raise ValueError(f"no subgroup of order 2^{log_order}, expected 0 to {TWO_ADICITY}")
    return pow(GENERATOR, (P - 1) >> log_order, P)


def reduce(values: Array) -> Array:
    """Any uint64 values mod p."""
    out: Array = values % _P
    return out


def modp(values: ArrayLike) -> Array:
    """Signed integers (64 bits at most) as field elements."""
    return np.mod(np.asarray(values, np.int64), np.int64(P)).astype(np.uint64)


def add(a: Array, b: Array) -> Array:
    total = a + b
    out: Array = np.minimum(total, total - _P)  # the difference is huge where total < p
    return out


def sub(a: Array, b: Array) -> Array:
    difference = a - b
    out: Array = np.minimum(difference, difference + _P)
    return out


def mul(a: Array, b: Array) -> Array:
    return reduce(a * b)


def powers(base: int, count: int) -> Array:
    """base^0 .. base^(count - 1), by doubling."""
    out = np.ones(max(count, 1), np.uint64)
    have = 1
    while have < count:
        step = min(have, count - have)
        factor = np.uint64(pow(base, have, P))
        out[have : have + step] = mul(out[:step], factor)  # type: ignore[arg-type]
        have += step
    return out[:count]


def _log2(length: int) -> int:
    if length < 1 or length & (length - 1):
        raise ValueError(f"expected a length that is a power of two, got {length}")
    return length.bit_length() - 1


def ntt(values: Array) -> Array:
    """out[x] = sum_i values[i] * omega^(i x) along axis 0, omega of the order of that axis."""
    n = len(values)
    twiddles = powers(root_of_unity(_log2(n)), n // 2)
    x: Array = np.ascontiguousarray(values).reshape(n, -1)
    columns, stride = x.shape[1], 1
    while stride < n:
        half = n // (2 * stride)
        low, high = x.reshape(2, half, stride, columns)
        y = np.empty((half, 2, stride, columns), np.uint64)
        y[:, 0] = add(low, high)
        y[:, 1] = mul(sub(low, high), twiddles[::stride, None, None])
        x, stride = y, 2 * stride
    return x.reshape(values.shape)


def encode(values: Array, columns_log: int, rate_log: int) -> Array:
    """Interleaved Reed-Solomon code words as rows.

    `values` has 2^m elements, or 2^m rows of 5 for the extension. Column j is the polynomial
    with the coefficients values[i * 2^columns_log + j]; row a of the result holds what all
    columns are at omega^a, over a subgroup 2^rate_log times as long as a column.
    """
    columns = values.reshape(-1, 1 << columns_log, *values.shape[1:])
    padded = np.zeros((len(columns) << rate_log, *columns.shape[1:]), np.uint64)
    padded[: len(columns)] = columns
    return ntt(padded)
