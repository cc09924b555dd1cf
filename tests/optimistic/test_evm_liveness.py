"""Daemons on a chain under attack: what is due goes out at once, and nothing stops the rest.

Blocks are mined by the tests, so that they count what an answer takes, however slow the machine is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from proofml.errors import BackendFailed
from proofml.optimistic import actions, moves
from proofml.optimistic.actions import Action
from proofml.optimistic.agent import Agent
from proofml.optimistic.claim import Terms
from proofml.optimistic.daemon import run
from proofml.optimistic.evm_client import EvmLedger
from proofml.optimistic.evm_rpc import NodeRefuses
from proofml.optimistic.evm_send import Flight
from proofml.optimistic.outbox import Busy
from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.optimistic.wire import WireError

from . import anvil
from .anvil import Anvil
from .arena import Arena, GriefingWatcher, events, logged
from .evm_bench import QUICK, Bench, bench
from .test_watch_hostile import Ended

MANY = 40
DISPUTES = 10


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with anvil.running("--auto-impersonate", "--order", "fifo") as found:
        yield found


@dataclass
class OnChain(Arena):
    """An arena whose ledger is a contract; blocks are mined when a test says so."""

    bench: Bench = field(kw_only=True)

    def ledger(self, name: str, money: int = 0) -> Any:
        return self.bench.ledger(name)

    def account(self, name: str) -> str:
        return self.bench.account(name)

    def reopened(self, name: str, **pins: Any) -> EvmLedger:
        return self.bench.open(name, **pins)

    @property
    def node(self) -> Anvil:
        return self.bench.node

    def manually(self) -> None:
        self.node.rpc("evm_setAutomine", False)

    def launch(self, name: str, wanted: list[Action]) -> list[Flight]:
        """All of them in one block."""
        ledger = cast(EvmLedger, self.ledger(name))
        flights = [ledger.launch(action, self.account(name)) for action in wanted]
        self.node.mine()
        ledger.look(self.account(name))
        assert all(flight.over for flight in flights)
        return flights

    def pending(self) -> int:
        return int(self.node.rpc("txpool_status")["pending"], 16)


@pytest.fixture
def arena(node: Anvil, tmp_path: Path) -> Iterator[OnChain]:
    with bench(node) as made:
        try:
            yield OnChain(tmp_path, bench=made)
        finally:
            node.rpc("evm_setAutomine", True)
            node.mine()


def blocks(arena: OnChain, *agents: Agent, until: Callable[[], bool], most: int) -> int:
    """Steps of all agents with one block after each; how many it took."""
    for count in range(most + 1):
        for agent in agents:
            agent.step()
        if until():
            return count
        arena.node.mine()
    raise AssertionError([logged(agent)[-3:] for agent in agents])


def claimed(arena: OnChain, **terms: Any) -> int:
    terms = {"window": 10**6, "clock": 10**5, "extension": 10**4, "answer": 10**5, **terms}
    return arena.post("claimant", arena.machine.run(arena.inputs()), **terms)


# ---------------------------------------------------------------- many at once
@pytest.mark.parametrize("confirmations", [0, 3])
def test_requests_and_disputes_are_answered_in_one_block(
    arena: OnChain, confirmations: int
) -> None:
    claim = claimed(arena)
    arena.manually()
    asked = arena.launch("attacker", [actions.Ask(claim, 0, 0)] * MANY)
    assert [flight.error for flight in asked] == [None] * MANY
    arena.launch("attacker", [actions.Challenge(claim)] * DISPUTES)
    arena.node.mine(confirmations)
    ledger = arena.reopened("claimant", confirmations=confirmations)
    responder = arena.responder()
    responder.ledger = responder.follower.ledger = ledger
    responder.__post_init__()
    assert responder.step()
    assert arena.pending() == MANY + DISPUTES
    assert not responder.step()  # nothing is sent twice
    assert arena.pending() == MANY + DISPUTES

    def all_told() -> bool:
        found = events(responder)
        return found.count("answer") == MANY and found.count("move") == DISPUTES

    assert blocks(arena, responder, until=all_told, most=confirmations + 3) == confirmations + 1
    assert arena.pending() == 0
    assert not responder.waiting
    assert [ledger.dispute(number).moves for number in range(1, DISPUTES + 1)] == [1] * DISPUTES
    # The claim that was in danger is in none, and what was earned is there.
    state = ledger.claim(claim)
    assert (state.asked, state.running) == (0, DISPUTES)
    assert {"put off", "overtaken"}.isdisjoint(events(responder))


def test_disputes_take_no_longer_side_by_side(arena: OnChain) -> None:
    claim = claimed(arena)
    arena.manually()
    arena.launch("griefer", [actions.Challenge(claim)] * DISPUTES)
    trace = arena.machine.run(arena.inputs())
    griefer = arena.agent(GriefingWatcher, "griefer", trace=trace, seed=3)
    responder = arena.responder()
    ledger = arena.ledger("claimant")

    def far() -> bool:
        return all(ledger.dispute(number).moves >= 4 for number in range(1, DISPUTES + 1))

    assert blocks(arena, responder, griefer, until=far, most=8) <= 5


def test_what_is_due_soonest_is_sent_first(arena: OnChain) -> None:
    later, sooner = claimed(arena, answer=5000), claimed(arena, answer=500)
    arena.manually()
    wanted: list[Action] = [actions.Challenge(later), actions.Ask(later, 0, 0)]
    arena.launch("attacker", [*wanted, actions.Ask(sooner, 0, 0)])
    responder = arena.responder()
    sent: list[Action] = []
    launch = responder.ledger.launch  # type: ignore[attr-defined]

    def noted(action: Action, sender: str) -> Any:
        sent.append(action)
        return launch(action, sender)

    responder.ledger.launch = noted  # type: ignore[attr-defined]
    responder.step()
    kinds = [(type(action).__name__, getattr(action, "request", None)) for action in sent]
    assert kinds == [("Answer", 2), ("Answer", 1), ("Play", None)]


def test_only_so_many_are_under_way(arena: OnChain) -> None:
    claim = claimed(arena)
    arena.manually()
    arena.launch("attacker", [actions.Ask(claim, 0, 0)] * 5)
    ledger = arena.bench.open("claimant", spending=replace(QUICK, most_under_way=3))
    responder = arena.responder()
    responder.ledger = ledger
    responder.__post_init__()
    responder.step()
    assert arena.pending() == 3
    with pytest.raises(Busy):
        ledger.launch(actions.Withdraw(), arena.account("claimant"))
    assert blocks(arena, responder, until=lambda: events(responder).count("answer") == 5, most=4)
    assert "put off" not in events(responder)


# ---------------------------------------------------------------- what fails
def test_one_that_reverts_does_not_stop_the_others(arena: OnChain) -> None:
    claim = claimed(arena, window=50)
    other = claimed(arena)
    arena.node.at(arena.node.time + 60)
    arena.manually()
    first = arena.ledger("first").launch(actions.Finalise(claim), arena.account("first"))
    ledger, account = arena.ledger("second"), arena.account("second")
    # As a node estimates that does not look at what is pending.
    ledger._sender.gas_of = lambda request, what: 1_000_000
    wanted = [actions.Finalise(claim), actions.Challenge(other), actions.Ask(other, 0, 0)]
    flights = [ledger.launch(action, account) for action in wanted]
    assert [flight.nonce for flight in flights] == [0, 1, 2]
    arena.node.mine()
    ledger.look(account)
    arena.ledger("first").look(arena.account("first"))
    assert first.error is None
    errors = [flight.error for flight in flights]
    assert isinstance(errors[0], IllegalMove)
    assert errors[0].refusal is Refusal.CLAIM_CLOSED
    assert errors[1:] == [None, None]
    assert all(flight.over for flight in flights)


@pytest.mark.parametrize("kept", [False, True], ids=["refused", "unknown"])
def test_nonces_after_a_failure_to_send(
    arena: OnChain, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Refused: the next one has its nonce. Nobody knows: it is looked for, and not sent twice."""
    claim = claimed(arena)
    arena.manually()
    ledger, account = arena.reopened("second"), arena.account("second")
    node = ledger._chain.node
    ask, sent = node.ask, [0]

    def failing(method: str, *params: Any, **more: Any) -> Any:
        if method == "eth_sendRawTransaction":
            sent[0] += 1
            if sent[0] == 2:
                if kept:
                    ask(method, *params, **more)
                    raise BackendFailed("the connection broke")
                raise NodeRefuses(-32000, "not now", None)
        return ask(method, *params, **more)

    monkeypatch.setattr(node, "ask", failing)
    flights = [ledger.launch(actions.Ask(claim, 0, 0), account)]
    if kept:
        flights.append(ledger.launch(actions.Ask(claim, 0, 0), account))
    else:
        with pytest.raises(BackendFailed, match="not now"):
            ledger.launch(actions.Ask(claim, 0, 0), account)
    flights.append(ledger.launch(actions.Ask(claim, 0, 0), account))
    assert [flight.nonce for flight in flights] == list(range(len(flights)))
    assert ledger.settled(account)
    arena.node.mine()
    ledger.look(account)
    assert [flight.error for flight in flights] == [None] * len(flights)
    assert all(flight.over for flight in flights)
    assert ledger.claim(claim).asked == len(flights)
    assert int(arena.node.rpc("eth_getTransactionCount", account, "latest"), 16) == len(flights)


