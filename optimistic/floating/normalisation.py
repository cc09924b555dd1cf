"""Normalisations: batch, layer, instance, group, root mean square, L1 and L2, local response.

A variance may be computed in two passes, by Welford's update, or as E[x^2] - E[x]^2, which
onnxruntime does on CPUs. The last one cancels, so its error is relative to E[x^2]; the bound covers
it: with Q = E[x^2] and A = E|x|, squares, sum and division give gamma_(n+2) Q, the squared mean
gamma_(2n+4) A^2, and the difference one rounding more, in all less than gamma_(2n+6) (Q + A^2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from proofml.optimistic.floating.functions import Reals
from proofml.optimistic.floating.node import Node, Rule, needed, normal_axes, optional
from proofml.optimistic.floating.running import Arithmetic, Axes, Running, count, exact

Inputs = Sequence["Running | None"]

#: Roundings on the way to scale / sqrt(var + epsilon), and of x and mean on theirs: add 1, square
#: root 3 (as `functions` states it), inverse 1, product 1, then difference, product, sum.
_BATCH_STEPS = 10


def _batch(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """(x - mean) s + B or x s + (B - mean s), where s = scale / sqrt(var + epsilon)."""
    x = needed(node, inputs, 0)
    shape = (-1, *(1,) * (x.value.ndim - 2))
    scale, bias, mean, var = (needed(node, inputs, i).value.reshape(shape) for i in range(1, 5))
    with np.errstate(invalid="ignore", divide="ignore"):
        s = scale / np.sqrt(var + node.real("epsilon", 1e-5))
    gamma = a.gamma(_BATCH_STEPS)
    most = (x.magnitude + np.abs(mean)) * np.abs(s) + np.abs(bias)
    error = gamma * most + x.error * np.abs(s) + _BATCH_STEPS * a.form.tiny
    return [Running((x.value - mean) * s + bias, error)]


def moments(a: Arithmetic, x: Running, axes: Axes) -> tuple[Running, Running]:
    """Mean and variance along axes (kept), by whichever formula; `x` carries no error.

    Raises:
        UnsupportedModel: as `Arithmetic.gamma`.
    """
    n = max(1, count(x.value.shape, axes))
    mean = a.mean(x, axes)
    centred = x.value - mean.value
    var = (centred * centred).mean(axes, keepdims=True)
    square = (x.value * x.value).mean(axes, keepdims=True)
    size = np.abs(x.value).mean(axes, keepdims=True)
    error = a.gamma(2 * n + 6) * (square + size * size) + n * a.form.tiny
    return mean, Running(var, error)


def _normalised(
    node: Node, a: Arithmetic, x: Running, axes: Axes, epsilon: float
) -> tuple[Running, Running, Running]:
    """((x - mean) / sqrt(var + epsilon), mean, 1 / sqrt(var + epsilon))."""
    if not x.exact:
        raise node.refuse("expected operands without errors")
    mean, var = moments(a, x, axes)
    inverse = a.div(exact(1.0), a.sqrt(a.shift(var, epsilon)))
    return a.mul(a.sub(x, mean), inverse), mean, inverse


def _affine(a: Arithmetic, y: Running, scale: Running | None, bias: Running | None) -> Running:
    if scale is not None:
        y = a.mul(y, scale)
    return y if bias is None else a.add(y, bias)


def _layer(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    x = needed(node, inputs, 0)
    (first,) = normal_axes((node.integer("axis", -1),), x.value.ndim)
    axes = tuple(range(first, x.value.ndim))
    y, mean, inverse = _normalised(node, a, x, axes, node.real("epsilon", 1e-5))
    outputs = [_affine(a, y, optional(inputs, 1), optional(inputs, 2)), mean, inverse]
    return outputs[: len(node.outputs)]


def _root_mean_square(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """x scale / sqrt(E[x^2] + epsilon)."""
    x = needed(node, inputs, 0)
    if not x.exact:
        raise node.refuse("expected operands without errors")
    (first,) = normal_axes((node.integer("axis", -1),), x.value.ndim)
    axes = tuple(range(first, x.value.ndim))
    square = a.mean(a.mul(x, x), axes)
    y = a.div(x, a.sqrt(a.shift(square, node.real("epsilon", 1e-5))))
    return [_affine(a, a.rounded(y.value, y.error), optional(inputs, 1), None)]


def _channels(parameter: Running, rank: int) -> Running:
    return parameter.map(lambda v: v.reshape(-1, *(1,) * (rank - 2)))


def _instance(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    x = needed(node, inputs, 0)
    rank = x.value.ndim
    y, _, _ = _normalised(node, a, x, tuple(range(2, rank)), node.real("epsilon", 1e-5))
    scale, bias = (_channels(needed(node, inputs, index), rank) for index in (1, 2))
    return [_affine(a, y, scale, bias)]


def _group(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    x = needed(node, inputs, 0)
    shape, groups = x.value.shape, node.integer("num_groups", 1)
    if groups < 1 or shape[1] % groups:
        raise node.refuse(f"{groups} groups do not divide {shape[1]} channels")
    split = x.map(lambda v: v.reshape(shape[0], groups, -1))
    y, _, _ = _normalised(node, a, split, (2,), node.real("epsilon", 1e-5))
    scale, bias = (_channels(needed(node, inputs, index), len(shape)) for index in (1, 2))
    return [_affine(a, y.map(lambda v: v.reshape(shape)), scale, bias)]


def _lp(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """x / |x|_p along one axis, p = 1 or 2."""
    x = needed(node, inputs, 0)
    axes = normal_axes((node.integer("axis", -1),), x.value.ndim)
    if node.integer("p", 2) == 1:
        norm = a.sum(Running(np.abs(x.value), x.error), axes)
    else:
        norm = a.sqrt(a.sum(a.mul(x, x), axes))
    y = a.div(x, norm)
    zero = np.broadcast_to(norm.value == 0, y.value.shape)
    return [Running(np.where(zero, 0.0, y.value), np.where(zero, 0.0, y.error))]


def _local_response(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """x / (bias + alpha / size * sum of squares over neighbouring channels)^beta."""
    x = needed(node, inputs, 0)
    size = node.integer("size", 1)
    if not x.exact or size < 1:
        raise node.refuse("expected operands without errors and a size from 1 on")
    before = (size - 1) // 2
    pads = [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.value.ndim - 2)]
    squares: Reals = np.pad(x.value * x.value, pads)
    channels = x.value.shape[1]
    total = sum((squares[:, i : i + channels] for i in range(size)), np.zeros(x.value.shape))
    beta, bias = node.real("beta", 0.75), node.real("bias", 1.0)
    base = bias + node.real("alpha", 1e-4) / size * total
    # Squares, their sum, the factor and the offset, to the power beta; 16 u for that, 1 to divide.
    steps = math.ceil((size + 4) * max(1.0, abs(beta))) + 20
    value = x.value / base**beta
    return [Running(value, a.gamma(steps) * np.abs(value) + steps * a.form.tiny)]


NORMALISATIONS: dict[str, Rule] = {
    "BatchNormalization": _batch,
    "LayerNormalization": _layer,
    "RMSNormalization": _root_mean_square,
    "InstanceNormalization": _instance,
    "GroupNormalization": _group,
    "LpNormalization": _lp,
    "LRN": _local_response,
}
