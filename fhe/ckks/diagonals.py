"""A matrix times an encrypted vector: rotations and products with constants.

Slots hold a vector again and again: slot s holds what slot s + period holds. An output of period m
is made from an input of period P by

    z[s] = sum over d of  c_d[s] * x[s + d]      d: each (column - row) mod min(m, P)
    y[s] = sum over j of  z[s + j m]             j < P / m, by log2(P / m) rotations and additions

(Halevi and Shoup, ePrint 2014/106; the sum by Juvekar et al., GAZELLE, ePrint 2018/073). The
shifts d are split in two, d = b + g, so that rotations number about twice the square root of the
shifts. Rotations are done in chains, one after another: a key is needed for each difference
between neighbours only, mostly one for the small and one for the large shifts.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np

from proofml.fhe.ckks.affine import Index, Reals


@dataclass(frozen=True)
class Split:
    """Shifts as sums of small and large ones.

    Attributes:
        small, large: sorted, zero among them where it is used.
        steps: differences that rotations have to cover.
    """

    bits: int
    centred: bool
    small: tuple[int, ...]
    large: tuple[int, ...]

    @property
    def rotations(self) -> int:
        return sum(b != 0 for b in self.small) + sum(g != 0 for g in self.large)

    @property
    def steps(self) -> frozenset[int]:
        return frozenset(
            [step for _, step in chain(self.small)]
            + [step for side in horner(self.large) for _, step in side]
        )


def chain(shifts: tuple[int, ...]) -> list[tuple[int, int]]:
    """(shift, rotation that makes it from its neighbour), away from zero on both sides."""
    found = []
    for side in (
        [s for s in shifts if s > 0],
        [s for s in reversed(shifts) if s < 0],
    ):
        at = 0
        for shift in side:
            found.append((shift, shift - at))
            at = shift
    return found


def horner(shifts: tuple[int, ...]) -> list[list[tuple[int, int]]]:
    """Running sums: (shift whose terms are added, rotation after it), ending at shift zero.

    Positive shifts from the largest one down and negative ones from the least one up are summed
    apart; each sum lies at zero after its last rotation.
    """
    found = []
    for side in (
        [s for s in reversed(shifts) if s > 0],
        [s for s in shifts if s < 0],
    ):
        if side:
            found.append([(a, a - b) for a, b in zip(side, [*side[1:], 0], strict=True)])
    return found


def split(shifts: Index, modulus: int, features: int = 0, present: Set[int] = frozenset()) -> Split:
    """The split with the least rotations, then the least keys.

    Args:
        shifts: different numbers in [0, modulus).
        modulus: a power of two.
        features, present: steps modulo `features` for which there is a key already.
    """
    best: tuple[tuple[int, int, int], Split] | None = None
    for bits in range(modulus.bit_length()):
        for centred in (False, True):
            small, large = halves(shifts, bits, centred, modulus)
            found = Split(
                bits,
                centred,
                tuple(int(b) for b in np.unique(small)),
                tuple(int(g) for g in np.unique(large)),
            )
            new = {step % features if features else step for step in found.steps} - present
            cost = (found.rotations, len(new), bits)
            if best is None or cost < best[0]:
                best = cost, found
    assert best is not None
    return best[1]


def halves(shifts: Index, bits: int, centred: bool, modulus: int) -> tuple[Index, Index]:
    """Small and large part of each shift; their sum is the shift modulo `modulus`."""
    unit = 1 << bits
    offset = unit // 2 if centred else 0
    small = (shifts + offset) % unit - offset
    large = (shifts - small) % modulus
    if centred:
        large = np.where(large > modulus // 2, large - modulus, large)
    return small, large


@dataclass(frozen=True, eq=False)
class Diagonals:
    """One matrix, ready to be emitted.

    Attributes:
        split: of its shifts.
        groups: large shift -> small shift -> constants, of period `period`.
        period: of what the sums over shifts make; folded to that of the output afterwards.
    """

    split: Split
    groups: Mapping[int, Mapping[int, Reals]]
    period: int

    @property
    def largest(self) -> float:
        """Largest magnitude of a constant."""
        return max(
            float(np.max(np.abs(c))) for group in self.groups.values() for c in group.values()
        )


def shifts_of(p_in: Index, p_out: Index, period_in: int, period_out: int) -> Index:
    """Of each entry, in [0, min(period_in, period_out))."""
    return (p_in - p_out) % min(period_in, period_out)


def diagonals(
    p_in: Index,
    p_out: Index,
    data: Reals,
    period_in: int,
    period_out: int,
    features: int = 0,
    present: Set[int] = frozenset(),
) -> Diagonals:
    """Constants of a matrix.

    Args:
        p_in, p_out: slot of the column's and the row's element of each entry, below the periods.
        data: the entries; no two of one row and column.
        features, present: as of `split`.
    """
    modulus = min(period_in, period_out)
    shifts = shifts_of(p_in, p_out, period_in, period_out)
    chosen = split(np.unique(shifts), modulus, features, present)
    small, large = halves(shifts, chosen.bits, chosen.centred, modulus)
    if period_out <= period_in:
        period = period_in
        place = (p_in - small) % period
    else:
        period = period_out
        place = (p_out + large) % period
    groups: dict[int, dict[int, Reals]] = {}
    for g in chosen.large:
        of_group = large == g
        for b in chosen.small:
            here = of_group & (small == b)
            if here.any():
                constants = np.zeros(period)
                constants[place[here]] = data[here]
                groups.setdefault(g, {})[b] = constants
    return Diagonals(chosen, groups, period)
