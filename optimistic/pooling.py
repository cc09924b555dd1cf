"""Maxima of shifted views as one operator: what the graph writes as a tree of maxima.

The graph takes a pool apart, one axis after the other and two values at a time, because each of
its maxima is proven by a lookup. An arbiter folds a maximum over any number of summands, so that
here a pool is one operator that reads its input through windows, and nothing between is committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proofml.circuits.graph import ONES, Affine, Node, Term
from proofml.optimistic.program import Axis, Part, Shape


def movement(node: Node) -> Term | None:
    """The term of an Affine that only moves cells, each result a cell or 0."""
    if not isinstance(node, Affine) or node.contractions or len(node.terms) != 1:
        return None
    term = node.terms[0]
    if term.coefficient != 1 or term.value == ONES:
        return None
    for _, axis in term.view.axes:
        out, _, coefficient = axis.arrays
        if (coefficient != 1).any() or (out[1:] == out[:-1]).any():
            return None
    return term


def merged(parts: Sequence[Part]) -> list[Part]:
    """One part with a window where the parts read one tensor, shifted along one axis by equal
    steps; else the parts as they are."""
    first = parts[0].left
    rank = len(first.axes)
    if len(parts) < 2 or any(part.sums for part in parts):
        return list(parts)
    for at in range(rank):
        same = [
            replace(part.left, axes=_without(part.left.axes, at))
            == replace(first, axes=_without(first.axes, at))
            for part in parts
        ]
        if not all(same) or any(part.left.axes[at].table for part in parts):
            continue
        offsets = sorted(part.left.axes[at].offset for part in parts)
        step = offsets[1] - offsets[0]
        if step < 1 or offsets != list(range(offsets[0], offsets[-1] + 1, step)):
            continue
        window = replace(first.axes[at], sum=0, dilation=step, offset=offsets[0])
        axes = (*first.axes[:at], window, *first.axes[at + 1 :])
        return [Part(1, (len(parts),), replace(first, axes=axes))]
    return list(parts)


def composed(outer: Part, inner: Part, shape: Shape) -> Part | None:
    """The part that reads what `inner` reads in place of a maximum over `inner`.

    None where their indices do not compose: two windows along one axis, a table, or a padding
    behind which `inner` would read on.

    Args:
        shape: of the result.
    """
    axes, used = [], set()
    for axis in inner.left.axes:
        if axis.table is not None:
            return None
        total = axis.sum + len(outer.sums) if axis.sum >= 0 else -1
        if axis.out < 0:
            axes.append(replace(axis, sum=total))
            continue
        through = outer.left.axes[axis.out]
        used.add(axis.out)
        if through.table is not None:
            return None
        if _plain(axis) and axis.length == through.length:
            axes.append(through)
        elif _plain(through) and _inside(through, shape):
            axes.append(replace(axis, out=through.out, sum=total))
        else:
            return None
    # Whatever is out of range must stay so.
    if any(i not in used and not _inside(axis, shape) for i, axis in enumerate(outer.left.axes)):
        return None
    return Part(1, (*outer.sums, *inner.sums), replace(inner.left, axes=tuple(axes)))


def _plain(axis: Axis) -> bool:
    """The index is that of an axis of the result."""
    return axis == Axis(axis.length, axis.out, stride=1) and axis.out >= 0


def _inside(axis: Axis, shape: Shape) -> bool:
    """No index is out of range: it runs along an axis of the result that is no longer, or stands
    still."""
    if _plain(axis):
        return shape[axis.out] <= axis.length
    constant = Axis(axis.length, offset=axis.offset)
    return axis == constant and 0 <= axis.offset < axis.length


def _without(axes: tuple[Axis, ...], at: int) -> tuple[Axis, ...]:
    """The axes but for the offset of one."""
    return (*axes[:at], replace(axes[at], offset=0), *axes[at + 1 :])
