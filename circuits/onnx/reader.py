"""The state of a reading: what each name stands for, and the questions that operators ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.functions import bits_of
from proofml.circuits.graph import Codec, Port, Shape
from proofml.circuits.onnx.builder import Builder
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.rounding import Quantisation
from proofml.circuits.onnx.values import (
    CODE_RANGE,
    Accumulated,
    Codes,
    Constant,
    Dequantised,
    DequantisedConstant,
    FloatInput,
    Floats,
    Integers,
    Island,
    Joined,
    Pair,
    Value,
)
from proofml.errors import UnsupportedModel

Overrides: TypeAlias = Mapping[str, Mapping[int, int]]

#: Smallest positive normal float32: scales below lose bits, or count as zero on some machines.
SMALLEST_SCALE = np.finfo(np.float32).tiny


@dataclass
class Reader:
    """Attributes:
    opset: version of the default domain.
    order: the nodes; `makers` by what they make, `readers` by what they read.
    values: name -> what it stands for; `used` counts how often each name is read.
    overrides: node -> code -> code, values of unary tables where a runtime rounds otherwise.
    kinds: ONNX node -> its class.
    islands: node -> the function that its table holds, and what it is quantised to.
    """

    model: str
    opset: int
    builder: Builder
    used: Mapping[str, int]
    outputs: frozenset[str]
    order: tuple[Node, ...]
    makers: Mapping[str, Node]
    readers: Mapping[str, Sequence[Node]]
    overrides: Overrides = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    ports: dict[str, Port] = field(default_factory=dict)
    input_shapes: dict[str, Shape] = field(default_factory=dict)
    islands: dict[str, tuple[Island, Quantisation]] = field(default_factory=dict)

    # What a node reads

    def value(self, node: Node, index: int) -> Value:
        if not node.has(index):
            raise node.fail(f"expected an input number {index}")
        return self.values[node.inputs[index]]

    def constant(self, node: Node, index: int, what: str) -> NDArray[Any]:
        """An input that must be constant."""
        value = self.value(node, index)
        if isinstance(value, Constant | DequantisedConstant):
            return value.array
        raise node.fail(
            f"{what} {node.inputs[index]!r}: expected a constant, got {describe(value)}; fold "
            "constants when exporting"
        )

    def optional(self, node: Node, index: int, what: str) -> NDArray[Any] | None:
        return self.constant(node, index, what) if node.has(index) else None

    def numbers(self, node: Node, index: int, name: str) -> tuple[int, ...] | None:
        """Integers from an input of newer opsets, or from the attribute of older ones."""
        if node.has(index):
            return tuple(int(n) for n in self.constant(node, index, name).reshape(-1))
        return node.integers(name)

    def scale(self, node: Node, index: int) -> Floats:
        """A float32 scale of rank 0 or 1, positive and normal."""
        array = self.constant(node, index, "the scale")
        if array.dtype != np.float32 or array.ndim > 1:
            raise node.fail(
                f"the scale {node.inputs[index]!r}: expected float32 for a tensor or an axis, got "
                f"{array.dtype}{list(array.shape)}"
            )
        if not (np.isfinite(array).all() and (array >= SMALLEST_SCALE).all()):
            raise node.fail(
                f"the scale {node.inputs[index]!r}: expected normal positive numbers, got "
                f"{array.reshape(-1)[:4].tolist()}"
            )
        return array.reshape(()) if array.size == 1 else array

    def zero_point(self, node: Node, index: int, dtype: str) -> NDArray[np.int64]:
        """Zero points as int64, of rank 0 or 1; 0 where the input is left out."""
        if not node.has(index):
            return np.zeros((), np.int64)
        array = self.constant(node, index, "the zero point")
        if array.dtype.name != dtype or array.ndim > 1:
            raise node.fail(
                f"the zero point {node.inputs[index]!r}: expected {dtype} for a tensor or an "
                f"axis, got {array.dtype}{list(array.shape)}"
            )
        array = array.astype(np.int64)
        return array.reshape(()) if array.size == 1 else array

    def quantisation(self, node: Node, scale: int, zero: int, dtype: str = "") -> Quantisation:
        """Parameters of a tensor with one scale; `dtype` is that of the zero point if empty."""
        if not dtype:
            dtype = "uint8"
            if node.has(zero):
                dtype = self.constant(node, zero, "the zero point").dtype.name
        if dtype not in CODE_RANGE:
            raise node.fail(f"codes of type {dtype}; expected {' or '.join(CODE_RANGE)}")
        s, z = self.scale(node, scale), self.zero_point(node, zero, dtype)
        if s.ndim or z.ndim:
            raise node.fail(
                "a scale or zero point for each channel of an activation; expected one for the "
                "tensor (weights may have one for each channel)"
            )
        return Quantisation(np.float32(s), int(z), dtype, dtype)

    def codes(self, node: Node, index: int) -> Codes:
        """An input of 8-bit codes; a constant one becomes a Weight."""
        value = self.value(node, index)
        if isinstance(value, Codes):
            return value
        if isinstance(value, Constant) and value.array.dtype.name in CODE_RANGE:
            number = self.builder.weight(value.name, value.array.astype(np.int64))
            return Codes(number, value.shape, 0, value.array.dtype.name)
        raise node.fail(
            f"input {node.inputs[index]!r}: expected codes of 8 bits, got {describe(value)}"
        )

    def dequantised(self, node: Node, index: int) -> Dequantised:
        """An input as codes with one scale; a constant one becomes a Weight."""
        value = self.value(node, index)
        if isinstance(value, Dequantised):
            return value
        if isinstance(value, DequantisedConstant) and not value.scale.ndim:
            return self.as_dequantised(value)
        raise self.not_quantised(node, index)

    def as_dequantised(self, value: DequantisedConstant) -> Dequantised:
        number = self.builder.weight(value.name, value.numbers)
        codes = Codes(number, value.shape, value.zero, value.dtype)
        # Constants of int8 are made uint8, as pairs of QuantizeLinear and DequantizeLinear are.
        return Dequantised(codes, np.float32(value.scale), "uint8")

    def not_quantised(self, node: Node, index: int) -> UnsupportedModel:
        value = self.value(node, index)
        return node.fail(
            f"input {node.inputs[index]!r}: expected a quantised tensor, got {describe(value)}; "
            "put QuantizeLinear and DequantizeLinear between (onnxruntime.quantization, QDQ "
            "format, all operators)"
        )

    # What becomes of a node

    def alone(self, node: Node) -> bool:
        """Whether just one node, and no output, reads this node's result."""
        return self.used.get(node.name, 0) == 1 and node.name not in self.outputs

    def kernel(self, name: str, dtype: str) -> str:
        """The type of codes that onnxruntime's integer kernels see for these codes of a QDQ graph.

        On x86 it turns a QuantizeLinear of int8 and the one DequantizeLinear that reads it into
        uint8 (qdq_s8_to_u8.cc), after every operator got a DequantizeLinear of its own. Conv and
        MatMul have kernels for uint8 only.
        """
        maker = self.makers.get(name)
        quantised = maker is not None and maker.operator.endswith("QuantizeLinear")
        if dtype != "int8" or maker is None or not quantised or name in self.outputs:
            return dtype
        if not maker.has(2):
            return dtype
        edges = 0
        for node in self.readers.get(name, ()):
            if "DequantizeLinear" not in node.operator or not node.has(2):
                return dtype
            edges += max(1, self.used.get(node.name, 0) + (node.name in self.outputs))
        return "uint8" if edges == 1 else dtype

    def classify(self, names: Sequence[str], kind: str) -> None:
        """Note the class of nodes; the weakest one that was noted stands."""
        for name in names:
            if "ETD".index(kind) >= "ETD".index(self.kinds.get(name, "E")):
                self.kinds[name] = kind

    def port_in(self, name: str, shape: Shape, codec: Codec) -> int:
        """The value of a graph input, made when its first reader fixes how it is read."""
        known = self.ports.get(name)
        if known is not None:
            if known.codec != codec:
                raise UnsupportedModel(
                    f"{self.model}: input {name!r}: two QuantizeLinear nodes read it with "
                    "different scales or zero points; quantise it once"
                )
            return known.value
        low, high = codec.low - codec.zero_point, codec.high - codec.zero_point
        value = self.builder.input(name, shape, low, high)
        self.ports[name] = Port(name, shape, value, codec)
        return value


Handler: TypeAlias = Callable[[Reader, Node], Sequence[Value]]


def codec(kind: str, dtype: str, quantisation: Quantisation) -> Codec:
    """The codec of a port with these parameters."""
    low, high = CODE_RANGE[quantisation.dtype]
    bits = 0 if kind == "codes" else bits_of(quantisation.scale)
    return Codec(kind, dtype, bits, quantisation.zero, low, high)


def describe(value: Value) -> str:
    """What a value is, for messages."""
    shape = list(value.shape)
    match value:
        case Constant():
            return f"a constant {value.array.dtype}{shape}"
        case Codes():
            return f"codes {value.dtype}{shape}"
        case Dequantised() | DequantisedConstant():
            return f"a dequantised tensor {shape}"
        case FloatInput():
            return f"the float input {value.name!r} {shape}"
        case Integers():
            return f"{value.dtype}{shape} of {value.operator}"
        case Island() | Joined() | Accumulated() | Pair():
            return f"a float tensor {shape} that {' and '.join(value.nodes[:3])!r} make"
