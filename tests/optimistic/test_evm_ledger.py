"""The ledger on a chain: pins, the money of accounts, confirmations, reorganisations, kills."""

from __future__ import annotations

import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from proofml.errors import BackendFailed, BackendUnavailable, UsageError, VerificationError
from proofml.optimistic import actions, evm_ledger, moves
from proofml.optimistic.book import ClaimStatus, RequestStatus
from proofml.optimistic.evm_abi import artefact
from proofml.optimistic.game import Status
from proofml.optimistic.moves import Opening
from proofml.optimistic.refusals import IllegalMove, Refusal

from . import anvil
from .anvil import CHAIN_ID, RICH, Anvil
from .claims import Run, false_run, honest
from .evm_bench import QUICK, Bench, bench
from .evm_worlds import deploy
from .players import Challenger, Claimant, Griefer, Liar
from .tiny import Tensor

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


# ---------------------------------------------------------------- pins
def test_what_was_deployed_is_what_is_pinned(made: Bench) -> None:
    assert made.pin.code_sha256 == artefact().code_sha256
    with made.open() as ledger:
        assert ledger.identity == {
            "kind": "evm",
            "chain_id": CHAIN_ID,
            "contract": made.pin.contract,
        }
        assert ledger.account is None
    assert made.open("a", "b").account == made.account("a")
    made.open(code_sha256=None)


def test_each_pin_is_refused_by_an_error_of_its_own(made: Bench) -> None:
    other = deploy(made.node, artefact("ContentVerifier"), made.pin.contract, (0,) * 8, bytes(32))
    for pins, said in (
        ({"chain_id": 1}, r"the node's chain; expected 1; got 31337"),
        ({"contract": "0x" + "12" * 20}, "expected code at this address; got none"),
        ({"contract": other}, f"code of contract {other} .*; expected"),
        ({"code_sha256": "ab" * 32}, f"code of contract {made.pin.contract}.*; expected abab"),
        ({"confirmations": 1 << 20}, "for so many confirmations; expected 1048576"),
    ):
        for names in ((), ("a",)):
            with pytest.raises(VerificationError, match=said) as caught:
                made.open(*names, **pins)
            assert caught.value.check == "optimistic.11"


def test_nobody_there(made: Bench) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    for names in ((), ("a",)):
        with pytest.raises(BackendUnavailable, match="does a node run there"):
            made.open(*names, rpc=url)
    with pytest.raises(UsageError, match="expected an address"):
        made.open(rpc="node.example:8545")


def test_without_the_library(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if "optimistic.evm_" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "web3", None)
    monkeypatch.setitem(sys.modules, "eth_account", None)
    with pytest.raises(BackendUnavailable, match=r"proofml\[evm\]"):
        evm_ledger.open_chain(made.pin)


def test_deploying_on_another_chain(made: Bench) -> None:
    with pytest.raises(UsageError, match="expected chain 1, got 31337"):
        evm_ledger.deploy(made.node.url, 1, made.key("a"))


# ---------------------------------------------------------------- a claim's life
def wei(made: Bench, name: str) -> int:
    return int(made.node.rpc("eth_getBalance", made.account(name), "latest"), 16)


def test_money_goes_where_it_belongs(made: Bench) -> None:
    false, true = false_run("network", "cell", 3), honest("network")
    claim = made.post(false, bond=BOND, challenge_bond=STAKE, burn=2500)
    assert RICH - wei(made, "claimant") >= BOND
    dispute = made.challenge(claim)
    held = int(made.node.rpc("eth_getBalance", made.pin.contract, "latest"), 16)
    assert held == BOND + STAKE
    state = made.play(dispute, Liar(false, random.Random(1)), Challenger(true))
    assert state.status is Status.WON_BY_CHALLENGER
    challenger, reader = made.account("challenger"), made.open()
    claimed = reader.claim(claim)
    assert (claimed.status, claimed.why) == (ClaimStatus.DEFEATED, f"dispute {dispute}")
    won = STAKE + BOND - BOND // 4
    assert reader.balance(challenger) == won
    before = wei(made, "challenger")
    assert made.ledger("challenger").withdraw(challenger) == won
    assert before < wei(made, "challenger") <= before + won
    assert reader.balance(challenger) == 0
    with refused(Refusal.NOTHING):
        made.ledger("challenger").withdraw(challenger)
    assert reader.balance("0x" + "0" * 40) == BOND // 4
    kinds = [type(event.action).__name__ for event in reader.events(0)]
    assert kinds[:2] == ["Post", "Challenge"]
    assert kinds[2:] == ["Play"] * state.moves + ["Withdraw"]
    assert reader.events(0)[-1].result == won


