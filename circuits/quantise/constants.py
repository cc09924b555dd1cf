"""Constants that come of constants: moved weights, and arithmetic on shapes.

What exporters write before a Reshape depends on nothing but shapes. Where these are known it is
done here, on small integers, once and for all; a verifier gets the same numbers everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from onnx import helper, numpy_helper

from proofml.circuits.quantise.graph import Dims, Graph, Node
from proofml.errors import UnsupportedModel
from proofml.model import Model
from proofml.tensors import Array

#: Shapes, axes and indices are shorter; longer constants are left as they are.
MAX_SMALL = 1 << 12

#: How often folded shapes may decide further ones.
_ROUNDS = 32

Rule = Callable[[Graph, Node, list[Array]], "Array | None"]


def fix_shapes(graph: Graph, model: Model, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give inputs these shapes, all other shapes as onnx infers them, and fold what they decide.

    What is folded (the operand of a Reshape) may decide further shapes.

    Raises:
        UsageError: an unknown input, or a shape that it does not admit.
    """
    for _ in range(_ROUNDS):
        found, _ = model.infer(shapes, store=model.store)
        graph.shapes |= {name: dims for name, (_, dims) in found.items() if dims is not None}
        for value in (*graph.inputs, *graph.outputs):
            dims: Dims | None = shapes.get(value.name, graph.shapes.get(value.name))
            if dims is not None and None not in dims:
                kind = value.type.tensor_type.elem_type
                value.type.CopyFrom(helper.make_tensor_type_proto(kind, dims))
        if not fold_shapes(graph):
            break
        data = graph.to_proto().SerializeToString(deterministic=True)
        model = replace(model, canonical=data)


def fold_shapes(graph: Graph) -> bool:
    """Shape of a value of known shape, and integer operators on small constants.

    Returns whether something was folded.
    """
    kept: list[Node] = []
    for node in graph.nodes:
        made = _made(graph, node)
        if made is None:
            kept.append(node)
        else:
            graph.constants[node.output] = made
            graph.shapes[node.output] = made.shape
    folded = len(kept) < len(graph.nodes)
    graph.nodes = kept
    return folded


def move_constants(graph: Graph) -> None:
    """Transposed and reshaped weights, as exporters leave them."""
    kept = []
    for node in graph.nodes:
        x = graph.constants.get(node.inputs[0]) if node.inputs else None
        parameters = all(name in graph.constants for name in node.inputs if name)
        if x is None or not parameters or node.op not in _MOVES:
            kept.append(node)
            continue
        moved = np.ascontiguousarray(_MOVES[node.op](graph, node, x))
        graph.constants[node.output] = moved
        graph.shapes[node.output] = moved.shape
    graph.nodes = kept


def _made(graph: Graph, node: Node) -> Array | None:
    if node.op in ("Shape", "Size"):
        dims = graph.shapes.get(node.inputs[0])
        if dims is None or any(dim is None for dim in dims):
            return None
        known = np.array(dims, np.int64)
        if node.op == "Size":
            return np.asarray(math.prod(int(dim) for dim in known), np.int64)
        return known[slice(node.integer("start", 0), node.integer("end", len(known)))]
    if node.op not in _RULES and node.op not in _MOVES:
        return None
    arrays = [graph.constants.get(name) for name in node.inputs if name]
    small = [a for a in arrays if a is not None and a.dtype.kind in "iub" and a.size <= MAX_SMALL]
    if not small or len(small) != len(arrays):
        return None
    if node.op in _MOVES:
        return np.ascontiguousarray(_MOVES[node.op](graph, node, small[0]))
    return _RULES[node.op](graph, node, small)


# Movement


def _axes(graph: Graph, node: Node) -> list[int] | None:
    if len(node.inputs) > 1 and node.inputs[1]:
        return [int(axis) for axis in graph.constants[node.inputs[1]].reshape(-1)]
    return node.integers("axes")


def _transpose(graph: Graph, node: Node, x: Array) -> Array:
    return np.transpose(x, node.integers("perm"))


