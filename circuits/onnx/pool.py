"""MaxPool, AveragePool and their relatives.

A maximum commutes with rounding, so it is taken of codes. Means are sums of codes and a rounding
of their own: onnxruntime's QLinearGlobalAveragePool requantises the exact sum (MLAS
qlgavgpool.cpp), while QLinearAveragePool adds dequantised floats one by one (qlinear_pool.cc),
which is exact, and the same as here, where the scale's bits leave room for the sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from proofml.circuits.axes import AxisMap
from proofml.circuits.graph import Shape, Term
from proofml.circuits.onnx.accumulated import accumulated
from proofml.circuits.onnx.builder import windows
from proofml.circuits.onnx.movement import apply
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.reader import Handler, Reader
from proofml.circuits.onnx.values import (
    Accumulated,
    Arithmetic,
    Dequantised,
    Floats,
    Pooled,
    Value,
    Window,
)
from proofml.circuits.onnx.window import spatial_windows


def max_pool(reader: Reader, node: Node) -> Sequence[Value]:
    """MaxPool without indices."""
    if len([name for name in node.outputs if name]) > 1:
        raise node.fail("indices as second output; expected the maxima only")
    value = reader.value(node, 0)
    found = _windows(node, value.shape)
    shape = (*value.shape[:2], *(window.length for window in found))
    pairs = tuple((index + 2, window) for index, window in enumerate(found))
    return [apply(reader, node, value, Pooled(shape, pairs))]


def global_max_pool(reader: Reader, node: Node) -> Sequence[Value]:
    value = reader.value(node, 0)
    shape = (*value.shape[:2], *(1 for _ in value.shape[2:]))
    pairs = tuple((i, Window(n, 1, 1, 0, 1)) for i, n in enumerate(value.shape) if i > 1)
    return [apply(reader, node, value, Pooled(shape, pairs))]


def average_pool(reader: Reader, node: Node) -> Sequence[Value]:
    """AveragePool of a dequantised tensor."""
    return [_average(reader, node, reader.dequantised(node, 0))]


def global_average_pool(reader: Reader, node: Node) -> Sequence[Value]:
    """GlobalAveragePool of a dequantised tensor."""
    return [_global_average(reader, node, reader.dequantised(node, 0))]


def qlinear_average_pool(reader: Reader, node: Node) -> Sequence[Value]:
    """com.microsoft QLinearAveragePool, channels second."""
    value = replace(_average(reader, node, _source(reader, node)), exact=True)
    return [accumulated(reader, node, value, reader.quantisation(node, 3, 4, value.kernel))]


def qlinear_global_average_pool(reader: Reader, node: Node) -> Sequence[Value]:
    """com.microsoft QLinearGlobalAveragePool, channels second."""
    value = replace(_global_average(reader, node, _source(reader, node)), exact=True)
    return [accumulated(reader, node, value, reader.quantisation(node, 3, 4, value.kernel))]


def _source(reader: Reader, node: Node) -> Dequantised:
    node.only("channels_last", (0,), 0)
    codes = reader.codes(node, 0)
    source = reader.quantisation(node, 1, 2, codes.dtype)
    return Dequantised(reader.builder.centred(codes, source.zero), source.scale, codes.dtype)


def _windows(node: Node, shape: Shape) -> list[Window]:
    kernel = node.integers("kernel_shape")
    if kernel is None or len(shape) < 3:
        raise node.fail(
            f"kernel_shape {kernel} for a tensor {list(shape)}; expected rank 3 and more"
        )
    ceil = bool(node.only("ceil_mode", (0, 1), 0))
    return spatial_windows(node, shape[2:], kernel, ceil=ceil)


def _average(reader: Reader, node: Node, x: Dequantised) -> Accumulated:
    found = _windows(node, x.shape)
    if any(window.dilation != 1 for window in found):
        raise node.fail("dilations; expected 1")
    maps, counts = {}, []
    for index, window in enumerate(found):
        n = x.shape[index + 2]
        step = AxisMap.window(
            window.length, n, stride=window.stride, offset=-window.before, taps=window.kernel
        )
        maps[index + 2] = step
        counts.append(step.row_sums)
    view = windows(x.shape, maps)
    number = reader.builder.affine(view.shape, [Term(1, x.codes.value, view)])
    channel: tuple[int, ...] = ()
    count: Floats = np.asarray(math.prod(window.kernel for window in found), np.float32)
    if not node.only("count_include_pad", (0, 1), 0):
        grid = np.ones((), np.float32)
        for vector in counts:
            grid = np.multiply.outer(grid, vector.astype(np.float32))
        if (grid == 0).any():
            raise node.fail("a window that lies in the padding")
        if len(np.unique(grid)) > 1:
            channel, count = tuple(range(2, 2 + len(found))), grid.reshape(-1)
        else:
            count = np.asarray(grid.reshape(-1)[0])
    return Accumulated(
        number,
        view.shape,
        node.operator,
        (node.name,),
        channel=channel,
        scale=np.asarray(x.scale),
        rounding="offset",
        chain=(Arithmetic("mul", np.asarray(x.scale)), Arithmetic("div", count)),
        exact=reader.alone(node),
        sums=sums_exactly(x.scale, int(count.max())),
        kernel=x.kernel,
    )


def sums_exactly(scale: np.float32, count: int) -> bool:
    """Whether float32 holds `scale` times any sum of so many 8-bit codes without rounding."""
    mantissa = (int(scale.view(np.uint32)) & 0x7FFFFF) | 0x800000
    bits = 24 - ((mantissa & -mantissa).bit_length() - 1)
    return bits + (255 * count).bit_length() <= 24


def _global_average(reader: Reader, node: Node, x: Dequantised) -> Accumulated:
    if len(x.shape) < 3:
        raise node.fail(f"a tensor {list(x.shape)}; expected rank 3 and more")
    maps = {i: AxisMap.total(n) for i, n in enumerate(x.shape) if i > 1}
    view = windows(x.shape, maps)
    number = reader.builder.affine(view.shape, [Term(1, x.codes.value, view)])
    return Accumulated(
        number,
        view.shape,
        node.operator,
        (node.name,),
        scale=np.asarray(x.scale),
        count=math.prod(x.shape[2:]),
        exact=reader.alone(node),
        kernel=x.kernel,
    )


OPERATORS: Mapping[str, Handler] = {
    "MaxPool": max_pool,
    "GlobalMaxPool": global_max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "com.microsoft:QLinearAveragePool": qlinear_average_pool,
    "com.microsoft:QLinearGlobalAveragePool": qlinear_global_average_pool,
}
