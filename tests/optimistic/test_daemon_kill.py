"""The daemons are killed at random moments and started again: they win, and nothing is lost.

False claims are posted, for `proofml watch` to dispute, and true ones that somebody challenges, for
`proofml respond` to defend. Either daemon is killed, while it starts, runs the model, or writes to
the ledger; started again it knows nothing but what the ledger says. Whatever a daemon had said that
it did is in the ledger afterwards, and every account has what it should.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from proofml.benchmarks.optimistic_lies import LIES
from proofml.optimistic import actions
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.game import Status
from proofml.optimistic.ledger import Event
from proofml.optimistic.sqlite_ledger import SqliteLedger
from proofml.optimistic.trace import Trace

from .process import Live, told
from .test_cli_optimistic import BRIEF, MODEL, PLAYER, Shell, new_file, of

PURSE = 1_000_000
TERMS: dict[str, Any] = {
    "clock": 600,
    "extension": 300,
    "window": 80_000,
    "bond": 1000,
    "challenge_bond": 300,
    "burn": 1000,
    "k_log": 1,  # the most moves
}
LIE = "one activation in the middle"
DAEMONS = {"watch": "watcher", "respond": "claimant"}


@dataclass
class Field:
    """A ledger, attackers, and daemons that are killed.

    Attributes:
        shell: of all processes.
        false, true: numbers of claims.
        logs: of the daemons' lives, and whose.
        events: of the ledger, as far as they were read.
    """

    shell: Shell
    false: list[int] = field(default_factory=list)
    true: list[int] = field(default_factory=list)
    daemons: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    logs: dict[Path, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    @cached_property
    def arena(self) -> Live:
        return Live(self.shell.folder)

    @cached_property
    def lie(self) -> Trace:
        assert LIE in LIES
        return told(self.arena, LIE, 0).trace

    @cached_property
    def honest(self) -> Trace:
        return self.arena.machine.run(self.arena.inputs())

    @cached_property
    def ledger(self) -> SqliteLedger:
        return SqliteLedger(self.shell.folder / "ledger.db", read_only=True)

    # ------------------------------------------------------------ processes
    def start(self, daemon: str) -> None:
        words = [daemon, *of(DAEMONS[daemon]), "--model", MODEL, "--poll", "0.02"]
        words += [*(BRIEF if daemon == "watch" else []), "proofs"]
        self.logs[self.shell.folder / f"{len(self.shell.running)}.log"] = daemon
        self.daemons[daemon] = self.shell.start(*words)

    def kill(self, daemon: str) -> None:
        self.daemons[daemon].kill()
        self.daemons[daemon].wait()

    def until_it_writes(self, daemon: str, seconds: float) -> None:
        account, end = self.arena.account(DAEMONS[daemon]), time.monotonic() + seconds
        while time.monotonic() < end:
            if any(event.sender == account for event in self.read()):
                return
            time.sleep(0.005)

    def read(self) -> list[Event]:
        """New events."""
        before = len(self.events)
        while batch := self.ledger.events(len(self.events)):
            self.events += batch
        return self.events[before:]

    # ------------------------------------------------------------ claims
    def post(self) -> None:
        """A claim of each kind, unless one is still undecided."""
        if all(self.ledger.claim(n).status is ClaimStatus.DEFEATED for n in self.false):
            self.false.append(self.arena.post("attacker", self.lie, **TERMS))
        won = [dispute for dispute in self.disputes().values() if dispute is Status.WON_BY_CLAIMANT]
        if len(won) == len(self.true):
            self.true.append(self.arena.post("claimant", self.honest, **TERMS))

    @property
    def posted(self) -> list[int]:
        return sorted(self.false + self.true)

    def disputes(self) -> dict[int, Status]:
        """Claim -> how its dispute stands; at most one about each."""
        found = {}
        for number, event in enumerate(self._done(actions.Challenge), 1):
            assert event.action.claim not in found, "a claim was challenged twice"
            found[event.action.claim] = self.ledger.dispute(number).status
        return found

    def _done(self, kind: type) -> list[Any]:
        self.read()
        return [event for event in self.events if isinstance(event.action, kind)]

    # ------------------------------------------------------------ what must hold
    @contextmanager
    def still(self) -> Iterator[None]:
        """Everybody who runs stands still, wherever he is."""
        running = [process for process in self.shell.running if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in running:
                process.send_signal(signal.SIGCONT)

    def check(self) -> None:
        """The ledger is whole, nobody honest has lost, and all that was said was done."""
        with self.still():
            self._check()

    def _check(self) -> None:
        said = list(self._said())
        ledger = self.ledger
        ledger.audit()
        money = ledger.money()
        balances = [ledger.balance(self.arena.account(name)) for name in NAMES]
        assert sum(balances) + money.held + money.burnt == money.deposited == PURSE * len(NAMES)
        posted = [event.result for event in self._done(actions.Post)]
        assert posted == self.posted
        found = self.disputes()
        for number in self.false:
            assert found.get(number, Status.RUNNING) in (Status.RUNNING, Status.WON_BY_CHALLENGER)
        for number in self.true:
            assert found.get(number, Status.RUNNING) in (Status.RUNNING, Status.WON_BY_CLAIMANT)
            assert ledger.claim(number).status is ClaimStatus.OPEN
        played: Counter[int] = Counter()
        moves = set()
        for event in self._done(actions.Play):
            played[event.action.dispute] += 1
            moves.add((event.action.dispute, played[event.action.dispute], event.sender))
        for daemon, line in said:
            if line["event"] == "challenge":
                assert line["claim"] in found, "a challenge is lost"
            if line["event"] == "move":
                account = self.arena.account(DAEMONS[daemon])
                assert (line["dispute"], line["number"], account) in moves, "a move is lost"

    def _said(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the daemons say that they did, in all their lives."""
        for path, daemon in self.logs.items():
            for text in path.read_text().split("\n")[:-1]:  # the last one was cut, or is empty
                assert text.startswith("{"), path.read_text()
                yield daemon, json.loads(text)

    def check_end(self) -> None:
        """To the last coin."""
        ledger, bond, stake = self.ledger, TERMS["bond"], TERMS["challenge_bond"]
        false, true = len(self.false), len(self.true)
        won, kept = bond - bond // 10, stake - stake // 10
        assert ledger.money().held == true * bond
        for name, expected in {
            "watcher": false * won,
            "claimant": true * (kept - bond),
            "attacker": -false * bond - true * stake,
        }.items():
            assert ledger.balance(self.arena.account(name)) == PURSE + expected, name


