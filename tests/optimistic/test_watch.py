"""The daemons: false claims fall, true ones stand, whatever else happens."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.circuits.graph import Graph, Ints
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.cells import encode
from proofml.optimistic.challenger import Fault
from proofml.optimistic.claim import DEFERRED
from proofml.optimistic.commit import commit_bytes
from proofml.optimistic.encoding import Header
from proofml.optimistic.game import Status
from proofml.optimistic.library import Library
from proofml.optimistic.program import CHUNK
from proofml.optimistic.refusals import IllegalMove
from proofml.optimistic.trace import Machine, Trace

from ..circuits.oracle import Builder, random_graph
from . import liars
from .arena import MONEY, Arena, GriefingWatcher, LyingResponder, events, logged
from .liars import TERMS, Lie, terms_of


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    made = Arena(tmp_path)
    yield made
    if made.ledgers:
        made.audit()
    made.close()


def test_a_true_claim_becomes_final(arena: Arena) -> None:
    trace = arena.machine.run(arena.inputs())
    number = arena.post("claimant", trace)
    watcher, responder = arena.watcher(), arena.responder()
    arena.play(watcher, responder)
    assert "challenge" not in events(watcher)
    assert [line["result"] for line in logged(watcher) if line["event"] == "judged"] == ["true"]
    ledger = arena.ledger("claimant")
    assert ledger.claim(number).status is ClaimStatus.OPEN
    arena.time += TERMS["window"]
    arena.play(watcher, responder)
    assert ledger.claim(number).status is ClaimStatus.FINAL
    assert ledger.balance(arena.account("claimant")) == MONEY
    assert not watcher.follower.claims
    assert not responder.follower.claims


@pytest.mark.parametrize("style", ["early", "late", "middle", "random"])
@pytest.mark.parametrize("seed", range(3))
def test_a_false_claim_falls(arena: Arena, style: str, seed: int) -> None:
    lie = liars.lie_about_activation(arena.machine, arena.inputs(), random.Random(seed))
    number = arena.post("claimant", lie.trace, k_log=1 + seed)
    watcher = arena.watcher()
    liar = arena.agent(LyingResponder, "claimant", lies={number: lie}, style=style)
    arena.play(watcher, liar)
    arena.time += TERMS["clock"] + TERMS["extension"]  # a liar who cannot go on is silent
    arena.play(watcher, liar)
    ledger = arena.ledger("claimant")
    assert ledger.claim(number).status is ClaimStatus.DEFEATED
    burn = TERMS["bond"] * TERMS["burn"] // 10_000
    assert ledger.balance(arena.account("watcher")) == MONEY + TERMS["bond"] - burn
    assert ledger.balance(arena.account("claimant")) == MONEY - TERMS["bond"]
    assert not watcher.follower.claims


@pytest.mark.parametrize("publish", [True, False])
def test_a_claim_without_a_trace(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, publish: bool
) -> None:
    """True: nobody makes a trace until somebody disputes it, and then the claimant makes one."""
    trace = arena.machine.run(arena.inputs())
    number = arena.post("claimant", trace, publish=publish, trace=DEFERRED)
    made: list[Trace] = []
    run = Machine.run

    def running(machine: Machine, inputs: Sequence[Ints]) -> Trace:
        made.append(run(machine, inputs))
        return made[-1]

    monkeypatch.setattr(Machine, "run", running)
    watcher = arena.watcher()
    if not publish:
        arena.play(watcher)
        for chunk in _chunks(arena):
            opening = trace.input(0).opening(chunk)
            arena.ledger("claimant").answer(chunk + 1, *opening, arena.account("claimant"))
    arena.play(watcher)
    assert [line["result"] for line in logged(watcher) if line["event"] == "judged"] == ["true"]
    assert not made
    if not publish:
        return
    responder = arena.responder()
    griefer = arena.agent(GriefingWatcher, "griefer", trace=trace, seed=1)
    arena.play(watcher, responder, griefer)
    assert len(made) == 1
    assert arena.ledger("claimant").dispute(1).trace == trace.root
    assert arena.ledger("claimant").dispute(1).status is Status.WON_BY_CLAIMANT
    arena.time += TERMS["window"]
    arena.play(responder)
    assert arena.ledger("claimant").claim(number).status is ClaimStatus.FINAL


def _chunks(arena: Arena) -> range:
    return range(arena.machine.program.inputs[0].cells.chunks)


@pytest.mark.parametrize("shown", ["lie", "other", "true"])
def test_a_false_claim_without_a_trace_falls(arena: Arena, shown: str) -> None:
    """Whatever trace its claimant shows in the end."""
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(5))
    number = arena.post("claimant", lie.trace, trace=DEFERRED)
    other = liars.lie_about_activation(arena.machine, arena.inputs(), random.Random(6))
    true = Lie(arena.machine.run(arena.inputs()), None)
    told = {"lie": lie, "other": other, "true": true}[shown]
    watcher = arena.watcher()
    liar = arena.agent(LyingResponder, "claimant", lies={number: told}, style="middle")
    arena.play(watcher, liar)
    arena.time += TERMS["clock"] + TERMS["extension"]  # a liar who cannot go on is silent
    arena.play(watcher, liar)
    assert [line["why"] for line in logged(watcher) if line["event"] == "judged"] == [
        Fault.OUTPUT.value
    ]
    assert arena.ledger("claimant").claim(number).status is ClaimStatus.DEFEATED


def test_a_false_claim_without_a_trace_whose_inputs_come_from_the_ledger(arena: Arena) -> None:
    """They are gathered once: the trace against it is made where it is found false."""
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(5))
    number = arena.post("claimant", lie.trace, publish=False, trace=DEFERRED)
    watcher = arena.watcher()
    arena.play(watcher)
    asked = events(watcher).count("request")
    assert asked == len(_chunks(arena))
    ledger, account = arena.ledger("claimant"), arena.account("claimant")
    for request in range(1, 1 + asked):
        ledger.answer(request, *lie.trace.input(0).opening(request - 1), account)
    liar = arena.agent(LyingResponder, "claimant", lies={number: lie})
    arena.play(watcher, liar)
    arena.time += TERMS["clock"] + TERMS["extension"]
    arena.play(watcher, liar)
    assert ledger.claim(number).status is ClaimStatus.DEFEATED
    assert events(watcher).count("request") == asked


def test_an_undisputed_lie_about_the_trace_alone(arena: Arena) -> None:
    """Right outputs: false with the root of another trace, right without one."""
    other = liars.lie_about_activation(arena.machine, arena.inputs(), random.Random(6)).trace
    outputs = arena.machine.run(arena.inputs()).output_roots
    first = arena.post("claimant", other, outputs=outputs)
    second = arena.post("claimant", other, outputs=outputs, trace=DEFERRED)
    watcher = arena.watcher()
    arena.play(watcher)
    judged = {d["claim"]: d["result"] for d in logged(watcher) if d["event"] == "judged"}
    assert judged == {first: "false", second: "true"}


@pytest.mark.parametrize("seed", range(4))
def test_griefers_lose(arena: Arena, seed: int) -> None:
    trace = arena.machine.run(arena.inputs())
    number = arena.post("claimant", trace)
    griefer = arena.agent(GriefingWatcher, "griefer", trace=trace, seed=seed)
    responder = arena.responder()
    arena.play(griefer, responder)
    ledger = arena.ledger("claimant")
    assert ledger.dispute(1).status is Status.WON_BY_CLAIMANT
    arena.time += TERMS["window"]
    arena.play(responder)
    assert ledger.claim(number).status is ClaimStatus.FINAL
    burn = TERMS["challenge_bond"] * TERMS["burn"] // 10_000
    won = TERMS["challenge_bond"] - burn
    assert ledger.balance(arena.account("claimant")) == MONEY + won


def test_a_silent_claimant_loses_by_the_clock(arena: Arena) -> None:
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(0))
    number = arena.post("claimant", lie.trace)
    watcher = arena.watcher()
    arena.play(watcher)
    assert arena.ledger("watcher").dispute(1).status is Status.RUNNING
    arena.time = arena.ledger("watcher").dispute(1).clock.deadline
    watcher.step()
    assert arena.ledger("watcher").dispute(1).status is Status.RUNNING
    arena.time += 1
    arena.play(watcher)
    assert arena.ledger("watcher").claim(number).status is ClaimStatus.DEFEATED
    assert "timeout" in events(watcher)


def test_a_silent_challenger_loses_by_the_clock(arena: Arena) -> None:
    trace = arena.machine.run(arena.inputs())
    arena.post("claimant", trace)
    arena.ledger("griefer").challenge(1, arena.account("griefer"))
    responder = arena.responder()
    arena.play(responder)
    arena.time += TERMS["clock"] + 2
    arena.play(responder)
    assert arena.ledger("griefer").dispute(1).status is Status.WON_BY_CLAIMANT


def test_daemons_that_begin_again_at_every_step(arena: Arena) -> None:
    """Nothing is kept but the ledger: each step is taken by daemons that were just started."""
    lie = liars.lie_about_activation(arena.machine, arena.inputs(), random.Random(3))
    number = arena.post("claimant", lie.trace)
    for _ in range(60):
        for agent in (
            arena.watcher(),
            arena.agent(LyingResponder, "claimant", lies={number: lie}),
        ):
            agent.step()
        arena.time += 1
    arena.time += TERMS["clock"] + TERMS["extension"]
    arena.play(arena.watcher())
    ledger = arena.ledger("claimant")
    assert ledger.claim(number).status is ClaimStatus.DEFEATED
    challenges = [e for e in ledger.events(0) if type(e.action).__name__ == "Challenge"]
    assert len(challenges) == 1


def test_a_trace_that_is_true_and_an_output_that_is_not(arena: Arena) -> None:
    lie = liars.lie_about_stated_output(arena.machine, arena.inputs(), random.Random(1))
    number = arena.post("claimant", lie.trace, **lie.terms)
    watcher = arena.watcher()
    liar = arena.agent(LyingResponder, "claimant", lies={number: lie})
    arena.play(watcher, liar)
    assert "put off" in events(liar)  # the reveal that it cannot make
    arena.time += TERMS["clock"] + TERMS["extension"]
    arena.play(watcher, liar)
    assert arena.ledger("claimant").claim(number).status is ClaimStatus.DEFEATED


# ---------------------------------------------------------------- data
def test_inputs_are_asked_for(arena: Arena) -> None:
    """No proof is published: the watcher gets the inputs from the ledger, and pays for them."""
    lie = liars.lie_about_activation(arena.machine, arena.inputs(), random.Random(2))
    arena.post("claimant", lie.trace)
    (arena.folder / "proofs" / "1.pml").rename(arena.folder / "1.pml")
    watcher = arena.watcher()
    own = arena.library()
    own.places = [arena.folder / "1.pml"]
    liar = arena.agent(LyingResponder, "claimant", lies={1: lie}, library=own)
    arena.play(watcher, liar)
    assert "request" in events(watcher)
    assert "answer" in events(liar)
    assert "challenge" in events(watcher)
    arena.time += TERMS["clock"] + TERMS["extension"]
    arena.play(watcher, liar)
    assert arena.ledger("claimant").claim(1).status is ClaimStatus.DEFEATED
    fee, burn = TERMS["data_fee"], TERMS["bond"] * TERMS["burn"] // 10_000
    balance = arena.ledger("watcher").balance(arena.account("watcher"))
    assert balance == MONEY + TERMS["bond"] - burn - fee


def test_a_claimant_who_withholds_the_inputs_loses(arena: Arena) -> None:
    """Of a true claim as well: what nobody can check must not become final."""
    trace = arena.machine.run(arena.inputs())
    arena.post("claimant", trace, publish=False)
    watcher = arena.watcher()
    arena.play(watcher)
    arena.time = arena.ledger("watcher").requested(1).until
    watcher.step()
    assert arena.ledger("watcher").claim(1).status is ClaimStatus.OPEN
    arena.time += 1
    arena.play(watcher)
    assert arena.ledger("watcher").claim(1).status is ClaimStatus.DEFEATED
    assert "default" in events(watcher)


def test_inputs_that_are_too_expensive_or_too_late(arena: Arena) -> None:
    trace = arena.machine.run(arena.inputs())
    arena.post("claimant", trace, publish=False, data_fee=50)
    arena.post("claimant", trace, publish=False, window=2 * TERMS["answer"])
    watcher, silent = arena.watcher(most_fee=49), arena.watcher("silent", ask=False)
    arena.play(watcher, silent)
    said = [(line["event"], line["claim"]) for line in logged(watcher) if "claim" in line]
    assert ("inputs too expensive", 1) in said
    assert ("too late to ask for inputs", 2) in said
    assert {line["event"] for line in logged(silent)} == {"inputs missing"}
    assert "request" not in events(watcher)


@dataclass
class OneMachine(Library):
    """A library of one program that comes of no ONNX file."""

    only: Machine | None = None

    def knows(self, header: Header) -> bool:
        return True

    def machine(self, header: Header) -> Machine | None:
        return self.only


def narrow() -> Machine:
    """A program of which some bytes are no input: codes from 0 to 99."""
    b = Builder(np.random.default_rng(0))
    value = b.requant(b.input((2, 700), 0, 99))
    return Machine.of(b.graph(value), b.weights)


def test_an_input_beyond_its_range(arena: Arena) -> None:
    """A claim about an input that no tensor of the model's can be: it falls without a dispute."""
    machine = narrow()
    cells = machine.program.inputs[0].cells
    trace = machine.run([np.full(cells.shape, 7, np.int64)])
    data = encode(cells, trace.inputs[0]).copy()
    data[1300], data[1399] = 100, 255
    committed = commit_bytes(data, CHUNK)
    ledger, account = arena.ledger("claimant"), arena.account("claimant")
    terms = terms_of(trace, inputs=(committed.root,))
    ledger.post(terms, liars.header_bytes(machine), account)
    watcher = arena.watcher(library=OneMachine([], arena.context, only=machine))
    arena.play(watcher)
    assert events(watcher) == ["request", "request"]
    for request, chunk in ((1, 0), (2, 1)):
        ledger.answer(request, *committed.opening(chunk), account)
    arena.play(watcher)
    assert ledger.claim(1).status is ClaimStatus.DEFEATED
    assert ledger.claim(1).why == "input 0, cell 1300"


