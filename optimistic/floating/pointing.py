"""What a challenger does about a float claim: look at every operator, and accuse the first one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from proofml.optimistic.claim import Terms
from proofml.optimistic.clock import Side
from proofml.optimistic.floating.accusation import Accusation, Charge, Result, Values, Wiring
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.floating.finding import Verdict
from proofml.optimistic.floating.gather import Gathered
from proofml.optimistic.floating.plan import Ref
from proofml.optimistic.floating.point import first_outside
from proofml.optimistic.floating.ruling import EDGE
from proofml.optimistic.floating.trace import FloatTrace
from proofml.optimistic.moves import Move
from proofml.optimistic.players import View
from proofml.optimistic.program import Source
from proofml.store import Store
from proofml.worker import Limits


@dataclass
class Pointer:
    """Plays for whoever found something: one move."""

    side: ClassVar[Side] = Side.CHALLENGER
    accusation: Accusation

    def next_move(self, view: View) -> Move | None:
        """The accusation; None where it is not due."""
        return self.accusation.move() if view.awaits(self.side) else None


def find_fault(
    gathered: Gathered, header: FloatHeader, terms: Terms, store: Store, limits: Limits
) -> Accusation | None:
    """The first thing wrong with a trace that is whole; None where it is true.

    Raises:
        BackendUnavailable, WorkerFailed.
    """
    trace = gathered.trace
    assert trace is not None  # the caller saw to it
    if gathered.misformed is not None:
        return accuse(trace, gathered.misformed, Values(()))
    for number, bound in enumerate(header.outputs):
        ref = bound.ref
        if ref.source is not Source.OPERATOR:
            continue
        if trace.leaves[ref.index].outputs[ref.port] != terms.outputs[number]:
            return accuse(trace, ref.index, Result(number))
    finding = first_outside(trace, header.bounds, store, edge=EDGE, limits=limits)
    if finding is None:
        return None
    if finding.verdict is Verdict.MISWIRED:
        return accuse(trace, finding.operator, wiring(trace, finding.operator))
    return accuse(trace, finding.operator, values(trace, finding.operator))


def accuse(trace: FloatTrace, operator: int, charge: Charge) -> Accusation:
    """An accusation of one operator, with all openings."""
    plan = trace.plan
    return Accusation.of(
        operator,
        plan.descriptors,
        plan.operators[operator].descriptor(plan.weight_digests),
        trace.tree,
        trace.leaves[operator].to_bytes(),
        charge,
    )


def values(trace: FloatTrace, operator: int) -> Values:
    """All that an operator reads and makes."""
    refs = [*trace.plan.operators[operator].inputs]
    refs += [Ref(Source.OPERATOR, operator, port) for port in range(len(trace.outputs[operator]))]
    return Values(tuple(trace.array(ref) for ref in refs))


def wiring(trace: FloatTrace, operator: int) -> Charge:
    """The first operand that is not what its source is; any charge, where their number is wrong."""
    leaf, refs = trace.leaves[operator], trace.plan.operators[operator].inputs
    if len(leaf.inputs) != len(refs):
        return Values(())
    for place, (ref, digest) in enumerate(zip(refs, leaf.inputs, strict=True)):
        if trace.tensor(ref).digest == digest:
            continue
        if ref.source is Source.OPERATOR:
            producer = trace.leaves[ref.index].to_bytes()
            return Wiring(place, producer, trace.tree.path(ref.index))
        return Wiring(place)
    raise ValueError(f"operator {operator}: its wiring is right")
