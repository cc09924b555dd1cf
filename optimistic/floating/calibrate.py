"""Calibration: which share of the worst case honest runs use, operator by operator.

TAO (arXiv 2510.16028) calibrates percentiles of errors for each operator. Here the unit is the
element's own worst case, so that one number holds for all inputs and magnitudes.

The largest of N errors is not the largest there can be. Rounding errors of a sum add up to roughly
a normal distribution, whose largest of N values grows as sqrt(2 ln N); what was seen of N elements
is therefore scaled to `FUTURE` of them, and then by a margin for machines that were not seen.

That holds where the terms of a sum differ. Of alike terms (a blank picture, one byte again and
again) every addition can round to the same side: sums of 512 such terms were seen at a third of
their worst case, where those of ordinary inputs stay near a tenth. Sums whose terms come from the
input alone are therefore not calibrated; where each term is multiplied by a weight of its own they
are (`calibratable`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from proofml.errors import UsageError
from proofml.optimistic.floating.attention import ATTENTION
from proofml.optimistic.floating.bounds import RANKS, Basis, Bounds, distinct, percentiles
from proofml.optimistic.floating.check import Judge, distance
from proofml.optimistic.floating.contractions import CONTRACTIONS
from proofml.optimistic.floating.convolution import CONVOLUTIONS
from proofml.optimistic.floating.formats import format_of
from proofml.optimistic.floating.functions import Reals
from proofml.optimistic.floating.normalisation import NORMALISATIONS
from proofml.optimistic.floating.plan import Operator, Plan, Ref
from proofml.optimistic.floating.pooling import POOLING
from proofml.optimistic.floating.reductions import REDUCTIONS
from proofml.optimistic.floating.running import Running
from proofml.optimistic.program import Source
from proofml.tensors import Array

#: Errors at honest machines that were not calibrated may be larger than those seen.
MARGIN = 1.5
#: Errors of one tensor can go together (a sum of equal terms rounds to one side again and again),
#: so that its percentiles scatter more than its largest error.
PROFILE_MARGIN = 2.0
#: Elements among which the largest share shall still be inside.
FUTURE = 10**12
#: Sums of terms that the input makes, and nothing else: they can be alike.
_ALIKE = (frozenset(REDUCTIONS) | frozenset(NORMALISATIONS) | frozenset(ATTENTION)
          | frozenset(POOLING)) - {"BatchNormalization", "ReduceMax", "ReduceMin"}  # fmt: skip
#: Sums of products with weights, where one of the first two operands is a constant that varies.
_WEIGHTED = frozenset(CONTRACTIONS) | frozenset(CONVOLUTIONS)
#: With fewer elements seen nothing is known, and the worst case stays.
_LEAST = 20


class Calibration:
    """Collects honest runs of one plan.

    Attributes:
        seen: of each operator, the largest percentile over all runs at each of `ranks`.
        samples: of each operator, how many elements had an error, over all runs.
        runs: added so far.
    """

    def __init__(self, judge: Judge, ranks: Sequence[float] = RANKS) -> None:
        self._judge = judge
        self.ranks = tuple(ranks)
        self.seen = np.zeros((len(judge.plan.operators), len(self.ranks)))
        self.samples = np.zeros(len(judge.plan.operators), np.int64)
        self.runs = 0
        self._configurations: dict[str, None] = {}

    def add(self, values: Mapping[Ref, Array], configuration: str) -> None:
        """One honest run, in the configuration of this name.

        Args:
            values: inputs and every operator's outputs.
        """
        for operator in self._judge.plan.operators:
            expected = self._judge.expected(
                operator, operands_of(self._judge.plan, values, operator)
            )
            self.observe(operator, expected, values)
        self.ran(configuration)

    def observe(
        self, operator: Operator, expected: Sequence[Running | Array], values: Mapping[Ref, Array]
    ) -> None:
        """One operator of a run, given what `Judge.expected` made of it."""
        for port, output in enumerate(expected):
            if isinstance(output, Running):
                claimed = values[Ref(Source.OPERATOR, operator.index, port)]
                share = shares(output, claimed)
                self.samples[operator.index] += np.count_nonzero(share)
                found = percentiles(share, self.ranks)
                self.seen[operator.index] = np.maximum(self.seen[operator.index], found)

    def ran(self, configuration: str) -> None:
        """A run is complete."""
        self.runs += 1
        self._configurations[configuration] = None

    def bounds(self, basis: Basis, margin: float = MARGIN) -> Bounds:
        """What was seen, times the margin, as bounds of a claim.

        Raises:
            UsageError: no run was added, or a margin below 1.
        """
        if basis is Basis.THEORETICAL:
            return Bounds(basis)
        if not self.runs:
            raise UsageError("calibration: expected at least one honest run, got none")
        if not margin >= 1:
            raise UsageError(f"margin: expected 1 or more, got {margin}")
        plan = self._judge.plan
        # Runs of one input in several configurations are no independent samples.
        samples = self.samples / len(self._configurations)
        growth = np.sqrt(math.log(FUTURE) / np.log(np.maximum(samples, _LEAST)))
        limits = self.seen * margin * PROFILE_MARGIN
        limits[:, -1] = self.seen[:, -1] * margin * growth
        limits[samples < _LEAST] = 1.0
        limits[[not calibratable(o, plan.weights) for o in plan.operators]] = 1.0
        ranks = self.ranks if basis is Basis.PROFILE else self.ranks[-1:]
        limits = np.minimum(1.0, limits[:, len(self.ranks) - len(ranks) :])
        return Bounds(
            basis,
            tuple(tuple(float(share) for share in row) for row in limits),
            ranks,
            margin,
            self.runs,
            tuple(self._configurations),
            plan.root.hex(),
        )


def calibratable(operator: Operator, weights: Sequence[Array]) -> bool:
    """Whether what ordinary runs show of an operator's errors holds for any input."""
    own = dict(zip(operator.names, operator.inputs, strict=True))
    for node in operator.nodes:
        if node.op in _ALIKE:
            return False
        if node.op in _WEIGHTED:
            refs = [own.get(name) for name in node.inputs[:2]]
            found = [weights[r.index] for r in refs if r and r.source is Source.WEIGHT]
            if not any(distinct(array.astype(np.float64)) >= _LEAST for array in found):
                return False
    return True


def operands_of(plan: Plan, values: Mapping[Ref, Array], operator: Operator) -> list[Array]:
    """What an operator reads, from the values of a run and the plan's weights."""
    return [
        plan.weights[ref.index] if ref.source is Source.WEIGHT else values[ref]
        for ref in operator.inputs
    ]


def shares(expected: Running, claimed: Array) -> Reals:
    """Errors in units of the worst case; 0 where there is none or no error."""
    form = format_of(claimed.dtype)
    if form is None:
        raise UsageError(f"an output of {claimed.dtype}: expected floating point")
    worst = expected.error_array()
    error = distance(np.asarray(claimed, np.float64), expected.value, worst, form)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((error == 0) | ~np.isfinite(worst), 0.0, error / worst)
