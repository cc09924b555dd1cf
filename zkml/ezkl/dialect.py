"""Forms of supported operators that EZKL, or tract before it, computes otherwise than ONNX.

The circuit of such a node is made, proven and verified, and its value is another one: padding is
counted or taken for zero, an attribute is passed over, an integer operation is done on fractions.
Each rule was found by comparing one-node graphs with onnxruntime over the attributes of every
operator in `SUPPORTED` (ezkl 23.0.5). A verifier refuses them (check ezkl.12), and a prover is told
before anything is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from proofml.graph.tensor import BITS, FLOATING
from proofml.model import Model

_UNSIGNED = {TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64}
_NARROW = _UNSIGNED | {TensorProto.INT8, TensorProto.INT16}
_INTEGERS = _NARROW | {TensorProto.INT32, TensorProto.INT64}
#: Small whatever they are given, so that no type is too narrow for them.
_INDICES = ("ArgMax", "ArgMin", "Shape", "Size")
#: Operators that only move elements, or choose among them: they cannot leave the type's range.
# fmt: off
_MOVING = frozenset(
    {
        "Clip", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather",
        "GatherElements", "GatherND", "Identity", "Max", "MaxPool", "Min", "Pad", "ReduceMax",
        "ReduceMin", "Relu", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile",
        "Transpose", "Unsqueeze", "Where",
    }
)
#: Never below zero; or not, where none of their inputs is.
_NOT_NEGATIVE = frozenset(
    {"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus", "Sqrt"}
)
_KEEPING = frozenset(
    {
        "Add", "AveragePool", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten",
        "GlobalAveragePool", "GlobalMaxPool", "Identity", "Max", "MaxPool", "Mul", "Reshape",
        "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)
# fmt: on
_NEAREST = {
    ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"),
    ("asymmetric", "floor"),
}
_ACTIVATIONS = {
    "GRU": ["Sigmoid", "Tanh"],
    "LSTM": ["Sigmoid", "Tanh", "Tanh"],
    "RNN": ["Tanh"],
}
_PADDING = ("SAME_UPPER", "SAME_LOWER")
_FRACTIONAL = (
    "Div", "Mean", "Pow", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean",
)  # fmt: skip


@dataclass(frozen=True)
class _Graph:
    """What a rule may ask of the values around a node."""

    types: Mapping[str, int]
    constants: Mapping[str, TensorProto]
    makers: Mapping[str, NodeProto]

    def constant(self, node: NodeProto, index: int) -> Any:
        """The elements of a constant input; None where it is none, or not there."""
        if index >= len(node.input) or node.input[index] not in self.constants:
            return None
        return numpy_helper.to_array(self.constants[node.input[index]])

    def kind(self, value: str) -> int | None:
        return self.types.get(value)

    def is_not_negative(self, value: str) -> bool:
        """Whether no element can be below zero, as far as operators tell."""
        pending, seen = [value], {value}
        while pending:
            name = pending.pop()
            maker = self.makers.get(name)
            if maker is not None and maker.op_type in _NOT_NEGATIVE:
                continue
            if maker is not None and maker.op_type == "Clip":
                low = self.constant(maker, 1)
                if low is not None and bool((low >= 0).all()):
                    continue
            if name in self.constants:
                if bool((numpy_helper.to_array(self.constants[name]) >= 0).all()):
                    continue
                return False
            if maker is None or maker.op_type not in _KEEPING:
                return False
            fresh = [n for n in _operands(maker) if n not in seen]
            seen.update(fresh)
            pending += fresh
        return True


def _operands(node: NodeProto) -> Iterable[str]:
    """The inputs that carry elements, without shapes, axes and indices."""
    every = node.op_type in ("Add", "Concat", "Max", "Mul")
    return [name for name in (node.input if every else node.input[:1]) if name]


def differing_forms(
    model: Model, computing: Iterable[NodeProto], supported: Container[str]
) -> list[str]:
    """Reasons against the model; `computing` are the nodes that depend on its inputs.

    A computing node whose operator is not `supported` has been named already.
    """
    graph = model.proto.graph
    types = {name: kind for name, (kind, _) in model.shapes.items()}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants.update(
        (node.output[0], node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    )
    types.update((name, tensor.data_type) for name, tensor in constants.items())
    around = _Graph(types, constants, {name: node for node in graph.node for name in node.output})
    nodes = list(computing)
    named = {node.op_type for node in nodes if node.op_type not in supported}
    found = [_anywhere(node, around) for node in graph.node if node.op_type not in named]
    found += [_computed(node, around) for node in nodes if node.op_type in supported]
    return sorted({reason for reason in found if reason})


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: _value(a) for a in node.attribute}


def _value(attribute: AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _anywhere(node: NodeProto, graph: _Graph) -> str:
    """Rules for every node: those that tract folds before EZKL are wrong as well."""
    rule = _RULES.get(node.op_type)
    problem = rule(node, _attributes(node), graph) if rule is not None else ""
    return f"operator {node.op_type} {problem}" if problem else ""


def _computed(node: NodeProto, graph: _Graph) -> str:
    """Rules for nodes that depend on the inputs."""
    rule = _COMPUTED.get(node.op_type)
    problem = rule(node, _attributes(node), graph) if rule is not None else ""
    if not problem and node.op_type in _FRACTIONAL and graph.kind(node.input[0]) in _INTEGERS:
        problem = "of integers (EZKL keeps the fraction)"
    narrow = any(graph.kind(name) in _NARROW for name in node.output)
    if not problem and narrow and node.op_type not in (*_MOVING, "Cast"):
        problem = "in a narrow integer type (EZKL does not wrap around)"
    return f"operator {node.op_type} {problem}" if problem else ""


# -- one rule an operator: what is wrong with this form, or nothing -------------------------------


def _pads(attributes: Mapping[str, Any]) -> bool:
    return any(attributes.get("pads", ())) or attributes.get("auto_pad") in _PADDING


def _average_pool(node: NodeProto, attributes: Mapping[str, Any], graph: _Graph) -> str:
    if _pads(attributes) and not attributes.get("count_include_pad", 0):
        return "with padding and count_include_pad=0 (EZKL counts the padding)"
    return ""


def _max_pool(node: NodeProto, attributes: Mapping[str, Any], graph: _Graph) -> str:
    if _pads(attributes) and not graph.is_not_negative(node.input[0]):
        return "with padding, of values that may be negative (EZKL pads with 0)"
    return ""


def _celu(node: NodeProto, attributes: Mapping[str, Any], graph: _Graph) -> str:
    return "with alpha other than 1" if attributes.get("alpha", 1.0) != 1.0 else ""


def _resize(node: NodeProto, attributes: Mapping[str, Any], graph: _Graph) -> str:
    how = (
        attributes.get("coordinate_transformation_mode", "half_pixel"),
        attributes.get("nearest_mode", "round_prefer_floor"),
    )
    if attributes.get("mode", "nearest") != "nearest" or how not in _NEAREST:
        return "other than nearest, half_pixel (EZKL repeats elements)"
    return ""


def _quantise(node: NodeProto, attributes: Mapping[str, Any], graph: _Graph) -> str:
    return "(tract rounds halves up)"


def _dequantise(node: NodeProto, attributes: Mapping[str, Any], graph: _Graph) -> str:
    scale = graph.constant(node, 1)
    return "" if scale is not None and scale.size == 1 else "with a scale per axis"


def _pow(node: NodeProto, attributes: Mapping[str, Any], graph: _Graph) -> str:
    exponent = graph.constant(node, 1)
    power = None if exponent is None or exponent.size != 1 else float(exponent.reshape(-1)[0])
    if power is None or not (power > 0 or power == -0.5):
        return "with an exponent other than a positive constant, or -0.5"
    return ""


def _cumulative_sum(node: NodeProto, attributes: Mapping[str, Any], graph: _Graph) -> str:
    return (
        "exclusive or reverse" if attributes.get("exclusive") or attributes.get("reverse") else ""
    )


def _one_hot(node: NodeProto, attributes: Mapping[str, Any], graph: _Graph) -> str:
    values = graph.constant(node, 2)
    return (
        "" if values is not None and values.tolist() == [0, 1] else "of values other than 0 and 1"
    )


def _gather_elements(node: NodeProto, attributes: Mapping[str, Any], graph: _Graph) -> str:
    indices = graph.constant(node, 1)
    return "with negative indices" if indices is not None and (indices < 0).any() else ""


def _einsum(node: NodeProto, attributes: Mapping[str, Any], graph: _Graph) -> str:
    terms = str(attributes.get("equation", "")).replace(" ", "").split("->")[0].split(",")
    if any(len(set(term)) != len(term) for term in (t.replace("...", "") for t in terms)):
        return "with an index twice in one operand"
    return ""


def _recurrent(node: NodeProto, attributes: Mapping[str, Any], graph: _Graph) -> str:
    activations = [
        bytes(name).decode("ascii", "replace") for name in attributes.get("activations", ())
    ]
    if activations and activations != _ACTIVATIONS[node.op_type]:
        return "with activations of its own"
    for name in ("activation_alpha", "activation_beta", "clip", "input_forget"):
        if attributes.get(name):
            return f"with {name}"
    if attributes.get("direction", "forward") != "forward" or attributes.get("layout"):
        return "other than forward, sequence first"
    if node.op_type == "LSTM" and len(node.output) > 2 and node.output[2]:
        return "with its last cell state as an output"
    return ""


def _cast(node: NodeProto, attributes: Mapping[str, Any], graph: _Graph) -> str:
    source, target = graph.kind(node.input[0]), attributes["to"]
    maker = graph.makers.get(node.input[0])
    if target in FLOATING or source in (TensorProto.BOOL, target):
        return ""
    if target == TensorProto.BOOL:
        return "to bool (EZKL keeps the number)"
    if source is None or source in FLOATING:
        return "from a float (EZKL rounds down, ONNX towards zero)"
    if maker is not None and maker.op_type in _INDICES:
        return ""
    if BITS[target] < BITS[source] or target in _UNSIGNED:
        return "to a narrower type (EZKL does not wrap around)"
    return ""


_Rule = Callable[[NodeProto, Mapping[str, Any], _Graph], str]
_RULES: Mapping[str, _Rule] = {
    "Celu": _celu,
    "DequantizeLinear": _dequantise,
    "QuantizeLinear": _quantise,
    "Resize": _resize,
}
_COMPUTED: Mapping[str, _Rule] = {
    "AveragePool": _average_pool,
    "Cast": _cast,
    "CumSum": _cumulative_sum,
    "Einsum": _einsum,
    "GRU": _recurrent,
    "GatherElements": _gather_elements,
    "LSTM": _recurrent,
    "MaxPool": _max_pool,
    "OneHot": _one_hot,
    "Pow": _pow,
    "RNN": _recurrent,
}
