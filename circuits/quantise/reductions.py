"""ReduceMean and ReduceSum as GlobalAveragePool, which onnxruntime computes on integers.

onnxruntime sums a ReduceMean between Q and DQ in floating point, in an order of its own; its
QLinearGlobalAveragePool is an exact sum of codes and one rounding.
"""

from __future__ import annotations

import math

import numpy as np

from proofml.circuits.quantise.graph import Dims, Graph, Node
from proofml.errors import UnsupportedModel


def rewrite_reductions(graph: Graph) -> None:
    """Replace every reduction over constant axes.

    Raises:
        UnsupportedModel: shapes that must be fixed and are not, axes out of range.
    """
    result: list[Node] = []
    for node in graph.nodes:
        if node.op in ("ReduceMean", "ReduceSum"):
            result.extend(_Rewriter(graph, node).nodes())
        else:
            result.append(node)
    graph.nodes = result


class _Rewriter:
    def __init__(self, graph: Graph, node: Node) -> None:
        self._graph = graph
        self._node = node
        self._made: list[Node] = []

    def nodes(self) -> list[Node]:
        """The nodes that take the place of the reduction."""
        graph, node = self._graph, self._node
        x = node.inputs[0]
        rank = graph.rank(x)
        if rank is None:
            graph.static(x, node.where)  # raises
            raise AssertionError
        axes = self._axes(rank)
        if not axes:
            return [Node("Identity", [x], node.outputs, {}, node.where)]
        keep = bool(node.integer("keepdims", 1))
        dims = graph.shapes[x]
        count = math.prod(dim for dim in (dims[axis] for axis in axes) if dim is not None)
        if node.op == "ReduceSum" or axes != list(range(2, rank)):
            dims = graph.static(x, node.where)
        if not count:
            raise UnsupportedModel(f"{node.where}: it reduces an empty tensor")
        if rank in (3, 4) and axes == list(range(2, rank)):
            value = self._add("GlobalAveragePool", [x], (*dims[:2], *[1] * len(axes)))
            if not keep:
                value = self._add("Flatten", [value], dims[:2], axis=1)
        else:
            value = self._general(x, graph.static(x, node.where), axes, keep)
        if node.op == "ReduceSum":
            factor = graph.constant(f"{node.output}/count", np.array(count, np.float32))
            value = self._add("Mul", [value, factor], graph.shapes[value])
        self._made[-1].outputs = [node.output]
        graph.shapes[node.output] = graph.shapes[value]
        return self._made

    def _axes(self, rank: int) -> list[int]:
        """Sorted, none negative; empty where nothing is reduced."""
        node = self._node
        given = node.integers("axes")
        if len(node.inputs) > 1 and node.inputs[1]:
            constant = self._graph.constants.get(node.inputs[1])
            if constant is None:
                raise UnsupportedModel(f"{node.where}: expected constant axes")
            given = [int(axis) for axis in constant.reshape(-1)]
        if not given:
            return [] if node.integer("noop_with_empty_axes", 0) else list(range(rank))
        if any(not -rank <= axis < rank for axis in given):
            raise UnsupportedModel(f"{node.where}: axes {given[:8]} of a tensor of rank {rank}")
        return sorted({axis % rank for axis in given})

    def _general(self, x: str, dims: tuple[int, ...], axes: list[int], keep: bool) -> str:
        """Through [1, kept, reduced, 1]."""
        kept = [axis for axis in range(len(dims)) if axis not in axes]
        order = kept + axes
        value = x
        if order != sorted(order):
            value = self._add("Transpose", [x], tuple(dims[i] for i in order), perm=order)
        channels = math.prod(dims[axis] for axis in kept)
        count = math.prod(dims[axis] for axis in axes)
        value = self._reshape(value, (1, channels, count, 1))
        value = self._add("GlobalAveragePool", [value], (1, channels, 1, 1))
        if keep:
            return self._reshape(value, tuple(1 if i in axes else d for i, d in enumerate(dims)))
        return self._reshape(value, tuple(dims[axis] for axis in kept))

    def _reshape(self, value: str, dims: tuple[int, ...]) -> str:
        shape = self._graph.constant(f"{self._node.output}/shape", np.array(dims, np.int64))
        return self._add("Reshape", [value, shape], dims)

    def _add(self, op: str, inputs: list[str], dims: Dims, **attributes: object) -> str:
        name = self._graph.fresh(f"{self._node.output}/{op}")
        self._graph.shapes[name] = dims
        where = f"{self._node.where}, as {op}"
        self._made.append(Node(op, inputs, [name], dict(attributes), where))
        return name
