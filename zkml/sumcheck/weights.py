"""Weights of linear claims: products of factors, one for each run of axes.

A claim says `sum_i v[i] w[i] = value` about a tensor v. Its weight w is a product over the axes
of the tensor, or over runs of neighbouring axes (`AtPoint`, `Given`), and never reaches
a cell outside of the tensor. So the multilinear extension of the padded w at any point is a
product of small sums, which is all that a verifier needs of it.

A claim on a view becomes a claim on its source by `pull_view` and `pull_reshape`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from proofml.circuits.axes import AxisMap
from proofml.circuits.field import babybear, ext5
from proofml.circuits.field.babybear import Array
from proofml.circuits.field.ext5 import ONE, Element, Point
from proofml.circuits.graph import Ints, Shape, View
from proofml.zkml.sumcheck.engine import contract, contract_ext, eq_table


@dataclass(frozen=True, eq=False)
class AtPoint:
    """`eq(z, i)` for i < length: the weight of an evaluation of the extension, cut to the axis."""

    z: tuple[Element, ...]
    length: int

    @property
    def shape(self) -> Shape:
        return (self.length,)

    @cached_property
    def values(self) -> Array:
        return eq_table(self.z)[: self.length]

    def total(self) -> Element:
        return ext5.prefix(self.length, [(ext5.sub(ONE, c), c) for c in self.z])

    def extension(self, rho: Sequence[Point]) -> Element:
        """At rho (one point an axis), in O(log length)."""
        pairs = zip(self.z, rho[0], strict=True)
        return ext5.prefix(
            self.length,
            [(ext5.mul(ext5.sub(ONE, a), ext5.sub(ONE, b)), ext5.mul(a, b)) for a, b in pairs],
        )


@dataclass(frozen=True, eq=False)
class Given:
    """Weights written out over one axis or a run of axes: uint64 [product of shape, 5]."""

    shape: Shape
    values: Array

    def total(self) -> Element:
        return ext5.vsum(self.values)

    def extension(self, rho: Sequence[Point]) -> Element:
        values = self.values
        for length, point in reversed(list(zip(self.shape, rho, strict=True))):
            table = eq_table(point)[:length]
            values = contract_ext(values.reshape(-1, length, 1, ext5.DEGREE), table)
        return ext5.element(values.reshape(-1))


Factor: TypeAlias = AtPoint | Given
Weight: TypeAlias = tuple[Factor, ...]


def at_point(points: Sequence[Point], shape: Shape) -> Weight:
    """The weight of an evaluation at one point an axis."""
    return tuple(AtPoint(tuple(z), n) for z, n in zip(points, shape, strict=True))


def shape_of(weight: Weight) -> Shape:
    return tuple(n for factor in weight for n in factor.shape)


def total(weight: Weight) -> Element:
    """The sum of all weights: the claim on a tensor of ones."""
    return ext5.product(factor.total() for factor in weight)


def extension(weight: Weight, rho: Sequence[Point]) -> Element:
    """The extension of the padded weights at rho, one point an axis."""
    result, axis = ONE, 0
    for factor in weight:
        rank = len(factor.shape)
        result = ext5.mul(result, factor.extension(rho[axis : axis + rank]))
        axis += rank
    return result


def flat(weight: Weight) -> Array:
    """All weights in row-major order, uint64 [cells, 5]."""
    result = ext5.vector([ONE])
    for factor in weight:
        result = ext5.vmul(result[:, None, :], factor.values[None, :, :]).reshape(-1, ext5.DEGREE)
    return result


#: Numbers that the kernels contract at once.
_LANES = 16


def inner(weight: Weight, values: Ints) -> Element:
    """`sum_i weight[i] values[i]` for an integer tensor; numbers of 32 bits.

    The factor that leaves the fewest sums is contracted first: the rest is over elements of F.
    """
    if not weight:
        return ext5.from_int(int(values.reshape(-1)[0]))
    factors = [factor.values for factor in weight]
    sums: Array | None = None
    while factors:
        lengths = [len(factor) for factor in factors]
        at = max(range(len(factors)), key=lambda i: _gain(lengths, i))
        a, n, c = math.prod(lengths[:at]), lengths[at], math.prod(lengths[at + 1 :])
        if sums is None:
            sums = contract(values.reshape(a, n, c), factors.pop(at))
        else:
            sums = contract_ext(sums.reshape(a, n, c, ext5.DEGREE), factors.pop(at))
    assert sums is not None
    return ext5.element(sums.reshape(-1))


def _gain(lengths: list[int], at: int) -> int:
    """How much one contraction saves: its length, less where lanes would stay empty."""
    after = math.prod(lengths[at + 1 :])
    return lengths[at] * (_LANES if after == 1 else min(after, _LANES))


def pull_axis(axis: AxisMap, values: Array) -> Array:
    """Weights of the source from weights of the view, along one axis: the transposed map."""
    out, into, coefficient = axis.arrays
    result = np.zeros((axis.n_in, *values.shape[1:]), np.uint64)
    # Coefficients are below 2^20 and an axis has at most 2^24 entries only where they are 1.
    spread = coefficient.astype(np.uint64).reshape(-1, *(1,) * (values.ndim - 1))
    np.add.at(result, into, babybear.reduce(values[out] * spread))
    return babybear.reduce(result)


def pull_view(view: View, weight: Weight) -> tuple[Element, Weight]:
    """The claim on `view(x)` as a claim on x: a factor for broadcast axes, and the weight."""
    if not view.axes:  # a single cell: no axis could carry a weight, so it becomes the factor
        return total(weight), ()
    if view.is_identity:
        return ONE, weight
    if any(len(factor.shape) > 1 for factor in weight):
        return _pull_dense(view, weight)
    scale = ext5.product(weight[axis].total() for axis in view.broadcast)
    factors: list[Factor] = []
    for target, axis in view.axes:
        if target >= 0 and axis.is_identity:
            factors.append(weight[target])
        else:
            values = ext5.vector([ONE]) if target < 0 else weight[target].values
            factors.append(Given((axis.n_in,), pull_axis(axis, values)))
    return scale, tuple(factors)


def _pull_dense(view: View, weight: Weight) -> tuple[Element, Weight]:
    values = flat(weight).reshape(*view.shape, ext5.DEGREE)
    if view.broadcast:
        values = babybear.reduce(values.sum(axis=view.broadcast, dtype=np.uint64))
    order = np.argsort([target for target, _ in view.axes if target >= 0], kind="stable")
    values = values.transpose(*np.argsort(order, kind="stable"), values.ndim - 1)
    for index, (target, axis) in enumerate(view.axes):
        if target < 0:
            values = np.expand_dims(values, index)
        values = np.moveaxis(pull_axis(axis, np.moveaxis(values, index, 0)), 0, index)
    return ONE, (Given(view.source, np.ascontiguousarray(values).reshape(-1, ext5.DEGREE)),)


def pull_reshape(source: Shape, weight: Weight) -> tuple[Element, Weight]:
    """The claim on a reshaped x as a claim on x: a factor, and factors where runs of axes agree."""
    if not source:  # a single cell, as in `pull_view`
        return total(weight), ()
    runs = None
    if all(len(factor.shape) == 1 for factor in weight):
        runs = _runs(source, shape_of(weight))
    if runs is None:
        return ONE, (Given(source, flat(weight)),)
    factors: list[Factor] = []
    for here, there in runs:
        shape = tuple(source[axis] for axis in here)
        if len(here) == len(there) == 1:
            factors.append(weight[there[0]])
        elif here:
            factors.append(Given(shape, flat(tuple(weight[axis] for axis in there))))
    return ONE, tuple(factors)


def _runs(source: Shape, target: Shape) -> list[tuple[list[int], list[int]]] | None:
    """Shortest runs of axes of equal size on both sides; None where a side has none left over."""
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(source) or j < len(target):
        here: list[int] = []
        there: list[int] = []
        a = b = 1
        while not here or not there or a != b:
            if (a <= b or not there) and i < len(source) and (not here or a < b):
                here.append(i)
                a *= source[i]
                i += 1
            elif j < len(target) and (not there or b < a):
                there.append(j)
                b *= target[j]
                j += 1
            elif found:  # what is left on one side are axes of length 1: they join the last run
                found[-1] = (found[-1][0] + here, found[-1][1] + there)
                break
            else:
                return None
        else:
            found.append((here, there))
    return found


def cells(weight: Weight) -> int:
    return math.prod(shape_of(weight))
