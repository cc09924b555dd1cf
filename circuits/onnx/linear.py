"""Products of matrices: Gemm, MatMul, QGemm, QLinearMatMul, MatMulInteger.

Onnxruntime's kernels take an exact int32 accumulator and requantise it with
`f32(f32(alpha * s_a * s_b) / s_y)` (qgemm.cc, qlinear_matmul.cc; MatMul has no alpha).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proofml.circuits.graph import Bind, Contraction, Shape, Term
from proofml.circuits.onnx.accumulated import accumulated
from proofml.circuits.onnx.arithmetic import with_constant
from proofml.circuits.onnx.builder import broadcast
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.reader import Handler, Reader
from proofml.circuits.onnx.values import (
    Accumulated,
    Constant,
    Dequantised,
    DequantisedConstant,
    Floats,
    Integers,
    Value,
)


@dataclass(frozen=True)
class Operand:
    """A factor: its value, and its scale, for the tensor or for each column of the result."""

    value: int
    shape: Shape
    scale: Floats
    kernel: str


def product(
    reader: Reader, node: Node, left: Operand, right: Operand, transposed: tuple[bool, bool]
) -> tuple[Shape, Contraction]:
    """Shape and contraction of `left @ right`, with the batch axes of ONNX's MatMul."""
    a, b = left.shape, right.shape
    inner_a = max(0, len(a) - (2 if transposed[0] else 1))
    inner_b = max(0, len(b) - (1 if transposed[1] else 2))
    if not a or not b or a[inner_a] != b[inner_b]:
        raise node.fail(f"factors of shapes {list(a)} and {list(b)} do not fit")
    try:
        batch = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError as error:
        raise node.fail(f"factors of shapes {list(a)} and {list(b)} do not broadcast") from error
    rows = [i for i in range(len(a))[-2:] if i != inner_a]
    columns = [i for i in range(len(b))[-2:] if i != inner_b]
    shape = (*batch, *(a[i] for i in rows), *(b[i] for i in columns))
    sums: list[int] = []
    left_axes: dict[int, Bind] = {}
    right_axes: dict[int, Bind] = {}
    for out, length in enumerate(batch):
        i, j = out - (len(batch) - len(a[:-2])), out - (len(batch) - len(b[:-2]))
        in_left, in_right = i >= 0 and a[i] == length, j >= 0 and b[j] == length
        if in_left and in_right and length > 1:
            left_axes[i] = Bind(sum=len(sums))
            right_axes[j] = Bind(out=out, sum=len(sums))
            sums.append(length)
        elif in_left:
            left_axes[i] = Bind(out=out)
        else:
            right_axes[j] = Bind(out=out)
    left_axes.update((i, Bind(out=len(batch))) for i in rows)
    right_axes.update((i, Bind(out=len(shape) - 1)) for i in columns)
    left_axes[inner_a] = right_axes[inner_b] = Bind(sum=len(sums))
    sums.append(a[inner_a])
    contraction = Contraction(
        _kept(reader, left, left_axes),
        _kept(reader, right, right_axes),
        tuple(sums),
        tuple(left_axes[i] for i in sorted(left_axes)),
        tuple(right_axes[i] for i in sorted(right_axes)),
    )
    return shape, contraction


def _kept(reader: Reader, operand: Operand, axes: Mapping[int, Bind]) -> int:
    """The operand without axes of one cell that are broadcast."""
    shape = tuple(n for i, n in enumerate(operand.shape) if i in axes)
    return reader.builder.reshape(operand.value, shape)


def float_operand(reader: Reader, node: Node, index: int, column: int | None) -> Operand:
    """A factor in a QDQ graph; `column` is the axis along which a constant's scale may vary."""
    value = reader.value(node, index)
    if isinstance(value, Dequantised):
        codes = value.codes
        return Operand(codes.value, codes.shape, np.asarray(value.scale), value.kernel)
    if isinstance(value, DequantisedConstant) and value.dtype != "int32":
        if value.scale.ndim and value.axis != column:
            raise node.fail(
                f"weights {node.inputs[index]!r} with a scale for each cell of axis {value.axis}; "
                "expected one for the tensor, or for each column of the result"
            )
        number = reader.builder.weight(value.name, value.numbers)
        return Operand(number, value.shape, value.scale, "uint8")
    raise reader.not_quantised(node, index)


