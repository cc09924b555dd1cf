"""ONNX -> canonical ONNX: the same function, one byte string.

Removed, because they change no result: producer, doc strings, metadata, node names, recorded
intermediate shapes, quantisation annotations, protobuf fields that onnx does not know. Put into
a fixed order: opset imports, initialisers, attributes, functions. Every tensor's data becomes
`raw_data`, whether it came typed, raw or from an external file. An initialiser that is also
listed as a graph input (required before IR version 4, an overridable default since) becomes a
constant: what is proven has fixed weights.

Nothing is folded, fused or reordered among nodes: floating-point results stay bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

from proofml.errors import UnsupportedModel
from proofml.graph.tensor import FLOATING, canonical_tensor

OLDEST_OPSET = 11
MAX_NODES = 200_000
MAX_DEPTH = 16
_DEFAULT_DOMAINS = ("", "ai.onnx")


def parse(data: bytes, name: str) -> ModelProto:
    """Protobuf bytes to a model; raises `UnsupportedModel` for anything else."""
    try:
        model = ModelProto.FromString(data)
    except Exception as error:
        raise UnsupportedModel(
            f"{name}: not an ONNX file: {str(error)[:120] or type(error).__name__}"
        ) from error
    if not model.HasField("graph") or not model.opset_import:
        raise UnsupportedModel(f"{name}: not an ONNX file: it has no graph or no opset import")
    return model


def canonicalise(model: ModelProto, name: str, folder: Path | None) -> ModelProto:
    """The canonical model.

    Args:
        model: as parsed; not changed.
        name: of the file, for messages.
        folder: where external data may lie; None where there is no folder.

    Raises:
        UnsupportedModel: opset out of range, broken data, cycles, or features without a
            canonical form (training graphs, sparse initialisers).
    """
    result = ModelProto()
    result.ir_version = max(4, model.ir_version)
    for domain, version in sorted(_opsets(model, name).items()):
        result.opset_import.append(onnx.helper.make_opsetid(domain, version))
    if model.training_info:
        raise UnsupportedModel(f"{name}: holds a training graph; export it for inference")
    walker = _Walker(name, folder)
    result.graph.CopyFrom(walker.graph(model.graph, frozenset(), 0))
    result.graph.name = "graph"
    for function in sorted(model.functions, key=lambda f: (f.domain, f.name)):
        result.functions.append(walker.function(function))
    return result


def _opsets(model: ModelProto, name: str) -> dict[str, int]:
    newest = onnx.defs.onnx_opset_version()
    found: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain in _DEFAULT_DOMAINS else entry.domain
        if found.get(domain, entry.version) != entry.version:
            raise UnsupportedModel(f"{name}: two versions of the operator set {domain!r}")
        found[domain] = entry.version
    version = found.get("")
    if version is not None and not OLDEST_OPSET <= version <= newest:
        raise UnsupportedModel(
            f"{name}: opset {version}; expected {OLDEST_OPSET} to {newest}; convert it with "
            "onnx.version_converter"
        )
    return found


class _Walker:
    """Copies graphs, checking names and counting nodes across all sub-graphs."""

    def __init__(self, name: str, folder: Path | None) -> None:
        self._name = name
        self._folder = folder
        self._nodes = 0

    def graph(self, graph: GraphProto, outer: frozenset[str], depth: int) -> GraphProto:
        where = f"{self._name}: graph {graph.name!r}"
        if depth > MAX_DEPTH:
            raise UnsupportedModel(f"{where}: sub-graphs nested deeper than {MAX_DEPTH}")
        if graph.sparse_initializer:
            raise UnsupportedModel(
                f"{where}: sparse initialisers are not supported; make them dense"
            )
        result = GraphProto()
        defined: set[str] = set()
        weights = {tensor.name for tensor in graph.initializer}
        for value in graph.input:
            if value.name not in weights:
                _define(defined, value.name, where)
                result.input.append(_bare(value))
        for tensor in sorted(graph.initializer, key=lambda tensor: tensor.name):
            _define(defined, tensor.name, where)
            result.initializer.append(
                canonical_tensor(tensor, f"{where}: initialiser {tensor.name!r}", self._folder)
            )
        self._copy_nodes(graph.node, result, defined, outer, depth, where)
        for value in graph.output:
            if value.name not in defined and value.name not in outer:
                raise UnsupportedModel(f"{where}: output {value.name!r} is made by no node")
            result.output.append(_bare(value))
        result.name = "graph"
        return result

    def _copy_nodes(
        self,
        nodes: Iterable[NodeProto],
        result: GraphProto | FunctionProto,
        defined: set[str],
        outer: frozenset[str],
        depth: int,
        where: str,
    ) -> None:
        nodes = list(nodes)
        for index, node in enumerate(nodes):
            for name in node.input:
                if name and name not in defined and name not in outer:
                    later = any(name in other.output for other in nodes[index:])
                    raise UnsupportedModel(
                        f"{where}: node {index} ({node.op_type}) reads {name!r}, which "
                        + (
                            "only it or a later node makes: a cycle, or nodes out of order"
                            if later
                            else "nothing makes"
                        )
                    )
            nests = any(a.HasField("g") or a.graphs for a in node.attribute)
            scope = outer | defined if nests else frozenset[str]()
            result.node.append(self._node(node, scope, depth, f"{where}: node {index}"))
            for name in node.output:
                if name:
                    _define(defined, name, f"{where}: node {index} ({node.op_type})")

    def _node(self, node: NodeProto, scope: frozenset[str], depth: int, where: str) -> NodeProto:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise UnsupportedModel(f"{self._name}: more than {MAX_NODES} nodes")
        result = NodeProto()
        result.op_type = node.op_type
        if node.domain not in _DEFAULT_DOMAINS:
            result.domain = node.domain
        result.input.extend(node.input)
        result.output.extend(node.output)
        names = [attribute.name for attribute in node.attribute]
        if len(set(names)) != len(names):
            raise UnsupportedModel(f"{where} ({node.op_type}): an attribute twice")
        for attribute in sorted(node.attribute, key=lambda attribute: attribute.name):
            result.attribute.append(self._attribute(attribute, scope, depth, where))
        return result

    def _attribute(
        self, attribute: AttributeProto, scope: frozenset[str], depth: int, where: str
    ) -> AttributeProto:
        where = f"{where}, attribute {attribute.name!r}"
        if attribute.sparse_tensor.dims or attribute.sparse_tensors:
            raise UnsupportedModel(f"{where}: sparse tensors are not supported")
        result = AttributeProto()
        result.CopyFrom(attribute)
        result.DiscardUnknownFields()
        result.ClearField("doc_string")
        if attribute.HasField("t"):
            result.t.CopyFrom(canonical_tensor(attribute.t, where, self._folder))
        if attribute.HasField("g"):
            result.g.CopyFrom(self.graph(attribute.g, scope, depth + 1))
        if attribute.tensors:
            del result.tensors[:]
            result.tensors.extend(
                canonical_tensor(tensor, where, self._folder) for tensor in attribute.tensors
            )
        if attribute.graphs:
            del result.graphs[:]
            result.graphs.extend(self.graph(g, scope, depth + 1) for g in attribute.graphs)
        return result

    def function(self, function: FunctionProto) -> FunctionProto:
        where = f"{self._name}: function {function.domain}:{function.name}"
        result = FunctionProto()
        result.name, result.domain = function.name, function.domain
        if "overload" in function.DESCRIPTOR.fields_by_name and function.overload:
            result.overload = function.overload
        result.input.extend(function.input)
        result.output.extend(function.output)
        result.attribute.extend(sorted(function.attribute))
        defined: set[str] = set()
        for name in function.input:
            _define(defined, name, where)
        self._copy_nodes(function.node, result, defined, frozenset(), 0, where)
        for proto in sorted(function.attribute_proto, key=lambda attribute: attribute.name):
            result.attribute_proto.append(self._attribute(proto, frozenset(), 0, where))
        for entry in sorted(function.opset_import, key=lambda entry: entry.domain):
            result.opset_import.append(onnx.helper.make_opsetid(entry.domain, entry.version))
        return result


def _define(defined: set[str], name: str, where: str) -> None:
    if not name or name in defined:
        raise UnsupportedModel(f"{where}: {name!r} is defined twice or has no name")
    defined.add(name)


def _bare(value: ValueInfoProto) -> ValueInfoProto:
    """Name and type only."""
    result = ValueInfoProto()
    result.name = value.name
    result.type.CopyFrom(value.type)
    result.type.DiscardUnknownFields()
    result.type.ClearField("denotation")
    for dim in result.type.tensor_type.shape.dim:
        dim.ClearField("denotation")
    return result


def architecture(model: ModelProto) -> ModelProto:
    """The canonical model without the data of its floating-point constants."""
    result = ModelProto()
    result.CopyFrom(model)
    _strip(result.graph)
    return result


def _strip(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        if tensor.data_type in FLOATING:
            tensor.ClearField("raw_data")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_type in FLOATING:
                attribute.t.ClearField("raw_data")
            if attribute.HasField("g"):
                _strip(attribute.g)
            for graph_ in attribute.graphs:
                _strip(graph_)
