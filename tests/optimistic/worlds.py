"""A world of players around one ledger, in which time passes and things go wrong.

Every account plays one part, honest or not. The honest ones act at random moments, but always in
time; the others do what they are told to, or nothing; somebody calls every timeout when it is due.
`World` keeps the books of what must hold, whatever happens.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from proofml.optimistic import actions, clerk, game
from proofml.optimistic.accounts import Account
from proofml.optimistic.actions import Action
from proofml.optimistic.book import Book, ClaimStatus, RequestStatus
from proofml.optimistic.claim import DEFERRED
from proofml.optimistic.clock import Side
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.moves import Move
from proofml.optimistic.refusals import IllegalMove
from proofml.optimistic.sqlite_ledger import SqliteLedger

from .claims import Run
from .players import Challenger, Claimant, Griefer

ACCOUNTS = [Account.of_seed(bytes((100 + i,)) * 32) for i in range(40)]
NAMES = [account.name for account in ACCOUNTS]
WATCHER = NAMES[0]
PURSE = 10_000
#: Nothing is written to a disk that need not be: these ledgers die with their test.
FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Store(Protocol):
    """Where the actions go."""

    @property
    def book(self) -> Book: ...

    def act(self, action: Action, sender: str, now: int) -> int: ...

    def crash(self, rng: random.Random) -> None: ...

    def close(self) -> None: ...


class Pure:
    """The book alone; every action goes through its bytes."""

    def __init__(self) -> None:
        self.book = Book()

    def act(self, action: Action, sender: str, now: int) -> int:
        draft = clerk.apply(self.book, actions.read_action(actions.to_bytes(action)), sender, now)
        self.book.merge(draft)
        return draft.result

    def crash(self, rng: random.Random) -> None:
        """Nothing can."""

    def close(self) -> None:
        pass


class OnFile:
    """The embedded ledger; a crash leaves its files as they are."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(dir=FOLDER))
        self._now = 0
        self._crashes = 0
        self._kill: random.Random | None = None
        self._path = self._folder / "ledger.db"
        self._ledger = self._open(create=True)

    def _open(self, *, create: bool = False) -> SqliteLedger:
        return SqliteLedger(self._path, ACCOUNTS, create=create, clock=lambda: self._now)

    @property
    def book(self) -> Book:
        with self._ledger._reading() as book:
            return book

    def act(self, action: Action, sender: str, now: int) -> int:
        self._now = now
        if self._kill is not None:
            rng, self._kill = self._kill, None
            found = self._killed(action, sender, rng)
            if found is not None:
                return found
        return self._ledger._act(action, sender)

    def crash(self, rng: random.Random) -> None:
        """The machine stops here, or the process that acts next is killed while it does."""
        if rng.random() < 0.5:
            self._kill = rng
            return
        self._crashes += 1
        after = self._folder / f"after-{self._crashes}.db"
        for suffix in ("", "-wal"):
            source = self._path.with_name(self._path.name + suffix)
            if source.exists():
                shutil.copy(source, after.with_name(after.name + suffix))
        before = self._ledger.audit()
        self._ledger.close()
        self._path = after
        self._ledger = self._open()
        assert self._ledger.audit() == before

    def _killed(self, action: Action, sender: str, rng: random.Random) -> int | None:
        """What the action returned, if a process that was killed had finished it."""
        before = self._ledger.audit().events
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                with self._open() as ledger:
                    os.write(write, b"x")
                    ledger._act(action, sender)
            finally:
                os._exit(0)
        os.close(write)
        os.read(read, 1)
        os.close(read)
        time.sleep(rng.random() * 0.004)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        audit = self._ledger.audit()
        assert audit.events in (before, before + 1)
        if audit.events == before:
            return None
        event = self._ledger.events(before)[0]
        assert (event.action, event.sender) == (action, sender)
        return event.result

    def close(self) -> None:
        self._ledger.audit()
        self._ledger.close()
        shutil.rmtree(self._folder)


@dataclass
class Part:
    """A player's part in a dispute.

    Attributes:
        due: when he moves next; None: when he is told to, if at all.
        idle: how often he does nothing by himself, if he is not honest.
    """

    player: Claimant | Challenger | Griefer
    honest: bool
    idle: float
    due: int | None = None


@dataclass
class Dispute:
    number: int
    claim: Claim
    parts: dict[Side, Part]
    ended: int | None = None


