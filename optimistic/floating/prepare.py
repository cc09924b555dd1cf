"""A model at fixed input shapes, made ready for a trace.

What depends on shapes and integer constants alone is the same on every machine and no part of a
run: it is computed once and becomes a constant of the prepared model, as do `Constant` nodes and
what moves or correctly rounds constants. What nobody reads is dropped. Every operator that is left
has a rule (`rules.kind_of`), or the model is refused by the operator's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper
from onnx.inliner import inline_local_functions
from onnx.shape_inference import infer_node_outputs

from proofml.errors import UnsupportedModel, printable
from proofml.graph.tensor import DTYPE_OF, type_name
from proofml.optimistic.floating.node import Node
from proofml.optimistic.floating.rules import HEADS, JOINING, DType, Kind, foldable, kind_of
from proofml.tensors import Array

#: Runs one node on its operands (None where left out).
Evaluate = Callable[[Node, Sequence["Array | None"]], Sequence[Array]]

#: Larger constants are not shown to shape inference: shapes, axes and indices are smaller.
_SMALL_BYTES = 1 << 16
_INFERENCE_ERRORS = (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, KeyError)


@dataclass(frozen=True)
class Prepared:
    """What `prepare` makes.

    Attributes:
        model: nodes in order, initialisers, inputs and outputs; nothing else.
        types: value -> (NumPy dtype name, dims or None where a run decides them).
        groups: indices of the nodes of each operator; the last one makes its outputs.
    """

    model: ModelProto
    types: Mapping[str, tuple[str, tuple[int, ...] | None]]
    groups: tuple[tuple[int, ...], ...]


def prepare(
    model: ModelProto,
    shapes: Mapping[str, Sequence[int]],
    evaluate: Evaluate,
    *,
    grouped: bool,
) -> Prepared:
    """Fold, drop, check and group.

    Args:
        model: canonical.
        shapes: dims of every input.
        evaluate: the exact operators' meaning, for folding.
        grouped: whether elementwise operators join what they follow (`_groups`).

    Raises:
        UnsupportedModel: an operator or element type that has no rule, by name.
    """
    if model.functions:
        model = inline_local_functions(model)
    work = _Work(model, evaluate)
    work.inputs(shapes)
    for proto in model.graph.node:
        work.node(proto)
    nodes = _alive(work.kept, [value.name for value in model.graph.output])
    types = {name: _plain_type(proto) for name, proto in work.types.items()}
    graph = _graph(model.graph, nodes, work.known, types)
    result = ModelProto(ir_version=model.ir_version, graph=graph)
    result.opset_import.add(domain="", version=work.opset)
    made = {name for node in nodes for name in node.output if name}
    kept = made | {value.name for value in graph.input}
    outputs = {value.name for value in graph.output}
    single = tuple((index,) for index in range(len(nodes)))
    wrapped = [Node(node, work.opset) for node in nodes]
    groups = _groups(wrapped, outputs, types) if grouped else single
    return Prepared(result, {name: types[name] for name in types if name in kept}, groups)


class _Work:
    """Walks the nodes in order; knows constants and types so far."""

    def __init__(self, model: ModelProto, evaluate: Evaluate) -> None:
        self._model = model
        self._evaluate = evaluate
        self.opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
        self.known: dict[str, Array] = {}
        self.types: dict[str, TypeProto] = {}
        self.kept: list[NodeProto] = []
        for tensor in model.graph.initializer:
            self._know(tensor.name, numpy_helper.to_array(tensor), "initialiser")

    def inputs(self, shapes: Mapping[str, Sequence[int]]) -> None:
        for value in self._model.graph.input:
            kind = value.type.tensor_type.elem_type
            if not value.type.HasField("tensor_type") or kind not in DTYPE_OF:
                raise UnsupportedModel(
                    f"input {printable(value.name)!r}: {_type_words(value.type)} is not supported; "
                    "expected a tensor of numbers"
                )
            self.types[value.name] = helper.make_tensor_type_proto(kind, list(shapes[value.name]))

    def node(self, proto: NodeProto) -> None:
        node = Node(proto, self.opset)
        if proto.op_type == "Constant" and not proto.domain:
            self._know(proto.output[0], _constant(node), node.label)
            return
        kinds = self._infer(node)
        dims = self._dims(proto.input[0]) if proto.input else None
        inputs = [name for name in proto.input if name]
        if proto.op_type in ("Shape", "Size") and dims is not None:
            self._know(proto.output[0], _measure(node, dims), node.label)
        elif all(name in self.known for name in inputs) and foldable(node, list(kinds.values())):
            operands = [self.known.get(name) if name else None for name in proto.input]
            outputs = self._evaluate(node, operands)
            for name, array in zip(filter(None, proto.output), outputs, strict=True):
                self._know(name, array, node.label)
        else:
            kind_of(node, list(kinds.values()))
            self.kept.append(proto)

    def _know(self, name: str, array: Array, where: str) -> None:
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        if kind not in DTYPE_OF:
            raise UnsupportedModel(
                f"{printable(where)}: {type_name(kind)} is not supported; expected numbers of an "
                "IEEE format or integers"
            )
        self.known[name] = array
        self.types[name] = helper.make_tensor_type_proto(kind, list(array.shape))

    def _dims(self, name: str) -> tuple[int, ...] | None:
        return _plain_type(self.types[name])[1] if name in self.types else None

    def _infer(self, node: Node) -> dict[str, DType]:
        """Types of a node's outputs; refuses what is no tensor of numbers."""
        proto = node.proto
        if proto.domain not in ("", "ai.onnx"):
            kind_of(node, ())
        small = {
            name: numpy_helper.from_array(self.known[name], name)
            for name in proto.input
            if name in self.known and self.known[name].nbytes <= _SMALL_BYTES
        }
        try:
            schema = onnx.defs.get_schema(proto.op_type, self.opset, "")
            found = infer_node_outputs(
                schema,
                proto,
                {name: self.types[name] for name in proto.input if name},
                small,
                opset_imports=list(self._model.opset_import),
                ir_version=self._model.ir_version,
            )
        except (onnx.defs.SchemaError, *_INFERENCE_ERRORS) as error:
            kind_of(node, ())
            words = printable(" ".join(str(error).split()))
            raise node.refuse(f"onnx cannot infer what it makes: {words}") from error
        kinds: dict[str, DType] = {}
        for name in filter(None, proto.output):
            made = found.get(name, TypeProto())
            if not made.HasField("tensor_type") or made.tensor_type.elem_type not in DTYPE_OF:
                kind_of(node, ())
                raise node.refuse(
                    f"its output {printable(name)!r} is {_type_words(made)}; expected a tensor of "
                    "numbers"
                )
            self.types[name] = made
            kinds[name] = np.dtype(DTYPE_OF[made.tensor_type.elem_type])
        return kinds