def test_an_honest_claim_becomes_final(made: Bench) -> None:
    run = honest("network")
    claim = made.post(run, bond=BOND, challenge_bond=STAKE, burn=0, window=1000)
    dispute = made.challenge(claim)
    with refused(Refusal.WINDOW_OPEN):
        made.ledger("anybody").finalise(claim, made.account("anybody"))
    state = made.play(dispute, Claimant(run), Griefer(run, random.Random(4)))
    assert state.status is Status.WON_BY_CLAIMANT
    made.node.at(made.node.time + 1001)
    made.ledger("anybody").finalise(claim, made.account("anybody"))
    assert made.open().claim(claim).status is ClaimStatus.FINAL
    assert made.open().balance(made.account("claimant")) == BOND + STAKE
    last = made.open().events(0)[-1]
    assert (last.action, last.sender) == (actions.Finalise(claim), "")
    with refused(Refusal.CLAIM_CLOSED):
        made.challenge(claim)


def test_silence_loses_by_the_clock(made: Bench) -> None:
    claim = made.post(honest("network"), bond=BOND, challenge_bond=STAKE)
    dispute = made.challenge(claim)
    watcher = made.account("anybody")
    with refused(Refusal.EARLY):
        made.ledger("anybody").timeout(dispute, watcher)
    made.node.at(made.node.time + 10**5 + 2)
    late = moves.DisputeCells()
    with refused(Refusal.NOT_YOUR_TURN):
        made.ledger("challenger").move(dispute, late, made.account("challenger"))
    with refused(Refusal.LATE):
        made.ledger("claimant").move(dispute, late, made.account("claimant"))
    made.ledger("anybody").timeout(dispute, watcher)
    state = made.open().dispute(dispute)
    assert (state.status, state.moves) == (Status.WON_BY_CHALLENGER, 0)
    assert "no move in time" in state.why
    assert made.open().events(0)[-1].action == actions.TimeOut(dispute)
    with refused(Refusal.DISPUTE_CLOSED):
        made.ledger("anybody").timeout(dispute, watcher)


def test_other_disputes_of_a_defeated_claim_are_released(made: Bench) -> None:
    claim = made.post(honest("network"), challenge_bond=STAKE)
    first, second = made.challenge(claim), made.challenge(claim, "second")
    asked = made.ledger("asker").request(claim, 0, 0, made.account("asker"))
    with refused(Refusal.CLAIM_OPEN):
        made.ledger("second").release(second, made.account("second"))
    made.node.at(made.node.time + 10**5 + 2)
    made.ledger("second").timeout(first, made.account("second"))
    state = made.open().dispute(second)
    assert (state.status, state.why) == (Status.CANCELLED, "the claim was defeated")
    made.ledger("second").release(second, made.account("second"))
    made.ledger("second").release_request(asked, made.account("second"))
    assert made.open().dispute(second).status is Status.CANCELLED
    assert made.open().requested(asked).status is RequestStatus.RELEASED
    assert made.open().balance(made.account("second")) == STAKE
    assert made.open().balance(made.account("asker")) == 7
    with refused(Refusal.DISPUTE_CLOSED):
        made.ledger("second").release(second, made.account("second"))
    made.ledger("asker").withdraw(made.account("asker"))
    released = made.open().events(0)[-3:]
    assert [event.action for event in released[:2]] == [
        actions.Release(second),
        actions.ReleaseRequest(asked),
    ]


# ---------------------------------------------------------------- data
def test_data_is_asked_for_and_given(made: Bench) -> None:
    run = honest("network")
    claim = made.post(run, window=1000, answer=100)
    asker, claimant = made.account("asker"), made.account("claimant")
    tensor = run.inputs[0]
    with refused(Refusal.NO_INPUT):
        made.ledger("asker").request(claim, 0, 99, asker)
    number = made.ledger("asker").request(claim, 0, 0, asker)
    state = made.open().requested(number)
    assert (state.claim, state.requester, state.status) == (claim, asker, RequestStatus.OPEN)
    chunk, path = tensor.chunk(0), tensor.tree.path(0)
    with refused(Refusal.NO_DATA):
        made.ledger("claimant").answer(number, chunk[:-1] + b"\xff", path, claimant)
    with refused(Refusal.NOT_CLAIMANT):
        made.ledger("asker").answer(number, chunk, path, asker)
    made.ledger("claimant").answer(number, chunk, path, claimant)
    assert made.open().requested(number).status is RequestStatus.ANSWERED
    assert made.open().balance(claimant) == 7
    last = made.open().events(0)[-1]
    assert (last.action, last.sender) == (actions.Answer(number, chunk, tuple(path)), claimant)
    with refused(Refusal.REQUEST_CLOSED):
        made.ledger("claimant").answer(number, chunk, path, claimant)


