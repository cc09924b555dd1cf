"""Reed-Solomon codes: against the NumPy twin, and the twin against evaluating polynomials."""

from __future__ import annotations

import numpy as np
import pytest

from proofml.circuits import kernels
from proofml.circuits.field import babybear
from proofml.circuits.field.babybear import P


def evaluate(coefficients, x):
    value = 0
    for c in reversed(coefficients):
        value = (value * x + int(c)) % P
    return value


@pytest.mark.parametrize(
    ("m", "k", "rate"), [(0, 0, 0), (3, 0, 1), (5, 2, 3), (6, 6, 2), (4, 1, 0)]
)
def test_twin_evaluates(field, m, k, rate):
    v = field(1 << m)
    code = babybear.encode(v.astype(np.uint64), k, rate)
    omega = babybear.root_of_unity(m - k + rate)
    assert code.shape == (1 << (m - k + rate), 1 << k)
    for a, row in enumerate(code):
        x = pow(omega, a, P)
        assert row.tolist() == [evaluate(v[j :: 1 << k], x) for j in range(1 << k)]


SIZES = [
    (m, k, rate)
    for m in (*range(8), 11, 13)
    for k in (0, 1, 2, 3, 4, 5, 6)
    if k <= m
    for rate in (0, 1, 3)
]


@pytest.mark.parametrize(("m", "k", "rate"), SIZES)
def test_encode(level, field, m, k, rate):
    v = field(1 << m)
    expected = babybear.encode(v.astype(np.uint64), k, rate)
    np.testing.assert_array_equal(kernels.encode(v, k, rate), expected)


@pytest.mark.parametrize(
    ("m", "k", "rate"),
    [(0, 0, 0), (1, 0, 1), (1, 1, 3), (4, 2, 3), (7, 3, 3), (9, 4, 2), (12, 3, 3), (12, 1, 0)],
)
def test_encode_ext(level, threads, field, m, k, rate):
    v = field(1 << m, 5)
    expected = babybear.encode(v.astype(np.uint64), k, rate)
    np.testing.assert_array_equal(kernels.encode_ext(v, k, rate), expected)


@pytest.mark.parametrize("k", range(6))
@pytest.mark.parametrize("mu", range(13))
def test_encode_of_few_columns(level, field, mu, k):
    """1 to 32 columns of 1 to 2^12 rows: a few columns are encoded several rows at a time."""
    v = field(1 << (mu + k))
    for rate in (0, 1, 3):
        expected = babybear.encode(v.astype(np.uint64), k, rate)
        np.testing.assert_array_equal(kernels.encode(v, k, rate), expected)


@pytest.mark.parametrize("k", range(5))
@pytest.mark.parametrize("mu", range(13))
def test_encode_ext_of_few_columns(level, field, mu, k):
    v = field(1 << (mu + k), 5)
    for rate in (0, 3) if mu < 10 else (1,):
        expected = babybear.encode(v.astype(np.uint64), k, rate)
        np.testing.assert_array_equal(kernels.encode_ext(v, k, rate), expected)


@pytest.mark.parametrize(
    ("columns", "k"), [("base", k) for k in range(4)] + [("ext", 0), ("ext", 2)]
)
def test_few_columns_on_threads(level, threads, field, columns, k):
    """Long enough for the join to be shared out, in pieces that begin anywhere."""
    v = field(1 << (13 + k), 5) if columns == "ext" else field(1 << (14 + k))
    encode = kernels.encode_ext if columns == "ext" else kernels.encode
    expected = babybear.encode(v.astype(np.uint64), k, 1)
    np.testing.assert_array_equal(encode(v, k, 1), expected)


@pytest.mark.parametrize("mu", range(8, 15))
def test_encode_of_columns_longer_than_one_pass(level, threads, field, mu):
    """Above 2^9 rows a column is transformed in two passes, with either parity in each."""
    v = field(1 << (mu + 1))
    expected = babybear.encode(v.astype(np.uint64), 1, 1)
    np.testing.assert_array_equal(kernels.encode(v, 1, 1), expected)


def test_encode_of_long_columns(level, rng):
    """2^19 rows; the twin would be slow, so single rows are evaluated."""
    v = rng.integers(0, P, 1 << 18, dtype=np.uint32)
    code = kernels.encode(v, 0, 1)
    omega = babybear.root_of_unity(19)
    for a in (0, 1, 2, 511, 512, (1 << 18) + 1, (1 << 19) - 1):
        powers = babybear.powers(pow(omega, a, P), len(v))
        assert int(code[a, 0]) == int(babybear.mul(powers, v.astype(np.uint64)).sum()) % P


@pytest.mark.parametrize(
    ("length", "k", "rate"), [(0, 0, 0), (3, 0, 0), (8, 4, 0), (8, -1, 0), (8, 0, -1), (8, 0, 25)]
)
def test_wrong_sizes(length, k, rate):
    with pytest.raises(ValueError, match=r"expected|no code"):
        kernels.encode(np.zeros(length, np.uint32), k, rate)


@pytest.mark.parametrize("k", [0, 2, 4])
def test_unaligned_arrays(level, field, k):
    """Nothing is assumed of where an array begins."""
    storage = field((1 << 10) + 1)
    v = storage[1:]
    expected = babybear.encode(v.astype(np.uint64), k, 3)
    np.testing.assert_array_equal(kernels.encode(v, k, 3), expected)
