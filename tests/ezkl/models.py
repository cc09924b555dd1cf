"""Small models that a proof of takes a second, and what to give them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from proofml.policy import Policy
from proofml.tensors import Array

FLOAT = TensorProto.FLOAT
#: Exact at scale 7, like the weights: the fixed-point result is onnxruntime's.
X: dict[str, Array] = {"x": np.array([[0.5, -1.0, 2.0, 0.25]], np.float32)}
OTHER_X: dict[str, Array] = {"x": np.array([[0.25, 1.0, -1.5, 2.0]], np.float32)}

#: What every proof of these tests needs: there is no ceremony file here, and nobody pins settings.
DEVELOPMENT = ("srs:local-dev", "quantisation:prover-chosen")
ALLOWED = Policy().allow(DEVELOPMENT)
OPTIONS = {"srs": "local-dev"}


def mlp(seed: int = 0, sizes: Sequence[int] = (4, 3, 2)) -> bytes:
    """float32[1, 4] through Gemm, ReLU, Gemm to float32[1, 2]; weights are multiples of 1/16."""
    rng = np.random.default_rng(seed)
    nodes, weights, last = [], [], "x"
    for layer, (width, height) in enumerate(pairwise(sizes)):
        if layer:
            nodes.append(helper.make_node("Relu", [last], [f"r{layer}"]))
            last = f"r{layer}"
        name = "y" if layer == len(sizes) - 2 else f"h{layer}"
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [name]))
        weights += [
            constant(f"w{layer}", rng.integers(-31, 32, size=(width, height)) / 16),
            constant(f"b{layer}", rng.integers(-31, 32, size=(height,)) / 16),
        ]
        last = name
    return graph(nodes, {"x": (FLOAT, [1, sizes[0]])}, {"y": (FLOAT, [1, sizes[-1]])}, weights)


def permuted() -> bytes:
    """The weights of `mlp(0)` in another order: another function, the same settings."""
    proto = ModelProto.FromString(mlp(0))
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(constant(tensor.name, np.flip(numpy_helper.to_array(tensor))))
    return bytes(proto.SerializeToString(deterministic=True))


def one(op: str, shape: Sequence[int] = (1, 4), *, opset: int = 13, **attributes: Any) -> bytes:
    """A single operator from float32 x to float32 y of the same shape."""
    node = helper.make_node(op, ["x"], ["y"], **attributes)
    return graph([node], {"x": (FLOAT, shape)}, {"y": (FLOAT, shape)}, opset=opset)


def constant(name: str, value: Any, dtype: Any = np.float32) -> Any:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def graph(
    nodes: Sequence[Any],
    inputs: dict[str, tuple[int, Sequence[Any]]],
    outputs: dict[str, tuple[int, Sequence[Any]]],
    constants: Sequence[Any] = (),
    *,
    opset: int = 13,
) -> bytes:
    """An ONNX file of any graph."""
    made = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in outputs.items()],
        list(constants),
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))