# ---------------------------------------------------------------- trouble
def test_bad_claims_and_files_stop_nothing(arena: Arena) -> None:
    folder = arena.folder / "proofs"
    (folder / "empty.pml").write_bytes(b"")
    (folder / "noise.pml").write_bytes(os.urandom(4096))
    with (folder / "huge.pml").open("wb") as file:
        file.truncate(1 << 40)
    os.mkfifo(folder / "pipe.pml")
    (folder / "folder.pml").mkdir()
    trace = arena.machine.run(arena.inputs())
    arena.post("claimant", trace)
    path = folder / "1.pml"
    path.write_bytes(path.read_bytes()[:-1])  # the true claim's own proof, cut
    unknown = Machine.of(*_tiny())
    header = liars.header_bytes(unknown)
    made = unknown.run([np.zeros(p.cells.shape, np.int64) for p in unknown.program.inputs])
    arena.ledger("claimant").post(terms_of(made), header, arena.account("claimant"))
    lie = liars.lie_about_output(arena.machine, arena.inputs(1), random.Random(0))
    number = arena.post("claimant", lie.trace, 1)
    watcher = arena.watcher()
    arena.play(watcher)
    found = events(watcher)
    assert found.count("proof unreadable") == 6
    assert "unknown program" in found
    assert [d.claim for d in (arena.ledger("watcher").dispute(1),)] == [number]
    arena.play(watcher)
    assert events(watcher).count("proof unreadable") == 6  # said once


