"""Functions of one float32 variable, evaluated to the same bits everywhere.

An expression is evaluated operator by operator, each result rounded to float32: arithmetic by
IEEE-754, transcendental functions by `decimal` at 50 digits (rounded through float64). That is
what a float32 runtime with perfect functions computes; onnxruntime's polynomials for exp, erf,
tanh and sigmoid are off by an ulp or two, which shows in a code only next to a tie.

The error function is Abramowitz and Stegun 7.1.6 (a series without cancellation), and 1 within 40
digits beyond |x| = 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_DIGITS = Context(prec=50, rounding=ROUND_HALF_EVEN, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")
#: exp beyond these is 0 or infinity in float32, and slow in decimal.
_EXP_RANGE = (Decimal(-200), Decimal(200))


@dataclass(frozen=True)
class Expression:
    """A tree of operators over one variable.

    Attributes:
        operator: "x" (the variable), "constant" (`numbers[0]`), or a key of `OPERATORS`.
        numbers: parameters, each a float32 value.
    """

    operator: str
    arguments: tuple[Expression, ...] = ()
    numbers: tuple[float, ...] = ()


VARIABLE = Expression("x")


def constant(value: float) -> Expression:
    return Expression("constant", (), (float(np.float32(value)),))


def evaluate(expression: Expression, x: Floats) -> Floats:
    """The expression at each x, float32 of the same shape; NaN where it has no value.

    Raises:
        ValueError: an operator that this module does not have.
    """
    if expression.operator == "x":
        return x
    numbers = [np.float32(number) for number in expression.numbers]
    if expression.operator == "constant":
        return np.full(x.shape, numbers[0], np.float32)
    if expression.operator not in OPERATORS:
        raise ValueError(f"no function {expression.operator!r}; expected {', '.join(OPERATORS)}")
    arguments = [evaluate(argument, x) for argument in expression.arguments]
    with np.errstate(all="ignore"):
        result: Floats = OPERATORS[expression.operator](*arguments, *numbers).astype(np.float32)
    return result


def _by_decimal(function: Callable[[Decimal], Decimal]) -> Callable[[Floats], Floats]:
    def apply(x: Floats) -> Floats:
        known: dict[float, float] = {}
        for value in x.reshape(-1).tolist():
            if value not in known:
                known[value] = float(function(Decimal(value))) if np.isfinite(value) else np.nan
        flat = [known.get(value, np.nan) for value in x.reshape(-1).tolist()]
        return np.array(flat, np.float64).astype(np.float32).reshape(x.shape)

    return apply


def _exp(x: Decimal) -> Decimal:
    low, high = _EXP_RANGE
    return _DIGITS.exp(min(max(x, low), high))


def _sigmoid(x: Decimal) -> Decimal:
    return _DIGITS.divide(Decimal(1), _DIGITS.add(Decimal(1), _exp(-x)))


def _tanh(x: Decimal) -> Decimal:
    if abs(x) < Decimal("1e-10"):
        return x  # cancellation would take the digits, and x^3 / 3 is below them
    e = _exp(_DIGITS.multiply(Decimal(2), x))
    return _DIGITS.divide(_DIGITS.subtract(e, Decimal(1)), _DIGITS.add(e, Decimal(1)))


def _erf(x: Decimal) -> Decimal:
    if abs(x) > 10:
        return Decimal(1).copy_sign(x)
    square = _DIGITS.multiply(x, x)
    term = total = x
    n = 0
    while abs(term) > Decimal("1e-48"):
        n += 1
        term = _DIGITS.divide(
            _DIGITS.multiply(term, _DIGITS.multiply(Decimal(2), square)), Decimal(2 * n + 1)
        )
        total = _DIGITS.add(total, term)
    factor = _DIGITS.divide(Decimal(2), _DIGITS.sqrt(_PI))
    return _DIGITS.multiply(_DIGITS.multiply(factor, _exp(-square)), total)


def _gelu(x: Decimal) -> Decimal:
    inner = _erf(_DIGITS.divide(x, _DIGITS.sqrt(Decimal(2))))
    return _DIGITS.multiply(_DIGITS.multiply(x, Decimal("0.5")), _DIGITS.add(Decimal(1), inner))


def _gelu_tanh(x: Decimal) -> Decimal:
    cube = _DIGITS.multiply(_DIGITS.multiply(x, x), x)
    inner = _DIGITS.multiply(
        _DIGITS.sqrt(_DIGITS.divide(Decimal(2), _PI)),
        _DIGITS.add(x, _DIGITS.multiply(Decimal("0.044715"), cube)),
    )
    half = _DIGITS.multiply(x, Decimal("0.5"))
    return _DIGITS.multiply(half, _DIGITS.add(Decimal(1), _tanh(inner)))


def _clip(x: Floats, low: np.float32, high: np.float32) -> Floats:
    return np.minimum(np.maximum(x, low), high)


def _leaky(x: Floats, alpha: np.float32) -> Floats:
    result: Floats = np.where(x >= 0, x, alpha * x)
    return result


def _hard_sigmoid(x: Floats, alpha: np.float32, beta: np.float32) -> Floats:
    result: Floats = np.maximum(np.float32(0), np.minimum(np.float32(1), alpha * x + beta))
    return result


OPERATORS: Mapping[str, Callable[..., NDArray[np.floating]]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "relu": lambda a: np.maximum(a, np.float32(0)),
    "clip": _clip,
    "leaky": _leaky,
    "hard_sigmoid": _hard_sigmoid,
    "exp": _by_decimal(_exp),
    "erf": _by_decimal(_erf),
    "sigmoid": _by_decimal(_sigmoid),
    "tanh": _by_decimal(_tanh),
    "gelu": _by_decimal(_gelu),
    "gelu_tanh": _by_decimal(_gelu_tanh),
}
