"""Claims about real programs, honest and false, and players who lie, over `Machine` and `Trace`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from proofml.circuits.compiled import Compiled
from proofml.circuits.graph import Ints
from proofml.circuits.source import Source as ModelSource
from proofml.model import Model
from proofml.optimistic import moves
from proofml.optimistic.challenger import Challenger
from proofml.optimistic.claim import Terms
from proofml.optimistic.claimant import Claimant
from proofml.optimistic.commit import header_of, program_root
from proofml.optimistic.merkle import nodes_at
from proofml.optimistic.moves import Move
from proofml.optimistic.phases.positions import (
    AtCells,
    AtChunk,
    AtSummand,
    AtSums,
    AtTrace,
    AtWiring,
)
from proofml.optimistic.players import View, summand_openings
from proofml.optimistic.program import Fold, Rule, Source
from proofml.optimistic.trace import Machine, Trace
from proofml.store import Store

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
TERMS: dict[str, Any] = {
    "k_log": 2,
    "bond": 1000,
    "challenge_bond": 300,
    "burn": 1000,
    "window": 600,
    "clock": 120,
    "extension": 60,
    "answer": 60,
    "data_fee": 7,
}


# ---------------------------------------------------------------- programs
def compiled_digits() -> Compiled:
    """The digits CNN of 8-bit integers, of an example in this repository."""
    model = Model.load(DIGITS / "digits_cnn_int8.onnx", store=Store.default())
    return ModelSource(model, {"image": (1, 1, 8, 8)}).compile()


@cache
def digits() -> Machine:
    compiled = compiled_digits()
    return Machine.of(compiled.graph, compiled.weights, compiled.names)


def digit_inputs(machine: Machine, number: int = 0) -> tuple[Ints, ...]:
    with np.load(DIGITS / "digits_heldout.npz") as file:
        image = file["images"][number].astype(np.float32) / 16
    return machine.encode({"image": image[None]})


def terms_of(trace: Trace, /, statement: bytes = bytes(32), **changes: Any) -> Terms:
    """Honest terms about a trace, with some of them changed."""
    return Terms(
        **{
            "statement": statement,
            "program": program_root(trace.program),
            "inputs": trace.input_roots,
            "outputs": trace.output_roots,
            "trace": trace.root,
            **TERMS,
            **changes,
        }
    )


def header_bytes(machine: Machine) -> bytes:
    return header_of(machine.program).to_bytes()


# ---------------------------------------------------------------- lies
@dataclass(frozen=True)
class Lie:
    """A false claim with a trace that its claimant can reveal.

    Attributes:
        operator: the first one that is false; None where only an output of the claim is.
    """

    trace: Trace
    operator: int | None
    terms: dict[str, Any] = field(default_factory=dict)


def changed(array: Ints, rng: random.Random, low: int, high: int) -> Ints:
    """With one cell changed, within its range."""
    found = array.copy()
    at = rng.randrange(found.size)
    choices = [v for v in range(low, min(high, low + 5000) + 1) if v != found.flat[at]]
    found.flat[at] = rng.choice(choices)
    return found


def operator_with_room(machine: Machine, rng: random.Random, among: Sequence[int]) -> int:
    """One of the operators whose cells can be something else at all."""
    return rng.choice(
        [
            i
            for i in among
            if machine.program.operators[i].cells.low < machine.program.operators[i].cells.high
        ]
    )


def lie_about_activation(machine: Machine, inputs: Sequence[Ints], rng: random.Random) -> Lie:
    """One cell of an operator in the middle; everything after it is computed from it."""
    count = len(machine.program.operators)
    honest = machine.run(inputs)
    operator = operator_with_room(
        machine, rng, range(count // 3, max(count // 3 + 1, 2 * count // 3))
    )
    cells = machine.program.operators[operator].cells
    wrong = changed(honest.tensor(operator), rng, cells.low, cells.high)
    return Lie(machine.run(inputs, given={operator: wrong}), operator)


def lie_about_output(machine: Machine, inputs: Sequence[Ints], rng: random.Random) -> Lie:
    """One cell of the last operator, which makes an output."""
    honest = machine.run(inputs)
    operator = next(p.index for p in machine.program.outputs if p.source is Source.OPERATOR)
    cells = machine.program.operators[operator].cells
    wrong = changed(honest.tensor(operator), rng, cells.low, cells.high)
    return Lie(machine.run(inputs, given={operator: wrong}), operator)


def lie_about_stated_output(machine: Machine, inputs: Sequence[Ints], rng: random.Random) -> Lie:
    """The true trace, and another output root in the claim."""
    honest = machine.run(inputs)
    return Lie(honest, None, {"outputs": tuple(rng.randbytes(32) for _ in honest.output_roots)})


def lie_about_wiring(machine: Machine, inputs: Sequence[Ints], rng: random.Random) -> Lie:
    """An operator that reads a tensor of its operand's form which its producer did not make."""
    honest = machine.run(inputs)
    found = [
        (i, t)
        for i, operator in enumerate(machine.program.operators)
        for t, operand in enumerate(operator.operands)
        if operand.source is Source.OPERATOR
    ]
    operator, number = rng.choice(found)
    producer = machine.program.operators[operator].operands[number].index
    cells = machine.program.operators[producer].cells
    other = changed(honest.tensor(producer), rng, cells.low, cells.high)
    made = machine.run(inputs, given={producer: other})
    # The operator computes from the other tensor, while its producer states the true one.
    leaves = list(machine.run(inputs, given={operator: made.tensor(operator)}).leaves)
    roots = list(leaves[operator].inputs)
    roots[number] = made.leaves[producer].output
    leaves[operator] = replace(leaves[operator], inputs=tuple(roots))
    trace = replace(
        machine.run(inputs, given={operator: made.tensor(operator)}), leaves=tuple(leaves)
    )
    return Lie(trace, operator)


