"""A dispute as a pure state machine: no I/O, no randomness, the time is passed in.

Claimant and challenger move in turn; `play` says what a move makes of a dispute, or raises
`IllegalMove` and nothing has happened. The contract `Game` is its twin: the same rules in the same
order.

Whoever is right wins. An honest challenger goes, in each tree, to the first node that differs from
his own; everything before it is agreed, so he has the openings for whatever comes; the operator's
inputs are then his own too, its output is not, and of the states that the claimant asserts there is
a first one that is not his. An honest claimant can make every reveal, and the last step computes
what he said. No side needs more time for a move than the extension gives it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from proofml.canonical import JSON
from proofml.optimistic import clock, merkle, moves
from proofml.optimistic.claim import DEFERRED, Terms
from proofml.optimistic.clock import Clock, Side
from proofml.optimistic.encoding import Header
from proofml.optimistic.moves import Move
from proofml.optimistic.phases import chunk, descent, operator, sums
from proofml.optimistic.phases.positions import (
    AtCells,
    AtChunk,
    AtLeaf,
    AtSummand,
    AtSums,
    AtTrace,
    AtWiring,
    Descent,
    Position,
    Won,
    turn,
)
from proofml.optimistic.program import Operator, Program
from proofml.optimistic.refusals import IllegalMove, Refusal


class Status(IntEnum):
    RUNNING = 1
    WON_BY_CLAIMANT = 2
    WON_BY_CHALLENGER = 3
    CANCELLED = 4


@dataclass(frozen=True)
class DisputeState:
    """One challenger against one claim.

    Attributes:
        claim: its number on the ledger.
        claimant, challenger: accounts.
        opened: when, in seconds.
        position: where it stands, or stood when it ended.
        trace: root of the trace: the claim's, or, of a claim that defers it, of what the
            claimant's first reveal showed; `DEFERRED` before that.
        moves: made so far.
        why: how it ended.
    """

    claim: int
    claimant: str
    challenger: str
    opened: int
    status: Status
    position: Position
    trace: bytes
    clock: Clock
    moves: int = 0
    why: str = ""

    def account(self, side: Side) -> str:
        return self.claimant if side is Side.CLAIMANT else self.challenger

    def to_json(self) -> dict[str, JSON]:
        return {
            "claim": self.claim,
            "challenger": self.challenger,
            "opened": self.opened,
            "status": self.status.name,
            "phase": self.position.phase.name,
            "position": self.position.to_json(),
            "trace": None if self.trace == DEFERRED else self.trace.hex(),
            "turn": self.clock.turn.name,
            "since": self.clock.since,
            "left": self.clock.left,
            "moves": self.moves,
            "why": self.why,
        }


def start(
    claim: int, claimant: str, challenger: str, terms: Terms, header: Header, now: int
) -> DisputeState:
    """A dispute that was just opened."""
    position = _in_trace(descent.root(terms.trace, header.count))
    ticking = Clock.start(terms.clock, terms.extension, turn(position), now)
    return DisputeState(
        claim, claimant, challenger, now, Status.RUNNING, position, terms.trace, ticking
    )


def play(
    dispute: DisputeState, terms: Terms, header: Header, sender: str, move: Move, now: int
) -> DisputeState:
    """The dispute after this move.

    Raises:
        IllegalMove: the first rule in the order of `Refusal` that forbids it.
    """
    if dispute.status is not Status.RUNNING:
        raise IllegalMove(Refusal.DISPUTE_CLOSED, f"the dispute is {dispute.status.name}")
    side = dispute.clock.turn
    if sender != dispute.account(side):
        raise IllegalMove(Refusal.NOT_YOUR_TURN, f"expected a move of {dispute.account(side)}")
    if dispute.clock.late(now):
        raise IllegalMove(Refusal.LATE, f"expected a move by {dispute.clock.deadline}, now {now}")
    if not isinstance(move, dispute.position.awaits):
        names = " or ".join(kind.__name__ for kind in dispute.position.awaits)
        raise IllegalMove(Refusal.WRONG_PHASE, f"expected {names}, got {type(move).__name__}")
    held = _held(dispute, move)
    found = _next(held, terms, header, move)
    counted = replace(held, moves=held.moves + 1)
    if isinstance(found, Won):
        return _ended(counted, found)
    return replace(counted, position=found, clock=dispute.clock.moved(turn(found), now))


def time_out(dispute: DisputeState, now: int) -> DisputeState:
    """The dispute lost by the side that owes the move and has no time left.

    Raises:
        IllegalMove: DISPUTE_CLOSED, EARLY.
    """
    if dispute.status is not Status.RUNNING:
        raise IllegalMove(Refusal.DISPUTE_CLOSED, f"the dispute is {dispute.status.name}")
    side = dispute.clock.turn
    if not dispute.clock.late(now):
        raise IllegalMove(
            Refusal.EARLY,
            f"the {side.name.lower()} has time until {dispute.clock.deadline}, now {now}",
        )
    return _ended(dispute, Won(side.other, f"the {side.name.lower()} made no move in time"))


def _ended(dispute: DisputeState, won: Won) -> DisputeState:
    claimant = won.side is Side.CLAIMANT
    status = Status.WON_BY_CLAIMANT if claimant else Status.WON_BY_CHALLENGER
    return replace(dispute, status=status, why=won.why)


def _held(dispute: DisputeState, move: Move) -> DisputeState:
    """The dispute, its trace's root known.

    A claimant who says it only now gains nothing: the outputs are bound by the claim, and whoever
    disputes them compares any trace with his own.

    Raises:
        IllegalMove: CHILDREN.
    """
    if dispute.trace != DEFERRED:
        return dispute
    match dispute.position, move:
        case AtTrace(place), moves.RevealTrace(children):
            at = descent.define(place, children)
            return replace(dispute, trace=at.node, position=AtTrace(at))
        case AtLeaf(_, index), moves.RevealOperator(leaf):
            node = merkle.leaf_hash(leaf)
            return replace(dispute, trace=node, position=AtLeaf(node, index))
        case _:
            raise AssertionError("the first reveal of a trace defines its root")


def _next(dispute: DisputeState, terms: Terms, header: Header, move: Move) -> Position | Won:
    match dispute.position, move:
        case AtTrace(place), moves.RevealTrace(children):
            return AtTrace(descent.reveal(place, terms.k_log, children))
        case AtTrace(place), moves.Select(index):
            return _in_trace(descent.select(place, index))
        case AtLeaf() as leaf, moves.RevealOperator() as revealed:
            return operator.reveal(terms, header, leaf, revealed)
        case AtWiring() as wiring, moves.ProveWiring() as proof:
            return operator.prove_wiring(dispute.trace, header, wiring, proof)
        case AtWiring() as wiring, moves.DisputeCells():
            return operator.dispute_cells(wiring)
        case AtCells(site, place), moves.RevealCells(children):
            return AtCells(site, descent.reveal(place, terms.k_log, children))
        case AtCells(site, place), moves.Select(index):
            return operator.cells(site, descent.select(place, index))
        case AtChunk() as at, moves.RevealChunk() as data:
            return chunk.reveal(at, data)
        case AtChunk() as at, moves.SelectCell() as cell:
            return chunk.select_cell(at, cell)
        case AtChunk() as at, moves.ProveRange() as beyond:
            return chunk.prove_range(at, beyond)
        case AtSums() as fold, moves.RevealSums() as states:
            return sums.reveal(fold, 1 << terms.k_log, states)
        case AtSums() as fold, moves.Select(index):
            return sums.select(fold, index)
        case AtSummand() as last, moves.ProveSummand() as openings:
            return sums.prove_summand(last, openings)
        case _:
            where = type(dispute.position).__name__
            raise AssertionError(f"{where} awaits no {type(move).__name__}")


def _in_trace(place: Descent) -> AtTrace | AtLeaf:
    return AtTrace(place) if place.level else AtLeaf(place.node, place.index)


# ---------------------------------------------------------------- bounds
def most_moves(program: Program, k_log: int) -> int:
    """Moves of the longest dispute that this program allows, of both sides together."""
    reveals = descent.rounds(len(program.operators), k_log)
    inner = max(_most_moves(each, k_log) for each in program.operators)
    return 2 * reveals + 2 + inner  # the operator and the choice of its cells


def _most_moves(operator_: Operator, k_log: int) -> int:
    descents = 2 * descent.rounds(operator_.cells.chunks, k_log)
    folds = sums.rounds(operator_.summands, 1 << k_log)
    # Each reveal of states is followed by a choice, but for a fold of one summand; then the proof.
    choices = 0 if operator_.summands == 1 else folds
    return descents + 2 + folds + choices + 1


def longest(terms: Terms, program: Program) -> int:
    """Seconds from the opening of a dispute to its end at most, if somebody watches the clock."""
    return clock.longest(terms.clock, terms.extension, most_moves(program, terms.k_log))


def finality(terms: Terms, program: Program) -> int:
    """Seconds after which an honest claim is final at the latest, whatever challengers do."""
    return terms.window + longest(terms, program)
