"""Walks over a whole model: every node, every constant, in sub-graphs and functions too."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from proofml.graph.tensor import FLOATING, QUANTISED


def operator_name(node: NodeProto) -> str:
    """`Conv`, or `domain:Name` outside the default domain."""
    return f"{node.domain}:{node.op_type}" if node.domain else node.op_type


def graphs(model: ModelProto) -> Iterator[GraphProto]:
    """The main graph and every sub-graph, functions' ones included."""
    pending = [model.graph]
    for function in model.functions:
        pending.extend(subgraphs(function.node))
    while pending:
        graph = pending.pop()
        yield graph
        pending.extend(subgraphs(graph.node))


def subgraphs(nodes: Iterable[NodeProto]) -> list[GraphProto]:
    """Graphs that are attributes of the nodes themselves."""
    found: list[GraphProto] = []
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found.append(attribute.g)
            found.extend(attribute.graphs)
    return found


def nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node, wherever it stands."""
    for graph in graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def constants(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor with data: initialisers and attributes."""
    for graph in graphs(model):
        yield from graph.initializer
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def learnt_attributes(model: ModelProto) -> Iterator[AttributeProto]:
    """Attributes that are learnt numbers themselves: of trees and linear models, of Constants."""
    for node in nodes(model):
        for attribute in node.attribute:
            learnt = node.domain == "ai.onnx.ml" or node.op_type == "Constant"
            if learnt and attribute.type in (AttributeProto.FLOAT, AttributeProto.FLOATS):
                yield attribute


def count_operators(model: ModelProto) -> Counter[str]:
    """Operator -> number of nodes, sub-graphs and functions included."""
    return Counter(map(operator_name, nodes(model)))


def count_parameters(model: ModelProto) -> int:
    """Elements of floating-point and quantised constants of rank 1 and more."""
    count = sum(len(attribute.floats) for attribute in learnt_attributes(model))
    for tensor in constants(model):
        if tensor.dims and tensor.data_type in FLOATING | QUANTISED:
            count += math.prod(tensor.dims)
    return count


def strip_learnt(model: ModelProto) -> None:
    """Make a canonical model an architecture, in place: drop its learnt numbers.

    Floating-point and quantised constants keep name, type and dims and lose their data. Other
    integers stay, since shapes, axes and indices are such; an int32 bias of a quantised layer
    looks the same and stays too.
    """
    for tensor in constants(model):
        if tensor.data_type in FLOATING | QUANTISED:
            tensor.ClearField("raw_data")
    for attribute in learnt_attributes(model):
        attribute.ClearField("f")
        attribute.ClearField("floats")
