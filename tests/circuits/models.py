"""Builders of small quantised ONNX models: by hand, and at random.

`Net` grows a graph operator by operator, in QDQ or in QOperator form; each operator's result is
quantised with a scale that saturates some values. Nothing here runs a model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from proofml.canonical import sha256
from proofml.graph.canonicalise import canonicalise
from proofml.graph.interface import interface
from proofml.model import Model, TensorSpec

TYPES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}
LIMITS = {"uint8": (0, 255), "int8": (-128, 127)}
MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Tensor:
    """Codes in the graph: name, shape, scale, zero point."""

    name: str
    shape: tuple[int, ...]
    scale: np.float32
    zero: int
    dtype: str


@dataclass
class Net:
    """A graph that grows.

    Attributes:
        dtype: of activations' codes; `weights` of weights' codes.
        binary: scales are powers of two, so that ties happen.
        qdq: QDQ form, else QOperator.
    """

    rng: np.random.Generator
    dtype: str = "uint8"
    weights: str = "int8"
    binary: bool = False
    qdq: bool = True
    channels: bool = False
    opset: int = 17
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    inputs: list[tuple[str, int, tuple[int, ...]]] = field(default_factory=list)
    made: list[Tensor] = field(default_factory=list)
    count: int = 0

    # Names, numbers

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    def constant(self, array: NDArray[Any], stem: str = "c") -> str:
        name = self.name(stem)
        self.constants[name] = array
        return name

    def node(self, operator: str, inputs: list[str], domain: str = "", **attributes: Any) -> str:
        name = self.name(operator.lower())
        self.nodes.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        return name

    def scale(self, around: float) -> np.float32:
        """A scale near a number: a power of two, or any."""
        if self.binary:
            return np.float32(2.0 ** round(np.log2(around)))
        return np.float32(around * self.rng.uniform(0.7, 1.4))

    def zero(self, low: bool = False, dtype: str = "") -> int:
        least, most = LIMITS[dtype or self.dtype]
        if low:
            return least
        return int(self.rng.integers(least, most + 1)) if self.rng.random() < 0.8 else least

    def parameters(self, scale: np.float32, zero: int, dtype: str = "") -> list[str]:
        code = np.dtype(dtype or self.dtype).type
        return [
            self.constant(np.array(scale, np.float32), "s"),
            self.constant(np.array(zero, code), "z"),
        ]

    # Ends

    def input(self, shape: tuple[int, ...], scale: float = 0.02, codes: bool = False) -> Tensor:
        name = self.name("in")
        s, z = self.scale(scale), self.zero()
        if codes or not self.qdq:
            self.inputs.append((name, TYPES[self.dtype], shape))
            return Tensor(name, shape, s, z, self.dtype)
        self.inputs.append((name, TensorProto.FLOAT, shape))
        return self.quantise(name, shape, s, z)

    def quantise(
        self, name: str, shape: tuple[int, ...], scale: np.float32, zero: int, dtype: str = ""
    ) -> Tensor:
        dtype = dtype or self.dtype
        made = self.node("QuantizeLinear", [name, *self.parameters(scale, zero, dtype)])
        result = Tensor(made, shape, scale, zero, dtype)
        self.made.append(result)
        return result

    def float(self, x: Tensor) -> str:
        """A DequantizeLinear of its own, as quantisers make them."""
        return self.node("DequantizeLinear", [x.name, *self.parameters(x.scale, x.zero, x.dtype)])

    def model(self, outputs: list[Tensor], dequantised: bool = False) -> ModelProto:
        infos = []
        for x in outputs:
            if dequantised:
                infos.append(
                    helper.make_tensor_value_info(self.float(x), TensorProto.FLOAT, x.shape)
                )
            else:
                infos.append(helper.make_tensor_value_info(x.name, TYPES[x.dtype], x.shape))
        return self.proto(infos)

    def proto(self, infos: list[Any]) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info(*entry) for entry in self.inputs],
            infos,
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        imports = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=imports)
        model.ir_version = 9
        return model

    def feeds(self, extreme: bool = False) -> dict[str, NDArray[Any]]:
        """Inputs at random, or at the ends of their types."""
        result: dict[str, NDArray[Any]] = {}
        for name, kind, shape in self.inputs:
            if kind == TensorProto.FLOAT:
                x = self.rng.standard_normal(shape) * self.rng.choice([0.5, 2.0, 10.0])
                if extreme:
                    x = self.rng.choice([-100.0, -0.02, 0.0, 0.02, 100.0], shape)
                result[name] = x.astype(np.float32)
            else:
                low, high = LIMITS["uint8" if kind == TensorProto.UINT8 else "int8"]
                x = self.rng.integers(low, high + 1, shape)
                if extreme:
                    x = self.rng.choice([low, low + 1, high - 1, high], shape)
                result[name] = x.astype("uint8" if kind == TensorProto.UINT8 else "int8")
        return result

    # Weighted operators

    def weight(self, shape: tuple[int, ...], axis: int) -> tuple[NDArray[Any], Any, Any]:
        """Codes, scale and zero point; one for each cell of `axis` where `channels` is set."""
        low, high = LIMITS[self.weights]
        codes = self.rng.integers(low, high + 1, shape).astype(self.weights)
        n = shape[axis] if self.channels else 1
        scale = np.array([self.scale(0.01) for _ in range(n)], np.float32)
        zero = np.zeros(n, self.weights)
        if not self.channels:
            scale = scale.reshape(())
            zero = np.array(self.zero(dtype=self.weights), self.weights)
            if self.weights == "int8":
                zero = np.zeros((), np.int8)
        return codes, scale, zero

    def out_scale(self, x: Tensor, taps: int, weight_scale: Any) -> np.float32:
        """A scale under which sums of so many products fill the codes, and some saturate."""
        spread = 60 if self.weights == "int8" else 90
        wanted = float(x.scale) * float(np.mean(weight_scale)) * 90 * spread * np.sqrt(taps) / 60
        return self.scale(wanted * float(self.rng.uniform(0.5, 2)))

    def finished(self, value: str, shape: tuple[int, ...], scale: np.float32, act: str) -> Tensor:
        """A QuantizeLinear behind a Relu or a Clip that it makes redundant, or behind nothing."""
        if act == "Relu":
            value = self.node("Relu", [value])
            return self.quantise(value, shape, scale, self.zero(low=True))
        if act == "Clip":
            zero = self.zero()
            low, high = LIMITS[self.dtype]
            ends = [np.float32((end - zero) * scale * 1.01) for end in (low, high)]
            value = self.node("Clip", [value, *(self.constant(np.array(e)) for e in ends)])
            return self.quantise(value, shape, scale, zero)
        return self.quantise(value, shape, scale, self.zero())

    def conv(
        self, x: Tensor, made: int, kernel: tuple[int, ...], act: str = "", **attributes: Any
    ) -> Tensor:
        groups = attributes.get("group", 1)
        shape = (made, x.shape[1] // groups, *kernel)
        codes, scale, zero = self.weight(shape, 0)
        taps = int(np.prod(shape[1:]))
        bias = self.rng.integers(-3000, 3000, made).astype(np.int32)
        if self.binary:
            bias = bias // 64 * 64
        out = self.out_scale(x, taps, scale)
        result = _conv_shape(x.shape, made, kernel, attributes)
        if not self.qdq:
            y = self.zero()
            value = self.node(
                "QLinearConv",
                [
                    x.name,
                    *self.parameters(x.scale, x.zero, x.dtype),
                    self.constant(codes, "w"),
                    self.constant(scale, "s"),
                    self.constant(zero, "z"),
                    *self.parameters(out, y),
                    self.constant(bias, "b"),
                ],
                kernel_shape=list(kernel),
                **attributes,
            )
            self.made.append(Tensor(value, result, out, y, self.dtype))
            return self.made[-1]
        both = np.asarray(x.scale * scale, np.float32)
        w = self.dequantised(codes, scale, zero, 0)
        b = self.dequantised(bias, both, np.zeros(both.shape, np.int32), 0)
        value = self.node("Conv", [self.float(x), w, b], kernel_shape=list(kernel), **attributes)
        return self.finished(value, result, out, act)

    def dequantised(self, codes: NDArray[Any], scale: Any, zero: Any, axis: int) -> str:
        names = [self.constant(codes, "w"), self.constant(np.asarray(scale, np.float32), "s")]
        return self.node("DequantizeLinear", [*names, self.constant(zero, "z")], axis=axis)

    def gemm(self, x: Tensor, columns: int, act: str = "", alpha: float = 1.0) -> Tensor:
        rows, inner = x.shape
        transposed = bool(self.rng.integers(2))
        axis = 0 if transposed else 1
        shape = (columns, inner) if transposed else (inner, columns)
        codes, scale, zero = self.weight(shape, axis)
        bias = self.rng.integers(-3000, 3000, columns).astype(np.int32)
        out = self.out_scale(x, inner, scale * alpha)
        both = np.asarray(np.float32(alpha) * x.scale * scale, np.float32)
        if not self.qdq:
            y = self.zero()
            value = self.node(
                "QGemm",
                [
                    x.name,
                    *self.parameters(x.scale, x.zero, x.dtype),
                    self.constant(codes, "w"),
                    self.constant(scale, "s"),
                    self.constant(zero, "z"),
                    self.constant(bias, "b"),
                    *self.parameters(out, y),
                ],
                domain=MICROSOFT,
                transB=int(transposed),
                alpha=alpha,
            )
            self.made.append(Tensor(value, (rows, columns), out, y, self.dtype))
            return self.made[-1]
        w = self.dequantised(codes, scale, zero, axis)
        b = self.dequantised(bias, both, np.zeros(both.shape, np.int32), 0)
        value = self.node(
            "Gemm", [self.float(x), w, b], transB=int(transposed), alpha=alpha, beta=1.0
        )
        return self.finished(value, (rows, columns), out, act)

    def matmul(self, x: Tensor, columns: int, act: str = "") -> Tensor:
        inner = x.shape[-1]
        codes, scale, zero = self.weight((inner, columns), 1)
        out = self.out_scale(x, inner, scale)
        result = (*x.shape[:-1], columns)
        if not self.qdq:
            y = self.zero()
            value = self.node(
                "QLinearMatMul",
                [
                    x.name,
                    *self.parameters(x.scale, x.zero, x.dtype),
                    self.constant(codes, "w"),
                    self.constant(scale, "s"),
                    self.constant(zero, "z"),
                    *self.parameters(out, y),
                ],
            )
            self.made.append(Tensor(value, result, out, y, self.dtype))
            return self.made[-1]
        w = self.dequantised(codes, scale, zero, 1)
        return self.finished(self.node("MatMul", [self.float(x), w]), result, out, act)

    def product(self, x: Tensor, y: Tensor) -> Tensor:
        """MatMul of two activations."""
        shape = np.matmul(np.zeros(x.shape), np.zeros(y.shape)).shape
        out = self.scale(float(x.scale) * float(y.scale) * 90 * np.sqrt(x.shape[-1]))
        if self.qdq:
            value = self.node("MatMul", [self.float(x), self.float(y)])
            return self.quantise(value, shape, out, self.zero())
        zero = self.zero()
        names = [x.name, *self.parameters(x.scale, x.zero, x.dtype)]
        names += [y.name, *self.parameters(y.scale, y.zero, y.dtype)]
        value = self.node("QLinearMatMul", [*names, *self.parameters(out, zero)])
        self.made.append(Tensor(value, shape, out, zero, self.dtype))
        return self.made[-1]

    # The others

    def pair(self, operator: str, x: Tensor, y: Tensor, act: str = "") -> Tensor:
        shape = np.broadcast_shapes(x.shape, y.shape)
        if operator == "Add":
            out = self.scale(max(float(x.scale), float(y.scale)) * 1.2)
        else:
            out = self.scale(float(x.scale) * float(y.scale) * 100)
        if self.qdq:
            value = self.node(operator, [self.float(x), self.float(y)])
            return self.finished(value, shape, out, act)
        zero = self.zero()
        names = [x.name, *self.parameters(x.scale, x.zero, x.dtype)]
        names += [y.name, *self.parameters(y.scale, y.zero, y.dtype)]
        value = self.node(
            f"QLinear{operator}", [*names, *self.parameters(out, zero)], domain=MICROSOFT
        )
        self.made.append(Tensor(value, shape, out, zero, self.dtype))
        return self.made[-1]

    def unary(self, operator: str, x: Tensor, scale: float, **attributes: Any) -> Tensor:
        """A function between DequantizeLinear and QuantizeLinear."""
        value = self.node(operator, [self.float(x)], **attributes)
        return self.quantise(value, x.shape, self.scale(scale), self.zero())

    def qlinear_unary(self, operator: str, x: Tensor, scale: float, **attributes: Any) -> Tensor:
        """com.microsoft's form of it: QLinearSigmoid, QLinearLeakyRelu and the pools."""
        s, zero = self.scale(scale), self.zero()
        shape = attributes.pop("shape", x.shape)
        names = [x.name, *self.parameters(x.scale, x.zero, x.dtype), *self.parameters(s, zero)]
        value = self.node(operator, names, domain=MICROSOFT, **attributes)
        self.made.append(Tensor(value, shape, s, zero, self.dtype))
        return self.made[-1]

    def moved(
        self, operator: str, x: Tensor, inputs: list[str], shape: tuple[int, ...], **attributes: Any
    ) -> Tensor:
        """A movement between DequantizeLinear and QuantizeLinear of the same parameters."""
        value = self.node(operator, [self.float(x), *inputs], **attributes)
        return self.quantise(value, shape, x.scale, x.zero)


def _conv_shape(
    shape: tuple[int, ...], made: int, kernel: tuple[int, ...], attributes: dict[str, Any]
) -> tuple[int, ...]:
    rank = len(kernel)
    strides = attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    pads = attributes.get("pads", [0] * 2 * rank)
    if str(attributes.get("auto_pad", "")).startswith("SAME"):
        spatial = [-(-n // s) for n, s in zip(shape[2:], strides, strict=True)]
    else:
        spatial = [
            (n + pads[i] + pads[rank + i] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1
            for i, n in enumerate(shape[2:])
        ]
    return (shape[0], made, *spatial)


def load(proto: ModelProto) -> Model:
    """The canonical model, made in this process: what `Model.load` does in a worker."""
    model = canonicalise(proto, "model", None)
    onnx.checker.check_model(model)
    specs = [
        tuple(
            TensorSpec(name, dtype, tuple(dims))
            for name, dtype, dims in interface(values, "model", role)
        )
        for values, role in ((model.graph.input, "input"), (model.graph.output, "output"))
    ]
    data = model.SerializeToString(deterministic=True)
    return Model("model", data, sha256(data), *specs, shapes={})
