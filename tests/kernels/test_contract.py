"""Contractions against integers of Python and against the NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest

from proofml.circuits import kernels
from proofml.circuits.field import ext5
from proofml.circuits.field.babybear import P

LENGTHS = (1, 2, 7, 8, 9, 15, 16, 17, 33)
SHAPES = [
    *((3, n, 1) for n in LENGTHS),
    *((2, 5, c) for c in LENGTHS),
    (1, 1, 1),
    (4, 0, 3),
    (0, 4, 3),
    (4, 3, 0),
    (1, 100, 300),
    (100, 100, 1),
    (9, 20, 9),
]


def integers(rng, dtype, shape):
    """Random values, the smallest and the largest among them."""
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    extremes = np.array([info.min, info.max, 0, -1], dtype)[rng.integers(0, 4, shape)]
    return np.where(rng.random(shape) < 0.3, extremes, values)


def exact(values, weights):
    """With integers of Python."""
    a, n, c = values.shape
    return [
        [
            [sum(int(values[i, t, j]) * int(weights[t, k]) for t in range(n)) % P for k in range(5)]
            for j in range(c)
        ]
        for i in range(a)
    ]


@pytest.mark.parametrize("shape", [(2, 9, 3), (3, 17, 1), (1, 0, 2)])
@pytest.mark.parametrize("dtype", [np.int8, np.int32])
def test_twin(rng, field, shape, dtype):
    values, weights = integers(rng, dtype, shape), field(shape[1], 5)
    assert ext5.contract(values, weights.astype(np.uint64)).tolist() == exact(values, weights)


@pytest.mark.parametrize("shape", SHAPES)
def test_i8(level, threads, rng, field, shape):
    values, weights = integers(rng, np.int8, shape), field(shape[1], 5)
    expected = ext5.contract(values, weights.astype(np.uint64))
    np.testing.assert_array_equal(kernels.contract_i8(values, weights), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_i32(level, threads, rng, field, shape):
    values, weights = integers(rng, np.int32, shape), field(shape[1], 5)
    expected = ext5.contract(values, weights.astype(np.uint64))
    np.testing.assert_array_equal(kernels.contract_i32(values, weights), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_ext(level, threads, field, shape):
    values, weights = field(*shape, 5), field(shape[1], 5)
    expected = ext5.contract_ext(values.astype(np.uint64), weights.astype(np.uint64))
    np.testing.assert_array_equal(kernels.contract_ext(values, weights), expected)


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("value", [-(2**31), 2**31 - 1])
def test_sums_do_not_overflow(level, columns, value):
    """More summands of the largest size than one sum of 64 bits can take."""
    n = (1 << 15) + 77
    values = np.full((1, n, columns), value, np.int32)
    weights = np.full((n, 5), P - 1, np.uint32)
    expected = n * value * (P - 1) % P
    assert set(kernels.contract_i32(values, weights).ravel().tolist()) == {expected}
    small = np.full((1, n, columns), -128, np.int8)
    assert set(kernels.contract_i8(small, weights).ravel().tolist()) == {n * 128 % P}


def test_wrong_arguments():
    weights = np.zeros((4, 5), np.uint32)
    for call, values in (
        (kernels.contract_i32, np.zeros((2, 3, 1), np.int32)),
        (kernels.contract_i32, np.zeros((2, 4, 1), np.int64)),
        (kernels.contract_i32, np.zeros((2, 4), np.int32)),
        (kernels.contract_i8, np.zeros((2, 4, 1), np.int32)),
        (kernels.contract_i8, np.zeros((2, 4, 2), np.int8).transpose(2, 1, 0)),
        (kernels.contract_ext, np.zeros((2, 4, 1, 4), np.uint32)),
    ):
        with pytest.raises(ValueError, match="expected"):
            call(values, weights)
