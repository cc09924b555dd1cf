"""Functions of one integer that a Step applies: recipes that everybody evaluates to the same bits.

    requant  `rint(clip(f32(a) * s, low, high))`, what onnxruntime's integer kernels do to an
             accumulator: one conversion and one product in float32 (IEEE-754, ties to even)
    table    every value written out, over a range of `a`
    steps    written out by the places where the value changes
    pair     QLinearAdd and QLinearMul of two 8-bit codes, `a = 256 * left + right` (raw codes)
    relu     `max(a, 0)`, for maxima

Only IEEE float32 operations that every NumPy rounds alike are used; no exp, no libm. Values are
centred codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.canonical import JSON
from proofml.circuits.axes import integer_item
from proofml.fields import FieldError, Fields

Ints: TypeAlias = NDArray[np.int64]

#: Codes are at most 16 bits wide; the centred ones take one more.
MAX_CODE = 1 << 17
#: Accumulators stay below a quarter of the field (`ranges`).
MAX_ARGUMENT = 1 << 29
MAX_TABLE = 1 << 17
_LOWEST_NORMAL = 0x00800000
_INFINITY = 0x7F800000


def float32_of(bits: int) -> np.float32:
    """The float32 with these bits."""
    return np.uint32(bits).view(np.float32)


def bits_of(value: float | np.floating) -> int:
    """The bits of a float32."""
    return int(np.float32(value).view(np.uint32))


@dataclass(frozen=True)
class Requant:
    """`scale`: bits of a positive normal float32; `low`, `high`: centred bounds of the result."""

    scale: int
    low: int
    high: int

    def evaluate(self, a: Ints) -> Ints:
        # Values beyond 2^24 round once in the conversion, as an int32 to float32 cast does.
        scaled = a.astype(np.float32) * float32_of(self.scale)
        clipped = np.clip(scaled, np.float32(self.low), np.float32(self.high))
        return np.rint(clipped).astype(np.int64)

    def starts(self, low: int, high: int) -> Ints:
        """Smallest arguments of the maximal intervals of constant value in [low, high]."""
        ends = self.evaluate(np.array([low, high], np.int64))
        wanted = np.arange(int(ends[0]) + 1, int(ends[1]) + 1, dtype=np.int64)
        below = np.full(wanted.shape, low, np.int64)  # f(below) < wanted <= f(above)
        above = np.full(wanted.shape, high, np.int64)
        while True:
            middle = (below + above) >> 1
            open_ = above - below > 1
            if not open_.any():
                break
            reached = self.evaluate(middle) >= wanted
            above = np.where(open_ & reached, middle, above)
            below = np.where(open_ & ~reached, middle, below)
        return np.unique(np.concatenate([np.array([low], np.int64), above]))

    def to_json(self) -> dict[str, JSON]:
        return {"kind": "requant", "scale": self.scale, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Table:
    """`values[a - low]` for a from `low` on; nothing outside."""

    low: int
    values: tuple[int, ...]

    @property
    def high(self) -> int:
        return self.low + len(self.values) - 1

    def evaluate(self, a: Ints) -> Ints:
        return np.array(self.values, np.int64)[a - self.low]

    def starts(self, low: int, high: int) -> Ints:
        values = np.array(self.values, np.int64)[low - self.low : high - self.low + 1]
        return low + np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))

    def to_json(self) -> dict[str, JSON]:
        return {"kind": "table", "low": self.low, "values": self.values}


@dataclass(frozen=True)
class Steps:
    """`values[k]` where k thresholds are at most a; `len(values) = len(thresholds) + 1`."""

    thresholds: tuple[int, ...]
    values: tuple[int, ...]

    def evaluate(self, a: Ints) -> Ints:
        at = np.searchsorted(np.array(self.thresholds, np.int64), a, side="right")
        return np.array(self.values, np.int64)[at]

    def starts(self, low: int, high: int) -> Ints:
        inner = [t for t in self.thresholds if low < t <= high]
        return np.array([low, *inner], np.int64)

    def to_json(self) -> dict[str, JSON]:
        return {"kind": "steps", "thresholds": self.thresholds, "values": self.values}


@dataclass(frozen=True)
class Relu:
    """`max(a, 0)`."""

    def evaluate(self, a: Ints) -> Ints:
        return np.maximum(a, 0)

    def starts(self, low: int, high: int) -> Ints:
        rising = np.arange(max(low, 0) + 1, high + 1, dtype=np.int64)
        return np.concatenate([np.array([low], np.int64), rising])

    def to_json(self) -> dict[str, JSON]:
        return {"kind": "relu"}


Function: TypeAlias = Requant | Table | Steps | Relu


def image(function: Function, low: int, high: int) -> tuple[int, int]:
    """Least and largest value of the function on [low, high]."""
    if isinstance(function, Requant | Relu):  # neither ever falls
        arguments = np.array([low, high], np.int64)
    else:
        arguments = function.starts(low, high)
    values = function.evaluate(arguments)
    return int(values.min()), int(values.max())


def domain(function: Function) -> tuple[int, int]:
    """Arguments for which the function is defined."""
    if isinstance(function, Table):
        return function.low, function.high
    return -MAX_ARGUMENT, MAX_ARGUMENT


def read_function(value: object, path: str) -> Function:
    """Strictly from its JSON form; raises `FieldError`."""
    fields = Fields(value, path)
    kind = fields.string("kind", choices=("requant", "table", "steps", "relu"))
    result: Function
    if kind == "requant":
        low, high = _range(fields)
        result = Requant(fields.integer("scale", _LOWEST_NORMAL, _INFINITY - 1), low, high)
    elif kind == "table":
        result = Table(
            fields.integer("low", -MAX_ARGUMENT, MAX_ARGUMENT),
            fields.items("values", _code, most=MAX_TABLE),
        )
        if not result.values:
            raise FieldError(fields.at("values"), "at least one value", [])
    elif kind == "steps":
        thresholds = fields.items("thresholds", _argument, most=MAX_TABLE)
        result = Steps(thresholds, fields.items("values", _code, most=MAX_TABLE + 1))
        if list(thresholds) != sorted(set(thresholds)):
            raise FieldError(fields.at("thresholds"), "an ascending list", "another order")
        if len(result.values) != len(thresholds) + 1:
            raise FieldError(fields.at("values"), f"{len(thresholds) + 1} values", result.values)
        if any(a == b for a, b in zip(result.values, result.values[1:], strict=False)):
            raise FieldError(fields.at("values"), "neighbours that differ", "equal ones")
    else:
        result = Relu()
    fields.done()
    return result


def _range(fields: Fields) -> tuple[int, int]:
    low = fields.integer("low", -MAX_CODE, MAX_CODE)
    return low, fields.integer("high", low, MAX_CODE)


def _code(value: object, path: str) -> int:
    return integer_item(value, path, -MAX_CODE, MAX_CODE)


def _argument(value: object, path: str) -> int:
    return integer_item(value, path, -MAX_ARGUMENT, MAX_ARGUMENT)
