"""ONNX -> canonical ONNX: the same function, one byte string.

Removed, because they change no result: producer, doc strings, metadata, names of graphs, nodes
and constant tensors, denotations, recorded intermediate shapes, quantisation annotations, device
placement, protobuf fields that onnx does not know. Put into a fixed order: opset imports,
initialisers, attributes, functions. Every tensor's data becomes `raw_data`, whether it came
typed, raw or from an external file; a negative or unnamed dimension becomes an open one. An
initialiser that is also listed as a graph input (required before IR version 4, an overridable
default since) becomes a constant: what is proven has fixed weights.

Nothing is folded, fused or reordered among nodes: floating-point results stay bit for bit.

What runtimes read differently is refused rather than decided: functions that replace standard
operators, attributes with two values, outputs listed twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto
from onnx.defs import onnx_opset_version

from proofml.errors import UnsupportedModel
from proofml.graph.external import Storage
from proofml.graph.functions import Calls, FunctionKey
from proofml.graph.names import Scope, shown, text
from proofml.graph.tensor import canonical_tensor

OLDEST_OPSET = 11
#: Nodes of all graphs together, each function counted as often as it is called.
MAX_NODES = 200_000
#: Protobuf messages (nodes, attributes, tensors, values, dimensions) and names; elements of other
#: lists and characters. Both bound what a canonical model's bytes become in memory, where each
#: costs up to 150 bytes, or 16.
MAX_PARTS = 5_000_000
MAX_ELEMENTS = 1 << 27
MAX_DEPTH = 16
_DEFAULT_DOMAINS = ("", "ai.onnx")
_STANDARD_DOMAINS = (
    *_DEFAULT_DOMAINS,
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview.training",
)
#: AttributeProto.type -> the field that holds the value.
_FIELD_OF: dict[int, str] = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.GRAPHS: "graphs",
    AttributeProto.TYPE_PROTOS: "type_protos",
}
_LISTS = ("floats", "ints", "strings")
_DEFAULT_OF: dict[str, float | int | bytes] = {"f": 0.0, "i": 0, "s": b""}


def parse(data: bytes, name: str) -> ModelProto:
    """Protobuf bytes to a model; raises `UnsupportedModel` for anything else, or `MemoryError`."""
    try:
        model: ModelProto = ModelProto.FromString(data)
    except MemoryError:
        raise
    except Exception as error:
        if "alloc" in str(error):  # protobuf's own words for it
            raise MemoryError from error
        raise UnsupportedModel(
            f"{name}: not an ONNX file: {str(error)[:120] or type(error).__name__}"
        ) from error
    if not model.HasField("graph") or not model.opset_import or not model.ir_version:
        raise UnsupportedModel(
            f"{name}: not an ONNX file: expected a graph, an opset import and an IR version"
        )
    return model


def canonicalise(model: ModelProto, name: str, source: Path | Storage | None) -> ModelProto:
    """The canonical model.

    Args:
        model: as parsed; not changed.
        name: of the file, for messages.
        source: folder where external data may lie, None where there is no folder; or a storage of
            one's own, which can be asked afterwards.

    Raises:
        UnsupportedModel: opset out of range, broken data, cycles, something that runtimes read
            differently, more than the bounds of this module, or features without a canonical
            form (training graphs, sparse tensors).
    """
    try:
        storage = source if isinstance(source, Storage) else Storage(source)
        return _canonicalise(model, name, storage)
    except UnicodeDecodeError as error:  # from protobuf's implementation in Python
        raise UnsupportedModel(f"{name}: a name in it is not UTF-8") from error


def _canonicalise(model: ModelProto, name: str, storage: Storage) -> ModelProto:
    result = ModelProto()
    result.ir_version = max(4, model.ir_version)
    for domain, version in sorted(_opsets(model.opset_import, name).items()):
        result.opset_import.add(domain=domain, version=version)
    if model.training_info:
        raise UnsupportedModel(f"{name}: holds a training graph; export it for inference")
    functions = {_key(function, name): function for function in model.functions}
    if len(functions) != len(model.functions):
        raise UnsupportedModel(f"{name}: a function is defined twice")
    walker = _Walker(name, storage, frozenset(functions))
    walker.graph(model.graph, result.graph, None, 0)
    if not result.graph.output:
        raise UnsupportedModel(f"{name}: the graph has no output")
    for key, function in sorted(functions.items()):
        walker.function(key, function, result.functions.add())
    walker.calls.check(name, MAX_NODES)
    return result


def _key(proto: FunctionProto, where: str) -> FunctionKey:
    return text(proto.domain, where), text(proto.name, where), text(proto.overload, where)


def _by_name(attributes: Iterable[AttributeProto], where: str) -> list[AttributeProto]:
    found: dict[str, AttributeProto] = {}
    for attribute in attributes:
        name = text(attribute.name, where)
        if name in found:
            raise UnsupportedModel(f"{where}: the attribute {shown(name)} twice")
        found[name] = attribute
    return [found[name] for name in sorted(found)]


def _opsets(imports: Iterable[onnx.OperatorSetIdProto], where: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in imports:
        domain = "" if entry.domain in _DEFAULT_DOMAINS else text(entry.domain, where)
        if found.get(domain, entry.version) != entry.version:
            raise UnsupportedModel(f"{where}: two versions of the operator set {shown(domain)}")
        found[domain] = entry.version
    version = found.get("")
    newest = onnx_opset_version()
    if version is not None and not OLDEST_OPSET <= version <= newest:
        raise UnsupportedModel(
            f"{where}: opset {version}; expected {OLDEST_OPSET} to {newest}, the newest that "
            f"onnx {onnx.__version__} knows; convert it with onnx.version_converter"
        )
    return found


class _Walker:
    """Copies graphs and functions; names, nodes and bytes are counted across all of them."""

    def __init__(self, name: str, storage: Storage, functions: frozenset[FunctionKey]) -> None:
        self._name = name
        self._storage = storage
        self._functions = functions
        self._nodes = 0
        self._parts = 0
        self._elements = 0
        self._in_function = False
        self.calls = Calls()

    def graph(self, graph: GraphProto, result: GraphProto, outer: Scope | None, depth: int) -> None:
        where = f"{self._name}: graph {shown(graph.name)}"
        if depth > MAX_DEPTH:
            raise UnsupportedModel(f"{where}: sub-graphs nested deeper than {MAX_DEPTH}")
        if graph.sparse_initializer:
            raise UnsupportedModel(
                f"{where}: sparse initialisers are not supported; make them dense"
            )
        self._count(len(graph.input) + len(graph.initializer) + len(graph.output))
        scope = Scope(outer)
        nested = outer is not None
        weights = {text(tensor.name, where): tensor for tensor in graph.initializer}
        if len(weights) != len(graph.initializer):
            raise UnsupportedModel(f"{where}: two initialisers of one name")
        for value in graph.input:
            if value.name not in weights:
                scope.define(value.name, f"{where}, inputs", shadows=nested)
                self._value(value, result.input.add())
            elif nested:
                # Its place among the arguments would be lost; runtimes refuse it as well.
                raise UnsupportedModel(
                    f"{where}: the input {shown(value.name)} of a sub-graph is an initialiser too"
                )
        for name, tensor in sorted(weights.items()):
            scope.define(name, f"{where}, initialisers", shadows=nested)
            at = f"{where}, initialiser {shown(name)}"
            self._count(0, len(tensor.dims) + len(tensor.string_data) + len(name))
            target = result.initializer.add()
            canonical_tensor(tensor, target, at, self._storage, name=name)
        self._copy_nodes(graph.node, result, scope, depth, where)
        outputs: set[str] = set()
        for value in graph.output:
            if value.name not in scope:
                raise UnsupportedModel(f"{where}: output {shown(value.name)} is made by no node")
            if value.name in outputs:
                raise UnsupportedModel(f"{where}: output {shown(value.name)} is listed twice")
            outputs.add(value.name)
            self._value(value, result.output.add())
        result.name = "graph"

    def function(self, key: FunctionKey, function: FunctionProto, result: FunctionProto) -> None:
        """Copy a model-local function."""
        where = f"{self._name}: function {shown(':'.join(key[:2]))}"
        if function.domain in _STANDARD_DOMAINS:
            raise UnsupportedModel(f"{where}: replaces operators of {shown(function.domain)}")
        self._in_function = True
        self.calls.begin(key)
        self._count(1)
        self._names(function.input, function.output, function.attribute)
        result.domain, result.name = key[:2]
        if key[2]:
            result.overload = key[2]
        scope = Scope()
        for name in function.input:
            scope.define(name, f"{where}, inputs")
        result.input.extend(function.input)
        result.attribute.extend(sorted(text(name, where) for name in function.attribute))
        for proto in _by_name(function.attribute_proto, where):
            self._attribute(proto, result.attribute_proto.add(), scope, 0, where)
        names = [*result.attribute, *(proto.name for proto in result.attribute_proto)]
        if len(set(names)) != len(names):
            raise UnsupportedModel(f"{where}: an attribute twice")
        for domain, version in sorted(_opsets(function.opset_import, where).items()):
            result.opset_import.add(domain=domain, version=version)
        self._copy_nodes(function.node, result, scope, 0, where)
        for name in function.output:
            if name not in scope:
                raise UnsupportedModel(f"{where}: output {shown(name)} is made by no node")
        result.output.extend(function.output)

    def _copy_nodes(
        self,
        nodes: Sequence[NodeProto],
        result: GraphProto | FunctionProto,
        scope: Scope,
        depth: int,
        where: str,
    ) -> None:
        # Before they are listed: a node without content takes two bytes of the file.
        self._nodes += len(nodes)
        if self._nodes > MAX_NODES:
            raise UnsupportedModel(f"{self._name}: more than {MAX_NODES} nodes")
        nodes = list(nodes)
        for index, node in enumerate(nodes):
            at = f"{where}, node {index} ({shown(node.op_type)})"
            for name in node.input:
                if name and name not in scope:
                    later = any(name in other.output for other in nodes[index:])
                    raise UnsupportedModel(
                        f"{at}: reads {shown(name)}, which "
                        + (
                            "only it or a later node makes: a cycle, or nodes out of order"
                            if later
                            else "nothing makes"
                        )
                    )
            self._node(node, result.node.add(), scope, depth, at)
            for name in node.output:
                if name:
                    scope.define(name, at)

    def _node(
        self, node: NodeProto, result: NodeProto, scope: Scope, depth: int, where: str
    ) -> None:
        self._count(1 + len(node.attribute))
        self._names(node.input, node.output)
        domain = "" if node.domain in _DEFAULT_DOMAINS else text(node.domain, where)
        key = (domain, text(node.op_type, where), text(node.overload, where))
        result.op_type = key[1]
        if domain:
            result.domain = domain
        if key[2]:
            result.overload = key[2]
        self.calls.node(key if key in self._functions else None)
        result.input.extend(node.input)
        result.output.extend(node.output)
        for attribute in _by_name(node.attribute, where):
            self._attribute(attribute, result.attribute.add(), scope, depth, where)

    def _attribute(
        self,
        attribute: AttributeProto,
        result: AttributeProto,
        scope: Scope,
        depth: int,
        where: str,
    ) -> None:
        where = f"{where}, attribute {shown(attribute.name)}"
        field = _FIELD_OF.get(attribute.type)
        if field is None:
            raise UnsupportedModel(
                f"{where}: expected a value of a known type other than sparse tensors, "
                f"got type {attribute.type}"
            )
        result.name, result.type = attribute.name, attribute.type
        held = {descriptor.name for descriptor, _ in attribute.ListFields()}
        held -= {"name", "type", "doc_string"}
        if held - {"ref_attr_name" if attribute.ref_attr_name else field}:
            raise UnsupportedModel(f"{where}: expected its value in {field}, got {sorted(held)}")
        if attribute.ref_attr_name:
            if not self._in_function:
                raise UnsupportedModel(f"{where}: refers to a function's attribute outside of one")
            result.ref_attr_name = text(attribute.ref_attr_name, where)
        elif field == "g":
            self.graph(attribute.g, result.g, scope, depth + 1)
        elif field == "graphs":
            for graph in attribute.graphs:
                self.graph(graph, result.graphs.add(), scope, depth + 1)
        elif field in ("t", "tensors"):
            tensors = [attribute.t] if field == "t" else attribute.tensors
            for tensor in tensors:
                self._count(1, len(tensor.dims) + len(tensor.string_data))
                target = result.t if field == "t" else result.tensors.add()
                canonical_tensor(tensor, target, where, self._storage)
        else:
            # As a message: Python's floats would turn a signalling NaN into a quiet one.
            result.CopyFrom(attribute)
            result.ClearField("doc_string")
            result.DiscardUnknownFields()
            if field in _LISTS:
                self._count(0, len(getattr(attribute, field)))
            elif field in _DEFAULT_OF:
                if not attribute.HasField(field):
                    setattr(result, field, _DEFAULT_OF[field])
            else:
                for kind in [result.tp] if field == "tp" else result.type_protos:
                    self._type(kind)

    def _value(self, value: ValueInfoProto, result: ValueInfoProto) -> None:
        """Name and type only."""
        self._count(0, len(value.name))
        result.name = value.name
        if value.HasField("type"):
            result.type.CopyFrom(value.type)
            result.type.DiscardUnknownFields()
            self._type(result.type)

    def _type(self, kind: onnx.TypeProto) -> None:
        """Leave nothing but element types and dimensions, in place."""
        kind.ClearField("denotation")
        self._count(1)
        which = kind.WhichOneof("value")
        if which in ("tensor_type", "sparse_tensor_type"):
            dims = getattr(kind, which).shape.dim
            self._count(len(dims))
            for dim in dims:
                dim.ClearField("denotation")
                if dim.dim_value < 0:
                    dim.ClearField("dim_value")
                elif dim.HasField("dim_param") and not text(dim.dim_param, self._name):
                    dim.ClearField("dim_param")
        elif which in ("sequence_type", "optional_type"):
            if getattr(kind, which).HasField("elem_type"):
                self._type(getattr(kind, which).elem_type)
        elif which == "map_type" and kind.map_type.HasField("value_type"):
            self._type(kind.map_type.value_type)

    def _names(self, *lists: Sequence[str]) -> None:
        for names in lists:
            self._count(len(names))
            self._count(0, sum(map(len, names)))

    def _count(self, parts: int, elements: int = 0) -> None:
        self._parts += parts
        self._elements += elements
        if self._parts > MAX_PARTS or self._elements > MAX_ELEMENTS:
            raise UnsupportedModel(
                f"{self._name}: more than {MAX_PARTS} parts or {MAX_ELEMENTS} list elements"
            )
