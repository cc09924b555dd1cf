"""Concat and QLinearConcat: parts placed side by side, under common parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from proofml.circuits.axes import AxisMap
from proofml.circuits.graph import Shape, Term
from proofml.circuits.onnx.builder import Builder, along
from proofml.circuits.onnx.island import unary_table
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.reader import Handler, Reader, describe
from proofml.circuits.onnx.rounding import Quantisation
from proofml.circuits.onnx.values import (
    Codes,
    Constant,
    Dequantised,
    DequantisedConstant,
    Island,
    Joined,
    Value,
    normal_axis,
)
from proofml.circuits.unary import VARIABLE


def concatenated(builder: Builder, parts: Sequence[Codes], axis: int) -> Codes:
    """Codes with equal zero points and types, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    total = sum(part.shape[axis] for part in parts)
    terms, start = [], 0
    for part in parts:
        n = part.shape[axis]
        place = AxisMap.of(total, n, ((start + i, i, 1) for i in range(n)))
        terms.append(Term(1, part.value, along(part.shape, axis, place)))
        start += n
    shape = terms[0].view.shape
    return Codes(builder.affine(shape, terms), shape, parts[0].zero, parts[0].dtype)


def concat(reader: Reader, node: Node) -> Sequence[Value]:
    """Concat of constants, of codes, or of dequantised tensors."""
    values = [reader.value(node, index) for index in range(len(node.inputs))]
    axis = _axis(node, [value.shape for value in values])
    if all(isinstance(value, Constant | DequantisedConstant) for value in values):
        arrays = [v.array for v in values if isinstance(v, Constant | DequantisedConstant)]
        return [Constant(np.concatenate(arrays, axis), node.name)]
    if any(isinstance(value, Codes) for value in values):
        parts = [reader.codes(node, index) for index in range(len(values))]
        if len({part.dtype for part in parts}) > 1:
            raise node.fail("codes of two types")
        parts = [reader.builder.centred(part, parts[0].zero) for part in parts]
        reader.classify([node.name], "E")
        return [concatenated(reader.builder, parts, axis)]
    found = []
    for index, value in enumerate(values):
        if not isinstance(value, Dequantised | DequantisedConstant):
            raise node.fail(
                f"input {node.inputs[index]!r}: expected a dequantised tensor, got "
                f"{describe(value)}"
            )
        found.append(reader.dequantised(node, index))
    first = found[0]
    if all(_parameters(part) == _parameters(first) for part in found):
        codes = concatenated(reader.builder, [part.codes for part in found], axis)
        reader.classify([node.name], "E")
        return [Dequantised(codes, first.scale, "")]
    shape = list(first.shape)
    shape[axis] = sum(part.shape[axis] for part in found)
    return [Joined(tuple(found), axis, tuple(shape), (node.name,))]


def qlinear_concat(reader: Reader, node: Node) -> Sequence[Value]:
    """com.microsoft QLinearConcat: parameters of the result, then three inputs for each part."""
    count = (len(node.inputs) - 2) // 3
    if count < 1 or len(node.inputs) != 2 + 3 * count:
        raise node.fail(f"{len(node.inputs)} inputs; expected 2 and 3 for each part")
    into = reader.quantisation(node, 0, 1)
    sources = []
    for at in range(2, 2 + 3 * count, 3):
        codes = reader.codes(node, at)
        source = reader.quantisation(node, at + 1, at + 2, codes.dtype)
        codes = reader.builder.centred(codes, source.zero)
        sources.append(Dequantised(codes, source.scale, codes.dtype))
    axis = _axis(node, [source.shape for source in sources])
    parts = [converted(reader, node, source, into) for source in sources]
    reader.classify([node.name], "T")
    return [concatenated(reader.builder, parts, axis)]


def converted(reader: Reader, node: Node, source: Dequantised, into: Quantisation) -> Codes:
    """The codes under other parameters."""
    if _parameters(source) == (into.scale, into.zero, into.dtype):
        return source.codes
    return unary_table(reader, node, Island(source, VARIABLE, ()), into)


def _parameters(value: Dequantised) -> tuple[np.float32, int, str]:
    return value.scale, value.codes.zero, value.codes.dtype


def _axis(node: Node, shapes: Sequence[Shape]) -> int:
    rank = len(shapes[0])
    axis = normal_axis(node.integer("axis", 0), rank)
    rests = {(*shape[:axis], *shape[(axis or 0) + 1 :]) for shape in shapes}
    if axis is None or len(rests) > 1 or any(len(shape) != rank for shape in shapes):
        raise node.fail(f"shapes {[list(s) for s in shapes[:4]]} do not fit along its axis")
    return axis


OPERATORS: Mapping[str, Handler] = {
    "Concat": concat,
    "com.microsoft:QLinearConcat": qlinear_concat,
}
