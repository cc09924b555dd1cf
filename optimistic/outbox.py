"""Actions that an agent sends without waiting for each other.

On a chain an action takes some blocks until it counts. Whoever waits for each one before sending
the next answers as many requests as there are such times within a deadline, and no more; so what is
due goes out at once, and steps go on while it is under way. A ledger that cannot do that (a file)
takes each action at once.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from proofml.optimistic import actions
from proofml.optimistic.actions import Action
from proofml.optimistic.ledger import Ledger


class Busy(Exception):
    """No more can be sent now; what is still due then is sent by a later step."""


class Flight(Protocol):
    """An action under way."""

    @property
    def over(self) -> bool:
        """Whether readers see what it did, or it failed."""
        ...

    @property
    def error(self) -> Exception | None:
        """Why it failed."""
        ...


@runtime_checkable
class Launching(Protocol):
    """A ledger on which actions can be under way."""

    def settled(self, sender: str) -> bool:
        """Whether nothing of this account is under way but what `launch` gave out.

        Another process, or one that was killed, may have sent more: until that is seen, what is
        due may be done already.
        """
        ...

    def launch(self, action: Action, sender: str) -> Flight:
        """Send it.

        Raises:
            Busy: it has to wait.
            IllegalMove, ProofmlError: it was not sent.
        """
        ...

    def look(self, sender: str) -> None:
        """See what became of this account's actions under way."""
        ...


@dataclass(frozen=True)
class Order:
    """An action and what it is for.

    Attributes:
        work: key of the work that it belongs to, which is put off where it fails; None for none.
        about: for the log.
    """

    name: str
    action: Action
    work: tuple[int, str, int] | None
    about: dict[str, int | str] = field(default_factory=dict)


class Outbox:
    """What one account has under way on a ledger."""

    def __init__(self, ledger: Ledger, account: str) -> None:
        self._ledger = ledger
        self._account = account
        self._flying: dict[Hashable, tuple[Order, Flight]] = {}
        self._free = True

    @property
    def waiting(self) -> bool:
        """Whether something is under way, of whomever."""
        return bool(self._flying) or not self._free

    def begin(self) -> list[tuple[Order, Exception | None]]:
        """What is over since the last step. To be called before the ledger is read: what was sent
        by others is then either seen by reading, or nothing is sent in this step."""
        if not isinstance(self._ledger, Launching):
            return []
        if self._flying:
            self._ledger.look(self._account)
        self._free = self._ledger.settled(self._account)
        over = [(key, *each) for key, each in self._flying.items() if each[1].over]
        for key, _, _ in over:
            del self._flying[key]
        return [(order, flight.error) for _, order, flight in over]

    def has(self, action: Action) -> bool:
        """Whether this, or another one about the same, is under way."""
        return _subject(action) in self._flying

    def plays(self, dispute: int) -> bool:
        """Whether a move in this dispute is under way, or its end by the clock."""
        return (actions.Play, dispute) in self._flying or self.has(actions.TimeOut(dispute))

    def answers(self, request: int) -> bool:
        """Whether an answer to this request is under way."""
        return (actions.Answer, request) in self._flying

    def concerns(self, work: tuple[int, str, int]) -> bool:
        """Whether something that belongs to this work is under way."""
        return any(order.work == work for order, _ in self._flying.values())

    def send(self, order: Order) -> bool | None:
        """Whether it is done (True) or under way (False); None where it has to wait.

        Raises:
            IllegalMove, ProofmlError: it was not sent.
        """
        if not isinstance(self._ledger, Launching):
            perform(self._ledger, order.action, self._account)
            return True
        if not self._free or self.has(order.action):
            return None
        try:
            flight = self._ledger.launch(order.action, self._account)
        except Busy:
            self._free = False
            return None
        self._flying[_subject(order.action)] = order, flight
        return False


def _subject(action: Action) -> Hashable:
    """What an action is about, of which there can be one at a time."""
    if isinstance(action, actions.Play):
        return actions.Play, action.dispute
    if isinstance(action, actions.Answer):
        return actions.Answer, action.request
    return action


def perform(ledger: Ledger, action: Action, sender: str) -> int:
    """The action, by the ledger's method for it; its result, 0 where it has none.

    Raises:
        IllegalMove: the ledger refuses it.
    """
    match action:
        case actions.Withdraw():
            return ledger.withdraw(sender)
        case actions.Post(terms, header):
            return ledger.post(terms, header, sender)
        case actions.Challenge(claim):
            return ledger.challenge(claim, sender)
        case actions.Ask(claim, number, chunk):
            return ledger.request(claim, number, chunk, sender)
        case actions.Play(dispute, move):
            ledger.move(dispute, move, sender)
        case actions.TimeOut(dispute):
            ledger.timeout(dispute, sender)
        case actions.Release(dispute):
            ledger.release(dispute, sender)
        case actions.Answer(request, data, path):
            ledger.answer(request, data, path, sender)
        case actions.Default(request):
            ledger.default(request, sender)
        case actions.ReleaseRequest(request):
            ledger.release_request(request, sender)
        case actions.InputRange(claim, number, cell, opening):
            ledger.prove_input_range(claim, number, cell, opening, sender)
        case actions.Finalise(claim):
            ledger.finalise(claim, sender)
        case actions.Deposit():
            raise ValueError("a deposit: each ledger has its own way")
    return 0
