"""What players need of a ledger, whichever it is.

Accounts are named by strings; the ledger holds the keys of those for whom it may act. Times are
seconds of the ledger, amounts are integers in its unit. Each method that acts raises `IllegalMove`
with the rule that forbids it, and has changed nothing then; when it returns, the action is durable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proofml.errors import VerificationError
from proofml.optimistic.actions import Action
from proofml.optimistic.book import ClaimState, RequestState
from proofml.optimistic.claim import Terms
from proofml.optimistic.game import DisputeState
from proofml.optimistic.moves import Move, Opening


class Reorganised(VerificationError):
    """Events that were read are no longer what happened; whoever read them has to begin anew."""


@dataclass(frozen=True)
class Unread:
    """What somebody did, where its bytes cannot be read here though the ledger took them.

    Attributes:
        claim, dispute, request: what it is about, as far as that is known; 0 where it is not.
        why: what cannot be read, and how.
    """

    claim: int
    dispute: int
    request: int
    why: str


@dataclass(frozen=True)
class Event:
    """Something that somebody did.

    Attributes:
        number: from 1 on, without gaps.
        result: number of the claim, dispute or request that it made, or the amount withdrawn; 0
            for other actions.
    """

    number: int
    time: int
    sender: str
    action: Action | Unread
    result: int


class Ledger(Protocol):
    """Claims, disputes, requests and money, in one order for everybody."""

    def now(self) -> int: ...

    # Claims.
    def post(self, terms: Terms, header: bytes, sender: str) -> int:
        """A claim's number; holds its bond."""
        ...

    def challenge(self, claim: int, sender: str) -> int:
        """A dispute's number; holds its bond."""
        ...

    def finalise(self, claim: int, sender: str) -> None: ...

    def prove_input_range(
        self, claim: int, input: int, cell: int, opening: Opening, sender: str
    ) -> None: ...

    # Disputes.
    def move(self, dispute: int, move: Move, sender: str) -> None: ...

    def timeout(self, dispute: int, sender: str) -> None: ...

    def release(self, dispute: int, sender: str) -> None:
        """Return the bond of a dispute whose claim another one defeated."""
        ...

    # Requests for data.
    def request(self, claim: int, input: int, chunk: int, sender: str) -> int:
        """A request's number; holds its fee."""
        ...

    def answer(self, request: int, chunk: bytes, path: Sequence[bytes], sender: str) -> None: ...

    def default(self, request: int, sender: str) -> None: ...

    def release_request(self, request: int, sender: str) -> None: ...

    # Money.
    def withdraw(self, sender: str) -> int:
        """All of the sender's balance; the amount."""
        ...

    def balance(self, account: str) -> int: ...

    # State.
    def claim(self, number: int) -> ClaimState: ...

    def dispute(self, number: int) -> DisputeState: ...

    def requested(self, number: int) -> RequestState: ...

    def events(self, since: int, limit: int) -> list[Event]:
        """At most `limit` events after number `since`, in order."""
        ...
