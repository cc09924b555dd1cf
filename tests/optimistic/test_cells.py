"""Cells and their bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.optimistic import cells as cell
from proofml.optimistic.program import CHUNK, Cells

WIDTHS = [(-128, 127, 1), (0, 255, 1), (7, 7, 1), (0, 256, 2), (-70, 65_465, 2), (-9, 65_527, 4),
          (-(1 << 30), (1 << 30) - 1, 4)]  # fmt: skip


@pytest.mark.parametrize(("low", "high", "width"), WIDTHS)
def test_round_trip(low: int, high: int, width: int) -> None:
    rng = np.random.default_rng(0)
    form = Cells.of((3, 5, 121), low, high)
    assert form.width == width
    values = rng.integers(low, high, form.shape, endpoint=True)
    values.flat[0], values.flat[-1] = low, high
    data = cell.encode(form, values)
    assert data.dtype == np.uint8
    assert data.size == form.count * width
    np.testing.assert_array_equal(cell.decode(form, data), values)
    np.testing.assert_array_equal(cell.decode(form, data.tobytes()), values)
    some = rng.integers(0, form.count, (4, 7))
    np.testing.assert_array_equal(cell.gather(form, data, some), values.reshape(-1)[some])
    for flat in (0, 1, 511, 1023, form.count - 1):
        chunk, at = cell.place(form, flat)
        assert flat in cell.cells_of(form, chunk)
        piece = data[chunk * CHUNK : (chunk + 1) * CHUNK].tobytes()
        assert len(piece) == cell.chunk_bytes(form, chunk)
        assert cell.value(form, piece, at) == values.flat[flat]
    assert form.chunks == -(-data.size // CHUNK)
    assert sum(len(cell.cells_of(form, c)) for c in range(form.chunks)) == form.count


def test_big_endian_from_the_least_value() -> None:
    form = Cells.of((2,), -5, 1000)
    assert cell.encode(form, np.array([-5, 253])).tobytes() == bytes([0, 0, 1, 2])


def test_strided_tensors() -> None:
    form = Cells.of((4, 3), 0, 99)
    values = np.arange(12).reshape(3, 4).T
    np.testing.assert_array_equal(cell.decode(form, cell.encode(form, values)), values)


def test_rank_0() -> None:
    form = Cells.of((), -1, 1)
    assert cell.encode(form, np.array(1)).tobytes() == b"\x02"
    assert cell.decode(form, b"\x00") == -1


@given(st.binary(max_size=12))
def test_any_bytes(data: bytes) -> None:
    """A tensor, or ValueError."""
    form = Cells.of((3,), 10, 310)
    try:
        values = cell.decode(form, data)
    except ValueError:
        assert len(data) != 6 or max(data[0], data[2], data[4]) >= 1
    else:
        assert cell.encode(form, values).tobytes() == data


def test_what_is_no_cell() -> None:
    form = Cells.of((600,), 0, 300)
    for flat in (-1, 600):
        with pytest.raises(ValueError, match="expected one of 600"):
            cell.place(form, flat)
    for chunk in (-1, 2):
        with pytest.raises(ValueError, match="expected one of 2"):
            cell.chunk_bytes(form, chunk)
    beyond = bytes([1, 45])  # 301
    assert cell.raw_value(form, beyond, 0) == 301
    with pytest.raises(ValueError, match="expected at most 300, got 301"):
        cell.value(form, beyond, 0)
    for at in (-1, 1, 2):
        with pytest.raises(ValueError, match="expected a cell within"):
            cell.value(form, bytes(2), at)
    with pytest.raises(ValueError, match="expected shape"):
        cell.encode(form, np.zeros((2, 300), np.int64))
    with pytest.raises(ValueError, match=r"cell 1: expected at most 300, got 65535"):
        cell.decode(Cells.of((2,), 0, 300), bytes([0, 0, 255, 255]))
