"""Whole disputes about an int8 CNN between processes on a chain, and what they cost.

One weight, one activation in the middle, the output, the wiring of two operators: whoever claims
another one loses to one watcher; a challenger who is wrong loses to the claimant's daemon.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.benchmarks import optimistic_disputes as measured
from proofml.benchmarks.models import write
from proofml.circuits.quantise import QuantisationConfig, apply, calibrate
from proofml.model import Model
from proofml.optimistic.actions import Challenge
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.evm_abi import artefact
from proofml.optimistic.evm_chain import word
from proofml.optimistic.game import Status
from proofml.optimistic.ledgers import OpenLedger, open_chain
from proofml.store import Store

from . import anvil
from .anvil import Anvil
from .test_cli_evm import Chain, mining, new_chain
from .test_cli_optimistic import BRIEF, PLAYER

pytest.importorskip("onnxruntime")

BOND, STAKE = 10**18, 10**17
TERMS = {"clock": 90, "extension": 60, "bond": BOND, "challenge_bond": STAKE, "k_log": 4}


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the quantised model and an input for it."""
    folder = tmp_path_factory.mktemp("lenet")
    case, store = write("lenet", folder), Store.default()
    model = Model.load(case.model, store=store)
    with np.load(case.calibration) as file:
        samples = [{"input": each[None]} for each in file["input"]]
    config = QuantisationConfig(activations="int8")
    (folder / "model.onnx").write_bytes(apply(model, calibrate(model, samples, config, store)))
    shutil.copy(case.input, folder / "model.npz")
    return folder


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with mining() as found:
        yield found


@pytest.fixture
def chain(node: Anvil, lenet: Path, tmp_path: Path) -> Iterator[Chain]:
    made = new_chain(node, tmp_path)
    for name in ("model.onnx", "model.npz"):
        shutil.copy(lenet / name, tmp_path / name)
    (tmp_path / "proofs").mkdir()
    yield made
    made.stop()


def gas_of(node: Anvil, contract: str, dispute: int) -> tuple[int, int]:
    """Of all transactions of a dispute, and of its last one."""
    events = artefact().events
    places = {"Challenged": 2, "Moved": 1}
    used: dict[str, int] = {}
    for name, place in places.items():
        topics: list[Any] = [None] * (place + 1)
        topics[0] = "0x" + events[name].topic.hex()
        topics[place] = "0x" + word(dispute).hex()
        wanted = {"address": contract, "fromBlock": "0x0", "toBlock": "latest", "topics": topics}
        for log in node.rpc("eth_getLogs", wanted):
            receipt = node.rpc("eth_getTransactionReceipt", log["transactionHash"])
            used[log["transactionHash"]] = int(receipt["gasUsed"], 16)
    return sum(used.values()), list(used.values())[-1]


def until_over(chain: Chain, condition: Callable[[OpenLedger], bool]) -> None:
    chain.wait_for(condition, 400)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["weight", "activation", "output", "wiring"])
def test_one_watcher_is_enough(node: Anvil, chain: Chain, kind: str) -> None:
    chain.run("post", chain.folder, kind, 3, json.dumps(TERMS), program=PLAYER)
    chain.start("lie", chain.folder, kind, 3, program=PLAYER)
    watch = ["watch", *chain.of("watcher"), "--model", "model.onnx", "--poll", "0.2"]
    chain.start(*watch, *BRIEF, "proofs")
    until_over(chain, lambda ledger: ledger.claim(1).status is ClaimStatus.DEFEATED)
    with open_chain(chain.pin) as opened:
        state = opened.ledger.dispute(1)
        assert state.status is Status.WON_BY_CHALLENGER, state.why
        assert "no move in time" not in state.why
        won = opened.ledger.balance(chain.accounts["watcher"])
    assert won == STAKE + BOND - BOND // 10
    whole, last = gas_of(node, chain.pin.contract, 1)
    assert 300_000 < whole < measured.MOST_GAS
    assert last < measured.MOST_STEP


@pytest.mark.slow
def test_a_dishonest_challenger_loses(node: Anvil, chain: Chain) -> None:
    pin = chain.pin
    options = {"rpc": pin.rpc, "chain-id": pin.chain_id, "contract": pin.contract}
    options |= {"key": "claimant.key", "clock": 90, "extension": 60, "k": 16}
    options |= {"bond": BOND, "challenge-bond": STAKE}
    words = [part for key, value in options.items() for part in ("--set", f"{key}={value}")]
    made = ["model.onnx", "model.npz", "-b", "optimistic", *words, "-o", "proofs/one.pml"]
    chain.run("prove", *made)
    chain.start("grief", chain.folder, "none", 5, program=PLAYER)
    respond = ["respond", *chain.of("claimant"), "--model", "model.onnx", "--poll", "0.2"]
    chain.start(*respond, "proofs")

    def over(ledger: OpenLedger) -> bool:
        opened = any(isinstance(event.action, Challenge) for event in ledger.events(0, 500))
        return opened and ledger.dispute(1).status is not Status.RUNNING

    until_over(chain, over)
    with open_chain(pin) as opened:
        state = opened.ledger.dispute(1)
        assert state.status is Status.WON_BY_CLAIMANT, state.why
        assert opened.ledger.claim(1).status is ClaimStatus.OPEN
        assert opened.ledger.balance(chain.accounts["claimant"]) == STAKE - STAKE // 10
    whole, _ = gas_of(node, pin.contract, 1)
    assert whole < measured.MOST_GAS


def test_what_is_measured(tmp_path: Path) -> None:
    """The benchmark, on a node of its own: whoever is right wins, within what is promised."""
    made = measured.subject(tmp_path)
    assert measured.products(made.machine) > 100_000
    begin = time.monotonic()
    file = measured.measure(made, measured.on_a_file, tmp_path)
    with anvil.running() as node:
        chain = measured.measure(made, lambda at: measured.on_a_chain(at, node.url), tmp_path)
    measured.check(chain)
    assert list(file) == list(chain)
    for name, cost in chain.items():
        # The same moves, whatever the ledger.
        other = file[name]
        assert (cost.rounds, cost.bytes, cost.last) == (other.rounds, other.bytes, other.last)
        assert cost.seconds <= time.monotonic() - begin
        assert cost.rounds == cost.formula
    steps = [cost.last for cost in chain.values()]
    assert steps.count("ProveSummand") == 4
    assert steps.count("ProveWiring") == 1
    assert "gas, all" in measured.disputes_table(made, file, chain)
    assert "ProveSummand" in measured.calls_table(chain.values())
    assert "gas" not in measured.disputes_table(made, file, None)