def _type_words(value: TypeProto) -> str:
    kind = value.WhichOneof("value") or "of no known type"
    if kind == "tensor_type":
        return f"a tensor of {type_name(value.tensor_type.elem_type)}"
    return kind.replace("_", " ")


def _plain_type(value: TypeProto) -> tuple[str, tuple[int, ...] | None]:
    tensor = value.tensor_type
    dtype = DTYPE_OF[tensor.elem_type]
    if not tensor.HasField("shape"):
        return dtype, None
    dims = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
    return dtype, None if min(dims, default=0) < 0 else tuple(dims)


def _constant(node: Node) -> Array:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        value = node.get(name, None)
        if value is None:
            continue
        if name == "value":
            return np.asarray(numpy_helper.to_array(value))
        return np.asarray(value, np.float32 if "float" in name else np.int64)
    raise node.refuse("expected a tensor of numbers; strings and sparse tensors are not supported")


def _measure(node: Node, dims: tuple[int, ...]) -> Array:
    if node.op == "Size":
        return np.asarray(int(np.prod(dims, dtype=np.int64)), np.int64)
    rank = len(dims)
    start, end = node.integer("start", 0), node.integer("end", rank)
    return np.asarray(dims[slice(*(max(-rank, min(rank, i)) for i in (start, end)))], np.int64)


