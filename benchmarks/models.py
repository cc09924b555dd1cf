"""Models for benchmarks, built node by node: no training framework, no download, seeded weights.

A prover does not mind what the weights are, so they are random, scaled as He initialisation scales
them: activations then keep their size from layer to layer, as those of a trained network do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from proofml.tensors import Array

CALIBRATION_SAMPLES = 16
_OPSET = 17


@dataclass
class Builder:
    """A chain of layers; the last value is `value`, of shape `shape` with a batch of 1."""

    name: str
    shape: tuple[int, ...]
    seed: int = 0
    value: str = "input"
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._input = self.shape
        self._generator = np.random.default_rng(self.seed)

    def _add(self, operator: str, *constants: str, **attributes: Any) -> None:
        result = f"v{len(self.nodes)}"
        node = helper.make_node(operator, [self.value, *constants], [result], **attributes)
        self.nodes.append(node)
        self.value = result

    def _weights(self, shape: tuple[int, ...]) -> tuple[str, str]:
        """A weight of this shape, output channels first, and its bias."""
        weight = self._generator.standard_normal(shape) * np.sqrt(2 / prod(shape[1:]))
        bias = self._generator.standard_normal(shape[0]) * 0.05
        names = f"w{len(self.nodes)}", f"b{len(self.nodes)}"
        for name, values in zip(names, (weight, bias), strict=True):
            self.constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return names

    def conv(self, channels: int, size: int, pad: int, *, relu: bool = True) -> Builder:
        inputs, height, width = self.shape
        names = self._weights((channels, inputs, size, size))
        self._add("Conv", *names, kernel_shape=[size, size], pads=[pad] * 4)
        self.shape = (channels, *(n + 2 * pad - size + 1 for n in (height, width)))
        return self.relu() if relu else self

    def dense(self, outputs: int, *, relu: bool = True) -> Builder:
        if len(self.shape) > 1:
            self._add("Flatten")
            self.shape = (prod(self.shape),)
        names = self._weights((outputs, *self.shape))
        self._add("Gemm", *names, transB=1)
        self.shape = (outputs,)
        return self.relu() if relu else self

    def relu(self) -> Builder:
        self._add("Relu")
        return self

    def pool(self, operator: str = "MaxPool") -> Builder:
        """Windows of 2 x 2, one beside the other."""
        self._add(operator, kernel_shape=[2, 2], strides=[2, 2])
        channels, height, width = self.shape
        self.shape = (channels, height // 2, width // 2)
        return self

    def model(self) -> onnx.ModelProto:
        self.nodes[-1].output[0] = "logits"
        ports = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape])
            for name, shape in (("input", self._input), ("logits", self.shape))
        ]
        graph = helper.make_graph(self.nodes, self.name, ports[:1], ports[1:], self.constants)
        opsets = [helper.make_opsetid("", _OPSET)]
        model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return model


def dense(name: str, sizes: Sequence[int]) -> onnx.ModelProto:
    """A multilayer perceptron; no activation after the last layer."""
    builder = Builder(name, (sizes[0],))
    for size in sizes[1:-1]:
        builder.dense(size)
    return builder.dense(sizes[-1], relu=False).model()


def lenet(name: str) -> onnx.ModelProto:
    """LeNet-5 with ReLU: 61,706 parameters, 28 x 28."""
    builder = Builder(name, (1, 28, 28))
    builder.conv(6, 5, 2).pool("AveragePool").conv(16, 5, 0).pool("AveragePool")
    return builder.dense(120).dense(84).dense(10, relu=False).model()


def digits_cnn(name: str) -> onnx.ModelProto:
    """Two convolutions and two dense layers on 28 x 28."""
    builder = Builder(name, (1, 28, 28))
    builder.conv(16, 3, 1).pool().conv(32, 3, 1).pool()
    return builder.dense(164).dense(10, relu=False).model()


def cnn(name: str, channels: int) -> onnx.ModelProto:
    """Three stages of two convolutions each on 3 x 32 x 32, channels doubled in each stage."""
    builder = Builder(name, (3, 32, 32))
    for stage in range(3):
        builder.conv(channels << stage, 3, 1).conv(channels << stage, 3, 1).pool()
    return builder.dense(10, relu=False).model()


def vgg(name: str) -> onnx.ModelProto:
    """VGG-16 as it is used on 3 x 32 x 32: thirteen convolutions, two dense layers."""
    builder = Builder(name, (3, 32, 32))
    for channels, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            builder.conv(channels, 3, 1)
        builder.pool()
    return builder.dense(512).dense(10, relu=False).model()


_DENSE = {
    "dense-10k": (64, 128, 10),
    "dense-34k": (128, 128, 128, 10),
    "dense-100k": (256, 256, 128, 10),
    "dense-330k": (512, 512, 128, 10),
    "dense-1m": (512, 1024, 512, 10),
    "dense-4m": (1024, 2048, 1024, 10),
    "dense-10m": (2048, 3072, 1280, 10),
}
_CNN = {"cnn-7k": 4, "cnn-23k": 8, "cnn-82k": 16, "cnn-308k": 32, "cnn-1m": 64, "cnn-5m": 128}


def _builders() -> dict[str, Callable[[], onnx.ModelProto]]:
    found: dict[str, Callable[[], onnx.ModelProto]] = {
        "mlp": lambda: dense("mlp", (64, 32, 10)),
        "lenet": lambda: lenet("lenet"),
        "cnn-264k": lambda: digits_cnn("cnn-264k"),
        "vgg-15m": lambda: vgg("vgg-15m"),
    }
    found |= {name: lambda n=name, s=sizes: dense(n, s) for name, sizes in _DENSE.items()}  # type: ignore[misc]
    found |= {name: lambda n=name, c=width: cnn(n, c) for name, width in _CNN.items()}  # type: ignore[misc]
    return found


BUILDERS = _builders()
#: What `scale` measures, by family, by size. Only what grows in one way has an exponent.
SERIES = {
    "dense": tuple(_DENSE),
    "convolutional": tuple(_CNN),
    "others": ("cnn-264k", "vgg-15m"),
}
GROWING = ("dense", "convolutional")


@dataclass(frozen=True)
class Case:
    """A float model on disk with an input to prove and inputs to calibrate on."""

    name: str
    parameters: int
    model: Path
    input: Path
    calibration: Path


def write(name: str, folder: Path) -> Case:
    """Build a model by its name in `BUILDERS`; the same bytes every time."""
    model = BUILDERS[name]()
    case = Case(
        name,
        sum(prod(tensor.dims) for tensor in model.graph.initializer),
        folder / f"{name}.onnx",
        folder / f"{name}-input.npz",
        folder / f"{name}-calibration.npz",
    )
    onnx.save(model, case.model)
    dims = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    _save(case.input, 1, [1, *dims[1:]])
    _save(case.calibration, 2, [CALIBRATION_SAMPLES, *dims[1:]])
    return case


def _save(path: Path, seed: int, shape: Sequence[int]) -> None:
    values: Array = np.random.default_rng(seed).random(shape).astype(np.float32)
    np.savez(path, input=values)
