"""Elementary functions: a float64 reference, and the error that implementations may state.

An implementation's result for an exact argument lies within `relative * u * |f| + absolute * u`
of f, where u is the unit roundoff of its format; one ulp is at most 2 u |f|. Each entry is at
least twice the largest of: the tables "Known Maximum Errors in Math Functions" of the GNU C
Library manual and "Mathematical Functions Appendix" of the CUDA C++ Programming Guide, the 1.0 ulp
of SLEEF (which PyTorch calls), and the largest error seen over 400,000 arguments a function with
onnxruntime 1.32 and PyTorch 2.13 on x86-64. Two of those need an absolute part: onnxruntime's
tanh and logistic are rational approximations whose error is relative to 1, not to the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

Reals: TypeAlias = NDArray[np.float64]

_ERF = np.frompyfunc(math.erf, 1, 1)
_SQRT_HALF = math.sqrt(0.5)


@dataclass(frozen=True, slots=True)
class Function:
    """One real function.

    Attributes:
        evaluate: float64 -> float64, itself right to a few units of float64.
        relative, absolute: the stated error in units of u, see the module.
        monotone: over the whole domain; then an interval's image is that of its ends.
        slope: largest |f'|, used where it is not monotone.
    """

    evaluate: Callable[[Reals], Reals]
    relative: float
    absolute: float = 0.0
    monotone: bool = True
    slope: float = math.inf


def erf(x: Reals) -> Reals:
    """The error function; NumPy has none."""
    return np.asarray(cast(Any, _ERF(x)), np.float64)


def logistic(x: Reals) -> Reals:
    """1 / (1 + exp(-x)), without overflow and without cancellation."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def softplus(x: Reals) -> Reals:
    """log(1 + exp(x))."""
    return cast(Reals, np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))


FUNCTIONS: dict[str, Function] = {
    "Exp": Function(np.exp, 4),
    "Expm1": Function(np.expm1, 4, 2),  # or exp(x) - 1, whose error is relative to 1
    "Log": Function(np.log, 6),
    "Sin": Function(np.sin, 8, 2, monotone=False, slope=1.0),
    "Cos": Function(np.cos, 8, 2, monotone=False, slope=1.0),
    "Tan": Function(np.tan, 16, monotone=False),
    "Asin": Function(np.arcsin, 16, 8),
    "Acos": Function(np.arccos, 12, 8),
    "Atan": Function(np.arctan, 8, 4),
    "Sinh": Function(np.sinh, 12, 2),
    "Cosh": Function(np.cosh, 8, monotone=False),
    "Tanh": Function(np.tanh, 8, 10),
    "Asinh": Function(np.arcsinh, 12, 2),
    "Acosh": Function(np.arccosh, 16, 2),
    "Atanh": Function(np.arctanh, 12, 2),
    "Erf": Function(erf, 8, 2),
    "Sigmoid": Function(logistic, 8, 6),
    "Softplus": Function(softplus, 10, 2),
    # Correctly rounded by IEEE 754; a vectorised square root was seen at 1.5 u.
    "Sqrt": Function(np.sqrt, 3),
}