def code_operand(
    reader: Reader, node: Node, places: tuple[int, int, int], column: int | None
) -> Operand:
    """A factor of an integer operator; `places`: inputs of codes, scale (or -1), zero point."""
    at, scale_at, zero_at = places
    value = reader.value(node, at)
    scale = np.ones((), np.float32) if scale_at < 0 else reader.scale(node, scale_at)
    if isinstance(value, Constant) and value.array.dtype.name in ("uint8", "int8"):
        zero = reader.zero_point(node, zero_at, value.array.dtype.name)
        numbers = value.array.astype(np.int64)
        for parameter in (scale, zero):
            if parameter.ndim and (column is None or parameter.size != value.shape[column]):
                raise node.fail(
                    f"{node.inputs[at]!r} {list(value.shape)} with parameters "
                    f"{list(parameter.shape)}; expected one, or one for each column of the result"
                )
        if zero.ndim and column is not None:
            dims = [-1 if i == column else 1 for i in range(numbers.ndim)]
            zero = zero.reshape(dims)
        number = reader.builder.weight(value.name, numbers - zero)
        return Operand(number, value.shape, scale, value.array.dtype.name)
    codes = reader.codes(node, at)
    zero = reader.zero_point(node, zero_at, codes.dtype)
    if zero.ndim or scale.ndim:
        raise node.fail("a scale or zero point for each channel of an activation; expected one")
    codes = reader.builder.centred(codes, int(zero))
    return Operand(codes.value, codes.shape, scale, codes.dtype)


def bias_numbers(reader: Reader, node: Node, index: int, scale: Floats) -> tuple[int, Shape] | None:
    """An int32 bias as a Weight, checked against the accumulator's scale; None where it is float.

    Onnxruntime takes the integers as they are and never looks at the bias' own scale.
    """
    value = reader.value(node, index)
    if isinstance(value, Constant):
        return None
    if not isinstance(value, DequantisedConstant) or value.dtype != "int32":
        raise reader.not_quantised(node, index)
    ratio = value.scale / scale if value.scale.size in (1, scale.size) or scale.size == 1 else None
    if ratio is None or not np.allclose(ratio, 1, rtol=1e-3):
        raise node.fail(
            f"bias {node.inputs[index]!r}: its scale is not the product of the factors' scales, "
            "which integer kernels take for granted; quantise it with that product"
        )
    return reader.builder.weight(value.name, value.numbers), value.shape


def matmul(reader: Reader, node: Node) -> Sequence[Value]:
    """MatMul between dequantised tensors."""
    rank = len(reader.value(node, 1).shape)
    left = float_operand(reader, node, 0, None)
    right = float_operand(reader, node, 1, rank - 1 if rank > 1 else None)
    shape, contraction = product(reader, node, left, right, (False, False))
    return [
        Accumulated(
            reader.builder.affine(shape, (), [contraction]),
            shape,
            node.operator,
            (node.name,),
            channel=(len(shape) - 1,) if right.scale.ndim else (),
            scale=left.scale * right.scale,
            exact=reader.alone(node) and bool(right.kernel),
            kernel="uint8" if left.kernel == "uint8" else "none",
        )
    ]


