"""Grows the integer graph: one method for each kind of node, and idioms made of them.

Equal weights become one Weight, equal nodes one node. Every value's range is tracked, so that
each Affine states its bounds when it is made. `finish` drops what no output needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from proofml.circuits.axes import AxisMap
from proofml.circuits.functions import Function, Table, domain, image
from proofml.circuits.graph import (
    MAX_CELLS,
    MAX_RANK,
    ONES,
    Affine,
    ArgMax,
    Contraction,
    Graph,
    Input,
    Ints,
    Maximum,
    Node,
    Port,
    Reshape,
    Shape,
    Step,
    Term,
    View,
    Weight,
    cells,
    operands,
)
from proofml.circuits.onnx.values import Codes, Move, Pooled, Reshaped, Window
from proofml.circuits.ranges import ARGUMENT_LIMIT, affine_bounds
from proofml.errors import UnsupportedModel


class Builder:
    """The graph so far; `where` names the ONNX node that is being read, for messages."""

    def __init__(self, name: str) -> None:
        self.where = name
        self.origin = ""
        self.nodes: list[Node] = []
        self.ranges: list[tuple[int, int]] = []
        self.weights: dict[int, Ints] = {}
        self.names: dict[int, str] = {}
        self.number: dict[int, int] = {}
        self._known: dict[Node, int] = {}
        self._known_weights: dict[tuple[Shape, bytes], int] = {}

    def fail(self, message: str) -> UnsupportedModel:
        return UnsupportedModel(f"{self.where}: {message}")

    def shape(self, value: int) -> Shape:
        return self.nodes[value].shape

    # Nodes

    def input(self, name: str, shape: Shape, low: int, high: int) -> int:
        return self._add(Input(name, shape, low, high), low, high)

    def weight(self, name: str, numbers: Ints) -> int:
        """A constant tensor of centred numbers; one node for equal ones."""
        numbers = np.ascontiguousarray(numbers, np.int64)
        key = numbers.shape, numbers.tobytes()
        if key not in self._known_weights:
            low, high = min(0, int(numbers.min())), max(0, int(numbers.max()))
            value = self._add(Weight(name, numbers.shape, low, high), low, high)
            self.weights[value] = numbers
            self._known_weights[key] = value
        return self._known_weights[key]

    def affine(
        self, shape: Shape, terms: Sequence[Term], contractions: Sequence[Contraction] = ()
    ) -> int:
        node = Affine(shape, tuple(terms), tuple(contractions))
        low, high = affine_bounds(self.nodes, node, self.ranges, self.weights)
        if max(-low, high) > ARGUMENT_LIMIT:
            raise self.fail(
                f"sums from {low} to {high}; expected at most {ARGUMENT_LIMIT}: make the "
                "contraction shorter, or the weights' codes smaller"
            )
        return self._add(replace(node, low=low, high=high), low, high)

    def view(self, value: int, view: View) -> int:
        """The view as a value of its own; nothing is added for an identity."""
        if view.is_identity:
            return value
        return self.affine(view.shape, [Term(1, value, view)])

    def shifted(self, value: int, offset: int) -> int:
        """`value + offset`."""
        if not offset:
            return value
        shape = self.shape(value)
        return self.affine(
            shape, [Term(1, value, View.identity(shape)), Term(offset, ONES, View(shape, ()))]
        )

    def reshape(self, value: int, shape: Shape) -> int:
        if self.shape(value) == shape:
            return value
        node = self.nodes[value]
        if isinstance(node, Weight):
            return self.weight(node.name, self.weights[value].reshape(shape))
        if isinstance(node, Reshape):
            return self.reshape(node.value, shape)
        return self._add(Reshape(value, shape), *self.ranges[value])

    def step(self, value: int, functions: Sequence[Function], channel: tuple[int, ...] = ()) -> int:
        low, high = self.ranges[value]
        images = []
        for function in dict.fromkeys(functions):
            first, last = domain(function)
            if low < first or high > last:
                raise self.fail(f"a table from {first} to {last} for values from {low} to {high}")
            images.append(image(function, low, high))
        node = Step(value, self.shape(value), tuple(functions), channel)
        return self._add(node, min(a for a, _ in images), max(b for _, b in images))

    def maximum(self, left: int, right: int) -> int:
        if left == right:
            return left
        (a, b), (c, d) = self.ranges[left], self.ranges[right]
        return self._add(Maximum(left, right, self.shape(left)), max(a, c), max(b, d))

    def arg_max(self, value: int, axis: int) -> int:
        shape = self.shape(value)
        rest = (*shape[:axis], *shape[axis + 1 :])
        return self._add(ArgMax(value, axis, rest), 0, shape[axis] - 1)

    # Idioms

    def centred(self, codes: Codes, zero: int) -> Codes:
        """The same codes about another zero point."""
        if codes.zero == zero:
            return codes
        if codes.value in self.weights:
            numbers = self.weights[codes.value] + (codes.zero - zero)
            value = self.weight(getattr(self.nodes[codes.value], "name", ""), numbers)
        else:
            value = self.shifted(codes.value, codes.zero - zero)
        return replace(codes, value=value, zero=zero)

    def table(self, codes: Codes, values: Ints, zero: int, dtype: str) -> Codes:
        """`values[code - lowest code]`, raw codes of the result."""
        low, high = self.ranges[codes.value]
        first = codes.low
        kept = values[low - first : high - first + 1] - zero
        value = self.step(codes.value, [Table(low, tuple(kept.tolist()))])
        return Codes(value, codes.shape, zero, dtype)

    def move(self, codes: Codes, move: Move) -> Codes:
        """A movement of codes; `fill` is a code here."""
        if isinstance(move, Reshaped):
            return replace(codes, value=self.reshape(codes.value, move.shape), shape=move.shape)
        if isinstance(move, Pooled):
            return self._pool(codes, move)
        view = move.view
        fill = 0 if move.fill is None else int(move.fill) - codes.zero
        if not fill:
            return replace(codes, value=self.view(codes.value, view), shape=view.shape)
        # ONES through the same view are 1 where a cell has a source, so the difference fills.
        covered = tuple((t, axis) for t, axis in view.axes if t >= 0 and not axis.is_identity)
        terms = [
            Term(1, codes.value, view),
            Term(fill, ONES, View(view.shape, ())),
            Term(-fill, ONES, View(view.shape, covered)),
        ]
        return replace(codes, value=self.affine(view.shape, terms), shape=view.shape)

    def _pool(self, codes: Codes, pool: Pooled) -> Codes:
        """Maxima along one axis after the other; outside of the input is the least code."""
        value, low = codes.value, self.ranges[codes.value][0]
        outside = any(_leaves(codes.shape[axis], window) for axis, window in pool.windows)
        offset = low if outside else 0
        value = self.shifted(value, -offset)
        for axis, window in pool.windows:
            source = value
            for tap in range(window.kernel):
                shape = self.shape(source)
                step = AxisMap.window(
                    window.length,
                    shape[axis],
                    stride=window.stride,
                    offset=tap * window.dilation - window.before,
                )
                shifted = self.view(source, along(shape, axis, step))
                value = shifted if tap == 0 else self.maximum(value, shifted)
        return replace(codes, value=self.shifted(value, offset), shape=pool.shape)

    # The end

    def finish(
        self,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        classes: Mapping[str, tuple[str, ...]],
    ) -> tuple[Graph, dict[int, Ints], dict[int, str]]:
        """The graph without what no output needs, its weights, and names of its values.

        `number` then maps the values of this builder to those of the graph.
        """
        needed = {port.value for port in (*inputs, *outputs)}
        for value in range(len(self.nodes) - 1, -1, -1):
            if value in needed:
                needed.update(operands(self.nodes[value]))
        order = sorted(needed)
        number = {old: new for new, old in enumerate(order)}
        number[ONES] = ONES
        self.number = number
        nodes = tuple(_renumbered(self.nodes[old], number) for old in order)
        graph = Graph(
            nodes,
            tuple(replace(port, value=number[port.value]) for port in inputs),
            tuple(replace(port, value=number[port.value]) for port in outputs),
            classes,
        )
        weights = {number[old]: array for old, array in self.weights.items() if old in needed}
        names = {number[old]: name for old, name in self.names.items() if old in needed}
        return graph, weights, names

    def _add(self, node: Node, low: int, high: int) -> int:
        if len(node.shape) > MAX_RANK or cells(node.shape) > MAX_CELLS or 0 in node.shape:
            raise self.fail(
                f"a value of shape {list(node.shape)}; expected rank {MAX_RANK} at most, no empty "
                f"axis, and at most {MAX_CELLS} cells"
            )
        mergeable = not isinstance(node, Input | Weight)
        if mergeable and node in self._known:
            return self._known[node]
        value = len(self.nodes)
        self.nodes.append(node)
        self.ranges.append((low, high))
        self.names[value] = self.origin
        if mergeable:
            self._known[node] = value
        return value


def _leaves(length: int, window: Window) -> bool:
    """Whether some window reaches beyond the axis."""
    last = (window.length - 1) * window.stride + (window.kernel - 1) * window.dilation
    return window.before > 0 or last - window.before >= length


def _renumbered(node: Node, number: Mapping[int, int]) -> Node:
    match node:
        case Affine():
            return replace(
                node,
                terms=tuple(replace(t, value=number[t.value]) for t in node.terms),
                contractions=tuple(
                    replace(c, left=number[c.left], right=number[c.right])
                    for c in node.contractions
                ),
            )
        case Reshape() | Step() | ArgMax():
            return replace(node, value=number[node.value])
        case Maximum():
            return replace(node, left=number[node.left], right=number[node.right])
        case _:
            return node


def permuted(shape: Shape, order: Sequence[int]) -> View:
    """The view of a Transpose: axis `order[i]` of the source becomes axis i."""
    target = {source: index for index, source in enumerate(order)}
    return View(
        tuple(shape[i] for i in order),
        tuple((target[i], AxisMap.identity(n)) for i, n in enumerate(shape)),
    )


def along(shape: Shape, axis: int, step: AxisMap) -> View:
    """A view that changes one axis."""
    axes = tuple((i, step if i == axis else AxisMap.identity(n)) for i, n in enumerate(shape))
    return View((*shape[:axis], step.n_out, *shape[axis + 1 :]), axes)


def windows(shape: Shape, maps: Mapping[int, AxisMap]) -> View:
    """A view that changes several axes."""
    axes = tuple((i, maps.get(i, AxisMap.identity(n))) for i, n in enumerate(shape))
    return View(tuple(axis.n_out for _, axis in axes), axes)


def broadcast(source: Shape, shape: Shape) -> View:
    """The view of ONNX's multidirectional broadcasting: axes align at the end."""
    skipped = len(shape) - len(source)
    axes = []
    for index, length in enumerate(source):
        target = index + skipped
        if length == shape[target]:
            axes.append((target, AxisMap.identity(length)))
        else:
            axes.append((-1, AxisMap.identity(1)))
    return View(shape, tuple(axes))
