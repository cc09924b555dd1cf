"""ReduceMean, ReduceSum and ArgMax.

Onnxruntime has no integer kernels for the sums: it adds dequantised floats, so they are class D
unless the scale's bits leave room for every sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from proofml.circuits.axes import AxisMap
from proofml.circuits.graph import Term, View
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.pool import sums_exactly
from proofml.circuits.onnx.reader import Handler, Reader
from proofml.circuits.onnx.values import (
    Accumulated,
    Arithmetic,
    Codes,
    Integers,
    Reshaped,
    Value,
    normal_axis,
)


def reduce(reader: Reader, node: Node) -> Sequence[Value]:
    """ReduceMean and ReduceSum of a dequantised tensor."""
    x = reader.dequantised(node, 0)
    rank = len(x.shape)
    wanted = reader.numbers(node, 1, "axes")
    if not wanted:
        if node.integer("noop_with_empty_axes", 0):
            return [x]
        wanted = tuple(range(rank))
    axes = {normal_axis(axis, rank) for axis in wanted}
    if None in axes:
        raise node.fail(f"axes {list(wanted)} for rank {rank}")
    kept = [axis for axis in range(rank) if axis not in axes]
    shape = tuple(x.shape[axis] for axis in kept)
    entries = tuple(
        (kept.index(i), AxisMap.identity(n)) if i in kept else (-1, AxisMap.total(n))
        for i, n in enumerate(x.shape)
    )
    number = reader.builder.affine(shape, [Term(1, x.codes.value, View(shape, entries))])
    count = math.prod(x.shape) // math.prod(shape)
    result = shape
    if node.only("keepdims", (0, 1), 1):
        result = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    chain = [Arithmetic("mul", np.asarray(x.scale))]
    if node.operator == "ReduceMean":
        chain.append(Arithmetic("div", np.asarray(count, np.float32)))
    return [
        Accumulated(
            number,
            result,
            node.operator,
            (node.name,),
            scale=np.asarray(x.scale),
            rounding="float",
            chain=tuple(chain),
            after=() if result == shape else (Reshaped(result),),
            own=int(result != shape),
            sums=sums_exactly(x.scale, count),
        )
    ]


def arg_max(reader: Reader, node: Node) -> Sequence[Value]:
    """ArgMax, the first of equal ones; its result must be a graph output."""
    node.only("select_last_index", (0,), 0)
    if node.name not in reader.outputs or reader.used.get(node.name, 0):
        raise node.fail("its result is read by a node; expected a graph output only")
    value = reader.value(node, 0)
    codes = value if isinstance(value, Codes) else reader.dequantised(node, 0).codes
    axis = normal_axis(node.integer("axis", 0), len(codes.shape))
    if axis is None:
        raise node.fail(f"axis {node.integer('axis', 0)} for rank {len(codes.shape)}")
    number = codes.value
    if node.only("keepdims", (0, 1), 1):
        shape = (*codes.shape[:axis], 1, *codes.shape[axis:])
        number, axis = reader.builder.reshape(number, shape), axis + 1
    number = reader.builder.arg_max(number, axis)
    reader.classify([node.name], "E")
    return [Integers(number, reader.builder.shape(number), "int64", node.operator)]


OPERATORS: Mapping[str, Handler] = {"ReduceMean": reduce, "ReduceSum": reduce, "ArgMax": arg_max}
