"""Graphs for tests, and what they mean: cell by cell, in Python integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from proofml.circuits import ranges
from proofml.circuits.axes import AxisMap
from proofml.circuits.functions import Function, Relu, Requant, Steps, Table, bits_of
from proofml.circuits.graph import (
    ONES,
    Affine,
    ArgMax,
    Bind,
    Codec,
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
)

Range = tuple[int, int]


def dense(axis: AxisMap) -> list[list[int]]:
    """The matrix of a map."""
    matrix = [[0] * axis.n_in for _ in range(axis.n_out)]
    if axis.entries is None:
        for i in range(axis.n_in):
            matrix[i][i] = 1
    else:
        for out, into, coefficient in axis.entries:
            matrix[out][into] += coefficient
    return matrix


def view_of(view: View, x: Ints) -> Ints:
    """`View.apply`, from its definition."""
    matrices = [dense(axis) for _, axis in view.axes]
    result = np.zeros(view.shape, np.int64)
    for cell in np.ndindex(*view.shape):
        for source in np.ndindex(*x.shape):
            weight = 1
            for (target, _), matrix, index in zip(view.axes, matrices, source, strict=True):
                weight *= matrix[cell[target] if target >= 0 else 0][index]
            result[cell] += weight * int(x[source])
    return result


def _factor(x: Ints, binds: Sequence[Bind], out: Shape, sums: Shape) -> int:
    index = []
    for bind, length in zip(binds, x.shape, strict=True):
        if bind.window is not None:
            stride, dilation, offset = bind.window
            at = out[bind.out] * stride + sums[bind.sum] * dilation + offset
            if not 0 <= at < length:
                return 0
        elif bind.out >= 0 and bind.sum >= 0:
            at = out[bind.out]
            if at != sums[bind.sum]:
                return 0
        else:
            at = out[bind.out] if bind.out >= 0 else sums[bind.sum]
        index.append(at)
    return int(x[tuple(index)])


def contraction_of(contraction: Contraction, shape: Shape, left: Ints, right: Ints) -> Ints:
    """A contraction, from its definition."""
    result = np.zeros(shape, np.int64)
    for cell in np.ndindex(*shape):
        result[cell] = sum(
            _factor(left, contraction.left_axes, cell, sums)
            * _factor(right, contraction.right_axes, cell, sums)
            for sums in product(*(range(n) for n in contraction.sums))
        )
    return result


def values_of(graph: Graph, weights: Mapping[int, Ints], inputs: Mapping[int, Ints]) -> list[Ints]:
    """All values of a graph, from the definitions of its nodes."""
    values: list[Ints] = []
    for value, node in enumerate(graph.nodes):
        match node:
            case Input():
                result = inputs[value]
            case Weight():
                result = weights[value]
            case Affine():
                result = np.zeros(node.shape, np.int64)
                for term in node.terms:
                    ones = np.ones(term.view.source, np.int64)
                    x = ones if term.value == ONES else values[term.value]
                    result = result + term.coefficient * view_of(term.view, x)
                for c in node.contractions:
                    result = result + contraction_of(c, node.shape, values[c.left], values[c.right])
            case Reshape():
                result = np.array([int(i) for i in values[node.value].flat]).reshape(node.shape)
            case Step():
                result = np.zeros(node.shape, np.int64)
                lengths = [node.shape[axis] for axis in node.channel]
                for cell in np.ndindex(*node.shape):
                    which = 0
                    for axis, length in zip(node.channel, lengths, strict=True):
                        which = which * length + cell[axis]
                    one = np.array([values[node.value][cell]], np.int64)
                    result[cell] = node.functions[which].evaluate(one)[0]
            case Maximum():
                left, right = values[node.left], values[node.right]
                result = right + np.where(left - right > 0, left - right, 0)
            case ArgMax():
                moved = np.moveaxis(values[node.value], node.axis, -1)
                result = np.zeros(node.shape, np.int64)
                for cell in np.ndindex(*node.shape):
                    row = [int(v) for v in moved[cell]]
                    result[cell] = row.index(max(row))
        values.append(result)
    return values


class Builder:
    """Nodes, weights and exact bounds of a graph under construction."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[Node] = []
        self.weights: dict[int, Ints] = {}
        self.ranges: list[Range] = []

    def add(self, node: Node) -> int:
        if isinstance(node, Affine):
            low, high = ranges.affine_bounds(self.nodes, node, self.ranges, self.weights)
            node = replace(node, low=low, high=high)
        self.nodes.append(node)
        graph = Graph(tuple(self.nodes), (), (), {})
        self.ranges = list(ranges.ranges(graph))
        return len(self.nodes) - 1

    def shape(self, value: int) -> Shape:
        return self.nodes[value].shape

    def input(self, shape: Shape, low: int = -128, high: int = 127) -> int:
        return self.add(Input(f"x{len(self.nodes)}", shape, low, high))

    def weight(self, shape: Shape, low: int = -127, high: int = 127) -> int:
        numbers = self.rng.integers(low, high, shape, endpoint=True)
        least, most = min(0, int(numbers.min())), max(0, int(numbers.max()))
        value = self.add(Weight(f"w{len(self.nodes)}", shape, least, most))
        self.weights[value] = numbers
        return value

    def bias(self, shape: Shape, axis: int) -> Term:
        value = self.weight((shape[axis],), -1000, 1000)
        return Term(1, value, View(shape, ((axis, AxisMap.identity(shape[axis])),)))

    def requant(self, value: int, channel: tuple[int, ...] = ()) -> int:
        most = max(abs(end) for end in self.ranges[value]) + 1
        count = cells([self.shape(value)[axis] for axis in channel])
        functions = tuple(
            Requant(bits_of(float(self.rng.uniform(0.5, 4)) * 128 / most), -128, 127)
            for _ in range(count)
        )
        return self.add(Step(value, self.shape(value), functions, channel))

    def dense(self, x: int, n: int) -> int:
        rows, k = self.shape(x)
        bias = self.bias((rows, n), 1)
        weight = self.weight((k, n))
        binds = (Bind(out=0), Bind(sum=0)), (Bind(sum=0), Bind(out=1))
        contraction = Contraction(x, weight, (k,), *binds)
        return self.requant(self.add(Affine((rows, n), (bias,), (contraction,))))

    def conv(
        self, x: int, out: int, kernel: int, *, pad: int = 0, stride: int = 1, dilation: int = 1
    ) -> int:
        """The accumulators."""
        batch, channels, *image = self.shape(x)
        places = [(n + 2 * pad - (kernel - 1) * dilation - 1) // stride + 1 for n in image]
        shape = (batch, out, *places)
        bias = self.bias(shape, 1)
        weight = self.weight((out, channels, kernel, kernel))
        window = (stride, dilation, -pad)
        contraction = Contraction(
            x,
            weight,
            (channels, kernel, kernel),
            (Bind(0), Bind(-1, 0), Bind(2, 1, window), Bind(3, 2, window)),
            (Bind(1), Bind(-1, 0), Bind(-1, 1), Bind(-1, 2)),
        )
        return self.add(Affine(shape, (bias,), (contraction,)))

    def grouped(self, x: int, out: int, kernel: int, *, pad: int = 0) -> int:
        """Grouped convolution of [b, g, ci, h, w], the accumulators [b, g, out, h', w']."""
        batch, groups, channels, *image = self.shape(x)
        shape = (batch, groups, out, *(n + 2 * pad - kernel + 1 for n in image))
        weight = self.weight((groups, out, channels, kernel, kernel))
        window = (1, 1, -pad)
        contraction = Contraction(
            x,
            weight,
            (groups, channels, kernel, kernel),
            (Bind(0), Bind(-1, 0), Bind(-1, 1), Bind(3, 2, window), Bind(4, 3, window)),
            (Bind(1, 0), Bind(2), Bind(-1, 1), Bind(-1, 2), Bind(-1, 3)),
        )
        return self.add(Affine(shape, (), (contraction,)))

    def pooled(self, x: int, size: int, axes: Sequence[int] = (2, 3)) -> int:
        for axis in axes:
            shape = tuple(n // size if i == axis else n for i, n in enumerate(self.shape(x)))
            parts = [
                self.add(Affine(shape, (Term(1, x, self.strided(x, axis, size, tap)),)))
                for tap in range(size)
            ]
            x = parts[0]
            for part in parts[1:]:
                x = self.add(Maximum(x, part, shape))
        return x

    def strided(self, x: int, axis: int, stride: int, offset: int) -> View:
        source = self.shape(x)
        maps = [AxisMap.identity(n) for n in source]
        maps[axis] = AxisMap.window(
            source[axis] // stride, source[axis], stride=stride, offset=offset
        )
        return View(tuple(m.n_out for m in maps), tuple(enumerate(maps)))

    def graph(self, *outputs: int) -> Graph:
        """With ports; the last value is the output where none is named."""
        chosen = outputs or (len(self.nodes) - 1,)
        inputs = tuple(
            Port(n.name, n.shape, v, Codec("codes", "int32", 0, 0, n.low, n.high))
            for v, n in enumerate(self.nodes)
            if isinstance(n, Input)
        )
        codec = Codec("codes", "int32", 0, 0, -(1 << 29), 1 << 29)
        ports = tuple(Port(f"y{v}", self.shape(v), v, codec) for v in chosen)
        return Graph(tuple(self.nodes), inputs, ports, {"E": ("conv", "fc"), "T": ("act",)})

    def feed(self) -> dict[int, Ints]:
        """Random inputs, the ends of their ranges often."""
        result = {}
        for value, node in enumerate(self.nodes):
            if isinstance(node, Input):
                x = self.rng.integers(node.low, node.high, node.shape, endpoint=True)
                if self.rng.random() < 0.5:
                    x = np.where(self.rng.random(node.shape) < 0.5, node.low, node.high)
                result[value] = x.astype(np.int64)
        return result


def random_map(rng: np.random.Generator, n_in: int, n_out: int) -> AxisMap:
    kind = rng.integers(5)
    if kind == 0 and n_in == n_out:
        return AxisMap.identity(n_in)
    if kind == 1:
        return AxisMap.window(n_out, n_in, stride=2, offset=-1, taps=3)
    if kind == 2:
        return AxisMap.window(n_out, n_in, offset=int(rng.integers(-2, 3)))
    count = int(rng.integers(0, 6))
    entries = rng.integers(0, [n_out, n_in, 4], (count, 3))
    return AxisMap.of(n_out, n_in, (tuple(map(int, e)) for e in entries))  # type: ignore[misc]


def random_view(rng: np.random.Generator, source: Shape, shape: Shape) -> View:
    """Any view from one shape to another."""
    targets = list(rng.permutation(len(shape)))
    axes = []
    for n in source:
        if targets and rng.random() < 0.75:
            target = int(targets.pop())
            axes.append((target, random_map(rng, n, shape[target])))
        else:
            axes.append((-1, random_map(rng, n, 1)))
    return View(shape, tuple(axes))


def random_function(rng: np.random.Generator, low: int, high: int) -> Function:
    kind = rng.integers(4)
    if kind == 0:
        return Requant(bits_of(float(rng.uniform(0.001, 2))), -100, 100)
    if kind == 1 and high - low < 5000:
        extra = int(rng.integers(3))
        values = rng.integers(-50, 50, high - low + 1 + 2 * extra)
        return Table(low - extra, tuple(map(int, values)))
    if kind == 2 and high < 1000:
        return Relu()
    thresholds = sorted({int(t) for t in rng.integers(low - 3, high + 4, 4)})
    return Steps(tuple(thresholds), tuple((-7, 5, 11)[i % 3] for i in range(len(thresholds) + 1)))


def random_shape(rng: np.random.Generator, rank: int) -> Shape:
    return tuple(int(n) for n in rng.integers(1, 4, rank))


def random_contraction(b: Builder, x: int) -> Affine:
    """Any contraction whose left operand is `x`, its axes bound at random."""
    rng = b.rng
    out: list[int] = []
    sums: list[int] = []
    left: list[Bind] = []
    right: list[tuple[int, Bind]] = []  # length, bind
    for n in b.shape(x):
        kind = rng.integers(7)
        if kind <= 1:  # rows
            left.append(Bind(out=len(out)))
            out.append(n)
        elif kind <= 3:  # summed
            left.append(Bind(sum=len(sums)))
            right.append((n, Bind(sum=len(sums))))
            sums.append(n)
        elif kind == 4:  # group
            pair = Bind(out=len(out), sum=len(sums)), Bind(sum=len(sums))
            first, second = pair if rng.random() < 0.5 else pair[::-1]
            left.append(first)
            right.append((n, second))
            out.append(n)
            sums.append(n)
        else:  # window
            places, taps = int(rng.integers(1, 4)), int(rng.integers(1, 4))
            stride, dilation = int(rng.integers(1, 3)), int(rng.integers(1, 3))
            window = stride, dilation, int(rng.integers(-3, 3))
            left.append(Bind(len(out), len(sums), window))
            right.append((taps, Bind(sum=len(sums))))
            out.append(places)
            sums.append(taps)
    for _ in range(int(rng.integers(0, 3))):
        n = int(rng.integers(1, 4))
        right.append((n, Bind(out=len(out))))
        out.append(n)
    out_order, sum_order = rng.permutation(len(out)), rng.permutation(len(sums))

    def moved(bind: Bind) -> Bind:
        place = int(out_order[bind.out]) if bind.out >= 0 else -1
        return Bind(place, int(sum_order[bind.sum]) if bind.sum >= 0 else -1, bind.window)

    order = rng.permutation(len(right))
    right = [right[i] for i in order]
    placed = [0] * len(out)
    for old, new in enumerate(out_order):
        placed[int(new)] = out[old]
    lengths = [0] * len(sums)
    for old, new in enumerate(sum_order):
        lengths[int(new)] = sums[old]
    other_shape = tuple(n for n, _ in right)
    if rng.random() < 0.8:
        other = b.weight(other_shape, -9, 9)
    else:
        other = b.input(other_shape, -5, 9)
    contraction = Contraction(
        x,
        other,
        tuple(lengths),
        tuple(moved(bind) for bind in left),
        tuple(moved(bind) for _, bind in right),
    )
    return Affine(tuple(placed), (), (contraction,))


def random_graph(seed: int, size: int = 6) -> Builder:
    """A valid graph with nodes of all kinds."""
    rng = np.random.default_rng(seed)
    b = Builder(rng)
    b.input(random_shape(rng, int(rng.integers(0, 4))), -3, int(rng.integers(-1, 9)))
    deep: set[int] = set()
    for _ in range(size):
        shallow = [
            v for v, n in enumerate(b.nodes) if v not in deep and not isinstance(n, Weight | ArgMax)
        ]
        x = int(rng.choice(shallow))
        shape = b.shape(x)
        kind = rng.integers(6)
        if kind == 0 and max(map(abs, b.ranges[x])) < 1000:
            value = b.add(random_contraction(b, x))
            deep.add(value)
            if rng.random() < 0.7:
                low, high = b.ranges[value]
                b.add(Step(value, b.shape(value), (random_function(rng, low, high),)))
        elif kind == 1:
            target = random_shape(rng, int(rng.integers(0, 4)))
            terms = []
            for _ in range(int(rng.integers(1, 4))):
                source = int(rng.choice([ONES, *range(len(b.nodes))]))
                if source != ONES and isinstance(b.nodes[source], ArgMax):
                    source = ONES
                from_shape = (
                    random_shape(rng, int(rng.integers(0, 3)))
                    if source == ONES
                    else b.shape(source)
                )
                coefficient = int(rng.choice([-3, -1, 1, 1, 2]))
                terms.append(Term(coefficient, source, random_view(rng, from_shape, target)))
            value = b.add(Affine(target, tuple(terms)))
            if deep.intersection(term.value for term in terms):
                deep.add(value)
        elif kind == 2:
            order = list(rng.permutation(len(shape)))
            b.add(Reshape(x, tuple(shape[i] for i in order)))
        elif kind == 3:
            low, high = b.ranges[x]
            channel = tuple(i for i in range(len(shape)) if rng.random() < 0.5)
            count = cells([shape[i] for i in channel])
            functions = tuple(random_function(rng, low, high) for _ in range(count))
            b.add(Step(x, shape, functions, channel))
        elif kind == 4:
            others = [v for v in shallow if b.shape(v) == shape]
            b.add(Maximum(x, int(rng.choice(others)), shape))
        elif shape:
            b.add(
                ArgMax(x, (axis := int(rng.integers(len(shape)))), shape[:axis] + shape[axis + 1 :])
            )
    return b


def random_outputs(b: Builder) -> Graph:
    """The graph with all indices of maxima and its last value as outputs."""
    indices = [v for v, n in enumerate(b.nodes) if isinstance(n, ArgMax)]
    return b.graph(*sorted({*indices, len(b.nodes) - 1}))
