"""The argument of an ArgMax's lookup: how far the stated maximum is above each other value.

With the stated index i of a row, `y_i - y_j - [j < i]` is in [0, high - low] for all j exactly if
y_i is the first maximum. The index is public, so the claim on this argument at a point is made
of claims on y with public weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proofml.circuits.field import babybear, ext5
from proofml.circuits.field.babybear import Array
from proofml.circuits.field.ext5 import ONE, Element
from proofml.circuits.graph import ArgMax, Ints
from proofml.zkml.sumcheck.layout import Layout
from proofml.zkml.sumcheck.reduction import Constant, Part, reduce_claim
from proofml.zkml.sumcheck.weights import Given, Weight, flat


def argmax_parts(layout: Layout, number: int, stated: Ints, weight: Weight) -> Iterator[Part]:
    """The parts of the claim; `stated` holds the indices, `weight` runs over all of y."""
    node = layout.graph.nodes[number]
    assert isinstance(node, ArgMax)
    shape = layout.graph.shape(node.value)
    axis, length = node.axis, shape[node.axis]
    cells = np.moveaxis(flat(weight).reshape(*shape, ext5.DEGREE), axis, -2)
    outer = cells.reshape(-1, length, ext5.DEGREE)
    index = stated.reshape(-1)
    rows = np.arange(len(index))
    chosen = np.zeros_like(outer)
    chosen[rows, index] = babybear.reduce(outer.sum(axis=1, dtype=np.uint64))
    spread = np.moveaxis(chosen.reshape(cells.shape), -2, axis)
    here = Given(shape, np.ascontiguousarray(spread).reshape(-1, ext5.DEGREE))
    yield from reduce_claim(layout, node.value, (here,))
    yield from reduce_claim(layout, node.value, weight, ext5.neg(ONE))
    yield Constant(ext5.neg(_before(outer, index, length)))


def _before(outer: Array, index: Ints, length: int) -> Element:
    """The weight of all cells in front of the stated ones."""
    mask = np.arange(length)[None, :] < index[:, None]
    return ext5.vsum(outer[mask])
