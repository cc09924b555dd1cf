"""Disputes about models that people use, more than 100 operators each, between processes.

Somebody claims what a model gave that is not what it gives: one weight, one activation in the
middle, the output, or the wiring of two operators is another one. One watcher is enough, on a file
and on a chain. Each dispute goes to its last step and takes as many rounds as it should.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.benchmarks.optimistic_disputes import MOST_GAS, MOST_STEP
from proofml.benchmarks.optimistic_lies import LIES
from proofml.optimistic import game
from proofml.optimistic.actions import Challenge
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.ledger import Ledger
from proofml.optimistic.ledgers import open_chain
from proofml.optimistic.program import Program

from .anvil import Anvil
from .arena import Arena
from .real_models import ALL
from .test_cli_evm import Chain, mining, new_chain
from .test_cli_optimistic import BRIEF, PLAYER, Shell, check_pages, new_file
from .test_evm_disputes import gas_of

pytest.importorskip("onnxruntime")

#: So much time that a machine with other work to do loses no dispute by the clock.
TERMS = {"clock": 240, "extension": 120, "window": 6000, "bond": 10_000, "challenge_bond": 3_000}
PURSE = 100_000
K_LOG = 2
WEIGHT, ACTIVATION, OUTPUT, WIRING = LIES
SLOW = pytest.mark.slow


@dataclass
class Field:
    """A model of somebody's, an input for it, and a ledger.

    Attributes:
        node: of the chain; None where the ledger is a file.
    """

    shell: Shell
    node: Anvil | None = None

    def of(self, name: str) -> list[object]:
        """The ledger and this account's key, for a command."""
        if isinstance(self.shell, Chain):
            return self.shell.of(name)
        return ["--ledger", "ledger.db", "--key", f"{name}.pem"]

    @property
    def where(self) -> list[object]:
        return self.of("")[:-2]

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        if isinstance(self.shell, Chain):
            with open_chain(self.shell.pin) as opened:
                yield opened.ledger
        else:
            with self.shell.ledger() as ledger:
                yield ledger

    def balance(self, name: str) -> int:
        found = self.shell
        arena = Arena(found.folder)
        account = found.accounts[name] if isinstance(found, Chain) else arena.account(name)
        with self.ledger() as ledger:
            return ledger.balance(account)

    def wait(self, condition: Callable[[Any], bool]) -> None:
        if isinstance(self.shell, Chain):
            self.shell.wait_for(condition, 240)
        else:
            self.shell.wait(condition, 240)

    def rounds(self, dispute: int) -> list[dict[str, Any]]:
        """What `proofml dispute show` says of it."""
        found = self.shell.run("dispute", "show", dispute, *self.where, "--json")
        return list(found["rounds"])


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with mining() as found:
        yield found


@pytest.fixture
def field(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Field]:
    model, place = request.param
    if place == "chain":
        node: Anvil | None = request.getfixturevalue("node")
        assert node is not None
        shell: Shell = new_chain(node, tmp_path)
    else:
        node, shell = None, new_file(tmp_path, PURSE)
    (tmp_path / "proofs").mkdir(exist_ok=True)
    (tmp_path / "model.onnx").write_bytes(ALL[model].quantised().canonical)
    inputs: dict[str, Any] = dict(ALL[model].sample(101))
    np.savez(tmp_path / "model.npz", **inputs)
    yield Field(shell, node)
    shell.stop()


def log(base: int, number: int) -> int:
    """Rounded up."""
    return next(r for r in range(64) if base**r >= number)


def expected_rounds(program: Program, operator: int, *, wiring: bool) -> int:
    """log_k of the operators, one; inside log_k of the chunks, one, log_k of the summands."""
    k, found = 1 << K_LOG, program.operators[operator]
    outer = log(k, len(program.operators)) + 1
    inner = log(k, found.cells.chunks) + 1 + max(1, log(k, found.summands))
    return outer if wiring else outer + inner


def check_rounds(field: Field, state: DisputeState) -> None:
    """The dispute was played to its last step, in as many rounds as it should."""
    folder = field.shell.folder
    program = Arena(folder, file=folder / "model.onnx").machine.program
    assert len(program.operators) > 100
    assert "no move in time" not in state.why
    assert state.moves <= game.most_moves(program, K_LOG)
    played = field.rounds(1)
    assert len(played) == state.moves
    operator = next(r["span"]["first"] for r in played if r["move"] == "RevealOperator")
    reveals = [r["side"] for r in played if r["move"].startswith("Reveal")]
    assert set(reveals) == {"CLAIMANT"}
    wiring = played[-1]["move"] == "ProveWiring"
    assert wiring or played[-1]["move"] == "ProveSummand"
    assert len(reveals) == expected_rounds(program, operator, wiring=wiring)
    if field.node is not None:
        assert isinstance(field.shell, Chain)
        whole, last = gas_of(field.node, field.shell.pin.contract, 1)
        assert whole < MOST_GAS
        assert last < MOST_STEP


