"""Requantisations that a wrong rounding gets wrong: ties, saturation, conversions that round.

Each case is (state, scale bits, low, high). Half of the states lie where `state * scale` is within
a few units of a half; scales are powers of two (exact ties), short fractions (ties that only the
rounded product has) and random ones of all sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.functions import Requant

Ints = NDArray[np.int64]

#: Centred bounds of codes: int8, uint8 with three zero points, uint16, one value alone.
_BOUNDS = ((-128, 127), (0, 255), (-117, 138), (-255, 0), (-40000, 25535), (5, 5))


@dataclass(frozen=True)
class Cases:
    """All of one length.

    Attributes:
        scale: uint32, bits.
    """

    state: Ints
    scale: NDArray[np.uint32]
    low: Ints
    high: Ints

    def expected(self) -> Ints:
        """By `Requant`, scale by scale."""
        result = np.empty(len(self.state), np.int64)
        keys = np.stack([self.scale.astype(np.int64), self.low, self.high], axis=1)
        distinct, inverse = np.unique(keys, axis=0, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        ends = np.searchsorted(inverse, np.arange(len(distinct) + 1), sorter=order)
        for key, start, end in zip(distinct, ends[:-1], ends[1:], strict=True):
            rows = order[start:end]
            result[rows] = Requant(*(int(n) for n in key)).evaluate(self.state[rows])
        return result


def scales(rng: np.random.Generator, count: int) -> NDArray[np.uint32]:
    """Bits of positive normal floats."""
    fractions = np.array([3, 5, 7, 9, 10, 11, 13, 100, 255, 1000], np.float32)
    pick = rng.integers(0, 8, count)
    found = np.float32(1) / rng.choice(fractions, count)
    found = np.where(pick < 2, np.exp2(-rng.integers(0, 20, count)).astype(np.float32), found)
    usual = np.exp(rng.uniform(np.log(1e-5), np.log(2.0), count)).astype(np.float32)
    found = np.where(pick > 3, usual, found)
    any_ = rng.integers(0x00800000, 0x7F800000, count).astype(np.uint32).view(np.float32)
    return np.where(pick == 7, any_, found).astype(np.float32).view(np.uint32)


def near_halves(rng: np.random.Generator, scale: NDArray[np.uint32], bound: int) -> Ints:
    """States for which the product is close to a half, or (every tenth) at the bounds."""
    value = scale.view(np.float32).astype(np.float64)
    reach = np.maximum(np.minimum(bound * value, 300.0), 0.51)
    half = np.floor(rng.uniform(-reach, reach)) + 0.5
    near = np.rint(np.clip(half / value, -bound, bound)).astype(np.int64)
    near += rng.integers(-1, 2, len(scale))
    return np.clip(near, -bound, bound)


def cases(count: int, seed: int, bound: int = (1 << 31) - 1) -> Cases:
    """So many cases with states up to `bound` in absolute value, 64 of each scale."""
    rng = np.random.default_rng(seed)
    groups = -(-count // 64)
    scale = np.repeat(scales(rng, groups), 64)[:count]
    bounds = np.repeat(np.array(_BOUNDS)[rng.integers(0, len(_BOUNDS), groups)], 64, 0)[:count]
    magnitude = np.exp2(rng.uniform(0, np.log2(bound), count)).astype(np.int64)
    anywhere = np.where(rng.integers(0, 2, count) == 1, magnitude, -magnitude)
    state = np.where(rng.integers(0, 2, count) == 1, near_halves(rng, scale, bound), anywhere)
    edges = np.array([0, 1, -1, bound, -bound, (1 << 24) + 1, (1 << 25) + 2, (1 << 25) + 6])
    state[::997] = rng.choice(np.clip(edges, -bound, bound), len(state[::997]))
    return Cases(state, scale, bounds[:, 0].astype(np.int64), bounds[:, 1].astype(np.int64))
