"""The commands and the daemons, each in a process of its own, in real time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from proofml.optimistic.accounts import Account
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.game import Status, most_moves
from proofml.optimistic.sqlite_ledger import SqliteLedger

from .arena import Arena, seed_of
from .process import TIMES

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits"
MODEL, DIGIT = DIGITS / "digits_cnn_int8.onnx", DIGITS / "digit.npz"
PROOFML = [sys.executable, "-c", "from proofml.cli import main; main()"]
PLAYER = [
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    "from tests.optimistic.process import main; main()",
]
#: For a watcher of claims whose clocks no policy would accept.
BRIEF: list[object] = ["--least-clock", 1, "--least-extension", 1]


@dataclass
class Shell:
    """A folder with a ledger, keys and processes."""

    folder: Path
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "PROOFML_CACHE": str(self.folder / "cache"), "NO_COLOR": "1"}

    def run(self, *words: object, code: int = 0, program: list[str] = PROOFML) -> Any:
        """The command's result; of `--json` what it says."""
        done = subprocess.run(
            [*program, *map(str, words)],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout + done.stderr

    def start(self, *words: object, program: list[str] = PROOFML) -> subprocess.Popen[str]:
        with (self.folder / f"{len(self.running)}.log").open("w") as log:
            process = subprocess.Popen(
                [*program, *map(str, words)],
                cwd=self.folder,
                env=self.env,
                stderr=log,
                stdout=log,
                text=True,
            )
        self.running.append(process)
        return process

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    @contextmanager
    def ledger(self) -> Iterator[SqliteLedger]:
        with SqliteLedger(self.folder / "ledger.db", read_only=True) as ledger:
            yield ledger

    def wait(self, condition: Callable[[SqliteLedger], bool], seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while True:
            with self.ledger() as ledger:
                if condition(ledger):
                    return
            assert time.monotonic() < end, self.logs()
            time.sleep(0.2)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    made.run("ledger", "init", "ledger.db")
    arena = Arena(tmp_path)
    for name in ("claimant", "watcher", "attacker"):
        made.run("ledger", "deposit", "100000", "--ledger", "ledger.db", "--key", arena.key(name))
    yield made
    made.stop()


def new_file(folder: Path, purse: int) -> Shell:
    """With a ledger on which each of three accounts has so much, and their keys."""
    arena = Arena(folder)
    for name in ("claimant", "watcher", "attacker"):
        arena.key(name)
        account = Account.of_seed(seed_of(name))
        with SqliteLedger(arena.path, [account], create=True) as ledger:
            ledger.deposit(purse, account.name)
    return Shell(folder)


def of(name: str) -> list[object]:
    return ["--ledger", "ledger.db", "--key", f"{name}.pem"]


def watch(*more: object) -> list[object]:
    return ["watch", *of("watcher"), "--model", MODEL, "--poll", "0.05", *BRIEF, *more, "proofs"]


# ---------------------------------------------------------------- commands
def test_from_the_ledger_to_the_verdict(shell: Shell) -> None:
    """Everything that the README says, with the commands that are printed."""
    options = [f"{k}={v}" for k, v in {"window": 6, "answer": 1, "bond": 500}.items()]
    words = [word for option in options for word in ("--set", option)]
    made = shell.run(
        "prove", MODEL, DIGIT, "-b", "optimistic", "--set", "ledger=ledger.db",
        "--set", "key=claimant.pem", *words, "--nonce", "0a0b", "-o", "proofs/one.pml", "--json",
    )  # fmt: skip
    assert made["backend"] == "optimistic"
    command = made["verify"].split()[1:]
    assert command[command.index("--ledger") + 1] == "ledger.db"
    verdict = shell.run(*command, "--json", code=3)
    assert verdict["status"] == "pending", verdict["reasons"]
    assert verdict["guarantee"]["finality"] == "pending"
    shell.run(*watch("--once"))
    respond = ["respond", *of("claimant"), "--model", MODEL, "--poll", "0.1", "proofs"]
    daemon = shell.start(*respond)
    shell.wait(lambda ledger: ledger.claim(1).status is ClaimStatus.FINAL)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(timeout=30) == 0
    verdict = shell.run(*command, "--json")
    assert verdict["status"] == "accepted"
    assert {"ledger:local", "window:none"} <= set(verdict["guarantee"]["assumptions"])
    # Without a pinned ledger the same proof is refused, whatever it says of itself.
    at = command.index("--ledger")
    refused = shell.run(*command[:at], *command[at + 2 :], "--json", code=3)
    assert refused["status"] == "refused"
    assert "backends.optimistic.ledger" in refused["reasons"][0]


def test_ledger_commands(shell: Shell) -> None:
    arena = Arena(shell.folder)
    name = shell.run("ledger", "account", "--key", "watcher.pem", "--json")["account"]
    assert name == arena.account("watcher")
    balance = ["ledger", "balance", name, "--ledger", "ledger.db"]
    assert shell.run(*balance, "--json")["balance"] == "100000"
    assert shell.run("ledger", "withdraw", *of("watcher"), "--json")["withdrawn"] == "100000"
    assert shell.run(*balance) == 0
    found = shell.run("ledger", "audit", "ledger.db", "--json")
    assert found["events"] == 4
    assert found["money"]["deposited"] == "300000"
    assert found["money"]["withdrawn"] == "100000"
    assert "exists" in shell.run("ledger", "init", "ledger.db", code=2)
    assert "--ledger" in shell.run("ledger", "balance", name, code=2)
    assert "nothing" in shell.run("ledger", "withdraw", *of("watcher"), code=2)
    (shell.folder / "bad.db").write_bytes(b"no ledger")
    assert "optimistic.ledger" in shell.run("ledger", "audit", "bad.db", code=1)


def test_nothing_is_posted_for_a_proof_that_cannot_be_written(shell: Shell) -> None:
    """A bond would be at stake, and nobody could answer for it."""
    said = shell.run(
        "prove", MODEL, DIGIT, "-b", "optimistic", "--set", "ledger=ledger.db",
        "--set", "key=claimant.pem", "-o", "nowhere/one.pml", code=2,
    )  # fmt: skip
    assert "nowhere" in said
    with shell.ledger() as ledger:
        assert len(ledger.events(0)) == 3  # deposits


def test_a_balance_of_nobody(shell: Shell) -> None:
    said = shell.run("ledger", "balance", "watcher", "--ledger", "ledger.db", code=2)
    assert "ed25519" in said


def test_what_is_wrong_is_said(shell: Shell) -> None:
    for words, code, said in (
        (["dispute", "show", "1", "--ledger", "ledger.db"], 2, "no dispute 1"),
        (["dispute", "list", "--ledger", "none.db"], 2, "none.db"),
        (["watch", *of("nobody"), "--model", MODEL], 2, "nobody.pem"),
        (["watch", *of("watcher"), "--model", "none.onnx"], 2, "none.onnx"),
        ([*watch(), "--metrics", "nowhere"], 2, "HOST:PORT"),
        (["watch", *of("watcher"), "--model", MODEL, "--record", MODEL], 2, "--record"),
        (["respond", *of("claimant"), "--model", MODEL, "no-folder"], 2, "no-folder"),
    ):
        (shell.folder / "proofs").mkdir(exist_ok=True)
        assert said in shell.run(*words, code=code), words
    assert "no disputes" in shell.run("dispute", "list", "--ledger", "ledger.db")


# ---------------------------------------------------------------- disputes between processes
def check_pages(shell: Shell, claim: int) -> None:
    """`dispute list` and `dispute show` say how it went."""
    where = ["--ledger", "ledger.db"]
    (listed,) = shell.run("dispute", "list", *where, "--claim", claim, "--json")["disputes"]
    number = listed["number"]
    found = shell.run("dispute", "show", number, *where, "--json")
    assert found["status"] == listed["status"]
    assert [r["number"] for r in found["rounds"]] == list(range(1, listed["moves"] + 1))
    spans = [r["span"] for r in found["rounds"]]
    assert spans[0]["unit"] == "operator"
    for unit in ("operator", "chunk", "summand"):
        sizes = [s["last"] - s["first"] for s in spans if s["unit"] == unit]
        assert sizes == sorted(sizes, reverse=True)  # it never grows
    text = shell.run("dispute", "show", number, *where)
    for round_ in found["rounds"]:
        assert round_["move"] in text
    assert "█" in text
    assert str(listed["claim"]) in shell.run("dispute", "list", *where)


@pytest.mark.parametrize("kind", ["weight", "activation", "output", "wiring"])
def test_a_dispute_between_processes(shell: Shell, kind: str) -> None:
    claim = shell.run("post", shell.folder, kind, 3, program=PLAYER)["claim"]
    shell.start("lie", shell.folder, kind, 3, program=PLAYER)
    shell.start(*watch())
    shell.wait(lambda ledger: ledger.claim(claim).status is ClaimStatus.DEFEATED)
    with shell.ledger() as ledger:
        assert ledger.dispute(1).status is Status.WON_BY_CHALLENGER
        most = most_moves(Arena(shell.folder).machine.program, TIMES["k_log"])
        assert ledger.dispute(1).moves <= most
    shell.run("ledger", "audit", "ledger.db")
    check_pages(shell, claim)


def test_a_dishonest_challenger_between_processes(shell: Shell) -> None:
    shell.run(
        "prove", MODEL, DIGIT, "-b", "optimistic", "--set", "ledger=ledger.db",
        "--set", "key=claimant.pem", "--set", "clock=120", "--set", "extension=60",
        "-o", "proofs/one.pml",
    )  # fmt: skip
    shell.start("grief", shell.folder, "none", 5, program=PLAYER)
    respond = ["respond", *of("claimant"), "--model", MODEL, "--poll", "0.05", "proofs"]
    shell.start(*respond)

    def over(ledger: SqliteLedger) -> bool:
        return bool(len(ledger.events(0)) > 4 and ledger.dispute(1).status is not Status.RUNNING)

    shell.wait(over)
    with shell.ledger() as ledger:
        assert ledger.dispute(1).status is Status.WON_BY_CLAIMANT
    check_pages(shell, 1)


def test_metrics(shell: Shell) -> None:
    pytest.importorskip("prometheus_client")
    from urllib.request import urlopen

    shell.run("post", shell.folder, "output", 3, program=PLAYER)
    shell.start(*watch("--metrics", "127.0.0.1:0"))
    shell.wait(lambda ledger: len(ledger.events(0)) > 4)
    lines = [json.loads(line) for line in shell.logs().splitlines() if line.startswith("{")]
    port = next(line["port"] for line in lines if line["event"] == "metrics")
    time.sleep(0.5)
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert "proofml_watch_claims_open 1.0" in text
    assert 'proofml_watch_actions_total{kind="challenge"} 1.0' in text
    assert 'proofml_watch_claims_judged_total{result="false"} 1.0' in text


def test_metrics_without_their_library(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from proofml.errors import BackendUnavailable
    from proofml.optimistic.reporting import Prometheus

    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(BackendUnavailable, match=r"proofml\[optimistic\]"):
        Prometheus("watch")