def test_absurd_sizes_are_not_executed(arena: Arena) -> None:
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(0))
    arena.post("claimant", lie.trace)
    watcher = arena.watcher(library=arena.library(most_cells=100))
    arena.play(watcher)
    assert events(watcher) == ["unknown program"]


def test_a_claim_that_fails_is_tried_again(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(0))
    first = arena.post("claimant", lie.trace)
    second = arena.post("claimant", lie.trace)
    watcher = arena.watcher()
    true = watcher._ready

    def failing(followed: object, now: int) -> object:
        if getattr(followed, "number", 0) == first and arena.time < start + 20:
            raise MemoryError("no memory")
        return true(followed, now)  # type: ignore[arg-type]

    start = arena.time
    monkeypatch.setattr(watcher, "_ready", failing)
    arena.play(watcher)
    assert [line["claim"] for line in logged(watcher) if line["event"] == "challenge"] == [second]
    tries = 0
    for _ in range(40):
        arena.time += 1
        watcher.step()
        tries = events(watcher).count("put off")
    assert 3 <= tries <= 6  # 2, 4, 8, 16 seconds apart
    assert {line["claim"] for line in logged(watcher) if line["event"] == "challenge"} == {
        first,
        second,
    }


def test_without_money_and_then_with_it(arena: Arena) -> None:
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(0))
    number = arena.post("claimant", lie.trace)
    ledger = arena.ledger("poor", money=0)
    watcher = arena.watcher("poor")
    arena.play(watcher)
    assert "deposit" in next(line["error"] for line in logged(watcher) if "error" in line)
    ledger.deposit(TERMS["challenge_bond"], arena.account("poor"))
    arena.time += 60
    arena.play(watcher)
    assert ledger.dispute(1).claim == number