def test_data_that_never_comes(made: Bench) -> None:
    claim = made.post(honest("network"), bond=BOND, burn=0, window=1000, answer=100)
    asker = made.account("asker")
    number = made.ledger("asker").request(claim, 0, 0, asker)
    with refused(Refusal.EARLY):
        made.ledger("asker").default(number, asker)
    made.node.at(made.node.time + 102)
    made.ledger("asker").default(number, asker)
    state = made.open().claim(claim)
    assert (state.status, state.why) == (ClaimStatus.DEFEATED, f"request {number}")
    assert made.open().requested(number).status is RequestStatus.DEFAULTED
    assert made.open().balance(asker) == BOND + 7
    assert made.open().events(0)[-1].action == actions.Default(number)


def beyond_range() -> tuple[Run, int, Opening]:
    """A run whose first input has a cell that no tensor of the program can have."""
    run = honest("network")
    cells = run.inputs[0].cells
    data = bytearray(run.inputs[0].data)
    data[5 * cells.width] = 255
    tensor = Tensor.raw(cells, bytes(data))
    bad = Run.of(run.tiny, run.given, run.values, inputs={0: tensor})
    leaf = 5 * cells.width // 1024
    return bad, 5, Opening(leaf, tensor.chunk(leaf), tensor.tree.path(leaf))


def test_an_input_that_is_none(made: Bench) -> None:
    run, cell, opening = beyond_range()
    claim = made.post(run, bond=BOND, burn=0)
    anybody = made.account("anybody")
    ledger = made.ledger("anybody")
    for refusal, number, at, shown in (
        (Refusal.NO_INPUT, 7, cell, opening),
        (Refusal.NO_INPUT, 0, 1 << 20, opening),
        (Refusal.IN_RANGE, 0, cell + 1, opening),
        (Refusal.OPENING, 0, cell, replace(opening, index=1)),
        (Refusal.OPENING, 0, cell, replace(opening, leaf=opening.leaf[:-1])),
        (Refusal.UNKNOWN, 0, cell, opening),
    ):
        with refused(refusal):
            wanted = claim + 1 if refusal is Refusal.UNKNOWN else claim
            ledger.prove_input_range(wanted, number, at, shown, anybody)
    ledger.prove_input_range(claim, 0, cell, opening, anybody)
    state = made.open().claim(claim)
    assert (state.status, state.why) == (ClaimStatus.DEFEATED, f"input 0, cell {cell}")
    last = made.open().events(0)[-1]
    assert (last.action, last.sender) == (actions.InputRange(claim, 0, cell, opening), anybody)
    assert made.open().balance(anybody) == BOND


# ---------------------------------------------------------------- refusals
def test_what_cannot_be_done(made: Bench) -> None:
    run = honest("network")
    claimant = made.account("claimant")
    ledger = made.ledger("claimant")
    with pytest.raises(UsageError, match="opened to be read"):
        made.open().finalise(1, claimant)
    with pytest.raises(UsageError, match="no key for"):
        ledger.finalise(1, made.account("other"))
    with pytest.raises(UsageError, match="40 hexadecimal digits"):
        ledger.balance("claimant")
    reads: tuple[Callable[[], object], ...] = (
        lambda: ledger.claim(1),
        lambda: ledger.dispute(1),
        lambda: ledger.requested(1),
        lambda: ledger.claim(-1),
        lambda: ledger.claim(1 << 64),
        lambda: ledger.challenge(1, claimant),
        lambda: ledger.request(1, 0, 0, claimant),
        lambda: ledger.answer(1, b"", (), claimant),
        lambda: ledger.move(1, moves.DisputeCells(), claimant),
        lambda: ledger.finalise(1, claimant),
        lambda: ledger.finalise(-1, claimant),
        lambda: ledger.release(1 << 256, claimant),
        lambda: ledger.default(0, claimant),
        lambda: ledger.release_request(-1, claimant),
        lambda: ledger.timeout(1, claimant),
        lambda: ledger.release(1, claimant),
        lambda: ledger.default(1, claimant),
        lambda: ledger.release_request(1, claimant),
    )
    for read in reads:
        with refused(Refusal.UNKNOWN):
            read()
    assert ledger.events(0) == []
    terms = run.terms()
    passed = (*terms.outputs[:-1], bytes(32))
    for refusal, changed, header in (
        (Refusal.TERMS, replace(terms, burn=10_001), run.header),
        (Refusal.PROGRAM, replace(terms, program=bytes(32)), run.header),
        (Refusal.HEADER, replace(terms, outputs=terms.outputs[:-1]), run.header),
        (Refusal.PASSED_THROUGH, replace(terms, outputs=passed), run.header),
        (Refusal.FUNDS, replace(terms, bond=RICH + 1), run.header),
    ):
        with refused(refusal):
            ledger.post(changed, header, claimant)
    assert ledger.events(0) == []


