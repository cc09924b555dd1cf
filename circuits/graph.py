"""The integer graph: what the native prover proves, and nothing that it does not.

Seven kinds of nodes, each with one value, numbered in order. All values are integers; those that
come from quantised tensors are *centred*: code minus zero point, so that padding is 0.

    Input       a tensor that the Statement names, as centred codes
    Weight      a constant tensor of the model (its numbers are not in the graph)
    Affine      linear views of values, and contractions of two values, summed: never committed
    Reshape     the same cells in the same order under another shape
    Step        y = f(a), f piecewise constant and given by a recipe (`functions`): one lookup
    Maximum     max(a, b), by one lookup of relu(a - b)
    ArgMax      index of the first maximum along an axis, of an output that is public

The graph is a description: sizes, maps, recipes and proven ranges, with a canonical JSON form
whose hash the verifier pins or recomputes from the ONNX file. `ranges` proves that no
value can leave the range in which field arithmetic and integers agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.canonical import JSON
from proofml.circuits.axes import AxisMap
from proofml.circuits.functions import Function

#: A value number that stands for the tensor of ones of whatever shape the view gives it.
ONES = -1
MAX_RANK = 8
MAX_CELLS = 1 << 26

Shape: TypeAlias = tuple[int, ...]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """A linear map between tensors, one `AxisMap` for each axis of the source.

    Attributes:
        shape: of the result.
        axes: for each source axis, the axis of the result that it becomes, or -1 where it is
            summed away (its map then has one output). An axis of the result that no source axis
            becomes is a broadcast.
    """

    shape: Shape
    axes: tuple[tuple[int, AxisMap], ...]

    @classmethod
    def identity(cls, shape: Shape) -> View:
        return cls(shape, tuple((i, AxisMap.identity(n)) for i, n in enumerate(shape)))

    @property
    def source(self) -> Shape:
        return tuple(axis.n_in for _, axis in self.axes)

    @property
    def is_identity(self) -> bool:
        return len(self.axes) == len(self.shape) and all(
            target == index and axis.is_identity for index, (target, axis) in enumerate(self.axes)
        )

    @property
    def broadcast(self) -> tuple[int, ...]:
        """Axes of the result that no source axis becomes."""
        used = {target for target, _ in self.axes}
        return tuple(i for i in range(len(self.shape)) if i not in used)

    def apply(self, x: Ints) -> Ints:
        """The view of an integer tensor."""
        if self.is_identity:
            return x
        for index, (_, axis) in enumerate(self.axes):
            x = axis.apply(x, index)
        kept = [i for i, (target, _) in enumerate(self.axes) if target >= 0]
        x = x.reshape([x.shape[i] for i in kept])
        targets = [self.axes[i][0] for i in kept]
        x = x.transpose(np.argsort(targets, kind="stable"))
        full = [1] * len(self.shape)
        for target in targets:
            full[target] = self.shape[target]
        return np.broadcast_to(x.reshape(full), self.shape)

    def coverage(self) -> Ints:
        """How many source cells, with their coefficients, each cell of the result sums."""
        result = np.ones((1,) * len(self.shape), np.int64)
        for target, axis in self.axes:
            if target < 0:
                result = result * int(axis.row_sums[0])
            else:
                dims = [1] * len(self.shape)
                dims[target] = self.shape[target]
                result = result * axis.row_sums.reshape(dims)
        return np.broadcast_to(result, self.shape)


@dataclass(frozen=True)
class Term:
    """`coefficient * view(value)`; `value` may be `ONES`."""

    coefficient: int
    value: int
    view: View


@dataclass(frozen=True)
class Bind:
    """How one axis of a contraction's operand is indexed.

    `out` and `sum` number an axis of the result and a summed axis, or are -1.
    Both at once: the index is `out * stride + sum * dilation + offset` (a window; outside counts
    as 0) where `window` is set, else both indices are equal to it (a group).
    """

    out: int = -1
    sum: int = -1
    window: tuple[int, int, int] | None = None  # stride, dilation, offset


@dataclass(frozen=True)
class Contraction:
    """`sum over the summed axes of left[...] * right[...]`.

    Attributes:
        left, right: values; `right` is the Weight where one is a constant.
        sums: lengths of the summed axes, the last one in the lowest bits.
        left_axes, right_axes: one `Bind` for each axis of the operand.
    """

    left: int
    right: int
    sums: Shape
    left_axes: tuple[Bind, ...]
    right_axes: tuple[Bind, ...]


@dataclass(frozen=True)
class Input:
    name: str
    shape: Shape
    low: int
    high: int


@dataclass(frozen=True)
class Weight:
    name: str
    shape: Shape
    low: int
    high: int


@dataclass(frozen=True)
class Affine:
    """`terms` and `contractions` summed; all of them have this shape.

    `low`, `high` bound every cell for all inputs within their ranges. Whoever has the weights
    recomputes them (`ranges`).
    """

    shape: Shape
    terms: tuple[Term, ...]
    contractions: tuple[Contraction, ...] = ()
    low: int = 0
    high: int = 0


@dataclass(frozen=True)
class Reshape:
    value: int
    shape: Shape


@dataclass(frozen=True)
class Step:
    """`y = f(value)`.

    `channel` lists the axes along which the function differs; `functions` has one for each cell
    of these axes, in row-major order, and exactly one where there are none.
    """

    value: int
    shape: Shape
    functions: tuple[Function, ...]
    channel: tuple[int, ...] = ()


@dataclass(frozen=True)
class Maximum:
    left: int
    right: int
    shape: Shape


@dataclass(frozen=True)
class ArgMax:
    """Index of the first maximum along `axis`; the shape is without that axis."""

    value: int
    axis: int
    shape: Shape


Node: TypeAlias = Input | Weight | Affine | Reshape | Step | Maximum | ArgMax


@dataclass(frozen=True)
class Codec:
    """How a tensor of the Statement becomes integers and back.

    Attributes:
        kind: `codes` (integers, minus the zero point), `quantise` (float32 input, as
            QuantizeLinear does it), `dequantise` (float32 output, as DequantizeLinear does it).
        dtype: element type of the Statement's tensor; for `quantise` and `dequantise` float32.
        scale: bits of the float32 scale, 0 for `codes`.
        zero_point, low, high: of the codes (before centring).
    """

    kind: str
    dtype: str
    scale: int
    zero_point: int
    low: int
    high: int


@dataclass(frozen=True)
class Port:
    """An input or output of the model: its name and shape in the Statement, its value here."""

    name: str
    shape: Shape
    value: int
    codec: Codec


@dataclass(frozen=True)
class Graph:
    """A whole circuit, for inputs of fixed shapes.

    Attributes:
        nodes: value number -> node; operands come before their users.
        inputs, outputs: in the order of the model.
        classes: operator class -> names of ONNX nodes: "E" bit-exact to onnxruntime's integer
            kernels, "T" exact by table, "D" defined here.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    classes: Mapping[str, tuple[str, ...]]

    def shape(self, value: int) -> Shape:
        return self.nodes[value].shape

    @cached_property
    def consumers(self) -> tuple[int, ...]:
        """How many nodes read each value (outputs do not count)."""
        count = [0] * len(self.nodes)
        for node in self.nodes:
            for value in operands(node):
                count[value] += 1
        return tuple(count)

    @cached_property
    def output_values(self) -> frozenset[int]:
        return frozenset(port.value for port in self.outputs)

    def to_json(self) -> dict[str, JSON]:
        from proofml.circuits.encoding import graph_to_json

        return graph_to_json(self)


def operands(node: Node) -> tuple[int, ...]:
    """The values that a node reads."""
    match node:
        case Affine():
            found = [term.value for term in node.terms if term.value != ONES]
            for contraction in node.contractions:
                found += [contraction.left, contraction.right]
            return tuple(found)
        case Reshape() | Step() | ArgMax():
            return (node.value,)
        case Maximum():
            return (node.left, node.right)
        case _:
            return ()


def cells(shape: Sequence[int]) -> int:
    return math.prod(shape)
