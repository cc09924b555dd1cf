"""Players for tests: honest ones with the whole trace in their hands, and liars.

A player is asked for the move that he owes. The honest ones look at nothing but the dispute, the
claim's terms and their own run; what the challenger of a trace learns of the claimant's tree while
he descends it he keeps for the openings that he owes later.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from proofml.optimistic import arbiter, merkle, moves
from proofml.optimistic.claim import Terms
from proofml.optimistic.game import DisputeState
from proofml.optimistic.indexing import Entry, Record, per_leaf, read_entry
from proofml.optimistic.merkle import Tree
from proofml.optimistic.moves import Move, Opening
from proofml.optimistic.phases import descent, sums
from proofml.optimistic.phases.positions import (
    AtCells,
    AtChunk,
    AtLeaf,
    AtSummand,
    AtSums,
    AtTrace,
    AtWiring,
    Descent,
)
from proofml.optimistic.program import CHUNK, Cells, Fold, Operator, Rule, Source, Table

from .claims import Run
from .tiny import Values, cells_in


def opening_of(tree: Tree, data: bytes, size: int, leaf: int) -> Opening:
    """Leaf `leaf` of a tree over bytes that are cut into leaves of `size` bytes."""
    return Opening(leaf, data[leaf * size : (leaf + 1) * size], tree.path(leaf))


def table_opening(run: Run, table: Table, leaf: int) -> Opening:
    kit = run.tiny.kit
    data = b"".join(kit.records[table.root])
    return opening_of(kit.trees[table.root], data, per_leaf(table) * table.size, leaf)


@dataclass
class Noting:
    """A witness that reads a run and notes the openings."""

    run: Run
    operator: Operator
    openings: list[Opening] = field(default_factory=list)

    def record(self, record: Record) -> Entry:
        opening = table_opening(self.run, record.table, record.leaf)
        self.openings.append(opening)
        return read_entry(opening.leaf[record.start : record.end])

    def cell(self, number: int, tensor: Cells, flat: int) -> int:
        operand = self.operator.operands[number]
        if operand.source is Source.WEIGHT:
            found = self.run.tiny.kit.weights[operand.root][1]
        else:
            source = self.run.inputs if operand.source is Source.INPUT else self.run.tensors
            found = source[operand.index]
        at = flat * tensor.width
        self.openings.append(opening_of(found.tree, found.data, CHUNK, at // CHUNK))
        return tensor.low + int.from_bytes(found.data[at : at + tensor.width], "big")


def summand_openings(
    run: Run, operator: Operator, cell: int, summand: int, state: int
) -> tuple[Opening, ...]:
    """All that the arbiter reads for this step."""
    noting = Noting(run, operator)
    arbiter.step(operator, cell, summand, state, noting)
    return tuple(noting.openings)


def rule_opening(run: Run, operator: Operator, cell: int, state: int) -> Opening | None:
    """The record that makes the cell of this state; the first leaf where there is none."""
    table = operator.output.table
    if table is None:
        return None
    number = channel = run.tiny.channel(operator, cell)
    if operator.output.rule is Rule.INTERVALS:
        number = 0
        for i, row in enumerate(run.tiny.kit.records[table.root]):
            found = int.from_bytes(row[:4], "big")
            start, end = (int.from_bytes(row[j : j + 4], "big", signed=True) for j in (4, 8))
            if found == channel and start <= state <= end:
                number = i
    return table_opening(run, table, number // per_leaf(table))


# ---------------------------------------------------------------- claimants
@dataclass
class Claimant:
    """Reveals what he committed to; the honest one, if his run is."""

    run: Run

    def move(self, terms: Terms, dispute: DisputeState) -> Move:
        run = self.run
        match dispute.position:
            case AtTrace(place):
                return moves.RevealTrace(self._below(run.trace, place, terms))
            case AtLeaf(_, index):
                model = run.tiny
                return moves.RevealOperator(
                    run.leaves[index], model.bytes_of[index], model.descriptors.path(index)
                )
            case AtCells(site, place):
                tree = run.tensors[site.leaf.index].tree
                return moves.RevealCells(self._below(tree, place, terms))
            case AtChunk(site, chunk):
                return moves.RevealChunk(run.tensors[site.leaf.index].chunk(chunk))
            case AtSums() as at:
                return self._sums(terms, at)
        raise AssertionError(f"{dispute.position} is not his turn")

    @staticmethod
    def _below(tree: Tree, place: Descent, terms: Terms) -> tuple[bytes, ...]:
        return tree.descendants(place.level, place.index, descent.step(place, terms.k_log))

    def _sums(self, terms: Terms, at: AtSums) -> Move:
        states = self.states(at)
        inner = sums.inner_cuts(at.first, at.last, 1 << terms.k_log)
        found = [states[cut] for cut in inner]
        if at.end is not None:
            return moves.RevealSums(tuple(found))
        operator = at.site.operator
        rule = rule_opening(self.run, operator, at.cell, states[at.last])
        return moves.RevealSums((*found, states[at.last]), rule)

    def states(self, at: AtSums) -> Values:
        run = self.run
        operator = at.site.operator
        return run.tiny.states(operator, run.given, run.values, at.cell)


@dataclass
class Liar(Claimant):
    """Reveals what he committed to, and invents the states of the fold that leads to his cell.

    Attributes:
        style: where his states leave the true ones.
        truth: an honest run, from which he sometimes tries to reveal what he did not commit to.
    """

    rng: random.Random
    style: str = "early"
    truth: Run | None = None
    _invented: dict[tuple[int, int], Values] = field(default_factory=dict)

    def move(self, terms: Terms, dispute: DisputeState) -> Move:
        if self.truth is not None and self.rng.random() < 0.3:
            return Claimant(self.truth).move(terms, dispute)
        return super().move(terms, dispute)

    def states(self, at: AtSums) -> Values:
        key = (at.site.leaf.index, at.cell)
        if key not in self._invented or self.style == "random":
            self._invented[key] = self._invent(at)
        return self._invented[key]

    def _invent(self, at: AtSums) -> Values:
        true = super().states(at)
        operator = at.site.operator
        known = self._invented.get((at.site.leaf.index, at.cell))
        end = known[-1] if known else self._end(operator, at.cell, at.value, true[-1])
        count = operator.summands
        if self.style == "random" or operator.fold is Fold.ARGMAX:
            low, high = (0, count - 1) if operator.fold is Fold.ARGMAX else (-(2**62), 2**62)
            inner = [self.rng.randint(low, high) for _ in range(count - 1)]
        else:
            change = {"early": 1, "late": count, "middle": self.rng.randint(1, count)}[self.style]
            offset = end - true[-1]
            inner = [true[t] + (offset if t >= change else 0) for t in range(1, count)]
        return [true[0], *inner, end]

    def _end(self, operator: Operator, cell: int, value: int, true: int) -> int:
        """A last state that his rule turns into his cell, if there is one."""
        if operator.fold is Fold.ARGMAX:
            return min(max(value, 0), operator.summands - 1)
        if operator.output.rule is Rule.RELU:
            return value if value > 0 else min(true, 0)
        if operator.output.rule is Rule.IDENTITY:
            return value
        candidates = [true, *range(-600, 600), *self._ends(operator)]
        self.rng.shuffle(candidates)
        for state in candidates:
            try:
                if self.run.tiny.rule(operator, cell, state) == value:
                    return state
            except AssertionError:
                continue
        return true

    def _ends(self, operator: Operator) -> list[int]:
        table = operator.output.table
        if table is None or operator.output.rule is not Rule.INTERVALS:
            return []
        rows = self.run.tiny.kit.records[table.root]
        return [int.from_bytes(row[i : i + 4], "big", signed=True) for row in rows for i in (4, 8)]


@dataclass
class Shifty(Claimant):
    """Claims outputs that are wrong without a trace, and has another trace in each dispute.

    Attributes:
        run: whose outputs are claimed.
        liars: one for each kind of dispute.
    """

    liars: Sequence[Claimant]

    def move(self, terms: Terms, dispute: DisputeState) -> Move:
        chosen = zlib.crc32(dispute.challenger.encode()) % len(self.liars)
        return self.liars[chosen].move(terms, dispute)


# ---------------------------------------------------------------- challengers
@dataclass
class Challenger:
    """Goes to the first difference from his own run.

    Attributes:
        run: his own, which is honest.
        nodes: of the claimant's trace tree, as far as he saw it: (level, index) -> node.
    """

    run: Run
    nodes: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def move(self, terms: Terms, dispute: DisputeState) -> Move:
        run = self.run
        match dispute.position:
            case AtTrace(place):
                self._learn(place)
                return moves.Select(self._first(run.trace, place, self._target(terms)))
            case AtWiring(site):
                own = TraceInputs(run, site.leaf.index)
                for t, operand in enumerate(site.operator.operands):
                    wired = operand.source is Source.OPERATOR
                    if wired and site.leaf.inputs[t] != own.roots[t]:
                        path = self._path(operand.index)
                        return moves.ProveWiring(t, run.leaves[operand.index], path)
                return moves.DisputeCells()
            case AtCells(site, place):
                return moves.Select(self._first(run.tensors[site.leaf.index].tree, place, 0))
            case AtChunk(site, chunk, _, data):
                assert data is not None
                return self._cell(site.operator.cells, site.leaf.index, chunk, data)
            case AtSums() as at:
                own_states = run.tiny.states(at.site.operator, run.given, run.values, at.cell)
                for i, (cut, state) in enumerate(at.cuts):
                    if state != own_states[cut]:
                        return moves.Select(i)
            case AtSummand() as step:
                return moves.ProveSummand(
                    summand_openings(run, step.site.operator, step.cell, step.summand, step.start)
                )
        raise AssertionError(f"nothing to dispute at {dispute.position}")

    def _target(self, terms: Terms) -> int:
        """The operator whose output is stated wrongly, where the trace is right."""
        for port, stated, own in zip(
            self.run.tiny.program.outputs, terms.outputs, self.run.outputs, strict=True
        ):
            if port.source is Source.OPERATOR and stated != own:
                return port.index
        return 0

    @staticmethod
    def _first(tree: Tree, place: Descent, target: int) -> int:
        below = len(place.children).bit_length() - 1
        level, first = place.level - below, place.index << below
        for i, child in enumerate(place.children):
            if child != tree.node(level, first + i):
                return i
        return (target >> level) - first

    def _learn(self, place: Descent) -> None:
        level = place.level - (len(place.children).bit_length() - 1)
        row, first = list(place.children), place.index << (place.level - level)
        while len(row) > 1:
            self.nodes.update({(level, first + i): node for i, node in enumerate(row)})
            row = [merkle.node_hash(*pair) for pair in zip(row[::2], row[1::2], strict=True)]
            level, first = level + 1, first >> 1

    def _path(self, leaf: int) -> tuple[bytes, ...]:
        """Siblings in the claimant's tree: those that he showed, his own below them."""
        tree = self.run.trace
        places = [(level, leaf >> level ^ 1) for level in range(tree.depth)]
        return tuple(self.nodes.get(place, tree.node(*place)) for place in places)

    def _cell(self, cells: Cells, operator: int, chunk: int, data: bytes) -> Move:
        own = self.run.tensors[operator].chunk(chunk)
        for i, cell in enumerate(cells_in(cells, chunk)):
            at = i * cells.width
            said = data[at : at + cells.width]
            if said != own[at : at + cells.width]:
                if cells.low + int.from_bytes(said, "big") > cells.high:
                    return moves.ProveRange(cell)
                return moves.SelectCell(cell)
        raise AssertionError("the chunk is right")


