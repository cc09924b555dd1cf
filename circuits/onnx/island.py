"""Islands of float functions between DequantizeLinear and QuantizeLinear, as tables of codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.functions import Table
from proofml.circuits.graph import Ints
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.reader import Reader
from proofml.circuits.onnx.rounding import Quantisation, quantise_floats
from proofml.circuits.onnx.values import CODE_RANGE, Codes, Dequantised, Island
from proofml.circuits.unary import VARIABLE, evaluate

#: How far an overriding value may lie from the number that was rounded.
ADMITTED = 0.5 + 2.0**-8


def island_values(island: Island, into: Quantisation) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """All codes of the source, what they become (centred), and the numbers before rounding."""
    codes = island.source.codes
    low, high = CODE_RANGE[codes.dtype]
    raw = np.arange(low, high + 1, dtype=np.int64)
    x = (raw - codes.zero).astype(np.float32) * island.source.scale
    y = evaluate(island.expression, x)
    return raw, quantise_floats(y, into), y.astype(np.float64) / float(into.scale)


def unary_table(reader: Reader, node: Node, island: Island, into: Quantisation) -> Codes:
    """The island as one Step over the codes.

    Raises:
        UnsupportedModel: the function has no value at some code, or an override is not admitted.
    """
    source: Dequantised = island.source
    raw, values, exact = island_values(island, into)
    if np.isnan(exact).any():
        raise node.fail(f"no number at code {raw[np.isnan(exact)][0]} of {source.codes.dtype}")
    overrides = reader.overrides.get(node.name, {})
    for code, value in overrides.items():
        index = code - int(raw[0])
        if (
            not 0 <= index < len(raw)
            or not CODE_RANGE[into.dtype][0] <= value <= CODE_RANGE[into.dtype][1]
        ):
            raise node.fail(f"an override of code {code} by {value}, which are no codes")
        exactly = min(max(float(exact[index]), into.low), into.high)
        if abs(exactly - (value - into.zero)) > ADMITTED:
            raise node.fail(
                f"an override of code {code} by {value}; the exact number is "
                f"{exactly + into.zero:.4f}, and at most {ADMITTED} off is admitted"
            )
        values[index] = value - into.zero
    low, high = reader.builder.ranges[source.codes.value]
    first = int(raw[0]) - source.codes.zero
    kept = values[low - first : high - first + 1]
    number = reader.builder.step(source.codes.value, [Table(low, tuple(kept.tolist()))])
    if island.expression != VARIABLE:  # else it is one division, which nobody rounds otherwise
        reader.islands[node.name] = island, into
    reader.classify([*island.nodes, node.name], "T")
    return Codes(number, source.shape, into.zero, into.dtype)
