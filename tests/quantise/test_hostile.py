"""Any canonical model and record -> a model, or an error of ours; never another exception."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from proofml.circuits.quantise import QuantisationConfig, QuantisationRecord, apply
from proofml.circuits.quantise.operators import FOLDED, REWRITTEN, SOFTMAX, SUPPORTED
from proofml.circuits.quantise.plan import make_plan
from proofml.circuits.quantise.prepare import prepare
from proofml.circuits.quantise.ranges import params_for
from proofml.errors import UnsupportedModel
from proofml.graph.canonicalise import canonicalise
from proofml.model import Model

from .builder import ZOO

BASES = [onnx.ModelProto.FromString(make()) for make in ZOO.values()]
KINDS = sorted((SUPPORTED | REWRITTEN | FOLDED | SOFTMAX) - {"Island"})
VALUES = (np.int64(-3), np.float32(np.inf), np.float64(2), np.int32(9), np.bool_(1), np.float32(0))
ATTRIBUTES = (
    *("axis", "axes", "transA", "alpha", "epsilon", "group", "keepdims", "kernel_shape"),
    *("strides", "pads", "dilations", "output_padding", "start", "end", "mode", "to"),
)


def mutate(proto: onnx.ModelProto, data: st.DataObject) -> None:
    def pick(items: Any) -> Any:
        return data.draw(st.sampled_from(list(items)))

    node, tensor = pick(proto.graph.node), pick(proto.graph.initializer)
    what = data.draw(st.integers(0, 5))
    if what == 0:
        names = [name for other in proto.graph.node for name in (*other.input, *other.output)]
        node.input[data.draw(st.integers(0, len(node.input) - 1))] = pick(names)
    elif what == 1:
        node.op_type = pick(KINDS)
    elif what == 2:
        array = numpy_helper.to_array(tensor)
        dims = pick([array.shape[::-1], array.shape[:-1], (*array.shape, 1), (0,), (7, 3), ()])
        tensor.CopyFrom(numpy_helper.from_array(np.resize(array, dims), tensor.name))
    elif what == 3:
        array = np.resize(pick(VALUES), tuple(tensor.dims))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    elif what == 4:
        value = data.draw(st.integers(-5, 5) | st.floats(-2, 2) | st.lists(st.integers(-9, 9)))
        name = pick(ATTRIBUTES)
        kept = [attribute for attribute in node.attribute if attribute.name != name]
        kind = onnx.AttributeProto.INTS if isinstance(value, list) else None
        changed = [*kept, helper.make_attribute(name, value, attr_type=kind)]
        copies = [onnx.AttributeProto.FromString(one.SerializeToString()) for one in changed]
        del node.attribute[:]
        node.attribute.extend(copies)
    else:
        proto.graph.node.remove(node)


def shapes(proto: onnx.ModelProto) -> dict[str, Any]:
    with contextlib.suppress(onnx.shape_inference.InferenceError):
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    graph = proto.graph
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            tuple(dim.dim_value or None for dim in value.type.tensor_type.shape.dim),
        )
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


@given(st.data())
@settings(max_examples=300)
def test_mutated_models(data: st.DataObject) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(data.draw(st.sampled_from(BASES)))
    for _ in range(data.draw(st.integers(1, 2))):
        mutate(proto, data)
    try:
        canonical = canonicalise(proto, "m", None)
        onnx.checker.check_model(canonical)
    except (UnsupportedModel, onnx.checker.ValidationError):
        return
    # As `Model.load` makes it, without its worker.
    raw = canonical.SerializeToString(deterministic=True)
    model = Model("m", raw, "0" * 64, (), (), shapes(canonical))
    try:
        config = QuantisationConfig(cut_softmax=data.draw(st.booleans()))
        names = make_plan(prepare(model, config)).observed
        params = params_for(-1.0, 3.0, "uint8")
        record = QuantisationRecord(model.digest, config, 1, dict.fromkeys(names, params))
        made = apply(model, record)
    except UnsupportedModel:
        return
    assert apply(model, record) == made
