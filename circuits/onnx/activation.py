"""Functions of one variable: Relu and Clip fold into what comes before, the others make islands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from proofml.circuits.onnx.accumulated import unfused
from proofml.circuits.onnx.island import unary_table
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.reader import Handler, Reader
from proofml.circuits.onnx.values import (
    Accumulated,
    Constant,
    Dequantised,
    DequantisedConstant,
    Island,
    Pair,
    Value,
)
from proofml.circuits.unary import VARIABLE, Expression, evaluate


def applied(reader: Reader, node: Node, operator: str, *numbers: float) -> Value:
    """The function of the node's first input."""
    value = reader.value(node, 0)
    if isinstance(value, Constant | DequantisedConstant) and value.array.dtype == np.float32:
        found = evaluate(Expression(operator, (VARIABLE,), numbers), value.array)
        return Constant(found, value.name)
    if isinstance(value, Dequantised):
        value = Island(value, VARIABLE, ())
    if isinstance(value, Island):
        expression = Expression(operator, (value.expression,), numbers)
        return Island(value.source, expression, (*value.nodes, node.name))
    raise reader.not_quantised(node, 0)


def clip(reader: Reader, node: Node) -> Sequence[Value]:
    """Clip with constant bounds; those of a Relu are 0 and infinity."""
    if node.operator == "Relu":
        low, high = 0.0, float("inf")
    else:
        low, high = _bound(reader, node, 1, -np.inf), _bound(reader, node, 2, np.inf)
    value = reader.value(node, 0)
    if isinstance(value, Accumulated | Pair):
        least, most = (min(max(end, low), high) for end in (value.low, value.high))
        if isinstance(value, Accumulated) and not reader.alone(node):
            value = unfused(value)
        fused = reader.alone(node) and not value.after
        names = (*value.nodes, node.name)
        if isinstance(value, Pair):
            fused = value.fused and fused
            return [replace(value, low=least, high=most, nodes=names, fused=fused)]
        # A Reshape of grouped channels is this importer's own, no node of the file.
        fused = value.exact and (reader.alone(node) and len(value.after) <= value.own)
        return [replace(value, low=least, high=most, nodes=names, exact=fused)]
    return [applied(reader, node, "clip", low, high)]


def _bound(reader: Reader, node: Node, index: int, default: float) -> float:
    array = reader.optional(node, index, "a bound")
    if array is None:
        return default
    if array.size != 1 or array.dtype != np.float32:
        raise node.fail(f"a bound of {array.dtype}{list(array.shape)}; expected one float32")
    return float(array.reshape(-1)[0])


def simple(operator: str) -> Handler:
    """A handler for a function without parameters."""

    def handler(reader: Reader, node: Node) -> Sequence[Value]:
        return [applied(reader, node, operator)]

    return handler


def leaky_relu(reader: Reader, node: Node) -> Sequence[Value]:
    return [applied(reader, node, "leaky", node.real("alpha", 0.01))]


def hard_sigmoid(reader: Reader, node: Node) -> Sequence[Value]:
    alpha, beta = node.real("alpha", 0.2), node.real("beta", 0.5)
    return [applied(reader, node, "hard_sigmoid", alpha, beta)]


def hard_swish(reader: Reader, node: Node) -> Sequence[Value]:
    """`x * max(0, min(1, x / 6 + 1 / 2))`."""
    gate = applied(reader, node, "hard_sigmoid", float(np.float32(1 / 6)), 0.5)
    if not isinstance(gate, Island):
        raise reader.not_quantised(node, 0)
    before = gate.expression.arguments[0]
    return [replace(gate, expression=Expression("mul", (before, gate.expression)))]


def gelu(reader: Reader, node: Node) -> Sequence[Value]:
    """Gelu of opset 20, and com.microsoft's."""
    form = node.text("approximate", "none")
    if form not in ("none", "tanh"):
        raise node.fail(f"approximate {form!r}; expected 'none' or 'tanh'")
    return [applied(reader, node, "gelu" if form == "none" else "gelu_tanh")]


def qlinear(operator: str, parameter: Callable[[Node], tuple[float, ...]]) -> Handler:
    """A handler for com.microsoft's operators: codes, scale, zero point, scale, zero point."""

    def handler(reader: Reader, node: Node) -> Sequence[Value]:
        codes = reader.codes(node, 0)
        source = reader.quantisation(node, 1, 2, codes.dtype)
        into = reader.quantisation(node, 3, 4, codes.dtype)
        x = Dequantised(reader.builder.centred(codes, source.zero), source.scale, codes.dtype)
        island = Island(x, Expression(operator, (VARIABLE,), parameter(node)), ())
        return [unary_table(reader, node, island, into)]

    return handler


OPERATORS: Mapping[str, Handler] = {
    "Relu": clip,
    "Clip": clip,
    "LeakyRelu": leaky_relu,
    "Sigmoid": simple("sigmoid"),
    "Tanh": simple("tanh"),
    "Exp": simple("exp"),
    "Erf": simple("erf"),
    "Sqrt": simple("sqrt"),
    "Abs": simple("abs"),
    "Neg": simple("neg"),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Gelu": gelu,
    "com.microsoft:Gelu": gelu,
    "com.microsoft:QLinearSigmoid": qlinear("sigmoid", lambda _: ()),
    "com.microsoft:QLinearLeakyRelu": qlinear("leaky", lambda n: (n.real("alpha", 0.01),)),
}
