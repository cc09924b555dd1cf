"""Whole disputes over real programs: whoever is right wins, wherever the lie is."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.circuits.graph import Ints
from proofml.circuits.onnx import compile_model
from proofml.optimistic import game
from proofml.optimistic.book import ClaimState
from proofml.optimistic.challenger import Challenger, Fault, fault_of
from proofml.optimistic.claim import DEFERRED, Terms
from proofml.optimistic.claimant import Claimant
from proofml.optimistic.clock import Side
from proofml.optimistic.commit import header_of
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.moves import Move
from proofml.optimistic.players import Player, View
from proofml.optimistic.refusals import IllegalMove
from proofml.optimistic.trace import Machine, Trace

from ..circuits.models import load
from ..circuits.oracle import Builder, random_graph
from ..circuits.random_graphs import random_graph as random_model
from . import liars
from .liars import Griefer, Liar, Lie, compiled_digits, digit_inputs, digits, terms_of

LIES: dict[str, Callable[[Machine, Sequence[Ints], random.Random], Lie]] = {
    "activation": liars.lie_about_activation,
    "output": liars.lie_about_output,
    "stated output": liars.lie_about_stated_output,
    "wiring": liars.lie_about_wiring,
}


@dataclass
class Played:
    """A dispute at its end, with all that was done in it."""

    dispute: DisputeState
    moves: tuple[Move, ...]
    refused: IllegalMove | None = None

    @property
    def status(self) -> Status:
        return self.dispute.status


def play(
    terms: Terms, machine: Machine, claimant: Player, challenger: Player, *, anew: bool = False
) -> Played:
    """Until somebody wins; a side that has no legal move loses by its clock.

    Args:
        anew: make the players again before each move, as if they had been killed.
    """
    header = header_of(machine.program)
    claim = ClaimState(terms, header, "claimant", 0)
    now = 1
    dispute = game.start(1, "claimant", "challenger", terms, header, now)
    made: tuple[Move, ...] = ()
    most = game.most_moves(machine.program, terms.k_log)
    while dispute.status is Status.RUNNING:
        assert len(made) < most
        view = View(claim, dispute, made)
        side = dispute.clock.turn
        player = claimant if side is Side.CLAIMANT else challenger
        other = challenger if side is Side.CLAIMANT else claimant
        assert other.next_move(view) is None
        if anew:
            player = replace(player)  # type: ignore[type-var]
            player.trace.forget()  # type: ignore[attr-defined]
        move = player.next_move(view)
        sender = dispute.account(side)
        try:
            assert move is not None
            dispute = game.play(dispute, terms, header, sender, move, now)
        except (IllegalMove, AssertionError) as error:
            late = game.time_out(dispute, dispute.clock.deadline + 1)
            return Played(late, made, error if isinstance(error, IllegalMove) else None)
        made += (move,)
        now += 1
    return Played(dispute, made)


def check(machine: Machine, inputs: Sequence[Ints], lie: Lie, seed: int, k_log: int) -> Played:
    """An honest challenger finds the lie and wins, however the liar invents his states.

    With the trace's root in the claim, or where an output is wrong, for every other seed, without.
    """
    terms = terms_of(lie.trace, k_log=k_log, **lie.terms)
    honest = machine.run(inputs)
    shown = terms.outputs != honest.output_roots
    if shown and seed % 2:
        terms = replace(terms, trace=DEFERRED)
        assert fault_of(terms, machine.execute(inputs)) is Fault.OUTPUT
    assert fault_of(terms, honest) is (Fault.OUTPUT if shown else Fault.TRACE)
    return beaten(terms, lie.trace, honest, seed)


def beaten(terms: Terms, told: Trace, honest: Trace, seed: int) -> Played:
    """A liar with this trace against somebody who ran the program."""
    rng = random.Random(seed)
    style = rng.choice(["early", "late", "middle", "random"])
    found = play(terms, honest.machine, Liar(told, rng, style), Challenger(honest))
    assert found.status is Status.WON_BY_CHALLENGER, found.dispute.why
    return found


@pytest.mark.parametrize("k_log", [1, 2, 4, 6])
@pytest.mark.parametrize("name", LIES)
def test_lies_about_the_digits(name: str, k_log: int) -> None:
    machine = digits()
    inputs = digit_inputs(machine)
    for seed in range(6):
        lie = LIES[name](machine, inputs, random.Random(seed))
        check(machine, inputs, lie, seed, k_log)


def test_lie_about_a_weight_of_the_digits() -> None:
    machine, compiled = digits(), compiled_digits()
    inputs = digit_inputs(machine)
    for seed in range(6):
        lie = liars.lie_about_weight(compiled)(machine, inputs, random.Random(seed))
        check(machine, inputs, lie, seed, 3)


@pytest.mark.parametrize("k_log", [1, 3, 5])
def test_griefers_lose(k_log: int) -> None:
    machine = digits()
    trace = machine.run(digit_inputs(machine))
    terms = terms_of(trace, k_log=k_log)
    assert fault_of(terms, trace) is None
    for seed in range(20):
        griefer = Griefer(trace, random.Random(seed))
        terms = terms_of(trace, k_log=k_log, **({"trace": DEFERRED} if seed % 2 else {}))
        found = play(terms, machine, Claimant(trace), griefer)
        assert found.status is Status.WON_BY_CLAIMANT, found.dispute.why


def test_players_that_were_killed_go_on() -> None:
    """Made again before each move, from nothing but the ledger's words and their own trace."""
    machine = digits()
    inputs = digit_inputs(machine)
    honest = machine.run(inputs)
    for name, lie in LIES.items():
        told = lie(machine, inputs, random.Random(5))
        terms = terms_of(told.trace, **told.terms)
        whole = play(terms, machine, Claimant(told.trace), Challenger(honest))
        parts = play(terms, machine, Claimant(told.trace), Challenger(honest), anew=True)
        assert whole.moves == parts.moves, name
        assert parts.status is Status.WON_BY_CHALLENGER


