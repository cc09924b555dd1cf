"""What a name in the ONNX graph stands for while it is read.

Three kinds of tensors come by: constants, codes (integers with a known zero point), and floats
that are known exactly as a function of codes. The last ones exist only until a QuantizeLinear
turns them into codes again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.graph import Ints, Shape, View
from proofml.circuits.unary import Expression

Floats: TypeAlias = NDArray[np.float32]

#: Element types of codes -> least and largest code.
CODE_RANGE: dict[str, tuple[int, int]] = {"uint8": (0, 255), "int8": (-128, 127)}


@dataclass(frozen=True)
class Constant:
    """A tensor that the model itself holds."""

    array: NDArray[Any]
    name: str

    @property
    def shape(self) -> Shape:
        return self.array.shape


@dataclass(frozen=True)
class Codes:
    """Integers of 8 bits: `code = centred + zero`; `value` numbers the centred ones."""

    value: int
    shape: Shape
    zero: int
    dtype: str

    @property
    def low(self) -> int:
        """Least centred code."""
        return CODE_RANGE[self.dtype][0] - self.zero

    @property
    def high(self) -> int:
        return CODE_RANGE[self.dtype][1] - self.zero


@dataclass(frozen=True)
class Reshaped:
    """A movement: the same cells in the same order under another shape."""

    shape: Shape


@dataclass(frozen=True)
class Moved:
    """A movement: each cell of the result is one cell of the source, or `fill` where it is none.

    `fill` is a float for floats, a code for codes; None where every cell has a source.
    """

    view: View
    fill: float | None = None

    @property
    def shape(self) -> Shape:
        return self.view.shape


@dataclass(frozen=True)
class Window:
    """One pooled axis: kernel, stride, dilation, padding in front, and the result's length."""

    kernel: int
    stride: int
    dilation: int
    before: int
    length: int


@dataclass(frozen=True)
class Pooled:
    """A movement that chooses: the maximum over windows along some axes; it follows rounding."""

    shape: Shape
    windows: tuple[tuple[int, Window], ...]


Move: TypeAlias = Reshaped | Moved | Pooled


@dataclass(frozen=True)
class Dequantised:
    """`scale * (code - zero)`, a DequantizeLinear of 8-bit codes; centred on its own zero point.

    `kernel` is the type of codes that an integer kernel behind it would get (`reader`): not always
    that of the file. Empty where onnxruntime finds no DequantizeLinear in front of the operator.
    """

    codes: Codes
    scale: np.float32
    kernel: str

    @property
    def shape(self) -> Shape:
        return self.codes.shape


@dataclass(frozen=True)
class DequantisedConstant:
    """A DequantizeLinear of a constant.

    Attributes:
        numbers: codes minus zero points, int64.
        scale: float32, of rank 0, or of rank 1 along `axis`.
        zero: the zero point, where there is one for the whole tensor.
        dtype: of the codes.
    """

    numbers: Ints
    scale: Floats
    axis: int
    zero: int
    dtype: str
    name: str

    @property
    def shape(self) -> Shape:
        return self.numbers.shape

    @property
    def array(self) -> Floats:
        """As floats: what DequantizeLinear computes."""
        scale = self.scale
        if scale.ndim:
            dims = [1] * self.numbers.ndim
            dims[self.axis] = -1
            scale = scale.reshape(dims)
        return self.numbers.astype(np.float32) * scale


@dataclass(frozen=True)
class FloatInput:
    """A float input of the graph, moved about; only a QuantizeLinear can read it."""

    name: str
    shape: Shape
    moves: tuple[Move, ...] = ()


@dataclass(frozen=True)
class Island:
    """A float function of dequantised codes, cell by cell."""

    source: Dequantised
    expression: Expression
    nodes: tuple[str, ...]

    @property
    def shape(self) -> Shape:
        return self.source.shape


@dataclass(frozen=True)
class Arithmetic:
    """One float32 operation on an accumulator: `mul`, `div`, `add` by a number per channel.

    `number` is of rank 0, or flat over the channels' axes in row-major order.
    """

    operator: str
    number: Floats


@dataclass(frozen=True)
class Accumulated:
    """An exact integer accumulator and what was done to it in float.

    Attributes:
        value: the Affine node; `channel` are its axes along which numbers vary.
        scale: of the accumulator, as a float32 for the tensor or flat over the channels.
        count: of cells in a mean, 1 for others.
        rounding: "requant" (one product by the ratio of the scales, as onnxruntime's integer
            kernels do it), "float" (the operations of `chain`, then a QuantizeLinear), or
            "offset" (the operations, then the zero point is added before rounding).
        bias: in float, flat over the channels, to be rounded to integers if there is a kernel.
        low, high: of Relu and Clip, in float.
        after: movements between here and the QuantizeLinear, of which `own` are no nodes.
        exact: whether onnxruntime has a kernel that computes it so ("E"), or not ("D").
        sums: whether float32 sums that onnxruntime makes instead of integer ones are exact.
        kernel: type of codes that an integer kernel gets and makes; empty for any. Where the
            QuantizeLinear makes another one, there is no kernel.
    """

    value: int
    shape: Shape
    operator: str
    nodes: tuple[str, ...]
    channel: tuple[int, ...] = ()
    scale: Floats = field(default_factory=lambda: np.ones((), np.float32))
    count: int = 1
    rounding: str = "requant"
    chain: tuple[Arithmetic, ...] = ()
    bias: Floats | None = None
    low: float = -np.inf
    high: float = np.inf
    after: tuple[Move, ...] = ()
    own: int = 0
    exact: bool = True
    sums: bool = True
    kernel: str = ""


@dataclass(frozen=True)
class Pair:
    """A sum or product of two dequantised tensors (broadcast to one shape already).

    Attributes:
        operator: "add" or "mul".
        form: how onnxruntime's kernel takes the operands (`functions.Pair`).
        fused: whether there is such a kernel; else it is float32 arithmetic.
    """

    operator: str
    left: Dequantised
    right: Dequantised
    form: str
    shape: Shape
    nodes: tuple[str, ...]
    low: float = -np.inf
    high: float = np.inf
    after: tuple[Move, ...] = ()
    fused: bool = True


@dataclass(frozen=True)
class Joined:
    """A Concat of dequantised tensors with their own scales, before its QuantizeLinear."""

    parts: tuple[Dequantised, ...]
    axis: int
    shape: Shape
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Integers:
    """What is no code: int32 accumulators of MatMulInteger and ConvInteger, ArgMax's indices."""

    value: int
    shape: Shape
    dtype: str
    operator: str


Pending: TypeAlias = Island | Accumulated | Pair | Joined
Value: TypeAlias = (
    Constant | Codes | Dequantised | DequantisedConstant | FloatInput | Pending | Integers
)


def normal_axis(axis: int, rank: int) -> int | None:
    """The axis counted from the front; None where there is none."""
    return axis + rank if -rank <= axis < 0 else axis if 0 <= axis < rank else None


def move_array(array: NDArray[Any], move: Move) -> NDArray[Any]:
    """A movement of a constant."""
    if isinstance(move, Reshaped):
        return array.reshape(move.shape)
    if isinstance(move, Pooled):
        raise TypeError("a constant is not pooled")
    index = move.view.apply(np.arange(1, array.size + 1, dtype=np.int64).reshape(array.shape))
    fill = np.array([0 if move.fill is None else move.fill]).astype(array.dtype)
    result: NDArray[Any] = np.concatenate([fill, array.reshape(-1)])[index]
    return result
