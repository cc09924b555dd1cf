"""Opened rows: folded and evaluated as the verifier does, from bytes that may be anything."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.circuits import kernels
from proofml.circuits.field import babybear, ext5
from proofml.circuits.field.babybear import P


def spoil(data, offset, value=P):
    return data[:offset] + struct.pack("<I", value) + data[offset + 4 :]


@pytest.mark.parametrize("count", [0, 1, 3, 102])
@pytest.mark.parametrize("k", [0, 1, 4, 6])
def test_fold_base(level, field, count, k):
    rows, eq = field(count, 1 << k), field(1 << k, 5)
    products = ext5.vscale(rows.astype(np.uint64), eq.astype(np.uint64)[None])
    expected = products.sum(axis=1) % P
    np.testing.assert_array_equal(kernels.rows_fold_base(rows.tobytes(), eq), expected)


@pytest.mark.parametrize("count", [0, 1, 3, 102])
@pytest.mark.parametrize("k", [0, 1, 3, 4])
def test_fold_ext(level, field, count, k):
    rows, eq = field(count, 1 << k, 5), field(1 << k, 5)
    expected = ext5.vmul(rows.astype(np.uint64), eq.astype(np.uint64)[None]).sum(axis=1) % P
    np.testing.assert_array_equal(kernels.rows_fold_ext(rows.tobytes(), eq), expected)


@pytest.mark.parametrize("k", [0, 1, 3, 6])
@pytest.mark.parametrize("log_n", [0, 1, 12, 27])
def test_eval_ext(level, rng, field, k, log_n):
    rows = field(7, 1 << k, 5)
    idx = rng.integers(0, 1 << log_n, 7, dtype=np.uint32)
    values = kernels.rows_eval_ext(rows.tobytes(), k, log_n, idx)
    for row, i, value in zip(rows, idx, values, strict=True):
        x, expected = pow(babybear.root_of_unity(log_n), int(i), P), ext5.ZERO
        for c in reversed(row):
            expected = ext5.add(ext5.scale(expected, x), ext5.element(c))
        assert ext5.element(value) == expected


def test_first_bad_element_is_reported(level, rng, field):
    idx, eq, wide = np.zeros(3, np.uint32), field(8, 5), field(4, 5)
    for call, data in (
        (lambda d: kernels.rows_fold_base(d, eq), field(3, 8).tobytes()),
        (lambda d: kernels.rows_fold_ext(d, wide), field(3, 4, 5).tobytes()),
        (lambda d: kernels.rows_eval_ext(d, 2, 5, idx), field(3, 4, 5).tobytes()),
    ):
        for offset in range(0, len(data), 4):
            for value in (P, P + 1, 2**32 - 1):
                with pytest.raises(kernels.BadBytes) as caught:
                    call(spoil(spoil(data, len(data) - 4), offset, value))
                assert caught.value.offset == offset
            assert call(spoil(data, offset, P - 1)).shape == (3, 5)
        with pytest.raises(kernels.BadBytes) as caught:
            call(data[:-1])
        assert caught.value.offset == len(data) - 1


def outcome(call):
    """The offset of bad bytes, or the result."""
    try:
        return 0, call()
    except kernels.BadBytes as bad:
        return bad.offset, None


@given(st.binary(max_size=200), st.integers(0, 3))
def test_any_bytes(data, k):
    """Any bytes: a result, or BadBytes."""
    eq = np.full((1 << k, 5), P - 1, np.uint32)
    idx = np.arange(len(data) // (20 << k), dtype=np.uint32)
    for call in (
        lambda: kernels.rows_fold_base(data, eq),
        lambda: kernels.rows_fold_ext(data, eq),
        lambda: kernels.rows_eval_ext(data, k, 7, idx),
    ):
        offset, result = outcome(call)
        assert 0 <= offset <= len(data)
        assert result is None or bool((result < P).all())


def test_wrong_arguments():
    with pytest.raises(ValueError, match="power of two"):
        kernels.rows_fold_base(bytes(12), np.zeros((3, 5), np.uint32))
    with pytest.raises(ValueError, match="expected"):
        kernels.rows_fold_ext(bytes(40), np.zeros((2, 4), np.uint32))
    with pytest.raises(ValueError, match="expected"):
        kernels.rows_eval_ext(bytes(40), 0, 28, np.zeros(2, np.uint32))
    with pytest.raises(ValueError, match="expected"):
        kernels.rows_eval_ext(bytes(40), 0, 5, np.zeros(3, np.uint32))
