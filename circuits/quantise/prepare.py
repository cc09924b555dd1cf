"""Float model -> an equal float graph of few operators: what calibration runs and `apply` reads.

In order: copies and dead nodes go; movement of constants is done; the GELU that PyTorch writes
out becomes one node; subtraction and division by constants become addition and multiplication;
reductions become GlobalAveragePool; scales, shifts and batch normalisation are folded into the
weights before them; functions of one value become islands; Gemm takes its plain
form. Pure: elementwise IEEE operations only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from proofml.circuits.quantise.fold import fold, plain_gemm, settle_biases
from proofml.circuits.quantise.graph import Graph, Node, contradictions_refused, read_graph
from proofml.circuits.quantise.islands import form_islands
from proofml.circuits.quantise.operators import check, check_names
from proofml.circuits.quantise.patterns import match_gelu
from proofml.circuits.quantise.reductions import rewrite_reductions
from proofml.errors import UnsupportedModel
from proofml.model import Model
from proofml.tensors import Array

#: Per-channel DequantizeLinear, and axes as inputs, began with this operator set.
_OLDEST = 13
#: Operator set that has Gelu.
_GELU = 20
#: The IR versions that came with them.
_IR_VERSION = {_OLDEST: 7, _GELU: 9}
_NEEDS_AXES = ("Squeeze", "Unsqueeze")


def prepare(model: Model) -> Graph:
    """The prepared graph.

    Raises:
        UnsupportedModel: what cannot be quantised, by name.
    """
    with contradictions_refused(model.name):
        return _prepare(model)


def _prepare(model: Model) -> Graph:
    graph = read_graph(model)
    graph.prune()
    check_names(graph)
    _drop_copies(graph)
    _move_constants(graph)
    match_gelu(graph)
    for node in graph.nodes:
        _to_newer(graph, node)
        _no_inverse(graph, node)
    _guard_roots(graph)
    _raise_opset(graph)
    rewrite_reductions(graph)
    plain_gemm(graph)
    fold(graph)
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


def _axes(graph: Graph, node: Node) -> list[int] | None:
    if len(node.inputs) > 1 and node.inputs[1]:
        return [int(axis) for axis in graph.constants[node.inputs[1]].reshape(-1)]
    return node.integers("axes")


def _transpose(graph: Graph, node: Node, x: Array) -> Array:
    return np.transpose(x, node.integers("perm"))


def _reshape(graph: Graph, node: Node, x: Array) -> Array:
    dims = [int(dim) for dim in graph.constants[node.inputs[1]]]
    if not node.integer("allowzero", 0):
        dims = [x.shape[i] if dim == 0 else dim for i, dim in enumerate(dims)]
    return x.reshape(dims)


def _squeeze(graph: Graph, node: Node, x: Array) -> Array:
    axes = _axes(graph, node)
    return np.squeeze(x, None if axes is None else tuple(axes))


def _unsqueeze(graph: Graph, node: Node, x: Array) -> Array:
    return np.expand_dims(x, tuple(_axes(graph, node) or ()))


_MOVES: dict[str, Callable[[Graph, Node, Array], Array]] = {
    "Identity": lambda graph, node, x: x,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


def _move_constants(graph: Graph) -> None:
    """Transposed and reshaped weights, as exporters leave them."""
    kept = []
    for node in graph.nodes:
        x = graph.constants.get(node.inputs[0]) if node.inputs else None
        parameters = all(name in graph.constants for name in node.inputs if name)
        if x is None or not parameters or node.op not in _MOVES:
            kept.append(node)
            continue
        moved = np.ascontiguousarray(_MOVES[node.op](graph, node, x))
        graph.constants[node.output] = moved
        graph.shapes[node.output] = moved.shape
    graph.nodes = kept


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
