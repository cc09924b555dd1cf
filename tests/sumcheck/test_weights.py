"""Weights of claims against plain sums over cells, in F, cell by cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from proofml.circuits.axes import AxisMap
from proofml.circuits.execute import Executor
from proofml.circuits.field import ext5
from proofml.circuits.field.ext5 import ONE, Element
from proofml.circuits.graph import Affine, Bind, Ints, Shape, View
from proofml.zkml.sumcheck.argmax import argmax_parts
from proofml.zkml.sumcheck.layout import Block, ceil_log2
from proofml.zkml.sumcheck.operands import operand_vector
from proofml.zkml.sumcheck.reduction import (
    Constant,
    OnColumn,
    OnContraction,
    OnPublic,
    Part,
    Sums,
    operand_weight,
    reduce_claim,
    sum_factors,
    window_weights,
)
from proofml.zkml.sumcheck.weights import (
    AtPoint,
    Factor,
    Given,
    Weight,
    at_point,
    cells,
    extension,
    flat,
    inner,
    pull_axis,
    pull_reshape,
    pull_view,
    shape_of,
    total,
)

from .graphs import CASES, random_case
from .malicious import Trial

P = 2013265921


def element(rng: np.random.Generator) -> Element:
    return ext5.element(rng.integers(0, P, 5))


def point(rng: np.random.Generator, length: int) -> tuple[Element, ...]:
    return tuple(element(rng) for _ in range(ceil_log2(length)))


def vector(rng: np.random.Generator, length: int) -> np.ndarray:
    return rng.integers(0, P, (length, 5)).astype(np.uint64)


def weight(rng: np.random.Generator, shape: Shape) -> Weight:
    """Points, vectors and runs, at random."""
    factors: list[Factor] = []
    axis = 0
    while axis < len(shape):
        kind = rng.integers(4)
        run = int(rng.integers(1, len(shape) - axis + 1)) if kind == 3 else 1
        part = shape[axis : axis + run]
        if kind < 2:
            factors.append(AtPoint(point(rng, part[0]), part[0]))
        else:
            factors.append(Given(part, vector(rng, math.prod(part))))
        axis += run
    return tuple(factors)


def dense(weight: Weight) -> list[Element]:
    """All weights, by the definition."""
    out = [ONE]
    for factor in weight:
        if isinstance(factor, AtPoint):
            own = [ext5.eq_bits(factor.z, i) for i in range(factor.length)]
        else:
            own = [ext5.element(v) for v in factor.values]
        out = [ext5.mul(a, b) for a in out for b in own]
    return out


def dot(weights: Sequence[Element], values: Ints) -> Element:
    return ext5.total(
        ext5.scale(w, int(v)) for w, v in zip(weights, values.reshape(-1), strict=True)
    )


SHAPES: list[Shape] = [
    (),
    (1,),
    (5,),
    (4, 1),
    (3, 5),
    (1, 1, 1),
    (2, 3, 4),
    (1, 6, 2),
    (2, 1, 3, 2),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_sums_and_extensions(shape: Shape, seed: int) -> None:
    rng = np.random.default_rng(seed)
    w = weight(rng, shape)
    every = dense(w)
    assert [ext5.element(v) for v in flat(w)] == every
    assert shape_of(w) == shape
    assert cells(w) == math.prod(shape)
    assert total(w) == ext5.total(every)
    for most in (1, 1 << 20, (1 << 31) - 1):
        values = rng.integers(-most, most + 1, shape)
        assert inner(w, np.asarray(values)) == dot(every, np.asarray(values))
    rho = [point(rng, n) for n in shape]
    block = Block("b", shape)
    padded = ext5.ZERO
    for cell, own in zip(np.ndindex(*shape), every, strict=True):
        at = ext5.product(ext5.eq_bits(z, i) for z, i in zip(rho, cell, strict=True))
        padded = ext5.add(padded, ext5.mul(own, at))
    assert extension(w, rho) == padded
    low = [c for axis in reversed(rho) for c in axis]
    assert block.split(low) == list(rho)


def test_at_a_corner_an_evaluation_is_the_cell() -> None:
    """Trap 14: variable 0 is the lowest bit of the last axis."""
    shape = (3, 5)
    values = np.arange(15).reshape(shape)
    for i, j in np.ndindex(*shape):
        corner = [
            tuple(ONE if n >> t & 1 else ext5.ZERO for t in range(bits))
            for n, bits in ((i, 2), (j, 3))
        ]
        assert inner(at_point(corner, shape), values) == ext5.from_int(int(values[i, j]))


def _axis_map(rng: np.random.Generator, n: int, target: int) -> AxisMap:
    match rng.integers(4):
        case 0 if n == target:
            return AxisMap.identity(n)
        case 1:
            return AxisMap.window(target, n, stride=2, offset=-1, taps=3, step=2)
        case _:
            entries = [(o, i, int(rng.integers(0, 5))) for o in range(target) for i in range(n)]
            return AxisMap.of(target, n, entries)


@pytest.mark.parametrize("seed", range(60))
def test_a_claim_on_a_view(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = tuple(int(n) for n in rng.integers(1, 5, rng.integers(0, 4)))
    target = tuple(int(n) for n in rng.integers(1, 5, rng.integers(0, 4)))
    free = rng.permutation(len(target)).tolist()
    axes = []
    for n in source:
        to = free.pop() if free and rng.integers(3) else -1
        size = 1 if to < 0 else target[to]
        axes.append(
            (to, AxisMap.total(n) if to < 0 and rng.integers(2) else _axis_map(rng, n, size))
        )
    view = View(target, tuple(axes))
    w = weight(rng, target)
    scale, pulled = pull_view(view, w)
    assert shape_of(pulled) == source
    x = rng.integers(-99, 100, source)
    shown = view.apply(np.asarray(x, np.int64))
    assert ext5.mul(scale, inner(pulled, np.asarray(x))) == dot(dense(w), shown)
    # A factor of no axis would be lost in the next view.
    assert all(factor.shape for factor in pulled)


def test_a_single_cell_spread_under_weights_of_a_run() -> None:
    w = (Given((2, 3), vector(np.random.default_rng(0), 6)),)
    assert pull_view(View((2, 3), ()), w) == (total(w), ())


@pytest.mark.parametrize("seed", range(3))
def test_the_identity_is_no_work(seed: int) -> None:
    w = weight(np.random.default_rng(seed), (2, 3))
    assert pull_view(View.identity((2, 3)), w) == (ONE, w)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((), ()), ((), (1, 1)), ((1,), ()), ((6,), (2, 3)), ((2, 3), (6,)), ((4, 3), (2, 6)),
        ((2, 2, 3), (4, 3)), ((2, 6), (2, 2, 3)), ((1, 6), (6, 1)), ((6, 1, 1), (6,)),
        ((6,), (1, 6, 1)), ((1, 2, 1, 3), (2, 3)), ((2, 3), (1, 2, 1, 3, 1)),
        ((2, 3, 4), (3, 2, 4)),
        ((1, 1), (1,)), ((2, 3, 5), (2, 15)), ((2, 3, 5), (6, 5)), ((2, 3, 5, 7), (2, 15, 7)),
        ((1, 4), (4, 1, 1)), ((8, 1, 2), (4, 4)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(4))
def test_a_claim_on_a_reshape(source: Shape, target: Shape, seed: int) -> None:
    rng = np.random.default_rng(seed)
    w = weight(rng, target)
    scale, pulled = pull_reshape(source, w)
    assert shape_of(pulled) == source
    x = np.asarray(rng.integers(-99, 100, source))
    assert ext5.mul(scale, inner(pulled, x)) == dot(dense(w), x.reshape(target))
    assert all(factor.shape for factor in pulled)


def test_a_reshape_keeps_factors_where_axes_agree() -> None:
    w = at_point([point(np.random.default_rng(0), n) for n in (2, 15, 7)], (2, 15, 7))
    _, pulled = pull_reshape((2, 3, 5, 7), w)
    assert pulled[0] is w[0]
    assert pulled[-1] is w[2]
    assert len(pulled) == 3


def test_pulling_an_axis() -> None:
    rng = np.random.default_rng(0)
    axis = AxisMap.of(4, 3, [(0, 0, 1), (0, 2, 7), (2, 2, 1 << 20), (3, 1, 2)])
    values = vector(rng, 4)
    found = pull_axis(axis, values)
    for i in range(3):
        want = ext5.total(
            ext5.scale(ext5.element(values[o]), c) for o, into, c in axis.entries or () if into == i
        )
        assert ext5.element(found[i]) == want


@pytest.mark.parametrize(
    ("length", "out", "taps", "window"),
    [(7, 4, 3, (2, 1, -1)), (6, 7, 2, (1, 3, -2)), (5, 1, 1, (1, 1, 0)), (3, 3, 5, (1, 1, -9)),
     (4, 2, 2, (3, 2, 1))],
)  # fmt: skip
def test_windows(length: int, out: int, taps: int, window: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(1)
    outer, sums = (Given((out,), vector(rng, out)),), [Given((taps,), vector(rng, taps))]
    found = window_weights(Bind(0, 0, window), length, outer, list(sums))
    stride, dilation, offset = window
    for i in range(length):
        want = ext5.total(
            ext5.mul(ext5.element(outer[0].values[o]), ext5.element(sums[0].values[s]))
            for o in range(out)
            for s in range(taps)
            if o * stride + s * dilation + offset == i
        )
        assert ext5.element(found[i]) == want


def _value(run: Trial, part: Part) -> Element:
    """What a part is worth by the values of the run."""
    match part:
        case Constant():
            return part.coefficient
        case OnContraction():
            own = Sums(part.contraction.sums)
            left, right = (
                operand_vector(run.values[value], axes, own, part.weight)
                for value, axes in (
                    (part.contraction.left, part.contraction.left_axes),
                    (part.contraction.right, part.contraction.right_axes),
                )
            )
            found = ext5.vsum(ext5.vmul(left, right))
        case OnPublic():
            found = inner(part.weight, run.values[part.value])
        case OnColumn():
            tree, block = run.layout.column[part.value]
            columns = run.columns  # type: ignore[attr-defined]
            numbers = run.key.weights[block] if tree == "W" else columns.blocks[block]
            found = inner(part.weight, numbers)
    return ext5.mul(part.coefficient, found)


@pytest.mark.parametrize("name", [*CASES, *range(12)])
def test_the_parts_of_every_value_add_up(name: str | int) -> None:
    """`reduce_claim` against the values that the executor computes."""
    from proofml.zkml.sumcheck.columns import columns_of

    run = Trial.of(name if isinstance(name, str) else random_case(name))
    run.columns = columns_of(run.layout, run.values)  # type: ignore[attr-defined]
    rng = np.random.default_rng(3)
    for number, node in enumerate(run.case.graph.nodes):
        w = at_point([point(rng, n) for n in node.shape], node.shape)
        coefficient = element(rng)
        parts = list(reduce_claim(run.layout, number, w, coefficient))
        want = ext5.mul(coefficient, inner(w, run.values[number]))
        assert ext5.total(_value(run, part) for part in parts) == want, node


@pytest.mark.parametrize("name", list(CASES))
def test_operands_end_at_their_weights(name: str) -> None:
    """The folded vector of an operand at a point is a claim on the operand."""
    run = Trial.of(name)
    rng = np.random.default_rng(5)
    for node in run.case.graph.nodes:
        for contraction in node.contractions if isinstance(node, Affine) else ():
            sums = Sums(contraction.sums)
            out = at_point([point(rng, n) for n in node.shape], node.shape)
            z = [element(rng) for _ in range(sums.rounds)]
            factors = sum_factors(sums, z)
            for value, axes in (
                (contraction.left, contraction.left_axes),
                (contraction.right, contraction.right_axes),
            ):
                folded = operand_vector(run.values[value], axes, sums, out)
                end = ext5.vsum(ext5.vmul(folded, ext5.eq_table(z)))
                w = operand_weight(axes, run.case.graph.shape(value), out, factors)
                assert inner(w, run.values[value]) == end


def test_sums_split_from_the_last_axis() -> None:
    sums = Sums((3, 1, 4))
    assert sums.logs == (2, 0, 2)
    assert sums.rounds == 4
    z = [ext5.from_int(i) for i in range(4)]
    assert sums.split(z) == [(z[2], z[3]), (), (z[0], z[1])]


@pytest.mark.parametrize("seed", range(4))
def test_the_argument_of_an_argmax(seed: int) -> None:
    """y_i - y_j - [j < i], also where the stated index is wrong."""
    run = Trial.of("argmaxes", seed=seed)
    rng = np.random.default_rng(seed)
    from proofml.zkml.sumcheck.columns import columns_of

    run.columns = columns_of(run.layout, run.values)  # type: ignore[attr-defined]
    for number, axis in ((2, 1), (3, 0)):
        node = run.case.graph.nodes[number]
        y = run.values[1]
        stated = rng.integers(0, y.shape[axis], node.shape)
        best = np.expand_dims(stated, axis)
        before = np.arange(y.shape[axis]).reshape([-1 if a == axis else 1 for a in (0, 1)]) < best
        argument = np.take_along_axis(y, best, axis) - y - before
        w = at_point([point(rng, n) for n in y.shape], y.shape)
        parts = list(argmax_parts(run.layout, number, stated, w))
        assert ext5.total(_value(run, part) for part in parts) == inner(w, argument)
    assert isinstance(run.key.executor, Executor)
