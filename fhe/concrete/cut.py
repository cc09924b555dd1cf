"""Where a graph is cut: the owner computes head and tail in the clear, the server the body.

The head ends at the tensor that the first weights multiply, the tail begins behind the last ones;
each cut is taken only if everything on its far side comes through that one tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    shape_inference,
)

from proofml.errors import UnsupportedModel
from proofml.graph.walk import operator_name

#: Operators that multiply by weights; what encryption is for.
WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
TREES = frozenset({"TreeEnsembleClassifier", "TreeEnsembleRegressor"})
ML_DOMAIN = "ai.onnx.ml"
#: Nodes that change nothing in a float graph.
_COPIES = frozenset({"Identity", "Dropout"})


@dataclass(frozen=True)
class Cut:
    """Names of the tensors between head and body, and between body and tail."""

    head: str
    tail: str


def is_trees(node: NodeProto) -> bool:
    return node.domain == ML_DOMAIN and node.op_type in TREES


def fix_shapes(model: ModelProto, shapes: dict[str, Sequence[int]]) -> ModelProto:
    """The model at concrete input shapes, all other shapes inferred again."""
    for value in model.graph.input:
        if value.name in shapes:
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shapes[value.name]))
    del model.graph.value_info[:]
    for value in model.graph.output:
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind, None))
    return shape_inference.infer_shapes(model, data_prop=True)


def drop_copies(graph: GraphProto) -> None:
    """Remove Identity, Dropout and casts of float to float; readers take the original."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in _values(graph)}
    outputs = {value.name for value in graph.output}
    for node in list(graph.node):
        cast = node.op_type == "Cast" and (
            kinds.get(node.input[0]) == TensorProto.FLOAT == kinds.get(node.output[0])
        )
        if node.domain or not (cast or node.op_type in _COPIES):
            continue
        kept, gone = node.input[0], node.output[0]
        if gone in outputs:  # its name has to stay: what it copies takes it
            makers = [maker for maker in graph.node if kept in maker.output]
            if not makers or kept in outputs:
                continue
            makers[0].output[list(makers[0].output).index(kept)] = gone
            kept, gone = gone, kept
        graph.node.remove(node)
        for reader in graph.node:
            for index, name in enumerate(reader.input):
                if name == gone:
                    reader.input[index] = kept


def find_cut(graph: GraphProto, name: str) -> Cut:
    """Raises `UnsupportedModel` where there is nothing to encrypt."""
    source, result = graph.input[0].name, graph.output[0].name
    depends = _reached(graph, {source}, blocked="")
    weighted = [
        node
        for node in graph.node
        if ((node.op_type in WEIGHTED and not node.domain) or is_trees(node))
        and any(tensor in depends for tensor in node.input)
    ]
    if not weighted:
        raise UnsupportedModel(
            f"{name}: nothing in it multiplies by weights; expected one of "
            f"{', '.join(sorted(WEIGHTED | TREES))}; got {_operators(graph.node)}"
        )
    reads = [tensor for tensor in weighted[0].input if tensor in depends]
    head = reads[0] if len(reads) == 1 and _passes(graph, source, reads[0]) else source
    last = weighted[-1]
    tail = last.output[-1] if is_trees(last) else _with_bias(graph, last.output[0], depends)
    if not _passes(graph, source, tail):
        tail = result
    return Cut(head, tail)


def _operators(nodes: Iterable[NodeProto]) -> str:
    return ", ".join(sorted({operator_name(node) for node in nodes})) or "no operator"


def _reached(graph: GraphProto, start: set[str], blocked: str) -> set[str]:
    """Tensors that depend on `start` otherwise than through `blocked`."""
    found = set(start)
    for node in graph.node:
        if any(name in found and name != blocked for name in node.input):
            found.update(node.output)
    return found


def _ancestors(graph: GraphProto, target: str) -> set[str]:
    """Tensors that `target` is made of, itself included."""
    found = {target}
    for node in reversed(graph.node):
        if any(name in found for name in node.output):
            found.update(node.input)
    return found


