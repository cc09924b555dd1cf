"""Standard operators as matrices: convolutions, pooling, products with constants, normalisation.

Each rule gets its node and the affine form of its input, a batch of 1 on the first axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proofml.circuits.quantise.graph import Graph, Node
from proofml.errors import UnsupportedModel, printable
from proofml.fhe.ckks.affine import (
    MAX_ENTRIES,
    Form,
    Index,
    Matrix,
    Reals,
    TooManyEntries,
    from_entries,
)

_PADDING = (b"SAME_UPPER", b"SAME_LOWER")


def constant(graph: Graph, node: Node, place: int) -> Reals | None:
    """A constant operand in float64; None where it is left out.

    Raises:
        UnsupportedModel: it is no constant, or not finite.
    """
    if place >= len(node.inputs) or not node.inputs[place]:
        return None
    name = node.inputs[place]
    array = graph.constants.get(name)
    if array is None:
        raise UnsupportedModel(
            f"{node.where}: its operand {printable(name)!r} depends on the inputs; expected a "
            "constant"
        )
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise UnsupportedModel(
            f"{node.where}: its operand {printable(name)!r} is {array.dtype}, or not finite; "
            "expected finite float32"
        )
    return array.astype(np.float64)


def required(graph: Graph, node: Node, place: int) -> Reals:
    found = constant(graph, node, place)
    if found is None:
        raise UnsupportedModel(f"{node.where}: its operand {place} is missing")
    return found


@dataclass(frozen=True)
class _Axis:
    """Windows along one spatial axis."""

    kernel: int
    stride: int
    dilation: int
    before: int
    size: int
    length: int


def _axes(node: Node, kernel: Sequence[int], sizes: Sequence[int]) -> list[_Axis]:
    rank = len(sizes)
    strides = node.integers("strides") or [1] * rank
    dilations = node.integers("dilations") or [1] * rank
    pads = node.integers("pads") or [0] * (2 * rank)
    auto = node.attributes.get("auto_pad", b"NOTSET")
    if not len(kernel) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
        raise UnsupportedModel(f"{node.where}: attributes of another rank than {rank}")
    if min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise UnsupportedModel(
            f"{node.where}: a kernel, stride, dilation or padding below its least"
        )
    found = []
    for i in range(rank):
        reach = (kernel[i] - 1) * dilations[i] + 1
        before, after = pads[i], pads[rank + i]
        if auto in _PADDING:
            length = -(-sizes[i] // strides[i])
            missing = max(0, (length - 1) * strides[i] + reach - sizes[i])
            before = missing // 2 if auto == b"SAME_UPPER" else -(-missing // 2)
        elif auto == b"VALID":
            length = (sizes[i] - reach) // strides[i] + 1
        else:
            over = sizes[i] + before + after - reach
            length = over // strides[i] + 1
            if node.integer("ceil_mode", 0) and over % strides[i]:
                # A window that would begin in the padding behind is left out.
                length += (length * strides[i]) < sizes[i] + before
        if length < 1:
            raise UnsupportedModel(f"{node.where}: its windows are larger than its input")
        found.append(_Axis(kernel[i], strides[i], dilations[i], before, sizes[i], length))
    return found


def _window(axes: Sequence[_Axis], tap: Sequence[int]) -> tuple[Index, Index]:
    """Output positions and the input positions that this tap reads, where it reads any."""
    out_parts, in_parts = [], []
    for axis, k in zip(axes, tap, strict=True):
        out = np.arange(axis.length)
        place = out * axis.stride - axis.before + k * axis.dilation
        inside = (place >= 0) & (place < axis.size)
        out_parts.append(out[inside])
        in_parts.append(place[inside])
    out_index = np.zeros(1, np.int64)
    in_index = np.zeros(1, np.int64)
    for axis, out, place in zip(axes, out_parts, in_parts, strict=True):
        out_index = (out_index[:, None] * axis.length + out).reshape(-1)
        in_index = (in_index[:, None] * axis.size + place).reshape(-1)
    return out_index, in_index


def _bounded(terms: int) -> None:
    """Before they are written out; raises `TooManyEntries`."""
    if terms > MAX_ENTRIES:
        raise TooManyEntries(f"{terms} terms, at most {MAX_ENTRIES}")


def convolution(graph: Graph, node: Node, x: Form) -> Form:
    weight, bias = required(graph, node, 1), constant(graph, node, 2)
    if len(x.shape) < 3 or weight.ndim != len(x.shape) or x.shape[0] != 1:
        raise UnsupportedModel(f"{node.where}: expected [1, channels, ...], got {list(x.shape)}")
    group = node.integer("group", 1)
    c_in, c_out = x.shape[1], weight.shape[0]
    if group < 1 or c_in != weight.shape[1] * group or c_out % group:
        raise UnsupportedModel(f"{node.where}: {c_in} channels do not fit its weight")
    axes = _axes(node, weight.shape[2:], x.shape[2:])
    _bounded(weight.size * math.prod(axis.length for axis in axes))
    plane_in, plane_out = math.prod(x.shape[2:]), math.prod(axis.length for axis in axes)
    of_out = np.arange(c_out)
    of_in = (of_out // (c_out // group))[:, None] * weight.shape[1] + np.arange(weight.shape[1])
    rows, cols, data = [], [], []
    for tap in itertools.product(*(range(axis.kernel) for axis in axes)):
        out, place = _window(axes, tap)
        index: tuple[int | slice, ...] = (slice(None), slice(None), *tap)
        taps = weight[index]
        shape = (c_out, weight.shape[1], len(out))
        rows.append(np.broadcast_to(of_out[:, None, None] * plane_out + out, shape).reshape(-1))
        cols.append(np.broadcast_to(of_in[:, :, None] * plane_in + place, shape).reshape(-1))
        data.append(np.broadcast_to(taps[:, :, None], shape).reshape(-1))
    matrix = from_entries(
        (c_out * plane_out, x.size),
        np.concatenate(rows),
        np.concatenate(cols),
        np.concatenate(data),
    )
    if bias is not None and bias.shape != (c_out,):
        raise UnsupportedModel(f"{node.where}: expected a bias [{c_out}], got {list(bias.shape)}")
    shape = (1, c_out, *(axis.length for axis in axes))
    return x.after(matrix, shape, None if bias is None else np.repeat(bias, plane_out))


def average_pool(graph: Graph, node: Node, x: Form) -> Form:
    if len(x.shape) < 3 or x.shape[0] != 1:
        raise UnsupportedModel(f"{node.where}: expected [1, channels, ...], got {list(x.shape)}")
    channels, sizes = x.shape[1], x.shape[2:]
    if node.op == "GlobalAveragePool":
        axes = [_Axis(size, 1, 1, 0, size, 1) for size in sizes]
        ceil = False
    else:
        kernel = node.integers("kernel_shape")
        if kernel is None:
            raise UnsupportedModel(f"{node.where}: it has no kernel_shape")
        axes = _axes(node, kernel, sizes)
        ceil = bool(node.integer("ceil_mode", 0))
    _bounded(channels * math.prod(axis.kernel * axis.length for axis in axes))
    include = bool(node.integer("count_include_pad", 0))
    if ceil and include:
        raise UnsupportedModel(f"{node.where}: ceil_mode with counted padding is not supported")
    plane_out = math.prod(axis.length for axis in axes)
    windows = [
        _window(axes, tap) for tap in itertools.product(*(range(axis.kernel) for axis in axes))
    ]
    out = np.concatenate([w[0] for w in windows])
    place = np.concatenate([w[1] for w in windows])
    counts = np.bincount(out, minlength=plane_out).astype(np.float64)
    if include:
        counts = np.full(plane_out, float(math.prod(axis.kernel for axis in axes)))
    channel = np.arange(channels)[:, None]
    rows = (channel * plane_out + out).reshape(-1)
    cols = (channel * math.prod(sizes) + place).reshape(-1)
    data = np.broadcast_to(1.0 / counts[out], (channels, len(out))).reshape(-1)
    matrix = from_entries((channels * plane_out, x.size), rows, cols, data)
    return x.after(matrix, (1, channels, *(axis.length for axis in axes)))


def matrix_product(graph: Graph, node: Node, x: Form) -> Form:
    """MatMul with a constant on the right, and Gemm."""
    weight = required(graph, node, 1)
    if node.op == "Gemm":
        if node.integer("transA", 0):
            raise UnsupportedModel(f"{node.where}: transA is not supported; transpose the input")
        if node.integer("transB", 0):
            weight = weight.T
        weight = weight * float(node.attributes.get("alpha", 1.0))
    if weight.ndim != 2 or not x.shape or x.shape[-1] != weight.shape[0]:
        raise UnsupportedModel(
            f"{node.where}: expected [..., k] times [k, n], got {list(x.shape)} times "
            f"{list(weight.shape)}"
        )
    k, n = weight.shape
    count = x.size // k
    _bounded(count * n * k)
    row = np.arange(count)[:, None, None]
    shape = (count, n, k)
    matrix = from_entries(
        (count * n, x.size),
        np.broadcast_to(row * n + np.arange(n)[:, None], shape).reshape(-1),
        np.broadcast_to(row * k + np.arange(k), shape).reshape(-1),
        np.broadcast_to(weight.T, shape).reshape(-1),
    )
    made = x.after(matrix, (*x.shape[:-1], n))
    bias = constant(graph, node, 2) if node.op == "Gemm" else None
    if bias is None:
        return made
    wide = np.broadcast_to(bias * float(node.attributes.get("beta", 1.0)), made.shape)
    return Form(made.shape, made.parts, made.bias + wide.reshape(-1))


def normalisation(graph: Graph, node: Node, x: Form) -> Form:
    if node.integer("training_mode", 0) or any(node.outputs[1:]):
        raise UnsupportedModel(f"{node.where}: it is in training mode; export for inference")
    channels = x.shape[1] if len(x.shape) > 1 else 1
    gamma, beta, mean, variance = (required(graph, node, place) for place in range(1, 5))
    if any(value.shape != (channels,) for value in (gamma, beta, mean, variance)):
        raise UnsupportedModel(f"{node.where}: expected four vectors of {channels} channels")
    below = variance + float(node.attributes.get("epsilon", 1e-5))
    if (below <= 0).any():
        raise UnsupportedModel(f"{node.where}: expected positive variances")
    factor = gamma / np.sqrt(below)
    shape = (1, channels, *(1,) * (len(x.shape) - 2))
    return shifted(scaled(x, factor.reshape(shape)), (beta - mean * factor).reshape(shape))


def scaled(x: Form, factor: Reals) -> Form:
    """Elementwise by a constant, with broadcasting of either."""
    x = broadcast(x, np.broadcast_shapes(x.shape, factor.shape))
    index = np.arange(x.size)
    data = np.broadcast_to(factor, x.shape).reshape(-1)
    kept = data != 0.0
    return x.after(
        Matrix((x.size, x.size), index[kept], index[kept], np.ascontiguousarray(data[kept])),
        x.shape,
    )


def shifted(x: Form, constants: Reals) -> Form:
    x = broadcast(x, np.broadcast_shapes(x.shape, constants.shape))
    return Form(x.shape, x.parts, x.bias + np.broadcast_to(constants, x.shape).reshape(-1))


def broadcast(x: Form, shape: tuple[int, ...]) -> Form:
    if shape == x.shape:
        return x
    return x.moved(np.broadcast_to(np.arange(x.size).reshape(x.shape), shape))


def reduction(graph: Graph, node: Node, x: Form) -> Form:
    """ReduceMean and ReduceSum."""
    axes = axes_of(graph, node)
    rank = len(x.shape)
    if not axes:
        if node.integer("noop_with_empty_axes", 0):
            return x
        axes = tuple(range(rank))
    chosen = {axis % rank for axis in axes if -rank <= axis < rank}
    if len(chosen) != len(axes):
        raise UnsupportedModel(f"{node.where}: axes {list(axes)} of a tensor of rank {rank}")
    kept = [1 if i in chosen else n for i, n in enumerate(x.shape)]
    rows = np.broadcast_to(np.arange(math.prod(kept)).reshape(kept), x.shape).reshape(-1)
    count = math.prod(x.shape[i] for i in chosen)
    weight = 1.0 / count if node.op == "ReduceMean" else 1.0
    matrix = from_entries(
        (math.prod(kept), x.size), rows, np.arange(x.size), np.full(x.size, weight)
    )
    keep = node.integer("keepdims", 1)
    shape = tuple(n for i, n in enumerate(kept) if keep or i not in chosen)
    return x.after(matrix, shape)


def axes_of(graph: Graph, node: Node) -> tuple[int, ...] | None:
    """The operand or attribute `axes`; None where there is none."""
    if len(node.inputs) > 1 and node.inputs[1]:
        array = graph.constants.get(node.inputs[1])
        if array is None or array.dtype.kind not in "iu":
            raise UnsupportedModel(f"{node.where}: its axes are no constant integers")
        return tuple(int(axis) for axis in array.reshape(-1))
    found = node.integers("axes")
    return None if found is None else tuple(found)
