"""QuantizeLinear and DequantizeLinear: where floats begin and where they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from onnx import helper

from proofml.circuits.onnx.accumulated import accumulated
from proofml.circuits.onnx.concat import concatenated
from proofml.circuits.onnx.island import unary_table
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.pair import paired
from proofml.circuits.onnx.reader import Handler, Reader, codec
from proofml.circuits.onnx.rounding import Quantisation, quantised_fill
from proofml.circuits.onnx.values import (
    CODE_RANGE,
    Accumulated,
    Codes,
    Constant,
    Dequantised,
    DequantisedConstant,
    FloatInput,
    Integers,
    Island,
    Joined,
    Pair,
    Value,
    normal_axis,
)
from proofml.circuits.unary import VARIABLE


def quantize_linear(reader: Reader, node: Node) -> Sequence[Value]:
    """QuantizeLinear (opset 10 to 23) with one scale for the tensor."""
    dtype = ""
    if not node.has(2) and node.integer("output_dtype", 0):
        dtype = helper.tensor_dtype_to_np_dtype(node.integer("output_dtype", 0)).name
    value = reader.value(node, 0)
    if isinstance(value, Constant | DequantisedConstant):
        return [_constant(reader, node, value, dtype)]
    into = reader.quantisation(node, 1, 2, dtype)
    into = replace(into, kernel=reader.kernel(node.name, into.dtype))
    return [quantised(reader, node, value, into)]


def dequantize_linear(reader: Reader, node: Node) -> Sequence[Value]:
    """DequantizeLinear of codes with one scale, or of a constant with one for each channel."""
    value = reader.value(node, 0)
    if isinstance(value, Constant):
        return [_dequantised_constant(reader, node, value)]
    if isinstance(value, Integers) and value.dtype == "int32":
        scale = reader.scale(node, 1)
        if scale.ndim or reader.zero_point(node, 2, "int32").any():
            raise node.fail("expected int32 with one scale and no zero point")
        return [
            Accumulated(
                value.value, value.shape, value.operator, (node.name,), scale=scale, exact=False
            )
        ]
    codes = reader.codes(node, 0)
    quantisation = reader.quantisation(node, 1, 2, codes.dtype)
    reader.classify([node.name], "E")
    kernel = reader.kernel(node.inputs[0], codes.dtype)
    centred = reader.builder.centred(codes, quantisation.zero)
    return [Dequantised(centred, quantisation.scale, kernel)]


def quantised(reader: Reader, node: Node, value: Value, into: Quantisation) -> Codes:
    """The codes that a float becomes; every kind of float that is known exactly."""
    match value:
        case FloatInput():
            shape = reader.input_shapes[value.name]
            port = reader.port_in(value.name, shape, codec("quantise", "float32", into))
            codes = Codes(port, shape, into.zero, into.dtype)
            for move in value.moves:
                codes = reader.builder.move(codes, quantised_fill(move, into))
            reader.classify([node.name], "E")
            return codes
        case Dequantised():
            same = (value.codes.zero, value.codes.dtype) == (into.zero, into.dtype)
            if same and value.scale == into.scale:
                reader.classify([node.name], "E")
                return value.codes
            codes = unary_table(reader, node, Island(value, VARIABLE, ()), into)
            if _twice_quantised(reader, node):
                reader.classify([node.name], "D")
            return codes
        case Island():
            return unary_table(reader, node, value, into)
        case Pair():
            return paired(reader, node, value, into)
        case Joined():
            return joined(reader, node, value, into)
        case Accumulated():
            return accumulated(reader, node, value, into)
        case _:
            raise reader.not_quantised(node, 0)


def _twice_quantised(reader: Reader, node: Node) -> bool:
    """Whether codes are dequantised and quantised otherwise right after they were made.

    Onnxruntime merges the two pairs and rounds once (double_qdq_pairs_remover.cc), so that what
    it computes is not what the file says.
    """
    maker = reader.makers.get(node.inputs[0])
    before = reader.makers.get(maker.inputs[0]) if maker is not None else None
    return before is not None and before.operator.endswith("QuantizeLinear")


def joined(reader: Reader, node: Node, value: Joined, into: Quantisation) -> Codes:
    """A Concat: each part under the common parameters first."""
    parts = [quantised(reader, node, part, into) for part in value.parts]
    reader.classify([*value.nodes, node.name], "T")
    return concatenated(reader.builder, parts, value.axis)


def _constant(
    reader: Reader, node: Node, value: Constant | DequantisedConstant, dtype: str
) -> Constant:
    """A constant in float whose QuantizeLinear was left in the graph."""
    if not dtype:
        dtype = "uint8"
        if node.has(2):
            dtype = reader.constant(node, 2, "the zero point").dtype.name
    if dtype not in CODE_RANGE:
        raise node.fail(f"codes of type {dtype}; expected {' or '.join(CODE_RANGE)}")
    array = value.array.astype(np.float32)
    scale, zero = reader.scale(node, 1), reader.zero_point(node, 2, dtype)
    if scale.ndim or zero.ndim:
        axis = normal_axis(node.integer("axis", 1), array.ndim)
        if axis is None or any(p.ndim and p.size != array.shape[axis] for p in (scale, zero)):
            raise node.fail("expected a scale and a zero point for each cell of its axis")
        dims = [-1 if i == axis else 1 for i in range(array.ndim)]
        scale = scale.reshape(dims if scale.ndim else ())
        zero = zero.reshape(dims if zero.ndim else ())
    low, high = CODE_RANGE[dtype]
    clipped = np.clip(
        array / scale, (low - zero).astype(np.float32), (high - zero).astype(np.float32)
    )
    return Constant((np.rint(clipped).astype(np.int64) + zero).astype(dtype), value.name)


def _dequantised_constant(reader: Reader, node: Node, value: Constant) -> DequantisedConstant:
    array = value.array
    if array.dtype.name not in ("uint8", "int8", "int32"):
        raise node.fail(f"a constant of {array.dtype}; expected uint8, int8 or int32 (biases)")
    if node.integer("block_size", 0):
        raise node.fail("a scale for each block; expected one for each channel at most")
    scale, zero = reader.scale(node, 1), reader.zero_point(node, 2, array.dtype.name)
    axis = 0
    numbers = array.astype(np.int64)
    if scale.ndim or zero.ndim:
        found = normal_axis(node.integer("axis", 1), array.ndim)
        if found is None or any(p.ndim and p.size != array.shape[found] for p in (scale, zero)):
            raise node.fail(
                f"scale {list(scale.shape)} and zero point {list(zero.shape)} for a constant "
                f"{list(array.shape)}; expected one for each cell of axis {node.integer('axis', 1)}"
            )
        axis = found
        scale = scale if scale.ndim else np.full(array.shape[axis], scale, np.float32)
        dims = [-1 if i == axis else 1 for i in range(array.ndim)]
        numbers = numbers - zero.reshape(dims if zero.ndim else ())
    else:
        numbers = numbers - zero
    one = int(zero) if not zero.ndim else 0
    return DequantisedConstant(numbers, scale, axis, one, array.dtype.name, value.name)


OPERATORS: Mapping[str, Handler] = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "com.microsoft:QuantizeLinear": quantize_linear,
    "com.microsoft:DequantizeLinear": dequantize_linear,
}
