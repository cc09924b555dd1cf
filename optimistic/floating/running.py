"""Running error analysis: a float64 value, and how far an honest result may lie from it.

The standard model (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., SIAM 2002,
sections 2.2, 3.1 and 3.3): each operation rounds its exact result z to z(1 + d) with |d| <= u, a
sum or product of n roundings has a relative error of at most gamma_n = n u / (1 - n u), and a dot
product of length n, in any order and with or without fused multiply-adds, lies within
gamma_n sum |a||b| of the exact one. Where an operation's operands already carry errors, these are
propagated, to all orders. What underflows may be flushed to zero.

u is that of the format in which the operator is claimed plus that of float64, so that the
reference's own rounding is part of the bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from proofml.errors import UnsupportedModel
from proofml.optimistic.floating.formats import FORMATS, REFERENCE_UNIT, Format
from proofml.optimistic.floating.functions import FUNCTIONS, Function, Reals

#: A bilinear map of two arrays, such as a matrix product or a convolution.
Bilinear: TypeAlias = Callable[[Reals, Reals], Reals]
Axes: TypeAlias = tuple[int, ...]
#: 0.0 where a value is exact: most inputs are, and no arrays are spent on them.
Error: TypeAlias = "Reals | float"

#: Absorbs the rounding of the error terms themselves: a few dozen operations in float64.
SLACK = 1 + 2.0**-40


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """`value` as computed in float64; an honest result lies within `error` of it, elementwise."""

    value: Reals
    error: Error = 0.0

    @property
    def magnitude(self) -> Reals:
        """The largest |result|."""
        return np.abs(self.value) if self.exact else np.abs(self.value) + self.error

    @property
    def exact(self) -> bool:
        return isinstance(self.error, float) and self.error == 0.0

    def map(self, change: Callable[[Reals], Reals]) -> Running:
        """A movement of elements, applied to values and errors alike."""
        if self.exact:
            return Running(change(self.value))
        return Running(change(self.value), change(self.error_array()))

    def error_array(self) -> Reals:
        """The error with the value's shape."""
        return np.broadcast_to(np.asarray(self.error, np.float64), self.value.shape)


def exact(value: NDArray[Any] | float) -> Running:
    """A value that is what it is."""
    return Running(np.asarray(value, np.float64))


