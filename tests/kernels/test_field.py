"""Products, tables of eq: against the NumPy twin, and the twin against integers of Python."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from proofml.circuits import kernels
from proofml.circuits.field import babybear, ext5
from proofml.circuits.field.babybear import P

LENGTHS = [0, 1, 2, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100, 1000]


@pytest.mark.parametrize("n", LENGTHS)
def test_bb_mul(level, field, n):
    a, b = field(n), field(n)
    expected = [int(x) * int(y) % P for x, y in zip(a, b, strict=True)]
    assert kernels.bb_mul(a, b).tolist() == expected


@pytest.mark.parametrize("n", LENGTHS)
def test_e5_mul(level, field, n):
    a, b = field(n, 5), field(n, 5)
    expected = ext5.vmul(a.astype(np.uint64), b.astype(np.uint64))
    np.testing.assert_array_equal(kernels.e5_mul(a, b), expected)


def test_e5_mul_of_largest_values(level):
    a = np.full((64, 5), P - 1, np.uint32)
    expected = ext5.mul(tuple([P - 1] * 5), tuple([P - 1] * 5))
    assert kernels.e5_mul(a, a).tolist() == [list(expected)] * 64


def test_e5_mul_of_edge_values(level):
    edges = list(itertools.product((0, 1, P - 1), repeat=5))
    a = np.array([x for x in edges for _ in edges], np.uint32)
    b = np.array(edges * len(edges), np.uint32)
    expected = ext5.vmul(a.astype(np.uint64), b.astype(np.uint64))
    np.testing.assert_array_equal(kernels.e5_mul(a, b), expected)


@pytest.mark.parametrize("m", [0, 1, 2, 3, 4, 5, 6, 9, 14])
def test_eq_table(level, threads, field, m):
    z = [ext5.element(row) for row in field(m, 5)]
    table = kernels.eq_table(z)
    np.testing.assert_array_equal(table, ext5.eq_table(z))
    assert ext5.element(table[-1]) == ext5.eq_bits(z, (1 << m) - 1)


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (kernels.bb_mul, (np.zeros(3, np.uint32), np.zeros(4, np.uint32))),
        (kernels.bb_mul, (np.zeros(4, np.int64), np.zeros(4, np.uint32))),
        (kernels.bb_mul, (np.zeros(8, np.uint32)[::2], np.zeros(4, np.uint32))),
        (kernels.e5_mul, (np.zeros((3, 4), np.uint32), np.zeros((3, 4), np.uint32))),
        (kernels.eq_table, ([ext5.ONE] * 28,)),
    ],
)
def test_wrong_arguments(call, arguments):
    with pytest.raises(ValueError, match="expected"):
        call(*arguments)


# ---------------------------------------------------------------- the twin itself
def schoolbook(a, b):
    """Product modulo x^5 - 2, one power at a time."""
    out = [0] * 5
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[(i + j) % 5] += x * y * (2 if i + j >= 5 else 1)
    return tuple(c % P for c in out)


def test_twin_multiplies(field):
    a, b = field(200, 5), field(200, 5)
    a[0] = b[0] = P - 1
    products = ext5.vmul(a.astype(np.uint64), b.astype(np.uint64))
    for x, y, z in zip(a, b, products, strict=True):
        x, y = ext5.element(x), ext5.element(y)
        assert ext5.element(z) == schoolbook(x, y) == ext5.mul(x, y)


def test_twin_adds(field):
    a, b = field(100, 5), field(100, 5)
    wide = a.astype(np.uint64), b.astype(np.uint64)
    sums, differences = ext5.vadd(*wide), ext5.vsub(*wide)
    for x, y, s, d in zip(a, b, sums, differences, strict=True):
        x, y = ext5.element(x), ext5.element(y)
        assert ext5.element(s) == ext5.add(x, y)
        assert ext5.element(d) == ext5.sub(x, y)
        assert ext5.add(ext5.neg(x), x) == ext5.ZERO


def test_twin_powers_and_roots(field):
    x = ext5.element(field(5))
    powers = ext5.powers(x, 6)
    assert powers[0] == ext5.ONE
    assert powers[5] == ext5.product([x] * 5)
    assert babybear.powers(3, 20).tolist() == [pow(3, i, P) for i in range(20)]
    omega = babybear.root_of_unity(27)
    assert pow(omega, 1 << 27, P) == 1
    assert pow(omega, 1 << 26, P) == P - 1
    with pytest.raises(ValueError, match="no subgroup"):
        babybear.root_of_unity(28)


@pytest.mark.parametrize("m", [0, 1, 3, 5])
def test_twin_eq_and_prefix(field, m):
    z, y = ([ext5.element(row) for row in field(m, 5)] for _ in range(2))
    table = [ext5.element(row) for row in ext5.eq_table(z)]
    assert table == [ext5.eq_bits(z, i) for i in range(1 << m)]
    both = zip(table, map(ext5.element, ext5.eq_table(y)), strict=True)
    assert ext5.total(ext5.mul(a, b) for a, b in both) == ext5.eq_point(z, y)
    for count in range(1, (1 << m) + 1):
        factors = [(ext5.sub(ext5.ONE, c), c) for c in z]
        assert ext5.prefix(count, factors) == ext5.total(table[:count])
    with pytest.raises(ValueError, match="expected a count"):
        ext5.prefix((1 << m) + 1, [(ext5.ONE, ext5.ONE)] * m)