def _reshape(graph: Graph, node: Node, x: Array) -> Array:
    dims = [int(dim) for dim in graph.constants[node.inputs[1]]]
    if not node.integer("allowzero", 0):
        dims = [x.shape[i] if dim == 0 else dim for i, dim in enumerate(dims)]
    return x.reshape(dims)


def _squeeze(graph: Graph, node: Node, x: Array) -> Array:
    axes = _axes(graph, node)
    return np.squeeze(x, None if axes is None else tuple(axes))


def _unsqueeze(graph: Graph, node: Node, x: Array) -> Array:
    return np.expand_dims(x, tuple(_axes(graph, node) or ()))


_MOVES: dict[str, Callable[[Graph, Node, Array], Array]] = {
    "Identity": lambda graph, node, x: x,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


# Arithmetic on integers


def _cast(graph: Graph, node: Node, arrays: list[Array]) -> Array | None:
    dtype = helper.tensor_dtype_to_np_dtype(node.integer("to", 0))
    return arrays[0].astype(dtype) if dtype.kind in "iub" else None


def _concat(graph: Graph, node: Node, arrays: list[Array]) -> Array:
    return np.concatenate(arrays, node.integer("axis", 0))


def _slice(graph: Graph, node: Node, arrays: list[Array]) -> Array | None:
    if len(arrays) != len(node.inputs) or len(arrays) < 3:
        return None  # an operand is left out in the middle
    x, starts, ends = arrays[0], *(a.reshape(-1).tolist() for a in arrays[1:3])
    axes = arrays[3].reshape(-1).tolist() if len(arrays) > 3 else list(range(len(starts)))
    steps = arrays[4].reshape(-1).tolist() if len(arrays) > 4 else [1] * len(starts)
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not -x.ndim <= axis < x.ndim:
            raise UnsupportedModel(f"{node.where}: axis {axis} of a tensor of rank {x.ndim}")
        # Before the first cell, counted from the end, is no place from which Python would count.
        stop = None if step < 0 and end < -x.shape[axis] else end
        index[axis] = slice(start, stop, step)
    return x[tuple(index)]


def _gather(graph: Graph, node: Node, arrays: list[Array]) -> Array | None:
    x, indices = arrays
    axis = node.integer("axis", 0)
    if x.size // max(1, x.shape[axis]) * indices.size > MAX_SMALL:
        return None
    return np.take(x, indices, axis)


def _constant_of_shape(graph: Graph, node: Node, arrays: list[Array]) -> Array | None:
    dims = [int(dim) for dim in arrays[0].reshape(-1)]
    given = node.attributes.get("value")
    if given is None:
        return None  # zeros in floating point
    value = numpy_helper.to_array(given)
    if value.dtype.kind not in "iub" or value.size != 1 or math.prod(dims) > MAX_SMALL:
        return None
    return np.full(dims, value.reshape(-1)[0])


def _binary(function: Callable[[Array, Array], Array]) -> Rule:
    def rule(graph: Graph, node: Node, arrays: list[Array]) -> Array | None:
        left, right = arrays
        if left.dtype != right.dtype:
            raise UnsupportedModel(f"{node.where}: operands of {left.dtype} and {right.dtype}")
        if math.prod(np.broadcast_shapes(left.shape, right.shape)) > MAX_SMALL:
            return None
        return function(left, right)

    return rule


def _quotient(left: Array, right: Array) -> Array:
    """Integers, truncated towards zero."""
    if (right == 0).any():
        raise ZeroDivisionError("a shape divided by zero")
    return np.asarray(np.abs(left) // np.abs(right) * np.sign(left) * np.sign(right), left.dtype)


def _where(graph: Graph, node: Node, arrays: list[Array]) -> Array | None:
    shapes = [array.shape for array in arrays]
    if math.prod(np.broadcast_shapes(*shapes)) > MAX_SMALL:
        return None
    condition, left, right = arrays
    return np.where(condition.astype(bool), left, right)


_RULES: Mapping[str, Rule] = {
    "Add": _binary(np.add),
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": _binary(_quotient),
    "Equal": _binary(np.equal),
    "Gather": _gather,
    "Mul": _binary(np.multiply),
    "Slice": _slice,
    "Sub": _binary(np.subtract),
    "Where": _where,
}
