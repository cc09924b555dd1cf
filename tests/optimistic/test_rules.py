"""Every rule of a dispute: a legal move with one thing wrong, refused by exactly that rule."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from proofml.optimistic import game
from proofml.optimistic.claim import DEFERRED
from proofml.optimistic.game import Status
from proofml.optimistic.refusals import IllegalMove, Refusal

from . import illegal_descents, illegal_steps
from .boards import CHALLENGER, CLAIMANT, POSITIONS, Board, at
from .claims import honest
from .illegal import Case, legal_at, wide_cells

CASES = [*illegal_descents.CASES, *illegal_steps.CASES]

#: Rules of moves; those of the ledger are in test_clerk.
OF_MOVES = frozenset(
    refusal
    for refusal in Refusal
    if list(Refusal).index(refusal) >= list(Refusal).index(Refusal.DISPUTE_CLOSED)
)
#: What is refused whatever the move is; tested below.
OF_TURNS = {
    Refusal.DISPUTE_CLOSED,
    Refusal.NOT_YOUR_TURN,
    Refusal.LATE,
    Refusal.EARLY,
    Refusal.WRONG_PHASE,
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_exactly_this_rule_refuses(make: Callable[[], Case]) -> None:
    case = make()
    with pytest.raises(IllegalMove) as caught:
        case.board.after(case.illegal)
    assert caught.value.refusal is case.refusal, caught.value
    if case.legal is not None:
        assert case.board.after(case.legal).moves == case.board.dispute.moves + 1


def test_every_rule_of_a_move_has_a_case() -> None:
    assert {make().refusal for make in CASES} == OF_MOVES - OF_TURNS


# ---------------------------------------------------------------- turns
@pytest.mark.parametrize("name", POSITIONS)
def test_a_move_of_another_phase(name: str) -> None:
    board = board_at(name)
    awaited = board.dispute.position.awaits
    tried = 0
    for other in POSITIONS:
        move = legal_at(board_at(other))
        if isinstance(move, awaited):
            continue
        tried += 1
        with pytest.raises(IllegalMove) as caught:
            board.after(move)
        assert caught.value.refusal is Refusal.WRONG_PHASE
    assert tried >= len(POSITIONS) - 3


def board_at(name: str) -> Board:
    if name.startswith("cells"):
        return wide_cells(name)
    return at(POSITIONS[name])


@pytest.mark.parametrize("name", POSITIONS)
def test_whose_turn_it_is(name: str) -> None:
    board = board_at(name)
    move = legal_at(board)
    turn = board.dispute.account(board.dispute.clock.turn)
    for sender in {CLAIMANT, CHALLENGER, "stranger"} - {turn}:
        with pytest.raises(IllegalMove) as caught:
            board.after(move, sender)
        assert caught.value.refusal is Refusal.NOT_YOUR_TURN
    assert board.after(move, turn).moves == board.dispute.moves + 1


@pytest.mark.parametrize("name", POSITIONS)
def test_the_last_second(name: str) -> None:
    board = board_at(name)
    move, last = legal_at(board), board.dispute.clock.deadline
    assert board.after(move, now=last).moves == board.dispute.moves + 1
    with pytest.raises(IllegalMove) as caught:
        board.after(move, now=last + 1)
    assert caught.value.refusal is Refusal.LATE
    with pytest.raises(IllegalMove) as caught:
        game.time_out(board.dispute, last)
    assert caught.value.refusal is Refusal.EARLY
    ended = game.time_out(board.dispute, last + 1)
    owing = board.dispute.account(board.dispute.clock.turn)
    won = {CLAIMANT: Status.WON_BY_CHALLENGER, CHALLENGER: Status.WON_BY_CLAIMANT}
    assert ended.status is won[owing]


def test_nothing_after_the_end() -> None:
    board = at(POSITIONS["summand"])
    move = legal_at(board)
    board.play(move)
    assert board.dispute.status is Status.WON_BY_CLAIMANT
    with pytest.raises(IllegalMove) as caught:
        board.after(move)
    assert caught.value.refusal is Refusal.DISPUTE_CLOSED
    with pytest.raises(IllegalMove) as caught:
        game.time_out(board.dispute, board.dispute.clock.deadline + 1)
    assert caught.value.refusal is Refusal.DISPUTE_CLOSED


def test_a_refused_move_changes_nothing() -> None:
    for make in CASES:
        case = make()
        before = case.board.dispute
        with pytest.raises(IllegalMove):
            case.board.after(case.illegal)
        assert case.board.dispute is before
        assert case.board.dispute == replace(before)


@pytest.mark.parametrize("name", ["one", "network"])
def test_the_first_reveal_binds_the_trace(name: str) -> None:
    """From then on the dispute is that of a claim which posted this root."""
    run = honest(name)
    deferred, posted = Board.of(run, trace=DEFERRED), Board.of(run)
    assert deferred.dispute.to_json()["trace"] is None
    assert posted.dispute.to_json()["trace"] == run.root.hex()
    first = legal_at(deferred)
    assert first == legal_at(posted)
    for board in (deferred, posted):
        board.play(first)
        assert board.dispute.trace == run.root
    assert deferred.dispute == posted.dispute


def test_any_move_anywhere() -> None:
    """A move is made where its kind is awaited, or refused by a rule of moves."""
    rng = random.Random(3)
    pool = [legal_at(board_at(name)) for name in POSITIONS] + [make().illegal for make in CASES]
    refusals = set()
    for name in POSITIONS:
        board = board_at(name)
        for move in rng.sample(pool, 40):
            try:
                after = board.after(move)
            except IllegalMove as error:
                refusals.add(error.refusal)
            else:
                assert isinstance(move, board.dispute.position.awaits)
                assert after.moves == board.dispute.moves + 1
    assert Refusal.WRONG_PHASE in refusals
    assert refusals <= OF_MOVES
