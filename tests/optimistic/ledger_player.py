"""One side of many games on a ledger's file, for a process that may be killed at any moment.

It knows nothing that is not in the ledger: started again, it goes on where it was. Each action
that has returned is appended to the file `said-<part>` beside the ledger. There are at most as
many claims as the file `quota` has bytes. When the file `stop` exists it begins nothing new, and
ends when nothing is open.
"""

from __future__ import annotations

import hashlib
import random
import time
from pathlib import Path

from proofml.optimistic import actions
from proofml.optimistic.accounts import Account
from proofml.optimistic.actions import Action
from proofml.optimistic.book import ClaimState, ClaimStatus
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.refusals import IllegalMove
from proofml.optimistic.sqlite_ledger import SqliteLedger

from .claims import Run, false_run, honest
from .players import Challenger, Claimant, Griefer, Liar

CLAIMANT, CHALLENGER = (Account.of_seed(bytes((i,)) * 32) for i in (41, 42))
#: What is claimed, one after the other; none of the lies takes more than the dispute to refute.
PLANS = ("network", "network cell 1", "deep", "deep cell_alone 2", "wide beyond 3", "wide")
#: No dispute ends by the clock, however slow the machine is, or long it sleeps.
TERMS = {"window": 3, "clock": 1 << 30, "extension": 60, "answer": 1, "k_log": 1}


def run_of(claim: ClaimState) -> tuple[Run, bool]:
    """What was claimed, and whether it is true."""
    name, *lie = claim.terms.uri.split("/")
    return (false_run(name, lie[0], int(lie[1])), False) if lie else (honest(name), True)


class Player:
    def __init__(self, path: Path, account: Account, part: str) -> None:
        self.ledger = SqliteLedger(path, (account,), create=True)
        self.name = account.name
        self.said = path.with_name(f"said-{part}").open("ab", buffering=0)
        self.quota = path.with_name("quota")
        self.stop = path.with_name("stop")
        self.rng = random.Random(0)
        self.claims: list[int] = []
        self.disputes: list[int] = []
        self.seen = 0

    def act(self, action: Action) -> bool:
        try:
            self.ledger._act(action, self.name)
        except IllegalMove:
            return False  # somebody was faster, or the time is over
        digest = hashlib.sha256(actions.to_bytes(action)).hexdigest()
        self.said.write(f"{self.name} {digest}\n".encode())
        return True

    def look(self) -> None:
        """Learn of claims and disputes from all events; the ledger gives some at a time."""
        while events := self.ledger.events(self.seen):
            self.seen = events[-1].number
            posted = (e for e in events if isinstance(e.action, actions.Post))
            self.claims += [event.result for event in posted]
            opened = (e for e in events if isinstance(e.action, actions.Challenge))
            self.disputes += [event.result for event in opened]

    def work(self) -> None:
        while True:
            self.look()
            if self.ledger.balance(self.name) < 2000:
                self.act(actions.Deposit(5000))
            open_ = [n for n in self.claims if self.ledger.claim(n).status is ClaimStatus.OPEN]
            running = [
                (n, state)
                for n in self.disputes
                if (state := self.ledger.dispute(n)).status is Status.RUNNING
            ]
            if self.stop.exists() and not open_ and not running:
                return
            if not self.turn(open_, running):
                time.sleep(0.002)

    def turn(self, open_: list[int], running: list[tuple[int, DisputeState]]) -> bool:
        """Something to do, done; False where there was nothing."""
        for number, state in running:
            if state.account(state.clock.turn) == self.name:
                return self.play(number, state)
        for number in open_:
            claim = self.ledger.claim(number)
            if not claim.running and self.ledger.now() >= claim.closes:
                return self.act(actions.Finalise(number))
        return self.begin(open_)

    def play(self, number: int, state: DisputeState) -> bool:
        raise NotImplementedError

    def begin(self, open_: list[int]) -> bool:
        raise NotImplementedError


class ClaimantProcess(Player):
    def play(self, number: int, state: DisputeState) -> bool:
        claim = self.ledger.claim(state.claim)
        run, true = run_of(claim)
        player = Claimant(run) if true else Liar(run, random.Random(number), "early")
        return self.act(actions.Play(number, player.move(claim.terms, state)))

    def begin(self, open_: list[int]) -> bool:
        if len(self.claims) >= self.quota.stat().st_size or self.stop.exists():
            return False
        name, *lie = PLANS[len(self.claims) % len(PLANS)].split()
        run = false_run(name, lie[0], int(lie[1])) if lie else honest(name)
        terms = run.terms(uri="/".join((name, *lie)), **TERMS)
        return self.act(actions.Post(terms, run.header))


class ChallengerProcess(Player):
    def play(self, number: int, state: DisputeState) -> bool:
        claim = self.ledger.claim(state.claim)
        run, true = run_of(claim)
        player = Griefer(run, random.Random(number)) if true else Challenger(honest(run.tiny.name))
        return self.act(actions.Play(number, player.move(claim.terms, state)))

    def begin(self, open_: list[int]) -> bool:
        disputed = {self.ledger.dispute(number).claim for number in self.disputes}
        for number in open_:
            if number not in disputed and self.ledger.now() < self.ledger.claim(number).closes:
                return self.act(actions.Challenge(number))
        return False


PARTS: dict[str, tuple[type[Player], Account]] = {
    "claimant": (ClaimantProcess, CLAIMANT),
    "challenger": (ChallengerProcess, CHALLENGER),
}


def play(path: Path, part: str) -> None:
    kind, account = PARTS[part]
    kind(path, account, part).work()
