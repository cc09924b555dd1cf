"""Conv and ConvTranspose: dot products over a window and the channels of a group.

The bound holds for any order of the direct sum, so for im2col, blocked layouts and matrix products.
It does not hold for Winograd's or Fourier's algorithms nor for TF32, which compute other sums: a
claim about a float model excludes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from proofml.optimistic.floating.contractions import add_bias
from proofml.optimistic.floating.functions import Reals
from proofml.optimistic.floating.node import Node, Rule, needed, optional
from proofml.optimistic.floating.running import Arithmetic, Running
from proofml.optimistic.floating.windows import Windows

Inputs = Sequence["Running | None"]


def at(array: Reals, place: tuple[slice | int, ...]) -> Reals:
    """`array[:, :, *place]`."""
    return array[(slice(None), slice(None), *place)]


def convolve(x: Reals, w: Reals, windows: Windows, group: int) -> Reals:
    """[N, C, in...] with [M, C / group, kernel...] -> [N, M, out...]: one product for each tap."""
    n, m = x.shape[0], w.shape[0]
    out = np.zeros((n, m, math.prod(windows.sizes)))
    padded = windows.padded(x)
    channels, filters = w.shape[1], m // group
    for tap, place in windows.taps():
        seen = at(padded, place).reshape(n, group, channels, -1)
        taken = at(w, tap).reshape(group, filters, channels)
        if channels == 1:
            out += (taken * seen).reshape(out.shape)
        else:
            out += np.matmul(taken, seen).reshape(out.shape)
    return out.reshape(n, m, *windows.sizes)


def _conv(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    x, w, bias = needed(node, inputs, 0), needed(node, inputs, 1), optional(inputs, 2)
    group = node.integer("group", 1)
    shape = w.value.shape
    if x.value.shape[1] != shape[1] * group or group < 1 or shape[0] % group:
        raise node.refuse(f"weights {list(shape)} do not fit {x.value.shape[1]} channels")
    windows = Windows.of(node, shape[2:], x.value.shape[2:])
    n = math.prod(shape[1:]) + (bias is not None)
    result = a.contract(x, w, lambda p, q: convolve(p, q, windows, group), n)
    return [_biased(a, result, bias, n)]


def _biased(a: Arithmetic, result: Running, bias: Running | None, n: int) -> Running:
    if bias is None:
        return result
    shape = (-1, *(1,) * (result.value.ndim - 2))
    return add_bias(a, result, bias.map(lambda b: b.reshape(shape)), n)


def _conv_transpose(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    x, w, bias = needed(node, inputs, 0), needed(node, inputs, 1), optional(inputs, 2)
    group = node.integer("group", 1)
    shape, spatial = w.value.shape, x.value.shape[2:]
    rank = len(spatial)
    if x.value.shape[1] != shape[0] or group < 1 or shape[0] % group:
        raise node.refuse(f"weights {list(shape)} do not fit {x.value.shape[1]} channels")
    strides = node.integers("strides", (1,) * rank)
    dilations = node.integers("dilations", (1,) * rank)
    extra = node.integers("output_padding", (0,) * rank)
    full = [
        (length - 1) * s + (k - 1) * d + 1 + e
        for length, s, k, d, e in zip(spatial, strides, shape[2:], dilations, extra, strict=True)
    ]
    pads = _transposed_pads(node, full, spatial, strides)

    def product(p: Reals, q: Reals) -> Reals:
        return _scatter(p, q, group, strides, dilations, full, pads)

    # Each output meets at most every stride-th tap.
    taps = math.prod(-(-k // s) if d == 1 else k for k, s, d in zip(shape[2:], strides, dilations,
                                                                    strict=True))  # fmt: skip
    n = shape[0] // group * taps + (bias is not None)
    return [_biased(a, a.contract(x, w, product, n), bias, n)]


def _transposed_pads(
    node: Node, full: list[int], spatial: tuple[int, ...], strides: tuple[int, ...]
) -> list[tuple[int, int]]:
    """What is cut off on both sides of each axis."""
    rank = len(full)
    mode = node.text("auto_pad", "NOTSET")
    shape = node.get("output_shape", None)
    if shape is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        shape = [length * s for length, s in zip(spatial, strides, strict=True)]
    if shape is None:
        pads = (0,) * (2 * rank) if mode == "VALID" else node.integers("pads", (0,) * (2 * rank))
        return [(pads[axis], pads[axis + rank]) for axis in range(rank)]
    cuts = []
    for length, wanted in zip(full, list(shape)[-rank:], strict=True):
        total = max(0, length - wanted)
        small, large = total // 2, total - total // 2
        cuts.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return cuts


def _scatter(
    x: Reals,
    w: Reals,
    group: int,
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    full: list[int],
    pads: list[tuple[int, int]],
) -> Reals:
    """[N, C, in...] with [C, M / group, kernel...]: each input adds its kernel to the output."""
    n, spatial, filters = x.shape[0], x.shape[2:], w.shape[1]
    channels = w.shape[0] // group
    out = np.zeros((n, group * filters, *full))
    flat = x.reshape(n, group, channels, -1)
    for tap in np.ndindex(*w.shape[2:]):
        taken = at(w, tap).reshape(group, channels, filters)
        part = np.matmul(taken.transpose(0, 2, 1), flat).reshape(n, group * filters, *spatial)
        place = tuple(
            slice(t * d, t * d + (length - 1) * s + 1, s)
            for t, d, length, s in zip(tap, dilations, spatial, strides, strict=True)
        )
        target = at(out, place)
        target += part
    cut = tuple(
        slice(before, length - after) for (before, after), length in zip(pads, full, strict=True)
    )
    return at(out, cut)


CONVOLUTIONS: dict[str, Rule] = {"Conv": _conv, "ConvTranspose": _conv_transpose}