def test_who_has_no_money(made: Bench) -> None:
    claim = made.post(honest("network"), challenge_bond=STAKE)
    poor = made.account("poor")
    for wei_ in (0, STAKE - 1, STAKE + 1):  # the last one cannot pay the gas
        made.node.fund(poor, wei_)
        with refused(Refusal.FUNDS):
            made.ledger("poor").challenge(claim, poor)
    made.node.fund(poor, 2 * STAKE)
    made.ledger("poor").challenge(claim, poor)


def test_gas_that_is_too_dear(made: Bench) -> None:
    run = honest("network")
    cheap = made.open("claimant", spending=replace(QUICK, most_gas=100_000))
    with pytest.raises(BackendFailed, match="more than the 100000 allowed"):
        cheap.post(run.terms(), run.header, made.account("claimant"))
    cheap = made.open("claimant", spending=replace(QUICK, most_fee=1))
    with pytest.raises(BackendFailed, match="more than the 1 allowed"):
        cheap.post(run.terms(), run.header, made.account("claimant"))
    assert made.open().events(0) == []


# ---------------------------------------------------------------- confirmations, reorganisations
def test_readers_see_what_is_confirmed(made: Bench) -> None:
    made.node.mine(3)
    reader = made.open(confirmations=3)
    claim = made.post(honest("network"))
    for _ in range(3):
        with refused(Refusal.UNKNOWN):
            reader.claim(claim)
        assert reader.events(0) == []
        made.node.mine()
    assert reader.claim(claim).status is ClaimStatus.OPEN
    assert len(reader.events(0)) == 1
    assert reader.now() == made.node.time


def test_who_acts_waits_for_the_confirmations(made: Bench) -> None:
    run = honest("network")
    made.node.mine(2)
    ledger = made.open("claimant", confirmations=2)
    posted: list[int] = []

    def post() -> None:
        posted.append(ledger.post(run.terms(), run.header, made.account("claimant")))

    thread = threading.Thread(target=post)
    thread.start()
    height = made.node.height
    while made.node.height == height:
        time.sleep(0.01)
    time.sleep(0.3)
    assert not posted
    made.node.mine(2)
    thread.join(20)
    assert posted == [1]


def test_a_reorganisation_below_what_was_read(made: Bench) -> None:
    """Events that were handed out are no longer what happened; claims are read anew."""
    run = honest("network")
    kept = made.post(run)
    made.node.mine(2)
    reader, deep = made.open(), made.open(confirmations=1)
    assert deep.claim(kept).posted == reader.claim(kept).posted
    gone = made.post(run, bond=5)
    dispute = made.challenge(gone)
    assert len(reader.events(0)) == 3
    assert len(deep.events(0)) == 2
    assert reader.dispute(dispute).challenger == made.account("challenger")
    made.node.rpc("anvil_reorg", 1, [])
    with refused(Refusal.UNKNOWN):
        reader.dispute(dispute)
    assert reader.claim(gone).terms.bond == 5
    for _ in range(2):
        with pytest.raises(VerificationError, match="pin more confirmations") as caught:
            reader.events(3)
        assert caught.value.check == "optimistic.11"
    assert deep.events(2) == []
    assert [type(event.action).__name__ for event in made.open().events(0)] == ["Post", "Post"]
    # Another one takes the number: nothing of the first is remembered.
    again = made.challenge(kept, "second")
    assert again == dispute
    state = reader.dispute(again)
    assert (state.claim, state.challenger) == (kept, made.account("second"))


def test_a_dispute_whose_moves_are_reorganised(made: Bench) -> None:
    run = honest("network")
    claim = made.post(run)
    dispute = made.challenge(claim)
    player = Claimant(run)
    reader = made.open()
    made.play(dispute, player, Griefer(run, random.Random(0)), most=3)
    assert reader.dispute(dispute).moves == 3
    made.node.rpc("anvil_reorg", 2, [])
    assert reader.dispute(dispute).moves == 1
    state = made.play(dispute, player, Griefer(run, random.Random(9)))
    assert reader.dispute(dispute) == state
    assert state.status is Status.WON_BY_CLAIMANT
