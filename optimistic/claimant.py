"""The honest claimant: shows what it committed to.

Every reveal follows from the claim's own trees and folds, so there is nothing to decide. A claim
that is true is defended to the end; one that is not has a reveal that cannot be made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from proofml.optimistic import moves
from proofml.optimistic.cells import Ints
from proofml.optimistic.clock import Side
from proofml.optimistic.indexing import Record
from proofml.optimistic.merkle import Tree
from proofml.optimistic.moves import Move, Opening
from proofml.optimistic.phases import descent, sums
from proofml.optimistic.phases.positions import (
    AtCells,
    AtChunk,
    AtLeaf,
    AtSums,
    AtTrace,
    Descent,
)
from proofml.optimistic.players import View, record_opening
from proofml.optimistic.trace import Trace


@dataclass
class Claimant:
    """Plays for a claim from its trace.

    Attributes:
        trace: of the claim: the same program on the same inputs.
    """

    side: ClassVar[Side] = Side.CLAIMANT
    trace: Trace

    def next_move(self, view: View) -> Move | None:
        """The reveal that is due; None where the claimant owes none.

        Raises:
            ValueError: no record of the rule's table has the last state: the trace is no true one.
        """
        if not view.awaits(self.side):
            return None
        k_log = view.claim.terms.k_log
        match view.dispute.position:
            case AtTrace(place):
                return moves.RevealTrace(self._children(self.trace.tree, place, k_log))
            case AtLeaf(_, index):
                return self._operator(index)
            case AtCells(site, place):
                tree = self.trace.committed(site.leaf.index).tree
                return moves.RevealCells(self._children(tree, place, k_log))
            case AtChunk(site, chunk):
                return moves.RevealChunk(self.trace.committed(site.leaf.index).leaf(chunk))
            case AtSums() as at:
                return self._sums(at, 1 << k_log)
            case _:
                return None

    def _children(self, tree: Tree, place: Descent, k_log: int) -> tuple[bytes, ...]:
        return tree.descendants(place.level, place.index, descent.step(place, k_log))

    def _operator(self, index: int) -> Move:
        tables = self.trace.machine.tables
        assert tables.tree is not None  # of every program that was lowered
        return moves.RevealOperator(
            self.trace.leaves[index].to_bytes(),
            tables.descriptors[index],
            tables.tree.path(index),
        )

    def _sums(self, at: AtSums, k: int) -> Move:
        operator = at.site.leaf.index
        states = self.states(operator, at.cell)
        cuts = sums.inner_cuts(at.first, at.last, k)
        if at.end is not None:
            return moves.RevealSums(tuple(int(states[cut]) for cut in cuts))
        found = tuple(int(states[cut]) for cut in (*cuts, at.last))
        return moves.RevealSums(found, self._rule(operator, at.cell, found[-1]))

    def states(self, operator: int, cell: int) -> Ints:
        """States of a cell's fold, int64 [summands + 1]."""
        return self.trace.states(operator, cell)

    def _rule(self, number: int, cell: int, state: int) -> Opening | None:
        """The record by which the last state gives the cell."""
        operator, tables = self.trace.program.operators[number], self.trace.machine.tables
        found = tables.rule_record(operator, cell, state)
        if found is None:
            return None
        table = operator.output.table
        assert table is not None  # where there is a record
        return record_opening(tables, Record(table, found))
