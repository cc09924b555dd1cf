"""The fold of one cell: states at the cuts of an interval, down to one step.

The states are all that a claimant asserts freely in a dispute. The first reveal ties the last one
to the disputed cell by the operator's rule, so two players who differ in the cell differ in it.
"""

from __future__ import annotations

from proofml.optimistic import arbiter
from proofml.optimistic.clock import Side
from proofml.optimistic.moves import ProveSummand, RevealSums
from proofml.optimistic.phases.positions import AtSummand, AtSums, Won
from proofml.optimistic.program import Fold
from proofml.optimistic.refusals import IllegalMove, Refusal


def inner_cuts(first: int, last: int, k: int) -> tuple[int, ...]:
    """Where [first, last) is cut into at most k parts, none empty, both ends left out.

    No part is longer than ceil((last - first) / k).
    """
    length = last - first
    cuts = (first + -(-t * length // k) for t in range(1, k))
    return tuple(sorted({cut for cut in cuts if first < cut < last}))


def rounds(summands: int, k: int) -> int:
    """Reveals from an interval of so many summands to one of one; at least one."""
    found = 1
    while summands > k:
        summands = -(-summands // k)
        found += 1
    return found


def reveal(at: AtSums, k: int, move: RevealSums) -> AtSums | AtSummand:
    """With its states; at the step, where the interval is one.

    Raises:
        IllegalMove: STATES, OPENING (the rule's record), RULE.
    """
    operator, fresh = at.site.operator, at.end is None
    inner = inner_cuts(at.first, at.last, k)
    expected = len(inner) + fresh
    if len(move.states) != expected:
        raise IllegalMove(
            Refusal.STATES, f"expected {expected} states at {inner}, got {len(move.states)}"
        )
    if operator.fold is Fold.ARGMAX:
        for state in move.states:
            if not 0 <= state < operator.summands:
                raise IllegalMove(
                    Refusal.STATES, f"expected indices below {operator.summands}, got {state}"
                )
    if fresh:
        end = move.states[-1]
        try:
            value = arbiter.apply_rule(operator, at.cell, end, move.rule)
        except arbiter.BadOpening as error:
            raise IllegalMove(Refusal.OPENING, str(error)) from error
        if value != at.value:
            raise IllegalMove(
                Refusal.RULE, f"cell {at.cell}: expected {at.value}, got {value} of state {end}"
            )
    else:
        assert at.end is not None
        end = at.end
        if move.rule is not None:
            raise IllegalMove(Refusal.OPENING, "expected no record of the rule after the first")
    cuts = (*zip(inner, move.states, strict=False), (at.last, end))
    found = AtSums(at.site, at.cell, at.value, at.first, at.last, at.start, end, cuts)
    return _single(found) if at.last - at.first == 1 else found


def select(at: AtSums, interval: int) -> AtSums | AtSummand:
    """The interval whose start is accepted and whose end is not.

    Raises:
        IllegalMove: NO_CHILD.
    """
    if not 0 <= interval < len(at.cuts):
        raise IllegalMove(
            Refusal.NO_CHILD, f"interval {interval}: expected 0 to {len(at.cuts) - 1}"
        )
    first, start = at.cuts[interval - 1] if interval else (at.first, at.start)
    last, end = at.cuts[interval]
    found = AtSums(at.site, at.cell, at.value, first, last, start, end)
    return _single(found) if last - first == 1 else found


def _single(at: AtSums) -> AtSummand:
    assert at.end is not None
    return AtSummand(at.site, at.cell, at.first, at.start, at.end)


def prove_summand(at: AtSummand, move: ProveSummand) -> Won:
    """Who wins by the step.

    Raises:
        IllegalMove: OPENING.
    """
    site = at.site
    try:
        state = arbiter.fold_step(
            site.operator, site.leaf.inputs, at.cell, at.summand, at.start, move.openings
        )
    except arbiter.BadOpening as error:
        raise IllegalMove(Refusal.OPENING, str(error)) from error
    where = f"cell {at.cell}, summand {at.summand}: state {at.start} becomes {state}"
    if state != at.end:
        return Won(Side.CHALLENGER, f"{where}, not {at.end}")
    return Won(Side.CLAIMANT, where)
