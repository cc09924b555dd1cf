"""Which bound a claim stands under: IEEE-754's worst case, or what calibration found of it.

The worst case of each element is the unit. An honest error is a small share of it, and calibration
measures the shares of honest runs in several execution configurations (`calibrate`), operator by
operator. A claim names one of three bases:

- `theoretical`: every element within the worst case. Sound for every honest machine.
- `calibrated`: every element within a share of it, the largest seen times a margin.
- `profile`: besides, shares at several percentiles of the operator's elements: an attacker who
  pushes all elements to the edge is seen by the median. It takes the whole tensor to check, and
  says nothing of tensors with few elements, or few that differ (a blank picture's).

No basis refuses a correctly rounded result: half a unit in the last place is always allowed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.canonical import JSON, dumps, real, sha256
from proofml.errors import UsageError
from proofml.fields import FieldError, Fields, text_item
from proofml.optimistic.floating.formats import Format
from proofml.optimistic.floating.functions import Reals
from proofml.optimistic.floating.running import SLACK

Flags: TypeAlias = NDArray[np.bool_]

#: Percentiles of a profile, as fractions; the last one is the largest share.
RANKS = (0.5, 0.75, 0.9, 0.99, 0.999, 1.0)
#: A percentile is looked at where so many elements may lie beyond it: fewer are chance.
_LEAST_BEYOND = 100
_SAMPLE = 4096


class Basis(Enum):
    THEORETICAL = "theoretical"
    CALIBRATED = "calibrated"
    PROFILE = "profile"


@dataclass(frozen=True)
class Bounds:
    """The bound that a claim names; `digest` goes into the claim.

    Attributes:
        basis: which of the three.
        shares: of each operator, its limit at each of `ranks`; empty for the theoretical basis.
        ranks: percentiles as fractions, ascending, the last one 1.
        margin: factor between what was seen and what is allowed.
        runs: honest runs that were seen.
        configurations: names of the execution configurations that they were made in.
        program: root of the plan that was calibrated; empty for the theoretical basis.
    """

    basis: Basis
    shares: tuple[tuple[float, ...], ...] = ()
    ranks: tuple[float, ...] = ()
    margin: float = 1.0
    runs: int = 0
    configurations: tuple[str, ...] = ()
    program: str = ""

    def __post_init__(self) -> None:
        if self.basis is Basis.THEORETICAL:
            if self.shares or self.ranks:
                raise UsageError("theoretical bounds: expected no shares")
            return
        if not self.ranks or self.ranks[-1] != 1.0 or list(self.ranks) != sorted(set(self.ranks)):
            raise UsageError(f"ranks: expected ascending ones that end in 1, got {self.ranks}")
        if self.basis is Basis.CALIBRATED and len(self.ranks) != 1:
            raise UsageError("calibrated bounds: expected the largest share alone")
        if self.runs < 1 or not self.configurations or not self.margin >= 1:
            raise UsageError("calibrated bounds: expected runs, configurations, a margin from 1 on")
        for shares in self.shares:
            if len(shares) != len(self.ranks) or not all(0 <= share <= 1 for share in shares):
                raise UsageError(f"shares: expected {len(self.ranks)} from 0 to 1, got {shares}")

    def limit(self, operator: int) -> float:
        """The largest share that one element may have."""
        return 1.0 if self.basis is Basis.THEORETICAL else self.shares[operator][-1]

    def tolerance(self, operator: int, worst: Reals, reference: Reals, form: Format) -> Reals:
        """How far each element may lie from the reference, given its worst case."""
        limit = self.limit(operator)
        if limit >= 1:
            return worst * SLACK
        rounding = np.abs(reference) * form.unit + form.tiny
        return np.minimum(worst, np.maximum(worst * limit, rounding)) * SLACK

    def steps(self, operator: int, count: int, distinct: int) -> list[tuple[float, int, float]]:
        """What a profile allows: (rank, how many elements may exceed this share, the share).

        Args:
            count: elements that have an error at all.
            distinct: of the tensor's elements; equal ones have equal errors.
        """
        if self.basis is not Basis.PROFILE:
            return []
        pairs = zip(self.ranks[:-1], self.shares[operator][:-1], strict=True)
        return [
            (rank, math.ceil((1 - rank) * count), share)
            for rank, share in pairs
            if (1 - rank) * min(count, distinct) >= _LEAST_BEYOND
        ]

    def surplus(
        self, operator: int, error: Reals, worst: Reals, reference: Reals, form: Format
    ) -> tuple[float, int] | None:
        """The first percentile at which a whole tensor has too large shares, if there is one.

        Returns (rank, how many elements more than allowed).
        """
        if self.basis is not Basis.PROFILE or not error.size:
            return None
        excess = _beyond_rounding(error, reference, form)
        count = int(np.count_nonzero(error))
        for rank, allowed, share in self.steps(operator, count, distinct(reference)):
            over = int(np.count_nonzero(excess & (error > worst * share * SLACK)))
            if over > allowed:
                return rank, over - allowed
        return None

    # -- as evidence ------------------------------------------------------------------------

    def to_json(self) -> dict[str, JSON]:
        return {
            "basis": self.basis.value,
            "shares": [[real(share) for share in shares] for shares in self.shares],
            "ranks": [real(rank) for rank in self.ranks],
            "margin": real(self.margin),
            "runs": self.runs,
            "configurations": self.configurations,
            "program": self.program,
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return sha256(dumps(self.to_json()))

    @classmethod
    def read(cls, value: object) -> Bounds:
        """From parsed JSON of strangers.

        Raises:
            FieldError: it is none.
        """
        fields = Fields(value, "bounds")
        basis = Basis(fields.string("basis", choices=tuple(basis.value for basis in Basis)))
        shares = fields.items("shares", _reals, most=200_000)
        ranks = fields.items("ranks", _real, most=64)
        margin = _real(fields.raw("margin"), fields.at("margin"))
        runs = fields.integer("runs", 0, 1 << 40)
        names = fields.items("configurations", text_item, most=256)
        program = fields.string("program", longest=64)
        fields.done()
        try:
            return cls(basis, shares, ranks, margin, runs, names, program)
        except UsageError as error:
            raise FieldError("bounds", "bounds that hold together", str(error)) from error


def _beyond_rounding(error: Reals, reference: Reals, form: Format) -> Flags:
    """Where the error is more than a correct rounding makes."""
    return np.asarray(error > (np.abs(reference) * form.unit + form.tiny) * SLACK)


def distinct(reference: Reals) -> int:
    """About how many different values there are; too few rather than too many.

    A fixed random sample is looked at: all that differ in it, and where these are most of it, as
    large a part of the tensor.
    """
    flat = reference.reshape(-1)
    if flat.size <= _SAMPLE:
        return int(np.unique(flat).size)
    places = np.random.default_rng(0).integers(flat.size, size=_SAMPLE)
    found = int(np.unique(flat[places]).size)
    return found if 2 * found < _SAMPLE else int(flat.size * (found / _SAMPLE))


def percentiles(shares: Reals, ranks: Sequence[float]) -> tuple[float, ...]:
    """For each rank the least share that at most ceil((1 - rank) n) of n elements exceed.

    The n elements are those with an error: how many are exactly right depends on the input.
    """
    shares = shares[shares > 0]
    if not shares.size:
        return (0.0,) * len(ranks)
    ordered = np.sort(shares, axis=None)[::-1]
    return tuple(
        float(ordered[min(math.ceil((1 - rank) * shares.size), shares.size - 1)])
        if rank < 1
        else float(ordered[0])
        for rank in ranks
    )


def _real(value: object, path: str) -> float:
    if not isinstance(value, str) or len(value) > 32:
        raise FieldError(path, "a decimal number as a string", value)
    try:
        number = float(value)
    except ValueError:
        raise FieldError(path, "a decimal number as a string", value) from None
    if not math.isfinite(number) or real(number) != value:
        raise FieldError(path, "the shortest decimal of a finite number", value)
    return number


def _reals(value: object, path: str) -> tuple[float, ...]:
    return Fields({"shares": value}, path).items("shares", _real, most=64)
