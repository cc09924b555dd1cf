"""The float graph while it is prepared: nodes, constants as arrays, shapes where known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from proofml.errors import UnsupportedModel, printable
from proofml.model import Model
from proofml.tensors import Array

#: Dims of a value, None where one is open.
Dims: TypeAlias = tuple[int | None, ...]

_CONSTANT_FORMS = ("value", "value_float", "value_floats", "value_int", "value_ints")


@dataclass(eq=False)
class Node:
    """One operator of the default domain; `where` names it in messages."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    where: str

    @property
    def output(self) -> str:
        return self.outputs[0]

    @property
    def body(self) -> list[Node]:
        """The ONNX nodes that this one stands for: itself, or those of an island."""
        found: list[Node] = self.attributes["body"] if self.op == "Island" else [self]
        return found

    def integer(self, name: str, default: int) -> int:
        return int(self.attributes.get(name, default))

    def integers(self, name: str) -> list[int] | None:
        value = self.attributes.get(name)
        return None if value is None else [int(item) for item in value]


@dataclass(eq=False)
class Graph:
    """A model's main graph, mutable.

    Attributes:
        name: of the model, for messages.
        opset, ir_version: what it is written for.
        inputs, outputs: as declared.
        nodes: in an order in which they can run.
        constants: initialisers and Constant nodes, name -> array.
        shapes: name -> dims, where inference knows the rank.
    """

    name: str
    opset: int
    ir_version: int
    inputs: Sequence[onnx.ValueInfoProto]
    outputs: Sequence[onnx.ValueInfoProto]
    nodes: list[Node]
    constants: dict[str, Array]
    shapes: dict[str, Dims]
    _names: set[str] = field(default_factory=set, repr=False)
    _counts: Counter[str] = field(default_factory=Counter, repr=False)

    @property
    def output_names(self) -> list[str]:
        return [value.name for value in self.outputs]

    def producers(self) -> dict[str, Node]:
        return {name: node for node in self.nodes for name in node.outputs if name}

    def uses(self) -> Counter[str]:
        """How often each value is read; being an output of the graph counts."""
        found: Counter[str] = Counter(self.output_names)
        for node in self.nodes:
            found.update(name for name in node.inputs if name)
        return found

    def fresh(self, stem: str) -> str:
        """A name that nothing has, from then on taken."""
        name = stem
        while name in self._names:
            # Counted on, so that a file full of such names costs no square of them.
            self._counts[stem] += 1
            name = f"{stem}.{self._counts[stem]}"
        self._names.add(name)
        return name

    def constant(self, stem: str, value: Array) -> str:
        name = self.fresh(stem)
        self.constants[name] = value
        return name

    def rank(self, name: str) -> int | None:
        dims = self.shapes.get(name)
        return None if dims is None else len(dims)

    def static(self, name: str, where: str) -> tuple[int, ...]:
        """The value's dims; raises `UnsupportedModel` where one is open or unknown."""
        dims = self.shapes.get(name)
        if dims is None or any(dim is None for dim in dims):
            got = "unknown" if dims is None else ["?" if dim is None else dim for dim in dims]
            raise UnsupportedModel(
                f"{where}: expected a fixed shape of its input {printable(name)!r}, got {got}; "
                "fix the inputs' shapes (--shape NAME=1,3,48,192), or export the model with fixed "
                "ones"
            )
        return tuple(dim for dim in dims if dim is not None)

    def prune(self) -> None:
        """Drop nodes and constants that no output needs."""
        needed = set(self.output_names)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {name: self.constants[name] for name in self.constants if name in needed}

    def to_proto(self, extra: Iterable[str] = ()) -> onnx.ModelProto:
        """The float model, with more float outputs: for onnxruntime to run."""
        outputs = [*self.outputs]
        known = set(self.output_names)
        for name in extra:
            if name not in known:
                outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        nodes = [to_node(inner) for node in self.nodes for inner in node.body]
        return to_model(self, nodes, self.constants, outputs)


@contextmanager
def contradictions_refused(name: str) -> Iterator[None]:
    """Turn what arrays and protobuf raise into a refusal of the model.

    onnx's checker does not look at the values of operands: axes out of range, shapes that do not
    fit, attributes of another type come this far.
    """
    try:
        yield
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
        raise UnsupportedModel(
            f"{name}: contradictory operands: {type(error).__name__}: {printable(error)}"
        ) from error


def read_graph(model: Model) -> Graph:
    """The main graph of a canonical model.

    Raises:
        UnsupportedModel: model-local functions, foreign domains, constants that are no numbers.
    """
    proto = model.proto
    if proto.functions:
        raise UnsupportedModel(
            f"{model.name}: model-local functions are not quantised; inline them with "
            "onnx.inliner.inline_local_functions"
        )
    opset = next((entry.version for entry in proto.opset_import if not entry.domain), 0)
    constants = {
        tensor.name: _array(tensor, f"{model.name}: initialiser {printable(tensor.name)!r}")
        for tensor in proto.graph.initializer
    }
    nodes: list[Node] = []
    for index, node in enumerate(proto.graph.node):
        label = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
        where = f"{model.name}: node {index} ({printable(label)})"
        if node.op_type == "Constant" and not node.domain:
            constants[node.output[0]] = _constant(node, where)
            continue
        attributes = {
            attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute
        }
        nodes.append(Node(label, list(node.input), list(node.output), attributes, where))
    shapes = {name: dims for name, (_, dims) in model.shapes.items() if dims is not None}
    shapes |= {name: array.shape for name, array in constants.items()}
    graph = Graph(
        model.name,
        opset,
        proto.ir_version,
        list(proto.graph.input),
        list(proto.graph.output),
        nodes,
        constants,
        shapes,
    )
    graph._names.update(constants, (value.name for value in graph.inputs), _names(nodes))
    return graph


def _names(nodes: Iterable[Node]) -> Iterator[str]:
    for node in nodes:
        yield from node.inputs
        yield from node.outputs


def _array(tensor: TensorProto, where: str) -> Array:
    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UnsupportedModel(f"{where}: no array of numbers: {printable(error)}") from error
    return array


def _constant(node: onnx.NodeProto, where: str) -> Array:
    for attribute in node.attribute:
        if attribute.name == "value":
            return _array(attribute.t, where)
        if attribute.name in _CONSTANT_FORMS:
            dtype = np.float32 if "float" in attribute.name else np.int64
            return np.asarray(helper.get_attribute_value(attribute), dtype)
    raise UnsupportedModel(f"{where}: expected one of {', '.join(_CONSTANT_FORMS)}")


def to_node(node: Node) -> onnx.NodeProto:
    result = helper.make_node(node.op, node.inputs, node.outputs)
    for key in sorted(node.attributes):
        value = node.attributes[key]
        # An empty list does not tell its type; the operators here have lists of integers only.
        kind = onnx.AttributeProto.INTS if value == [] else None
        result.attribute.append(helper.make_attribute(key, value, attr_type=kind))
    return result


def to_model(
    graph: Graph,
    nodes: Iterable[onnx.NodeProto],
    constants: Mapping[str, Array],
    outputs: Sequence[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """A model with these parts and the interface and opset of `graph`."""
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    body = helper.make_graph(list(nodes), "graph", list(graph.inputs), list(outputs), tensors)
    opsets = [helper.make_opsetid("", graph.opset)]
    return helper.make_model(body, opset_imports=opsets, ir_version=graph.ir_version)
