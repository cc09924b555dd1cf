"""Small programs built by hand, and what they compute, straight from the words of `program`.

The evaluation here shares no code with the arbiter's: plain loops over tensors and records that
are held as lists. It is the truth to which everything else is compared.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import numpy as np

from proofml.optimistic.cells import encode
from proofml.optimistic.commit import descriptor_tree
from proofml.optimistic.encoding import ONES, descriptor
from proofml.optimistic.merkle import Tree, tree_of_chunks
from proofml.optimistic.program import (
    CHUNK,
    Axis,
    Cells,
    Fold,
    Operand,
    Operator,
    Output,
    Part,
    Port,
    Program,
    Rule,
    Source,
    Table,
)

Values = list[int]
SCALE = struct.unpack(">I", struct.pack(">f", 0.03125))[0]


def shaped(cells: Cells, values: Sequence[int]) -> np.ndarray:
    return np.array(values, np.int64).reshape(cells.shape)


@dataclass
class Tensor:
    """A tensor's bytes and tree."""

    cells: Cells
    data: bytes
    tree: Tree

    @classmethod
    def of(cls, cells: Cells, values: Sequence[int]) -> Tensor:
        return cls.raw(cells, encode(cells, shaped(cells, values)).tobytes())

    @classmethod
    def raw(cls, cells: Cells, data: bytes) -> Tensor:
        return cls(cells, data, tree_of_chunks(data, CHUNK))

    @property
    def root(self) -> bytes:
        return self.tree.root

    def chunk(self, number: int) -> bytes:
        return self.data[number * CHUNK : (number + 1) * CHUNK]