def test_one_that_was_not_sent_is_sent_again(
    arena: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node never got the first: the second waits in its queue until it has it."""
    claim = claimed(arena)
    arena.manually()
    ledger, account = arena.reopened("second"), arena.account("second")
    node = ledger._chain.node
    ask, sent = node.ask, [0]

    def failing(method: str, *params: Any, **more: Any) -> Any:
        if method == "eth_sendRawTransaction":
            sent[0] += 1
            if sent[0] == 1:
                raise BackendFailed("no route")
        return ask(method, *params, **more)

    monkeypatch.setattr(node, "ask", failing)
    flights = [ledger.launch(actions.Ask(claim, 0, 0), account) for _ in range(2)]
    arena.node.mine()
    ledger.look(account)
    assert not any(flight.over for flight in flights)
    arena.node.mine()
    ledger.look(account)
    assert [flight.error for flight in flights] == [None, None]
    assert all(flight.over for flight in flights)


def test_who_begins_again_sends_nothing_twice(arena: OnChain) -> None:
    """Killed between sending and noting: the next process first sees what became of it."""
    claim = claimed(arena)
    arena.manually()
    arena.launch("attacker", [actions.Ask(claim, 0, 0)] * 4)
    killed = arena.responder()
    killed.step()
    assert arena.pending() == 4
    second = arena.agent(type(killed), "claimant")
    second.ledger = arena.reopened("claimant")
    second.__post_init__()
    for _ in range(3):
        assert not second.step() or "answer" not in events(second)
        assert second.waiting
        assert arena.pending() == 4
    arena.node.mine()
    second.step()
    assert arena.pending() == 0
    assert not second.waiting
    assert arena.ledger("attacker").claim(claim).asked == 0
    account = arena.account("claimant")
    assert int(arena.node.rpc("eth_getTransactionCount", account, "latest"), 16) == 1 + 4


# ---------------------------------------------------------------- history that changes
class Counted:
    """Metrics in a list."""

    def __init__(self) -> None:
        self.counted: list[str] = []

    def count(self, name: str, **labels: str) -> None:
        del labels
        self.counted.append(name)

    def set(self, name: str, value: float) -> None:
        del name, value


def test_a_reorganisation_does_not_end_a_daemon(arena: OnChain) -> None:
    kept = claimed(arena)
    gone = claimed(arena, bond=5)
    metrics = Counted()
    watcher = arena.watcher(metrics=metrics)
    watcher.step()
    assert set(watcher.follower.claims) == {kept, gone}
    arena.node.rpc("anvil_reorg", 1, [])
    arena.node.mine()
    run(watcher, poll=0.01, once=True, stop=Ended(20))
    assert set(watcher.follower.claims) == {kept}
    assert events(watcher).count("reorganised") == 1
    assert metrics.counted.count("reorganisations") == 1
    # It goes on from there.
    again = claimed(arena, bond=6)
    assert again == gone
    watcher.step()
    assert watcher.follower.claims[again].claim.terms.bond == 6
    assert [line["claim"] for line in logged(watcher) if line["event"] == "judged"] == [
        kept,
        gone,
        kept,
        again,
    ]


# ---------------------------------------------------------------- what cannot be read
def test_a_claim_that_cannot_be_read_stops_nobody(
    arena: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contract took it, and what others do about it; this package cannot read it."""
    strange, plain = claimed(arena, bond=66), claimed(arena)
    asked = arena.ledger("attacker").request(strange, 0, 0, arena.account("attacker"))
    opening = arena.machine.run(arena.inputs()).input(0).opening(0)
    arena.ledger("claimant").answer(asked, *opening, arena.account("claimant"))
    arena.ledger("attacker").challenge(strange, arena.account("attacker"))
    last = claimed(arena)
    read = Terms.read

    def reading(data: bytes) -> Terms:
        found = read(data)
        if found.bond == 66:
            raise WireError("terms: of a newer version")
        return found

    monkeypatch.setattr(Terms, "read", staticmethod(reading))
    metrics = Counted()
    watcher = arena.watcher(metrics=metrics)
    watcher.ledger = arena.reopened("watcher")
    watcher.__post_init__()
    for _ in range(2):
        watcher.step()
    assert set(watcher.follower.claims) == {plain, last}
    assert [line["claim"] for line in logged(watcher) if line["event"] == "judged"] == [plain, last]
    told = [line for line in logged(watcher) if line["event"] == "event unreadable"]
    assert [line["claim"] for line in told] == [strange, strange, strange]
    assert "newer version" in told[0]["detail"]
    assert metrics.counted.count("events_unreadable") == 3
    assert metrics.counted.count("errors") == 0


def test_a_move_that_cannot_be_read_stops_no_other_dispute(
    arena: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claimed(arena)
    griefer, account = arena.ledger("griefer"), arena.account("griefer")
    for _ in range(3):
        griefer.challenge(claim, account)
    responder = arena.responder()
    while responder.step() or responder.waiting:
        pass
    for dispute, chosen in ((1, 1), (2, 0), (3, 0)):
        griefer.move(dispute, moves.Select(chosen), account)
    unreadable, read = moves.to_bytes(moves.Select(1)), moves.read_move

    def reading(data: bytes) -> moves.Move:
        if data == unreadable:
            raise WireError("move: kind: expected 1 to 11, got 12")
        return read(data)

    monkeypatch.setattr(moves, "read_move", reading)
    fresh = arena.responder()
    fresh.ledger = arena.reopened("claimant")
    fresh.__post_init__()
    for _ in range(3):
        while fresh.step() or fresh.waiting:
            pass
    followed = fresh.follower.claims[claim]
    assert followed.lost == {1}
    assert not followed.unread
    told = [line for line in logged(fresh) if line["event"] == "event unreadable"]
    assert [line["dispute"] for line in told] == [1]
    assert [fresh.ledger.dispute(number).moves for number in (2, 3)] == [3, 3]
    # Nothing is asked of it either when the claim's bonds are settled.
    assert fresh.follower.to_release(followed) == []


def test_random_bytes_are_no_reason_to_stop(arena: OnChain) -> None:
    """Whatever a log of the contract holds, it is an event or one that cannot be read."""
    claimed(arena)
    rng = random.Random(0)
    ledger = arena.reopened("watcher")
    reader = ledger._events
    at = ledger._chain.confirmed()
    (log,) = ledger._chain.logs(0, at.number, ledger._chain.topic("Posted"))
    for _ in range(50):
        terms = bytearray(log.values["terms"])
        terms[rng.randrange(len(terms))] = rng.randrange(256)
        cut = bytes(terms[: rng.randrange(len(terms) + 1)])
        found = reader._done(replace(log, values={**log.values, "terms": cut}), None, at)
        assert found is not None
