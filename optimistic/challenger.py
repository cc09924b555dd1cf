"""The honest challenger: what a claim says wrong, and the way down to it.

It compares whatever the claimant reveals with its own trace and goes to the first node that
differs. All before that node is agreed, so it can open whatever the arbiter will ask for. Where
the trace is its own and only an output of the claim is not, it goes to the operator that makes that
output: there the claimant cannot reveal a leaf that fits both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import numpy as np

from proofml.optimistic import cells, commit, merkle, moves
from proofml.optimistic.book import ClaimState
from proofml.optimistic.claim import Terms
from proofml.optimistic.clock import Side
from proofml.optimistic.merkle import Tree
from proofml.optimistic.moves import Move
from proofml.optimistic.phases import descent as descending
from proofml.optimistic.phases.positions import (
    AtCells,
    AtChunk,
    AtSummand,
    AtSums,
    AtTrace,
    AtWiring,
    Descent,
    Site,
)
from proofml.optimistic.players import View, first_difference, summand_openings
from proofml.optimistic.program import Source
from proofml.optimistic.trace import Outcome, Trace


class Fault(Enum):
    """What is wrong with a claim, for its log; the game finds where."""

    TRACE = "the trace is not that of the program on these inputs"
    OUTPUT = "an output is not what the program gives"


def fault_of(terms: Terms, run: Trace | Outcome) -> Fault | None:
    """What is wrong with a claim about the run's program and inputs; None where it is true.

    A claim that defers its trace says nothing but its outputs.

    Raises:
        ValueError: the claim is about another program, or other inputs; it has a trace, and the
            run has none.
    """
    if terms.program != commit.program_root(run.program):
        raise ValueError("expected a run of the claim's program")
    if terms.inputs != run.input_roots:
        raise ValueError("expected a run on the claim's inputs")
    if terms.outputs != run.output_roots:
        return Fault.OUTPUT
    if terms.deferred:
        return None
    if not isinstance(run, Trace):
        raise ValueError("expected a trace, as the claim has one")  # noqa: TRY004 - as the others
    return None if terms.trace == run.root else Fault.TRACE


@dataclass
class Challenger:
    """Plays against a claim that is false.

    Attributes:
        trace: of the claim's program on the claim's inputs.
    """

    side: ClassVar[Side] = Side.CHALLENGER
    trace: Trace

    def next_move(self, view: View) -> Move | None:
        """The way to what is false; None where nothing is owed, or nothing to be shown."""
        if not view.awaits(self.side):
            return None
        match view.dispute.position:
            case AtTrace(place):
                wrong = self._difference(self.trace.tree, place)
                return moves.Select(self._to_output(view.claim, place) if wrong is None else wrong)
            case AtWiring(site):
                return self._wiring(view, site)
            case AtCells(site, place):
                wrong = self._difference(self.trace.committed(site.leaf.index).tree, place)
                return None if wrong is None else moves.Select(wrong)
            case AtChunk() as at:
                return self._cell(at)
            case AtSums() as at:
                return self._interval(at)
            case AtSummand(site, cell, summand, start, _):
                return moves.ProveSummand(
                    summand_openings(self.trace, site.leaf.index, cell, summand, start)
                )
            case _:
                return None

    def _difference(self, tree: Tree, place: Descent) -> int | None:
        """The first revealed child that is not this tree's."""
        below = len(place.children).bit_length() - 1
        return first_difference(tree.descendants(place.level, place.index, below), place.children)

    def _to_output(self, claim: ClaimState, place: Descent) -> int:
        """The child above an operator whose output the claim states wrongly."""
        below = len(place.children).bit_length() - 1
        first, level = place.index << below, place.level - below
        for port, stated, own in zip(
            claim.header.outputs, claim.terms.outputs, self.trace.output_roots, strict=True
        ):
            child = (port.index >> level) - first
            wrong = port.source is Source.OPERATOR and stated != own
            if wrong and 0 <= child < len(place.children):
                return child
        return 0  # nothing is wrong below: whatever is selected loses nothing more

    def _wiring(self, view: View, site: Site) -> Move:
        operator = self.trace.program.operators[site.leaf.index]
        own = self.trace.leaves[site.leaf.index]
        for number, operand in enumerate(operator.operands):
            if own.inputs[number] == site.leaf.inputs[number]:
                continue
            producer = operand.index
            assert operand.source is Source.OPERATOR  # the ledger checked the others
            return moves.ProveWiring(
                number,
                self.trace.leaves[producer].to_bytes(),
                path_between(self.trace.tree, trace_descents(view), site.leaf.index, producer),
            )
        return moves.DisputeCells()

    def _cell(self, at: AtChunk) -> Move | None:
        """The first cell of the chunk that differs; out of range, that is shown at once."""
        operator = self.trace.program.operators[at.site.leaf.index]
        own = self.trace.committed(at.site.leaf.index).leaf(at.chunk)
        assert at.data is not None  # it is this side's turn
        mine, theirs = (np.frombuffer(data, np.uint8) for data in (own, at.data))
        differing = np.flatnonzero(mine != theirs)
        if not differing.size:
            return None
        cell = cells.cells_of(operator.cells, at.chunk)[int(differing[0]) // operator.cells.width]
        value = cells.raw_value(operator.cells, at.data, cells.place(operator.cells, cell)[1])
        return moves.ProveRange(cell) if value > operator.cells.high else moves.SelectCell(cell)

    def _interval(self, at: AtSums) -> Move | None:
        states = self.trace.states(at.site.leaf.index, at.cell)
        for number, (cut, state) in enumerate(at.cuts):
            if int(states[cut]) != state:
                return moves.Select(number)
        return None


# ---------------------------------------------------------------- paths in the claimant's tree
def trace_descents(view: View) -> tuple[Descent, ...]:
    """The nodes of the claimant's trace that a dispute went through, each with its children."""
    header = view.claim.header
    place = descending.root(view.dispute.trace, header.count)
    found = []
    for move in view.moves:
        match move:
            case moves.RevealTrace(children):
                place = descending.reveal(place, view.claim.terms.k_log, children)
                found.append(place)
            case moves.Select(index) if place.level:
                place = descending.select(place, index)
    return tuple(found)


def path_between(
    own: Tree, revealed: tuple[Descent, ...], leaf: int, earlier: int
) -> tuple[bytes, ...]:
    """The path of an earlier leaf in a tree that agrees with `own` before `leaf`.

    Args:
        revealed: the nodes from the root down to `leaf`, each with its children.
    """
    theirs: dict[tuple[int, int], bytes] = {}
    for place in revealed:
        theirs |= _nodes(place)
    path = []
    for level in range(own.depth):
        index = earlier >> level ^ 1
        # What lies before the disputed leaf is agreed; all else of the path was revealed.
        agreed = (index + 1) << level <= leaf
        path.append(own.node(level, index) if agreed else theirs[level, index])
    return tuple(path)


def _nodes(place: Descent) -> dict[tuple[int, int], bytes]:
    """(level, index) -> node, of all nodes between a node and its revealed descendants."""
    below = len(place.children).bit_length() - 1
    level, first = place.level - below, place.index << below
    nodes = list(place.children)
    found: dict[tuple[int, int], bytes] = {}
    while True:
        found |= {(level, first + i): node for i, node in enumerate(nodes)}
        if len(nodes) == 1:
            return found
        nodes = [merkle.node_hash(*pair) for pair in zip(nodes[::2], nodes[1::2], strict=True)]
        level, first = level + 1, first >> 1
