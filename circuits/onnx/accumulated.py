"""Accumulators of contractions and sums, from integers to codes.

Onnxruntime's integer kernels (MlasRequantizeOutput) multiply the int32 accumulator, converted to
float32, by one ratio of scales; where no such kernel is used, each float32 operation is done
after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.axes import AxisMap
from proofml.circuits.functions import Function, Requant, bits_of
from proofml.circuits.graph import Affine, Ints, Term, View
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.reader import Reader
from proofml.circuits.onnx.rounding import Quantisation, clipped, quantised_fill, steps
from proofml.circuits.onnx.values import Accumulated, Arithmetic, Codes

#: Steps for channels that are written out: thresholds, 256 for each channel.
MAX_CHANNELS = 4096


def accumulated(reader: Reader, node: Node, value: Accumulated, into: Quantisation) -> Codes:
    """Codes of an accumulator: one Requant for each channel, or Steps where floats came between.

    Raises:
        UnsupportedModel: scales whose ratio is no normal float32, or too many channels.
    """
    low, high = clipped(value.low, value.high, into)
    redundant = (low, high) == (into.low, into.high)
    exact = value.exact and value.kernel in ("", into.kernel)
    exact = exact and (redundant or value.rounding == "float")
    if value.bias is not None:
        # The rounding comes early, and stays where no kernel is found in the end; but behind a
        # MatMul of more than two axes a Reshape stands between the Gemm made of it and the Relu.
        direct = value.low == -np.inf and value.high == np.inf
        rounded = direct or value.operator != "MatMul" or len(value.shape) == 2
        value = _with_bias(reader, node, value) if rounded else unfused(value)
    if value.rounding == "offset" and not exact:
        value = replace(value, rounding="float")  # AveragePool in float
    if value.rounding == "requant":
        functions = _requants(node, value, into, low, high)
    else:
        bounds = reader.builder.ranges[value.value]
        count = max((step.number.size for step in value.chain), default=1)
        if count > MAX_CHANNELS:
            raise node.fail(f"{count} channels, each with steps; expected {MAX_CHANNELS} at most")
        functions = [
            steps(_chain(value, index, into, low, high), *bounds) for index in range(count)
        ]
    channel = value.channel if len(functions) > 1 else ()
    number = reader.builder.step(value.value, functions, channel)
    codes = Codes(number, reader.builder.shape(number), into.zero, into.dtype)
    for move in value.after:
        codes = reader.builder.move(codes, quantised_fill(move, into))
    reader.classify([*value.nodes, node.name], "E" if exact and value.sums else "D")
    return codes


def unfused(value: Accumulated) -> Accumulated:
    """The same with its bias as float32 arithmetic."""
    if value.bias is None:
        return value
    chain = (Arithmetic("mul", value.scale), Arithmetic("add", value.bias))
    return replace(value, bias=None, chain=chain, rounding="float", exact=False)


def _with_bias(reader: Reader, node: Node, value: Accumulated) -> Accumulated:
    """The float bias rounded to multiples of the accumulator's scale, and added to it."""
    assert value.bias is not None
    builder = reader.builder
    numbers = np.rint(value.bias / value.scale.reshape(-1)).astype(np.float64)
    if not (np.abs(numbers) < 2**31).all():
        raise node.fail("a bias beyond int32 in units of the factors' scales")
    affine = builder.nodes[value.value]
    assert isinstance(affine, Affine)
    axes = value.channel if numbers.size > 1 else ()
    dims = tuple(affine.shape[axis] for axis in axes)
    weight = builder.weight(f"{value.nodes[0]}:bias", numbers.astype(np.int64).reshape(dims))
    view = View(affine.shape, tuple((a, AxisMap.identity(affine.shape[a])) for a in axes))
    terms = (*affine.terms, Term(1, weight, view))
    number = builder.affine(affine.shape, terms, affine.contractions)
    return replace(value, value=number, bias=None)


def _requants(
    node: Node, value: Accumulated, into: Quantisation, low: int, high: int
) -> list[Function]:
    with np.errstate(all="ignore"):
        # Of a mean (QLinearGlobalAveragePool, MLAS qlgavgpool.cpp): the cells count below.
        below = into.scale * np.float32(value.count)
        ratios: NDArray[np.float32] = np.asarray(value.scale / below).reshape(-1)
    wrong = ratios[~np.isfinite(ratios) | (ratios < np.finfo(np.float32).tiny)]
    if wrong.size:
        raise node.fail(f"scales whose ratio is {wrong[0]}; expected a normal float32")
    known = {ratio: Requant(bits_of(ratio), low, high) for ratio in set(ratios.tolist())}
    return [known[ratio] for ratio in ratios.tolist()]


def _chain(
    value: Accumulated, index: int, into: Quantisation, low: int, high: int
) -> Callable[[Ints], Ints]:
    """The float32 operations of one channel, from the accumulator to centred codes."""
    numbers = [(s.operator, s.number.reshape(-1)[index % s.number.size]) for s in value.chain]
    offset = np.float32(into.zero) if value.rounding == "offset" else np.float32(0)

    def function(a: Ints) -> Ints:
        x = a.astype(np.float32)
        for operator, number in numbers:
            if operator == "mul":
                x = x * number
            elif operator == "div":
                x = x / number
            else:
                x = x + number
        scaled = x / into.scale + offset
        least, most = np.float32(low) + offset, np.float32(high) + offset
        result: Ints = (np.rint(np.clip(scaled, least, most)) - offset).astype(np.int64)
        return result

    return function