class Arithmetic:
    """Operations of one format. `spare` more roundings are allowed in each contraction."""

    def __init__(self, form: Format, *, spare: int = 0) -> None:
        self.form = form
        self.u = form.unit + REFERENCE_UNIT
        self.spare = spare
        # Intermediate sums beyond this may overflow; float16 is summed in float32 or wider.
        self.ceiling = max(form.largest, FORMATS["float32"].largest)

    def gamma(self, n: int) -> float:
        """gamma_n.

        Raises:
            UnsupportedModel: n u >= 1, so that there is no bound.
        """
        if n * self.u >= 1:
            raise UnsupportedModel(
                f"a sum of {n} terms in {self.form.name} has no error bound (n u >= 1); "
                "expected a wider format"
            )
        return n * self.u / (1 - n * self.u)

    def rounded(self, value: Reals, error: Error, steps: int = 1) -> Running:
        """After `steps` roundings of a result that already has an error."""
        unit = self.gamma(steps)
        return Running(value, error + unit * (np.abs(value) + error) + steps * self.form.tiny)

    # -- arithmetic -------------------------------------------------------------------------

    def add(self, a: Running, b: Running) -> Running:
        return self.rounded(a.value + b.value, _sum(a.error, b.error))

    def sub(self, a: Running, b: Running) -> Running:
        return self.rounded(a.value - b.value, _sum(a.error, b.error))

    def mul(self, a: Running, b: Running) -> Running:
        return self.rounded(a.value * b.value, product_error(a, b))

    def div(self, a: Running, b: Running) -> Running:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            value = a.value / b.value
            if a.exact and b.exact:
                return self.rounded(value, 0.0)
            least = np.abs(b.value) - b.error
            error = (a.error + np.abs(value) * b.error) / least
        error = np.where(least > 0, error, np.inf)
        return self.rounded(value, np.where(b.value == 0, np.nan, error))

    def sqrt(self, a: Running) -> Running:
        return self.apply("Sqrt", a)

    def scale(self, a: Running, factor: float, steps: int = 1) -> Running:
        """Times a constant of the format, or by it; further roundings by `steps`."""
        return self.rounded(a.value * factor, a.error * abs(factor), steps)

    def shift(self, a: Running, offset: float) -> Running:
        """Plus a constant of the format."""
        return self.rounded(a.value + offset, a.error)

    # -- functions --------------------------------------------------------------------------

    def apply(self, name: str, a: Running) -> Running:
        """An elementary function of `functions.FUNCTIONS`."""
        return self.function(FUNCTIONS[name], a)

    def function(self, f: Function, a: Running) -> Running:
        with np.errstate(all="ignore"):
            value = f.evaluate(a.value)
            spread = _spread(f, a, value)
            most = np.abs(value) + spread
            error = spread + (f.relative * most + f.absolute) * self.u + self.form.tiny
        return Running(value, error)

    def piecewise(self, f: Callable[[Reals], Reals], a: Running) -> Running:
        """A function without rounding whose slope is at most 1: Relu, Clip, Abs, Neg."""
        return Running(f(a.value), a.error)

    # -- sums -------------------------------------------------------------------------------

    def sum(self, a: Running, axes: Axes, *, keep: bool = True) -> Running:
        """Sum over axes, in any order."""
        n = count(a.value.shape, axes)
        value = a.value.sum(axes, keepdims=keep)
        inherited: Error = 0.0
        if not a.exact:
            inherited = a.error_array().sum(axes, keepdims=keep)
        most = a.magnitude.sum(axes, keepdims=keep)
        error = inherited + self.gamma(n) * most + n * self.form.tiny
        return Running(value, np.where(most > self.ceiling, np.inf, error))

    def mean(self, a: Running, axes: Axes, *, keep: bool = True) -> Running:
        """The sum over n, divided by it or multiplied by its rounded inverse."""
        n = count(a.value.shape, axes)
        if n == 0:
            return Running(np.full_like(a.value.sum(axes, keepdims=keep), np.nan))
        return self.scale(self.sum(a, axes, keep=keep), 1.0 / n, 2)

    def contract(self, a: Running, b: Running, product: Bilinear, n: int) -> Running:
        """Dot products of length n, plus `spare`: gamma_n |a||b| and what the operands bring."""
        n = max(n, 1) + self.spare
        value = product(a.value, b.value)
        gamma = self.gamma(n)
        left, right = np.abs(a.value), np.abs(b.value)
        if a.exact and b.exact:
            error = gamma * product(left, right)
        elif b.exact:
            error = product(gamma * (left + a.error) + a.error, right)
        elif a.exact:
            error = product(left, gamma * (right + b.error) + b.error)
        else:
            most = product(a.magnitude, b.magnitude)
            error = most - product(left, right) + (gamma + 4 * n * REFERENCE_UNIT) * most
        # It is at least gamma |a||b|: so no sum of honest parts overflows unless it is larger.
        error = np.where(error > gamma * self.ceiling, np.inf, error)
        return Running(value, error + n * self.form.tiny)


def _sum(a: Error, b: Error) -> Error:
    return a + b


def product_error(a: Running, b: Running) -> Error:
    """What the errors of two factors make of their product, before it is rounded."""
    if a.exact and b.exact:
        return 0.0
    return cast(
        Error, np.abs(a.value) * b.error + np.abs(b.value) * a.error + _times(a.error, b.error)
    )


def _times(a: Error, b: Error) -> Error:
    return a * b


def count(shape: tuple[int, ...], axes: Axes) -> int:
    """Elements that a reduction over `axes` takes together."""
    n = 1
    for axis in axes:
        n *= shape[axis]
    return n


def _spread(f: Function, a: Running, value: Reals) -> Error:
    """How far f may move when its argument does."""
    if a.exact:
        return 0.0
    if not f.monotone:
        return a.error * f.slope
    ends = (f.evaluate(a.value - a.error), f.evaluate(a.value + a.error))
    spread = np.maximum(np.abs(ends[0] - value), np.abs(ends[1] - value))
    # Beyond the domain: no bound.
    return np.where(np.isnan(spread) & ~np.isnan(value), np.inf, spread)
