"""From the integer graph of a model to its program; a pure function of graph and weights.

    Reshape              the same tensor under another shape: nothing to commit
    Affine               a sum with one part for each contraction and term; fused with the Step
                         that alone reads it
    Step                 a sum with one part, or of the Affine's, and the rule of its functions
    Maximum              a maximum; trees of them, over views that only move cells, are one
    ArgMax               an argmax along one axis

Everybody who has the graph (a verifier recompiles it from the ONNX file) lowers it to the same
descriptors, and so to the same root.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from proofml.circuits import ranges as range_analysis
from proofml.circuits.functions import Relu, Requant
from proofml.circuits.graph import (
    ONES,
    Affine,
    ArgMax,
    Graph,
    Input,
    Ints,
    Maximum,
    Reshape,
    Step,
    Term,
    View,
    Weight,
)
from proofml.errors import UnsupportedModel, printable
from proofml.optimistic import commit, encoding
from proofml.optimistic.pooling import composed, merged, movement
from proofml.optimistic.program import (
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
)
from proofml.optimistic.rows import Tables, interval_records, requant_records
from proofml.optimistic.views import axes_of_contraction, axes_of_view
from proofml.optimistic.wire import WireError

#: States of a fold are int32.
_INT32 = 1 << 31
#: A contract reads a whole descriptor in one transaction, which has 2^24 gas at most (EIP-7825);
#: what is longer could be claimed but not defended there. Both together take up to 12 million.
MOST_DESCRIPTOR = 1 << 15
MOST_PARTS = 500


def lower(
    graph: Graph, weights: Mapping[int, Ints], names: Mapping[int, str] | None = None
) -> tuple[Program, Tables]:
    """The program of a graph, and the constants that it commits.

    Args:
        graph: one that `ranges.check(graph, weights)` accepts.
        weights: Weight value -> int64 array of its shape.
        names: value -> name of its ONNX node, for messages.

    Raises:
        UnsupportedModel: an operator that no descriptor can hold, or whose sums may leave an
            int32 on the way though their end does not.
    """
    return _Lowering(graph, weights, names or {}).run()


class _Lowering:
    def __init__(self, graph: Graph, weights: Mapping[int, Ints], names: Mapping[int, str]) -> None:
        self.graph = graph
        self.weights = weights
        self.names = names
        self.ranges = range_analysis.ranges(graph)
        self.tables = Tables()
        self.operators: list[Operator] = []
        self.values: list[int] = []
        #: Value -> the operand that reads all of it, its axes aside.
        self.made: dict[int, Operand] = {}
        self.order: dict[bytes, int] = {}  # root of a weight -> its number
        self.fused = self._fused()
        self.absorbed = self._absorbed()
        self.dropped: set[int] = set()

    def run(self) -> tuple[Program, Tables]:
        for i, port in enumerate(self.graph.inputs):
            node = self.graph.nodes[port.value]
            assert isinstance(node, Input)
            cells = Cells.of(node.shape, node.low, node.high)
            self.made[port.value] = Operand(Source.INPUT, i, cells, ())
        for value, node in enumerate(self.graph.nodes):
            match node:
                case Reshape():
                    self._alias(value, node)
                case _ if value in self.fused or value in self.absorbed:
                    pass
                case Affine():
                    self._emit(value, Fold.SUM, self._affine(value, node), Output())
                case Step():
                    self._emit(value, Fold.SUM, self._argument(node), self._rule(value, node))
                case Maximum():
                    self._emit(value, Fold.MAXIMUM, self._maximum(value), Output())
                case ArgMax():
                    self._emit(value, Fold.ARGMAX, [self._argmax(node)], Output())
                case _:
                    pass
        # There is no trace without an operator: where nothing is computed, inputs are copied.
        sources = {self._operand(port.value).source for port in self.graph.outputs}
        copied = {Source.WEIGHT}
        if not self.operators and Source.WEIGHT not in sources:
            copied.add(Source.INPUT)
        outputs = [self._output(port.name, port.value, copied) for port in self.graph.outputs]
        return self._finish(outputs)

    def _finish(self, outputs: Sequence[Port]) -> tuple[Program, Tables]:
        tables = self.tables
        outputs = self._without_dropped(outputs)
        tables.descriptors = tuple(
            self._descriptor(operator, value)
            for operator, value in zip(self.operators, self.values, strict=True)
        )
        tables.tree = commit.descriptor_tree(tables.descriptors)
        tables.values = tuple(self.values)
        inputs = tuple(
            Port(port.name, self.made[port.value].cells, Source.INPUT, i)
            for i, port in enumerate(self.graph.inputs)
        )
        program = Program(tuple(self.operators), inputs, tuple(outputs), tables.tree.root)
        return program, tables

    def _descriptor(self, operator: Operator, value: int) -> bytes:
        try:
            data = encoding.descriptor(operator)
        except WireError as error:
            raise self._fail(value, str(error)) from error
        for what, count, most in (
            ("bytes of its descriptor", len(data), MOST_DESCRIPTOR),
            ("parts", len(operator.parts), MOST_PARTS),
        ):
            if count > most:
                raise self._fail(value, f"{count} {what}; expected at most {most}")
        return data

    def _fail(self, value: int, message: str) -> UnsupportedModel:
        name = printable(self.names.get(value) or f"value {value}")
        return UnsupportedModel(f"{name}: {message}; split it, or use another backend")

    def _fused(self) -> frozenset[int]:
        """Affines that one Step reads, and nobody else."""
        graph = self.graph
        return frozenset(
            node.value
            for node in graph.nodes
            if isinstance(node, Step)
            and isinstance(graph.nodes[node.value], Affine)
            and graph.consumers[node.value] == 1
            and node.value not in graph.output_values
        )

    def _absorbed(self) -> frozenset[int]:
        """Maxima and views that only maxima read: they become parts of those."""
        graph = self.graph
        readers: Counter[int] = Counter()
        for node in graph.nodes:
            if isinstance(node, Maximum):
                readers.update((node.left, node.right))
        return frozenset(
            value
            for value, count in readers.items()
            if count == graph.consumers[value]
            and value not in graph.output_values
            and (
                (isinstance(graph.nodes[value], Maximum) and count == 1)
                or movement(graph.nodes[value]) is not None
            )
        )

    def _without_dropped(self, outputs: Sequence[Port]) -> list[Port]:
        """Operators numbered anew, without those that nobody reads since they were absorbed."""
        kept = [i for i in range(len(self.operators)) if i not in self.dropped]
        number = {old: new for new, old in enumerate(kept)}

        def moved(operand: Operand) -> Operand:
            if operand.source is not Source.OPERATOR:
                return operand
            return replace(operand, index=number[operand.index])

        self.operators = [
            replace(
                self.operators[i],
                parts=tuple(
                    replace(
                        part,
                        left=moved(part.left),
                        right=None if part.right is None else moved(part.right),
                    )
                    for part in self.operators[i].parts
                ),
            )
            for i in kept
        ]
        self.values = [self.values[i] for i in kept]
        return [
            replace(port, index=number[port.index]) if port.source is Source.OPERATOR else port
            for port in outputs
        ]

    # Operands

    def _alias(self, value: int, node: Reshape) -> None:
        source = self._operand(node.value)
        self.made[value] = replace(source, cells=replace(source.cells, shape=node.shape))

    def _operand(self, value: int) -> Operand:
        node = self.graph.nodes[value]
        if value not in self.made:
            assert isinstance(node, Weight)
            cells = Cells.of(node.shape, node.low, node.high)
            self.made[value] = self._constant(cells, self.weights[value])
        return self.made[value]

    def _constant(self, cells: Cells, numbers: Ints) -> Operand:
        root = self.tables.weight(cells, numbers)
        index = self.order.setdefault(root, len(self.order))
        return Operand(Source.WEIGHT, index, cells, (), root)

    def _emit(self, value: int, fold: Fold, parts: Sequence[Part], output: Output) -> None:
        node = self.graph.nodes[value]
        cells = Cells.of(node.shape, *self.ranges[value])
        self._append(value, Operator(fold, cells, tuple(parts), output, self.names.get(value, "")))
        self.made[value] = Operand(Source.OPERATOR, len(self.operators) - 1, cells, ())

    def _append(self, value: int, operator: Operator) -> None:
        self.operators.append(operator)
        self.values.append(value)

    def _output(self, name: str, value: int, copied: set[Source]) -> Port:
        operand = self._operand(value)
        if operand.source in copied:
            copy = Operator(Fold.SUM, operand.cells, (self._whole(value),), Output(), name)
            self._append(value, copy)
            operand = Operand(Source.OPERATOR, len(self.operators) - 1, operand.cells, ())
        return Port(name, operand.cells, operand.source, operand.index)

    # Parts

    def _whole(self, value: int) -> Part:
        operand = self._operand(value)
        axes, sums = axes_of_view(View.identity(operand.cells.shape), self.tables)
        return Part(1, sums, replace(operand, axes=axes))

    def _argument(self, node: Step) -> list[Part]:
        affine = self.graph.nodes[node.value]
        if node.value in self.fused:
            assert isinstance(affine, Affine)
            return self._affine(node.value, affine)
        return [self._whole(node.value)]

    def _maximum(self, value: int) -> list[Part]:
        reads: Counter[int] = Counter()
        parts = merged(self._maxima(value, reads))
        if len(parts) == 1 and parts[0].left.source is Source.OPERATOR:
            index = parts[0].left.index
            inner, source = self.operators[index], self.values[index]
            alone = reads[source] == self.graph.consumers[source]
            if (
                inner.fold is Fold.MAXIMUM
                and len(inner.parts) == 1
                and alone
                and source not in self.graph.output_values
                and inner.cells == parts[0].left.cells
            ):
                whole = composed(parts[0], inner.parts[0], self.graph.nodes[value].shape)
                if whole is not None:
                    self.dropped.add(index)
                    return [whole]
        return parts

    def _maxima(self, value: int, reads: Counter[int]) -> list[Part]:
        """The parts of a maximum with all that it absorbs; counts what alone reads each value."""
        node = self.graph.nodes[value]
        assert isinstance(node, Maximum)
        parts = []
        for operand in (node.left, node.right):
            source = self.graph.nodes[operand]
            if operand not in self.absorbed:
                reads[operand] += 1
                parts.append(self._whole(operand))
            elif isinstance(source, Maximum):
                parts += self._maxima(operand, reads)
            else:
                term = movement(source)
                assert term is not None
                reads[term.value] += self.graph.consumers[operand] == 1
                parts.append(self._term(value, term))
        return parts

    def _affine(self, value: int, node: Affine) -> list[Part]:
        self._check_states(value, node)
        parts = []
        for contraction in node.contractions:
            left, right = self._operand(contraction.left), self._operand(contraction.right)
            one, two, sums = axes_of_contraction(
                contraction, node.shape, left.cells.shape, right.cells.shape
            )
            parts.append(Part(1, sums, replace(left, axes=one), replace(right, axes=two)))
        return parts + [self._term(value, term) for term in node.terms]

    def _term(self, value: int, term: Term) -> Part:
        """A part of `value`; raises `UnsupportedModel`, with its name."""
        if term.value == ONES:
            return self._ones(term.coefficient, term.view)
        operand = self._operand(term.value)
        try:
            axes, sums = axes_of_view(term.view, self.tables)
        except ValueError as error:
            raise self._fail(value, str(error)) from error
        return Part(term.coefficient, sums, replace(operand, axes=axes))

    def _ones(self, coefficient: int, view: View) -> Part:
        """A constant; where it differs from cell to cell, a weight of the axes that matter."""
        axes: list[Axis] = []
        counts: list[Ints] = []
        for target, axis in view.axes:
            sums = axis.row_sums
            if (sums == sums[0]).all():
                coefficient *= int(sums[0])
            else:
                axes.append(Axis(axis.n_out, target, stride=1))
                counts.append(sums)
        if not counts:
            return Part(coefficient, (), encoding.ONES)
        numbers = np.ones((), np.int64)
        for vector in counts:
            numbers = np.multiply.outer(numbers, vector)
        cells = Cells.of(numbers.shape, 0, int(numbers.max()))
        return Part(coefficient, (), replace(self._constant(cells, numbers), axes=tuple(axes)))

    def _argmax(self, node: ArgMax) -> Part:
        operand = self._operand(node.value)
        shape = operand.cells.shape
        axes = tuple(
            Axis(n, sum=0, dilation=1)
            if i == node.axis
            else Axis(n, i if i < node.axis else i - 1, stride=1)
            for i, n in enumerate(shape)
        )
        return Part(1, (shape[node.axis],), replace(operand, axes=axes))

    def _check_states(self, value: int, node: Affine) -> None:
        """No state on the way to a sum leaves an int32, whatever the inputs are.

        With 0 in every operand's range the bounds of a whole sum bound each beginning of it;
        constant terms, which have one value only, are added in absolute value.
        """
        wide = [(min(low, 0), max(high, 0)) for low, high in self.ranges]
        fixed = [t for t in node.terms if t.value == ONES or t.value in self.weights]
        moving = replace(node, terms=tuple(t for t in node.terms if t not in fixed))
        reach = sum(self._reach(term) for term in fixed)
        if moving.terms or moving.contractions:
            low, high = range_analysis.affine_bounds(self.graph.nodes, moving, wide, self.weights)
            reach += max(-low, high)
        if reach >= _INT32:
            raise self._fail(
                value, f"partial sums up to {reach}; expected less than {_INT32} in every order"
            )

    def _reach(self, term: Term) -> int:
        count = math.prod(int(axis.row_sums.max()) for _, axis in term.view.axes)
        low, high = (1, 1) if term.value == ONES else self.ranges[term.value]
        return abs(term.coefficient) * max(-low, high) * count

    # Rules

    def _rule(self, value: int, node: Step) -> Output:
        try:
            return self._table(node)
        except ValueError as error:
            raise self._fail(value, str(error)) from error

    def _table(self, node: Step) -> Output:
        functions, channel = node.functions, node.channel
        if all(f is functions[0] or f == functions[0] for f in functions):
            functions, channel = functions[:1], ()
        if isinstance(functions[0], Relu) and len(functions) == 1:
            return Output(Rule.RELU)
        if all(isinstance(f, Requant) for f in functions):
            scales = [f for f in functions if isinstance(f, Requant)]
            return Output(Rule.REQUANT, channel, requant_records(self.tables, scales))
        low, high = self.ranges[node.value]
        table = interval_records(self.tables, functions, low, high)
        return Output(Rule.INTERVALS, channel, table)