def test_a_cell_out_of_range_is_shown_at_once() -> None:
    machine = digits()
    inputs = digit_inputs(machine)
    honest = machine.run(inputs)
    operator = next(
        i
        for i, o in enumerate(machine.program.operators)
        if o.cells.high - o.cells.low < (1 << 8 * o.cells.width) - 1
    )
    cells = machine.program.operators[operator].cells
    wrong = honest.tensor(operator).copy()
    wrong.flat[0] = cells.high + 1
    lie = machine.run(inputs, given={operator: wrong})
    found = play(terms_of(lie), machine, Claimant(lie), Challenger(honest))
    assert found.status is Status.WON_BY_CHALLENGER
    assert type(found.moves[-1]).__name__ == "ProveRange"


def test_wiring_is_found_by_the_producers_leaf() -> None:
    machine = digits()
    inputs = digit_inputs(machine)
    kinds = set()
    for seed in range(12):
        lie = liars.lie_about_wiring(machine, inputs, random.Random(seed))
        for k_log in (1, 2, 6):
            found = check(machine, inputs, lie, seed, k_log)
            kinds.add(type(found.moves[-1]).__name__)
    assert "ProveWiring" in kinds


def test_a_stated_output_that_no_leaf_has() -> None:
    """The trace is true: the claimant is led to the output's operator, and cannot reveal it."""
    machine = digits()
    inputs = digit_inputs(machine)
    lie = liars.lie_about_stated_output(machine, inputs, random.Random(1))
    found = check(machine, inputs, lie, 1, 2)
    assert found.refused is not None
    assert found.refused.refusal.name == "OUTPUT_ROOT"


@pytest.mark.parametrize("k_log", [1, 2, 6])
def test_another_trace_for_each_dispute(k_log: int) -> None:
    """Of one false output: the true trace, that of the lie, or one of something else."""
    machine = digits()
    inputs = digit_inputs(machine)
    honest = machine.run(inputs)
    told = liars.lie_about_output(machine, inputs, random.Random(3))
    terms = terms_of(told.trace, k_log=k_log, trace=DEFERRED)
    assert fault_of(terms, machine.execute(inputs)) is Fault.OUTPUT
    for seed in range(3):
        rng = random.Random(seed)
        beaten(terms, told.trace, honest, seed)
        for lie in (liars.lie_about_activation, liars.lie_about_wiring):
            beaten(terms, lie(machine, inputs, rng).trace, honest, seed)
        beaten(terms, machine.run(digit_inputs(machine, 1 + seed)), honest, seed)
        found = beaten(terms, honest, honest, seed)
        assert found.refused is not None
        assert found.refused.refusal.name == "OUTPUT_ROOT"


