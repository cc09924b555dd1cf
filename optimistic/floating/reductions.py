"""Reductions along axes; sums in any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from proofml.optimistic.floating.functions import Reals
from proofml.optimistic.floating.node import (
    Node,
    Rule,
    needed,
    normal_axes,
    optional,
    small_integers,
)
from proofml.optimistic.floating.running import Arithmetic, Axes, Running, count

Inputs = Sequence["Running | None"]
Reduce = Callable[[Arithmetic, Running, Axes], Running]


def axes_of(node: Node, inputs: Inputs, rank: int) -> Axes | None:
    """The axes that are reduced; None where the operator passes its input through."""
    given = optional(inputs, 1)
    axes = node.integers("axes", ()) if given is None else small_integers(given)
    if axes:
        return normal_axes(axes, rank)
    return None if node.integer("noop_with_empty_axes", 0) else tuple(range(rank))


def _rule(reduce: Reduce) -> Rule:
    def rule(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
        x = needed(node, inputs, 0)
        axes = axes_of(node, inputs, x.value.ndim)
        if axes is None:
            return [reduce(a, x, ())]
        result = reduce(a, x, axes)
        if not node.integer("keepdims", 1):
            result = result.map(lambda v: np.squeeze(v, axes))
        return [result]

    return rule


def _sum(a: Arithmetic, x: Running, axes: Axes) -> Running:
    return a.sum(x, axes) if axes else x


def _mean(a: Arithmetic, x: Running, axes: Axes) -> Running:
    return a.mean(x, axes) if axes else x


def _sum_square(a: Arithmetic, x: Running, axes: Axes) -> Running:
    return _sum(a, a.mul(x, x), axes)


def _l1(a: Arithmetic, x: Running, axes: Axes) -> Running:
    return _sum(a, Running(np.abs(x.value), x.error), axes)


def _l2(a: Arithmetic, x: Running, axes: Axes) -> Running:
    return a.sqrt(_sum_square(a, x, axes))


def _product(a: Arithmetic, x: Running, axes: Axes) -> Running:
    value = x.value.prod(axes, keepdims=True)
    n = max(1, count(x.value.shape, axes))
    if x.exact:
        return a.rounded(value, 0.0, n)
    spread = x.magnitude.prod(axes, keepdims=True) - np.abs(value)
    return a.rounded(value, (1 + n * 2.0**-50) * spread, n)


def _log_sum(a: Arithmetic, x: Running, axes: Axes) -> Running:
    return a.apply("Log", _sum(a, x, axes))


def _log_sum_exp(a: Arithmetic, x: Running, axes: Axes) -> Running:
    """m + log sum exp(x - m) for the largest x; without m it would overflow for large x."""
    m = highest(x, axes)
    total = _sum(a, a.apply("Exp", a.sub(x, m)), axes)
    return a.add(m, a.apply("Log", total))


def highest(x: Running, axes: Axes) -> Running:
    """The maximum along axes, kept; without rounding."""
    if not axes:
        return x
    value = x.value.max(axes, keepdims=True)
    return Running(value, 0.0 if x.exact else x.error_array().max(axes, keepdims=True))


def _extreme(sign: float) -> Reduce:
    def reduce(a: Arithmetic, x: Running, axes: Axes) -> Running:
        found = highest(Running(x.value * sign, x.error), axes)
        return Running(found.value * sign, found.error)

    return reduce


def _cumulative(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """Sums of the elements up to each place along one axis."""
    x = needed(node, inputs, 0)
    (axis,) = normal_axes(small_integers(needed(node, inputs, 1)), x.value.ndim)
    backwards, exclusive = node.integer("reverse", 0), node.integer("exclusive", 0)

    def run(values: Reals) -> Reals:
        if backwards:
            values = np.flip(values, axis)
        total = np.cumsum(values, axis)
        if exclusive:
            total = total - values
        return np.flip(total, axis) if backwards else total

    n = x.value.shape[axis]
    inherited = 0.0 if x.exact else run(x.error_array())
    # The exclusive sum is taken from an inclusive one in float64: the reference's own rounding.
    most = run(x.magnitude) + (2.0**-50 * x.magnitude if exclusive else 0.0)
    return [Running(run(x.value), inherited + a.gamma(n) * most + n * a.form.tiny)]


REDUCTIONS: dict[str, Rule] = {
    "ReduceSum": _rule(_sum),
    "ReduceMean": _rule(_mean),
    "ReduceSumSquare": _rule(_sum_square),
    "ReduceL1": _rule(_l1),
    "ReduceL2": _rule(_l2),
    "ReduceProd": _rule(_product),
    "ReduceLogSum": _rule(_log_sum),
    "ReduceLogSumExp": _rule(_log_sum_exp),
    "ReduceMax": _rule(_extreme(1.0)),
    "ReduceMin": _rule(_extreme(-1.0)),
    "CumSum": _cumulative,
}
