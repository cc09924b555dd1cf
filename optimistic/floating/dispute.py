"""A dispute about a float claim: the challenger owes one move, and the ledger rules on it.

The claimant has published all there is to say; he owes nothing but answers to requests for data.
So a dispute lasts at most the challenger's clock, and a wrong challenger delays a claim by that.
"""

from __future__ import annotations

from dataclasses import replace

from proofml.optimistic.claim import Terms
from proofml.optimistic.clock import Clock, Side
from proofml.optimistic.floating.accusation import read_accusation
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.floating.ruling import rule, stands
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.moves import Move, PointAt
from proofml.optimistic.phases.positions import AtPoint
from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.optimistic.wire import WireError


def start(claim: int, claimant: str, challenger: str, terms: Terms, now: int) -> DisputeState:
    """A dispute that was just opened."""
    ticking = Clock.start(terms.clock, terms.extension, Side.CHALLENGER, now)
    return DisputeState(
        claim, claimant, challenger, now, Status.RUNNING, AtPoint(), terms.trace, ticking
    )


def play(
    dispute: DisputeState, terms: Terms, header: FloatHeader, sender: str, move: Move, now: int
) -> DisputeState:
    """The dispute after its only move.

    Raises:
        IllegalMove: as `game.play`; and what of the accusation does not open, or belong there.
        BackendUnavailable, WorkerFailed: the operator cannot be computed here.
    """
    if dispute.status is not Status.RUNNING:
        raise IllegalMove(Refusal.DISPUTE_CLOSED, f"the dispute is {dispute.status.name}")
    if sender != dispute.challenger:
        raise IllegalMove(Refusal.NOT_YOUR_TURN, f"expected a move of {dispute.challenger}")
    if dispute.clock.late(now):
        raise IllegalMove(Refusal.LATE, f"expected a move by {dispute.clock.deadline}, now {now}")
    if not isinstance(move, PointAt):
        raise IllegalMove(Refusal.WRONG_PHASE, f"expected PointAt, got {type(move).__name__}")
    try:
        accusation = read_accusation(move.data)
    except WireError as error:
        raise IllegalMove(Refusal.OPENING, str(error)) from error
    won = rule(terms, header, accusation)
    status = Status.WON_BY_CHALLENGER if won.side is Side.CHALLENGER else Status.WON_BY_CLAIMANT
    return replace(dispute, status=status, why=won.why, moves=dispute.moves + 1)


def as_found(terms: Terms, header: FloatHeader, move: PointAt) -> PointAt:
    """The move with what this ledger finds in it: whoever accuses wrongly loses by it.

    Raises:
        IllegalMove: it does not read, or does not open.
        BackendUnavailable, WorkerFailed: the operator cannot be computed here.
    """
    try:
        accusation = read_accusation(move.data)
    except WireError as error:
        raise IllegalMove(Refusal.OPENING, str(error)) from error
    found = stands(terms, header, accusation)
    return move if found is None else accusation.ruled(found).move()


def longest(terms: Terms) -> int:
    """Seconds from the opening of a dispute to its end at most, if somebody watches the clock."""
    return max(terms.clock, terms.extension) + 1