@pytest.mark.parametrize(
    ("field", "kind", "deferred"),
    [
        pytest.param(("classifier", "file"), WEIGHT, False, marks=SLOW),
        (("classifier", "file"), ACTIVATION, False),
        pytest.param(("classifier", "file"), OUTPUT, False, marks=SLOW),
        pytest.param(("classifier", "file"), WIRING, False, marks=SLOW),
        (("classifier", "chain"), WEIGHT, False),
        pytest.param(("classifier", "chain"), ACTIVATION, False, marks=SLOW),
        pytest.param(("classifier", "chain"), OUTPUT, False, marks=SLOW),
        pytest.param(("classifier", "chain"), WIRING, False, marks=SLOW),
        pytest.param(("classifier", "file"), OUTPUT, True, marks=SLOW),
        pytest.param(("classifier", "chain"), OUTPUT, True, marks=SLOW),
        pytest.param(("detector", "file"), ACTIVATION, False, marks=SLOW),
        pytest.param(("detector", "chain"), ACTIVATION, False, marks=SLOW),
    ],
    indirect=["field"],
)
def test_one_watcher_is_enough(field: Field, kind: str, deferred: bool) -> None:
    """Deferred: the claim says its outputs, and the dispute's first reveal from which trace."""
    shell = field.shell
    terms = json.dumps({**TERMS, "k_log": K_LOG, "deferred": deferred})
    shell.run("post", shell.folder, kind, 0, terms, program=PLAYER)
    shell.start("lie", shell.folder, kind, 0, program=PLAYER)
    watch = ["watch", *field.of("watcher"), "--model", "model.onnx", "--poll", "0.1"]
    shell.start(*watch, *BRIEF, "proofs")
    field.wait(lambda ledger: ledger.claim(1).status is ClaimStatus.DEFEATED)
    with field.ledger() as ledger:
        state = ledger.dispute(1)
    assert state.status is Status.WON_BY_CHALLENGER, state.why
    check_rounds(field, state)
    # On a chain money that is not staked stays outside of the contract.
    watcher = PURSE if field.node is None else TERMS["challenge_bond"]
    assert field.balance("watcher") == watcher + TERMS["bond"] - TERMS["bond"] // 10
    assert field.balance("attacker") == (PURSE - TERMS["bond"] if field.node is None else 0)
    if field.node is None:
        shell.run("ledger", "audit", "ledger.db")
        check_pages(shell, 1)


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(("classifier", "file"), marks=SLOW),
        pytest.param(("classifier", "chain"), marks=SLOW),
    ],
    indirect=True,
)
def test_a_dishonest_challenger_loses(field: Field) -> None:
    shell = field.shell
    options: dict[str, object] = {name.replace("_", "-"): value for name, value in TERMS.items()}
    options |= {"k": 1 << K_LOG}
    words = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    for name, value in zip(*[iter(field.of("claimant"))] * 2, strict=True):
        words += ["--set", f"{str(name).removeprefix('--')}={value}"]
    prove = ["prove", "model.onnx", "model.npz", "-b", "optimistic", *words]
    shell.run(*prove, "-o", "proofs/one.pml")
    shell.start("quarrel", shell.folder, "none", 0, program=PLAYER)
    shell.start(
        "respond", *field.of("claimant"), "--model", "model.onnx", "--poll", "0.1", "proofs"
    )

    def over(ledger: Ledger) -> bool:
        opened = any(isinstance(event.action, Challenge) for event in ledger.events(0, 500))
        return opened and ledger.dispute(1).status is not Status.RUNNING

    field.wait(over)
    with field.ledger() as ledger:
        state = ledger.dispute(1)
        assert ledger.claim(1).status is ClaimStatus.OPEN
    assert state.status is Status.WON_BY_CLAIMANT, state.why
    check_rounds(field, state)
    stake = TERMS["challenge_bond"]
    left = PURSE - TERMS["bond"] if field.node is None else 0
    assert field.balance("claimant") == left + stake - stake // 10
