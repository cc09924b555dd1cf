"""Sums and products of two quantised tensors with scales of their own.

Both become one Step over `256 * left + right`, whose function repeats onnxruntime's kernels
(`functions.Pair`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from proofml.circuits.functions import Pair as PairFunction
from proofml.circuits.functions import bits_of
from proofml.circuits.graph import ONES, Shape, Term, View
from proofml.circuits.onnx.builder import broadcast
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.reader import Handler, Reader
from proofml.circuits.onnx.rounding import Quantisation, clipped, quantised_fill
from proofml.circuits.onnx.values import CODE_RANGE, Codes, Dequantised, Pair, Value

#: Ratios of scales outside are refused: float32 would lose bits, or onnxruntime overflow.
RATIOS = (2.0**-100, 2.0**100)


def pending(
    reader: Reader, node: Node, operator: str, left: Dequantised, right: Dequantised
) -> Pair:
    """The sum or product, before it is quantised."""
    try:
        shape = np.broadcast_shapes(left.shape, right.shape)
    except ValueError as error:
        raise node.fail(
            f"operands {list(left.shape)} and {list(right.shape)} do not broadcast"
        ) from error
    form = kernel_form(operator, left.shape, right.shape)
    fused = reader.alone(node) and left.kernel == right.kernel != ""
    return Pair(operator, left, right, form, shape, (node.name,), fused=fused)


def kernel_form(operator: str, left: Shape, right: Shape) -> str:
    """How onnxruntime hands the operands to its kernel: both in full, or one of them as one cell.

    Its broadcaster takes the innermost axes along which both advance, or just one, as a span
    (element_wise_ops.h); a span of one cell counts as the left one.
    """
    if operator == "mul":
        return "full"  # it makes no difference there
    rank = max(len(left), len(right))
    a, b = (1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right
    for n, m in zip(reversed(a), reversed(b), strict=True):
        if n > 1 and m > 1:
            return "full"
        if n > 1:
            return "right"
        if m > 1:
            return "left"
    return "left"


def paired(reader: Reader, node: Node, value: Pair, into: Quantisation) -> Codes:
    """Codes of a sum or product.

    Raises:
        UnsupportedModel: scales that are too far apart.
    """
    low, high = clipped(value.low, value.high, into)
    fused = value.fused and (low, high) == (into.low, into.high)
    fused = fused and value.left.kernel == into.kernel
    ratios = _ratios(value, into)
    if not all(RATIOS[0] <= ratio <= RATIOS[1] for ratio in ratios):
        raise node.fail(f"scales that are too far apart: ratios {ratios}")
    # The kernel's codes, and everybody's, count from its type's least one.
    base = CODE_RANGE[value.left.kernel if fused else "uint8"][0]

    def parameters(scale: np.float32, zero: int, dtype: str) -> tuple[int, int]:
        return bits_of(scale), zero - CODE_RANGE[dtype][0] + base

    left, right = value.left, value.right
    function = PairFunction(
        value.operator,
        value.form if fused else "float",
        base,
        parameters(left.scale, left.codes.zero, left.codes.dtype),
        parameters(right.scale, right.codes.zero, right.codes.dtype),
        parameters(into.scale, into.zero, into.dtype),
        low,
        high,
    )
    shape = np.broadcast_shapes(left.shape, right.shape)
    offset = -256 * left.codes.low - right.codes.low
    builder = reader.builder
    argument = builder.affine(
        shape,
        [
            Term(256, left.codes.value, broadcast(left.shape, shape)),
            Term(1, right.codes.value, broadcast(right.shape, shape)),
            *([Term(offset, ONES, View(shape, ()))] if offset else []),
        ],
    )
    number = builder.step(argument, [function])
    codes = Codes(number, shape, into.zero, into.dtype)
    for move in value.after:
        codes = builder.move(codes, quantised_fill(move, into))
    reader.classify([*value.nodes, node.name], "T")
    return codes


def _ratios(value: Pair, into: Quantisation) -> list[float]:
    left, right, out = float(value.left.scale), float(value.right.scale), float(into.scale)
    if value.operator == "mul":
        return [left * right / out, left * right]
    return [left / out, right / out]


def _qlinear(operator: str) -> Handler:
    def handler(reader: Reader, node: Node) -> Sequence[Value]:
        operands = []
        for at in (0, 3):
            codes = reader.codes(node, at)
            source = reader.quantisation(node, at + 1, at + 2, codes.dtype)
            codes = reader.builder.centred(codes, source.zero)
            operands.append(Dequantised(codes, source.scale, codes.dtype))
        left, right = operands
        shape = np.broadcast_shapes(left.shape, right.shape)
        form = kernel_form(operator, left.shape, right.shape)
        pair = Pair(operator, left, right, form, shape, (node.name,))
        return [paired(reader, node, pair, reader.quantisation(node, 6, 7, left.codes.dtype))]

    return handler


OPERATORS: Mapping[str, Handler] = {
    "com.microsoft:QLinearAdd": _qlinear("add"),
    "com.microsoft:QLinearMul": _qlinear("mul"),
}