NAMES = ("claimant", "watcher", "attacker")


@pytest.fixture
def battle(tmp_path: Path) -> Iterator[Field]:
    made = Field(new_file(tmp_path, PURSE))
    yield made
    made.shell.stop()
    made.arena.close()
    made.ledger.close()


def kill_at_random(battle: Field, kills: int, seed: int) -> Counter[str]:
    """How many disputes there were, and how many kills while one of them was running."""
    rng = random.Random(seed)
    found: Counter[str] = Counter()
    battle.post()
    battle.shell.start("lie", battle.shell.folder, LIE, 0, program=PLAYER)
    battle.shell.start("quarrel", battle.shell.folder, "none", 0, program=PLAYER)
    for daemon in DAEMONS:
        battle.start(daemon)
    for _ in range(kills):
        battle.post()
        daemon = rng.choice(sorted(DAEMONS))
        if rng.random() < 0.3:  # perhaps it has not even begun
            time.sleep(rng.uniform(0, 2))
        else:
            battle.until_it_writes(daemon, 15)
            time.sleep(rng.uniform(0, 0.15))
        battle.kill(daemon)
        battle.check()
        disputed = battle.true if daemon == "respond" else battle.false
        found["between moves"] += battle.disputes().get(disputed[-1]) is Status.RUNNING
        battle.start(daemon)

    def over(_: SqliteLedger) -> bool:
        ends = battle.disputes()
        return len(ends) == len(battle.posted) and Status.RUNNING not in ends.values()

    battle.shell.wait(over, 120)
    battle.check()
    battle.check_end()
    found["disputes"] = len(battle.posted)
    return found


def test_killed_a_few_times(battle: Field) -> None:
    found = kill_at_random(battle, 6, 1)
    assert found["disputes"] >= 2
    assert found["between moves"] >= 1


@pytest.mark.slow
def test_killed_a_hundred_times(battle: Field) -> None:
    found = kill_at_random(battle, 100, 2)
    print(dict(found))
    assert found["disputes"] > 10
    assert found["between moves"] > 30
