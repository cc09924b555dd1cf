"""What both daemons do: follow a ledger, play disputes to their end, and settle what is over.

A step reads what is new and sends all that is due now, what is due soonest first; how it went is
seen by later steps. Whatever an agent decides follows from the ledger's events and from running the
model again, so that it can be killed at any moment: started again it finds what it did, and does
the rest. An action that was taken already, or is no longer possible, is refused by the ledger and
changes nothing.

A claim that makes trouble is put off for a while, longer each time; the others are attended to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias, TypeVar

from proofml.errors import VerificationError, printable
from proofml.optimistic import actions
from proofml.optimistic.actions import Action
from proofml.optimistic.book import ClaimState, ClaimStatus
from proofml.optimistic.clock import Side
from proofml.optimistic.follow import Followed, Follower
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.kept import Traces
from proofml.optimistic.ledger import Ledger
from proofml.optimistic.library import Library
from proofml.optimistic.outbox import Order, Outbox
from proofml.optimistic.players import Player, View
from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.optimistic.reporting import Log, Metrics, NoMetrics

#: Refusals that say that somebody was faster, or that it is too late.
_OVERTAKEN = frozenset(
    {
        Refusal.CLAIM_CLOSED,
        Refusal.DISPUTE_CLOSED,
        Refusal.REQUEST_CLOSED,
        Refusal.NOT_YOUR_TURN,
        Refusal.WRONG_PHASE,
        Refusal.LATE,
        Refusal.EARLY,
        Refusal.WINDOW_OVER,
        Refusal.WINDOW_OPEN,
        Refusal.UNSETTLED,
        Refusal.NOTHING,
    }
)
#: Seconds of the ledger for which work that failed is put off: 2, 4, ... up to this; moves and
#: answers not as long, since a clock runs.
_LONGEST_DELAY = 60
_SHORT_DELAYS = {"dispute": 2, "request": 8, "answers": 8}
#: Work of an agent: claim, what about it, and the number of the dispute or request.
Key: TypeAlias = tuple[int, str, int]
T = TypeVar("T")


@dataclass(frozen=True)
class Trouble:
    """Work that failed, and when it is tried again."""

    times: int = 0
    until: int = 0


@dataclass(frozen=True)
class Due:
    """Work that a deadline ends."""

    until: int
    key: Key
    work: Callable[[], bool]


@dataclass
class Agent(ABC):
    """One account on one ledger.

    Attributes:
        account: for which the ledger can act.
        withdraw: take the whole balance out whenever there is some; none is left for bonds then.
        traces: runs of claims that are disputed.
    """

    ledger: Ledger
    account: str
    library: Library
    log: Log = field(default_factory=Log)
    metrics: Metrics = field(default_factory=NoMetrics)
    withdraw: bool = False
    traces: Traces = field(default_factory=Traces)
    _troubles: dict[Key, Trouble] = field(default_factory=dict)
    _ended: set[int] = field(default_factory=set)
    _key: Key | None = None  # of the work that is being done

    def __post_init__(self) -> None:
        self.follower = Follower(self.ledger, self.account, self.concerns, self.wants)
        self.outbox = Outbox(self.ledger, self.account)

    def begin_again(self) -> None:
        """Forget all that follows from the ledger's events, and read them from the first one on."""
        self.follower = Follower(self.ledger, self.account, self.concerns, self.wants)
        self._troubles.clear()
        self._ended.clear()
        self.prune(set())

    # ------------------------------------------------------------ of each role
    @abstractmethod
    def concerns(self, claim: ClaimState) -> bool:
        """Whether the claim is followed."""

    @abstractmethod
    def wants(self, claim: ClaimState) -> bool:
        """Whether the claim's inputs are kept when they are published."""

    @abstractmethod
    def attend(self, followed: Followed, now: int) -> bool:
        """Do what is due about an open claim; whether anything was done."""

    @abstractmethod
    def player(self, followed: Followed) -> Player | None:
        """Who plays in disputes about the claim; None where its inputs are not there yet."""

    def answers(self, followed: Followed, now: int) -> Iterator[Due]:
        """Answers to requests that are due, if this role has any to give."""
        del followed, now
        yield from ()

    # ------------------------------------------------------------ steps
    @property
    def waiting(self) -> bool:
        """Whether actions are under way of which a later step sees what became of them."""
        return self.outbox.waiting

    def step(self) -> bool:
        """Everything that is due now; whether anything was done or begun.

        Raises:
            Reorganised: what was read is not what happened; `begin_again`.
            VerificationError: the ledger's own record is broken.
            BackendFailed: the ledger cannot be reached.
        """
        over = self.outbox.begin()
        now = self.ledger.now() if over else 0
        failed = [error for order, error in over if not self._ended_well(order, error, now)]
        done = self.follower.catch_up() > 0 or bool(over)
        self.follower.refresh()
        self._complain()
        now = self.ledger.now()
        # First what a clock runs for: what is due soonest, whatever claim it is about.
        due = [*self._moves(now), *self._all_answers(now)]
        for each in sorted(due, key=lambda due: due.until):
            done |= self._guarded(each.key, now, each.work) or False
        self.follower.refresh()  # a move may have ended a claim
        # Then claims, those that close soonest first.
        for followed in sorted(self.follower.claims.values(), key=lambda f: f.claim.closes):
            work = self.attend if followed.claim.status is ClaimStatus.OPEN else self._settle
            doing = partial(work, followed, now)
            done |= self._guarded((followed.number, "claim", 0), now, doing) or False
        done |= self._take_out()
        self.prune(set(self.follower.claims))
        self._tell(now)
        for error in failed:
            if error is not None:
                raise error
        return done

    def _complain(self) -> None:
        """Tell once of whatever cannot be read."""
        for complaint in self.library.scan():
            self.log.warning("proof unreadable", detail=complaint)
            self.metrics.count("proofs_unreadable")
        for unread in self.follower.unread:
            about = {"claim": unread.claim, "dispute": unread.dispute, "request": unread.request}
            self.log.warning("event unreadable", detail=printable(unread.why), **about)
            self.metrics.count("events_unreadable")
        self.follower.unread.clear()

    def prune(self, followed: set[int]) -> None:
        """Forget what is known of other claims than these."""
        for key in [key for key in self._troubles if key[0] not in followed]:
            del self._troubles[key]
        self.traces.only(followed)
        self._ended &= self._disputes()

    def _disputes(self) -> set[int]:
        return {number for one in self.follower.claims.values() for number in one.disputes}

    # ------------------------------------------------------------ work and its troubles
    def _guarded(self, key: Key, now: int, work: Callable[[], T]) -> T | None:
        """Work about a claim; whatever it raises concerns that only. None where it is put off."""
        if key[0] not in self.follower.claims or now < self._troubles.get(key, Trouble()).until:
            return None
        self._key = key
        try:
            found = work()
        except VerificationError:
            raise  # of the ledger's file: nothing that it says can be acted upon
        except Exception as error:  # noqa: BLE001 - no claim may stop the daemon
            self._put_off(key, error, now)
            return None
        finally:
            self._key = None
        if not self.outbox.concerns(key):
            self._troubles.pop(key, None)
        return found

    def _put_off(self, key: Key, error: Exception, now: int) -> None:
        times = self._troubles.get(key, Trouble()).times + 1
        longest = _SHORT_DELAYS.get(key[1], _LONGEST_DELAY)
        until = now + min(1 << min(times, 20), longest)
        self._troubles[key] = Trouble(times, until)
        about = {key[1]: key[2]} if key[2] else {}
        self.log.error("put off", error, claim=key[0], until=until, **about)
        self.metrics.count("errors")

    def act(self, name: str, action: Action, **about: int | str) -> bool:
        """Send an action; False where it was overtaken by events, or has to wait.

        Raises:
            IllegalMove: the ledger refuses it for another reason.
        """
        order = Order(name, action, self._key, about)
        try:
            taken = self.outbox.send(order)
        except IllegalMove as error:
            self._refused(order, error)
            return False
        if taken:
            self._taken(order)
        return taken is not None

    def _refused(self, order: Order, error: IllegalMove) -> None:
        """Raises it where it says more than that somebody was faster."""
        self.metrics.count("refusals", rule=error.refusal.name)
        if error.refusal not in _OVERTAKEN:
            raise error
        self.log.info("overtaken", action=order.name, rule=error.refusal.name, **order.about)

    def _taken(self, order: Order) -> None:
        self.metrics.count("actions", kind=order.name)
        self.log.info(order.name, **order.about)

    def _ended_well(self, order: Order, error: Exception | None, now: int) -> bool:
        """Tell what became of an action that was under way; False where nobody else will."""
        if error is None:
            self._taken(order)
            if order.work is not None:
                self._troubles.pop(order.work, None)
            return True
        try:
            if not isinstance(error, IllegalMove):
                raise error
            self._refused(order, error)
        except Exception as why:  # noqa: BLE001 - as of all work
            if order.work is None:
                return False
            self._put_off(order.work, why, now)
        return True

    # ------------------------------------------------------------ disputes
    def _moves(self, now: int) -> Iterator[Due]:
        """Of all disputes in which something is due."""
        for followed in list(self.follower.claims.values()):
            for number, moves in list(followed.disputes.items()):
                if number in self._ended | followed.lost or self.outbox.plays(number):
                    continue
                key = (followed.number, "dispute", number)
                dispute = self._guarded(key, now, partial(self.ledger.dispute, number))
                if dispute is None:
                    continue
                if dispute.status is not Status.RUNNING:
                    self._note_end(number, dispute)
                elif dispute.moves == len(moves):  # the next step has read the others
                    view = View(followed.claim, dispute, tuple(moves))
                    play = partial(self._play, followed, number, view, now)
                    yield Due(dispute.clock.deadline, key, play)

    def _all_answers(self, now: int) -> Iterator[Due]:
        for followed in list(self.follower.claims.values()):
            key = (followed.number, "answers", 0)
            found = self._guarded(key, now, lambda: list(self.answers(followed, now)))  # noqa: B023
            yield from found or ()

    def _play(self, followed: Followed, number: int, view: View, now: int) -> bool:
        dispute = view.dispute
        side = Side.CLAIMANT if dispute.claimant == self.account else Side.CHALLENGER
        if dispute.clock.turn is not side:
            if not dispute.clock.late(now):
                return False
            return self.act("timeout", actions.TimeOut(number), dispute=number)
        if dispute.clock.late(now):
            return False
        player = self.player(followed)
        if player is None:
            return False
        move = player.next_move(view)
        self.traces.fit()
        if move is None:
            self.log.warning("no move", dispute=number, claim=followed.number)
            return False
        return self.act(
            "move",
            actions.Play(number, move),
            dispute=number,
            claim=followed.number,
            number=dispute.moves + 1,
            move=type(move).__name__,
        )

    def _note_end(self, number: int, dispute: DisputeState) -> None:
        self._ended.add(number)
        self.log.info("dispute ended", dispute=number, status=dispute.status.name, why=dispute.why)
        self.metrics.count("disputes_ended", status=dispute.status.name)

    # ------------------------------------------------------------ what is over
    def _settle(self, followed: Followed, now: int) -> bool:
        """Get back what is held for a claim that is closed."""
        done = False
        for number in self.follower.to_release(followed):
            done |= self.act("release", actions.Release(number))
        for number in self.follower.open_requests(followed):
            done |= self.act("release request", actions.ReleaseRequest(number))
        return done

    def _take_out(self) -> bool:
        """Withdraw, where that was asked for and there is something."""
        if not self.withdraw or not self.ledger.balance(self.account):
            return False
        return self.act("withdraw", actions.Withdraw())

    def _tell(self, now: int) -> None:
        self.metrics.set("claims_open", len(self.follower.claims))
        self.metrics.set("disputes_running", len(self._disputes() - self._ended))
        self.metrics.set("ledger_events", self.follower.last)
        self.metrics.set("ledger_time_seconds", now)
        self.metrics.set("balance", self.ledger.balance(self.account))
