"""The same commands and daemons on a chain: processes of their own, and a node between them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("web3")

from proofml.optimistic import evm_keys, evm_ledger
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.game import Status
from proofml.optimistic.ledgers import OpenLedger, open_chain
from proofml.optimistic.policy import ChainPin

from .anvil import CHAIN_ID, Anvil, running
from .evm_bench import QUICK
from .test_cli_optimistic import BRIEF, DIGIT, MODEL, PLAYER, Shell

NAMES = ("claimant", "watcher", "attacker")


@dataclass
class Chain(Shell):
    """A shell with a contract and keys of accounts that have money."""

    where: list[object] = field(default_factory=list)
    accounts: dict[str, str] = field(default_factory=dict)

    @property
    def pin(self) -> ChainPin:
        return ChainPin(**json.loads((self.folder / "chain.json").read_text()))

    def of(self, name: str) -> list[object]:
        return [*self.where, "--key", f"{name}.key"]

    def wait_for(self, condition: Callable[[OpenLedger], bool], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        with open_chain(self.pin) as opened:
            while not condition(opened.ledger):
                assert time.monotonic() < end, self.logs()
                time.sleep(0.2)


@contextmanager
def mining() -> Iterator[Anvil]:
    """A node that takes a transaction at once, and whose time goes on without one."""
    with running("--block-time", "1", "--mixed-mining") as found:
        yield found


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with mining() as found:
        yield found


def new_chain(node: Anvil, folder: Path) -> Chain:
    """A new contract on the node, and keys in the folder."""
    made = Chain(folder)
    for name in NAMES:
        made.accounts[name] = evm_keys.name_of(evm_keys.generate(folder / f"{name}.key"))
        node.fund(made.accounts[name])
    pin = evm_ledger.deploy(node.url, CHAIN_ID, folder / "claimant.key", spending=QUICK)
    (folder / "chain.json").write_text(json.dumps(asdict(pin)))
    made.where = ["--rpc", node.url, "--chain-id", CHAIN_ID, "--contract", pin.contract]
    return made


@pytest.fixture
def chain(node: Anvil, tmp_path: Path) -> Iterator[Chain]:
    made = new_chain(node, tmp_path)
    (tmp_path / "proofs").mkdir()
    yield made
    made.stop()


@pytest.fixture
def commanded(node: Anvil, tmp_path: Path) -> Iterator[Chain]:
    """The same by the command line alone."""
    made = Chain(tmp_path)
    for name in NAMES:
        key = f"{name}.key"
        found = made.run("ledger", "account", "--key", key, "--chain", "--generate", "--json")
        made.accounts[name] = found["account"]
        node.fund(found["account"])
    again = made.run("ledger", "account", "--key", "watcher.key", "--chain", "--json")
    assert again["account"] == made.accounts["watcher"]
    deploying = ["--rpc", node.url, "--chain-id", CHAIN_ID, "--confirmations", 0]
    pin = made.run("ledger", "deploy", *deploying, "--key", "claimant.key", "--json")
    (tmp_path / "chain.json").write_text(json.dumps(pin))
    made.where = ["--rpc", node.url, "--chain-id", CHAIN_ID, "--contract", pin["contract"]]
    (tmp_path / "proofs").mkdir()
    yield made
    made.stop()


def prove(chain: Chain, **terms: object) -> None:
    pin = chain.pin
    options = {
        "rpc": pin.rpc,
        "chain-id": pin.chain_id,
        "contract": pin.contract,
        "key": "claimant.key",
        **{name.replace("_", "-"): value for name, value in terms.items()},
    }
    words = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    chain.run("prove", MODEL, DIGIT, "-b", "optimistic", *words, "-o", "proofs/one.pml")


def verify(chain: Chain, code: int, *, pinned: dict[str, Any] | None = None) -> Any:
    told = json.loads((chain.folder / "chain.json").read_text())
    table = {**told, "block_seconds": 1, **(pinned or {})}
    lines = ["version = 1", "[backends.optimistic]", "least_bond = 1000"]
    lines += ["least_window = 5", "least_extension = 1"]
    lines += ["[backends.optimistic.chain]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in table.items()]
    (chain.folder / "policy.toml").write_text("\n".join(lines))
    words = ["--model", MODEL, "--input", DIGIT, "--policy", "policy.toml", "--json"]
    return chain.run("verify", "proofs/one.pml", *words, code=code)


def test_from_the_contract_to_the_verdict(commanded: Chain) -> None:
    """Deploy, claim, wait, finalise: accepted under the default assumptions, without a shortcut."""
    chain = commanded
    prove(chain, window=12, answer=2)
    verdict = verify(chain, 3)
    assert verdict["status"] == "pending", verdict["reasons"]
    respond = ["respond", *chain.of("claimant"), "--model", MODEL, "--withdraw", "proofs"]
    chain.start(*respond)
    chain.wait_for(lambda ledger: ledger.claim(1).status is ClaimStatus.FINAL)
    verdict = verify(chain, 0)
    assert verdict["status"] == "accepted"
    assert not [name for name in verdict["guarantee"]["assumptions"] if name.startswith("ledger")]
    chain.wait_for(lambda ledger: ledger.balance(chain.accounts["claimant"]) == 0)
    # A pin of other code, another chain, another contract.
    for pinned in ({"code_sha256": "0" * 64}, {"chain_id": 1}, {"contract": "0x" + "12" * 20}):
        refused = verify(chain, 1, pinned=pinned)
        assert refused["failed_check"] == "optimistic.11", pinned


@pytest.mark.parametrize(
    "kind",
    [
        "weight",
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("activation", "output", "wiring")),
    ],
)
def test_a_dispute_between_processes(chain: Chain, kind: str) -> None:
    patient = json.dumps({"clock": 60, "extension": 45, "bond": 10**18, "challenge_bond": 10**17})
    chain.run("post", chain.folder, kind, 3, patient, program=PLAYER)
    chain.start("lie", chain.folder, kind, 3, program=PLAYER)
    watch = ["watch", *chain.of("watcher"), "--model", MODEL, "--poll", "0.2"]
    chain.start(*watch, *BRIEF, "proofs")
    chain.wait_for(lambda ledger: ledger.claim(1).status is ClaimStatus.DEFEATED, 240)
    with open_chain(chain.pin) as opened:
        assert opened.ledger.dispute(1).status is Status.WON_BY_CHALLENGER
        won = opened.ledger.balance(chain.accounts["watcher"])
    assert won == 10**17 + 10**18 - 10**18 // 10
    found = chain.run("dispute", "show", 1, *chain.where, "--json")
    assert found["status"] == "WON_BY_CHALLENGER"
    assert len(found["rounds"]) == found["moves"]
    assert "won by challenger" in chain.run("dispute", "list", *chain.where)


def test_a_dishonest_challenger_loses(chain: Chain) -> None:
    prove(chain, clock=60, extension=45)
    chain.start("grief", chain.folder, "none", 5, program=PLAYER)
    chain.start("respond", *chain.of("claimant"), "--model", MODEL, "--poll", "0.2", "proofs")

    def over(ledger: OpenLedger) -> bool:
        opened = any(type(event.action).__name__ == "Challenge" for event in ledger.events(0, 500))
        return opened and ledger.dispute(1).status is not Status.RUNNING

    chain.wait_for(over)
    with open_chain(chain.pin) as opened:
        assert opened.ledger.dispute(1).status is Status.WON_BY_CLAIMANT
