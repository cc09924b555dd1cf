"""Small random float models, written with onnx.helper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from proofml.tensors import Array


class Builder:
    """Adds nodes one after another; `h` is always the name of the last value."""

    def __init__(self, shape: Sequence[int], *, opset: int = 17, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape = list(shape)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.h = "x"

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def weight(self, *dims: int, gain: float = 1.0) -> str:
        fan = int(np.prod(dims[1:])) or 1
        return self.const(self.rng.standard_normal(dims) * gain / np.sqrt(fan))

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Apply to the last value, or to `inputs`; returns the first output."""
        names = [f"v{len(self.nodes)}" + (f"_{i}" if i else "") for i in range(outputs)]
        node = helper.make_node(kind, list(inputs) or [self.h], names, **attributes)
        self.nodes.append(node)
        self.h = names[0]
        return self.h

    def conv(self, c_in: int, c_out: int, k: int = 3, *, bias: bool = True, **more: Any) -> str:
        group = more.get("group", 1)
        inputs = [self.h, self.weight(c_out, c_in // group, k, k)]
        if bias:
            inputs.append(self.const(self.rng.standard_normal(c_out) * 0.1))
        return self.op("Conv", *inputs, kernel_shape=[k, k], **more)

    def norm(self, channels: int) -> str:
        r = self.rng
        vectors = [
            r.uniform(0.5, 1.5, channels),
            r.standard_normal(channels) * 0.1,
            r.standard_normal(channels) * 0.1,
            r.uniform(0.5, 1.5, channels),
        ]
        return self.op("BatchNormalization", self.h, *map(self.const, vectors))

    def gemm(self, n_in: int, n_out: int) -> str:
        return self.op(
            "Gemm", self.h, self.weight(n_out, n_in), self.const(np.zeros(n_out)), transB=1
        )

    def finish(self, *outputs: str, dtype: int = TensorProto.FLOAT, input_type: int = 1) -> bytes:
        values = outputs or (self.h,)
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", input_type, self.shape)],
            [helper.make_tensor_value_info(name, dtype, None) for name in values],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        dims = {value.name: value for value in inferred.graph.output}
        for value in graph.output:
            value.CopyFrom(dims[value.name])
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        data: bytes = model.SerializeToString()
        return data


def lenet() -> bytes:
    b = Builder([1, 1, 28, 28])
    b.conv(1, 6, 5, pads=[2, 2, 2, 2])
    b.op("Relu")
    b.op("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    b.conv(6, 16, 5)
    b.op("Relu")
    b.op("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    b.op("Flatten")
    b.gemm(400, 120)
    b.op("Relu")
    b.gemm(120, 84)
    b.op("Relu")
    b.gemm(84, 10)
    return b.finish()


def residual() -> bytes:
    b = Builder([1, 3, 12, 12])
    b.conv(3, 8, bias=False, pads=[1, 1, 1, 1])
    b.norm(8)
    skip = b.op("Relu")
    b.conv(8, 8, bias=False, pads=[1, 1, 1, 1])
    b.norm(8)
    b.op("Relu")
    b.conv(8, 8, bias=False, pads=[1, 1, 1, 1])
    b.norm(8)
    b.op("Add", b.h, skip)
    b.op("Relu")
    b.op("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    b.op("GlobalAveragePool")
    b.op("Flatten")
    b.gemm(8, 10)
    return b.finish()


def separable(activation: str = "HardSwish") -> bytes:
    """Depthwise and pointwise convolutions, as in MobileNet."""
    b = Builder([1, 3, 12, 12])

    def act() -> None:
        if activation == "Clip":
            b.op("Clip", b.h, b.const(0), b.const(6))
        else:
            b.op(activation)

    b.conv(3, 8, bias=False, pads=[1, 1, 1, 1], strides=[2, 2])
    b.norm(8)
    act()
    b.conv(8, 8, bias=False, pads=[1, 1, 1, 1], group=8)
    b.norm(8)
    act()
    b.conv(8, 16, 1, bias=False)
    b.norm(16)
    act()
    b.op("ReduceMean", axes=[2, 3], keepdims=0)
    b.op("MatMul", b.h, b.weight(16, 10))
    b.op("Add", b.h, b.const(b.rng.standard_normal(10)))
    return b.finish()


def pooled() -> bytes:
    b = Builder([1, 2, 16, 16])
    b.conv(2, 8, pads=[1, 1, 1, 1])
    b.op("Relu")
    b.op("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    b.conv(8, 8, pads=[1, 1, 1, 1])
    b.op("Sigmoid")
    b.op("GlobalAveragePool")
    b.op("Reshape", b.h, b.const([1, 8], np.int64))
    b.op("MatMul", b.h, b.weight(8, 5))
    return b.finish()


def gelu_block(opset: int = 17) -> bytes:
    """Linear, GELU as PyTorch writes it out, linear, on tokens [1, 6, 16]."""
    b = Builder([1, 6, 16], opset=opset)
    b.op("MatMul", b.h, b.weight(16, 32))
    x = b.op("Add", b.const(b.rng.standard_normal(32) * 0.1), b.h)
    b.op("Div", x, b.const(1.4142135381698608))
    b.op("Erf")
    b.op("Add", b.h, b.const(1))
    b.op("Mul", x, b.h)
    b.op("Mul", b.h, b.const(0.5))
    b.op("MatMul", b.h, b.weight(32, 16))
    b.op("Add", b.h, "x")
    return b.finish()


def upsampled() -> bytes:
    """A pyramid: coarse features enlarged and joined with fine ones, then a transposed end."""
    b = Builder([1, 3, 16, 16])
    fine = b.conv(3, 4, pads=[1, 1, 1, 1], strides=[2, 2])
    b.conv(4, 6, pads=[1, 1, 1, 1], strides=[2, 2])
    b.op("Relu")
    scales = b.const([1, 1, 2, 2])
    b.op("Resize", b.h, b.const([]), scales, mode="nearest", nearest_mode="floor",
         coordinate_transformation_mode="asymmetric")  # fmt: skip
    coarse = b.op("Conv", b.h, b.weight(4, 6, 1, 1))
    b.op("Add", coarse, fine)
    b.op("Concat", b.h, coarse, axis=1)
    b.op("ConvTranspose", b.h, b.weight(8, 5, 2, 2), kernel_shape=[2, 2], strides=[2, 2])
    b.op("Add", b.h, b.const(b.rng.standard_normal([1, 5, 1, 1])))
    b.norm(5)
    b.op("Relu")
    b.op("ConvTranspose", b.h, b.weight(5, 1, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    b.op("Sigmoid")
    whole = b.op("Shape")
    batch = b.op("Slice", whole, b.const([0], np.int64), b.const([1], np.int64))
    rest = b.const([-1], np.int64)
    b.op("Reshape", b.nodes[-3].output[0], b.op("Concat", batch, rest, axis=0))
    return b.finish()


ZOO: dict[str, Callable[[], bytes]] = {
    "lenet": lenet,
    "residual": residual,
    "separable_hardswish": separable,
    "separable_clip": lambda: separable("Clip"),
    "pooled": pooled,
    "gelu": gelu_block,
    "upsampled": upsampled,
}
