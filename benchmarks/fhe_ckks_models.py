"""Models for the benchmarks of CKKS: those of its literature, with seeded weights.

The convolutional one is that of TenSEAL's tutorial and, but for sizes, of LoLA (Brutzkus, Elisha,
Gilad-Bachrach, ICML 2019): 28 x 28 pixels, 7 x 7 windows in steps of 3, four channels, a square, a
layer of 64, a square, a layer of 10.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from proofml.tensors import Array

_OPSET = 17
CHANNELS, WINDOW, STRIDE, SIDE, HIDDEN, CLASSES = 4, 7, 3, 28, 64, 10
PLACES = (SIDE - WINDOW) // STRIDE + 1


@dataclass(frozen=True)
class Weights:
    """Of the convolutional model: filters [4, 7, 7], matrices [in, out], biases."""

    filters: Array
    filter_bias: Array
    first: Array
    first_bias: Array
    second: Array
    second_bias: Array


def weights(seed: int = 0) -> Weights:
    """Random ones that keep values near 1 through both squares."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int, gain: float) -> Array:
        return (rng.standard_normal(shape) * gain).astype(np.float32)

    flat = CHANNELS * PLACES * PLACES
    return Weights(
        draw(CHANNELS, WINDOW, WINDOW, gain=0.2),
        draw(CHANNELS, gain=0.1),
        draw(flat, HIDDEN, gain=0.05),
        draw(HIDDEN, gain=0.1),
        draw(HIDDEN, CLASSES, gain=0.1),
        draw(CLASSES, gain=0.1),
    )


def convolutional(activation: str = "square", *, seed: int = 0) -> onnx.ModelProto:
    """With squares, or with an operator such as Relu in their places."""
    known = weights(seed)
    nodes = [
        helper.make_node(
            "Conv", ["image", "filters", "filter_bias"], ["c"], strides=[STRIDE, STRIDE]
        ),
        _activation(activation, "c", "a"),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "first", "first_bias"], ["g"]),
        _activation(activation, "g", "h"),
        helper.make_node("Gemm", ["h", "second", "second_bias"], ["logits"]),
    ]
    constants = {
        "filters": known.filters[:, None],
        "filter_bias": known.filter_bias,
        "first": known.first,
        "first_bias": known.first_bias,
        "second": known.second,
        "second_bias": known.second_bias,
    }
    return _model("convolutional", nodes, constants, "image", [1, 1, SIDE, SIDE])


def dense(
    sizes: Sequence[int], activation: str = "square", *, batch: int | None = 1, seed: int = 0
) -> onnx.ModelProto:
    """A multilayer perceptron; the batch is free where it is None."""
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {}
    last = "features"
    for i, (before, after) in enumerate(itertools.pairwise(sizes)):
        constants[f"w{i}"] = (rng.standard_normal((before, after)) / before**0.5).astype(np.float32)
        constants[f"b{i}"] = (rng.standard_normal(after) * 0.1).astype(np.float32)
        ends = i == len(sizes) - 2
        made = "logits" if ends else f"g{i}"
        nodes.append(helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [made]))
        if not ends:
            nodes.append(_activation(activation, made, f"a{i}"))
            last = f"a{i}"
    return _model("dense", nodes, constants, "features", [batch, sizes[0]])


def _activation(name: str, operand: str, made: str) -> onnx.NodeProto:
    if name == "square":
        return helper.make_node("Mul", [operand, operand], [made])
    return helper.make_node(name, [operand], [made])


def _model(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Array],
    port: str,
    shape: Sequence[int | None],
) -> onnx.ModelProto:
    batch = "n" if shape[0] is None else shape[0]
    ports = [
        helper.make_tensor_value_info(port, TensorProto.FLOAT, [batch, *shape[1:]]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES]),
    ]
    tensors = [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in constants.items()]
    graph = helper.make_graph(list(nodes), name, ports[:1], ports[1:], tensors)
    opsets = [helper.make_opsetid("", _OPSET)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return model


MODELS: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "cnn-square": convolutional,
    "cnn-relu": lambda: convolutional("Relu"),
    "mlp-square": lambda: dense((784, 64, 10)),
    "mlp-64-relu": lambda: dense((64, 32, 10), "Relu"),
}
