"""The drift attack: a claim in which every operator stays within its bound, all to one end.

Each value is moved by as much as its bound allows, in the direction that its gradient gives, and
the next operator computes on from there; a few rounds of this follow the trace as it moves
(projected gradient ascent, where the projection is onto the bound). A profile allows the largest
shares to few elements only, so those that matter most get them. By construction no operator can be
pointed at; what is measured is how far the score moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proofml.benchmarks.optimistic_float_gradients import Evaluate, backward
from proofml.optimistic.floating.bounds import Basis, Bounds, distinct
from proofml.optimistic.floating.calibrate import operands_of
from proofml.optimistic.floating.check import Judge
from proofml.optimistic.floating.formats import Format, format_of
from proofml.optimistic.floating.functions import Reals
from proofml.optimistic.floating.plan import Operator, Ref
from proofml.optimistic.floating.running import Running
from proofml.optimistic.program import Source
from proofml.tensors import Array

Values = Mapping[Ref, Array]
#: A little less than the bound, so that rounding leaves it inside.
_EDGE = 1 - 2.0**-20


@dataclass(frozen=True)
class Score:
    """What the attacker raises: a real function of one output with its gradient.

    Attributes:
        ref: the output.
        value: of the score.
        gradient: with respect to that output.
    """

    ref: Ref
    value: Callable[[Array], float]
    gradient: Callable[[Array], Reals]


def log_ratio(ref: Ref, winner: tuple[int, ...], loser: tuple[int, ...]) -> Score:
    """log p[winner] - log p[loser]: the difference of their logits before the softmax."""

    def value(p: Array) -> float:
        return math.log(max(float(p[winner]), 1e-300)) - math.log(max(float(p[loser]), 1e-300))

    def gradient(p: Array) -> Reals:
        found = np.zeros(p.shape)
        found[winner] = 1 / max(float(p[winner]), 1e-300)
        found[loser] = -1 / max(float(p[loser]), 1e-300)
        return found

    return Score(ref, value, gradient)


def logit(ref: Ref, place: tuple[int, ...], sign: float) -> Score:
    """`sign` times log(p / (1 - p)) at one place of a sigmoid's output."""

    def value(p: Array) -> float:
        at = min(max(float(p[place]), 1e-300), 1 - 2.0**-53)
        return sign * math.log(at / (1 - at))

    def gradient(p: Array) -> Reals:
        found = np.zeros(p.shape)
        at = float(p[place])
        found[place] = sign / max(at * (1 - at), 1e-300)
        return found

    return Score(ref, value, gradient)


def attack(
    judge: Judge,
    evaluate: Evaluate,
    honest: Values,
    score: Score,
    bounds: Bounds,
    rounds: int = 4,
) -> tuple[float, dict[Ref, Array]]:
    """The best score found, and the trace that has it."""
    current: Values = honest
    best, kept = score.value(honest[score.ref]), dict(honest)
    for _ in range(rounds):
        seeds = {score.ref: score.gradient(current[score.ref])}
        directions = backward(judge.plan, current, seeds, evaluate)
        moved = pushed(judge, honest, directions, bounds)
        reached = score.value(moved[score.ref])
        current = moved
        if reached > best:
            best, kept = reached, moved
    return best, kept


def pushed(
    judge: Judge, honest: Values, directions: Mapping[Ref, Reals], bounds: Bounds
) -> dict[Ref, Array]:
    """A trace in which every operator stands at the edge of its bound, in these directions."""
    plan = judge.plan
    found: dict[Ref, Array] = {ref: honest[ref] for ref in honest if ref.source is Source.INPUT}
    for operator in plan.operators:
        expected = judge.expected(operator, operands_of(plan, found, operator))
        for port, output in enumerate(expected):
            ref = Ref(Source.OPERATOR, operator.index, port)
            dtype = np.dtype(operator.types[port].dtype)
            form = format_of(dtype)
            if isinstance(output, Running) and form is not None:
                direction = directions.get(ref)
                if direction is None:
                    direction = np.zeros(output.value.shape)
                found[ref] = _edge(operator, output, direction, bounds, form, dtype)
            else:
                found[ref] = output.value if isinstance(output, Running) else output
    return found


def _edge(
    operator: Operator,
    output: Running,
    direction: Reals,
    bounds: Bounds,
    form: Format,
    dtype: np.dtype[np.generic],
) -> Array:
    reference = output.value
    worst = np.where(np.isfinite(output.error_array()), output.error_array(), 0.0)
    room = bounds.tolerance(operator.index, worst, reference, form)
    if bounds.basis is not Basis.PROFILE:
        return _moved(reference, direction, room, dtype)
    # How many elements have an error at all decides how many may have a large one.
    count, found = reference.size + 1, reference.size
    value = reference.astype(dtype)
    while found < count:
        count = found
        allotted = _allotted(operator, worst, reference, direction, bounds, form, count)
        value = _moved(reference, direction, np.minimum(room, allotted), dtype)
        found = int(np.count_nonzero(value.astype(np.float64) != reference))
    return value


def _moved(reference: Reals, direction: Reals, room: Reals, dtype: np.dtype[np.generic]) -> Array:
    """The float that is farthest in the direction and within the room."""
    with np.errstate(over="ignore"):
        value = (reference + np.sign(direction) * room * _EDGE).astype(dtype)
        plain = reference.astype(dtype)
    for _ in range(2):
        beyond = np.abs(value.astype(np.float64) - reference) > room
        value = np.where(beyond, np.nextafter(value, plain), value)
    beyond = np.abs(value.astype(np.float64) - reference) > room
    return np.where(beyond, plain, value)


def _allotted(
    operator: Operator,
    worst: Reals,
    reference: Reals,
    direction: Reals,
    bounds: Bounds,
    form: Format,
    count: int,
) -> Reals:
    """Room under a profile: the largest shares for the elements that move the score most."""
    gain = (np.abs(direction) * worst).reshape(-1)
    order = np.argsort(-gain, kind="stable")
    shares = np.empty(gain.size)
    given, limit = 0, bounds.limit(operator.index)
    # So many may lie above the share at one rank; they have that of the rank above it.
    for _, allowed, share in reversed(bounds.steps(operator.index, count, distinct(reference))):
        allowed = max(given, allowed)
        shares[order[given:allowed]] = limit
        given, limit = allowed, share
    shares[order[given:]] = limit
    room = worst * shares.reshape(worst.shape)
    return np.maximum(room, np.abs(reference) * form.unit + form.tiny)


def check_all(judge: Judge, values: Values, bounds: Bounds) -> Sequence[str]:
    """Labels of the operators of a trace that can be pointed at."""
    found = []
    for operator in judge.plan.operators:
        claimed = [
            values[Ref(Source.OPERATOR, operator.index, port)]
            for port in range(len(operator.outputs))
        ]
        reads = operands_of(judge.plan, values, operator)
        finding = judge.arrays(operator, reads, claimed, bounds)
        if not finding.inside:
            found.append(f"{finding.label}: {finding.detail}")
    return found