def _passes(graph: GraphProto, source: str, tensor: str) -> bool:
    """Whether all that depends on the input, but for what makes `tensor`, comes through it."""
    before = _ancestors(graph, tensor)
    around = _reached(graph, {source}, blocked=tensor) - before
    wanted = set().union(*(_ancestors(graph, value.name) for value in graph.output))
    return not around & wanted


def _with_bias(graph: GraphProto, tensor: str, depends: set[str]) -> str:
    """The sum of `tensor` and a constant, where that is all that becomes of it."""
    readers = [node for node in graph.node if tensor in node.input]
    if len(readers) == 1 and readers[0].op_type in ("Add", "Sub") and not readers[0].domain:
        others = [name for name in readers[0].input if name != tensor]
        if readers[0].input[0] == tensor and others and not set(others) & depends:
            return str(readers[0].output[0])
        if readers[0].op_type == "Add" and others and not set(others) & depends:
            return str(readers[0].output[0])
    return tensor


def part(model: ModelProto, start: str, end: str, name: str) -> ModelProto | None:
    """The graph from `start` to `end`; None where that is one tensor.

    Raises:
        UnsupportedModel: a tensor where it is cut is not of float32.
    """
    if start == end:
        return None
    graph = model.graph
    known = {value.name: value for value in _values(graph)}
    wanted, nodes = {end}, []
    for node in reversed(graph.node):
        if any(out in wanted for out in node.output) and start not in node.output:
            nodes.append(node)
            wanted.update(node.input)
    ends = [_value(known, tensor, name) for tensor in (start, end)]
    if start != graph.input[0].name and ends[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise UnsupportedModel(f"{name}: tensor {start!r}: expected float32 where weights begin")
    piece = helper.make_graph(
        list(reversed(nodes)),
        "part",
        ends[:1],
        ends[1:],
        [tensor for tensor in graph.initializer if tensor.name in wanted],
    )
    made = helper.make_model(piece, opset_imports=model.opset_import)
    made.ir_version = model.ir_version
    return made


def _values(graph: GraphProto) -> list[ValueInfoProto]:
    return [*graph.input, *graph.value_info, *graph.output]


def _value(known: dict[str, ValueInfoProto], tensor: str, name: str) -> ValueInfoProto:
    value = known.get(tensor)
    if value is None or not value.type.tensor_type.HasField("shape"):
        raise UnsupportedModel(
            f"{name}: tensor {tensor!r}: its shape is not known; export the model with fixed shapes"
        )
    return value


def spell_out(node: NodeProto, graph: GraphProto, name: str) -> None:
    """Give a convolution or a pooling the attributes that it leaves to their defaults.

    Raises:
        UnsupportedModel: padding that depends on shapes which are not known.
    """
    if node.op_type not in ("Conv", "AveragePool", "MaxPool") or node.domain:
        return
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    kernel = found.get("kernel_shape")
    if kernel is None:
        weights = next((t.dims for t in graph.initializer if t.name == node.input[1]), ())
        kernel = list(weights)[2:]
    rank = len(kernel)
    auto = found.pop("auto_pad", b"NOTSET")
    if auto not in (b"NOTSET", b"VALID"):
        raise UnsupportedModel(
            f"{name}: {node.op_type}: expected explicit pads, got auto_pad "
            f"{auto.decode('ascii', errors='replace')}; export it with pads"
        )
    wanted: dict[str, list[int] | int] = {
        "kernel_shape": list(kernel),
        "pads": [0] * 2 * rank,
        "strides": [1] * rank,
    }
    if node.op_type == "Conv":
        wanted |= {"dilations": [1] * rank, "group": 1}
    del node.attribute[:]
    merged = wanted | found
    node.attribute.extend(helper.make_attribute(key, merged[key]) for key in sorted(merged))