def test_too_little_time_for_moves(arena: Arena) -> None:
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(0))
    arena.post("claimant", lie.trace, extension=5)
    watcher = arena.watcher(least_extension=6)
    arena.play(watcher)
    assert events(watcher) == ["judged", "too little time for moves"]


def test_too_much_time_for_moves(arena: Arena) -> None:
    """Whoever disputes it has his stake held until its clocks run out."""
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(0))
    arena.post("claimant", lie.trace, clock=1001)
    patient, watcher = arena.watcher("patient", most_clock=1001), arena.watcher(most_clock=1000)
    arena.play(watcher)
    assert events(watcher) == ["judged", "too much time for moves"]
    arena.play(patient)
    assert "challenge" in events(patient)


@pytest.mark.parametrize("trace", ["posted", "deferred"])
def test_no_bond_is_staked_on_onnxruntimes_word(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, trace: str
) -> None:
    """A kernel that saturates would have a watcher dispute true claims: he asks none."""
    asked: list[str] = []

    def wrong(*_: object, **__: object) -> None:
        asked.append("onnxruntime")
        raise AssertionError("a watcher runs onnxruntime")

    for place in ("plain.run_model", "plain.execute", "runtime_trace.run"):
        monkeypatch.setattr(f"proofml.optimistic.{place}", wrong)
    terms: dict[str, Any] = {} if trace == "posted" else {"trace": DEFERRED}
    honest = arena.machine.run(arena.inputs())
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(0))
    true, false = (
        arena.post("claimant", honest, **terms),
        arena.post("claimant", lie.trace, **terms),
    )
    watcher = arena.watcher()
    arena.play(watcher)
    judged = {n["claim"]: n["result"] for n in logged(watcher) if n["event"] == "judged"}
    assert judged == {true: "true", false: "false"}
    ledger = arena.ledger("watcher")
    assert ledger.dispute(1).claim == false
    with pytest.raises(IllegalMove):
        ledger.dispute(2)
    assert asked == []


