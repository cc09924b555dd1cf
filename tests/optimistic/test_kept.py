"""Runs of disputed claims: no model is run again for a move while there is memory."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from proofml.circuits.graph import Ints
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.kept import Traces
from proofml.optimistic.trace import Machine, Trace

from . import liars
from .arena import Arena, LyingResponder

CLAIMS = 12


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    made = Arena(tmp_path)
    yield made
    made.close()


def disputed(arena: Arena, monkeypatch: pytest.MonkeyPatch, **more: object) -> int:
    """How often the watcher's model runs while so many claims are disputed at once."""
    lies = {}
    for i in range(CLAIMS):
        lie = liars.lie_about_activation(arena.machine, arena.inputs(i), random.Random(i))
        lies[arena.post("claimant", lie.trace, i)] = lie
    runs: list[object] = []
    run = Machine.run

    def counted(machine: Machine, inputs: Sequence[Ints]) -> Trace:
        runs.append(inputs)
        return run(machine, inputs)

    monkeypatch.setattr(Machine, "run", counted)
    watcher = arena.watcher(**more)
    liar = arena.agent(LyingResponder, "claimant", lies=lies)
    arena.play(watcher, liar)
    arena.time += liars.TERMS["clock"] + liars.TERMS["extension"]
    arena.play(watcher, liar)
    ledger = arena.ledger("watcher")
    assert {ledger.claim(number).status for number in lies} == {ClaimStatus.DEFEATED}
    return len(runs)


def test_more_disputes_than_a_few_run_no_model_again(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert disputed(arena, monkeypatch) == CLAIMS


def test_without_memory_disputes_are_won_all_the_same(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert disputed(arena, monkeypatch, traces=Traces(most=0)) > CLAIMS


def test_what_is_held_is_bounded(arena: Arena) -> None:
    """Tensors go first, of the run that was used longest ago; then that whole run."""
    made = [arena.machine.run(arena.inputs(i)) for i in range(3)]
    bare = max(trace.nbytes for trace in made)
    for trace in made:
        trace.prepare(range(len(trace.program.operators)))
    full = max(trace.nbytes for trace in made)
    assert full > bare + sum(o.cells.count * o.cells.width for o in made[0].program.operators)
    traces = Traces(most=2 * full + bare)
    for number, trace in enumerate(made):
        traces.put(number, trace)
    assert [traces.get(number) for number in (0, 1, 2)] == made
    assert made[0].nbytes <= bare
    assert made[1].nbytes > bare < made[2].nbytes
    traces.get(1)
    traces.most = full + bare - 1
    traces.fit()
    assert traces.get(0) is None
    assert traces.get(1) is made[1]
    traces.only({2})
    assert traces.get(1) is None
