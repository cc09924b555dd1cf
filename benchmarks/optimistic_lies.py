"""False claims about a program, and players who stand by them to the last step of a dispute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from proofml.circuits.execute import Executor
from proofml.circuits.graph import Graph, Ints
from proofml.optimistic import moves
from proofml.optimistic.challenger import Challenger
from proofml.optimistic.claimant import Claimant
from proofml.optimistic.folding import apply_rule
from proofml.optimistic.moves import Move
from proofml.optimistic.phases.positions import (
    AtCells,
    AtChunk,
    AtSums,
    AtTrace,
    AtWiring,
    Descent,
)
from proofml.optimistic.players import View
from proofml.optimistic.program import Cells, Fold, Program, Rule, Source
from proofml.optimistic.trace import Machine, Trace

_INT32 = 1 << 31


@dataclass(frozen=True)
class Subject:
    """A program with its weights and an input.

    Attributes:
        name: of the model, for people.
    """

    name: str
    graph: Graph
    weights: Mapping[int, Ints]
    machine: Machine
    inputs: Sequence[Ints]

    @property
    def middle(self) -> int:
        """An operator in the middle that sums products."""
        operators = self.machine.program.operators
        summing = [i for i, operator in enumerate(operators) if operator.summands > 16]
        return summing[len(summing) // 2]


def _other(cells: Cells, values: Ints, at: int) -> Ints:
    """With one cell changed, within its range."""
    found = values.copy()
    value = int(found.flat[at])
    found.flat[at] = value + 1 if value < cells.high else value - 1
    return found


def weight(subject: Subject) -> Trace:
    """All that follows from another first weight: the trace of another model."""
    machine = subject.machine
    honest = machine.run(subject.inputs)
    feed = {
        port.value: array for port, array in zip(subject.graph.inputs, subject.inputs, strict=True)
    }
    for value in sorted(subject.weights):
        node = subject.graph.nodes[value]
        changed = dict(subject.weights)
        changed[value] = changed[value].copy()
        # The number that differs most from its negative, so that something comes of it.
        at = int(np.abs(changed[value]).argmax())
        other = -int(changed[value].flat[at])
        low, high = node.low, node.high  # type: ignore[union-attr]
        changed[value].flat[at] = min(max(other, low), high)
        values = Executor(subject.graph, changed).run(feed)
        given = {i: values[made] for i, made in enumerate(machine.tables.values)}
        trace = machine.run(subject.inputs, given=given)
        if trace.root != honest.root:
            return trace
    raise AssertionError("no weight matters")


def activation(subject: Subject) -> Trace:
    """One cell in the middle, and all that follows from it."""
    return _changed(subject, subject.middle)


def output(subject: Subject) -> Trace:
    """One cell of the first output."""
    ports = subject.machine.program.outputs
    return _changed(subject, next(p.index for p in ports if p.source is Source.OPERATOR))


def _changed(subject: Subject, operator: int) -> Trace:
    honest = subject.machine.run(subject.inputs)
    cells = subject.machine.program.operators[operator].cells
    wrong = _other(cells, honest.tensor(operator), cells.count // 2)
    return subject.machine.run(subject.inputs, given={operator: wrong})


def wiring(subject: Subject) -> Trace:
    """The operator in the middle reads a tensor that its producer did not make."""
    machine, operator = subject.machine, subject.middle
    operands = machine.program.operators[operator].operands
    number = next(i for i, o in enumerate(operands) if o.source is Source.OPERATOR)
    producer = operands[number].index
    honest = machine.run(subject.inputs)
    cells = machine.program.operators[producer].cells
    wrong = _other(cells, honest.tensor(producer), 0)
    made = machine.run(subject.inputs, given={producer: wrong})
    trace = machine.run(subject.inputs, given={operator: made.tensor(operator)})
    leaves = list(trace.leaves)
    roots = list(leaves[operator].inputs)
    roots[number] = made.leaves[producer].output
    leaves[operator] = replace(leaves[operator], inputs=tuple(roots))
    return replace(trace, leaves=tuple(leaves))


#: What is false in a claim -> the trace that it is made from.
LIES: Mapping[str, Callable[[Subject], Trace]] = {
    "one weight": weight,
    "one activation in the middle": activation,
    "the output": output,
    "the wiring of two operators": wiring,
}


# ---------------------------------------------------------------- rounds
def ceil_log(base: int, number: int) -> int:
    """The least r for which base^r >= number."""
    r, reached = 0, 1
    while reached < number:
        r, reached = r + 1, reached * base
    return r


def rounds(program: Program, operator: int, k: int, *, wiring: bool = False) -> int:
    """Reveals of a dispute about one operator: ceil(log_k N) to find it among N, and inside of it

    - its leaf, which is all where its wiring is wrong;
    - ceil(log_k C) to find the chunk among C of its output, and the chunk;
    - ceil(log_k J) to find the summand among J of the cell, and one where J = 1.

    Parts of summands differ by one where k does not divide them: a dispute about a shorter part may
    take a round less. The first summand is in the longest one.
    """
    found = program.operators[operator]
    outer = ceil_log(k, len(program.operators)) + 1
    if wiring:
        return outer
    return outer + ceil_log(k, found.cells.chunks) + 1 + max(1, ceil_log(k, found.summands))


# ---------------------------------------------------------------- players
@dataclass
class Insistent(Claimant):
    """Says states of a fold that are all wrong by what his cell is, from the first summand on."""

    def states(self, operator: int, cell: int) -> Ints:
        found = super().states(operator, cell).copy()
        value = int(self.trace.tensor(operator).reshape(-1)[cell])
        end = self._end(operator, cell, value, int(found[-1]))
        if self.trace.program.operators[operator].fold is Fold.ARGMAX:  # its states are indices
            found[-1] = end
        else:
            found[1:] += end - found[-1]
        return found

    def _end(self, number: int, cell: int, value: int, true: int) -> int:
        operator, tables = self.trace.program.operators[number], self.trace.machine.tables
        rule, table = operator.output.rule, operator.output.table
        if table is None:
            return min(true, 0) if rule is Rule.RELU and value == 0 else value
        records = tables.records(table)
        if rule is Rule.INTERVALS:
            right = records[records[:, 3] == value]
            return int(right[0, 1]) if len(right) else true
        low, high = -_INT32, _INT32 - 1
        while low < high:  # the function rises with the state
            between = (low + high) // 2
            if apply_rule(operator, cell, between, records) < value:
                low = between + 1
            else:
                high = between
        return low


@dataclass
class Quarrelsome(Challenger):
    """Disputes a claim that is true, at one operator, down to the last step."""

    operator: int = 0

    def next_move(self, view: View) -> Move | None:
        if not view.awaits(self.side):
            return None
        match view.dispute.position:
            case AtTrace(place):
                return moves.Select(_towards(place, self.operator))
            case AtWiring():
                return moves.DisputeCells()
            case AtCells():
                return moves.Select(0)
            case AtChunk(_, chunk):
                width = self.trace.program.operators[self.operator].cells.width
                return moves.SelectCell(chunk * 1024 // width)
            case AtSums():
                return moves.Select(0)
        return super().next_move(view)


def _towards(place: Descent, leaf: int) -> int:
    below = len(place.children).bit_length() - 1
    return (leaf >> (place.level - below)) - (place.index << below)