@dataclass
class Kit:
    """Constants of a program under construction, by their roots."""

    records: dict[bytes, list[bytes]] = field(default_factory=dict)
    trees: dict[bytes, Tree] = field(default_factory=dict)
    weights: dict[bytes, tuple[Values, Tensor]] = field(default_factory=dict)

    def table(self, records: Sequence[bytes]) -> Table:
        size = len(records[0])
        tree = tree_of_chunks(b"".join(records), CHUNK // size * size)
        self.records[tree.root] = list(records)
        self.trees[tree.root] = tree
        return Table(tree.root, len(records), size)

    def weight(self, shape: tuple[int, ...], values: Sequence[int], *axes: Axis) -> Operand:
        cells = Cells.of(shape, min(values), max(values))
        tensor = Tensor.of(cells, values)
        self.weights[tensor.root] = (list(values), tensor)
        return Operand(Source.WEIGHT, 0, cells, axes, tensor.root)

    def axis(self, length: int, entries: Sequence[tuple[int, int]], **places: int) -> Axis:
        table = self.table([struct.pack(">ii", *entry) for entry in entries])
        return Axis(length, table=table, **places)

    def requant(self, scales: Sequence[int], low: int, high: int, *channel: int) -> Output:
        records = [struct.pack(">Iii", scale, low, high) for scale in scales]
        return Output(Rule.REQUANT, channel, self.table(records))

    def intervals(self, rows: Sequence[tuple[int, int, int, int]], *channel: int) -> Output:
        records = [struct.pack(">Iiii", *row) for row in rows]
        return Output(Rule.INTERVALS, channel, self.table(records))


@dataclass
class Tiny:
    """A program with all that it is made of.

    Attributes:
        kit: constants.
        descriptors: tree over the operators' descriptors, and their bytes.
    """

    name: str
    program: Program
    kit: Kit
    descriptors: Tree
    bytes_of: list[bytes]

    def run(self, inputs: Sequence[Values], stop: int | None = None) -> list[Values]:
        """All operators' outputs."""
        outputs: list[Values] = []
        for operator in self.program.operators[:stop]:
            outputs.append(self.output(operator, inputs, outputs))
        return outputs

    def output(
        self, operator: Operator, inputs: Sequence[Values], outputs: Sequence[Values]
    ) -> Values:
        return [
            self.rule(operator, cell, self.states(operator, inputs, outputs, cell)[-1])
            for cell in range(operator.cells.count)
        ]

    def states(
        self,
        operator: Operator,
        inputs: Sequence[Values],
        outputs: Sequence[Values],
        cell: int,
    ) -> Values:
        """The states of one cell's fold, with the one before the first summand."""
        values = list(self._summands(operator, inputs, outputs, cell))
        state = -(2**31) if operator.fold is Fold.MAXIMUM else 0
        states = [state]
        for j, value in enumerate(values):
            if operator.fold is Fold.SUM:
                state += value
            elif operator.fold is Fold.MAXIMUM:
                state = max(state, value)
            elif value > values[state]:
                state = j
            states.append(state)
        return states

    def _summands(
        self,
        operator: Operator,
        inputs: Sequence[Values],
        outputs: Sequence[Values],
        cell: int,
    ) -> list[int]:
        out = [int(i) for i in np.unravel_index(cell, operator.cells.shape)]
        found = []
        for part in operator.parts:
            for sums in np.ndindex(*part.sums):
                value = part.coefficient
                for operand in (part.left, part.right):
                    if operand is not None and operand.source is not Source.ONES:
                        value *= self._operand(operand, inputs, outputs, out, sums, part.sums)
                found.append(value)
        return found

    def _operand(
        self,
        operand: Operand,
        inputs: Sequence[Values],
        outputs: Sequence[Values],
        out: list[int],
        sums: tuple[int, ...],
        lengths: tuple[int, ...],
    ) -> int:
        index, factor = [], 1
        for axis in operand.axes:
            if axis.table is None:
                at = axis.offset
                if axis.out >= 0:
                    at += out[axis.out] * axis.stride
                if axis.sum >= 0:
                    at += sums[axis.sum] * axis.dilation
            else:
                taps = lengths[axis.sum] if axis.sum >= 0 else 1
                number = out[axis.out] * taps if axis.out >= 0 else 0
                number += sums[axis.sum] if axis.sum >= 0 else 0
                at, coefficient = struct.unpack(">ii", self.kit.records[axis.table.root][number])
                factor *= coefficient
            if at < 0 or at >= axis.length:
                return 0
            index.append(at)
        flat = int(np.ravel_multi_index(index, operand.cells.shape)) if index else 0
        if operand.source is Source.INPUT:
            return factor * inputs[operand.index][flat]
        if operand.source is Source.OPERATOR:
            return factor * outputs[operand.index][flat]
        return factor * self.kit.weights[operand.root][0][flat]

    def channel(self, operator: Operator, cell: int) -> int:
        out = np.unravel_index(cell, operator.cells.shape)
        axes = operator.output.channel
        dims = [operator.cells.shape[axis] for axis in axes]
        return int(np.ravel_multi_index([out[axis] for axis in axes], dims)) if axes else 0

    def rule(self, operator: Operator, cell: int, state: int) -> int:
        rule, table = operator.output.rule, operator.output.table
        if rule is Rule.IDENTITY:
            return state
        if rule is Rule.RELU:
            return state if state > 0 else 0
        assert table is not None
        channel = self.channel(operator, cell)
        rows = self.kit.records[table.root]
        if rule is Rule.REQUANT:
            bits, low, high = struct.unpack(">Iii", rows[channel])
            scale = np.uint32(bits).view(np.float32)
            product = np.float32(np.int64(state)) * scale
            return int(np.rint(min(max(product, np.float32(low)), np.float32(high))))
        for row in rows:
            found, start, end, value = struct.unpack(">Iiii", row)
            if found == channel and start <= state <= end:
                return int(value)
        raise AssertionError(f"no interval for {state}")


def finished(name: str, kit: Kit, operators: Sequence[Operator], ports: _Ports) -> Tiny:
    bytes_of = [descriptor(operator) for operator in operators]
    tree = descriptor_tree(bytes_of)
    inputs = tuple(Port("", cells, Source.INPUT, i) for i, cells in enumerate(ports.inputs))
    outputs = tuple(
        Port("", operators[i].cells if source is Source.OPERATOR else ports.inputs[i], source, i)
        for source, i in ports.outputs
    )
    return Tiny(name, Program(tuple(operators), inputs, outputs, tree.root), kit, tree, bytes_of)


@dataclass
class _Ports:
    inputs: list[Cells]
    outputs: list[tuple[Source, int]]


def plain(out: int) -> dict[str, int]:
    """An axis that follows an axis of the output."""
    return {"out": out, "stride": 1}


def whole(cells: Cells, source: Source, index: int) -> Operand:
    """The tensor itself, cell by cell."""
    axes = tuple(Axis(n, **plain(i)) for i, n in enumerate(cells.shape))
    return Operand(source, index, cells, axes)


# ---------------------------------------------------------------- the zoo
def one() -> Tiny:
    """One operator, one summand, one chunk: everything that can be skipped is."""
    cells = Cells.of((3,), -8, 7)
    doubled = Operator(
        Fold.SUM, Cells.of((3,), -16, 14), (Part(2, (), whole(cells, Source.INPUT, 0)),), Output()
    )
    return finished("one", Kit(), [doubled], _Ports([cells], [(Source.OPERATOR, 0)]))


def network() -> Tiny:
    """Every kind of fold, rule, axis and operand."""
    rng = np.random.default_rng(7)
    kit = Kit()
    x = Cells.of((2, 9, 9), -8, 7)
    small = Cells.of((4, 5, 5), -8, 7)
    kernel = kit.weight(
        (4, 2, 3, 3),
        [int(v) for v in rng.integers(-9, 10, 72)],
        Axis(4, **plain(0)),
        *(Axis(n, sum=i, dilation=1) for i, n in enumerate((2, 3, 3))),
    )
    windows = (
        Axis(2, sum=0, dilation=1),
        Axis(9, out=1, sum=1, stride=2, dilation=1, offset=-1),
        Axis(9, out=2, sum=2, stride=2, dilation=1, offset=-1),
    )
    bias = kit.weight((4,), [-300, 5, 20, 90], Axis(4, **plain(0)))
    convolution = Operator(
        Fold.SUM,
        small,
        (
            Part(1, (2, 3, 3), Operand(Source.INPUT, 0, x, windows), kernel),
            Part(1, (), ONES, bias),
        ),
        kit.requant([SCALE, SCALE + 1, SCALE - 5, SCALE + 9], -8, 7, 0),
    )
    steps = kit.intervals(
        [(0, -(2**31), -9, -4), (0, -8, 0, 0), (0, 1, 7, 3), (0, 8, 2**31 - 1, 7)]
    )
    mixed = Operator(
        Fold.SUM,
        Cells.of((4, 5, 5), -4, 7),
        (
            Part(2, (), whole(small, Source.OPERATOR, 0)),
            Part(-3, (), whole(small, Source.OPERATOR, 0)),
        ),
        steps,
    )
    entries = [(int(v), int(c)) for v, c in zip(rng.integers(-1, 5, 24), [1, -2] * 12, strict=True)]
    picked = Operator(
        Fold.SUM,
        Cells.of((4, 5, 12), -100, 100),
        (
            Part(
                3,
                (2,),
                Operand(
                    Source.OPERATOR,
                    0,
                    small,
                    (
                        Axis(4, **plain(0)),
                        kit.axis(5, [(i, 1) for i in (4, 0, 3, 1, 2)], out=1),
                        kit.axis(5, entries, out=2, sum=0),
                    ),
                ),
            ),
        ),
        Output(),
    )
    floor = kit.weight((5,), [0, -2, 3, 1, -4], Axis(5, **plain(2)))
    larger = Operator(
        Fold.MAXIMUM,
        Cells.of((4, 5, 5), 0, 7),
        (
            Part(1, (), whole(mixed.cells, Source.OPERATOR, 1)),
            Part(1, (), floor),
        ),
        Output(Rule.RELU),
    )
    best = Operator(
        Fold.ARGMAX,
        Cells.of((4, 5), 0, 11),
        (
            Part(
                1,
                (12,),
                Operand(
                    Source.OPERATOR,
                    2,
                    picked.cells,
                    (
                        Axis(4, **plain(0)),
                        Axis(5, **plain(1)),
                        Axis(12, sum=0, dilation=1),
                    ),
                ),
            ),
        ),
        Output(),
    )
    dense = Operator(
        Fold.SUM,
        Cells.of((6,), -(2**20), 2**20),
        (
            Part(
                1,
                (4, 5, 5),
                Operand(
                    Source.OPERATOR,
                    3,
                    larger.cells,
                    tuple(Axis(n, sum=i, dilation=1) for i, n in enumerate((4, 5, 5))),
                ),
                kit.weight(
                    (6, 4, 5, 5),
                    [int(v) for v in rng.integers(-128, 128, 600)],
                    Axis(6, **plain(0)),
                    *(Axis(n, sum=i, dilation=1) for i, n in enumerate((4, 5, 5))),
                ),
            ),
        ),
        Output(),
    )
    operators = [convolution, mixed, picked, larger, best, dense]
    outputs = [(Source.OPERATOR, 5), (Source.OPERATOR, 4), (Source.INPUT, 0)]
    return finished("network", kit, operators, _Ports([x], outputs))


def wide() -> Tiny:
    """Tensors of several chunks, two inputs, intervals that differ by channel over many leaves."""
    kit = Kit()
    a, b = Cells.of((45, 40), -100, 100), Cells.of((45, 1), 0, 3000)
    scaled = Operator(
        Fold.SUM,
        Cells.of((45, 40), -400000, 400000),
        (
            Part(
                1,
                (),
                whole(a, Source.INPUT, 0),
                Operand(Source.INPUT, 1, b, (Axis(45, **plain(0)), Axis(1))),
            ),
        ),
        Output(),
    )
    rows = []
    for channel in range(40):
        edges = [-(2**31), -50000, -100 * channel - 1, channel, 60000, 2**31]
        rows += [
            (channel, start, end - 1, value) for value, (start, end) in enumerate(pairwise(edges))
        ]
    stepped = Operator(
        Fold.SUM,
        Cells.of((45, 40), 0, 4),
        (Part(1, (), whole(scaled.cells, Source.OPERATOR, 0)),),
        kit.intervals(rows, 1),
    )
    total = Operator(
        Fold.SUM,
        Cells.of((40,), 0, 200),
        (
            Part(
                1,
                (45,),
                Operand(
                    Source.OPERATOR,
                    1,
                    stepped.cells,
                    (Axis(45, sum=0, dilation=1), Axis(40, **plain(0))),
                ),
            ),
        ),
        Output(),
    )
    outputs = [(Source.OPERATOR, 2), (Source.OPERATOR, 0)]
    return finished("wide", kit, [scaled, stepped, total], _Ports([a, b], outputs))


def deep() -> Tiny:
    """A chain of eleven operators; each reads the one before it and the input."""
    cells = Cells.of((5,), -8, 7)
    kit = Kit()
    rule = kit.requant([struct.unpack(">I", struct.pack(">f", 0.4))[0]], -8, 7)
    operators = []
    for number in range(11):
        source, index = (Source.OPERATOR, number - 1) if number else (Source.INPUT, 0)
        parts = (
            Part(1, (), whole(cells, source, index)),
            Part(-3, (), whole(cells, Source.INPUT, 0)),
            Part(number, (), ONES),
        )
        operators.append(Operator(Fold.SUM, cells, parts, rule))
    return finished("deep", kit, operators, _Ports([cells], [(Source.OPERATOR, 10)]))


ZOO: dict[str, Callable[[], Tiny]] = {
    "one": one,
    "network": network,
    "wide": wide,
    "deep": deep,
}


@cache
def tiny(name: str) -> Tiny:
    return ZOO[name]()


@cache
def inputs_of(name: str) -> tuple[Values, ...]:
    """Some inputs of it, the same every time."""
    rng = np.random.default_rng(len(name))
    return tuple(
        [int(v) for v in rng.integers(port.cells.low, port.cells.high + 1, port.cells.count)]
        for port in tiny(name).program.inputs
    )


@cache
def truth_of(name: str) -> list[Values]:
    """What it makes of them."""
    return tiny(name).run(inputs_of(name))


def chunk_of(cells: Cells, cell: int) -> int:
    return cell * cells.width // CHUNK


def cells_in(cells: Cells, chunk: int) -> range:
    per = CHUNK // cells.width
    return range(chunk * per, min((chunk + 1) * per, math.prod(cells.shape)))
