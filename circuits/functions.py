"""Functions of one integer that a Step applies: recipes that everybody evaluates to the same bits.

    requant  `rint(clip(f32(a) * s, low, high))`, what onnxruntime's integer kernels do to an
             accumulator: one conversion and one product in float32 (IEEE-754, ties to even)
    table    every value written out, over a range of `a`
    steps    written out by the places where the value changes
    pair     QLinearAdd and QLinearMul of two 8-bit codes, `a = 256 * left + right`
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
#: Ratios and products of scales: none is subnormal or infinite anywhere in the arithmetic.
_LEAST_RATIO, _LARGEST_RATIO = 2.0**-100, 2.0**100


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
        rounded: Ints = np.rint(clipped).astype(np.int64)
        return rounded

    def starts(self, low: int, high: int) -> Ints:
        """Smallest arguments of the maximal intervals of constant value in [low, high]."""
        ends = self.evaluate(np.array([low, high], np.int64))
        wanted = np.arange(int(ends[0]) + 1, int(ends[1]) + 1, dtype=np.int64)
        # Each start is near the real quotient; where that guess is not proven right on both
        # sides, the whole range is searched. Invariant: f(below) < wanted <= f(above).
        quotient = (wanted - 0.5) / float(float32_of(self.scale))
        guess = np.clip(quotient, low, high).astype(np.int64)
        reach = 2 + (np.abs(guess) >> 22)
        below = np.clip(guess - reach, low, high)
        above = np.clip(guess + reach, low, high)
        below = np.where(self.evaluate(below) < wanted, below, low)
        above = np.where(self.evaluate(above) >= wanted, above, high)
        while True:
            middle = (below + above) >> 1
            open_ = above - below > 1
            if not open_.any():
                break
            reached = self.evaluate(middle) >= wanted
            above = np.where(open_ & reached, middle, above)
            below = np.where(open_ & ~reached, middle, below)
        starts = np.sort(np.concatenate([np.array([low], np.int64), above]))
        # As np.unique, which imports numpy.ma.
        distinct: Ints = starts[np.append(True, starts[1:] != starts[:-1])]
        return distinct

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


@dataclass(frozen=True)
class Pair:
    """A sum or product of two quantised tensors; `a = 256 * left + right`.

    The argument holds codes counted from the least one (`base`: 0, or -128 for signed codes), the
    result is centred. The arithmetic is that of onnxruntime's kernels on x86 with AVX2, bit for
    bit: qladd_avx2.cpp (ratios of scales, two fused multiply-adds, one fixed part; a tensor of
    which the kernel takes one cell goes into the fixed part first) and qlmul.cpp (one product and
    one sum). Compilers fuse one product of the fixed part too, which was found by experiment.

    Attributes:
        operator: "add" or "mul".
        form: "full"; for sums also "left" or "right", the operand that the kernel takes as one
            cell; "float" for DequantizeLinear, operator and QuantizeLinear one after the other.
        left, right, out: bits of the scales, then zero points.
        low, high: centred bounds of the result.
    """

    operator: str
    form: str
    base: int
    left: tuple[int, int]
    right: tuple[int, int]
    out: tuple[int, int]
    low: int
    high: int

    def evaluate(self, a: Ints) -> Ints:
        left, right = (a >> 8) + self.base, (a & 255) + self.base
        with np.errstate(over="ignore"):
            if self.form == "float":
                return self._float(left, right)
            x = self._product(left, right) if self.operator == "mul" else self._sum(left, right)
        # Beyond an int32 the conversion gives the least one, which saturates as such.
        x = np.where(np.abs(x) < np.float32(2**31), x, np.float32(-(2**31)))
        result: Ints = np.clip(np.rint(x).astype(np.int64) - self.out[1], self.low, self.high)
        return result

    def _sum(self, left: Ints, right: Ints) -> NDArray[np.float32]:
        out = float32_of(self.out[0])
        ratios = float32_of(self.left[0]) / out, float32_of(self.right[0]) / out
        zeros = [np.float32(zero) for _, zero in (self.left, self.right, self.out)]
        x = np.asarray(zeros[2] - fused(zeros[0], ratios[0], ratios[1] * zeros[1]), np.float32)
        order = [(right, ratios[1]), (left, ratios[0])]
        for code, ratio in order[::-1] if self.form == "left" else order:
            x = fused(code.astype(np.float32), ratio, x)
        return x

    def _product(self, left: Ints, right: Ints) -> NDArray[np.float32]:
        ratio = float32_of(self.left[0]) * float32_of(self.right[0]) / float32_of(self.out[0])
        product = ((left - self.left[1]) * (right - self.right[1])).astype(np.float32)
        return product * ratio + np.float32(self.out[1])

    def _float(self, left: Ints, right: Ints) -> Ints:
        first = (left - self.left[1]).astype(np.float32) * float32_of(self.left[0])
        second = (right - self.right[1]).astype(np.float32) * float32_of(self.right[0])
        x = (first * second if self.operator == "mul" else first + second) / float32_of(self.out[0])
        clipped = np.clip(x, np.float32(self.low), np.float32(self.high))
        result: Ints = np.rint(clipped).astype(np.int64)
        return result

    def starts(self, low: int, high: int) -> Ints:
        values = self.evaluate(np.arange(low, high + 1, dtype=np.int64))
        return low + np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))

    def to_json(self) -> dict[str, JSON]:
        return {
            "kind": "pair",
            "operator": self.operator,
            "form": self.form,
            "base": self.base,
            "left": self.left,
            "right": self.right,
            "out": self.out,
            "low": self.low,
            "high": self.high,
        }


def fused(
    a: NDArray[np.float32] | np.float32, b: np.float32, c: NDArray[np.float32] | np.float32
) -> NDArray[np.float32]:
    """`a * b + c` rounded once to float32, for `a` of at most 16 significant bits.

    The product is exact in float64; the sum is rounded to odd there (S. Boldo, G. Melquiond,
    "Emulation of a FMA and correctly rounded sums", 2008), so that rounding it again is harmless.
    """
    product = np.asarray(a, np.float64) * np.float64(b)
    addend = np.asarray(c, np.float64)
    total = np.atleast_1d(product + addend)
    back = total - product
    rest = (product - (total - back)) + (addend - back)
    bits = total.view(np.int64)
    away = np.where((rest > 0) == (total > 0), 1, -1)
    odd = np.where((rest != 0) & (bits & 1 == 0), bits + away, bits)
    result: NDArray[np.float32] = odd.view(np.float64).astype(np.float32)
    return result.reshape(np.broadcast_shapes(product.shape, addend.shape))


Function: TypeAlias = Requant | Table | Steps | Relu | Pair


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
    if isinstance(function, Pair):
        return 0, (1 << 16) - 1
    return -MAX_ARGUMENT, MAX_ARGUMENT


def read_function(value: object, path: str) -> Function:
    """Strictly from its JSON form; raises `FieldError`."""
    fields = Fields(value, path)
    kind = fields.string("kind", choices=("requant", "table", "steps", "relu", "pair"))
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
    elif kind == "pair":
        result = _read_pair(fields)
    else:
        result = Relu()
    fields.done()
    return result


def _read_pair(fields: Fields) -> Pair:
    operator = fields.string("operator", choices=("add", "mul"))
    forms = ("full", "float") if operator == "mul" else ("full", "float", "left", "right")
    form = fields.string("form", choices=forms)
    base = fields.integer("base", -128, 0)
    if base not in (-128, 0):
        raise FieldError(fields.at("base"), "0 or -128", base)
    low, high = _range(fields)
    left, right, out = (_scale(fields, key, base) for key in ("left", "right", "out"))
    ratios = [float(float32_of(s[0])) / float(float32_of(out[0])) for s in (left, right)]
    product = float(float32_of(left[0])) * float(float32_of(right[0]))
    if operator == "mul":
        ratios = [product / float(float32_of(out[0])), product]
    if not all(_LEAST_RATIO <= ratio <= _LARGEST_RATIO for ratio in ratios):
        raise FieldError(fields.at("out"), "scales of similar size", ratios)
    return Pair(operator, form, base, left, right, out, low, high)


def _scale(fields: Fields, key: str, base: int) -> tuple[int, int]:
    """Bits of a scale, and a zero point that is a code."""

    def item(value: object, path: str) -> int:
        return integer_item(value, path, base, _INFINITY - 1)

    pair = fields.items(key, item, most=2)
    if len(pair) != 2 or pair[0] < _LOWEST_NORMAL or not base <= pair[1] <= base + 255:
        raise FieldError(fields.at(key), "bits of a normal scale, and a code", list(pair))
    return pair[0], pair[1]


def _range(fields: Fields) -> tuple[int, int]:
    low = fields.integer("low", -MAX_CODE, MAX_CODE)
    return low, fields.integer("high", low, MAX_CODE)


def _code(value: object, path: str) -> int:
    return integer_item(value, path, -MAX_CODE, MAX_CODE)


def _argument(value: object, path: str) -> int:
    return integer_item(value, path, -MAX_ARGUMENT, MAX_ARGUMENT)
