"""Extensions of public tables at a point, which the verifier computes by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proofml.circuits.field import ext5
from proofml.circuits.field.babybear import Array
from proofml.circuits.field.ext5 import Element
from proofml.circuits.graph import Ints
from proofml.circuits.tables import Table
from proofml.zkml.sumcheck.engine import contract, contract_ext, eq_table


def columns_at(table: Table, z: Sequence[Element]) -> tuple[Element, Element, Element]:
    """Extensions of the columns id, c1 and c2, zero beyond the rows, at z.

    eq(z, .) is a product of two tables of about the square root of its size, so a column costs
    one small product of matrices of integers and as many products in F.
    """
    low = len(z) // 2
    lows, highs = eq_table(z[:low]), eq_table(z[low:])
    used = -(-table.rows >> low)
    stacked = np.zeros((3, used << low), np.int64)
    stacked[:, : table.rows] = [table.id_of, table.c1, table.c2]
    found = []
    for column in stacked:
        sums = contract(column.reshape(used, 1 << low, 1), lows)  # [used, 1, 5]
        found.append(_dot(sums.reshape(1, used, 1, ext5.DEGREE), highs[:used]))
    return found[0], found[1], found[2]


def _dot(values: Array, weights: Array) -> Element:
    return ext5.element(contract_ext(values, weights).reshape(-1))


def ids_at(ids: Ints, shape: Sequence[int], points: Sequence[Array]) -> Element:
    """`sum ids[k] prod eq` over the cells k of the channel axes, of the given lengths."""
    if not shape:
        return ext5.from_int(int(ids[0]))
    weights = ext5.vector([ext5.ONE])
    for values in points:
        weights = ext5.vmul(weights[:, None, :], values[None, :, :]).reshape(-1, ext5.DEGREE)
    return ext5.element(contract(ids.reshape(1, -1, 1), weights).reshape(-1))
