"""Claims on values become claims on committed columns: what prover and verifier do alike.

A value of the graph is a column, or a linear expression of values. `reduce_claim` walks down
until it meets columns (claims to be opened), public tensors and constants (which the
verifier evaluates by itself) and contractions (whose value is proven by the batched sumcheck).
The order of the parts is that of the graph, so both sides list the same claims.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from proofml.circuits.field import babybear, ext5
from proofml.circuits.field.babybear import Array
from proofml.circuits.field.ext5 import ONE, Element, Point
from proofml.circuits.graph import ONES, Affine, Bind, Contraction, Maximum, Reshape, Step
from proofml.zkml.sumcheck.layout import Layout, ceil_log2
from proofml.zkml.sumcheck.weights import (
    AtPoint,
    Factor,
    Given,
    Weight,
    pull_reshape,
    pull_view,
    total,
)


@dataclass(frozen=True, eq=False)
class OnColumn:
    """`coefficient * <weight, column of value>`: the prover sends the inner product."""

    coefficient: Element
    value: int
    weight: Weight


@dataclass(frozen=True, eq=False)
class OnPublic:
    """The same where the verifier has the tensor."""

    coefficient: Element
    value: int
    weight: Weight


@dataclass(frozen=True, eq=False)
class Constant:
    """A number that needs nobody."""

    coefficient: Element


@dataclass(frozen=True, eq=False)
class OnContraction:
    """`coefficient * <weight, contraction>`: the prover sends the inner product."""

    coefficient: Element
    contraction: Contraction
    weight: Weight


Part: TypeAlias = OnColumn | OnPublic | Constant | OnContraction


def reduce_claim(
    layout: Layout, value: int, weight: Weight, coefficient: Element = ONE
) -> Iterator[Part]:
    """The parts whose sum is `coefficient * <weight, value>`."""
    if value in layout.public:
        yield OnPublic(coefficient, value, weight)
        return
    node = layout.graph.nodes[value]
    match node:
        case Affine():
            for term in node.terms:
                scale, pulled = pull_view(term.view, weight)
                scaled = ext5.scale(ext5.mul(coefficient, scale), term.coefficient)
                if term.value == ONES:
                    yield Constant(ext5.mul(scaled, total(pulled)))
                else:
                    yield from reduce_claim(layout, term.value, pulled, scaled)
            for contraction in node.contractions:
                yield OnContraction(coefficient, contraction, weight)
        case Reshape():
            scale, pulled = pull_reshape(layout.graph.shape(node.value), weight)
            scaled = ext5.mul(coefficient, scale)
            yield from reduce_claim(layout, node.value, pulled, scaled)
        case Maximum():
            yield from reduce_claim(layout, node.right, weight, coefficient)
            yield OnColumn(coefficient, value, weight)
        case _:
            yield OnColumn(coefficient, value, weight)


def argument_parts(layout: Layout, number: int, weight: Weight) -> Iterator[Part]:
    """The parts of a claim on the argument of a Step's or a Maximum's lookup."""
    node = layout.graph.nodes[number]
    if isinstance(node, Maximum):
        yield from reduce_claim(layout, node.left, weight)
        yield from reduce_claim(layout, node.right, weight, ext5.neg(ONE))
    else:
        assert isinstance(node, Step)
        yield from reduce_claim(layout, node.value, weight)


@dataclass(frozen=True)
class Sums:
    """Summed axes of a contraction, padded: the index of its sumcheck."""

    lengths: tuple[int, ...]

    @property
    def logs(self) -> tuple[int, ...]:
        return tuple(ceil_log2(n) for n in self.lengths)

    @property
    def rounds(self) -> int:
        return sum(self.logs)

    def split(self, point: Point) -> list[Point]:
        """The coordinates of each summed axis; the last axis has the lowest."""
        found: list[Point] = []
        at = 0
        for log in reversed(self.logs):
            found.append(tuple(point[at : at + log]))
            at += log
        return found[::-1]


def operand_weight(
    axes: tuple[Bind, ...], shape: tuple[int, ...], out: Weight, sums: list[Factor]
) -> Weight:
    """Weights of a claim on one operand, from those on the result and on the summed axes.

    An axis that is bound to both gets, at index i, the sum over all pairs (o, s) that lead to
    it of out[o] sums[s]: a window, or the pairs (i, i) of a group.
    """
    found: list[Factor] = []
    for bind, length in zip(axes, shape, strict=True):
        if bind.sum < 0:
            found.append(out[bind.out])
        elif bind.out < 0:
            found.append(sums[bind.sum])
        elif bind.window is None:
            both = ext5.vmul(out[bind.out].values, sums[bind.sum].values)
            found.append(Given((length,), both))
        else:
            found.append(Given((length,), window_weights(bind, length, out, sums)))
    return tuple(found)


def window_weights(bind: Bind, length: int, out: Weight, sums: list[Factor]) -> Array:
    """`A[i] = sum over o, s with o * stride + s * dilation + offset = i of out[o] sums[s]`."""
    assert bind.window is not None
    stride, dilation, offset = bind.window
    outer, inner = out[bind.out].values, sums[bind.sum].values
    result = np.zeros((length, ext5.DEGREE), np.uint64)
    for s in range(len(inner)):
        index = np.arange(len(outer)) * stride + s * dilation + offset
        inside = (index >= 0) & (index < length)
        products = ext5.vmul(outer[inside], inner[s][None, :])
        result[index[inside]] = babybear.add(result[index[inside]], products)
    return result


def sum_factors(sums: Sums, point: Point) -> list[Factor]:
    """The factors of the summed axes at the end of the sumcheck."""
    return [AtPoint(tuple(z), n) for z, n in zip(sums.split(point), sums.lengths, strict=True)]