@dataclass
class TraceInputs:
    """Roots of an operator's operands in a run."""

    run: Run
    index: int

    @property
    def roots(self) -> tuple[bytes, ...]:
        run = self.run
        return tuple(
            operand.root
            if operand.source is Source.WEIGHT
            else (run.inputs if operand.source is Source.INPUT else run.tensors)[operand.index].root
            for operand in run.tiny.program.operators[self.index].operands
        )


@dataclass
class Griefer:
    """Disputes an honest claim, somewhere, with moves that the rules allow.

    Attributes:
        run: the claimant's, which anybody can have.
    """

    run: Run
    rng: random.Random

    def move(self, terms: Terms, dispute: DisputeState) -> Move:
        rng, run = self.rng, self.run
        match dispute.position:
            case AtTrace(place) | AtCells(_, place):
                level = place.level - (len(place.children).bit_length() - 1)
                first = place.index << (place.level - level)
                present = min(len(place.children), merkle.nodes_at(place.count, level) - first)
                return moves.Select(rng.randrange(present))
            case AtWiring(site):
                wired = [
                    (t, operand.index)
                    for t, operand in enumerate(site.operator.operands)
                    if operand.source is Source.OPERATOR
                ]
                if wired and rng.random() < 0.2:
                    t, producer = rng.choice(wired)
                    path = run.trace.path(producer)
                    return moves.ProveWiring(t, run.leaves[producer], path)
                return moves.DisputeCells()
            case AtChunk(site, chunk):
                cell = rng.choice(cells_in(site.operator.cells, chunk))
                return (moves.ProveRange if rng.random() < 0.2 else moves.SelectCell)(cell)
            case AtSums(cuts=cuts):
                return moves.Select(rng.randrange(len(cuts)))
            case AtSummand() as step:
                return moves.ProveSummand(
                    summand_openings(run, step.site.operator, step.cell, step.summand, step.start)
                )
        raise AssertionError(f"{dispute.position} is not his turn")
