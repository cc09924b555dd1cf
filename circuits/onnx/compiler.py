"""The loop over an ONNX graph, its inputs and its outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, numpy_helper

from proofml.circuits.compiled import CodeTensor, Compiled, Origin
from proofml.circuits.graph import Codec, Port, Shape
from proofml.circuits.onnx import (
    activation,
    arithmetic,
    concat,
    constants,
    conv,
    linear,
    movement,
    pair,
    pool,
    quantise,
    reduce,
    selection,
)
from proofml.circuits.onnx.builder import Builder
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.reader import Handler, Overrides, Reader, codec, describe
from proofml.circuits.onnx.rounding import Quantisation
from proofml.circuits.onnx.values import (
    CODE_RANGE,
    Codes,
    Constant,
    Dequantised,
    FloatInput,
    Integers,
    Value,
)
from proofml.errors import UnsupportedModel, UsageError, printable
from proofml.graph.tensor import DTYPE_OF
from proofml.graph.walk import subgraphs
from proofml.model import Model, TensorSpec

_FAMILIES = (
    activation,
    arithmetic,
    concat,
    constants,
    conv,
    linear,
    movement,
    pair,
    pool,
    quantise,
    reduce,
    selection,
)
OPERATORS: Mapping[str, Handler] = {
    name: handler for family in _FAMILIES for name, handler in family.OPERATORS.items()
}


#: What the names of operators have in common of which a quantised model has one at least.
_QUANTISED = ("Quantize", "QLinear", "QGemm", "Integer")


def compile_model(
    model: Model,
    shapes: Mapping[str, Shape] | None = None,
    *,
    overrides: Overrides | None = None,
) -> Compiled:
    """The integer graph of a quantised model for inputs of these shapes.

    Args:
        model: from `Model.load`.
        shapes: of inputs, needed where the model leaves dimensions open.
        overrides: of the quantisation record (`overrides.table_overrides`).

    Raises:
        UsageError: shapes that do not fit the model's inputs.
        UnsupportedModel: naming the node and operator that cannot be read, and what to do.
    """
    reader = read(model, shapes or {}, overrides or {})
    nodes = list(reader.order)
    outputs = [_output(reader, spec) for spec in model.outputs]
    for spec in model.inputs:
        if spec.name not in reader.ports:
            raise UnsupportedModel(
                f"{printable(model.name)}: input {spec.name!r} is not used; remove it"
            )
    classes = {
        kind: tuple(node.name for node in nodes if reader.kinds.get(node.name) == kind)
        for kind in "ETD"
    }
    graph, weights, names = reader.builder.finish(
        [reader.ports[spec.name] for spec in model.inputs], outputs, classes
    )
    origins = tuple(
        Origin(node.name, node.operator, reader.kinds.get(node.name, "")) for node in nodes
    )
    return Compiled(graph, weights, origins, names, _codes(reader, nodes))


def _codes(reader: Reader, nodes: Sequence[Node]) -> dict[int, CodeTensor]:
    """Values of the finished graph -> the first tensor that is their codes."""
    found: dict[int, CodeTensor] = {}
    for name in (name for node in nodes for name in node.outputs if name):
        value = reader.values.get(name)
        if isinstance(value, Codes) and value.value in reader.builder.number:
            number = reader.builder.number[value.value]
            found.setdefault(number, CodeTensor(name, value.dtype, value.zero))
    return found


def read(model: Model, shapes: Mapping[str, Shape], overrides: Overrides) -> Reader:
    """Reads all nodes; the arguments and errors of `compile_model`."""
    proto = model.proto
    found = obstacles(model)
    if found:
        raise UnsupportedModel(f"{printable(model.name)}: " + "; ".join(found[:8]))
    nodes = [Node(node, model.name) for node in proto.graph.node]
    reader = _reader(model, proto, nodes, shapes, overrides)
    for node in nodes:
        reader.builder.where, reader.builder.origin = node.where, node.name
        results = OPERATORS[node.operator](reader, node)
        for name, value in zip(node.outputs, results, strict=False):
            if name:
                reader.values[name] = value
        for name in node.outputs[len(results) :]:
            if name:
                raise node.fail(f"output {name!r}; expected {len(results)} outputs at most")
    return reader


def obstacles(model: Model) -> tuple[str, ...]:
    """What in the model no quantised circuit can hold, named; empty where all operators are known.

    Cheap: neither data nor shapes are looked at, so `compile_model` may still refuse.
    """
    proto = model.proto
    found = []
    counts = Counter(Node(node, model.name).operator for node in proto.graph.node)
    unknown = sorted(name for name in counts if name not in OPERATORS)
    found += [f"operator {name} ({counts[name]} nodes) is not supported" for name in unknown]
    if subgraphs(proto.graph.node) or proto.functions:
        found.append("sub-graphs and functions are not supported; export a flat graph")
    if not any(word in name for name in counts for word in _QUANTISED):
        found.append("the model is not quantised; quantise it first (QDQ or QOperator, 8 bits)")
    for spec in (*model.inputs, *model.outputs):
        if spec.dtype not in ("float32", "uint8", "int8", "int32", "int64"):
            found.append(f"{spec.name!r} is {spec.dtype}; expected float32 or 8-bit codes")
    return tuple(found)


def _reader(
    model: Model,
    proto: ModelProto,
    nodes: Sequence[Node],
    shapes: Mapping[str, Shape],
    overrides: Overrides,
) -> Reader:
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in filter(None, node.inputs):
            readers.setdefault(name, []).append(node)
    used = Counter(name for node in nodes for name in node.inputs if name)
    reader = Reader(
        model=printable(model.name),
        opset=next((entry.version for entry in proto.opset_import if not entry.domain), 0),
        builder=Builder(printable(model.name)),
        used=used,
        outputs=frozenset(spec.name for spec in model.outputs),
        order=tuple(nodes),
        makers={name: node for node in nodes for name in node.outputs if name},
        readers=readers,
        overrides=overrides,
    )
    for tensor in proto.graph.initializer:
        reader.values[tensor.name] = _initialiser(reader, tensor)
    unknown = set(shapes) - {spec.name for spec in model.inputs}
    if unknown:
        raise UsageError(f"{reader.model}: no input {sorted(unknown)[0]!r}")
    declared = {value.name: _dims(value) for value in proto.graph.input}
    for spec in model.inputs:
        # Of a model that was quantised for fixed shapes, the file says more than its float model.
        stated = replace(spec, shape=declared.get(spec.name, spec.shape))
        reader.values[spec.name] = _input(reader, nodes, stated, shapes)
    return reader


def _dims(value: ValueInfoProto) -> tuple[int | None, ...] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)


def _initialiser(reader: Reader, tensor: TensorProto) -> Constant:
    if tensor.data_type not in DTYPE_OF:
        raise UnsupportedModel(
            f"{reader.model}: initialiser {tensor.name!r} has element type "
            f"{tensor.data_type}; expected numbers of 8 bits and more"
        )
    return Constant(numpy_helper.to_array(tensor), tensor.name)


def _input(
    reader: Reader, nodes: Sequence[Node], spec: TensorSpec, shapes: Mapping[str, Shape]
) -> Value:
    shape = shapes.get(spec.name, spec.shape)
    if shape is None or not spec.admits(tuple(n if n is not None else 1 for n in shape)):
        raise UsageError(f"{reader.model}: input {spec.name!r}: expected {spec}, got {shape}")
    fixed = tuple(n for n in shape if n is not None)
    if len(fixed) != len(shape):
        raise UsageError(
            f"{reader.model}: input {spec.name!r} is {spec}: give its shape, since circuits are "
            "made for fixed ones"
        )
    reader.input_shapes[spec.name] = fixed
    if spec.dtype == "float32":
        return FloatInput(spec.name, fixed)
    if spec.dtype not in CODE_RANGE:
        raise UnsupportedModel(
            f"{reader.model}: input {spec.name!r} is {spec.dtype}; expected float32, uint8 or int8"
        )
    into = Quantisation(_NO_SCALE, _zero_point(reader, nodes, spec.name), spec.dtype)
    value = reader.port_in(spec.name, fixed, codec("codes", spec.dtype, into))
    return Codes(value, fixed, into.zero, spec.dtype)


def _zero_point(reader: Reader, nodes: Sequence[Node], name: str) -> int:
    """The zero point by which the first reader of the codes takes them, so that nothing shifts."""
    for node in nodes:
        if name in node.inputs and node.operator in _ZERO_POINT_OF:
            index = _ZERO_POINT_OF[node.operator].get(node.inputs.index(name))
            if index is not None and node.has(index):
                value = reader.values.get(node.inputs[index])
                if isinstance(value, Constant) and value.array.size == 1:
                    return int(value.array.reshape(-1)[0])
            return 0
    return 0


_NO_SCALE = np.float32(1)
#: Operator -> input that holds codes -> input that holds their zero point.
_ZERO_POINT_OF: Mapping[str, Mapping[int, int]] = {
    "DequantizeLinear": {0: 2},
    "com.microsoft:DequantizeLinear": {0: 2},
    "QLinearConv": {0: 2},
    "QLinearMatMul": {0: 2, 3: 5},
    "com.microsoft:QGemm": {0: 2},
    "MatMulInteger": {0: 2, 1: 3},
    "ConvInteger": {0: 2},
    "com.microsoft:QLinearAdd": {0: 2, 3: 5},
    "com.microsoft:QLinearMul": {0: 2, 3: 5},
    "com.microsoft:QLinearSigmoid": {0: 2},
    "com.microsoft:QLinearLeakyRelu": {0: 2},
    "com.microsoft:QLinearAveragePool": {0: 2},
    "com.microsoft:QLinearGlobalAveragePool": {0: 2},
}


def _output(reader: Reader, spec: TensorSpec) -> Port:
    value = reader.values.get(spec.name)
    match value:
        case None:
            raise UnsupportedModel(
                f"{reader.model}: expected an output {spec.name!r}, got none: a Softmax that makes "
                "it was cut off when the model was quantised; prove the quantised model itself"
            )
        case Codes():
            into = Quantisation(_NO_SCALE, value.zero, value.dtype)
            return Port(spec.name, value.shape, value.value, codec("codes", value.dtype, into))
        case Dequantised():
            codes = value.codes
            into = Quantisation(value.scale, codes.zero, codes.dtype)
            found = codec("dequantise", "float32", into)
            return Port(spec.name, value.shape, codes.value, found)
        case Integers():
            low, high = reader.builder.ranges[value.value]
            return Port(
                spec.name, value.shape, value.value, Codec("codes", value.dtype, 0, 0, low, high)
            )
        case _:
            raise UnsupportedModel(
                f"{reader.model}: output {spec.name!r} is {describe(value)}; expected codes or "
                "what a DequantizeLinear makes: end the model with QuantizeLinear and "
                "DequantizeLinear"
            )
