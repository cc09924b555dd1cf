"""Which ONNX operators reach an EZKL circuit; told before anything is spent.

EZKL reads ONNX through tract and maps tract's operators to its own. The set below was measured on
one-node graphs: settings, witness and mock proof pass, and the value is near onnxruntime's. What
is left out fails there with messages that often name neither the operator nor a way out, or
passes with another meaning: EZKL takes 8-bit QuantizeLinear and DequantizeLinear for the identity,
gives wrong values for Trilu and MatMulInteger, and leaves the result of Equal at the scale of its
operands, so that 1 becomes 2^-scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proofml.backend import Request
from proofml.errors import UsageError
from proofml.graph.cost import multiply_accumulates
from proofml.statement import Visibility
from proofml.zkml.ezkl.dialect import differing_forms
from proofml.zkml.ezkl.params import HIDEABLE, Options

if TYPE_CHECKING:
    from onnx import NodeProto

    from proofml.model import Model

# fmt: off
SUPPORTED = frozenset(
    {
        "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan",
        "Atanh", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "Concat",
        "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "Cos", "Cosh", "CumSum",
        "DepthToSpace", "Div", "Dropout", "Einsum", "Elu", "Erf", "Exp", "Expand",
        "EyeLike", "Flatten", "Floor", "GRU", "Gather", "GatherElements", "GatherND", "Gemm",
        "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid",
        "HardSwish", "Hardmax", "Identity", "InstanceNormalization", "LSTM",
        "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul",
        "Max", "MaxPool", "Mean", "Min", "Mul", "Neg", "Not", "OneHot", "Or", "PRelu", "Pad",
        "Pow", "RNN", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
        "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
        "Relu", "Reshape", "Resize", "Round", "Selu", "Shape", "Sigmoid", "Sign", "Sin", "Sinh",
        "Size", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt",
        "Squeeze", "Sub", "Sum", "Tan", "Tanh", "ThresholdedRelu", "Tile", "Transpose",
        "Unsqueeze", "Where", "Xor",
    }
)
# fmt: on

#: Memory of setup and proof for each multiply-accumulate, measured on LeNet-5 (docs/ezkl.md).
BYTES_PER_MAC = 9000
#: What these say of a tensor does not depend on its values.
_FOLDED = ("Shape", "Size")
MAX_REASONS = 5


def obstacles(model: Model, request: Request) -> tuple[str, ...]:
    """Why EZKL cannot take the model or the request; empty where nothing is known against it."""
    reasons: list[str] = []
    try:
        reasons += filter(None, [size_obstacle(model, Options.read(request.options))])
    except UsageError as error:
        reasons.append(str(error))
    visibilities = {request.input_visibility, request.output_visibility}
    if visibilities == {Visibility.PRIVATE}:
        reasons.append("input and output both private leave nothing to bind the Statement to")
    if request.parameters not in ("fixed", "hashed", "private"):
        reasons.append(f"parameters {request.parameters!r}: expected fixed, hashed or private")
    if request.input_visibility is not Visibility.PUBLIC:
        reasons += [
            f"hidden input {spec.name!r} of type {spec.dtype}: EZKL does not hold it to the range "
            f"of its type; declare it as one of {', '.join(sorted(HIDEABLE))}"
            for spec in model.inputs
            if spec.dtype not in HIDEABLE
        ]
    found = foreign_operators(model)
    reasons += found[:MAX_REASONS]
    if len(found) > MAX_REASONS:
        reasons.append(f"and {len(found) - MAX_REASONS} obstacles more")
    return tuple(reasons)


def foreign_operators(model: Model) -> list[str]:
    """What EZKL refuses or computes otherwise than ONNX; a verifier asks too.

    A prover who skips `obstacles` would prove EZKL's reading of the model under its digest.
    """
    forms = differing_forms(model, _computing(model), SUPPORTED)
    return _unknown(model) + _restrictions(model) + forms


def size_obstacle(model: Model, options: Options) -> str:
    """What to say of a model that needs more memory than there can be; empty where it may pass.

    Counts what is known: a model with free dimensions is judged again with the inputs at hand.
    """
    count = multiply_accumulates(model.proto, model.shapes).known
    if count <= options.max_macs:
        return ""
    return (
        f"{count:,} multiply-accumulates, at some {BYTES_PER_MAC // 1000} kB of memory each "
        f"{count * BYTES_PER_MAC / 1e9:,.0f} GB; expected at most {options.max_macs:,} "
        "(--set max-macs=N)"
    )


def _computing(model: Model) -> list[NodeProto]:
    """Nodes whose result depends on values of the inputs; tract folds the others away."""
    depends = {spec.name for spec in model.inputs}
    found = []
    for node in model.proto.graph.node:
        if node.op_type in _FOLDED or not depends.intersection(node.input):
            continue
        found.append(node)
        depends.update(node.output)
    return found


def _unknown(model: Model) -> list[str]:
    nodes = _computing(model)
    nested = any(a.HasField("g") or a.graphs for node in nodes for a in node.attribute)
    names = (
        model.operators
        if nested or model.proto.functions
        else dict.fromkeys(f"{n.domain}:{n.op_type}" if n.domain else n.op_type for n in nodes)
    )
    return [f"operator {name}" for name in names if name not in SUPPORTED]


def _restrictions(model: Model) -> list[str]:
    """Forms of supported operators that EZKL refuses."""
    reasons: list[str] = []
    for node in _computing(model):
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type in ("Conv", "ConvTranspose", "MaxPool", "AveragePool"):
            dilations = attributes.get("dilations")
            if dilations is not None and any(d != 1 for d in dilations.ints):
                reasons.append(f"operator {node.op_type} with dilations other than 1")
    return sorted(set(reasons))