def test_somebody_else_is_faster(arena: Arena) -> None:
    """Two challengers: the first to win defeats the claim, the other gets its bond back."""
    lie = liars.lie_about_activation(arena.machine, arena.inputs(), random.Random(3))
    number = arena.post("claimant", lie.trace)
    one, other = arena.watcher("one"), arena.watcher("other")
    liar = arena.agent(LyingResponder, "claimant", lies={number: lie})
    arena.play(one, other, liar)
    arena.time += TERMS["clock"] + TERMS["extension"]
    arena.play(one, other, liar)
    ledger = arena.ledger("one")
    assert ledger.claim(number).status is ClaimStatus.DEFEATED
    burn = TERMS["bond"] * TERMS["burn"] // 10_000
    balances = sorted(ledger.balance(arena.account(name)) for name in ("one", "other"))
    assert balances == [MONEY, MONEY + TERMS["bond"] - burn]
    assert not one.follower.claims
    assert not other.follower.claims


def test_a_dispute_lost_by_the_clock_is_fought_again_once(arena: Arena) -> None:
    lie = liars.lie_about_activation(arena.machine, arena.inputs(), random.Random(3))
    number = arena.post("claimant", lie.trace, window=10_000)
    liar = arena.agent(LyingResponder, "claimant", lies={number: lie})
    for attempt in (1, 2):
        watcher = arena.watcher()
        watcher.step()
        arena.play(liar)
        arena.time += TERMS["clock"] + TERMS["extension"]  # the watcher is away
        arena.play(liar)
        assert arena.ledger("claimant").dispute(attempt).status is Status.WON_BY_CLAIMANT
    arena.play(arena.watcher())
    with pytest.raises(IllegalMove):
        arena.ledger("claimant").dispute(3)


