"""Standard operators that only move elements: each is applied to the elements' numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from proofml.circuits.quantise.graph import Graph, Node
from proofml.errors import UnsupportedModel
from proofml.fhe.ckks.affine import Form, Index
from proofml.fhe.ckks.operators import axes_of

Mover = Callable[[Graph, Node, Index], Index]


def move(graph: Graph, node: Node, x: Form) -> Form:
    """`x` with its elements moved as the node says; raises `UnsupportedModel`, `ValueError`."""
    numbers = np.arange(x.size).reshape(x.shape)
    return x.moved(np.ascontiguousarray(MOVERS[node.op](graph, node, numbers)))


def concatenate(node: Node, forms: Sequence[Form]) -> Form:
    """Concat of several tensors that depend on the inputs, or are constants as forms."""
    rank = len(forms[0].shape)
    axis = node.integer("axis", 0)
    if not -rank <= axis < rank:
        raise UnsupportedModel(f"{node.where}: axis {axis} of tensors of rank {rank}")
    starts = np.cumsum([0, *(form.size for form in forms)])
    numbers = [
        np.arange(form.size).reshape(form.shape) + start
        for form, start in zip(forms, starts, strict=False)
    ]
    joined = np.concatenate(numbers, axis)
    total = None
    for form, start in zip(forms, starts, strict=False):
        inside = (joined >= start) & (joined < start + form.size)
        part = form.moved(np.where(inside, joined - start, -1))
        total = part if total is None else total.plus(part)
    assert total is not None
    return total


def _integers(graph: Graph, node: Node, place: int) -> list[int] | None:
    if place >= len(node.inputs) or not node.inputs[place]:
        return None
    array = graph.constants.get(node.inputs[place])
    if array is None or array.dtype.kind not in "iu":
        raise UnsupportedModel(f"{node.where}: its operand {place} is no constant of integers")
    return [int(value) for value in array.reshape(-1)]


def _reshape(graph: Graph, node: Node, x: Index) -> Index:
    dims = _integers(graph, node, 1)
    if dims is None:
        raise UnsupportedModel(f"{node.where}: its shape is missing")
    if not node.integer("allowzero", 0):
        dims = [x.shape[i] if dim == 0 else dim for i, dim in enumerate(dims)]
    return x.reshape(dims)


def _flatten(graph: Graph, node: Node, x: Index) -> Index:
    axis = node.integer("axis", 1)
    if not -x.ndim <= axis <= x.ndim:
        raise UnsupportedModel(f"{node.where}: axis {axis} of a tensor of rank {x.ndim}")
    axis += x.ndim if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _transpose(graph: Graph, node: Node, x: Index) -> Index:
    return np.transpose(x, node.integers("perm"))


def _squeeze(graph: Graph, node: Node, x: Index) -> Index:
    return np.squeeze(x, axes_of(graph, node))


def _unsqueeze(graph: Graph, node: Node, x: Index) -> Index:
    return np.expand_dims(x, axes_of(graph, node) or ())


def _slice(graph: Graph, node: Node, x: Index) -> Index:
    starts, ends = _integers(graph, node, 1), _integers(graph, node, 2)
    if starts is None or ends is None:
        raise UnsupportedModel(f"{node.where}: starts or ends are missing")
    axes = _integers(graph, node, 3) or list(range(len(starts)))
    steps = _integers(graph, node, 4) or [1] * len(starts)
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not -x.ndim <= axis < x.ndim or step == 0:
            raise UnsupportedModel(f"{node.where}: axis {axis}, step {step} at rank {x.ndim}")
        # Before the first cell, counted from the end, is no place from which Python would count.
        stop = None if step < 0 and end < -x.shape[axis] else end
        index[axis] = slice(start, stop, step)
    return x[tuple(index)]


def _pad(graph: Graph, node: Node, x: Index) -> Index:
    if node.attributes.get("mode", b"constant") != b"constant":
        raise UnsupportedModel(f"{node.where}: only constant padding is supported")
    fill = graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if (fill is None and len(node.inputs) > 2 and node.inputs[2]) or (
        fill is not None and np.any(fill != 0)
    ):
        raise UnsupportedModel(f"{node.where}: only padding with a constant 0 is supported")
    pads = _integers(graph, node, 1) or []
    axes = _integers(graph, node, 3) or list(range(x.ndim))
    if len(pads) != 2 * len(axes) or min(pads, default=0) < 0:
        raise UnsupportedModel(f"{node.where}: expected two paddings of 0 or more for each axis")
    widths = [(0, 0)] * x.ndim
    for i, axis in enumerate(axes):
        widths[axis] = (pads[i], pads[len(axes) + i])
    if math.prod(n + sum(w) for n, w in zip(x.shape, widths, strict=True)) > 1 << 24:
        raise UnsupportedModel(f"{node.where}: it pads to more than 2^24 elements")
    return np.pad(x, widths, constant_values=-1)


MOVERS: Mapping[str, Mover] = MappingProxyType(
    {
        "Flatten": _flatten,
        "Pad": _pad,
        "Reshape": _reshape,
        "Slice": _slice,
        "Squeeze": _squeeze,
        "Transpose": _transpose,
        "Unsqueeze": _unsqueeze,
    }
)
