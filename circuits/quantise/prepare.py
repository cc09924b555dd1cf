"""Float model -> an equal float graph of few operators: what calibration runs and `apply` reads.

In order: shapes are fixed, and what depends on them alone is computed; copies and dead nodes go, a
last Softmax where that is asked for; movement of constants is done; the GELU that PyTorch writes
out becomes one node; subtraction and division by constants become addition and multiplication;
reductions become GlobalAveragePool; scales, shifts and batch normalisation are folded into the
weights before them; a ConvTranspose becomes a Conv whose channels are spread over the image;
functions of one value become islands; Gemm takes its plain form. Pure: elementwise IEEE operations
only.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from proofml.circuits.quantise.constants import fix_shapes, fold_shapes, move_constants
from proofml.circuits.quantise.fold import fold, plain_gemm, settle_biases
from proofml.circuits.quantise.graph import Graph, Node, contradictions_refused, read_graph
from proofml.circuits.quantise.islands import form_islands
from proofml.circuits.quantise.operators import SOFTMAX, check, check_names
from proofml.circuits.quantise.patterns import match_gelu
from proofml.circuits.quantise.record import QuantisationConfig
from proofml.circuits.quantise.reductions import rewrite_reductions
from proofml.circuits.quantise.transposed import rewrite_transposed
from proofml.errors import UnsupportedModel, printable
from proofml.model import Model

#: Per-channel DequantizeLinear, and axes as inputs, began with this operator set.
_OLDEST = 13
#: Operator set that has Gelu.
_GELU = 20
#: The IR versions that came with them.
_IR_VERSION = {_OLDEST: 7, _GELU: 9}
_NEEDS_AXES = ("Squeeze", "Unsqueeze")


def prepare(model: Model, config: QuantisationConfig | None = None) -> Graph:
    """The prepared graph; of `config` only `shapes` and `cut_softmax` are looked at.

    Raises:
        UsageError: shapes that the model's inputs do not admit.
        UnsupportedModel: what cannot be quantised, by name.
    """
    with contradictions_refused(model.name):
        return _prepare(model, config or QuantisationConfig())


def _prepare(model: Model, config: QuantisationConfig) -> Graph:
    graph = read_graph(model)
    graph.prune()
    if config.shapes:
        fix_shapes(graph, model, config.shapes)
    else:
        fold_shapes(graph)
    _drop_copies(graph)
    if config.cut_softmax:
        _cut_softmax(graph)
    check_names(graph)
    move_constants(graph)
    match_gelu(graph)
    for node in graph.nodes:
        _to_newer(graph, node)
        _no_inverse(graph, node)
    _guard_roots(graph)
    _raise_opset(graph)
    rewrite_reductions(graph)
    plain_gemm(graph)
    fold(graph)
    rewrite_transposed(graph)
    form_islands(graph)
    settle_biases(graph)
    graph.prune()
    check(graph)
    return graph


def _drop_copies(graph: Graph) -> None:
    """Identity and Dropout: readers take the original; kept where an output needs the name."""
    outputs = set(graph.output_names)
    same: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        node.inputs = [same.get(name, name) for name in node.inputs]
        if node.op == "Dropout":
            training = len(node.inputs) > 2 and node.inputs[2]
            if any(node.outputs[1:]) or (training and np.any(graph.constants.get(training, True))):
                raise UnsupportedModel(
                    f"{node.where}: it is in training mode; export for inference"
                )
            node.op, node.inputs, node.attributes = "Identity", node.inputs[:1], {}
        if node.op == "Identity" and node.output not in outputs:
            same[node.output] = node.inputs[0]
        else:
            kept.append(node)
    graph.nodes = kept


def _cut_softmax(graph: Graph) -> None:
    """What a last Softmax reads takes its place among the outputs.

    Raises:
        UnsupportedModel: no output comes of one.
    """
    producers = graph.producers()
    outputs = {}
    for value in graph.outputs:
        node = producers.get(value.name)
        while node is not None and node.op == "Identity":
            node = producers.get(node.inputs[0])
        if node is not None and node.op in SOFTMAX and node.inputs[0] in producers:
            name = node.inputs[0]
            dims = graph.shapes[name] if name in graph.shapes else graph.static(name, node.where)
            value = helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        outputs[value.name] = value
    if set(outputs) == set(graph.output_names):
        raise UnsupportedModel(
            f"{graph.name}: cut_softmax: expected an output that a Softmax or LogSoftmax makes, "
            f"got {', '.join(printable(name) for name in graph.output_names[:6])}; leave it out"
        )
    graph.outputs = list(outputs.values())
    graph.prune()


def _to_newer(graph: Graph, node: Node) -> None:
    """Operands that were attributes before operator set 13, and what 18 made explicit."""
    if node.op in _NEEDS_AXES and "axes" in node.attributes:
        axes = np.asarray(node.attributes.pop("axes"), np.int64)
        node.inputs = [node.inputs[0], graph.constant(f"{node.output}/axes", axes)]
    if node.op == "Split" and "split" in node.attributes:
        sizes = np.asarray(node.attributes.pop("split"), np.int64)
        node.inputs = [node.inputs[0], graph.constant(f"{node.output}/split", sizes)]


def _no_inverse(graph: Graph, node: Node) -> None:
    """`x - c` as `x + (-c)`, `x / c` as `x * (1/c)`."""
    if node.op not in ("Sub", "Div") or node.inputs[0] in graph.constants:
        return
    right = graph.constants.get(node.inputs[1])
    if right is None or right.dtype != np.float32:
        return
    if node.op == "Sub":
        value = -right
    else:
        with np.errstate(all="ignore"):
            value = (1.0 / right.astype(np.float64)).astype(np.float32)
    node.op = "Add" if node.op == "Sub" else "Mul"
    node.inputs = [node.inputs[0], graph.constant(f"{node.output}/right", value)]


def _guard_roots(graph: Graph) -> None:
    """A Relu before each Sqrt: a code just below zero would have no square root."""
    result: list[Node] = []
    for node in graph.nodes:
        if node.op == "Sqrt":
            guarded = graph.fresh(f"{node.output}/Relu")
            result.append(Node("Relu", node.inputs, [guarded], {}, f"{node.where}, as Relu"))
            node.inputs = [guarded]
        result.append(node)
    graph.nodes = result


def _raise_opset(graph: Graph) -> None:
    """To the operator set that what is written needs."""
    before = graph.opset
    graph.opset = max(graph.opset, _OLDEST)
    if any(node.op == "Gelu" for node in graph.nodes):
        graph.opset = max(graph.opset, _GELU)
    if before < 18 <= graph.opset:
        for node in graph.nodes:
            if node.op == "Split" and len(node.inputs) < 2:
                node.attributes["num_outputs"] = len(node.outputs)
    if graph.opset > before:
        graph.ir_version = max(graph.ir_version, _IR_VERSION[graph.opset])
