"""Convolutions: Conv, QLinearConv, ConvInteger, with one spatial axis or more.

The input's window is a Bind with stride, dilation and offset: what it reads outside is 0, the
centred zero point, as the padding of onnxruntime's integer kernels is. Groups make a rank more:
[batch, group, channel, ...].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from proofml.circuits.axes import AxisMap
from proofml.circuits.graph import Bind, Contraction, Shape, Term, View
from proofml.circuits.onnx.accumulated import accumulated
from proofml.circuits.onnx.arithmetic import with_constant
from proofml.circuits.onnx.linear import (
    Operand,
    bias_numbers,
    code_operand,
    float_operand,
)
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.reader import Handler, Reader
from proofml.circuits.onnx.values import Accumulated, Floats, Integers, Reshaped, Value
from proofml.circuits.onnx.window import spatial_windows


@dataclass(frozen=True)
class Convolution:
    """The accumulator of a convolution.

    Attributes:
        value: Affine of shape [batch, channel, ...], or [batch, group, channel, ...].
        shape: as ONNX has it; `channel` are the axes of the accumulator that hold channels.
    """

    value: int
    shape: Shape
    channel: tuple[int, ...]


def convolution(
    reader: Reader, node: Node, x: Operand, w: Operand, bias: tuple[int, Shape] | None
) -> Convolution:
    """`x` [b, c, ...] with weights `w` [m, c / group, ...]; the bias is an int32 Weight [m]."""
    builder = reader.builder
    if len(x.shape) < 3 or len(w.shape) != len(x.shape):
        raise node.fail(
            f"input {list(x.shape)} and weights {list(w.shape)}; expected one rank, 3 at least"
        )
    groups = node.integer("group", 1)
    batch, channels = x.shape[:2]
    made, each = w.shape[:2]
    if groups < 1 or channels != groups * each or made % groups:
        raise node.fail(
            f"{channels} channels in {groups} groups with weights {list(w.shape)} do not fit"
        )
    if (node.integers("kernel_shape") or w.shape[2:]) != w.shape[2:]:
        raise node.fail(f"kernel_shape {node.integers('kernel_shape')} with {list(w.shape)}")
    found = spatial_windows(node, x.shape[2:], w.shape[2:])
    lengths = tuple(window.length for window in found)
    first = 3 if groups > 1 else 2  # the result's first spatial axis
    taps = 2 if groups > 1 else 1  # the first summed axis of the kernel
    spatial_x = tuple(
        Bind(first + i, taps + i, (window.stride, window.dilation, -window.before))
        for i, window in enumerate(found)
    )
    spatial_w = tuple(Bind(sum=taps + i) for i in range(len(found)))
    shape: Shape
    if groups > 1:
        left = builder.reshape(x.value, (batch, groups, each, *x.shape[2:]))
        right = builder.reshape(w.value, (groups, made // groups, *w.shape[1:]))
        left_axes = (Bind(out=0), Bind(sum=0), Bind(sum=1), *spatial_x)
        right_axes = (Bind(out=1, sum=0), Bind(out=2), Bind(sum=1), *spatial_w)
        sums = (groups, each, *w.shape[2:])
        shape = (batch, groups, made // groups, *lengths)
        channel: tuple[int, ...] = (1, 2)
    else:
        left, right = x.value, w.value
        left_axes = (Bind(out=0), Bind(sum=0), *spatial_x)
        right_axes = (Bind(out=1), Bind(sum=0), *spatial_w)
        sums = (each, *w.shape[2:])
        shape = (batch, made, *lengths)
        channel = (1,)
    terms = []
    if bias is not None:
        if bias[1] != (made,):
            raise node.fail(f"a bias of shape {list(bias[1])}; expected [{made}]")
        number = bias[0]
        if groups > 1:
            number = builder.reshape(number, (groups, made // groups))
        axes = tuple((axis, AxisMap.identity(shape[axis])) for axis in channel)
        terms.append(Term(1, number, View(shape, axes)))
    contraction = Contraction(left, right, sums, left_axes, right_axes)
    value = builder.affine(shape, terms, [contraction])
    return Convolution(value, (batch, made, *lengths), channel)


def _pending(reader: Reader, node: Node, made: Convolution, scale: Floats) -> Accumulated:
    grouped = len(reader.builder.shape(made.value)) != len(made.shape)
    return Accumulated(
        made.value,
        made.shape,
        node.operator,
        (node.name,),
        channel=made.channel if scale.ndim else (),
        scale=scale,
        after=(Reshaped(made.shape),) if grouped else (),
        own=int(grouped),
    )


def conv(reader: Reader, node: Node) -> Sequence[Value]:
    """Conv of a dequantised tensor with dequantised weights, one scale or one for each channel."""
    x = float_operand(reader, node, 0, None)
    w = float_operand(reader, node, 1, 0)
    scale = np.asarray(x.scale * w.scale)
    bias, added = None, None
    if node.has(2):
        bias = bias_numbers(reader, node, 2, scale)
        if bias is None:
            added = reader.constant(node, 2, "the bias").astype(np.float32)
    made = convolution(reader, node, x, w, bias)
    value = replace(
        _pending(reader, node, made, scale),
        exact=reader.alone(node),
        kernel="uint8" if x.kernel == "uint8" else "none",
    )
    if added is None:
        return [value]
    dims = (-1, *(1,) * (len(made.shape) - 2))
    return [with_constant(reader, node, value, "add", added.reshape(dims), bias=True)]


def qlinear_conv(reader: Reader, node: Node) -> Sequence[Value]:
    """QLinearConv."""
    x = code_operand(reader, node, (0, 1, 2), None)
    w = code_operand(reader, node, (3, 4, 5), 0)
    bias = None
    if node.has(8):
        array = reader.constant(node, 8, "the bias")
        if array.dtype != np.int32:
            raise node.fail(f"a bias of {array.dtype}; expected int32")
        bias = reader.builder.weight(node.inputs[8], array.astype(np.int64)), array.shape
    made = convolution(reader, node, x, w, bias)
    value = _pending(reader, node, made, np.asarray(x.scale * w.scale))
    return [accumulated(reader, node, value, reader.quantisation(node, 6, 7))]


def conv_integer(reader: Reader, node: Node) -> Sequence[Value]:
    """ConvInteger: the int32 accumulator itself."""
    x = code_operand(reader, node, (0, -1, 2), None)
    w = code_operand(reader, node, (1, -1, 3), 0)
    if node.integer("group", 1) != 1:
        raise node.fail("groups; expected one, or QLinearConv")
    made = convolution(reader, node, x, w, None)
    reader.classify([node.name], "E")
    return [Integers(made.value, made.shape, "int32", node.operator)]


OPERATORS: Mapping[str, Handler] = {
    "Conv": conv,
    "ConvInteger": conv_integer,
    "QLinearConv": qlinear_conv,
}
