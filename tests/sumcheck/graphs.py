"""Small graphs, built by hand, that together use everything the native prover knows.

`CASES` maps a name to a function that makes a `Case`: graph, weights, visibility. The numbers are
small on purpose, and the lengths rarely powers of two: padding is where mistakes hide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from proofml.circuits import ranges
from proofml.circuits.axes import AxisMap
from proofml.circuits.functions import Function, Requant, Steps, Table, bits_of
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
)
from proofml.circuits.structure import validate
from proofml.zkml.sumcheck.layout import PORTS, Layout, Visibility, arrange
from proofml.zkml.sumcheck.params import Params


@dataclass
class Builder:
    """Adds nodes; every method returns the number of the new value."""

    seed: int = 0
    nodes: list[Node] = field(default_factory=list)
    weights: dict[int, Ints] = field(default_factory=dict)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def shape(self, value: int) -> Shape:
        return self.nodes[value].shape

    def bounds(self) -> tuple[tuple[int, int], ...]:
        return ranges.ranges(Graph(tuple(self.nodes), (), (), {}))

    def input(self, *shape: int, low: int = -8, high: int = 7) -> int:
        name = f"x{len(self.inputs)}"
        value = self.add(Input(name, shape, low, high))
        self.inputs.append(Port(name, shape, value, Codec("codes", "int8", 0, 0, low, high)))
        return value

    def weight(self, *shape: int, most: int = 7) -> int:
        return self.constant(self.rng.integers(-most, most + 1, shape).astype(np.int64))

    def constant(self, numbers: Ints) -> int:
        low, high = min(int(numbers.min()), 0), max(int(numbers.max()), 0)
        value = self.add(Weight(f"w{len(self.nodes)}", numbers.shape, low, high))
        self.weights[value] = numbers
        return value

    def affine(self, shape: Shape, *parts: Term | Contraction) -> int:
        """An Affine with the bounds that `ranges` finds."""
        terms = tuple(part for part in parts if isinstance(part, Term))
        contractions = tuple(part for part in parts if isinstance(part, Contraction))
        node = Affine(shape, terms, contractions)
        low, high = ranges.affine_bounds(self.nodes, node, self.bounds(), self.weights)
        return self.add(replace(node, low=low, high=high))

    def term(self, value: int, coefficient: int = 1, view: View | None = None) -> Term:
        return Term(coefficient, value, view or View.identity(self.shape(value)))

    def matmul(self, x: int, columns: int, *, bias: bool = False) -> int:
        """`x @ w`, over the last axis."""
        shape = self.shape(x)
        w = self.weight(shape[-1], columns)
        out = (*shape[:-1], columns)
        left = (*(Bind(out=i) for i in range(len(shape) - 1)), Bind(sum=0))
        parts: list[Term | Contraction] = [
            Contraction(x, w, shape[-1:], left, (Bind(sum=0), Bind(out=len(shape) - 1)))
        ]
        if bias:
            b = self.weight(columns, most=300)
            identity = AxisMap.identity(columns)
            parts.append(Term(1, b, View(out, ((len(shape) - 1, identity),))))
        return self.affine(out, *parts)

    def step(self, value: int, low: int = -100, high: int = 100, **more: object) -> int:
        """A requantisation whose result fills its range, or the functions that are given."""
        least, most = self.bounds()[value]
        scale = 1.1 * (high - low) / max(1, most - least)
        functions = (Requant(bits_of(scale), low, high),)
        return self.functions(value, functions) if not more else self._channels(value, more)

    def functions(
        self, value: int, functions: Sequence[Function], channel: tuple[int, ...] = ()
    ) -> int:
        return self.add(Step(value, self.shape(value), tuple(functions), channel))

    def _channels(self, value: int, more: Mapping[str, object]) -> int:
        channel = more["channel"]
        assert isinstance(channel, tuple)
        count = int(np.prod([self.shape(value)[axis] for axis in channel]))
        least, most = self.bounds()[value]
        scales = [(1 + k % 3) * 100 / max(1, most - least) for k in range(count)]
        return self.functions(
            value, [Requant(bits_of(s), -90 + k % 2, 90) for k, s in enumerate(scales)], channel
        )

    def output(self, value: int) -> None:
        name = f"y{len(self.outputs)}"
        bound = 1 << 29
        codec = Codec("codes", "int32", 0, 0, -bound, bound)
        self.outputs.append(Port(name, self.shape(value), value, codec))

    def case(self, visibility: Visibility | None = None) -> Case:
        graph = Graph(tuple(self.nodes), tuple(self.inputs), tuple(self.outputs), {})
        validate(graph)
        ranges.check(graph, self.weights)
        return Case(graph, self.weights, visibility or Visibility())


@dataclass(frozen=True)
class Case:
    graph: Graph
    weights: Mapping[int, Ints]
    visibility: Visibility

    def inputs(self, seed: int = 0) -> dict[int, Ints]:
        """Random inputs; the ends of the range are among them."""
        rng = np.random.default_rng(seed)
        found = {}
        for number, node in enumerate(self.graph.nodes):
            if isinstance(node, Input):
                values = rng.integers(node.low, node.high + 1, node.shape).astype(np.int64)
                values.reshape(-1)[:1] = node.low if seed % 2 else node.high
                found[number] = values
        return found

    @property
    def layout(self) -> Layout:
        return arrange(self.graph, self.visibility)


def toy(layout: Layout, *, folds: bool = True, queries: int = 5, grind: int = 2) -> Params:
    """Few queries, little work; two folded layers where the trees are large enough."""
    largest = max(stack.log for stack in layout.trees.values())
    mu = max(1, min(largest - 1, 6))
    return Params(mu, (2, 1) if folds and mu >= 4 else (), 2, queries, grind)


def plain(shape: Shape) -> tuple[tuple[int, AxisMap], ...]:
    return View.identity(shape).axes


# -- the cases -------------------------------------------------------------------------------


def tiny() -> Case:
    """A single lookup, 1 x 1: nothing is smaller."""
    b = Builder()
    x = b.input(1, 1, low=0, high=3)
    b.output(b.functions(x, [Table(0, (0, 1, 1, 2))]))
    return b.case()


def mlp() -> Case:
    """Two layers with bias, batch 3, windows."""
    b = Builder(1)
    x = b.input(3, 6, low=-13, high=20)
    h = b.step(b.matmul(x, 5, bias=True))
    b.output(b.step(b.matmul(h, 3, bias=True)))
    return b.case()


def conv() -> Case:
    """Stride, padding and dilation that differ by axis, batch 2; then pooling by sum."""
    b = Builder(2)
    x = b.input(2, 3, 7, 6, low=-4, high=3)
    w = b.weight(4, 3, 3, 2, most=2)
    left = (Bind(out=0), Bind(sum=0), Bind(2, 1, (2, 1, -1)), Bind(3, 2, (1, 3, -2)))
    right = (Bind(out=1), Bind(sum=0), Bind(sum=1), Bind(sum=2))
    bias = b.weight(4, most=20)
    view = View((2, 4, 4, 7), ((1, AxisMap.identity(4)),))
    conv = Contraction(x, w, (3, 3, 2), left, right)
    h = b.step(b.affine((2, 4, 4, 7), conv, Term(1, bias, view)), channel=(1,))
    pool = View(
        (2, 4, 2, 1),
        (*plain((2, 4)), (2, AxisMap.window(2, 4, stride=2, taps=2)), (3, AxisMap.total(7))),
    )
    b.output(b.step(b.affine((2, 4, 2, 1), Term(1, h, pool)), -50, 50))
    return b.case()


def grouped() -> Case:
    """A convolution in two groups, as (n, g, c, w) and (g, o, c, k)."""
    b = Builder(3)
    x = b.input(1, 2, 3, 5)
    w = b.weight(2, 2, 3, 3)
    left = (Bind(out=0), Bind(sum=0), Bind(sum=1), Bind(3, 2, (1, 1, -1)))
    right = (Bind(out=1, sum=0), Bind(out=2), Bind(sum=1), Bind(sum=2))
    conv = Contraction(x, w, (2, 3, 3), left, right)
    h = b.step(b.affine((1, 2, 2, 5), conv), -20, 20)
    b.output(b.step(b.affine((4, 5), b.term(b.add(Reshape(h, (4, 5))), 3)), -5, 5))
    return b.case()


def attention() -> Case:
    """A batched product of two committed values, and a bound output of its sums."""
    b = Builder(4)
    x = b.input(2, 3, 4)
    q, k = b.step(b.matmul(x, 4), -30, 30), b.step(b.matmul(x, 4), -30, 30)
    left = (Bind(out=0, sum=0), Bind(out=1), Bind(sum=1))
    right = (Bind(sum=0), Bind(out=2), Bind(sum=1))
    scores = b.affine((2, 3, 3), Contraction(q, k, (2, 4), left, right))
    b.output(scores)
    b.output(b.step(scores))
    return b.case()


def views() -> Case:
    """Slices, padding, a transpose, broadcasts, sums, several terms, ONES; T = 1, no weights."""
    b = Builder(5)
    x, y = b.input(3, 5), b.input(4)
    cut = View((4, 3), ((1, AxisMap.identity(3)), (0, AxisMap.window(4, 5, offset=1))))
    pad = View((4, 3), ((1, AxisMap.window(3, 3, offset=-1)), (0, AxisMap.window(4, 5, stride=2))))
    wide = View((4, 3), ((0, AxisMap.identity(4)),))
    summed = View((4, 3), ((1, AxisMap.identity(3)), (-1, AxisMap.total(5))))
    ones = View((4, 3), ((0, AxisMap.of(4, 3, [(0, 0, 1), (2, 1, 5)])),))
    a = b.affine(
        (4, 3), Term(2, x, cut), Term(-1, x, pad), Term(3, y, wide), Term(1, x, summed),
        Term(-4, ONES, ones),
    )  # fmt: skip
    h = b.functions(a, [Table(*_table(b, a))])
    b.output(b.step(b.affine((4, 3), b.term(h), b.term(a, 2)), -9, 9))
    b.output(h)
    return b.case()


def _table(b: Builder, value: int) -> tuple[int, tuple[int, ...]]:
    low, high = b.bounds()[value]
    return low, tuple(abs(a) % 7 - 3 for a in range(low, high + 1))


def reshapes() -> Case:
    """Axes merged, split, added and dropped, down to a scalar and up again."""
    b = Builder(6)
    x = b.input(2, 6, 1, low=-3, high=3)
    h = b.functions(x, [Table(-3, (3, 2, 1, 0, 1, 2, 3))])
    r = b.add(Reshape(b.add(Reshape(h, (4, 3))), (1, 2, 1, 2, 3, 1)))
    axes = [(0, AxisMap.identity(1)), (1, AxisMap.window(3, 2, offset=-1)), (-1, AxisMap.total(1))]
    axes += [(2, AxisMap.identity(2)), (-1, AxisMap.total(3)), (3, AxisMap.identity(1))]
    a = b.affine((1, 3, 2, 1), Term(1, r, View((1, 3, 2, 1), tuple(axes))))
    b.output(b.step(a, -4, 4))
    s = b.affine((), Term(1, h, View((), tuple((-1, AxisMap.total(n)) for n in (2, 6, 1)))))
    one = b.add(Reshape(s, (1, 1)))
    spread = View((2, 3), ((0, AxisMap.of(2, 1, [(1, 0, 3)])), (1, AxisMap.of(3, 1, [(2, 0, 5)]))))
    b.output(b.step(b.affine((2, 3), Term(1, one, spread)), -60, 60))
    b.output(b.add(Reshape(h, (12,))))
    return b.case()


def channels() -> Case:
    """Functions that differ along one axis and along two, windowed and written out."""
    b = Builder(7)
    x = b.input(2, 3, 5, low=-20, high=20)
    a = b.affine((2, 3, 5), b.term(x, 180))
    one = b.step(a, channel=(1,))
    two = b.functions(x, [Table(-20, tuple((v * k) % 11 for v in range(41))) for k in range(1, 11)],
                      (0, 2))  # fmt: skip
    b.output(one)
    b.output(two)
    return b.case()


def steps() -> Case:
    """A function that rises and falls, over a range that needs windows, and a constant one."""
    b = Builder(8)
    x = b.input(7, low=-100, high=100)
    a = b.affine((7,), b.term(x, 50), Term(123, ONES, View((7,), ())))
    f = Steps((-3000, -10, 50, 2000, 4000), (3, -2, 9, -2, 0, 5))
    b.output(b.functions(a, [f]))
    b.output(b.functions(a, [Requant(bits_of(1e-8), -3, 3)]))
    return b.case()


def pools() -> Case:
    """A tree of maxima, their values read and put out."""
    b = Builder(9)
    x = b.input(2, 8)
    h = b.functions(x, [Table(-8, tuple(v * v % 23 - 9 for v in range(16)))])
    parts = []
    for offset in range(3):
        view = View((2, 3), ((0, AxisMap.identity(2)),
                             (1, AxisMap.window(3, 8, stride=2, offset=offset))))  # fmt: skip
        parts.append(b.affine((2, 3), Term(1, h, view)))
    first = b.add(Maximum(parts[0], parts[1], (2, 3)))
    top = b.add(Maximum(first, parts[2], (2, 3)))
    b.output(top)
    b.output(b.step(b.affine((2, 3), b.term(top, 4), b.term(first, -1)), -20, 20))
    return b.case()


def argmaxes() -> Case:
    """Indices along two axes of one value; many ties."""
    b = Builder(10)
    x = b.input(3, 5, low=-2, high=2)
    h = b.functions(x, [Table(-2, (2, 0, 1, 0, 2))])
    b.output(b.add(ArgMax(h, 1, (3,))))
    b.output(b.add(ArgMax(h, 0, (5,))))
    b.output(h)
    return b.case()


def committed() -> Case:
    """Inputs that only a root names, in the P tree: three trees, two selector rounds."""
    b = Builder(11)
    x, y = b.input(2, 5, low=-5, high=9), b.input(5, low=-3, high=3)
    wide = View((2, 5), ((1, AxisMap.identity(5)),))
    s = b.affine((2, 5), b.term(x), Term(-2, y, wide))
    h = b.step(s, -6, 6)
    b.output(b.step(b.matmul(h, 3, bias=True), -20, 20))
    b.output(y)
    return b.case(Visibility(inputs=False))


def hidden() -> Case:
    """Inputs and outputs in the P tree, and no weights."""
    b = Builder(12)
    x = b.input(3, 2, low=-5, high=9)
    b.output(b.functions(x, [Table(-5, tuple(v % 4 for v in range(15)))]))
    return b.case(Visibility(inputs=False, outputs=False))


def linear() -> Case:
    """No lookup at all: only claims at a random point."""
    b = Builder(13)
    x = b.input(2, 3)
    b.output(b.matmul(x, 2, bias=True))
    return b.case()


def several() -> Case:
    """Contractions of different lengths, one of length 1, that share operands and claims."""
    b = Builder(14)
    x, y = b.input(1, 9), b.input(4, 1)
    a, c = b.matmul(x, 3), b.matmul(y, 3, bias=True)
    both = View((4, 3), ((-1, AxisMap.total(1)), (1, AxisMap.identity(3))))
    s = b.affine((4, 3), Term(1, a, both), b.term(c, 2))
    h = b.step(s, -15, 15)
    b.output(s)
    b.output(b.step(b.affine((4, 2), b.term(b.matmul(h, 2), 3), b.term(b.matmul(h, 2))), -9, 9))
    return b.case()


CASES: dict[str, Callable[[], Case]] = {
    f.__name__: lru_cache(f)
    for f in (
        tiny,
        mlp,
        conv,
        grouped,
        attention,
        views,
        reshapes,
        channels,
        steps,
        pools,
        argmaxes,
        committed,
        hidden,
        linear,
        several,
    )
}


def random_case(seed: int) -> Case:
    """A random chain of everything."""
    b = Builder(seed)
    rng = b.rng
    shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(1, 4)))
    h = b.input(*shape, low=-int(rng.integers(1, 9)), high=int(rng.integers(1, 9)))
    for _ in range(int(rng.integers(1, 5))):
        h = _grow(b, h, int(rng.integers(0, 7)))
    shape = b.shape(h)
    if rng.integers(2) and shape and not isinstance(b.nodes[h], Affine):
        axis = int(rng.integers(len(shape)))
        b.output(b.add(ArgMax(h, axis, shape[:axis] + shape[axis + 1 :])))
    b.output(h)
    return b.case(Visibility(inputs=bool(rng.integers(2))))


def _grow(b: Builder, h: int, kind: int) -> int:
    rng, shape = b.rng, b.shape(h)
    low, high = b.bounds()[h]
    if high - low > 400 and not isinstance(b.nodes[h], Step):
        return b.step(h, -8, 7)
    match kind:
        case 0 if shape:
            return b.step(b.matmul(h, int(rng.integers(1, 5)), bias=bool(rng.integers(2))), -8, 7)
        case 1:
            cells = int(np.prod(shape))
            cut = next((n for n in (3, 2, 4) if cells % n == 0), 1)
            return b.add(Reshape(h, (cut, cells // cut, 1)))
        case 2 if shape:
            axis = int(rng.integers(len(shape)))
            return b.step(b.affine(shape, b.term(h, 7)), channel=(axis,))
        case 3:
            other = b.affine(shape, b.term(h, -1), Term(2, ONES, View(shape, ())))
            return b.add(Maximum(h, other, shape))
        case 4 if shape:
            order = rng.permutation(len(shape)).tolist()
            axes, target = [], [0] * len(shape)
            for n, to in zip(shape, order, strict=True):
                new = int(rng.integers(1, n + 2))
                axes.append((to, AxisMap.window(new, n, offset=int(rng.integers(-1, 2)), taps=2)))
                target[to] = new
            return b.affine(tuple(target), Term(1, h, View(tuple(target), tuple(axes))))
        case 5 if shape:
            axes = ((-1, AxisMap.total(shape[0])), *((i, AxisMap.identity(n)) for i, n in
                                                    enumerate(shape[1:])))  # fmt: skip
            target = (*shape[1:], int(rng.integers(1, 4)))
            return b.affine(target, Term(1, h, View(target, axes)))
        case _:
            return b.functions(h, [Table(low, tuple(rng.integers(-8, 8, high - low + 1).tolist()))])


def committed_values(layout: Layout) -> list[int]:
    """Values that lie in the P tree."""
    return [value for value, (tree, _) in layout.column.items() if tree == PORTS]
