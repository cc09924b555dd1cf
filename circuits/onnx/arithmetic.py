"""Add, Sub, Mul, Div and Cast, by what their operands are.

two quantised tensors                 one Step over pairs of codes (`pair`)
one tensor and a constant             an island: a table of codes
two functions of the same tensor      an island too: x * sigmoid(x), x * (1 + erf(x))
an accumulator and a constant         one more float32 operation before the rounding
two constants                         folded
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from proofml.circuits.onnx.accumulated import unfused
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.pair import pending
from proofml.circuits.onnx.reader import Handler, Reader
from proofml.circuits.onnx.values import (
    Accumulated,
    Arithmetic,
    Constant,
    Dequantised,
    DequantisedConstant,
    Floats,
    Integers,
    Island,
    Moved,
    Pooled,
    Reshaped,
    Value,
)
from proofml.circuits.unary import VARIABLE, Expression, constant

#: Values whose numbers are known.
_Folded = (Constant, DequantisedConstant)


def binary(operator: str) -> Handler:
    """A handler of Add, Sub, Mul or Div."""

    def handler(reader: Reader, node: Node) -> Sequence[Value]:
        left, right = reader.value(node, 0), reader.value(node, 1)
        if isinstance(left, _Folded) and isinstance(right, _Folded):
            return [fold(node, operator, left.array, right.array)]
        for value, other, index in ((left, right, 1), (right, left, 0)):
            if isinstance(value, Accumulated) and isinstance(other, _Folded):
                if index == 0 and operator in ("sub", "div"):
                    raise node.fail("a constant minus or divided by an accumulator")
                number = other.array.astype(np.float32)
                fits = number.shape == value.shape[-1:] and not value.after
                bias = operator == "add" and value.operator == "MatMul" and fits
                bias = bias and reader.alone(node)
                return [with_constant(reader, node, value, operator, number, bias=bias)]
        if operator in ("add", "mul") and _both_quantised(left, right):
            pair = pending(
                reader, node, operator, reader.dequantised(node, 0), reader.dequantised(node, 1)
            )
            return [pair]
        return [_island(reader, node, operator, left, right)]

    return handler


def _both_quantised(left: Value, right: Value) -> bool:
    quantised = Dequantised | DequantisedConstant
    return isinstance(left, quantised) and isinstance(right, quantised)


def _island(reader: Reader, node: Node, operator: str, left: Value, right: Value) -> Island:
    """A function of one tensor of codes."""
    found = [_as_island(value) for value in (left, right)]
    first = found[0] or found[1]
    if first is None:
        raise reader.not_quantised(node, 0)
    arguments, names = [], list(first.nodes)
    for index, (island, value) in enumerate(zip(found, (left, right), strict=True)):
        if island is not None:
            if island.source != first.source:
                raise reader.not_quantised(node, index)
            arguments.append(island.expression)
            names += [name for name in island.nodes if name not in names]
        elif isinstance(value, Constant | DequantisedConstant):
            if value.array.size != 1 or len(value.shape) > len(first.shape):
                raise node.fail(
                    f"a constant {list(value.shape)} with a float tensor; expected one number, or "
                    "a quantised constant (DequantizeLinear)"
                )
            arguments.append(constant(float(value.array.reshape(-1)[0])))
        else:
            raise reader.not_quantised(node, index)
    return Island(first.source, Expression(operator, tuple(arguments)), (*names, node.name))


def _as_island(value: Value) -> Island | None:
    if isinstance(value, Dequantised):
        return Island(value, VARIABLE, ())
    return value if isinstance(value, Island) else None


def with_constant(
    reader: Reader,
    node: Node,
    value: Accumulated,
    operator: str,
    number: Floats,
    *,
    bias: bool = False,
) -> Accumulated:
    """An accumulator with one more operation by a constant, of the tensor or of each channel.

    `bias`: it is a sum that onnxruntime makes an int32 bias if there is an integer kernel
    (weight_bias_quantization.cc), also behind a MatMul (matmul_add_fusion.cc).

    Raises:
        UnsupportedModel: after Relu or Clip, or constants that vary along more than the channels.
    """
    if value.low != -np.inf or value.high != np.inf:
        raise node.fail("arithmetic after Relu or Clip; put QuantizeLinear between")
    if operator == "sub":
        operator, number = "add", -number
    if operator in ("mul", "div") and not (np.isfinite(number).all() and (number > 0).all()):
        raise node.fail("a factor that is not positive; expected a scale")
    if bias and value.exact and value.bias is None and value.rounding == "requant":
        axes = _axes_of(reader, node, value, number) if number.size > 1 else value.channel
        if not value.channel or value.channel == axes:
            names = (*value.nodes, node.name) if node.name not in value.nodes else value.nodes
            return replace(value, bias=number.reshape(-1), channel=axes, nodes=names)
    value = unfused(value)
    chain = value.chain
    if value.rounding == "requant":
        chain = (Arithmetic("mul", value.scale),)
        if value.operator in ("MatMulInteger", "ConvInteger"):
            chain = ()
    axes = value.channel
    flat: Floats
    if number.size == 1:
        flat = number.reshape(())
    else:
        own = _axes_of(reader, node, value, number)
        if axes and axes != own:
            raise node.fail("constants along other axes than the weights' scales")
        axes, flat = own, number.reshape(-1)
    return replace(
        value,
        chain=(*chain, Arithmetic(operator, flat)),
        rounding="float",
        channel=axes,
        nodes=(*value.nodes, node.name) if node.name not in value.nodes else value.nodes,
        exact=value.exact
        and reader.alone(node)
        and value.operator in ("MatMulInteger", "ConvInteger"),
    )


def _axes_of(reader: Reader, node: Node, value: Accumulated, number: Floats) -> tuple[int, ...]:
    """The accumulator's axes along which a constant varies: one, or group and channel."""
    if any(isinstance(move, Moved | Pooled) for move in value.after):
        raise node.fail("a constant for each channel after a movement; put it before")
    shape = reader.builder.shape(value.value)
    aligned = (1,) * (len(value.shape) - number.ndim) + number.shape
    varying = [i for i, n in enumerate(aligned) if n > 1]
    if len(varying) != 1 or aligned[varying[0]] != value.shape[varying[0]]:
        raise node.fail(f"a constant {list(number.shape)}; expected one axis, the channels'")
    if shape == value.shape:
        return (varying[0],)
    grouped = len(value.after) == 1 and isinstance(value.after[0], Reshaped)
    if grouped and varying == [1] and len(shape) == len(value.shape) + 1:
        return 1, 2
    raise node.fail("a constant for each channel after a Reshape; put it before")