def test_many_claims_at_once(arena: Arena) -> None:
    """Bounded memory: traces of claims that are not in dispute are not kept."""
    rng = random.Random(1)
    lies = {}
    for i in range(12):
        inputs = arena.inputs(i)
        if i % 3:
            arena.post("claimant", arena.machine.run(inputs), i)
        else:
            lie = liars.lie_about_activation(arena.machine, inputs, rng)
            lies[arena.post("claimant", lie.trace, i)] = lie
    watcher = arena.watcher()
    liar = arena.agent(LyingResponder, "claimant", lies=lies)
    arena.play(watcher, liar)
    assert all(watcher.traces.get(n) is None for n in range(1, 13) if n not in lies)
    arena.time += TERMS["clock"] + TERMS["extension"]
    arena.play(watcher, liar)
    ledger = arena.ledger("claimant")
    for number in range(1, 13):
        wanted = ClaimStatus.DEFEATED if number in lies else ClaimStatus.OPEN
        assert ledger.claim(number).status is wanted
    arena.time += TERMS["window"]
    arena.play(watcher, liar)
    assert all(ledger.claim(n).status is ClaimStatus.FINAL for n in range(1, 13) if n not in lies)
    assert not watcher.follower.claims
    assert not watcher._judged


def test_balances_are_taken_out(arena: Arena) -> None:
    trace = arena.machine.run(arena.inputs())
    arena.post("claimant", trace)
    responder = arena.responder(withdraw=True)
    arena.play(responder)
    assert arena.ledger("claimant").balance(arena.account("claimant")) == 0
    arena.time += TERMS["window"]
    arena.play(responder)
    assert arena.ledger("claimant").money().withdrawn == MONEY


def test_who_cannot_answer_says_so(arena: Arena) -> None:
    """Without its proof, and for a claim that this model does not give."""
    trace = arena.machine.run(arena.inputs())
    lie = liars.lie_about_output(arena.machine, arena.inputs(1), random.Random(0))
    arena.post("claimant", trace, publish=False)
    arena.post("claimant", lie.trace, 1)
    for number in (1, 2):
        arena.ledger("griefer").challenge(number, arena.account("griefer"))
    responder = arena.responder()
    responder.step()
    errors = " ".join(line["error"] for line in logged(responder) if "error" in line)
    assert "expected a proof about Statement" in errors
    assert "cannot be defended" in errors


def _tiny() -> tuple[Graph, dict[int, Ints]]:
    b = random_graph(7)
    return b.graph(len(b.nodes) - 1), b.weights
