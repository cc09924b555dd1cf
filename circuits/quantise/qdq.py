"""Record + float model -> QDQ model. Pure and deterministic: verifiers redo it.

Only elementwise IEEE float32 and float64 operations and exact maxima are used, so that the bytes
are the same on every machine; no data, no onnxruntime, no randomness.

Every value becomes a pair QuantizeLinear, DequantizeLinear; weights are int8 constants and biases
int32 constants behind a DequantizeLinear: the layout that onnxruntime fuses to QLinearConv, QGemm,
QLinearMatMul, QLinearAdd and so on. A Relu or Clip that the saturation of its codes does already
is left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from proofml.circuits.quantise.graph import Graph, Node, contradictions_refused, to_model, to_node
from proofml.circuits.quantise.operators import (
    CLIPPING,
    WEIGHTED,
    activations,
    floats,
)
from proofml.circuits.quantise.plan import Plan, check_dtypes, make_plan
from proofml.circuits.quantise.prepare import prepare
from proofml.circuits.quantise.ranges import params_for
from proofml.circuits.quantise.record import Params, QuantisationRecord
from proofml.circuits.quantise.weights import quantise_values, quantise_weights
from proofml.errors import UnsupportedModel, UsageError, printable
from proofml.graph.canonicalise import canonicalise
from proofml.model import Model
from proofml.tensors import Array


def apply(model: Model, record: QuantisationRecord) -> bytes:
    """The canonical bytes of the quantised model.

    Args:
        model: the float model that the record was made for.
        record: from `calibrate`, or read from a file.

    Raises:
        UsageError: the record is one of another model, or fixes shapes that it does not admit.
        UnsupportedModel: what cannot be quantised, or a record that does not fit.
    """
    if record.model != model.digest:
        raise UsageError(
            f"{model.name}: expected a quantisation record of the model {model.digest}, got one "
            f"of {record.model}; calibrate this model"
        )
    graph = prepare(model, record.config)
    plan = make_plan(graph)
    dtype = record.config.activations
    check_dtypes(graph, plan, dtype)
    missing = sorted(set(plan.observed).symmetric_difference(record.activations))
    if missing:
        raise UnsupportedModel(
            f"{model.name}: quantisation record: expected exactly the values "
            f"{_listed(plan.observed)}, got {_listed(record.activations)}; calibrate again"
        )
    with contradictions_refused(model.name):
        proto = canonicalise(_Writer(graph, plan, record).write(), model.name, None)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _listed(names: Mapping[str, object]) -> str:
    shown = [printable(name)[:40] for name in list(names)[:6]]
    return f"{len(names)} ({', '.join(shown)}{', ...' if len(names) > 6 else ''})"


class _Writer:
    """Emits the nodes in order; holds for each value the name of its codes."""

    def __init__(self, graph: Graph, plan: Plan, record: QuantisationRecord) -> None:
        self._graph = graph
        self._config = record.config
        known = {**record.activations, **plan.fixed}
        self._params = {name: known[owner] for name, owner in plan.set_of.items()}
        self._outputs = set(graph.output_names)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Array] = {}
        self._codes: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._shared: dict[tuple[str, bytes], str] = {}

    def write(self) -> onnx.ModelProto:
        graph = self._graph
        for value in graph.inputs:
            if value.type.tensor_type.elem_type == TensorProto.FLOAT:
                self._quantise(value.name, value.name)
        for node in graph.nodes:
            if node.op == "Cast":
                self._codes[node.output] = node.inputs[0]
            elif node.op in CLIPPING and self._is_done_by_codes(node):
                self._codes[node.output] = self._codes[node.inputs[0]]
            else:
                self._operator(node)
        for name in graph.output_names:
            if name in self._params:
                self._value(name)
        return to_model(graph, self._nodes, self._constants, graph.outputs)

    def _operator(self, node: Node) -> None:
        moved = [name for name in node.outputs if name]
        names = {name: self._graph.fresh(f"{name}/float") for name in moved}
        if node.op == "ArgMax":
            names = {name: name for name in moved}
        read = set(activations(node))
        inputs = [self._operand(node, name, name in read) for name in node.inputs]
        if node.op in WEIGHTED:
            inputs = [inputs[0], *self._weights(node)]
        renamed = {**dict(zip(node.inputs, inputs, strict=False)), **names}
        for inner in node.body:
            if inner is node and node.op in WEIGHTED:
                reads = inputs
            else:
                reads = [renamed.get(name, name) for name in inner.inputs]
            writes = [renamed.get(name, name) for name in inner.outputs]
            self._nodes.append(
                to_node(Node(inner.op, reads, writes, inner.attributes, inner.where))
            )
        if node.op != "ArgMax":
            for name in moved:
                self._quantise(name, names[name])

    def _operand(self, node: Node, name: str, carries_values: bool) -> str:
        if not name:
            return ""
        if not carries_values:
            if node.op not in WEIGHTED:
                self._constants[name] = self._graph.constants[name]
            return name
        if name in self._codes:
            return self._value(name)
        return self._constant(node, name)

    def _value(self, name: str) -> str:
        """The float form of a value; made once."""
        if name not in self._values:
            result = name if name in self._outputs else self._graph.fresh(f"{name}/value")
            self._dequantise(self._codes[name], self._params[name], result)
            self._values[name] = result
        return self._values[name]

    def _quantise(self, name: str, source: str) -> None:
        params = self._params[name]
        codes = self._graph.fresh(f"{name}/codes")
        inputs = [source, *self._scale(params)]
        self._nodes.append(helper.make_node("QuantizeLinear", inputs, [codes]))
        self._codes[name] = codes

    def _dequantise(self, codes: str, params: Params, result: str) -> None:
        inputs = [codes, *self._scale(params)]
        self._nodes.append(helper.make_node("DequantizeLinear", inputs, [result]))

    def _scale(self, params: Params) -> list[str]:
        return [
            self._share("scale", np.asarray(params.scale)),
            self._share("zero", np.asarray(params.zero_point, params.dtype)),
        ]

    def _share(self, stem: str, value: Array) -> str:
        """A constant; equal ones are one."""
        key = (f"{value.dtype}{value.shape}", value.tobytes())
        if key not in self._shared:
            self._shared[key] = self._graph.fresh(stem)
            self._constants[self._shared[key]] = value
        return self._shared[key]

    def _constant(self, node: Node, name: str) -> str:
        """A constant operand: with the parameters of the set (Concat), or with its own."""
        values = self._graph.constants[name].astype(np.float32)
        params = self._params[node.output]
        if node.op != "Concat":
            low, high = (float(f(values, initial=0)) for f in (np.min, np.max))
            params = params_for(low, high, self._config.activations)
        codes = self._graph.fresh(f"{name}/codes")
        self._constants[codes] = quantise_values(
            values, params.scale, params.zero_point, params.dtype
        )
        result = self._graph.fresh(f"{name}/value")
        self._dequantise(codes, params, result)
        return result

    def _weights(self, node: Node) -> list[str]:
        weight, bias = floats(self._graph, node, 1), floats(self._graph, node, 2)
        assert weight is not None
        channels = 0 if node.op == "Conv" else 1
        axis = channels if self._config.per_channel else None
        scale = self._params[node.inputs[0]].scale
        made = quantise_weights(weight, bias, axis, scale, node.where)
        result = [self._stored(f"{node.output}/weight", made.weight, made.weight_scale, axis)]
        if made.bias is not None:
            along = None if axis is None else 0
            result.append(self._stored(f"{node.output}/bias", made.bias, made.bias_scale, along))
        return result

    def _stored(self, stem: str, codes: Array, scale: Array, axis: int | None) -> str:
        names = [self._graph.fresh(f"{stem}/codes"), self._graph.fresh(f"{stem}/scale")]
        self._constants |= {names[0]: codes, names[1]: scale}
        names.append(self._share("zeros", np.zeros(scale.shape, codes.dtype)))
        result = self._graph.fresh(stem)
        node = helper.make_node("DequantizeLinear", names, [result])
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self._nodes.append(node)
        return result

    def _is_done_by_codes(self, node: Node) -> bool:
        """Whether quantising after the clip gives each code back: tried for all of them."""
        params = self._params[node.output]
        codes = np.arange(params.low, params.high + 1)
        values = (codes - params.zero_point).astype(np.float32) * params.scale
        low, high = self._bounds(node)
        clipped = np.minimum(np.maximum(values, low), high)
        again = quantise_values(clipped, params.scale, params.zero_point, params.dtype)
        return bool((again == codes).all())

    def _bounds(self, node: Node) -> tuple[np.float32, np.float32]:
        if node.op == "Relu":
            return np.float32(0), np.float32(np.inf)
        found = [np.float32(-np.inf), np.float32(np.inf)]
        for index in (1, 2):
            if len(node.inputs) > index and node.inputs[index]:
                found[index - 1] = self._graph.constants[node.inputs[index]].reshape(-1)[0]
        return found[0], found[1]
