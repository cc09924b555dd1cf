"""What a daemon knows of a ledger: open claims, the disputes that concern it, requests for data.

All of it follows from the ledger's events and is read again from the first one when a daemon
starts; nothing is kept on a disk. What is closed is forgotten, so that memory holds open claims
only, and of other people's disputes nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from proofml.optimistic import actions, clerk
from proofml.optimistic.actions import Action
from proofml.optimistic.book import ClaimState, ClaimStatus, RequestStatus
from proofml.optimistic.game import Status
from proofml.optimistic.ledger import Event, Ledger, Unread
from proofml.optimistic.moves import Move
from proofml.optimistic.refusals import IllegalMove

#: Events that are asked for at once.
BATCH = 500
#: Chunk of an input: (input, chunk).
Place = tuple[int, int]


@dataclass(frozen=True)
class Asked:
    """A request for a chunk of an input, and whose it is."""

    place: Place
    sender: str


@dataclass
class Followed:
    """An open claim.

    Attributes:
        number: on the ledger.
        claim: as it was last seen.
        disputes: number -> moves so far, of those in which this account takes part.
        asked: request -> what it is for, of those that nobody answered yet.
        answers: place -> bytes that the claimant gave, where they are wanted.
        released: own disputes whose bond was paid back after somebody else's defeated the claim.
        unread: whether something about it cannot be read here, so that it cannot be judged.
        lost: own disputes with a move that cannot be read here, so that they cannot be played.
    """

    number: int
    claim: ClaimState
    disputes: dict[int, list[Move]] = field(default_factory=dict)
    asked: dict[int, Asked] = field(default_factory=dict)
    answers: dict[Place, bytes] = field(default_factory=dict)
    released: set[int] = field(default_factory=set)
    unread: bool = False
    lost: set[int] = field(default_factory=set)


class Follower:
    """Reads a ledger's events.

    Args:
        ledger: of which.
        account: whose disputes are kept.
        concerns: whether a claim is followed at all.
        wants: whether the inputs of a claim are kept as they are published.
    """

    def __init__(
        self,
        ledger: Ledger,
        account: str,
        concerns: Callable[[ClaimState], bool],
        wants: Callable[[ClaimState], bool],
    ) -> None:
        self.ledger = ledger
        self.account = account
        self.claims: dict[int, Followed] = {}
        self.last = 0
        #: Events that could not be read, until somebody tells of them.
        self.unread: list[Unread] = []
        self._concerns = concerns
        self._wants = wants
        self._dispute_of: dict[int, int] = {}
        self._request_of: dict[int, int] = {}

    def catch_up(self) -> int:
        """Read all new events; how many."""
        count = 0
        while events := self.ledger.events(self.last, BATCH):
            for event in events:
                self._take(event)
                self.last = event.number
            count += len(events)
            self.refresh()
        return count

    def refresh(self) -> None:
        """See again what became of the claims; closed ones without anything left are dropped."""
        for number, followed in list(self.claims.items()):
            followed.claim = self.ledger.claim(number)
            if followed.claim.status is not ClaimStatus.OPEN and not self._left(followed):
                self.drop(number)

    def _left(self, followed: Followed) -> bool:
        """Whether this account still has money in a claim that is closed."""
        return bool(self.to_release(followed) or self.open_requests(followed))

    def to_release(self, followed: Followed) -> list[int]:
        """Own disputes that ended with the claim, and whose bond is still held."""
        return [
            number
            for number in followed.disputes
            if number not in followed.released | followed.lost
            and (state := self.ledger.dispute(number)).challenger == self.account
            and state.status is Status.CANCELLED
        ]

    def open_requests(self, followed: Followed) -> list[int]:
        """Requests of this account to which nothing came yet."""
        return [
            number
            for number, asked in followed.asked.items()
            if asked.sender == self.account
            and self.ledger.requested(number).status is RequestStatus.OPEN
        ]

    def drop(self, number: int) -> None:
        """Forget a claim."""
        followed = self.claims.pop(number, None)
        if followed is None:
            return
        for dispute in followed.disputes:
            self._dispute_of.pop(dispute, None)
        for request in followed.asked:
            self._request_of.pop(request, None)

    def _take(self, event: Event) -> None:
        """An event that cannot be read concerns its claim; all others are followed as before."""
        action = event.action
        if isinstance(action, actions.Post):
            try:
                claim = clerk.posted(action.terms, action.header, event.sender, event.time)
            except (ValueError, IllegalMove) as error:
                action = Unread(event.result, 0, 0, f"event {event.number}: {error}")
            else:
                if self._concerns(claim):
                    self.claims[event.result] = Followed(event.result, claim)
                return
        if isinstance(action, Unread):
            self._take_unread(action)
        else:
            self._take_up(event, action)

    def _take_unread(self, what: Unread) -> None:
        self.unread.append(what)
        number = what.claim or self._dispute_of.get(what.dispute, 0)
        number = number or self._request_of.get(what.request, 0)
        followed = self.claims.get(number)
        if followed is None:
            return
        if what.dispute in followed.disputes:
            followed.lost.add(what.dispute)
        else:
            followed.unread = True

    def _take_up(self, event: Event, action: Action) -> None:
        match action:
            case actions.Challenge(number) if number in self.claims:
                followed = self.claims[number]
                if self.account in (event.sender, followed.claim.claimant):
                    followed.disputes[event.result] = []
                    self._dispute_of[event.result] = number
            case actions.Play(dispute, move) if dispute in self._dispute_of:
                self.claims[self._dispute_of[dispute]].disputes[dispute].append(move)
            case actions.Release(dispute) if dispute in self._dispute_of:
                self.claims[self._dispute_of[dispute]].released.add(dispute)
            case actions.Ask(number, input_, chunk) if number in self.claims:
                self.claims[number].asked[event.result] = Asked((input_, chunk), event.sender)
                self._request_of[event.result] = number
            case actions.Answer(request, data, _) if request in self._request_of:
                followed = self.claims[self._request_of.pop(request)]
                asked = followed.asked.pop(request)
                if self._wants(followed.claim):
                    followed.answers[asked.place] = data
            case actions.Default(request) | actions.ReleaseRequest(request):
                number = self._request_of.pop(request, 0)
                if number:
                    self.claims[number].asked.pop(request)
            case _:
                pass
