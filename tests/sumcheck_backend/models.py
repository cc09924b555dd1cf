"""Small quantised models, as quantising tools write them: QuantizeLinear, DequantizeLinear."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

X = {"x": np.array([[0.5, -1.0, 0.25, 1.5]], np.float32)}
OTHER_X = {"x": np.array([[-0.75, 1.0, 1.25, -0.5]], np.float32)}
BATCH = {"x": np.array([[0.5, -1.0, 0.25, 1.5], [1, 1, 1, 1], [-1, 0.5, 0, 2]], np.float32)}
OTHER_BATCH = {"x": BATCH["x"][::-1].copy() + np.float32(0.25)}

SCALE_IN, SCALE_WEIGHT, SCALE_OUT = 1 / 64, 1 / 64, 1 / 16


def qdq_gemm(
    seed: int = 0,
    *,
    inputs: int = 4,
    outputs: int = 3,
    batch: int | str = 1,
    activation: str | None = None,
    turned: bool = False,
    passing: bool = False,
) -> bytes:
    """y = DQ(Q(DQ(Q(x)) W + b)), then perhaps an activation on codes; float32 at both ends.

    `turned` exchanges the columns of W and b: other weights, the same integer graph but for them.
    `passing` makes the dequantised input an output, `x_again`.
    """
    rng = np.random.default_rng(seed)
    step = -1 if turned else 1
    weight = rng.integers(-127, 128, (inputs, outputs)).astype(np.int8)
    bias = rng.integers(-2000, 2000, (outputs,)).astype(np.int32)
    constants = {
        "x_scale": np.float32(SCALE_IN),
        "w_scale": np.float32(SCALE_WEIGHT),
        "b_scale": np.float32(SCALE_IN * SCALE_WEIGHT),
        "y_scale": np.float32(SCALE_OUT),
        "zero": np.int8(0),
        "zero32": np.int32(0),
        "w_codes": weight[:, ::step],
        "b_codes": bias[::step],
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "x_scale", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w_codes", "w_scale", "zero"], ["w"]),
        helper.make_node("DequantizeLinear", ["b_codes", "b_scale", "zero32"], ["b"]),
        helper.make_node("Gemm", ["xd", "w", "b"], ["h"]),
    ]
    nodes += _quantised("h", "y" if activation is None else "hd")
    if activation is not None:
        nodes.append(helper.make_node(activation, ["hd"], ["a"]))
        nodes += _quantised("a", "y")
    results: dict[str, list[int | str]] = {"y": [batch, outputs]}
    if passing:
        nodes.append(helper.make_node("DequantizeLinear", ["xq", "x_scale", "zero"], ["x_again"]))
        results["x_again"] = [batch, inputs]
    return _file(nodes, constants, [batch, inputs], results)


def _quantised(value: str, result: str) -> list[NodeProto]:
    codes = f"{value}_codes"
    return [
        helper.make_node("QuantizeLinear", [value, "y_scale", "zero"], [codes]),
        helper.make_node("DequantizeLinear", [codes, "y_scale", "zero"], [result]),
    ]


def _file(
    nodes: list[NodeProto],
    constants: dict[str, np.generic | np.ndarray],
    inputs: list[int | str],
    outputs: dict[str, list[int | str]],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, d) for name, d in outputs.items()],
        [
            numpy_helper.from_array(np.array(value, order="C"), name)
            for name, value in constants.items()
        ],
    )
    model: ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    return bytes(model.SerializeToString(deterministic=True))
