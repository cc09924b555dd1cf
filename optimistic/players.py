"""What a player sees of a dispute, and what both of them prepare in the same way.

A player's own knowledge is a `Trace`: the model, executed again on the claim's inputs. Everything
else follows from what the ledger shows, so a player that was killed goes on where it stopped, and
plays alike on every ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from proofml.optimistic import arbiter, indexing
from proofml.optimistic.book import ClaimState
from proofml.optimistic.cells import place, raw_value
from proofml.optimistic.clock import Side
from proofml.optimistic.commit import Committed
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.indexing import Entry, Record
from proofml.optimistic.moves import Move, Opening
from proofml.optimistic.program import Cells
from proofml.optimistic.rows import Tables
from proofml.optimistic.trace import Trace


@dataclass(frozen=True)
class View:
    """All that is public of one dispute.

    Attributes:
        claim: that it is about.
        dispute: where it stands.
        moves: made so far, by both sides.
    """

    claim: ClaimState
    dispute: DisputeState
    moves: tuple[Move, ...] = ()

    def awaits(self, side: Side) -> bool:
        """Whether this side owes the next move."""
        running = self.dispute.status is Status.RUNNING
        return running and self.dispute.clock.turn is side


class Player(Protocol):
    """One side of a dispute."""

    side: ClassVar[Side]

    def next_move(self, view: View) -> Move | None:
        """What this side plays now; None where it owes nothing, or has nothing to show."""
        ...


def opening_of(committed: Committed, leaf: int) -> Opening:
    data, path = committed.opening(leaf)
    return Opening(leaf, data, path)


def record_opening(tables: Tables, record: Record) -> Opening:
    """The leaf of a table in which a record lies."""
    return opening_of(tables.committed[record.table.root], record.leaf)


def first_difference(mine: Sequence[bytes], theirs: Sequence[bytes]) -> int | None:
    """Where two lists of nodes differ first."""
    for number, (own, other) in enumerate(zip(mine, theirs, strict=True)):
        if own != other:
            return number
    return None


@dataclass
class OpeningWitness:
    """Answers an arbiter's step from a trace, and keeps the openings that it asked for.

    Attributes:
        operator: of the trace.
        openings: in the arbiter's order.
    """

    trace: Trace
    operator: int
    openings: list[Opening] = field(default_factory=list)

    def record(self, record: Record) -> Entry:
        opening = record_opening(self.trace.machine.tables, record)
        self.openings.append(opening)
        return indexing.read_entry(opening.leaf[record.start : record.end])

    def cell(self, number: int, tensor: Cells, flat: int) -> int:
        chunk, at = place(tensor, flat)
        opening = opening_of(self.trace.operand(self.operator, number), chunk)
        self.openings.append(opening)
        return raw_value(tensor, opening.leaf, at)


def summand_openings(
    trace: Trace, operator: int, cell: int, summand: int, state: int
) -> tuple[Opening, ...]:
    """All that the arbiter opens for one step of a cell's fold."""
    witness = OpeningWitness(trace, operator)
    arbiter.step(trace.program.operators[operator], cell, summand, state, witness)
    return tuple(witness.openings)