def test_right_outputs_and_another_trace() -> None:
    """False where its root was posted; without one there is nothing false, and still no defence."""
    machine = digits()
    inputs = digit_inputs(machine)
    honest = machine.run(inputs)
    for seed in range(4):
        told = liars.lie_about_activation(machine, inputs, random.Random(seed)).trace
        posted = terms_of(told, outputs=honest.output_roots)
        assert fault_of(posted, honest) is Fault.TRACE
        with pytest.raises(ValueError, match="trace"):
            fault_of(posted, machine.execute(inputs))
        beaten(posted, told, honest, seed)
        deferred = replace(posted, trace=DEFERRED)
        assert fault_of(deferred, honest) is None
        assert fault_of(deferred, machine.execute(inputs)) is None
        beaten(deferred, told, honest, seed)


def test_one_operator_without_a_trace() -> None:
    """Its leaf is the trace: with the claimed output it leads to a false cell, else nowhere."""
    b = Builder(np.random.default_rng(7))
    machine = Machine.of(b.graph(b.dense(b.input((1, 12)), 5)), b.weights)
    assert len(machine.program.operators) == 1
    feed = b.feed()
    inputs = [feed[port.value] for port in machine.graph.inputs]
    honest = machine.run(inputs)
    told = liars.lie_about_output(machine, inputs, random.Random(0)).trace
    terms = terms_of(told, trace=DEFERRED)
    assert fault_of(terms, machine.execute(inputs)) is Fault.OUTPUT
    assert beaten(terms, told, honest, 0).moves
    assert not beaten(terms, honest, honest, 0).moves
    true = terms_of(honest, trace=DEFERRED)
    for seed in range(8):
        found = play(true, machine, Claimant(honest), Griefer(honest, random.Random(seed)))
        assert found.status is Status.WON_BY_CLAIMANT


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_any_graph(seed: int, k_log: int) -> None:
    b, rng = random_graph(seed), random.Random(seed)
    count = len(b.nodes)
    graph = b.graph(*sorted({count - 1, *(rng.randrange(count) for _ in range(2))}))
    machine = Machine.of(graph, b.weights)
    feed = b.feed()
    inputs = [feed[port.value] for port in graph.inputs]
    honest = machine.run(inputs)
    terms = terms_of(honest, k_log=k_log)
    found = play(terms, machine, Claimant(honest), Griefer(honest, rng))
    assert found.status is Status.WON_BY_CLAIMANT, found.dispute.why
    operators = [i for i, o in enumerate(machine.program.operators) if o.cells.low < o.cells.high]
    if not operators:
        return
    operator = rng.choice(operators)
    cells = machine.program.operators[operator].cells
    wrong = liars.changed(honest.tensor(operator), rng, cells.low, cells.high)
    lie = Lie(machine.run(inputs, given={operator: wrong}), operator)
    check(machine, inputs, lie, seed, k_log)


def test_models_of_every_operator() -> None:
    """Models of ONNX at random, a lie about one cell in each."""
    for seed in range(30):
        rng = random.Random(seed)
        net, proto = random_model(seed)
        compiled = compile_model(load(proto))
        machine = Machine.of(compiled.graph, compiled.weights, compiled.names)
        inputs = machine.encode(net.feeds(extreme=seed % 2 == 1))
        honest = machine.run(inputs)
        operators = machine.program.operators
        movable = [i for i, o in enumerate(operators) if o.cells.low < o.cells.high]
        operator = rng.choice(movable)
        cells = operators[operator].cells
        wrong = liars.changed(honest.tensor(operator), rng, cells.low, cells.high)
        lie = Lie(machine.run(inputs, given={operator: wrong}), operator)
        check(machine, inputs, lie, seed, 1 + seed % 6)


def test_traces_of_other_claims_are_refused() -> None:
    machine = digits()
    trace = machine.run(digit_inputs(machine))
    other = machine.run(digit_inputs(machine, 1))
    with pytest.raises(ValueError, match="inputs"):
        fault_of(terms_of(other), trace)
    with pytest.raises(ValueError, match="inputs"):
        fault_of(terms_of(other, trace=DEFERRED), machine.execute(digit_inputs(machine)))
    with pytest.raises(ValueError, match="program"):
        fault_of(terms_of(trace, program=bytes(32)), trace)
