"""Everything that a ledger knows: claims, disputes, requests, and where the money is.

`clerk.apply` says what an action changes, as a `Draft`; `Book.merge` takes it over. So a ledger
can store a draft first, and whoever has the actions can replay the book.

Money is in one of three places: on an account, held (bonds and fees), or burnt. Deposits and
withdrawals are the only ways in and out:

    sum of balances + held + burnt = deposited - withdrawn
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TypeVar

from proofml.canonical import JSON
from proofml.optimistic.claim import Terms
from proofml.optimistic.encoding import Header
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.refusals import IllegalMove, Refusal

T = TypeVar("T")


class ClaimStatus(IntEnum):
    OPEN = 1
    FINAL = 2
    DEFEATED = 3


class RequestStatus(IntEnum):
    OPEN = 1
    ANSWERED = 2
    DEFAULTED = 3
    RELEASED = 4


@dataclass(frozen=True)
class ClaimState:
    """A claim on a ledger.

    Attributes:
        header: of its program; of a float claim only how many operators it has.
        posted: when, in seconds.
        running, asked: disputes that run, requests that are open.
        floating: the header of a float claim; None of an exact one.
    """

    terms: Terms
    header: Header
    claimant: str
    posted: int
    status: ClaimStatus = ClaimStatus.OPEN
    running: int = 0
    asked: int = 0
    why: str = ""
    floating: FloatHeader | None = None

    @property
    def closes(self) -> int:
        """The first second in which no dispute can be opened."""
        return self.posted + self.terms.window

    def to_json(self) -> dict[str, JSON]:
        return {
            "terms": self.terms.digest.hex(),
            "program": self.terms.program.hex(),
            "claimant": self.claimant,
            "posted": self.posted,
            "status": self.status.name,
            "running": self.running,
            "asked": self.asked,
            "why": self.why,
        }


@dataclass(frozen=True)
class RequestState:
    """A request for chunk `chunk` of input `input`, to be answered by `until` (included)."""

    claim: int
    requester: str
    input: int
    chunk: int
    until: int
    status: RequestStatus = RequestStatus.OPEN

    def to_json(self) -> dict[str, JSON]:
        return {
            "claim": self.claim,
            "requester": self.requester,
            "input": self.input,
            "chunk": self.chunk,
            "until": self.until,
            "status": self.status.name,
        }


@dataclass(frozen=True)
class Money:
    """Totals, in wei (or the ledger's own unit)."""

    held: int = 0
    burnt: int = 0
    deposited: int = 0
    withdrawn: int = 0

    def to_json(self) -> dict[str, JSON]:
        return {
            "held": str(self.held),
            "burnt": str(self.burnt),
            "deposited": str(self.deposited),
            "withdrawn": str(self.withdrawn),
        }


@dataclass
class Draft:
    """What an action changes: new values of whatever it touched.

    Attributes:
        result: number of the claim, dispute or request that was made, or the amount withdrawn.
    """

    time: int
    money: Money
    balances: dict[str, int] = field(default_factory=dict)
    claims: dict[int, ClaimState] = field(default_factory=dict)
    disputes: dict[int, DisputeState] = field(default_factory=dict)
    requests: dict[int, RequestState] = field(default_factory=dict)
    result: int = 0


@dataclass
class Book:
    """The state of a ledger; numbers of claims, disputes and requests count from 1."""

    time: int = 0
    money: Money = field(default_factory=Money)
    balances: dict[str, int] = field(default_factory=dict)
    claims: dict[int, ClaimState] = field(default_factory=dict)
    disputes: dict[int, DisputeState] = field(default_factory=dict)
    requests: dict[int, RequestState] = field(default_factory=dict)

    def merge(self, draft: Draft) -> None:
        self.time = draft.time
        self.money = draft.money
        self.balances.update(draft.balances)
        self.claims.update(draft.claims)
        self.disputes.update(draft.disputes)
        self.requests.update(draft.requests)

    def claim(self, number: int) -> ClaimState:
        return known(self.claims, number, "claim")

    def dispute(self, number: int) -> DisputeState:
        """The dispute; cancelled, if its claim was defeated meanwhile."""
        found = known(self.disputes, number, "dispute")
        defeated = self.claims[found.claim].status is ClaimStatus.DEFEATED
        if defeated and found.status is Status.RUNNING:
            return replace(found, status=Status.CANCELLED, why="the claim was defeated")
        return found

    def request(self, number: int) -> RequestState:
        return known(self.requests, number, "request")

    @property
    def total(self) -> int:
        """All the money there is; `deposited - withdrawn` unless a rule is broken."""
        return sum(self.balances.values()) + self.money.held + self.money.burnt


def known(found: Mapping[int, T], number: int, what: str) -> T:
    """The one of this number.

    Raises:
        IllegalMove: UNKNOWN.
    """
    try:
        return found[number]
    except KeyError:
        raise IllegalMove(
            Refusal.UNKNOWN, f"{what} {number}: expected one of {len(found)}"
        ) from None
