"""Softmax, LogSoftmax and Attention.

The largest score is subtracted first, as every runtime does; the sum may be in any order, in
blocks that are rescaled (as fused kernels do), and the division may be a product by an inverse.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proofml.optimistic.floating.functions import Reals
from proofml.optimistic.floating.node import Node, Rule, needed, normal_axes, optional
from proofml.optimistic.floating.reductions import highest
from proofml.optimistic.floating.running import Arithmetic, Axes, Running

Inputs = Sequence["Running | None"]


def _axes(node: Node, rank: int) -> Axes:
    """One axis; before opset 13 all from it on, taken together."""
    if node.opset >= 13:
        return normal_axes((node.integer("axis", -1),), rank)
    (first,) = normal_axes((node.integer("axis", 1),), rank) if rank else (0,)
    return tuple(range(first, rank))


def _weights(a: Arithmetic, x: Running, axes: Axes) -> tuple[Running, Running, Running]:
    """(x - m, exp(x - m), their sum): a rescaled block adds an exponential of its own to each."""
    m = highest(x, axes)
    with np.errstate(invalid="ignore"):
        below = a.sub(x, m)
        # -inf - (a finite m) is exact: a masked score.
        masked = np.isneginf(x.value) & np.isfinite(m.value)
        below = Running(below.value, np.where(masked, 0.0, below.error))
        power = a.apply("Exp", Running(below.value, 2 * np.asarray(below.error)))
        power = a.rounded(power.value, np.where(masked, 0.0, power.error), 6)
        power = Running(power.value, np.where(masked, 0.0, power.error))
    return below, power, a.sum(power, axes)


def softmax(a: Arithmetic, x: Running, axes: Axes) -> Running:
    _, power, total = _weights(a, x, axes)
    quotient = a.div(power, total)
    return a.rounded(quotient.value, quotient.error)


def _softmax(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    x = needed(node, inputs, 0)
    if not x.value.size:
        return [x]
    return [softmax(a, x, _axes(node, x.value.ndim))]


def _log_softmax(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """(x - m) - log(sum), or x - (m + log(sum)), whose rounding is relative to m."""
    x = needed(node, inputs, 0)
    if not x.value.size:
        return [x]
    axes = _axes(node, x.value.ndim)
    below, _, total = _weights(a, x, axes)
    result = a.sub(below, a.apply("Log", total))
    m = highest(x, axes)
    return [Running(result.value, result.error + 2 * a.u * (m.magnitude + np.abs(result.value)))]


def _attention(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """softmax(Q K^T scale + mask) V by heads (opset 23), without cache, softcap or dropout."""
    q, k, v = (needed(node, inputs, index) for index in range(3))
    mask = optional(inputs, 3)
    if not all(operand is None or operand.exact for operand in (q, k, v, mask)):
        raise node.refuse("expected operands without errors")
    joined = q.value.ndim == 3
    if joined:
        heads = node.integer("q_num_heads", 0), node.integer("kv_num_heads", 0)
        q = q.map(lambda x: _split(x, heads[0]))
        k, v = (operand.map(lambda x: _split(x, heads[1])) for operand in (k, v))
    repeat = q.value.shape[1] // k.value.shape[1]
    if repeat > 1:
        k, v = (operand.map(lambda x: np.repeat(x, repeat, 1)) for operand in (k, v))
    scale = node.real("scale", 1 / np.sqrt(q.value.shape[-1]))
    length = q.value.shape[-1]
    # The factor may be split over both sides and enter before the sum: three roundings more.
    scores = a.contract(q, k.map(lambda x: np.swapaxes(x, -1, -2)), np.matmul, length)
    scores = a.scale(scores, scale, 3)
    size = (q.value.shape[-2], k.value.shape[-2])
    hidden = np.zeros(size, bool)
    if node.integer("is_causal", 0):
        hidden = ~np.tri(*size, dtype=bool)
    if mask is not None and mask.value.dtype == np.float64:
        scores = a.add(scores, mask)
    elif mask is not None:
        hidden = hidden | ~mask.value.astype(bool)
    scores = _hide(scores, hidden)
    out = a.contract(softmax(a, scores, (scores.value.ndim - 1,)), v, np.matmul, size[1])
    return [out.map(_join) if joined else out]


def _hide(scores: Running, hidden: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Running:
    hidden = np.broadcast_to(hidden, scores.value.shape)
    value = np.where(hidden, -np.inf, scores.value)
    lost = hidden | np.isneginf(scores.value)
    return Running(value, np.where(lost, 0.0, scores.error))


def _split(x: Reals, heads: int) -> Reals:
    """[batch, length, heads * size] -> [batch, heads, length, size]."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def _join(x: Reals) -> Reals:
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


ATTENTION: dict[str, Rule] = {
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "Attention": _attention,
}