def lie_about_weight(compiled: Compiled) -> Callable[[Machine, Sequence[Ints], random.Random], Lie]:
    """One number of a weight changed: the program of the claim, computed with other weights."""

    def lie(machine: Machine, inputs: Sequence[Ints], rng: random.Random) -> Lie:
        honest = machine.run(inputs)
        while True:
            value = rng.choice(sorted(compiled.weights))
            weights = dict(compiled.weights)
            node = compiled.graph.nodes[value]
            weights[value] = changed(weights[value], rng, node.low, node.high)  # type: ignore[union-attr]
            other = Machine.of(compiled.graph, weights).run(inputs)
            count = len(machine.program.operators)
            given = {i: other.tensor(i) for i in range(count)}
            trace = machine.run(inputs, given=given)
            if trace.root != honest.root:
                first = next(i for i in range(count) if trace.leaves[i] != honest.leaves[i])
                return Lie(trace, first)

    return lie


# ---------------------------------------------------------------- players who lie
@dataclass
class Liar(Claimant):
    """Invents the states of the fold that leads to his cell; all else he committed to.

    Attributes:
        style: where his states leave the true ones: early, late, middle or random.
    """

    rng: random.Random = field(default_factory=lambda: random.Random(0))
    style: str = "early"
    _invented: dict[tuple[int, int], Ints] = field(default_factory=dict)

    def states(self, operator: int, cell: int) -> Ints:
        key = operator, cell
        if key not in self._invented:
            self._invented[key] = self._invent(operator, cell)
        return self._invented[key]

    def _invent(self, number: int, cell: int) -> Ints:
        true = super().states(number, cell)
        operator = self.trace.program.operators[number]
        value = int(self.trace.tensor(number).reshape(-1)[cell])
        end = self._end(number, cell, value, int(true[-1]))
        count = operator.summands
        found = true.copy()
        if operator.fold is Fold.ARGMAX:
            found[1:] = [self.rng.randrange(count) for _ in range(count)]
        elif self.style == "random":
            found[1:] = [self.rng.randint(-(2**31), 2**31 - 1) for _ in range(count)]
        else:
            change = {"early": 1, "late": count, "middle": self.rng.randint(1, count)}[self.style]
            found[change:] += end - int(true[-1])
        found[-1] = end
        return found

    def _end(self, number: int, cell: int, value: int, true: int) -> int:
        """A last state that the operator's rule turns into his cell, if there is one."""
        operator, tables = self.trace.program.operators[number], self.trace.machine.tables
        match operator.output.rule:
            case Rule.IDENTITY:
                return value
            case Rule.RELU:
                return value if value > 0 else min(true, 0)
            case Rule.REQUANT:
                return self._requant(number, cell, value, true)
            case Rule.INTERVALS:
                assert operator.output.table is not None
                rows = tables.records(operator.output.table)
                right = rows[rows[:, 3] == value]
                return int(right[0, 1]) if len(right) else true

    def _requant(self, number: int, cell: int, value: int, true: int) -> int:
        """By halving: the function rises with the state."""
        from proofml.optimistic.folding import apply_rule

        operator, tables = self.trace.program.operators[number], self.trace.machine.tables
        assert operator.output.table is not None
        records = tables.records(operator.output.table)
        low, high = -(2**31), 2**31 - 1
        while low < high:
            middle = (low + high) // 2
            if apply_rule(operator, cell, middle, records) < value:
                low = middle + 1
            else:
                high = middle
        return low if apply_rule(operator, cell, low, records) == value else true


@dataclass
class Griefer(Challenger):
    """Disputes an honest claim somewhere, with moves that the rules allow."""

    rng: random.Random = field(default_factory=lambda: random.Random(0))

    def next_move(self, view: View) -> Move | None:
        rng = self.rng
        if not view.awaits(self.side):
            return None
        match view.dispute.position:
            case AtTrace(place) | AtCells(_, place):
                below = len(place.children).bit_length() - 1
                first = place.index << below
                present = nodes_at(place.count, place.level - below) - first
                return moves.Select(rng.randrange(min(len(place.children), present)))
            case AtWiring(site):
                wired = [
                    (t, operand.index)
                    for t, operand in enumerate(site.operator.operands)
                    if operand.source is Source.OPERATOR
                ]
                if wired and rng.random() < 0.2:
                    t, producer = rng.choice(wired)
                    return moves.ProveWiring(
                        t, self.trace.leaves[producer].to_bytes(), self.trace.tree.path(producer)
                    )
                return moves.DisputeCells()
            case AtChunk(site, chunk):
                width = site.operator.cells.width
                first = chunk * 1024 // width
                count = len(view.dispute.position.data or b"") // width  # type: ignore[union-attr]
                cell = first + rng.randrange(count)
                return (moves.ProveRange if rng.random() < 0.2 else moves.SelectCell)(cell)
            case AtSums(cuts=cuts):
                return moves.Select(rng.randrange(len(cuts)))
            case AtSummand(site, cell, summand, start, _):
                return moves.ProveSummand(
                    summand_openings(self.trace, site.leaf.index, cell, summand, start)
                )
        return None