def fold(node: Node, operator: str, left: NDArray[Any], right: NDArray[Any]) -> Constant:
    """Arithmetic of constants, as runtimes do it: integers truncate, floats are IEEE."""
    if left.dtype != right.dtype:
        raise node.fail(f"constants of {left.dtype} and {right.dtype}")
    if operator == "div" and left.dtype.kind in "iu":
        if (right == 0).any():
            raise node.fail("division by 0")
        quotient = np.abs(left) // np.abs(right) * np.sign(left) * np.sign(right)
        return Constant(quotient.astype(left.dtype), node.name)
    ufunc = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[operator]
    with np.errstate(all="ignore"):
        return Constant(ufunc(left, right).astype(left.dtype), node.name)


def cast(reader: Reader, node: Node) -> Sequence[Value]:
    """Cast of int32 accumulators to float32, and of constants."""
    value = reader.value(node, 0)
    dtype = helper.tensor_dtype_to_np_dtype(node.integer("to", 0))
    if isinstance(value, Constant):
        return [Constant(value.array.astype(dtype), value.name)]
    if isinstance(value, Integers) and value.dtype == "int32" and dtype == np.float32:
        return [
            Accumulated(value.value, value.shape, value.operator, (node.name,), rounding="float")
        ]
    if dtype == np.float32 and not isinstance(value, Integers) and not hasattr(value, "dtype"):
        return [value]
    raise node.fail("expected a constant, or int32 to float32")


OPERATORS: Mapping[str, Handler] = {
    "Add": binary("add"),
    "Sub": binary("sub"),
    "Mul": binary("mul"),
    "Div": binary("div"),
    "Cast": cast,
}