def gemm(reader: Reader, node: Node) -> Sequence[Value]:
    """Gemm: `alpha A B + beta C`, with C a constant of int32 that is broadcast."""
    transposed = bool(node.only("transA", (0, 1), 0)), bool(node.only("transB", (0, 1), 0))
    alpha, beta = np.float32(node.real("alpha", 1.0)), node.real("beta", 1.0)
    left = float_operand(reader, node, 0, None)
    right = float_operand(reader, node, 1, 0 if transposed[1] else 1)
    if len(left.shape) != 2 or len(right.shape) != 2:
        raise node.fail(f"factors of shapes {left.shape} and {right.shape}; expected matrices")
    if alpha <= 0:
        raise node.fail(f"alpha {alpha}; expected a positive number")
    shape, contraction = product(reader, node, left, right, transposed)
    scale = np.asarray(alpha * left.scale * right.scale)
    terms = []
    chain = None
    if node.has(2):
        if beta != 1.0:
            raise node.fail(f"beta {beta}; expected 1: fold it into C")
        found = bias_numbers(reader, node, 2, scale)
        if found is None:
            chain = reader.constant(node, 2, "C").astype(np.float32)
        else:
            terms.append(Term(1, found[0], broadcast(found[1], shape)))
    value = Accumulated(
        reader.builder.affine(shape, terms, [contraction]),
        shape,
        node.operator,
        (node.name,),
        channel=(1,) if scale.ndim else (),
        scale=scale,
        exact=reader.alone(node) and left.kernel in ("uint8", right.kernel) and right.kernel != "",
        kernel=left.kernel,
    )
    if chain is None:
        return [value]
    return [with_constant(reader, node, value, "add", chain, bias=chain.ndim == 1)]


def qgemm(reader: Reader, node: Node) -> Sequence[Value]:
    """com.microsoft QGemm with an output of 8 bits."""
    transposed = bool(node.only("transA", (0, 1), 0)), bool(node.only("transB", (0, 1), 0))
    left = code_operand(reader, node, (0, 1, 2), None)
    right = code_operand(reader, node, (3, 4, 5), 0 if transposed[1] else 1)
    if len(left.shape) != 2 or len(right.shape) != 2:
        raise node.fail(f"factors of shapes {left.shape} and {right.shape}; expected matrices")
    alpha = np.float32(node.real("alpha", 1.0))
    if alpha <= 0:
        raise node.fail(f"alpha {alpha}; expected a positive number")
    shape, contraction = product(reader, node, left, right, transposed)
    scale = np.asarray(alpha * left.scale * right.scale)
    terms = []
    if node.has(6):
        bias = reader.constant(node, 6, "C")
        if bias.dtype != np.int32:
            raise node.fail(f"C of {bias.dtype}; expected int32")
        number = reader.builder.weight(node.inputs[6], bias.astype(np.int64))
        terms.append(Term(1, number, broadcast(bias.shape, shape)))
    if not node.has(7):
        raise node.fail("a float output; expected y_scale and y_zero_point")
    value = Accumulated(
        reader.builder.affine(shape, terms, [contraction]),
        shape,
        node.operator,
        (node.name,),
        channel=(1,) if scale.ndim else (),
        scale=scale,
    )
    return [accumulated(reader, node, value, reader.quantisation(node, 7, 8))]


def qlinear_matmul(reader: Reader, node: Node) -> Sequence[Value]:
    """QLinearMatMul."""
    rank = len(reader.value(node, 3).shape)
    left = code_operand(reader, node, (0, 1, 2), None)
    right = code_operand(reader, node, (3, 4, 5), rank - 1 if rank > 1 else None)
    shape, contraction = product(reader, node, left, right, (False, False))
    scale = np.asarray(left.scale * right.scale)
    value = Accumulated(
        reader.builder.affine(shape, (), [contraction]),
        shape,
        node.operator,
        (node.name,),
        channel=(len(shape) - 1,) if scale.ndim else (),
        scale=scale,
    )
    return [accumulated(reader, node, value, reader.quantisation(node, 6, 7))]


def matmul_integer(reader: Reader, node: Node) -> Sequence[Value]:
    """MatMulInteger: the int32 accumulator itself."""
    rank = len(reader.value(node, 1).shape)
    left = code_operand(reader, node, (0, -1, 2), None)
    right = code_operand(reader, node, (1, -1, 3), rank - 1 if rank > 1 else None)
    shape, contraction = product(reader, node, left, right, (False, False))
    number = reader.builder.affine(shape, (), [contraction])
    reader.classify([node.name], "E")
    return [Integers(number, shape, "int32", node.operator)]


OPERATORS: Mapping[str, Handler] = {
    "Gemm": gemm,
    "MatMul": matmul,
    "MatMulInteger": matmul_integer,
    "QLinearMatMul": qlinear_matmul,
    "com.microsoft:QGemm": qgemm,
}
