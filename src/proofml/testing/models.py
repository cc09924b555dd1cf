"""Small models to test backends on."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def gemm(seed: int = 0, *, inputs: int = 4, outputs: int = 3, relu: bool = False) -> bytes:
    """An ONNX file: y = x W + b, float32[1, inputs] to float32[1, outputs], then perhaps ReLU.

    Weights are multiples of 1/16 below 2, so that fixed-point backends take them exactly. Two
    seeds give two models of the same interface and architecture.
    """
    rng = np.random.default_rng(seed)
    weight = rng.integers(-31, 32, size=(inputs, outputs)).astype(np.float32) / 16
    bias = rng.integers(-31, 32, size=(outputs,)).astype(np.float32) / 16
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["h" if relu else "y"])]
    if relu:
        nodes.append(helper.make_node("Relu", ["h"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "gemm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))
