"""The polynomial of given degree whose largest error on an interval is least (Remez's exchange).

Works on a fixed grid of points, where the theorem of de la Vallee Poussin holds as on the interval:
the error on a reference of degree + 2 alternating points is a lower bound for every polynomial.
What comes out is a plan's record, checked by `largest_error` on a finer grid; another machine may
find other last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

Reals = NDArray[np.float64]

MAX_DEGREE = 64
_ROUNDS = 200
#: Ends when the largest error is this close to the lower bound.
_CLOSE = 1e-6
_GRID = 4096


@dataclass(frozen=True)
class Polynomial:
    """Coefficients of Chebyshev polynomials of `t` in [-1, 1], where x = middle + radius t.

    Attributes:
        low, high: the interval of x.
        coefficients: of T_0 upwards, at least two.
    """

    low: float
    high: float
    coefficients: tuple[float, ...]

    @property
    def degree(self) -> int:
        return len(self.coefficients) - 1

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    @property
    def radius(self) -> float:
        return (self.high - self.low) / 2

    def __call__(self, x: Reals) -> Reals:
        t = (x - self.middle) / self.radius
        return np.asarray(chebyshev.chebval(t, np.array(self.coefficients)), np.float64)


def minimax(
    function: Callable[[Reals], Reals],
    low: float,
    high: float,
    degree: int,
    kinks: Sequence[float] = (),
) -> Polynomial:
    """The best polynomial of `degree` on [low, high]; the grid holds the kinks that lie inside.

    Raises:
        ValueError: an empty interval or a degree out of range.
    """
    if not low < high or not 1 <= degree <= MAX_DEGREE:
        raise ValueError(f"interval [{low}, {high}], degree {degree}")
    grid = _points(low, high, kinks, _GRID)
    target = function((low + high) / 2 + (high - low) / 2 * grid)
    reference = np.linspace(0, len(grid) - 1, degree + 2).round().astype(np.int64)
    best, least = np.zeros(degree + 1), np.inf
    for _ in range(_ROUNDS):
        coefficients, level = _solve(grid, target, reference, degree)
        errors = chebyshev.chebval(grid, coefficients) - target
        largest = float(np.max(np.abs(errors)))
        if largest < least:
            best, least = coefficients, largest
        if largest <= abs(level) * (1 + _CLOSE) or largest < 1e-14:
            break
        following = _exchange(errors, reference)
        if np.array_equal(following, reference):
            break
        reference = following
    return Polynomial(low, high, tuple(float(c) for c in best))


def largest_error(polynomial: Polynomial, function: Callable[[Reals], Reals]) -> float:
    """Largest difference on a grid that is eight times finer than the one of `minimax`."""
    grid = _points(polynomial.low, polynomial.high, (), 8 * _GRID)
    x = polynomial.middle + polynomial.radius * grid
    return float(np.max(np.abs(polynomial(x) - function(x))))


def _points(low: float, high: float, kinks: Sequence[float], count: int) -> Reals:
    grid = -np.cos(np.pi * np.arange(count + 1) / count)
    inside = [(2 * x - low - high) / (high - low) for x in kinks if low < x < high]
    return np.unique(np.concatenate([grid, inside]))


def _solve(
    grid: Reals, target: Reals, reference: NDArray[np.int64], degree: int
) -> tuple[Reals, float]:
    """The polynomial whose errors on the reference are equal and alternate, and that error."""
    signs = np.where(np.arange(degree + 2) % 2 == 0, 1.0, -1.0)
    system = np.column_stack([chebyshev.chebvander(grid[reference], degree), signs])
    solution = np.asarray(np.linalg.solve(system, target[reference]), np.float64)
    return solution[:-1], float(solution[-1])


def _exchange(errors: Reals, reference: NDArray[np.int64]) -> NDArray[np.int64]:
    """degree + 2 points of alternating error that hold the largest one."""
    starts = np.flatnonzero(np.diff(np.sign(errors), prepend=0) != 0)
    ends = np.append(starts[1:], len(errors))
    peaks = np.array(
        [a + int(np.argmax(np.abs(errors[a:b]))) for a, b in zip(starts, ends, strict=True)]
    )
    count = len(reference)
    if len(peaks) < count:
        return _single(errors, reference)
    heights = np.abs(errors[peaks])
    while len(peaks) > count:
        # The smaller of the two ends goes, unless a pair inside is smaller still.
        if len(peaks) == count + 1:
            drop = slice(0, 1) if heights[0] < heights[-1] else slice(len(peaks) - 1, None)
        else:
            pair = int(np.argmin(np.maximum(heights[:-1], heights[1:])))
            drop = slice(pair, pair + 2)
        peaks, heights = np.delete(peaks, drop), np.delete(heights, drop)
    return peaks


def _single(errors: Reals, reference: NDArray[np.int64]) -> NDArray[np.int64]:
    """The largest error takes the place of a neighbour, so that signs go on alternating."""
    peak = int(np.argmax(np.abs(errors)))
    found = reference.copy()
    after = int(np.searchsorted(reference, peak))
    if after < len(reference) and reference[after] == peak:
        return found
    for neighbour in (after, after - 1):
        inside = 0 <= neighbour < len(reference)
        if inside and np.sign(errors[reference[neighbour]]) == np.sign(errors[peak]):
            found[neighbour] = peak
            return found
    if after == 0:
        return np.concatenate([[peak], reference[:-1]])
    if after == len(reference):
        return np.concatenate([reference[1:], [peak]])
    return found
