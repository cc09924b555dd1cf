"""Sending to a chain: kills, fees, two processes of one account, long chains."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proofml.errors import BackendFailed
from proofml.optimistic import moves
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.evm_chain import Chain
from proofml.optimistic.evm_rpc import Node
from proofml.optimistic.evm_send import Sender, Spending
from proofml.optimistic.policy import ChainPin
from proofml.optimistic.refusals import IllegalMove, Refusal

from . import anvil
from .anvil import CHAIN_ID, Anvil
from .claims import honest
from .evm_bench import QUICK, Bench, bench
from .players import Claimant, Griefer

ROOT = Path(__file__).resolve().parents[2]
BOND, STAKE = 10**18, 10**17


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with anvil.running("--auto-impersonate") as found:
        yield found


@pytest.fixture
def made(node: Anvil) -> Iterator[Bench]:
    with bench(node) as found:
        yield found


@contextmanager
def refused(refusal: Refusal) -> Iterator[None]:
    with pytest.raises(IllegalMove) as caught:
        yield
    assert caught.value.refusal is refusal, str(caught.value)


POSTER = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from proofml.optimistic import evm_ledger
from proofml.optimistic.policy import ChainPin
from tests.optimistic.claims import honest
pin = ChainPin({url!r}, {chain}, {contract!r}, None, 0)
ledger = evm_ledger.open_chain(pin, keys=[Path({key!r})])
run = honest("network")
print(ledger.post(run.terms(), run.header, ledger.account), flush=True)
"""


@contextmanager
def not_mining(node: Anvil) -> Iterator[None]:
    node.rpc("evm_setAutomine", False)
    try:
        yield
    finally:
        node.rpc("evm_setAutomine", True)


def pending(made: Bench, name: str) -> list[dict[str, Any]]:
    """Transactions of an account that wait to be mined."""
    found = made.node.rpc("txpool_content")["pending"]
    mine = {each.lower(): txs for each, txs in found.items()}.get(made.account(name), {})
    return list(mine.values())


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_process_that_was_killed_while_it_waited(made: Bench) -> None:
    """Its claim is posted once, and who goes on waits for it before doing anything else."""
    key = made.key("claimant")
    script = POSTER.format(
        root=str(ROOT), url=made.node.url, chain=CHAIN_ID, contract=made.pin.contract, key=str(key)
    )
    with not_mining(made.node):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        until(lambda: pending(made, "claimant"), 60)
        process.send_signal(signal.SIGKILL)
        assert process.communicate()[0] == b""
        assert made.open().events(0) == []
        second: list[object] = []
        run = honest("network")

        def go_on() -> None:
            ledger = made.open("claimant")
            second.append(ledger.post(run.terms(bond=77), run.header, made.account("claimant")))

        thread = threading.Thread(target=go_on)
        thread.start()
        time.sleep(0.5)
        assert len(pending(made, "claimant")) == 1
        made.node.mine()
        until(lambda: pending(made, "claimant"))
        made.node.mine()
        thread.join(30)
    assert second == [2]
    assert [made.open().claim(n).terms.bond for n in (1, 2)] == [1000, 77]


@pytest.mark.parametrize("confirmations", [0, 2])
def test_a_challenge_that_was_not_noted(made: Bench, confirmations: int) -> None:
    """Whoever ended between sending and noting does not stake twice when he begins again."""
    claim, account = made.post(honest("network"), challenge_bond=STAKE), made.account("second")
    made.node.mine(2)
    with not_mining(made.node):
        hurried = made.open("second", spending=replace(QUICK, patience=0.5))
        with pytest.raises(BackendFailed, match="may still be mined"):
            hurried.challenge(claim, account)
        failed: list[str] = []

        def begin_again() -> None:
            try:
                made.open("second", confirmations=confirmations).challenge(claim, account)
            except BackendFailed as error:
                failed.append(str(error))

        thread = threading.Thread(target=begin_again)
        thread.start()
        time.sleep(0.5)
        for _ in range(1 + confirmations):
            assert thread.is_alive()
            made.node.mine()
            time.sleep(0.3)
        thread.join(20)
        assert len(failed) == 1
        assert "look again" in failed[0]
        assert pending(made, "second") == []
    assert made.open().claim(claim).running == 1


def test_a_transaction_under_way_for_ever(made: Bench) -> None:
    run, account = honest("network"), made.account("claimant")
    with not_mining(made.node):
        hurried = replace(QUICK, patience=0.5)
        for said in ("not confirmed after 0.5 s; it may still be mined", "1 transactions of"):
            with pytest.raises(BackendFailed, match=said):
                made.open("claimant", spending=hurried).post(run.terms(), run.header, account)
        assert len(pending(made, "claimant")) == 1
    made.node.mine()
    assert len(made.open().events(0)) == 1


