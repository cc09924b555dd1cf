"""F = F_p[x] / (x^5 - 2) over BabyBear: single elements, and arrays of them.

A single element is a tuple of five canonical ints, c0 first; an array of elements is a uint64
array whose last axis has length 5. x^5 - 2 is irreducible because 5 divides p - 1 and
2^((p - 1) / 5) is not 1 (Lidl and Niederreiter, "Finite Fields", theorem 3.75). Neither prover
nor verifier divides in F, so there is no inverse here.

Index bits: entry i of a vector of length 2^m belongs to the corner of the hypercube whose
coordinate t is bit t of i; variable 0 is the lowest bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proofml.circuits.field import babybear
from proofml.circuits.field.babybear import Array, P, reduce

Element: TypeAlias = tuple[int, int, int, int, int]
Point: TypeAlias = Sequence[Element]

DEGREE: Final = 5
ZERO: Final[Element] = (0, 0, 0, 0, 0)
ONE: Final[Element] = (1, 0, 0, 0, 0)

_TWO: Final = np.uint64(2)
# Doubles hold integers up to 2^53 exactly, whatever the order in which BLAS adds them.
_EXACT: Final = 1 << 53
_CELLS: Final = (
    1 << 22
)  # entries of a temporary, so that large tensors stay within cache and memory


# ---------------------------------------------------------------- single elements
def from_int(value: int) -> Element:
    return (value % P, 0, 0, 0, 0)


def add(a: Element, b: Element) -> Element:
    return (
        (a[0] + b[0]) % P,
        (a[1] + b[1]) % P,
        (a[2] + b[2]) % P,
        (a[3] + b[3]) % P,
        (a[4] + b[4]) % P,
    )


def sub(a: Element, b: Element) -> Element:
    return (
        (a[0] - b[0]) % P,
        (a[1] - b[1]) % P,
        (a[2] - b[2]) % P,
        (a[3] - b[3]) % P,
        (a[4] - b[4]) % P,
    )


def neg(a: Element) -> Element:
    return sub(ZERO, a)


def scale(a: Element, factor: int) -> Element:
    """Times an integer, which may be negative."""
    return (
        a[0] * factor % P,
        a[1] * factor % P,
        a[2] * factor % P,
        a[3] * factor % P,
        a[4] * factor % P,
    )


def mul(a: Element, b: Element) -> Element:
    a0, a1, a2, a3, a4 = a
    b0, b1, b2, b3, b4 = b
    return (
        (a0 * b0 + 2 * (a1 * b4 + a2 * b3 + a3 * b2 + a4 * b1)) % P,
        (a0 * b1 + a1 * b0 + 2 * (a2 * b4 + a3 * b3 + a4 * b2)) % P,
        (a0 * b2 + a1 * b1 + a2 * b0 + 2 * (a3 * b4 + a4 * b3)) % P,
        (a0 * b3 + a1 * b2 + a2 * b1 + a3 * b0 + 2 * a4 * b4) % P,
        (a0 * b4 + a1 * b3 + a2 * b2 + a3 * b1 + a4 * b0) % P,
    )


def total(elements: Iterable[Element]) -> Element:
    out = ZERO
    for element in elements:
        out = add(out, element)
    return out


def product(elements: Iterable[Element]) -> Element:
    out = ONE
    for element in elements:
        out = mul(out, element)
    return out


def powers(base: Element, count: int) -> list[Element]:
    """base^0 .. base^(count - 1)."""
    out: list[Element] = []
    power = ONE
    for _ in range(count):
        out.append(power)
        power = mul(power, base)
    return out


def eq_bits(z: Point, index: int) -> Element:
    """eq(z, index): the product of z_t where bit t of `index` is set, of 1 - z_t where not."""
    return product(c if index >> t & 1 else sub(ONE, c) for t, c in enumerate(z))


def eq_point(a: Point, b: Point) -> Element:
    """eq(a, b): the product of a_t b_t + (1 - a_t)(1 - b_t)."""
    out = ONE
    for x, y in zip(a, b, strict=True):
        both = mul(x, y)
        # (1 - x)(1 - y) + xy = 1 - x - y + 2xy
        out = mul(out, add(sub(sub(ONE, x), y), add(both, both)))
    return out


def prefix(count: int, factors: Sequence[tuple[Element, Element]]) -> Element:
    """sum_{i < count} prod_t factors[t][bit t of i], for 0 < count <= 2^len(factors).

    From the top bit of `count` down: where it is set, every index with a 0 there and anything
    below is inside the range, and all of those together are a product of sums. Cost O(log count).
    """
    if not 0 < count <= 1 << len(factors):
        raise ValueError(f"expected a count from 1 to {1 << len(factors)}, got {count}")
    free: list[Element] = [ONE]  # free[t]: the sum over all values of the bits below t
    for zero, one in factors:
        free.append(mul(free[-1], add(zero, one)))
    if count == 1 << len(factors):
        return free[-1]
    result, chosen = ZERO, ONE
    for t in reversed(range(len(factors))):
        zero, one = factors[t]
        if count >> t & 1:
            result = add(result, mul(chosen, mul(zero, free[t])))
            chosen = mul(chosen, one)
        else:
            chosen = mul(chosen, zero)
    return result


# ---------------------------------------------------------------- arrays (..., 5)
def vector(elements: Iterable[Element]) -> Array:
    return np.array(list(elements), np.uint64).reshape(-1, DEGREE)


def element(array: NDArray[np.integer]) -> Element:
    """The one element in an array of five numbers."""
    c0, c1, c2, c3, c4 = (int(c) for c in array.reshape(DEGREE))
    return (c0, c1, c2, c3, c4)


def lift(values: Array) -> Array:
    """Base elements as elements of F."""
    out = np.zeros((*values.shape, DEGREE), np.uint64)
    out[..., 0] = values
    return out


vadd = babybear.add
vsub = babybear.sub


def vmul(a: Array, b: Array) -> Array:
    """Products, with NumPy's broadcasting over all axes but the last."""
    x = [a[..., i] for i in range(DEGREE)]
    y = [b[..., i] for i in range(DEGREE)]
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), np.uint64)
    for k in range(DEGREE):
        low = x[0] * y[k]
        for i in range(1, k + 1):
            if i == 4:  # a fifth product would overflow
                low = reduce(low)
            low = low + x[i] * y[k - i]
        if k < 4:
            high = x[k + 1] * y[4]
            for i in range(k + 2, DEGREE):
                high = high + x[i] * y[k + DEGREE - i]
            low = low + _TWO * reduce(high)
        out[..., k] = reduce(low)
    return out


