"""Operators whose result is constant for fixed shapes: what exporters put before a Reshape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from proofml.circuits.graph import MAX_CELLS, cells
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.reader import Handler, Reader
from proofml.circuits.onnx.values import Constant, Value, normal_axis


def constant(reader: Reader, node: Node) -> Sequence[Value]:
    """Constant, by a tensor, a number or a list of numbers."""
    array = node.tensor("value")
    if array is None:
        for name, dtype in (("value_float", np.float32), ("value_int", np.int64)):
            if node.given(name):
                number = node.real(name, 0.0) if dtype == np.float32 else node.integer(name, 0)
                array = np.array(number, dtype)
        if node.given("value_floats"):
            array = np.array(node.reals("value_floats"), np.float32)
        if node.given("value_ints"):
            array = np.array(node.integers("value_ints"), np.int64)
    if array is None:
        raise node.fail("expected a tensor or numbers")
    return [Constant(array, node.name)]


def shape(reader: Reader, node: Node) -> Sequence[Value]:
    found = reader.value(node, 0).shape
    part = found[slice(node.integer("start", 0), node.integer("end", len(found)))]
    return [Constant(np.array(part, np.int64), node.name)]


def gather(reader: Reader, node: Node) -> Sequence[Value]:
    """Gather of constants, by constant indices."""
    array, indices = reader.constant(node, 0, "the data"), reader.constant(node, 1, "the indices")
    axis = normal_axis(node.integer("axis", 0), array.ndim)
    if axis is None or indices.dtype.kind not in "iu":
        raise node.fail(f"axis {node.integer('axis', 0)} of {array.ndim} by {indices.dtype}")
    n = array.shape[axis]
    if indices.size and not (-n <= indices.min() and indices.max() < n):
        raise node.fail(f"indices beyond the {n} cells of axis {axis}")
    if cells(array.shape) // max(1, n) * max(1, indices.size) > MAX_CELLS:
        raise node.fail(f"a result of more than {MAX_CELLS} cells")
    return [Constant(np.take(array, indices, axis), node.name)]


def constant_of_shape(reader: Reader, node: Node) -> Sequence[Value]:
    wanted = [int(n) for n in reader.constant(node, 0, "the shape").reshape(-1)]
    value = node.tensor("value")
    if any(n < 0 for n in wanted) or cells(wanted) > MAX_CELLS:
        raise node.fail(f"a shape {wanted[:8]}; expected {MAX_CELLS} cells at most")
    number = np.zeros(1, np.float32) if value is None else value.reshape(-1)[:1]
    return [Constant(np.full(wanted, number[0], number.dtype), node.name)]


OPERATORS: Mapping[str, Handler] = {
    "Constant": constant,
    "Shape": shape,
    "Gather": gather,
    "ConstantOfShape": constant_of_shape,
}
