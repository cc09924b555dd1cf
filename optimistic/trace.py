"""Runs a program and commits what every operator makes.

Tensors are hashed as they are made and freed when their last reader is done, so that a run with a
trace needs little more memory than one without. What a dispute needs of them later is computed
again: the program is deterministic, and the roots say whether it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.codec import encode_input
from proofml.circuits.execute import Executor
from proofml.circuits.graph import Graph
from proofml.errors import BackendFailed, UsageError
from proofml.optimistic import commit, folding
from proofml.optimistic.cells import Ints, decode, encode, gather
from proofml.optimistic.commit import Committed, TraceLeaf
from proofml.optimistic.lower import lower
from proofml.optimistic.merkle import Bytes, Tree, trees_of_chunks
from proofml.optimistic.program import CHUNK, Operand, Program, Source, Table
from proofml.optimistic.rows import Tables
from proofml.tensors import Array

#: Bytes of tensors that are hashed together: enough for several threads, little beside a model.
BATCH = 1 << 20


@dataclass(frozen=True, eq=False)
class Machine:
    """A model made ready: its graph for executing it, its program and tables for disputing it.

    Attributes:
        fused: onnxruntime computes the model's outputs to the bit.
    """

    graph: Graph
    program: Program
    tables: Tables
    executor: Executor
    fused: bool = False

    @classmethod
    def of(
        cls,
        graph: Graph,
        weights: Mapping[int, Ints],
        names: Mapping[int, str] | None = None,
        *,
        fused: bool = False,
    ) -> Machine:
        """Of a graph that `ranges.check` accepts; errors as of `lower`."""
        program, tables = lower(graph, weights, names)
        return cls(graph, program, tables, Executor(graph, weights), fused)

    def encode(self, feeds: Mapping[str, Array]) -> tuple[Ints, ...]:
        """The Statement's tensors as the program's inputs, in the order of its ports.

        Raises:
            UsageError: an input is missing, or is no tensor of the port.
        """
        found = []
        for port in self.graph.inputs:
            if port.name not in feeds:
                raise UsageError(f"input {port.name!r} is missing")
            try:
                found.append(encode_input(port, feeds[port.name]))
            except ValueError as error:
                raise UsageError(str(error)) from error
        return tuple(found)

    def execute(self, inputs: Sequence[Ints]) -> Outcome:
        """Executes the program and commits nothing but its inputs and outputs.

        Raises:
            UsageError: as of `run`.
        """
        ends = {port.value for port in self.graph.outputs}
        try:
            made = dict(self.executor.stream(self._feed(inputs), wanted=ends))
        except ValueError as error:
            raise UsageError(str(error)) from error
        return self.outcome(inputs, [made[port.value] for port in self.graph.outputs])

    def outcome(self, inputs: Sequence[Ints], outputs: Sequence[Ints]) -> Outcome:
        """Of a run that made these outputs."""
        input_roots, output_roots = self._input_roots(inputs), []
        for port, array in zip(self.program.outputs, outputs, strict=True):
            if port.source is Source.INPUT:
                output_roots.append(input_roots[port.index])
                continue
            # The operator's own shape: an output can be another view of what it makes.
            cells = self.program.operators[port.index].cells
            output_roots.append(commit.tensor_root(cells, array.reshape(cells.shape)))
        return Outcome(self, tuple(inputs), tuple(outputs), input_roots, tuple(output_roots))

    def run(
        self,
        inputs: Sequence[Ints],
        *,
        keep: bool = False,
        given: Mapping[int, Ints] | None = None,
    ) -> Trace:
        """Executes the program and commits all tensors.

        Args:
            inputs: of the program, in the order of its ports, int64 of their shapes.
            keep: hold every tensor's bytes and tree, for small models; else they are computed
                again when they are asked for.
            given: operator -> what it makes, int64: known from elsewhere and not computed.

        Raises:
            UsageError: an input is missing, has another shape, or leaves its range.
        """
        outputs: dict[int, Ints] = {}
        kept: dict[int, Committed] = {}
        roots: list[bytes] = [b""] * len(self.program.operators)
        ends = {port.value for port in self.graph.outputs}
        wanted = {*self.tables.values, *ends}
        batch = _Batch()
        known = self._known(given or {})
        try:
            for value, array in self.executor.stream(
                self._feed(inputs), wanted=wanted, given=known
            ):
                if value in ends:
                    outputs[value] = array
                for operator in self._makers.get(value, ()):
                    batch.add(operator, encode(self.program.operators[operator].cells, array))
                if batch.bytes >= BATCH:
                    _settle(batch, roots, kept, keep)
        except ValueError as error:
            raise UsageError(str(error)) from error
        _settle(batch, roots, kept, keep)
        input_roots = self._input_roots(inputs)
        return Trace(
            self,
            tuple(inputs),
            known,
            tuple(outputs[port.value] for port in self.graph.outputs),
            input_roots,
            commit.leaves_of(self.program, input_roots, roots),
            kept,
        )

    def tensors(
        self, inputs: Sequence[Ints], wanted: Iterable[int], known: Mapping[int, Ints]
    ) -> Iterator[tuple[int, Ints]]:
        """What the operators `wanted` make, computing no more than it takes."""
        chosen = frozenset(wanted)
        values = {self.tables.values[operator] for operator in chosen}
        for value, array in self.executor.stream(self._feed(inputs), wanted=values, given=known):
            for operator in self._makers[value]:
                if operator in chosen:
                    yield operator, array

    @cached_property
    def _makers(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for operator, value in enumerate(self.tables.values):
            found.setdefault(value, []).append(operator)
        return found

    def _input_roots(self, inputs: Sequence[Ints]) -> tuple[bytes, ...]:
        return tuple(
            commit.tensor_root(port.cells, array)
            for port, array in zip(self.program.inputs, inputs, strict=True)
        )

    def _feed(self, inputs: Sequence[Ints]) -> dict[int, Ints]:
        if len(inputs) != len(self.graph.inputs):
            raise UsageError(f"expected {len(self.graph.inputs)} inputs, got {len(inputs)}")
        return {port.value: x for port, x in zip(self.graph.inputs, inputs, strict=True)}

    def _known(self, given: Mapping[int, Ints]) -> dict[int, Ints]:
        return {
            self.tables.values[operator]: np.asarray(array, np.int64, order="C")
            for operator, array in given.items()
        }


@dataclass
class _Batch:
    """Tensors that wait to be hashed."""

    operators: list[int] = field(default_factory=list)
    data: list[Bytes] = field(default_factory=list)
    bytes: int = 0

    def add(self, operator: int, data: Bytes) -> None:
        self.operators.append(operator)
        self.data.append(data)
        self.bytes += data.size


def _settle(batch: _Batch, roots: list[bytes], kept: dict[int, Committed], keep: bool) -> None:
    """Hashes what waits, and forgets it."""
    if not batch.data:
        return
    trees = trees_of_chunks(batch.data, CHUNK)
    for operator, data, tree in zip(batch.operators, batch.data, trees, strict=True):
        roots[operator] = tree.root
        if keep:
            kept[operator] = Committed(data, CHUNK, tree)
    batch.operators, batch.data, batch.bytes = [], [], 0


@dataclass(frozen=True, eq=False)
class Outcome:
    """A run without its trace: all that a claim must say of it.

    Attributes:
        machine: what was run.
        inputs, outputs: of the program, in the order of its ports, int64.
        input_roots, output_roots: of their tensors.
    """

    machine: Machine
    inputs: tuple[Ints, ...]
    outputs: tuple[Ints, ...]
    input_roots: tuple[bytes, ...]
    output_roots: tuple[bytes, ...]

    @property
    def program(self) -> Program:
        return self.machine.program


@dataclass(eq=False)
class Trace:
    """A run: roots of all tensors, and whatever else is asked for, computed again.

    Attributes:
        machine: what was run.
        inputs: as given.
        given: values of the graph that were not computed.
        outputs: of the program, in the order of its ports, int64.
        input_roots: of the program's inputs.
        leaves: one for each operator.
    """

    machine: Machine
    inputs: tuple[Ints, ...]
    given: Mapping[int, Ints]
    outputs: tuple[Ints, ...]
    input_roots: tuple[bytes, ...]
    leaves: tuple[TraceLeaf, ...]
    _kept: dict[int, Committed] = field(default_factory=dict, repr=False)
    _inputs: dict[int, Committed] = field(default_factory=dict, repr=False)
    tree: Tree = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.tree = commit.trace_tree(self.leaves)

    @property
    def program(self) -> Program:
        return self.machine.program

    @property
    def root(self) -> bytes:
        return self.tree.root

    @property
    def output_roots(self) -> tuple[bytes, ...]:
        """In the order of the program's ports."""
        return tuple(
            self.input_roots[port.index]
            if port.source is Source.INPUT
            else self.leaves[port.index].output
            for port in self.program.outputs
        )

    def committed(self, operator: int) -> Committed:
        """What an operator made: bytes and tree."""
        self.prepare([operator])
        return self._kept[operator]

    def prepare(self, operators: Iterable[int]) -> None:
        """Computes what these operators made, in one run, where it is not kept.

        Raises:
            BackendFailed: another run gave another tensor.
        """
        missing = {operator for operator in operators if operator not in self._kept}
        if not missing:
            return
        for operator, array in self.machine.tensors(self.inputs, missing, self.given):
            made = commit.commit_tensor(self.program.operators[operator].cells, array)
            if made.root != self.leaves[operator].output:
                raise BackendFailed(
                    f"operator {operator}: expected root {self.leaves[operator].output.hex()}, "
                    f"got {made.root.hex()} from a second run; this machine is not deterministic"
                )
            self._kept[operator] = made

    @property
    def nbytes(self) -> int:
        """Bytes that are held: arrays of the run, tensors with their trees, and leaves."""
        arrays = [*self.inputs, *self.outputs, *self.given.values()]
        held = [*self._kept.values(), *self._inputs.values()]
        return (
            sum(array.nbytes for array in arrays)
            + sum(made.data.nbytes + made.tree.nbytes for made in held)
            + sum(32 * (1 + len(leaf.inputs)) for leaf in self.leaves)
            + self.tree.nbytes
        )

    def forget(self) -> None:
        """Frees all tensors that are held."""
        self._kept.clear()
        self._inputs.clear()

    def input(self, index: int) -> Committed:
        """An input of the program."""
        if index not in self._inputs:
            cells = self.program.inputs[index].cells
            self._inputs[index] = commit.commit_tensor(cells, self.inputs[index])
        return self._inputs[index]

    def operand(self, operator: int, number: int) -> Committed:
        """What an operator reads; `number` as in `Operator.operands`."""
        return self.source(self.program.operators[operator].operands[number])

    def tensor(self, operator: int) -> Ints:
        """What an operator made, int64 of its shape."""
        return decode(self.program.operators[operator].cells, self.committed(operator).data)

    def reader(self, operator: int) -> folding.Fetch:
        """For `folding.evaluate` of an operator's cells; its operands are made ready at once."""
        operands = self.program.operators[operator].operands
        self.prepare(o.index for o in operands if o.source is Source.OPERATOR)
        return _Reader(self)

    def states(self, operator: int, cell: int) -> Ints:
        """All states of a cell's fold, int64 [summands + 1]."""
        return folding.evaluate(self.program.operators[operator], cell, self.reader(operator))

    def source(self, operand: Operand) -> Committed:
        """The tensor that an operand is."""
        match operand.source:
            case Source.INPUT:
                return self.input(operand.index)
            case Source.OPERATOR:
                return self.committed(operand.index)
            case _:
                return self.machine.tables.committed[operand.root]


@dataclass(frozen=True)
class _Reader:
    trace: Trace

    def cells(self, number: int, operand: Operand, index: Ints) -> Ints:
        return gather(operand.cells, self.trace.source(operand).data, index)

    def records(self, table: Table) -> NDArray[np.int32]:
        return self.trace.machine.tables.records(table)
