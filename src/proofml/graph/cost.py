"""What one inference costs: multiply-accumulates, and bytes of intermediate values.

Multiply-accumulates are those of convolutions, matrix products and recurrent layers: what other
tools count, and what most of a prover's work grows with. Elementwise operators, reductions and
comparisons (trees) count as none. Where a shape is not known, or an operator's inside cannot be
seen, the node is named instead of counted as nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from onnx import AttributeProto, ModelProto, NodeProto, TensorProto

from proofml.graph.tensor import BITS
from proofml.graph.walk import operator_name, subgraphs

#: Value -> (TensorProto.DataType, dims); None for a dim, or for all dims, where unknown.
Shapes = Mapping[str, tuple[int, tuple[int | None, ...] | None]]


@dataclass(frozen=True, slots=True)
class Tally:
    """A sum of what is known, and who could not be counted, as `Operator -> output`."""

    known: int
    unknown: tuple[str, ...] = ()

    @property
    def total(self) -> int | None:
        """The sum, or None where something is missing in it."""
        return None if self.unknown else self.known


class _Unknown(Exception):
    """A shape is missing."""


class _Node:
    """A node with the shapes around it."""

    def __init__(self, proto: NodeProto, shapes: Shapes) -> None:
        self._proto = proto
        self._shapes = shapes

    def _shape(self, names: Iterable[str], index: int) -> tuple[int, ...]:
        names = list(names)
        dims = self._shapes.get(names[index], (0, None))[1] if index < len(names) else None
        if dims is None:
            raise _Unknown
        sizes = tuple(dim for dim in dims if dim is not None)
        if len(sizes) != len(dims):
            raise _Unknown
        return sizes

    def input(self, index: int) -> tuple[int, ...]:
        return self._shape(self._proto.input, index)

    def output(self) -> tuple[int, ...]:
        return self._shape(self._proto.output, 0)

    def inputs(self) -> int:
        return len(self._proto.input)

    def attribute(self, name: str) -> AttributeProto:
        """The attribute; an empty one where it is absent."""
        found = AttributeProto()
        for attribute in self._proto.attribute:
            if attribute.name == name:
                found = attribute
        return found


def _convolution(weight: int) -> Callable[[_Node], int]:
    """Each output element sums over one filter [C / groups, k, ...]; any number of axes."""
    return lambda node: math.prod(node.output()) * math.prod(node.input(weight)[1:])


def _transposed(node: _Node) -> int:
    """Each input element is spread over [M / groups, k, ...]; what `pads` cut off counts too."""
    return math.prod(node.input(0)) * math.prod(node.input(1)[1:])


def _gemm(node: _Node) -> int:
    rows, columns = node.input(0)
    inner = rows if node.attribute("transA").i else columns
    return math.prod(node.output()) * inner


def _product(node: _Node) -> int:
    """Any of the forms of numpy.matmul, batches and vectors too."""
    return math.prod(node.output()) * node.input(0)[-1]


def _einsum(node: _Node) -> int:
    """One pass over all indices for each operand after the first, as no order is prescribed."""
    terms = node.attribute("equation").s.decode("ascii", "replace").replace(" ", "")
    operands = terms.partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for index, operand in enumerate(operands):
        if "." in operand:
            raise _Unknown
        sizes.update(zip(operand, node.input(index), strict=True))
    return math.prod(sizes.values()) * max(1, node.inputs() - 1)


def _recurrent(node: _Node) -> int:
    """The matrix products with W [D, gates H, I] and R [D, gates H, H], for each step and row."""
    steps, batch = node.input(0)[:2]
    return steps * batch * (math.prod(node.input(1)) + math.prod(node.input(2)))


def _linear(node: _Node) -> int:
    shape = node.input(0)
    return (shape[0] if len(shape) > 1 else 1) * len(node.attribute("coefficients").floats)


_COUNTED: dict[str, Callable[[_Node], int]] = {
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "DeformConv": _convolution(1),
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearMatMul": _product,
    "Einsum": _einsum,
    "RNN": _recurrent,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "ai.onnx.ml:LinearClassifier": _linear,
    "ai.onnx.ml:LinearRegressor": _linear,
}
#: Standard operators that multiply matrices in ways that are not counted here.
_UNCOUNTED = {
    "Attention",
    "CausalConvWithState",
    "DFT",
    "LinearAttention",
    "STFT",
    "ai.onnx.ml:SVMClassifier",
    "ai.onnx.ml:SVMRegressor",
}
_KNOWN_DOMAINS = ("", "ai.onnx.ml")


def with_constants(model: ModelProto, shapes: Shapes) -> Shapes:
    """`shapes` with those of the main graph's initialisers, which shape inference leaves out."""
    found = dict(shapes)
    for tensor in model.graph.initializer:
        found[tensor.name] = (tensor.data_type, tuple(tensor.dims))
    return found


def multiply_accumulates(model: ModelProto, shapes: Shapes) -> Tally:
    """Of one inference; nodes in sub-graphs and functions are named, since nobody knows how often
    they run, or with which shapes."""
    known = 0
    unknown: list[str] = []
    bodies = {(f.domain, f.name, f.overload): list(f.node) for f in model.functions}
    for node in model.graph.node:
        name = operator_name(node)
        inside = bodies.get((node.domain, node.op_type, node.overload), [])
        if inside or any(True for _ in subgraphs([node])):
            if _multiplies(inside or [node], bodies):
                unknown.append(_label(node))
        elif name in _COUNTED:
            try:
                known += _COUNTED[name](_Node(node, shapes))
            except (_Unknown, ValueError, IndexError):
                unknown.append(_label(node))
        elif name in _UNCOUNTED or node.domain not in _KNOWN_DOMAINS:
            unknown.append(_label(node))
    return Tally(known, tuple(unknown))


def _multiplies(
    nodes: Iterable[NodeProto], bodies: Mapping[tuple[str, str, str], list[NodeProto]]
) -> bool:
    """Whether a node that is not nothing stands in here; called functions are looked into."""
    pending = list(nodes)
    seen: set[tuple[str, str, str]] = set()
    while pending:
        node = pending.pop()
        key = (node.domain, node.op_type, node.overload)
        if key in bodies:
            if key not in seen:
                seen.add(key)
                pending.extend(bodies[key])
        elif (
            operator_name(node) in _UNCOUNTED
            or operator_name(node) in _COUNTED
            or node.domain not in _KNOWN_DOMAINS
        ):
            return True
        for graph in subgraphs([node]):
            pending.extend(graph.node)
    return False


def activation_bytes(model: ModelProto, shapes: Shapes) -> Tally:
    """Bytes of all values that the main graph's nodes make, constants left out."""
    bits = 0
    unknown: list[str] = []
    for node in model.graph.node:
        if node.op_type == "Constant" and not node.domain:
            continue
        for name in node.output:
            if not name:
                continue
            kind, dims = shapes.get(name, (TensorProto.UNDEFINED, None))
            if kind not in BITS or dims is None or None in dims:
                unknown.append(f"{operator_name(node)} -> {name}")
            else:
                sizes = [dim for dim in dims if dim is not None]
                bits += (math.prod(sizes) * BITS[kind] + 7) // 8 * 8
    return Tally(bits // 8, tuple(unknown))


def _label(node: NodeProto) -> str:
    return f"{operator_name(node)} -> {', '.join(node.output)}"
