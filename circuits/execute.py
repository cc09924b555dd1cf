"""Every value of a graph for given inputs, exactly; the prover's inference.

`Executor` prepares a graph once: float copies of the weights in the layout in which they are
multiplied, constants added up, views as slices where they are slices. The graph must have passed
`ranges.check` with these weights: all shortcuts here (floats that hold integers, tables indexed
without a bounds check) rest on the ranges that it proves. For the prover only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from proofml.circuits import ranges as range_analysis
from proofml.circuits.axes import AxisMap
from proofml.circuits.contract import Array, Plan, labels_of
from proofml.circuits.functions import Function, Pair, Requant, Table, domain, float32_of
from proofml.circuits.graph import (
    ONES,
    Affine,
    ArgMax,
    Contraction,
    Graph,
    Input,
    Ints,
    Maximum,
    Node,
    Reshape,
    Shape,
    Step,
    Term,
    Weight,
    operands,
)

_FREED: Ints = np.empty(0, np.int64)

#: Computes one value from all earlier ones.
Rule: TypeAlias = Callable[[list[Ints]], Ints]
Range: TypeAlias = tuple[int, int]


def execute(graph: Graph, weights: Mapping[int, Ints], inputs: Mapping[int, Ints]) -> list[Ints]:
    """All values of `graph` once; `Executor` for several inputs."""
    return Executor(graph, weights).run(inputs)


class Executor:
    """A graph with its weights, prepared for any number of runs.

    Args:
        graph: one that `ranges.check(graph, weights)` accepts.
        weights: Weight value -> int64 array of its shape; kept, not copied.

    Raises:
        ValueError: a weight is missing, has another shape, or leaves its range.
    """

    def __init__(self, graph: Graph, weights: Mapping[int, Ints]) -> None:
        self.graph = graph
        self._ranges = range_analysis.ranges(graph)
        self._weights: dict[int, Ints] = {}
        self._rules: list[Rule | None] = []
        for value, node in enumerate(graph.nodes):
            if isinstance(node, Weight):
                self._weights[value] = _checked(node, weights.get(value))
        for node in graph.nodes:
            self._rules.append(self._rule(node))

    def run(self, inputs: Mapping[int, Ints]) -> list[Ints]:
        """All values in the order of the nodes, int64 and C-contiguous, of the nodes' shapes.

        Arrays may share memory with each other, the inputs and the weights: do not write.

        Raises:
            ValueError: an input is missing, has another shape, or leaves its range.
        """
        values: list[Ints] = []
        for value in range(len(self.graph.nodes)):
            values.append(self._value(value, values, inputs))
        return values

    def stream(
        self,
        inputs: Mapping[int, Ints],
        *,
        wanted: Collection[int] | None = None,
        given: Mapping[int, Ints] | None = None,
    ) -> Iterator[tuple[int, Ints]]:
        """As `run`, one value after the other; each is freed when its last reader is computed.

        Args:
            inputs: as of `run`; only those that are needed are looked at.
            wanted: the values to yield; what they do not depend on is not computed. None for all.
            given: values that are known from elsewhere, in range and of the nodes' shapes, int64
                and C-contiguous (not checked): they are not computed.

        Yields:
            (value, array): arrays as of `run`. Who does not keep them holds no memory.

        Raises:
            ValueError: an input is missing, has another shape, or leaves its range.
        """
        known = given or {}
        needed, last = self._needed(wanted, known)
        values = [_FREED] * len(self.graph.nodes)
        for value, node in enumerate(self.graph.nodes):
            if not needed[value]:
                continue
            read = () if value in known else operands(node)
            if value in known:
                values[value] = known[value]
            else:
                values[value] = self._value(value, values, inputs)
            if wanted is None or value in wanted:
                yield value, values[value]
            for other in (*read, value):
                if last[other] <= value:
                    values[other] = _FREED

    def sources(self, wanted: Collection[int], given: Collection[int]) -> frozenset[int]:
        """Which of the values `given` are read to compute the values `wanted`."""
        _, last = self._needed(wanted, given)
        return frozenset(value for value in given if last[value] >= 0)

    def _needed(
        self, wanted: Collection[int] | None, given: Collection[int]
    ) -> tuple[list[bool], list[int]]:
        """Which values are computed, and the last of them that reads each."""
        nodes = self.graph.nodes
        needed = [wanted is None or value in wanted for value in range(len(nodes))]
        last = [-1] * len(nodes)
        for value in reversed(range(len(nodes))):
            if needed[value] and value not in given:
                for other in operands(nodes[value]):
                    needed[other] = True
                    last[other] = max(last[other], value)
        return needed, last

    def _value(self, value: int, values: list[Ints], inputs: Mapping[int, Ints]) -> Ints:
        node, rule = self.graph.nodes[value], self._rules[value]
        if rule is not None:
            return np.asarray(rule(values))  # of rank 0 too, never a scalar
        if isinstance(node, Input):
            return _checked(node, inputs.get(value))
        return self._weights[value]

    def _rule(self, node: Node) -> Rule | None:
        match node:
            case Affine():
                return self._affine(node)
            case Reshape(value, shape):
                return lambda values: values[value].reshape(shape)
            case Step():
                return _step(node)
            case Maximum(left, right):
                return lambda values: np.maximum(values[left], values[right])
            case ArgMax(value, axis):
                return lambda values: np.argmax(values[value], axis=axis).astype(np.int64)
            case _:
                return None

    def _affine(self, node: Affine) -> Rule:
        contractions = [self._contraction(c, node.shape) for c in node.contractions]
        constant: Ints | None = None
        placed = []
        for term in node.terms:
            fixed = term.value == ONES or term.value in self._weights
            if not fixed:
                placed.append(_Placed.of(term))
                continue
            x = self._weights.get(term.value, np.ones(term.view.source, np.int64))
            compact = term.coefficient * range_analysis.compact(term.view, x)
            constant = compact if constant is None else constant + compact

        if not contractions and constant is None and len(placed) == 1 and placed[0].whole:
            only = placed[0]
            return lambda values: np.asarray(
                np.broadcast_to(only.scaled(values), node.shape), order="C"
            )

        def rule(values: list[Ints]) -> Ints:
            result: Ints | None = None
            for contract in contractions:
                product = contract(values)
                result = product if result is None else np.add(result, product, out=result)
            if result is None:
                result = np.empty(node.shape, np.int64)
                result[...] = 0 if constant is None else constant
            elif constant is not None:
                result += constant
            for part in placed:
                result[part.target] += part.scaled(values)
            return result

        return rule

    def _contraction(self, contraction: Contraction, shape: Shape) -> Rule:
        left, right = contraction.left, contraction.right
        plan = Plan.of(
            contraction,
            shape,
            self.graph.shape(left),
            self.graph.shape(right),
            self._most(contraction, len(shape)),
        )
        ready: dict[bool, Array] = {}
        for side, value in ((False, left), (True, right)):
            if value in self._weights:
                ready[side] = plan.prepared(self._weights[value], right=side)
        return lambda values: plan.run(values[left], values[right], ready)

    def _most(self, contraction: Contraction, rank: int) -> int:
        """Bound of the sum of the products' absolute values, for any cell of the result."""
        left, right = (
            max(abs(end) for end in self._ranges[v]) for v in (contraction.left, contraction.right)
        )
        # What is summed: every axis but those grouped with an axis of the result.
        labels = labels_of(contraction, rank)
        count = math.prod(n for n, a in zip(contraction.sums, labels, strict=True) if a >= rank)
        if contraction.right not in self._weights:
            return left * right * count
        weight = np.abs(self._weights[contraction.right])
        own = tuple(
            i
            for i, bind in enumerate(contraction.right_axes)
            if bind.sum >= 0 and labels[bind.sum] >= rank
        )
        counted = math.prod(contraction.sums[contraction.right_axes[i].sum] for i in own)
        # float64 sums are within 2^-20 of the truth, and the bound has that much to spare.
        total = float(weight.sum(axis=own, dtype=np.float64).max())
        return int(left * (total * (1 + 2.0**-20) + 1)) * (count // counted)


def _checked(node: Input | Weight, array: Ints | None) -> Ints:
    kind = "input" if isinstance(node, Input) else "weight"
    if array is None:
        raise ValueError(f"{kind} {node.name} is missing")
    if array.shape != node.shape or array.dtype != np.int64:
        raise ValueError(
            f"{kind} {node.name}: expected int64 {node.shape}, got {array.dtype} {array.shape}"
        )
    least, most = int(array.min()), int(array.max())
    if least < node.low or most > node.high:
        raise ValueError(
            f"{kind} {node.name}: from {least} to {most}, expected {node.low} to {node.high}"
        )
    return np.asarray(array, order="C")  # unlike ascontiguousarray, keeps rank 0


@dataclass(frozen=True)
class _Placed:
    """A term as cells of the result to which cells of a (smaller) source are added.

    Attributes:
        value, coefficient: of the term.
        maps: (axis, map) of the source that are not slices, applied first.
        source: what of the source is read.
        order, shape: the axes of the source in the order of the result, and with its broadcasts.
        target: which cells of the result are meant.
        whole: the target is all of the result.
    """

    value: int
    coefficient: int
    maps: tuple[tuple[int, AxisMap], ...]
    source: tuple[slice, ...]
    order: tuple[int, ...]
    shape: Shape
    target: tuple[slice, ...]
    whole: bool

    @classmethod
    def of(cls, term: Term) -> _Placed:
        view = term.view
        maps, source, whole = [], [], True
        target = [slice(None)] * len(view.shape)
        lengths = [1] * len(view.shape)
        for index, (to, axis) in enumerate(view.axes):
            slices = _as_slices(axis)
            if to < 0 or slices is None:
                maps.append((index, axis))
                source.append(slice(None))
                if to >= 0:
                    lengths[to] = axis.n_out
                continue
            target[to], taken, lengths[to] = slices
            source.append(taken)
            whole &= lengths[to] == axis.n_out
        kept = [i for _, i in sorted((to, i) for i, (to, _) in enumerate(view.axes) if to >= 0)]
        order = [*kept, *(i for i, (to, _) in enumerate(view.axes) if to < 0)]
        return cls(
            term.value,
            term.coefficient,
            tuple(maps),
            tuple(source),
            tuple(order),
            tuple(lengths),
            tuple(target),
            whole,
        )

    def scaled(self, values: list[Ints]) -> Ints:
        x = values[self.value]
        for index, axis in self.maps:
            x = axis.apply(x, index)
        x = x[self.source].transpose(self.order).reshape(self.shape)
        return x if self.coefficient == 1 else x * self.coefficient


def _as_slices(axis: AxisMap) -> tuple[slice, slice, int] | None:
    """(cells of the result, cells of the source, how many) of a map that copies a progression."""
    if axis.entries is None:
        return slice(None), slice(None), axis.n_out
    out, into, coefficient = axis.arrays
    if len(out) == 0 or (coefficient != 1).any():
        return None
    ends = []
    for index in (out, into):
        step = int(index[1] - index[0]) if len(index) > 1 else 1
        if step < 1 or (np.diff(index) != step).any():
            return None
        ends.append(slice(int(index[0]), int(index[-1]) + 1, step))
    return ends[0], ends[1], len(out)


def _step(node: Step) -> Rule:
    value, functions = node.value, node.functions
    dims = [node.shape[i] if i in node.channel else 1 for i in range(len(node.shape))]
    if all(isinstance(f, Requant) for f in functions):
        return _requant(value, [f for f in functions if isinstance(f, Requant)], dims)
    if all(isinstance(f, Table) for f in functions):
        return _tables(value, [f for f in functions if isinstance(f, Table)], dims)
    if len(functions) == 1 and isinstance(functions[0], Pair):
        low, high = domain(functions[0])
        table = functions[0].evaluate(np.arange(low, high + 1)).astype(np.int32)
        return lambda values: table.take(values[value] - low).astype(np.int64)
    if len(functions) == 1:
        return lambda values: functions[0].evaluate(values[value])
    return lambda values: _by_channel(values[value], functions, node.channel)


def _requant(value: int, functions: Sequence[Requant], dims: Sequence[int]) -> Rule:
    """`Requant.evaluate` for all channels at once, in place."""
    scale: Array = np.array([float32_of(f.scale) for f in functions], np.float32).reshape(dims)
    low: Array = np.array([f.low for f in functions], np.float32).reshape(dims)
    high: Array = np.array([f.high for f in functions], np.float32).reshape(dims)

    def rule(values: list[Ints]) -> Ints:
        scaled = values[value].astype(np.float32)
        np.multiply(scaled, scale, out=scaled)
        np.maximum(scaled, low, out=scaled)
        np.minimum(scaled, high, out=scaled)
        np.rint(scaled, out=scaled)
        return scaled.astype(np.int64)

    return rule


def _tables(value: int, functions: Sequence[Table], dims: Sequence[int]) -> Rule:
    """All tables in one array, each channel with its own origin."""
    joined = np.concatenate([np.array(f.values, np.int64) for f in functions])
    starts = np.cumsum([0, *(len(f.values) for f in functions[:-1])])
    origin = (starts - [f.low for f in functions]).astype(np.int64).reshape(dims)
    return lambda values: joined.take(values[value] + origin)


def _by_channel(a: Ints, functions: Sequence[Function], channel: Sequence[int]) -> Ints:
    result = np.empty(a.shape, np.int64)
    lengths = [a.shape[i] for i in channel]
    for cell, function in zip(np.ndindex(*lengths), functions, strict=True):
        at: list[slice | int] = [slice(None)] * a.ndim
        for axis, index in zip(channel, cell, strict=True):
            at[axis] = index
        result[tuple(at)] = function.evaluate(a[tuple(at)])
    return result
