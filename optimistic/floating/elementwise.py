"""Elementwise operators: arithmetic, activations, and what rounds nothing.

Add, Sub, Mul, Div are correctly rounded by IEEE 754, section 5.4.1, so one rounding is all that an
honest machine adds. Activations are taken apart into the steps of their usual implementations; the
order of the steps is the one with the larger error where several are in use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from proofml.optimistic.floating.functions import Reals
from proofml.optimistic.floating.node import Node, Rule, needed, optional
from proofml.optimistic.floating.running import Arithmetic, Running, exact

Inputs = Sequence["Running | None"]

_SQRT_HALF = math.sqrt(0.5)
#: tanh's argument in the approximate Gelu: sqrt(2 / pi) (x + 0.044715 x^3).
_GELU_INNER, _GELU_CUBE = math.sqrt(2 / math.pi), 0.044715


def _binary(method: Callable[[Arithmetic, Running, Running], Running]) -> Rule:
    def rule(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
        return [method(a, needed(node, inputs, 0), needed(node, inputs, 1))]

    return rule


def _named(name: str) -> Rule:
    def rule(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
        return [a.apply(name, needed(node, inputs, 0))]

    return rule


def _without_rounding(f: Callable[[Reals], Reals]) -> Rule:
    def rule(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
        return [a.piecewise(f, needed(node, inputs, 0))]

    return rule


def _present(node: Node, inputs: Inputs) -> list[Running]:
    return [needed(node, inputs, index) for index in range(len(node.inputs))]


def _sum(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """Any number of tensors, added in any order."""
    terms = _present(node, inputs)
    value = cast(Reals, sum(term.value for term in terms))
    most = cast(Reals, sum(term.magnitude for term in terms))
    inherited = sum(term.error for term in terms)
    return [Running(value, inherited + a.gamma(len(terms)) * most + len(terms) * a.form.tiny)]


def _mean(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    return [a.scale(_sum(node, a, inputs)[0], 1.0 / len(node.inputs), 2)]


def _extreme(choose: Callable[[Reals, Reals], Reals]) -> Rule:
    def rule(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
        result, *rest = _present(node, inputs)
        for term in rest:
            error = 0.0 if result.exact and term.exact else np.maximum(result.error, term.error)
            result = Running(choose(result.value, term.value), error)
        return [result]

    return rule


def _clip(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    x = needed(node, inputs, 0)
    for name, index, choose in (("min", 1, np.maximum), ("max", 2, np.minimum)):
        bound = optional(inputs, index)
        limit = node.get(name, None) if bound is None else bound.value
        if limit is not None:
            x = Running(choose(x.value, limit), x.error)
    return [x]


def _pow(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """x^y: 16 u of its result; a small integer y may be computed by products instead."""
    x, y = needed(node, inputs, 0), needed(node, inputs, 1)
    with np.errstate(all="ignore"):
        value = x.value**y.value
        error = 16 * a.u * np.abs(value) + a.form.tiny
        if not y.exact:
            return [Running(value, np.full_like(value, np.inf))]
        if not x.exact:
            size, power = np.abs(x.value), y.value
            outer = np.abs((size + x.error) ** power - size**power)
            inner = np.abs(size**power - np.maximum(size - x.error, 0) ** power)
            error = (1 + 16 * a.u) * np.maximum(outer, inner) + error
            # A base that may be of either sign has no bound but for whole powers from 1 on.
            whole = (power >= 1) & (power == np.floor(power))
            error = np.where((size > x.error) | whole, error, np.inf)
    return [Running(value, error)]


def _reciprocal(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    return [a.div(exact(1.0), needed(node, inputs, 0))]


# -- activations --------------------------------------------------------------------------------


def _hard_sigmoid(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    x = needed(node, inputs, 0)
    line = a.shift(a.scale(x, node.real("alpha", 0.2)), node.real("beta", 0.5))
    return [Running(np.clip(line.value, 0.0, 1.0), line.error)]


def _hard_swish(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """x clip(x / 6 + 1/2, 0, 1), or x clip(x + 3, 0, 6) / 6: one rounding more."""
    x = needed(node, inputs, 0)
    line = a.shift(a.scale(x, 1 / 6, 2), 0.5)
    gate = Running(np.clip(line.value, 0.0, 1.0), line.error)
    product = a.mul(x, gate)
    return [a.rounded(product.value, product.error)]


def _leaky(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    return [_sloped(a, needed(node, inputs, 0), exact(node.real("alpha", 0.01)))]


def _prelu(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    return [_sloped(a, needed(node, inputs, 0), needed(node, inputs, 1))]


def _sloped(a: Arithmetic, x: Running, slope: Running) -> Running:
    """x where it is positive, slope x elsewhere."""
    below = a.mul(x, slope)
    value = np.where(x.value >= 0, x.value, below.value)
    if x.exact:
        return Running(value, np.where(x.value >= 0, 0.0, below.error))
    return Running(value, np.maximum(below.error, x.error))


def _elu(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    return [_exponential(a, needed(node, inputs, 0), node.real("alpha", 1.0), 1.0)]


def _selu(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    alpha, gamma = node.real("alpha", 1.6732632423543772), node.real("gamma", 1.0507009873554805)
    return [_exponential(a, needed(node, inputs, 0), alpha, gamma)]


def _celu(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    x, alpha = needed(node, inputs, 0), node.real("alpha", 1.0)
    scaled = a.div(x, exact(alpha))
    below = a.scale(a.apply("Expm1", _negative(scaled)), alpha)
    return [_joined(x, below, 1.0, a)]


def _exponential(a: Arithmetic, x: Running, alpha: float, gamma: float) -> Running:
    """gamma (x where positive, alpha (exp(x) - 1) elsewhere)."""
    below = a.scale(a.apply("Expm1", _negative(x)), alpha * gamma, 2)
    return _joined(x, below, gamma, a)


def _negative(x: Running) -> Running:
    return Running(np.minimum(x.value, 0.0), x.error)


def _joined(x: Running, below: Running, gamma: float, a: Arithmetic) -> Running:
    above = x if gamma == 1.0 else a.scale(x, gamma)
    value = np.where(x.value > 0, above.value, below.value)
    if x.exact:
        return Running(value, np.where(x.value > 0, above.error, below.error))
    return Running(value, np.maximum(above.error, below.error))


def _gelu(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    x = needed(node, inputs, 0)
    if node.text("approximate", "none") == "tanh":
        cube = a.scale(a.mul(a.mul(x, x), x), _GELU_CUBE, 2)
        bent = a.apply("Tanh", a.scale(a.add(x, cube), _GELU_INNER, 2))
    else:
        bent = a.apply("Erf", a.scale(x, _SQRT_HALF, 2))
    return [a.scale(a.mul(x, a.shift(bent, 1.0)), 0.5)]


def _swish(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    x = needed(node, inputs, 0)
    return [a.mul(x, a.apply("Sigmoid", a.scale(x, node.real("alpha", 1.0))))]


def _mish(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """x tanh(softplus(x)); tanh's error is taken as relative too where its argument is small."""
    x = needed(node, inputs, 0)
    return [a.mul(x, a.apply("Tanh", a.apply("Softplus", x)))]


