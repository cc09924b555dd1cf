"""How floats become codes: onnxruntime's QuantizeLinear in float32, and steps found by bisection.

QuantizeLinear is `rint(clip(x / scale, low - zero, high - zero)) + zero` (MlasQuantizeLinear);
rounding is half to even.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.functions import Steps
from proofml.circuits.graph import Ints
from proofml.circuits.onnx.values import CODE_RANGE, Move, Moved


@dataclass(frozen=True)
class Quantisation:
    """Scale and zero point of a tensor that has one of each; `kernel` as for `Dequantised`."""

    scale: np.float32
    zero: int
    dtype: str
    kernel: str = ""

    @property
    def low(self) -> int:
        """Least centred code."""
        return CODE_RANGE[self.dtype][0] - self.zero

    @property
    def high(self) -> int:
        return CODE_RANGE[self.dtype][1] - self.zero


def quantise_floats(array: NDArray[np.float32], into: Quantisation) -> Ints:
    """What QuantizeLinear makes of floats, centred."""
    with np.errstate(over="ignore"):
        scaled = array / into.scale
    clipped = np.clip(scaled, np.float32(into.low), np.float32(into.high))
    result: Ints = np.rint(clipped).astype(np.int64)
    return result


def clipped(low: float, high: float, into: Quantisation) -> tuple[int, int]:
    """The centred codes that a clip to [low, high] leaves."""
    codes = quantise_floats(np.array([low, high], np.float32), into)
    return int(codes[0]), int(codes[1])


def quantised_fill(move: Move, into: Quantisation) -> Move:
    """A movement whose filling is a code instead of a float."""
    if isinstance(move, Moved) and move.fill is not None:
        fill = quantise_floats(np.array([move.fill], np.float32), into)
        return Moved(move.view, int(fill[0]) + into.zero)
    return move


def steps(function: Callable[[Ints], Ints], low: int, high: int) -> Steps:
    """A non-decreasing function of the integers in [low, high], by the places where it rises."""
    first, last = (int(v) for v in function(np.array([low, high], np.int64)))
    wanted = np.arange(first + 1, last + 1, dtype=np.int64)
    below = np.full(wanted.shape, low, np.int64)  # f(below) < wanted <= f(above)
    above = np.full(wanted.shape, high, np.int64)
    while (above - below > 1).any():
        middle = (below + above) >> 1
        reached = function(middle) >= wanted
        open_ = above - below > 1
        above = np.where(open_ & reached, middle, above)
        below = np.where(open_ & ~reached, middle, below)
    thresholds = np.unique(above)
    values = [first, *function(thresholds).tolist()] if len(thresholds) else [first]
    return Steps(tuple(thresholds.tolist()), tuple(values))