def vscale(base: Array, ext: Array) -> Array:
    """Base elements times elements of F, with broadcasting."""
    return reduce(base[..., None] * ext)


def vsum(values: Array) -> Element:
    """The sum of all elements of an array."""
    return element(reduce(values.reshape(-1, DEGREE).sum(axis=0, dtype=np.uint64)))


def eq_table(z: Point) -> Array:
    """eq(z, i) for every i < 2^len(z); bit t of i belongs to z[t]."""
    table = vector([ONE])
    for c in z:
        high = vmul(table, vector([c]))
        table = np.concatenate([vsub(table, high), high])
    return table


def contract(values: ArrayLike, weights: Array) -> Array:
    """out[a, c] = sum_n values[a, n, c] * weights[n], for signed integers of 32 bits.

    The sums are exact products of matrices of doubles: weights are cut into halves of 16 bits,
    values into halves as well unless they are small, and n into pieces, so that no partial sum
    can reach 2^53.
    """
    v = np.asarray(values)
    if v.ndim != 3 or weights.shape != (v.shape[1], DEGREE):
        raise ValueError(f"expected shapes (A, N, C) and (N, 5), got {v.shape}, {weights.shape}")
    size, length, columns = v.shape
    largest = max(int(v.max(initial=0)), -int(v.min(initial=0)))
    if largest > 1 << 31:
        raise ValueError(f"expected values of 32 bits, got one of magnitude {largest}")
    parts = [(v, 1)]
    if largest >= 1 << 16:
        parts = [(v & 0xFFFF, 1), (v >> 16, 1 << 16)]
        largest = 1 << 16
    piece = max(1, min(length, _EXACT // (max(largest, 1) << 16)))
    limbs = np.concatenate([weights & np.uint64(0xFFFF), weights >> np.uint64(16)], axis=1)
    doubles = limbs.astype(np.float64)
    rows = max(1, _CELLS // max(1, piece * columns))
    out = np.zeros((size, columns, DEGREE), np.int64)
    for part, factor in parts:
        for a in range(0, size, rows):
            for n in range(0, length, piece):
                block = part[a : a + rows, n : n + piece].transpose(0, 2, 1).astype(np.float64)
                sums = np.mod((block @ doubles[n : n + piece]).astype(np.int64), P)
                joined = sums[..., :DEGREE] + (sums[..., DEGREE:] << 16)
                out[a : a + rows] = (out[a : a + rows] + np.mod(joined, P) * factor) % P
    return out.astype(np.uint64)


def contract_ext(values: Array, weights: Array) -> Array:
    """out[a, c] = sum_n values[a, n, c] * weights[n] for values in F, shape (A, N, C, 5)."""
    if values.ndim != 4 or weights.shape != (values.shape[1], DEGREE):
        raise ValueError(f"expected (A, N, C, 5) and (N, 5), got {values.shape}, {weights.shape}")
    size, length, columns, _ = values.shape
    out = np.empty((size, columns, DEGREE), np.uint64)
    rows = max(1, _CELLS // max(1, length * columns))
    for a in range(0, size, rows):
        products = vmul(values[a : a + rows], weights[None, :, None, :])
        out[a : a + rows] = reduce(products.sum(axis=1, dtype=np.uint64))
    return out
