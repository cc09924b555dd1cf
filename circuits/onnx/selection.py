"""Slice, Split, Pad and Resize: views that keep some cells, add some, and repeat some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proofml.circuits.graph import MAX_CELLS, cells
from proofml.circuits.nearest import check_mode, factors, finite, nearest
from proofml.circuits.onnx.movement import apply, pick
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.reader import Handler, Reader
from proofml.circuits.onnx.values import (
    Moved,
    Value,
    normal_axis,
)

_TEXTS = (
    "mode",
    "coordinate_transformation_mode",
    "nearest_mode",
    "keep_aspect_ratio_policy",
)
_INTEGERS = ("antialias", "exclude_outside")


def slice_(reader: Reader, node: Node) -> Sequence[Value]:
    """Slice with constant starts, ends, axes and steps (opset 10 and later)."""
    value = reader.value(node, 0)
    starts = reader.numbers(node, 1, "starts") or ()
    ends = reader.numbers(node, 2, "ends") or ()
    axes = reader.numbers(node, 3, "axes") or tuple(range(len(starts)))
    steps = reader.numbers(node, 4, "steps") or (1,) * len(starts)
    chosen: dict[int, Sequence[int]] = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        found = normal_axis(axis, len(value.shape))
        if found is None or found in chosen or step == 0:
            raise node.fail(f"axes {list(axes)} and steps {list(steps)} for {list(value.shape)}")
        chosen[found] = range(*slice(start, end, step).indices(value.shape[found]))
        if step < 0 and end < -value.shape[found]:
            chosen[found] = range(*slice(start, None, step).indices(value.shape[found]))
        if not len(chosen[found]):
            raise node.fail("an empty result")
    return [apply(reader, node, value, Moved(pick(value.shape, chosen)))]


def split(reader: Reader, node: Node) -> Sequence[Value]:
    """Split into equal parts, or into parts of given lengths."""
    value = reader.value(node, 0)
    axis = normal_axis(node.integer("axis", 0), len(value.shape))
    if axis is None:
        raise node.fail(f"axis {node.integer('axis', 0)} for rank {len(value.shape)}")
    total, count = value.shape[axis], len(node.outputs)
    sizes = reader.numbers(node, 1, "split")
    if sizes is None:
        if node.integer("num_outputs", count) != count:
            raise node.fail(f"num_outputs {node.integer('num_outputs', 0)}; expected {count}")
        each = -(-total // count)
        sizes = (*(each for _ in range(count - 1)), total - each * (count - 1))
    if len(sizes) != count or sum(sizes) != total or min(sizes) < 1:
        raise node.fail(f"parts of {list(sizes)} of {total} cells for {count} outputs")
    result, start = [], 0
    for size in sizes:
        view = pick(value.shape, {axis: range(start, start + size)})
        result.append(apply(reader, node, value, Moved(view)))
        start += size
    return result


def pad(reader: Reader, node: Node) -> Sequence[Value]:
    """Pad by a constant, by the edge, or by reflection; pads may be negative."""
    value = reader.value(node, 0)
    rank = len(value.shape)
    pads = reader.numbers(node, 1, "pads") or ()
    axes = reader.numbers(node, 3, "axes") or tuple(range(rank))
    mode = node.text("mode", "constant")
    if len(pads) != 2 * len(axes) or mode not in ("constant", "edge", "reflect", "wrap"):
        raise node.fail(f"pads {list(pads)} of mode {mode!r} for {list(value.shape)}")
    chosen: dict[int, Sequence[int]] = {}
    shape = list(value.shape)
    for index, axis in enumerate(axes):
        found = normal_axis(axis, rank)
        before, after = pads[index], pads[len(axes) + index]
        if found is None:
            raise node.fail(f"axes {list(axes)} for rank {rank}")
        n = value.shape[found]
        shape[found] = n + before + after
        if shape[found] < 1 or cells([max(1, d) for d in shape]) > MAX_CELLS:
            raise node.fail(f"a result {shape}; expected 1 to {MAX_CELLS} cells")
        if before or after:
            chosen[found] = [_source(i, n, mode) for i in range(-before, n + after)]
            if mode == "reflect" and max(before, after) >= n:
                raise node.fail(f"reflection by {max(before, after)} of {n} cells")
    fill = None
    if mode == "constant" and any(-1 in indices for indices in chosen.values()):
        fill = _fill(reader, node, value)
    return [apply(reader, node, value, Moved(pick(value.shape, chosen), fill))]


def _fill(reader: Reader, node: Node, value: Value) -> float:
    given = reader.optional(node, 2, "the value")
    if given is None or not given.size:
        return 0.0
    if given.size != 1:
        raise node.fail("several values; expected one")
    return float(given.reshape(-1)[0])


def _source(index: int, length: int, mode: str) -> int:
    """The cell that a padded position repeats; -1 for a constant."""
    if 0 <= index < length:
        return index
    if mode == "constant":
        return -1
    if mode == "edge":
        return min(max(index, 0), length - 1)
    if mode == "wrap":
        return index % length
    return -index if index < 0 else 2 * (length - 1) - index


def resize(reader: Reader, node: Node) -> Sequence[Value]:
    """Resize to the nearest cell by whole factors: each cell is repeated."""
    value = reader.value(node, 0)
    attributes: dict[str, object] = {
        name: node.text(name, "") for name in _TEXTS if node.given(name)
    }
    attributes |= {name: node.integer(name, 0) for name in _INTEGERS if node.given(name)}
    scales = reader.optional(node, 2, "scales")
    sizes = reader.numbers(node, 3, "sizes")
    try:
        coordinates, rounding = check_mode(attributes)
        # An empty list of scales stands for none, where sizes follow.
        given = finite(scales) if scales is not None and scales.size else None
        grown = factors(value.shape, given, sizes, node.integers("axes"))
    except ValueError as error:
        raise node.fail(str(error)) from error
    shape = [n * factor for n, factor in zip(value.shape, grown, strict=True)]
    if cells(shape) > MAX_CELLS:
        raise node.fail(f"a result {shape}; expected {MAX_CELLS} cells at most")
    chosen = {
        axis: nearest(value.shape[axis], factor, coordinates, rounding)
        for axis, factor in enumerate(grown)
        if factor > 1
    }
    return [apply(reader, node, value, Moved(pick(value.shape, chosen)))]


OPERATORS: Mapping[str, Handler] = {
    "Slice": slice_,
    "Split": split,
    "Pad": pad,
    "Resize": resize,
}
