"""The ledger's rules about claims, requests and money; each broken in one thing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proofml.optimistic import actions
from proofml.optimistic.actions import Post
from proofml.optimistic.book import ClaimStatus, RequestStatus
from proofml.optimistic.claim import Terms
from proofml.optimistic.game import Status
from proofml.optimistic.refusals import Refusal

from .claims import TERMS, false_run, honest
from .desk import ALICE, BOB, CAROL, RICH, Case, Desk, answer
from .illegal_actions import CASES, asked, beyond, defeated
from .players import Challenger, Claimant
from .tiny import tiny


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_exactly_this_rule_refuses(make: Callable[[], Case]) -> None:
    case = make()
    assert case.desk.refused(case.illegal, case.sender) is case.refusal
    if case.legal is not None:
        case.desk.act(*case.legal())


def test_every_rule_of_the_ledger_has_a_case() -> None:
    every = list(Refusal)
    ledgers = set(every[: every.index(Refusal.DISPUTE_CLOSED)])
    assert ledgers <= {make().refusal for make in CASES}


def test_the_last_seconds() -> None:
    """Each bound of time, on its legal side."""
    desk = Desk.of()
    desk.now = desk.closes - 2 * TERMS["answer"] - 1
    desk.act(actions.Ask(1, 0, 0), BOB)
    desk.now += TERMS["answer"]
    desk.act(answer(desk), ALICE)
    desk.now = desk.closes - 1
    desk.act(actions.Challenge(1), BOB)
    desk.now = desk.book.disputes[1].clock.deadline + 1
    desk.act(actions.TimeOut(1), BOB)
    assert desk.book.claims[1].status is ClaimStatus.DEFEATED


def test_no_request_fits_a_short_window() -> None:
    desk = Desk.of(window=2 * TERMS["answer"])
    assert desk.refused(actions.Ask(1, 0, 0), BOB) is Refusal.WINDOW_OVER
    desk = Desk.of(window=2 * TERMS["answer"] + 1)
    desk.act(actions.Ask(1, 0, 0), BOB)


def test_a_window_of_nothing() -> None:
    """It can be posted, and nobody can dispute it: that is for verifiers to refuse."""
    desk = Desk.of(window=0)
    assert desk.refused(actions.Challenge(1), BOB) is Refusal.WINDOW_OVER
    desk.act(actions.Finalise(1), ALICE)


def test_time_does_not_go_back() -> None:
    desk = Desk.of()
    desk.now -= 1
    with pytest.raises(ValueError, match="expected 1000 or later"):
        desk.act(actions.Deposit(1), ALICE)


# ---------------------------------------------------------------- who gets what
def test_an_honest_claim_gets_its_bond_back() -> None:
    desk = Desk.of()
    assert desk.book.balances[ALICE] == RICH - 1000
    desk.now = desk.closes
    desk.act(actions.Finalise(1), CAROL)
    assert desk.book.balances[ALICE] == RICH
    assert desk.book.claims[1].status is ClaimStatus.FINAL


@pytest.mark.parametrize(("burn", "burnt"), [(0, 0), (1000, 100), (9999, 999), (10_000, 1000)])
def test_a_false_claim_pays_its_challenger(burn: int, burnt: int) -> None:
    desk = Desk.of(false_run("wide", "cell", 2), burn=burn)
    desk.act(actions.Challenge(1), BOB)
    assert desk.book.balances[BOB] == RICH - 300
    desk.dispute(1, Challenger(honest("wide")))
    assert desk.book.disputes[1].status is Status.WON_BY_CHALLENGER
    assert desk.book.balances == {ALICE: RICH - 1000, BOB: RICH + 1000 - burnt, CAROL: RICH}
    assert desk.book.money.burnt == burnt
    assert desk.book.money.held == 0


def test_a_wrong_challenge_pays_the_claimant() -> None:
    desk = Desk.of(burn=1234)
    desk.act(actions.Challenge(1), BOB)
    desk.now = desk.book.disputes[1].clock.deadline
    desk.act(
        actions.Play(1, Claimant(desk.run).move(desk.run.terms(), desk.book.disputes[1])), ALICE
    )
    desk.now = desk.book.disputes[1].clock.deadline + 1
    desk.act(actions.TimeOut(1), CAROL)
    assert desk.book.disputes[1].status is Status.WON_BY_CLAIMANT
    burnt = 300 * 1234 // 10_000
    assert desk.book.balances == {ALICE: RICH - 1000 + 300 - burnt, BOB: RICH - 300, CAROL: RICH}
    desk.now = desk.closes
    desk.act(actions.Finalise(1), ALICE)
    assert desk.book.balances[ALICE] == RICH + 300 - burnt


def test_other_challengers_of_a_defeated_claim_get_their_bonds_back() -> None:
    desk = defeated()
    assert desk.book.dispute(2).status is Status.CANCELLED
    assert desk.book.balances[CAROL] == RICH - 300 - 7
    desk.act(actions.Release(2), BOB)
    desk.act(actions.ReleaseRequest(1), BOB)
    assert desk.book.balances == {ALICE: RICH - 1000, BOB: RICH + 900, CAROL: RICH}
    assert desk.book.money.held == 0
    assert desk.book.requests[1].status is RequestStatus.RELEASED
    assert (desk.book.claims[1].running, desk.book.claims[1].asked) == (0, 0)


def test_an_answer_earns_its_fee() -> None:
    desk = asked()
    assert desk.book.balances[BOB] == RICH - 7
    desk.act(answer(desk), ALICE)
    assert desk.book.balances == {ALICE: RICH - 1000 + 7, BOB: RICH - 7, CAROL: RICH}
    assert desk.book.requests[1].status is RequestStatus.ANSWERED
    desk.now = desk.closes
    desk.act(actions.Finalise(1), ALICE)


@pytest.mark.parametrize("kind", ["input", "chunk"])
def test_withheld_data_defeats_a_claim(kind: str) -> None:
    """Each input, each chunk: nobody answers, and the requester has the bond less the burn."""
    wide = tiny("wide").program.inputs
    places = [(i, 0) for i in range(2)] if kind == "input" else [(0, c) for c in range(2)]
    assert all(c < wide[i].cells.chunks for i, c in places)
    for input, number in places:
        desk = Desk.of()
        desk.act(actions.Ask(1, input, number), BOB)
        desk.now += TERMS["answer"] + 1
        desk.act(actions.Default(1), CAROL)
        assert desk.book.claims[1].status is ClaimStatus.DEFEATED
        assert desk.book.requests[1].status is RequestStatus.DEFAULTED
        assert desk.book.balances == {ALICE: RICH - 1000, BOB: RICH + 900, CAROL: RICH}


def test_an_input_beyond_its_range_defeats_a_claim() -> None:
    desk, proof = beyond()
    desk.now = desk.closes + 5
    desk.act(proof, BOB)
    assert desk.book.claims[1].status is ClaimStatus.DEFEATED
    assert desk.book.balances == {ALICE: RICH - 1000, BOB: RICH + 900, CAROL: RICH}


def test_withdrawing_takes_everything_once() -> None:
    desk = Desk.of()
    assert desk.act(actions.Withdraw(), BOB) == RICH
    assert desk.book.money.withdrawn == RICH
    assert desk.refused(actions.Withdraw(), BOB) is Refusal.NOTHING


def test_numbers_are_given_in_order() -> None:
    desk = Desk.of()
    terms: Terms = desk.run.terms()
    assert desk.act(Post(terms, desk.run.header), BOB) == 2
    assert [desk.act(actions.Challenge(c), CAROL) for c in (2, 1, 2)] == [1, 2, 3]
    assert [desk.act(actions.Ask(c, 0, 0), CAROL) for c in (2, 1)] == [1, 2]
    assert [desk.book.disputes[n].claim for n in (1, 2, 3)] == [2, 1, 2]
