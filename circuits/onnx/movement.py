"""Operators that move cells and compute nothing: all are views, or reshapes.

They pass through whatever the tensor is: codes, dequantised codes, constants, float inputs, and
accumulators that are not quantised yet (the movement then follows the rounding).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from proofml.circuits.axes import AxisMap
from proofml.circuits.graph import MAX_CELLS, View, cells
from proofml.circuits.onnx.builder import broadcast, permuted
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.reader import Handler, Reader, describe
from proofml.circuits.onnx.rounding import Quantisation, quantised_fill
from proofml.circuits.onnx.values import (
    Accumulated,
    Codes,
    Constant,
    Dequantised,
    DequantisedConstant,
    FloatInput,
    Island,
    Move,
    Moved,
    Pair,
    Reshaped,
    Value,
    move_array,
    normal_axis,
)

#: Operators through which onnxruntime carries QuantizeLinear and DequantizeLinear to where an
#: integer kernel can be used (qdq_propagation.cc).
PROPAGATING = frozenset({"MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice"})


def apply(reader: Reader, node: Node, value: Value, move: Move) -> Value:
    """The moved value.

    Raises:
        UnsupportedModel: int32 accumulators, which are not committed, cannot be moved; padding of
            a float that is not quantised yet.
    """
    match value:
        case Codes():
            reader.classify([node.name], "E")
            return reader.builder.move(value, move)
        case Dequantised():
            into = Quantisation(value.scale, value.codes.zero, value.codes.dtype)
            reader.classify([node.name], "E")
            codes = reader.builder.move(value.codes, quantised_fill(move, into))
            return replace(value, codes=codes, kernel=_kernel(reader, node, value))
        case Constant():
            return Constant(move_array(value.array, move), value.name)
        case DequantisedConstant():
            return _moved_constant(node, value, move)
        case FloatInput():
            return replace(value, shape=move.shape, moves=(*value.moves, move))
        case Island() if not (isinstance(move, Moved) and move.fill is not None):
            source = apply(reader, node, value.source, move)
            assert isinstance(source, Dequantised)
            return replace(value, source=source, nodes=(*value.nodes, node.name))
        case Accumulated() | Pair():
            after, names = (*value.after, move), (*value.nodes, node.name)
            carried = node.operator in PROPAGATING and reader.alone(node)
            if isinstance(value, Pair):
                fused = value.fused and carried
                return replace(value, shape=move.shape, after=after, nodes=names, fused=fused)
            exact = value.exact and carried
            return replace(value, shape=move.shape, after=after, nodes=names, exact=exact)
        case _:
            raise node.fail(f"input {node.inputs[0]!r}: cannot move {describe(value)}")


def _kernel(reader: Reader, node: Node, value: Dequantised) -> str:
    """What an integer kernel behind the movement gets, if no QuantizeLinear comes first."""
    if node.operator not in PROPAGATING:
        return ""
    return value.kernel if reader.alone(node) else value.kernel and value.codes.dtype


def _moved_constant(node: Node, value: DequantisedConstant, move: Move) -> Value:
    numbers = move_array(value.numbers, move)
    if not value.scale.ndim:
        if isinstance(move, Moved) and move.fill:
            return Constant(move_array(value.array, move), value.name)
        return replace(value, numbers=numbers)
    # Scales go along their axis only where it stays one whole axis.
    if isinstance(move, Moved) and move.fill is None:
        target, axis = move.view.axes[value.axis]
        if target >= 0 and axis.is_identity:
            return replace(value, numbers=numbers, axis=target)
    return Constant(move_array(value.array, move), value.name)


def identity(reader: Reader, node: Node) -> Sequence[Value]:
    """Identity, and Dropout at inference."""
    if len([name for name in node.outputs if name]) != 1:
        raise node.fail("a mask as second output; expected none")
    if node.operator == "Dropout" and node.has(2) and reader.constant(node, 2, "mode").any():
        raise node.fail("training mode; expected inference")
    value = reader.value(node, 0)
    if not reader.alone(node):
        if isinstance(value, Accumulated):
            return [replace(value, exact=False)]
        if isinstance(value, Pair):
            return [replace(value, fused=False)]
    return [value]


def reshape(reader: Reader, node: Node) -> Sequence[Value]:
    """Reshape to a constant shape."""
    value = reader.value(node, 0)
    wanted = [int(n) for n in reader.constant(node, 1, "the shape").reshape(-1)]
    if not node.integer("allowzero", 0):
        wanted = [
            value.shape[i] if n == 0 and i < len(value.shape) else n for i, n in enumerate(wanted)
        ]
    total = cells(value.shape)
    known = cells([n for n in wanted if n != -1])
    if wanted.count(-1) == 1 and known > 0:
        wanted[wanted.index(-1)] = total // known
    if any(n < 1 for n in wanted) or cells(wanted) != total:
        raise node.fail(f"a shape {wanted} for {list(value.shape)}; expected {total} cells")
    return [apply(reader, node, value, Reshaped(tuple(wanted)))]


def flatten(reader: Reader, node: Node) -> Sequence[Value]:
    value = reader.value(node, 0)
    axis = node.integer("axis", 1)
    axis += len(value.shape) if axis < 0 else 0
    if not 0 <= axis <= len(value.shape):
        raise node.fail(f"axis {axis} of a tensor {list(value.shape)}")
    shape = cells(value.shape[:axis]), cells(value.shape[axis:])
    return [apply(reader, node, value, Reshaped(shape))]


def squeeze(reader: Reader, node: Node) -> Sequence[Value]:
    value = reader.value(node, 0)
    axes = reader.numbers(node, 1, "axes")
    if axes is None:
        axes = tuple(i for i, n in enumerate(value.shape) if n == 1)
    dropped = _axes(node, axes, len(value.shape))
    if any(value.shape[i] != 1 for i in dropped):
        raise node.fail(f"axes {list(axes)} of {list(value.shape)}; expected axes of one cell")
    shape = tuple(n for i, n in enumerate(value.shape) if i not in dropped)
    return [apply(reader, node, value, Reshaped(shape))]


def unsqueeze(reader: Reader, node: Node) -> Sequence[Value]:
    value = reader.value(node, 0)
    axes = reader.numbers(node, 1, "axes") or ()
    rank = len(value.shape) + len(axes)
    added = _axes(node, axes, rank)
    rest = iter(value.shape)
    shape = tuple(1 if i in added else next(rest) for i in range(rank))
    return [apply(reader, node, value, Reshaped(shape))]


def transpose(reader: Reader, node: Node) -> Sequence[Value]:
    value = reader.value(node, 0)
    rank = len(value.shape)
    order = node.integers("perm") or tuple(range(rank))[::-1]
    if sorted(order) != list(range(rank)):
        raise node.fail(f"perm {list(order)} for rank {rank}")
    return [apply(reader, node, value, Moved(permuted(value.shape, order)))]


def expand(reader: Reader, node: Node) -> Sequence[Value]:
    value = reader.value(node, 0)
    wanted = tuple(int(n) for n in reader.constant(node, 1, "the shape").reshape(-1))
    try:
        shape = np.broadcast_shapes(value.shape, wanted)
    except ValueError as error:
        raise node.fail(f"{list(value.shape)} does not broadcast to {list(wanted)}") from error
    if cells(shape) > MAX_CELLS:
        raise node.fail(f"a shape {list(shape)}; expected {MAX_CELLS} cells at most")
    return [apply(reader, node, value, Moved(broadcast(value.shape, shape)))]


def _axes(node: Node, axes: Sequence[int], rank: int) -> tuple[int, ...]:
    found = tuple(normal_axis(axis, rank) for axis in axes)
    if None in found or len(set(found)) != len(found):
        raise node.fail(f"axes {list(axes)} for rank {rank}")
    return tuple(axis for axis in found if axis is not None)


def pick(shape: Sequence[int], chosen: Mapping[int, Sequence[int]]) -> View:
    """The view that keeps the listed indices of some axes; -1 for a cell without a source."""
    axes = []
    for axis, n in enumerate(shape):
        index = chosen.get(axis)
        if index is None:
            axes.append((axis, AxisMap.identity(n)))
        else:
            entries = ((o, i, 1) for o, i in enumerate(index))
            axes.append((axis, AxisMap.of(len(index), n, entries)))
    return View(tuple(axis.n_out for _, axis in axes), tuple(axes))


OPERATORS: Mapping[str, Handler] = {
    "Identity": identity,
    "Dropout": identity,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
}