def _alive(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> list[NodeProto]:
    """The nodes that outputs depend on, in order; their unread outputs lose their names."""
    wanted = set(outputs)
    found: list[NodeProto] = []
    for proto in reversed(nodes):
        if not any(name in wanted for name in proto.output):
            continue
        copy = NodeProto()
        copy.CopyFrom(proto)
        copy.name = copy.doc_string = ""
        for index, name in enumerate(proto.output):
            if name not in wanted and index:
                copy.output[index] = ""
        while copy.output and not copy.output[-1]:
            del copy.output[-1]
        wanted.update(proto.input)
        found.append(copy)
    return found[::-1]


def _graph(
    source: GraphProto,
    nodes: Sequence[NodeProto],
    known: Mapping[str, Array],
    types: Mapping[str, tuple[str, tuple[int, ...] | None]],
) -> GraphProto:
    graph = GraphProto(name="prepared")
    graph.node.extend(nodes)
    for value in source.input:
        dtype, dims = types[value.name]
        graph.input.append(value_info(value.name, dtype, dims))
    for value in source.output:
        dtype, dims = types[value.name]
        graph.output.append(value_info(value.name, dtype, dims))
    read = {name for node in nodes for name in node.input} | {v.name for v in source.output}
    for name in sorted(read & set(known)):
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(known[name]), name))
    return graph


def value_info(name: str, dtype: str, dims: Sequence[int] | None) -> onnx.ValueInfoProto:
    """A value's declaration, without dims where they are not known."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, None if dims is None else list(dims))


# -- groups -------------------------------------------------------------------------------------


def _groups(
    nodes: Sequence[Node],
    outputs: set[str],
    types: Mapping[str, tuple[str, tuple[int, ...] | None]],
) -> tuple[tuple[int, ...], ...]:
    """Which nodes are judged together: only the last one's output is committed.

    From the end: a float node joins the group of its consumers where all of them are in one group
    and are elementwise, and it is elementwise itself or the only contraction there. So a group has
    one output, no path leaves and re-enters it, and runtimes may fuse what is in it.
    """
    consumers: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        for name in set(filter(None, node.inputs)):
            consumers.setdefault(name, []).append(index)
    group = list(range(len(nodes)))
    headed = [node.op in HEADS for node in nodes]
    for index in reversed(range(len(nodes))):
        readers = consumers.get(nodes[index].outputs[0], [])
        targets = {group[reader] for reader in readers}
        if len(targets) != 1 or not _joins(nodes, index, readers, outputs, types):
            continue
        (target,) = targets
        if headed[index] and headed[target]:
            continue
        group[index] = target
        headed[target] = headed[target] or headed[index]
    members: dict[int, list[int]] = {}
    for index, target in enumerate(group):
        members.setdefault(target, []).append(index)
    return tuple(tuple(members[target]) for target in sorted(members))


def _joins(
    nodes: Sequence[Node],
    index: int,
    readers: Sequence[int],
    outputs: set[str],
    types: Mapping[str, tuple[str, tuple[int, ...] | None]],
) -> bool:
    node = nodes[index]
    names = [name for name in node.outputs if name]
    everyone = (node, *(nodes[reader] for reader in readers))
    if len(names) != 1 or names[0] in outputs or node.op not in JOINING | HEADS:
        return False
    if any(reader.op not in JOINING for reader in everyone[1:]):
        return False
    kinds = Counter(
        kind_of(member, [np.dtype(types[name][0]) for name in member.outputs if name])
        for member in everyone
    )
    return set(kinds) == {Kind.BOUNDED} and DTYPE_OF[TensorProto.BOOL] != types[names[0]][0]
