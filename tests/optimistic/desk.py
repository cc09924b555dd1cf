"""A clerk with accounts and one claim, and a case of what he refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from proofml.optimistic import actions, clerk
from proofml.optimistic.actions import Action, Post
from proofml.optimistic.book import Book, ClaimStatus, RequestStatus
from proofml.optimistic.game import Status
from proofml.optimistic.refusals import IllegalMove, Refusal

from .claims import Run, honest
from .players import Challenger, Claimant

ALICE, BOB, CAROL = "alice", "bob", "carol"
START = 1000
RICH = 10_000


@dataclass
class Desk:
    """A book at a time; every action goes through its bytes, and money is counted after each."""

    run: Run
    book: Book = field(default_factory=Book)
    now: int = START

    def act(self, action: Action, sender: str) -> int:
        read = actions.read_action(actions.to_bytes(action))
        draft = clerk.apply(self.book, read, sender, self.now)
        self.book.merge(draft)
        self.count()
        return draft.result

    def count(self) -> None:
        book = self.book
        assert book.total == book.money.deposited - book.money.withdrawn
        held = 0
        for claim in book.claims.values():
            held += claim.terms.bond if claim.status is ClaimStatus.OPEN else 0
        for dispute in book.disputes.values():
            stake = book.claims[dispute.claim].terms.challenge_bond
            held += stake if dispute.status is Status.RUNNING else 0
        for request in book.requests.values():
            fee = book.claims[request.claim].terms.data_fee
            held += fee if request.status is RequestStatus.OPEN else 0
        assert book.money.held == held
        assert min(*book.balances.values(), book.money.held, book.money.burnt, 0) == 0

    @classmethod
    def of(cls, run: Run | None = None, **changes: Any) -> Desk:
        """Three rich accounts, and Alice's claim, number 1."""
        desk = cls(run or honest("wide"))
        for account in (ALICE, BOB, CAROL):
            desk.act(actions.Deposit(RICH), account)
        desk.act(Post(desk.run.terms(**changes), desk.run.header), ALICE)
        return desk

    @property
    def closes(self) -> int:
        return self.book.claims[1].closes

    def refused(self, action: Action, sender: str) -> Refusal:
        before = repr(self.book)
        with pytest.raises(IllegalMove) as caught:
            self.act(action, sender)
        assert repr(self.book) == before
        return caught.value.refusal

    def dispute(self, number: int, challenger: Challenger) -> None:
        """Play a dispute to its end; a claimant who has no move loses by the clock."""
        claimant = Claimant(self.run)
        while (dispute := self.book.dispute(number)).status is Status.RUNNING:
            terms = self.book.claims[dispute.claim].terms
            turn = dispute.account(dispute.clock.turn)
            player = claimant if turn == ALICE else challenger
            try:
                self.act(actions.Play(number, player.move(terms, dispute)), turn)
            except IllegalMove:
                assert player is claimant
                self.now = dispute.clock.deadline + 1
                self.act(actions.TimeOut(number), CAROL)


def chunk(run: Run, input: int, number: int) -> tuple[bytes, tuple[bytes, ...]]:
    tensor = run.inputs[input]
    return tensor.chunk(number), tensor.tree.path(number)


def answer(desk: Desk, request: int = 1) -> actions.Answer:
    asked = desk.book.requests[request]
    return actions.Answer(request, *chunk(desk.run, asked.input, asked.chunk))


@dataclass
class Case:
    """An action that one rule forbids; `legal` is the same with that one thing right."""

    refusal: Refusal
    desk: Desk
    illegal: Action
    sender: str
    legal: Callable[[], tuple[Action, str]] | None
