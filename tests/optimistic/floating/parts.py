"""Small models, plans without a worker, and honest runs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from proofml.optimistic.floating.plan import Plan, Ref
from proofml.optimistic.floating.prepare import prepare
from proofml.optimistic.floating.settings import Settings
from proofml.optimistic.floating.stages import Engine, Singles
from proofml.optimistic.floating.trace import FloatTrace, trace_of_arrays
from proofml.optimistic.program import Source
from proofml.tensors import Array

Arrays = Mapping[str, Array]


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> NodeProto:
    return helper.make_node(op, list(inputs), list(outputs), **attributes)


def model_of(
    nodes: Sequence[NodeProto],
    inputs: Arrays,
    outputs: Mapping[str, int] | Sequence[str],
    weights: Arrays | None = None,
    opset: int = 17,
) -> ModelProto:
    """A model whose inputs have the arrays' types and dims; outputs are float32 unless told."""
    kinds = outputs if isinstance(outputs, Mapping) else dict.fromkeys(outputs, TensorProto.FLOAT)
    graph = helper.make_graph(
        list(nodes),
        "test",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in inputs.items()
        ],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    with contextlib.suppress(Exception):  # of models that are made to be refused
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        for value, found in zip(graph.output, inferred.graph.output, strict=True):
            if found.type.tensor_type.HasField("shape"):
                value.type.CopyFrom(found.type)
        model.graph.CopyFrom(graph)
    return model


def plan_for(model: ModelProto, inputs: Arrays, *, grouped: bool = False) -> Plan:
    """As `plan.plan_of`, in this process."""
    import json

    shapes = {name: array.shape for name, array in inputs.items()}
    found = prepare(model, shapes, Singles().evaluate, grouped=grouped)
    table = json.dumps({"types": found.types, "groups": found.groups})
    return Plan.read(found.model.SerializeToString(deterministic=True), table.encode())


def run(plan: Plan, inputs: Arrays, settings: Settings | None = None) -> dict[Ref, Array]:
    """An honest run's values."""
    arrays = [inputs[name] for name in plan.inputs]
    values: dict[Ref, Array] = {Ref(Source.INPUT, i): a for i, a in enumerate(arrays)}
    for piece, made in Engine(plan, settings or Settings(), piece_bytes=1 << 12).run(arrays):
        values.update(zip(piece.makes, (np.array(array) for array in made), strict=True))
    return values


def trace_for(plan: Plan, values: Mapping[Ref, Array]) -> FloatTrace:
    inputs = [values[Ref(Source.INPUT, i)] for i in range(len(plan.inputs))]
    made = {ref: array for ref, array in values.items() if ref.source is Source.OPERATOR}
    return trace_of_arrays(plan, inputs, made)


def made_by(index: int, port: int = 0) -> Ref:
    return Ref(Source.OPERATOR, index, port)


def small_network() -> tuple[ModelProto, dict[str, Array]]:
    """Convolution, normalisation, activation, pooling, a dense layer and a softmax."""
    rng = np.random.default_rng(3)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    weights = {
        "w": normal(8, 3, 3, 3), "b": normal(8), "scale": normal(8), "bias": normal(8),
        "mean": normal(8), "var": np.abs(normal(8)) + np.float32(0.5),
        "three": np.array(3, np.float32), "six": np.array(6, np.float32),
        "zero": np.array(0, np.float32), "d": normal(8, 10), "shape": np.array([-1, 8], np.int64),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["n"]),
        node("Add", ["n", "three"], ["a"]),
        node("Clip", ["a", "zero", "six"], ["g"]),
        node("Mul", ["n", "g"], ["h"]),
        node("Div", ["h", "six"], ["s"]),
        node("MaxPool", ["s"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["p"], ["q"]),
        node("Reshape", ["q", "shape"], ["r"]),
        node("MatMul", ["r", "d"], ["l"]),
        node("Softmax", ["l"], ["y"]),
    ]
    inputs: dict[str, Array] = {"x": normal(1, 3, 12, 12)}
    return model_of(nodes, inputs, ["y"], weights), inputs
