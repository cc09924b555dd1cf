"""A real model of 234 operators: each kind of lie about it, and the truth, before one watcher."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from proofml.benchmarks.optimistic_float_models import CASES
from proofml.model import Model
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.floating.plan import Plan, Ref, plan_of
from proofml.optimistic.floating.trace import FloatTrace
from proofml.tensors import Array

from .court import Court
from .parts import made_by, trace_for

CASE = CASES["classifier"]


class RealCourt(Court):
    """A court about rapidocr's text classifier."""

    @cached_property
    def model(self) -> Model:
        return Model.load(CASE.file)

    @cached_property
    def inputs(self) -> dict[str, Array]:
        return {self.model.inputs[0].name: CASE.input(0)}

    @cached_property
    def plan(self) -> Plan:
        return plan_of(self.model, {name: a.shape for name, a in self.inputs.items()},
                       self.context.store)  # fmt: skip


@pytest.fixture
def court(tmp_path: Path) -> Iterator[RealCourt]:
    if importlib.util.find_spec(CASE.package) is None:
        pytest.skip(f"{CASE.package} is not installed")
    made = RealCourt(tmp_path, int(time.time()))
    yield made
    made.close()


def changed(trace: FloatTrace, ref: Ref, by: float) -> FloatTrace:
    """One element in the middle of a tensor, times something."""
    arrays = dict(trace.arrays)
    arrays[ref] = np.array(arrays[ref])
    flat = arrays[ref].reshape(-1)
    place = flat.size // 2 + int(np.flatnonzero(flat[flat.size // 2 :])[0])
    flat[place] *= np.float32(by)
    return trace_for(trace.plan, arrays)


def test_every_lie_is_found(court: RealCourt) -> None:
    honest = court.honest()
    convolutions = [o.index for o in court.plan.operators if o.op == "Conv"]
    middle = convolutions[len(convolutions) // 2]
    leaf = honest.leaves[middle]

    def rewired(place: int, digest: bytes) -> FloatTrace:
        inputs = (*leaf.inputs[:place], digest, *leaf.inputs[place + 1 :])
        leaves = list(honest.leaves)
        leaves[middle] = replace(leaf, inputs=inputs)
        return replace(honest, leaves=tuple(leaves))

    output = court.plan.ports[0]
    lies = {
        "one activation in the middle": (changed(honest, made_by(middle), 1.01), middle),
        "the output": (changed(honest, output, 1.01), output.index),
        "the wiring of two operators": (rewired(0, honest.leaves[0].outputs[0]), middle),
        "one weight": (rewired(1, bytes(32)), middle),
    }
    numbers = {what: court.post(trace)[0] for what, (trace, _) in lies.items()}
    true, _ = court.post(honest, "claimant")
    court.settle(court.watcher())
    ledger = court.ledger("watcher")
    assert ledger.claim(true).status is ClaimStatus.OPEN
    assert not ledger.claim(true).running
    for what, (_, operator) in lies.items():
        found = ledger.claim(numbers[what])
        assert found.status is ClaimStatus.DEFEATED, what
        dispute = ledger.dispute(int(found.why.removeprefix("dispute ")))
        assert dispute.why.startswith(f"operator {operator}"), (what, dispute.why)
        assert dispute.moves == 1
