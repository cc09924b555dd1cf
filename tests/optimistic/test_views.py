"""Maps along an axis: windows where they are windows, and tables that say the same otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.circuits.axes import AxisMap
from proofml.circuits.graph import View
from proofml.optimistic import views
from proofml.optimistic.program import Axis
from proofml.optimistic.rows import Tables

from ..circuits.oracle import dense, random_map


def rows_of(axis: Axis, n_out: int, taps: int, tables: Tables) -> list[list[int]]:
    """The matrix that an axis of an operand stands for."""
    matrix = [[0] * axis.length for _ in range(n_out)]
    for out in range(n_out):
        for tap in range(taps):
            if axis.table is None:
                index, factor = axis.offset, 1
                index += out * axis.stride if axis.out >= 0 else 0
                index += tap * axis.dilation if axis.sum >= 0 else 0
            else:
                index, factor = tables.records(axis.table)[
                    (out if axis.out >= 0 else 0) * taps + tap
                ]
            if 0 <= index < axis.length:
                matrix[out][index] += int(factor)
    return matrix


@given(st.integers(0, 2**32 - 1))
def test_any_map(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_in, n_out = (int(n) for n in rng.integers(1, 9, 2))
    axis = random_map(rng, n_in, n_out)
    tables = Tables()
    (made,), sums = views.axes_of_view(View((n_out,), ((0, axis),)), tables)
    assert made.length == n_in
    assert rows_of(made, n_out, sums[0] if sums else 1, tables) == dense(axis)


@given(
    st.integers(2, 9), st.integers(-3, 3), st.integers(-4, 9), st.integers(1, 4), st.integers(1, 3)
)
def test_windows_are_found(n: int, stride: int, offset: int, taps: int, dilation: int) -> None:
    """Wherever one window at least is whole, and another one is not empty."""
    axis = AxisMap.window(n, 9, stride=stride, offset=offset, taps=taps, step=dilation)
    out, _, _ = axis.arrays
    counts = np.bincount(out, minlength=n)
    found = views.window_of(axis)
    if axis.is_identity:
        assert found == views.Window(1, 0, 0, 1)
    elif counts.max() == taps and (counts > 0).sum() > 1:
        assert found == views.Window(stride, dilation if taps > 1 else 0, offset, taps)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [(0, 1, 2)],
        [(0, 0, 1), (1, 3, 1), (2, 4, 1)],
        [(0, 0, 1), (0, 1, 1), (0, 3, 1)],
        [(0, 0, 1), (2, 2, 1)],
        [(1, 1, 1)],
    ],
    ids=str,
)
def test_what_is_no_window(entries: list[tuple[int, int, int]]) -> None:
    assert views.window_of(AxisMap.of(4, 5, entries)) is None


def test_a_reversed_axis_is_a_window() -> None:
    axis = AxisMap.of(4, 4, [(i, 3 - i, 1) for i in range(4)])
    assert views.window_of(axis) == views.Window(-1, 0, 3, 1)
    assert views.window_of(AxisMap.total(6)) == views.Window(0, 1, 0, 6)


def test_a_table_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MAX_RECORDS", 7)
    axis = AxisMap.of(4, 5, [(0, 0, 1), (0, 2, 3)])
    with pytest.raises(ValueError, match="4 x 2 records; expected at most 7"):
        views.axes_of_view(View((4,), ((0, axis),)), Tables())
