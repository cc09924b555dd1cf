"""From what calibration saw to a scale and a zero point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.quantise.record import (
    LOWEST_NORMAL,
    WHOLE,
    Params,
    QuantisationConfig,
)

#: Narrower ranges are those of a value that is always zero.
_NARROWEST = 2.0**-100
#: Candidates of the search for the least squared error, as shares of the range.
_SHARES = 100


@dataclass(frozen=True)
class Seen:
    """Values of one set: extremes, and counts in equal bins between them (perhaps none)."""

    low: float
    high: float
    counts: NDArray[np.int64]

    @property
    def centres(self) -> NDArray[np.floating]:
        width = (self.high - self.low) / max(len(self.counts), 1)
        return self.low + (np.arange(len(self.counts)) + 0.5) * width


def choose(seen: Seen, config: QuantisationConfig) -> Params:
    """The parameters for these values by the method of `config`."""
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    if config.method == "percentile" and seen.counts.sum():
        low, high = _percentile(seen, config.percentile)
    elif config.method == "mse" and seen.counts.sum():
        low, high = _least_error(seen, config.activations)
    return params_for(low, high, config.activations)


def params_for(low: float, high: float, dtype: str) -> Params:
    """Asymmetric: 0 is a code, and where `low` is 0 it is the lowest one."""
    low, high = min(low, 0.0), max(high, 0.0)
    bottom = 0 if dtype == "uint8" else -128
    width = np.float32((high - low) / 255)
    if not high - low > _NARROWEST:
        return Params(int(np.float32(1).view(np.uint32)), bottom, dtype)
    bits = min(max(int(width.view(np.uint32)), LOWEST_NORMAL), 0x7F7FFFFF)
    zero = bottom + int(np.clip(np.rint(-low / float(np.uint32(bits).view(np.float32))), 0, 255))
    return Params(bits, zero, dtype)


def _percentile(seen: Seen, share: int) -> tuple[float, float]:
    """The range of the `share` values in a million that are nearest to zero, by magnitude."""
    size = np.abs(seen.centres)
    order = np.argsort(size, kind="stable")
    total = np.cumsum(seen.counts[order])
    wanted = -(-int(total[-1]) * share // WHOLE)
    last = order[min(int(np.searchsorted(total, wanted)), len(order) - 1)]
    width = (seen.high - seen.low) / len(seen.counts)
    bound = float(size[last]) + width / 2
    return max(seen.low, -bound), min(seen.high, bound)


def _least_error(seen: Seen, dtype: str) -> tuple[float, float]:
    """Shares of the range, both ends alike, tried from the whole down."""
    best, result = np.inf, (seen.low, seen.high)
    centres, counts = seen.centres, seen.counts
    for step in range(_SHARES, _SHARES // 10, -1):
        low, high = (min(seen.low, 0.0) * step / _SHARES, max(seen.high, 0.0) * step / _SHARES)
        params = params_for(low, high, dtype)
        scale, zero = float(params.scale), params.zero_point
        codes = np.clip(np.rint(centres / scale) + zero, params.low, params.high)
        error = float(np.sum(counts * ((codes - zero) * scale - centres) ** 2))
        if error < best:
            best, result = error, (low, high)
    return result
