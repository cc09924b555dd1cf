"""Linear views of tensors as an operator's axes: windows where they are windows, else tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofml.circuits.axes import AxisMap
from proofml.circuits.contract import labels_of
from proofml.circuits.graph import Bind, Contraction, View
from proofml.optimistic.program import Axis, Shape, Table
from proofml.optimistic.rows import MAX_RECORDS, Tables, axis_records


@dataclass(frozen=True)
class Window:
    """`in = out * stride + tap * dilation + offset`, every coefficient 1."""

    stride: int
    dilation: int
    offset: int
    taps: int


def window_of(axis: AxisMap) -> Window | None:
    """The map as a window, where it is one: whatever it leaves out is out of range."""
    out, into, coefficient = axis.arrays
    if not len(out) or (coefficient != 1).any():
        return None
    counts = np.bincount(out, minlength=axis.n_out)
    first = np.searchsorted(out, np.arange(axis.n_out))
    taps = int(counts.max())
    full = np.flatnonzero(counts == taps)
    anchor = int(full[0])
    row = into[first[anchor] : first[anchor] + taps]
    dilation = int(row[1] - row[0]) if taps > 1 else 0
    for stride in _strides(axis, counts, first, full, dilation * (taps - 1)):
        window = Window(stride, dilation, int(row[0]) - anchor * stride, taps)
        if _equals(window, axis):
            return window
    return None


def _strides(
    axis: AxisMap,
    counts: np.ndarray[tuple[int, ...], np.dtype[np.intp]],
    first: np.ndarray[tuple[int, ...], np.dtype[np.intp]],
    full: np.ndarray[tuple[int, ...], np.dtype[np.intp]],
    reach: int,
) -> list[int]:
    """Candidates, from two outputs whose windows are known at one end at least."""
    if axis.n_out == 1:
        return [0]
    _, into, _ = axis.arrays
    anchor = int(full[0])
    start = int(into[first[anchor]])
    others = full[1:2] if len(full) > 1 else np.flatnonzero(counts)
    found = []
    for other in (int(o) for o in others if o != anchor):
        low = int(into[first[other]])
        high = int(into[first[other] + counts[other] - 1])
        for begin in (low, high - reach):
            stride, rest = divmod(begin - start, other - anchor)
            if not rest and stride not in found:
                found.append(stride)
        if len(found) > 4:
            break
    return found


def _equals(window: Window, axis: AxisMap) -> bool:
    out, into, _ = axis.arrays
    if axis.n_out * window.taps > 2 * MAX_RECORDS:
        return False
    places = np.arange(axis.n_out)[:, None] * window.stride + window.offset
    index = places + np.arange(window.taps)[None, :] * window.dilation
    inside = (index >= 0) & (index < axis.n_in)
    rows = np.broadcast_to(np.arange(axis.n_out)[:, None], index.shape)
    return bool(np.array_equal(rows[inside], out) and np.array_equal(index[inside], into))


def axes_of_view(view: View, tables: Tables) -> tuple[tuple[Axis, ...], Shape]:
    """An operand's axes, and the lengths of the axes that a part sums over.

    Raises:
        ValueError: a table with too many records.
    """
    axes: list[Axis] = []
    sums: list[int] = []
    for target, axis in view.axes:
        out = target if axis.n_out > 1 else -1
        if axis.is_identity:
            axes.append(_plain(axis.n_in, out))
            continue
        window = window_of(axis)
        taps = window.taps if window else _most(axis)
        total = -1
        if taps > 1:
            total = len(sums)
            sums.append(taps)
        if window is None:
            axes.append(Axis(axis.n_in, out, total, table=_table(axis, taps, tables)))
            continue
        axes.append(
            Axis(
                axis.n_in,
                out,
                total,
                window.stride if out >= 0 else 0,
                window.dilation if total >= 0 else 0,
                window.offset,
            )
        )
    return tuple(axes), tuple(sums)


def _plain(length: int, out: int) -> Axis:
    return Axis(length, out, stride=1) if out >= 0 else Axis(length)


def _most(axis: AxisMap) -> int:
    out, _, _ = axis.arrays
    return max(1, int(np.bincount(out, minlength=axis.n_out).max()))


def _table(axis: AxisMap, taps: int, tables: Tables) -> Table:
    """One record for each output and tap; index -1 where there is nothing."""
    if axis.n_out * taps > MAX_RECORDS:
        raise ValueError(f"a view of {axis.n_out} x {taps} records; expected at most {MAX_RECORDS}")
    out, into, coefficient = axis.arrays
    index = np.full((axis.n_out, taps), -1, np.int64)
    factor = np.zeros((axis.n_out, taps), np.int64)
    tap = np.arange(len(out)) - np.searchsorted(out, out)
    index[out, tap] = into
    factor[out, tap] = coefficient
    return axis_records(tables, index, factor)


def axes_of_contraction(
    contraction: Contraction, shape: Shape, left: Shape, right: Shape
) -> tuple[tuple[Axis, ...], tuple[Axis, ...], Shape]:
    """Axes of both operands, and the lengths of the summed axes.

    A grouped axis is not summed: its index is that of the result's axis.

    Args:
        shape: of the result.
        left, right: of the operands.
    """
    rank = len(shape)
    labels = labels_of(contraction, rank)
    kept = [j for j, label in enumerate(labels) if label >= rank]
    number = {j: i for i, j in enumerate(kept)}

    def axis(bind: Bind, length: int) -> Axis:
        if bind.window is not None:
            stride, dilation, offset = bind.window
            out = bind.out if shape[bind.out] > 1 else -1
            return Axis(length, out, number[bind.sum], stride if out >= 0 else 0, dilation, offset)
        if bind.sum in number:
            return Axis(length, sum=number[bind.sum], dilation=1)
        out = bind.out if bind.out >= 0 else labels[bind.sum]
        return _plain(length, out)

    sides = (
        tuple(axis(bind, n) for bind, n in zip(binds, lengths, strict=True))
        for binds, lengths in ((contraction.left_axes, left), (contraction.right_axes, right))
    )
    one, two = sides
    return one, two, tuple(contraction.sums[j] for j in kept)