@dataclass
class Claim:
    """A claim, with what is known of it from outside."""

    number: int
    run: Run
    claimant: str
    player: Claimant
    honest: bool
    answers: bool
    disputes: list[Dispute] = field(default_factory=list)
    requests: dict[int, int] = field(default_factory=dict)  # number -> when it is answered
    settled: int | None = None


@dataclass
class World:
    store: Store
    rng: random.Random
    now: int = 1_000_000
    claims: list[Claim] = field(default_factory=list)
    disputes: list[Dispute] = field(default_factory=list)
    honest: list[str] = field(default_factory=list)
    _names: list[str] = field(default_factory=lambda: NAMES[:0:-1])

    def act(self, action: Action, sender: str) -> int:
        result = self.store.act(action, sender, self.now)
        self.check_money()
        return result

    def person(self, *, honest: bool) -> str:
        """A new account with a purse."""
        name = self._names.pop()
        if honest:
            self.honest.append(name)
        self.act(actions.Deposit(PURSE), name)
        return name

    @property
    def crowded(self) -> bool:
        return len(self._names) < 4

    # ------------------------------------------------------------ what people do
    def post(
        self,
        run: Run,
        player: Claimant,
        *,
        honest: bool,
        answers: bool,
        deferred: bool,
        **terms: int,
    ) -> None:
        """A claim, its trace posted or deferred."""
        claimant = self.person(honest=honest)
        changes: dict[str, Any] = {**terms, **({"trace": DEFERRED} if deferred else {})}
        number = self.act(actions.Post(run.terms(**changes), run.header), claimant)
        self.claims.append(Claim(number, run, claimant, player, honest, answers))

    def challenge(self, claim: Claim, player: Challenger | Griefer, *, honest: bool) -> None:
        challenger = self.person(honest=honest)
        number = self.act(actions.Challenge(claim.number), challenger)
        parts = {
            Side.CLAIMANT: Part(claim.player, claim.honest, self.rng.choice((0, 0.1, 1))),
            Side.CHALLENGER: Part(player, honest, self.rng.choice((0, 0.1, 1))),
        }
        dispute = Dispute(number, claim, parts)
        claim.disputes.append(dispute)
        self.disputes.append(dispute)
        self._schedule(dispute)

    def ask(self, claim: Claim, input: int, chunk: int) -> None:
        asker = self.person(honest=False)  # he may lose his fee
        number = self.act(actions.Ask(claim.number, input, chunk), asker)
        until = self.store.book.requests[number].until
        answered = self.rng.randint(self.now, until) if claim.answers else until + 1
        claim.requests[number] = answered

    def state(self, dispute: Dispute) -> DisputeState:
        return self.store.book.dispute(dispute.number)

    def running(self, dispute: Dispute) -> bool:
        return dispute.ended is None and self.state(dispute).status is Status.RUNNING

    def play(self, dispute: Dispute) -> bool:
        """The move that is owed; False where a liar finds none that is legal."""
        state = self.state(dispute)
        part = dispute.parts[state.clock.turn]
        terms = self.store.book.claims[dispute.claim.number].terms
        for _ in range(4):
            move: Move = part.player.move(terms, state)
            try:
                self.act(actions.Play(dispute.number, move), state.account(state.clock.turn))
            except IllegalMove:
                assert not part.honest, f"{state.position}: an honest player's move is refused"
            else:
                self._schedule(dispute)
                return True
        return False

    def _schedule(self, dispute: Dispute) -> None:
        """When whoever owes the next move makes it."""
        state = self.state(dispute)
        if state.status is not Status.RUNNING:
            self._ended(dispute)
            return
        part = dispute.parts[state.clock.turn]
        deadline = state.clock.deadline
        assert deadline - self.now >= state.clock.extension, "nobody is hurried"
        if not part.honest and self.rng.random() < part.idle:
            part.due = None
        elif self.rng.random() < 0.2:
            part.due = deadline
        else:
            part.due = self.rng.randint(self.now, deadline)

    def _ended(self, dispute: Dispute) -> None:
        if dispute.ended is None:
            dispute.ended = self.now

    # ------------------------------------------------------------ time
    def wait(self, seconds: int) -> None:
        """Let time pass; all that is due happens when it is due."""
        end = self.now + seconds
        while (due := self._next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self._happen()
        self.now = end

    def _next_due(self) -> int | None:
        times = [self._due(dispute) for dispute in self.disputes if self.running(dispute)]
        for claim in self.claims:
            state = self.store.book.claims[claim.number]
            if state.status is not ClaimStatus.OPEN:
                continue
            times += [
                at
                for number, at in claim.requests.items()
                if self.store.book.requests[number].status is RequestStatus.OPEN
            ]
            if not state.running and not state.asked:
                times.append(state.closes)
        return min(times, default=None)

    def _due(self, dispute: Dispute) -> int:
        """When whoever owes the move makes it, or is late."""
        clock = self.state(dispute).clock
        due = dispute.parts[clock.turn].due
        return clock.deadline + 1 if due is None else due

    def _happen(self) -> None:
        for dispute in self.disputes:
            if self.running(dispute) and self._due(dispute) <= self.now:
                if self.state(dispute).clock.late(self.now):
                    self.act(actions.TimeOut(dispute.number), WATCHER)
                    self._ended(dispute)
                elif not self.play(dispute):
                    dispute.parts[self.state(dispute).clock.turn].due = None
                return
        for claim in self.claims:
            state = self.store.book.claims[claim.number]
            if state.status is not ClaimStatus.OPEN:
                continue
            for number, at in claim.requests.items():
                request = self.store.book.requests[number]
                if request.status is RequestStatus.OPEN and at <= self.now:
                    if self.now > request.until:
                        self.act(actions.Default(number), WATCHER)
                    else:
                        tensor = claim.run.inputs[request.input]
                        data, path = tensor.chunk(request.chunk), tensor.tree.path(request.chunk)
                        self.act(actions.Answer(number, data, path), claim.claimant)
                    return
            if not state.running and not state.asked and self.now >= state.closes:
                self.act(actions.Finalise(claim.number), WATCHER)
                claim.settled = self.now
                return
        raise AssertionError("nothing was due")

    # ------------------------------------------------------------ what must hold
    def check_money(self) -> None:
        book = self.store.book
        assert book.total == book.money.deposited - book.money.withdrawn
        held = sum(
            claim.terms.bond for claim in book.claims.values() if claim.status is ClaimStatus.OPEN
        )
        held += sum(
            book.claims[dispute.claim].terms.challenge_bond
            for dispute in book.disputes.values()
            if dispute.status is Status.RUNNING
        )
        held += sum(
            book.claims[request.claim].terms.data_fee
            for request in book.requests.values()
            if request.status is RequestStatus.OPEN
        )
        assert book.money.held == held

    def finish(self) -> None:
        """Play everything to its end, and look who has what."""
        self.wait(100_000)
        book = self.store.book
        for dispute in self.disputes:
            if book.disputes[dispute.number].status is Status.RUNNING:
                self.act(actions.Release(dispute.number), WATCHER)
        for number, request in book.requests.items():
            if request.status is RequestStatus.OPEN:
                self.act(actions.ReleaseRequest(number), WATCHER)
        assert self.store.book.money.held == 0
        for claim in self.claims:
            self._check_claim(claim)
        for dispute in self.disputes:
            self._check_dispute(dispute)
        for name in self.honest:
            assert self.store.book.balances[name] >= PURSE, "an honest account lost money"

    def _check_claim(self, claim: Claim) -> None:
        state = self.store.book.claims[claim.number]
        program = claim.run.tiny.program
        disputed = any(dispute.parts[Side.CHALLENGER].honest for dispute in claim.disputes)
        if claim.honest:
            assert state.status is ClaimStatus.FINAL
            assert claim.settled is not None
            assert claim.settled <= state.posted + game.finality(state.terms, program)
        elif disputed:
            assert state.status is ClaimStatus.DEFEATED
        assert state.status is not ClaimStatus.OPEN

    def _check_dispute(self, dispute: Dispute) -> None:
        state = self.state(dispute)
        terms = self.store.book.claims[dispute.claim.number].terms
        program = dispute.claim.run.tiny.program
        assert state.moves <= game.most_moves(program, terms.k_log)
        if state.status is Status.CANCELLED:
            assert not dispute.claim.honest
            return
        assert dispute.ended is not None
        assert dispute.ended - state.opened <= game.longest(terms, program)
        if dispute.parts[Side.CLAIMANT].honest:
            assert state.status is Status.WON_BY_CLAIMANT
        if dispute.parts[Side.CHALLENGER].honest:
            assert state.status is Status.WON_BY_CHALLENGER
