"""What the importer refuses, and in which words: node, operator, expected, got, what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from proofml.circuits.onnx import compile_model, obstacles
from proofml.errors import UnsupportedModel, UsageError

from .models import Net, load


def float_model() -> Net:
    net = Net(np.random.default_rng(0))
    net.inputs.append(("x", TensorProto.FLOAT, (2, 3)))
    return net


def finished(net: Net, name: str, shape: Any = None) -> Any:
    return load(
        net.proto([helper.make_tensor_value_info(name, TensorProto.FLOAT, shape or [2, 4])])
    )


def test_a_float_model_has_one_obstacle_that_says_so() -> None:
    net = float_model()
    name = net.node("MatMul", ["x", net.constant(np.ones((3, 4), np.float32))])
    model = finished(net, name)
    assert obstacles(model) == (
        "the model is not quantised; quantise it first (QDQ or QOperator, 8 bits)",
    )
    with pytest.raises(UnsupportedModel, match="not quantised"):
        compile_model(model)


def test_unknown_operators_are_named_with_their_number() -> None:
    net = Net(np.random.default_rng(0))
    x = net.input((2, 4))
    value = net.node("Softmax", [net.node("Softmax", [net.float(x)])])
    model = load(net.model([net.quantise(value, (2, 4), x.scale, x.zero)]))
    assert obstacles(model) == ("operator Softmax (2 nodes) is not supported",)


def test_a_float_output_is_refused_by_name() -> None:
    net = Net(np.random.default_rng(0))
    x = net.input((2, 3))
    codes, scale, zero = net.weight((3, 4), 1)
    name = net.node("MatMul", [net.float(x), net.dequantised(codes, scale, zero, 1)])
    with pytest.raises(UnsupportedModel, match=r"output 'matmul_\d+'.*end the model with Quantize"):
        compile_model(finished(net, name))


def test_an_operator_between_floats_asks_for_quantisation() -> None:
    net = float_model()
    s, z = net.parameters(np.float32(0.1), 0)
    name = net.node("MatMul", ["x", net.constant(np.ones((3, 4), np.float32))])
    name = net.node("DequantizeLinear", [net.node("QuantizeLinear", [name, s, z]), s, z])
    with pytest.raises(UnsupportedModel, match=r"\(MatMul\).*float input 'x'.*put QuantizeLinear"):
        compile_model(finished(net, name))


def test_one_input_under_two_scales_is_refused() -> None:
    net = float_model()
    names = []
    for scale in (0.1, 0.2):
        s, z = net.parameters(np.float32(scale), 0)
        names.append(net.node("DequantizeLinear", [net.node("QuantizeLinear", ["x", s, z]), s, z]))
    name = net.node("Add", names)
    s, z = net.parameters(np.float32(0.3), 0)
    name = net.node("DequantizeLinear", [net.node("QuantizeLinear", [name, s, z]), s, z])
    with pytest.raises(UnsupportedModel, match="input 'x': two QuantizeLinear nodes"):
        compile_model(finished(net, name, [2, 3]))


@pytest.mark.parametrize(
    ("scale", "message"), [(0.0, "normal positive"), (-1.0, "normal positive"), (1e-40, "normal")]
)
def test_scales_that_are_no_positive_normal_numbers(scale: float, message: str) -> None:
    net = Net(np.random.default_rng(0))
    x = net.input((2, 3))
    value = net.node("Relu", [net.float(x)])
    made = net.quantise(value, (2, 3), np.float32(scale), 0)
    with pytest.raises(UnsupportedModel, match=message):
        compile_model(load(net.model([made])))


def test_a_sum_beyond_the_field_is_refused() -> None:
    net = Net(np.random.default_rng(0), dtype="uint8", weights="uint8")
    x = net.input((1, 20_000), codes=True)
    codes = np.full((20_000, 1), 255, np.uint8)
    weights = net.dequantised(codes, np.float32(0.1), np.array(0, np.uint8), 1)
    value = net.node("MatMul", [net.float(x), weights])
    made = net.quantise(value, (1, 1), np.float32(1), 0)
    with pytest.raises(UnsupportedModel, match="make the contraction shorter"):
        compile_model(load(net.model([made])))


def test_open_dimensions_need_shapes() -> None:
    net = Net(np.random.default_rng(0))
    net.inputs.append(("x", TensorProto.FLOAT, ("n", 3)))  # type: ignore[arg-type]
    s, z = net.parameters(np.float32(0.1), 3)
    name = net.node("DequantizeLinear", [net.node("QuantizeLinear", ["x", s, z]), s, z])
    model = finished(net, name, ["n", 3])
    with pytest.raises(UsageError, match="give its shape"):
        compile_model(model)
    assert compile_model(model, {"x": (5, 3)}).graph.inputs[0].shape == (5, 3)
    with pytest.raises(UsageError, match="no input 'y'"):
        compile_model(model, {"y": (5, 3)})


def test_biases_of_another_scale_are_refused() -> None:
    net = Net(np.random.default_rng(0))
    x = net.input((2, 3))
    codes, scale, zero = net.weight((3, 4), 1)
    bias = net.dequantised(np.ones(4, np.int32), np.float32(0.5), np.array(0, np.int32), 0)
    value = net.node("Gemm", [net.float(x), net.dequantised(codes, scale, zero, 1), bias])
    made = net.quantise(value, (2, 4), np.float32(1), 0)
    with pytest.raises(UnsupportedModel, match="its scale is not the product"):
        compile_model(load(net.model([made])))
