"""Averages over windows, and linear resizing; maxima and nearest neighbours move elements only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from proofml.optimistic.floating.functions import Reals
from proofml.optimistic.floating.node import Node, Rule, needed, optional, small_integers
from proofml.optimistic.floating.running import Arithmetic, Running
from proofml.optimistic.floating.windows import Windows

Inputs = Sequence["Running | None"]

#: Roundings of a source coordinate (length, scale, half a pixel) and of the weights made of it.
_COORDINATE_STEPS = 6
#: Where `rules` lets a linear Resize have its coordinates from.
COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")


def _global_average(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    x = needed(node, inputs, 0)
    return [a.mean(x, tuple(range(2, x.value.ndim)))]


def _average(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """Sum over the window, divided by how many places count."""
    x = needed(node, inputs, 0)
    spatial = x.value.shape[2:]
    windows = Windows.of(node, node.integers("kernel_shape", ()), spatial)
    counted = _counted(windows, spatial, bool(node.integer("count_include_pad", 0)))
    n = math.prod(windows.kernel)

    def add(values: Reals) -> Reals:
        padded = windows.padded(values)
        out = np.zeros((*values.shape[:2], *windows.sizes))
        for _, place in windows.taps():
            out += padded[(slice(None), slice(None), *place)]
        return out

    inherited = 0.0 if x.exact else add(x.error_array())
    error = inherited + a.gamma(n) * add(x.magnitude) + n * a.form.tiny
    return [a.rounded(add(x.value) / counted, error / counted, 2)]


def _counted(windows: Windows, spatial: tuple[int, ...], padding: bool) -> Reals:
    """How many places of each window count: inside the input, or inside its declared padding."""
    total = np.ones((1,) * len(spatial))
    for axis, length in enumerate(spatial):
        low = -windows.before[axis] if padding else 0
        high = length + windows.declared[axis] if padding else length
        starts = np.arange(windows.sizes[axis]) * windows.strides[axis] - windows.before[axis]
        steps = np.arange(windows.kernel[axis]) * windows.dilations[axis]
        places = starts[:, None] + steps
        inside = ((places >= low) & (places < high)).sum(1).astype(np.float64)
        shape = [1] * len(spatial)
        shape[axis] = -1
        total = total * inside.reshape(shape)
    return np.asarray(total)


def _resize(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """Linear interpolation, one axis after the other; a nearest neighbour is an exact operator."""
    x = needed(node, inputs, 0)
    lengths, scales = _target(node, inputs, x.value.shape)
    mode = node.text("coordinate_transformation_mode", "half_pixel")
    most = x.magnitude
    result, error = x.value, np.asarray(x.error, np.float64)
    error = np.broadcast_to(error, result.shape)
    for axis, (size, scale) in enumerate(zip(lengths, scales, strict=True)):
        length = result.shape[axis]
        if size == length and scale == 1.0:
            continue
        at = _coordinates(mode, size, length, scale)
        low, share, slack = _neighbours(at, length, a)
        shape = [1] * result.ndim
        shape[axis] = -1
        share, slack = share.reshape(shape), slack.reshape(shape)
        left, right = (np.take(result, np.clip(low + i, 0, length - 1), axis) for i in (0, 1))
        tall = [np.take(most, np.clip(low + i, 0, length - 1), axis) for i in (0, 1)]
        heir = [np.take(error, np.clip(low + i, 0, length - 1), axis) for i in (0, 1)]
        # A coordinate that is off by `slack` may fall into the next cell, whose slope counts then.
        outer = [np.take(result, np.clip(low + i, 0, length - 1), axis) for i in (-1, 2)]
        slope = np.maximum(
            np.abs(right - left), np.maximum(np.abs(left - outer[0]), np.abs(outer[1] - right))
        )
        slope = slope + 2 * np.maximum(*heir)
        most = np.maximum(*tall)
        inherited = (1 - share) * heir[0] + share * heir[1]
        error = inherited + slack * slope + a.gamma(4) * most + 4 * a.form.tiny
        result = (1 - share) * left + share * right
    return [Running(result, error)]


def _target(node: Node, inputs: Inputs, shape: tuple[int, ...]) -> tuple[list[int], list[float]]:
    """Output dims and the scale of each axis."""
    scales, sizes = optional(inputs, 2), optional(inputs, 3)
    if sizes is not None and sizes.value.size:
        lengths = list(small_integers(sizes))
        factors = [size / max(1, length) for size, length in zip(lengths, shape, strict=True)]
    else:
        factors = [float(value) for value in needed(node, inputs, 2).value.reshape(-1)]
        if scales is None or len(factors) != len(shape):
            raise node.refuse("expected one scale an axis")
        lengths = [math.floor(length * f) for length, f in zip(shape, factors, strict=True)]
    return lengths, factors


def _coordinates(mode: str, size: int, length: int, scale: float) -> Reals:
    """Where each output lies in the input; `mode` is one of `COORDINATES`."""
    at = np.arange(size, dtype=np.float64)
    if mode == "asymmetric":
        return at / scale
    if mode == "align_corners":
        return at * ((length - 1) / (size - 1)) if size > 1 else at * 0.0
    if mode == "pytorch_half_pixel" and size == 1:
        return at * 0.0
    return (at + 0.5) / scale - 0.5


def _neighbours(
    at: Reals, length: int, a: Arithmetic
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Reals, Reals]:
    """Left neighbour, share of the right one, and how far the coordinate may be off."""
    slack = a.gamma(_COORDINATE_STEPS) * (np.abs(at) + 1)
    at = np.clip(at, 0, length - 1)
    low = np.floor(at).astype(np.int64)
    return low, at - low, slack


POOLING: dict[str, Rule] = {
    "GlobalAveragePool": _global_average,
    "AveragePool": _average,
    "Resize": _resize,
}