def _softsign(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    x = needed(node, inputs, 0)
    quotient = a.div(x, a.shift(Running(np.abs(x.value), x.error), 1.0))
    return [a.rounded(quotient.value, quotient.error)]  # or times a rounded inverse


def _dequantise(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """(x - zero point) scale: integers are exact, one rounding."""
    x, scale, zero = needed(node, inputs, 0), needed(node, inputs, 1), optional(inputs, 2)
    shape = [1] * x.value.ndim
    if scale.value.size > 1:
        shape[node.integer("axis", 1)] = -1
    offset = 0.0 if zero is None else zero.value.reshape(shape if zero.value.size > 1 else ())
    factor = scale.value.reshape(shape) if scale.value.size > 1 else scale.value.reshape(())
    return [a.mul(Running(x.value - offset), Running(factor))]


ELEMENTWISE: dict[str, Rule] = {
    "Add": _binary(Arithmetic.add),
    "Sub": _binary(Arithmetic.sub),
    "Mul": _binary(Arithmetic.mul),
    "Div": _binary(Arithmetic.div),
    "Pow": _pow,
    "Sum": _sum,
    "Mean": _mean,
    "Max": _extreme(np.maximum),
    "Min": _extreme(np.minimum),
    "Clip": _clip,
    "Abs": _without_rounding(np.abs),
    "Neg": _without_rounding(np.negative),
    "Relu": _without_rounding(lambda x: np.maximum(x, 0.0)),
    "Identity": _without_rounding(lambda x: x),
    "Reciprocal": _reciprocal,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "Elu": _elu,
    "Selu": _selu,
    "Celu": _celu,
    "Gelu": _gelu,
    "Swish": _swish,
    "Mish": _mish,
    "Softsign": _softsign,
    "DequantizeLinear": _dequantise,
    **{
        name: _named(name)
        for name in (
            "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cos", "Cosh", "Erf", "Exp", "Log",
            "Sigmoid", "Sin", "Sinh", "Softplus", "Sqrt", "Tan", "Tanh",
        )
    },
}  # fmt: skip

#: One rounding of IEEE 754 and nothing else: folding them is the same on every machine.
CORRECTLY_ROUNDED = frozenset({"Add", "Sub", "Mul", "Div"})
