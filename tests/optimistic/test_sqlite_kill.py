"""Processes that write a ledger are killed at random: nothing is lost, nothing is half done.

Two processes play against each other, honest and false claims, each disputed. Whichever is killed
is started again and goes on. Every action that had returned is in the ledger afterwards.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from proofml.optimistic import actions
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.game import Status
from proofml.optimistic.sqlite_ledger import SqliteLedger

from .ledger_player import CHALLENGER, CLAIMANT, PARTS, play, run_of
from .worlds import FOLDER


@dataclass
class Process:
    """One side, as a process of its own."""

    path: Path
    part: str
    _pid: int = 0

    def start(self) -> None:
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                play(self.path, self.part)
                code = 0
            finally:
                if code:
                    traceback.print_exc()
                os._exit(code)

    @property
    def said(self) -> list[str]:
        """What it says that it has done, in all of its lives."""
        file = self.path.with_name(f"said-{self.part}")
        lines = file.read_text().split("\n") if file.exists() else [""]
        return lines[:-1]  # the last one was cut, or is empty

    def busy(self, seconds: float) -> None:
        """Until it writes, or has had the time to: it may be the other one's turn everywhere."""
        before, end = len(self.said), time.monotonic() + seconds
        while len(self.said) == before and time.monotonic() < end:
            time.sleep(0.001)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)

    def kill(self) -> None:
        if self._pid:
            self.signal(signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0

    def finish(self) -> None:
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        assert os.waitstatus_to_exitcode(status) == 0


def kill_at_random(path: Path, kills: int, seed: int) -> Counter[str]:
    """Play, kill so many times, let them finish; how the disputes ended."""
    rng = random.Random(seed)
    quota, stop = path.with_name("quota"), path.with_name("stop")
    # The ledger grows with the kills and not with the time, or a slow machine never catches up.
    quota.write_bytes(bytes(4))
    players = [Process(path, part) for part in PARTS]
    for player in players:
        player.start()
    try:
        for player in players:
            player.busy(60)
        for kill in range(kills):
            quota.write_bytes(bytes(5 + kill))
            killed, other = rng.sample(players, 2)
            killed.busy(3)
            time.sleep(rng.random() * 0.1)
            killed.kill()
            # The other one stands still, wherever it is, while all is compared.
            other.signal(signal.SIGSTOP)
            check(path, players)
            other.signal(signal.SIGCONT)
            killed.start()
        stop.touch()
        for player in players:
            player.finish()
    finally:
        for player in players:
            player.kill()
    return check(path, players)


def check(path: Path, players: list[Process]) -> Counter[str]:
    """All that was said is there, and the ledger is whole."""
    with SqliteLedger(path, read_only=True) as ledger:
        audit = ledger.audit()
        events = []
        while len(events) < audit.events:
            events += ledger.events(len(events))
        stored = Counter(
            f"{event.sender} {hashlib.sha256(actions.to_bytes(event.action)).hexdigest()}"
            for event in events
        )
        for player in players:
            lost = Counter(player.said) - stored
            assert not lost, "an action that had returned is not in the ledger"
        money = ledger.money()
        balances = ledger.balance(CLAIMANT.name) + ledger.balance(CHALLENGER.name)
        deposits = [e.action.amount for e in events if isinstance(e.action, actions.Deposit)]
        assert sum(deposits) == money.deposited == balances + money.held + money.burnt
        posted = [event.result for event in events if isinstance(event.action, actions.Post)]
        assert posted == list(range(1, len(posted) + 1))
        opened = [event.result for event in events if isinstance(event.action, actions.Challenge)]
        assert opened == list(range(1, len(opened) + 1))
        ended: Counter[str] = Counter()
        for number in opened:
            dispute = ledger.dispute(number)
            claim = ledger.claim(dispute.claim)
            right = Status.WON_BY_CLAIMANT if run_of(claim)[1] else Status.WON_BY_CHALLENGER
            assert dispute.status in (Status.RUNNING, right), "the honest side lost"
            assert (claim.status is ClaimStatus.DEFEATED) == (
                dispute.status is Status.WON_BY_CHALLENGER
            )
            ended[dispute.status.name] += 1
    return ended


def test_killed_ten_times() -> None:
    """In memory, where there is some: a kill loses no page that the kernel has."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        ended = kill_at_random(Path(folder) / "ledger.db", 10, 1)
    assert set(ended) == {"WON_BY_CLAIMANT", "WON_BY_CHALLENGER"}


@pytest.mark.slow
def test_killed_a_hundred_times(tmp_path: Path) -> None:
    ended = kill_at_random(tmp_path / "ledger.db", 100, 2)
    assert set(ended) == {"WON_BY_CLAIMANT", "WON_BY_CHALLENGER"}
    assert ended.total() > 10


@pytest.mark.parametrize("delay", range(12))
def test_killed_while_it_creates_the_file(tmp_path: Path, delay: int) -> None:
    """Whatever is left, the next one opens it."""
    path = tmp_path / "ledger.db"
    child = os.fork()
    if child == 0:
        try:
            SqliteLedger(path, (), create=True)
        finally:
            os._exit(0)
    time.sleep(delay * 0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with SqliteLedger(path, (CLAIMANT,), create=True) as ledger:
        ledger.deposit(1, CLAIMANT.name)
        assert ledger.audit().events == 1
