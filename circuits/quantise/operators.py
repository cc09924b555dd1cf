"""The float operators that can be quantised, by what becomes of their quantisation parameters.

    shared    outputs have the codes' meaning of the inputs: data movement, maxima, clipping
    own       the output has a range of its own
    ArgMax    its output is an index

Everything else is refused by name before anything is run. `check` also looks at operands and
attributes, so that what follows can rely on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from onnx import TensorProto

from proofml.circuits.nearest import check_mode, factors, finite
from proofml.circuits.quantise.graph import Graph, Node
from proofml.errors import UnsupportedModel, printable

MOVEMENT = frozenset(
    {
        "Concat",
        "Expand",
        "Flatten",
        "Identity",
        "Pad",
        "Reshape",
        "Resize",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
CLIPPING = frozenset({"Clip", "Relu"})
SHARED = MOVEMENT | CLIPPING | {"MaxPool"}
UNARY = frozenset(
    {
        "Abs",
        "Erf",
        "Exp",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Neg",
        "Sigmoid",
        "Sqrt",
        "Tanh",
    }
)
WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
BINARY = frozenset({"Add", "Mul"})
POOLING = frozenset({"AveragePool", "GlobalAveragePool"})
OWN = UNARY | WEIGHTED | BINARY | POOLING | {"Island"}  # `islands`, several in one
#: Rewritten into the others by `prepare`.
REWRITTEN = frozenset(
    {
        "BatchNormalization",
        "Constant",
        "ConvTranspose",
        "Div",
        "Dropout",
        "ReduceMean",
        "ReduceSum",
        "Sub",
    }
)
#: Computed by `prepare` where they depend on shapes that are fixed.
FOLDED = frozenset({"ConstantOfShape", "Equal", "Gather", "Shape", "Size", "Where"})
#: Left out by `prepare` where they make an output, if that is asked for.
SOFTMAX = frozenset({"LogSoftmax", "Softmax"})
SUPPORTED = SHARED | OWN | {"ArgMax", "Cast"}

_CUT = (
    "cut the model before it: the order of the classes is the same (--cut-softmax, where it makes "
    "an output)"
)
_SHAPES = "of a shape that is open; fix the inputs' shapes (--shape NAME=1,3,48,192)"
#: Reasons and ways out for operators that people will try.
_ADVICE: Mapping[str, str] = {
    "BatchNormalization": "it can only be folded into a Conv, Gemm or MatMul right before it",
    "ConstantOfShape": "only of a shape that is fixed",
    "Div": "only by a constant",
    "Gather": "only of shapes that are fixed",
    "LayerNormalization": "its statistics are computed in floating point",
    "LogSoftmax": _CUT,
    "QuantizeLinear": "the model is quantised already",
    "ReduceMean": "only over constant axes",
    "ReduceSum": "only over constant axes",
    "Shape": _SHAPES,
    "Size": _SHAPES,
    "Softmax": _CUT,
    "Sub": "only with a constant",
}


def activations(node: Node) -> list[str]:
    """The inputs that carry values; the others are parameters."""
    if node.op in ("Concat", *BINARY):
        return node.inputs
    return node.inputs[:1]


def check_names(graph: Graph) -> None:
    """Refuse operators that neither this module nor `prepare` knows.

    Raises:
        UnsupportedModel: naming all of them.
    """
    unknown = {node.op: node for node in graph.nodes if node.op not in SUPPORTED | REWRITTEN}
    if unknown:
        raise _refusal(graph, list(unknown.values()))


def check(graph: Graph) -> None:
    """Refuse what cannot be quantised, once the graph is prepared.

    Raises:
        UnsupportedModel: an operator, an operand that must be constant and is not, an attribute.
    """
    left = {node.op: node for node in graph.nodes if node.op not in SUPPORTED}
    if left:
        raise _refusal(graph, list(left.values()))
    for value in graph.inputs:
        kind = value.type.tensor_type.elem_type
        if kind not in (TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8):
            raise UnsupportedModel(
                f"{graph.name}: input {printable(value.name)!r}: expected float32, uint8 or int8, "
                f"got {TensorProto.DataType.Name(kind)}; convert the model to float32"
            )
    values = _values(graph)
    for node in graph.nodes:
        carriers = set(activations(node))
        for name in dict.fromkeys(activations(node)):
            mixed = name in graph.constants and node.op in _MIXED
            if name not in values and not mixed and node.op != "Cast":
                got = "a constant" if name in graph.constants else "no float value"
                raise UnsupportedModel(
                    f"{node.where}: expected its input {printable(name)!r} to be computed in "
                    f"float32 from the model's inputs, got {got}"
                )
        for name in node.inputs:
            if name and name not in carriers and name not in graph.constants:
                raise UnsupportedModel(
                    f"{node.where}: expected its input {printable(name)!r} to be a constant; "
                    "export the model with fixed shapes and weights"
                )
        if any(node.outputs[_OUTPUTS.get(node.op, 1) :]):
            raise UnsupportedModel(f"{node.where}: only its first output can be quantised")
        if node.op in _CHECKS:
            _CHECKS[node.op](graph, node)
    indices = {name for node in graph.nodes if node.op == "ArgMax" for name in node.outputs}
    for name in graph.output_names:
        if name not in values and name not in indices:
            raise UnsupportedModel(
                f"{graph.name}: output {printable(name)!r}: expected float values or the indices "
                "of an ArgMax"
            )


_MIXED = frozenset({"Concat", *BINARY})
_OUTPUTS = {"Split": 1 << 30}


def _refusal(graph: Graph, nodes: list[Node]) -> UnsupportedModel:
    parts = []
    for node in nodes[:10]:
        advice = _ADVICE.get(node.op)
        parts.append(node.where.removeprefix(f"{graph.name}: ") + (f": {advice}" if advice else ""))
    known = sorted((SUPPORTED | REWRITTEN | FOLDED) - {"Island"})
    return UnsupportedModel(
        f"{graph.name}: cannot be quantised because of {'; '.join(parts)}"
        + f". Operators that can: {', '.join(known)}"
    )


def _values(graph: Graph) -> set[str]:
    """The values that codes will stand for: float inputs, and what nodes make of them."""
    found = {
        value.name
        for value in graph.inputs
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    for node in graph.nodes:
        if node.op != "ArgMax":
            found.update(name for name in node.outputs if name)
    return found


def floats(graph: Graph, node: Node, index: int) -> np.typing.NDArray[np.float32] | None:
    """A constant operand as float32; None where there is none.

    Raises:
        UnsupportedModel: another dtype, or numbers that are not finite.
    """
    if len(node.inputs) <= index or not node.inputs[index]:
        return None
    name = node.inputs[index]
    array = graph.constants.get(name)
    where = f"{node.where}: its input {printable(name)!r}"
    if array is None:
        raise UnsupportedModel(f"{where}: expected a constant; export the model with its weights")
    if array.dtype != np.float32:
        raise UnsupportedModel(f"{where}: expected float32, got {array.dtype}")
    if not np.isfinite(array).all():
        raise UnsupportedModel(f"{where}: expected finite numbers, got infinities or NaN")
    return array


def _cast(graph: Graph, node: Node) -> None:
    codes = {
        value.name
        for value in graph.inputs
        if value.type.tensor_type.elem_type in (TensorProto.UINT8, TensorProto.INT8)
    }
    if node.integer("to", 0) != TensorProto.FLOAT or node.inputs[0] not in codes:
        raise UnsupportedModel(
            f"{node.where}: expected it to make float32 of a uint8 or int8 input of the model"
        )


def _conv(graph: Graph, node: Node) -> None:
    weight, bias = floats(graph, node, 1), floats(graph, node, 2)
    assert weight is not None
    group = node.integer("group", 1)
    if weight.ndim not in (3, 4) or not weight.size or group < 1:
        raise UnsupportedModel(
            f"{node.where}: expected a convolution of one or two dimensions, got weights "
            f"{list(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise UnsupportedModel(
            f"{node.where}: expected a bias {list(weight.shape[:1])}, got {list(bias.shape)}"
        )


def _matmul(graph: Graph, node: Node) -> None:
    weight, bias = floats(graph, node, 1), floats(graph, node, 2)
    assert weight is not None
    if weight.ndim != 2 or not weight.size:
        raise UnsupportedModel(
            f"{node.where}: expected a matrix as its right operand, got {list(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[1:]:
        raise UnsupportedModel(
            f"{node.where}: expected a bias {list(weight.shape[1:])}, got {list(bias.shape)}"
        )


def _mixed(graph: Graph, node: Node) -> None:
    for index, name in enumerate(node.inputs):
        if name in graph.constants:
            floats(graph, node, index)
    if all(name in graph.constants for name in node.inputs):
        raise UnsupportedModel(f"{node.where}: all its inputs are constants; fold it")


def _maxpool(graph: Graph, node: Node) -> None:
    if node.integer("storage_order", 0):
        raise UnsupportedModel(f"{node.where}: storage_order is not supported")


def _pad(graph: Graph, node: Node) -> None:
    value = floats(graph, node, 2)
    if value is not None and value.size != 1:
        raise UnsupportedModel(f"{node.where}: expected one padding value, got {value.size}")


def _resize(graph: Graph, node: Node) -> None:
    attributes = {
        name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for name, value in node.attributes.items()
    }
    scales, sizes = (
        graph.constants[node.inputs[at]] if len(node.inputs) > at and node.inputs[at] else None
        for at in (2, 3)
    )
    dims = graph.shapes.get(node.inputs[0])
    if dims is None:
        graph.static(node.inputs[0], node.where)  # raises
        raise AssertionError
    try:
        check_mode(attributes)
        given = finite(scales) if scales is not None and scales.size else None
        lengths = None if sizes is None else [int(size) for size in sizes.reshape(-1)]
        factors(dims, given, lengths, node.integers("axes"))
    except ValueError as error:
        raise UnsupportedModel(f"{node.where}: {error}") from error


def _clip(graph: Graph, node: Node) -> None:
    for index in (1, 2):
        value = None
        if len(node.inputs) > index and node.inputs[index]:
            value = graph.constants[node.inputs[index]]
        if value is not None and (
            value.dtype != np.float32 or value.size != 1 or np.isnan(value).any()
        ):
            raise UnsupportedModel(f"{node.where}: expected one float32 as a bound")


_CHECKS: Mapping[str, Callable[[Graph, Node], None]] = {
    "Add": _mixed,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _mixed,
    "Conv": _conv,
    "Gemm": _matmul,
    "MatMul": _matmul,
    "MaxPool": _maxpool,
    "Mul": _mixed,
    "Pad": _pad,
    "Resize": _resize,
}