def test_fees_rise_until_it_is_mined(made: Bench) -> None:
    run, account = honest("network"), made.account("claimant")
    with not_mining(made.node):
        ledger = made.open("claimant", spending=replace(QUICK, bump=0.4))
        thread = threading.Thread(target=lambda: ledger.post(run.terms(), run.header, account))
        thread.start()
        until(lambda: pending(made, "claimant"))
        (first,) = pending(made, "claimant")
        until(lambda: pending(made, "claimant") != [first])
        (second,) = pending(made, "claimant")
        assert second["nonce"] == first["nonce"]
        assert int(second["maxFeePerGas"], 16) >= int(first["maxFeePerGas"], 16) * 11 // 10
        made.node.mine()
        thread.join(30)
        assert not thread.is_alive()
    assert len(made.open().events(0)) == 1


def test_two_processes_of_one_account(made: Bench) -> None:
    """Each action happens once or not at all, whoever is first; who was second is told."""
    run, account = honest("network"), made.account("claimant")
    ledgers = [made.open("claimant") for _ in range(2)]
    done, failed = [], []

    def post(ledger: Any, bond: int) -> None:
        try:
            done.append((ledger.post(run.terms(bond=bond), run.header, account), bond))
        except BackendFailed as error:
            failed.append(str(error))

    for round_ in range(4):
        threads = [
            threading.Thread(target=post, args=(ledger, 10 * round_ + i + 1))
            for i, ledger in enumerate(ledgers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(done) + len(failed) == 8
    reader = made.open()
    assert len(reader.events(0)) == len(done)
    assert all(reader.claim(number).terms.bond == bond for number, bond in done)


def test_a_move_that_somebody_else_made_first(made: Bench) -> None:
    """It is mined without effect, and refused by the contract's own reason."""
    run = honest("network")
    dispute = made.challenge(made.post(run))
    ledger = made.ledger("claimant")
    state = ledger.dispute(dispute)
    move = Claimant(run).move(ledger.claim(1).terms, state)
    # Both were estimated before either is mined.
    sender = made.open("claimant")._sender
    assert isinstance(sender, Sender)
    sender.gas_of = lambda request, what: 1_000_000  # type: ignore[method-assign]
    ledger.move(dispute, move, made.account("claimant"))
    with refused(Refusal.NOT_YOUR_TURN):
        sender.act(made.account("claimant"), "move", dispute, moves.to_bytes(move), b"")
    assert made.open().dispute(dispute).moves == 1


def test_who_was_overtaken_reads_again(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context of an older state is refused, and made anew from the newer one."""
    run = honest("network")
    dispute = made.challenge(made.post(run))
    ledger = made.ledger("claimant")
    old = ledger._states.situation
    tries = []

    def situation(number: int, at: Any) -> Any:
        state, claim, content = old(number, at)
        tries.append(number)
        if len(tries) == 1:  # as another node would say it
            content = replace(content, data=content.data[:-1] + b"\0")
        return state, claim, content

    made.play(dispute, Claimant(run), Griefer(run, random.Random(0)), most=1)
    while type(ledger.dispute(dispute).position).__name__ != "AtLeaf":
        made.play(dispute, Claimant(run), Griefer(run, random.Random(0)), most=1)
    monkeypatch.setattr(ledger._states, "situation", situation)
    state = ledger.dispute(dispute)
    tries.clear()
    move = Claimant(run).move(ledger.claim(1).terms, state)
    ledger.move(dispute, move, made.account("claimant"))
    assert len(tries) >= 2
    assert ledger.dispute(dispute).moves == state.moves + 1


def test_legacy_fees_where_a_chain_has_no_base_fee(
    made: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Chain.latest
    monkeypatch.setattr(Chain, "latest", lambda chain: replace(whole(chain), fee=None))
    claim = made.post(honest("network"))
    assert made.open().claim(claim).status is ClaimStatus.OPEN
    number = made.node.rpc("eth_getBlockByNumber", "latest", True)["transactions"][0]
    assert number["type"] == "0x0"


def test_spending_is_bounded_by_default() -> None:
    spending = Spending()
    assert spending.most_gas <= 1 << 24
    assert spending.most_fee <= 500 * 10**9


def test_a_claim_is_found_in_a_long_chain(made: Bench) -> None:
    """By its time, in some dozen steps, and not by looking at all blocks."""
    for claim in range(1, 4):
        made.node.rpc("anvil_mine", hex(100), hex(2))
        assert made.post(honest("network"), bond=claim) == claim
    made.node.rpc("anvil_mine", hex(100), hex(2))
    reader = made.open()
    calls: list[str] = []
    ask = Node.ask

    def counted(node: Node, method: str, *params: Any, **more: Any) -> Any:
        calls.append(method)
        return ask(node, method, *params, **more)

    reader._chain.node.ask = counted.__get__(reader._chain.node)  # type: ignore[method-assign]
    assert reader.claim(2).terms.bond == 2
    assert len(calls) < 30
    assert len(reader.events(0)) == 3
    assert calls.count("eth_getLogs") < 12


def test_the_pin_of_a_chain_is_that_of_policies(made: Bench) -> None:
    assert isinstance(made.pin, ChainPin)
    assert made.pin.confirmations == 0
