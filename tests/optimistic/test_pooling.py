"""Pools as one operator, and everything that must stop maxima from becoming one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.circuits.axes import AxisMap
from proofml.circuits.graph import Affine, Graph, Maximum, Reshape, Term, View
from proofml.circuits.onnx import compile_model
from proofml.optimistic.lower import lower
from proofml.optimistic.pooling import composed, merged
from proofml.optimistic.program import Axis, Cells, Fold, Operand, Operator, Part, Source

from ..circuits.models import Net, load
from ..circuits.oracle import Builder
from ..circuits.test_onnx_operators import CASES
from .conftest import Run
from .test_lower import agree


def shifted(b: Builder, x: int, axis: int, step: AxisMap) -> int:
    """A view of one axis."""
    shape = b.shape(x)
    maps = [step if i == axis else AxisMap.identity(n) for i, n in enumerate(shape)]
    view = View(tuple(m.n_out for m in maps), tuple(enumerate(maps)))
    if view.is_identity:
        return x
    return b.add(Affine(view.shape, (Term(1, x, view),)))


def pool(
    b: Builder, x: int, axis: int, taps: int, stride: int = 1, dilation: int = 1, before: int = 0
) -> int:
    """Maxima along one axis; outside counts as 0."""
    n = b.shape(x)[axis]
    places = max(1, (n + 2 * before - (taps - 1) * dilation - 1) // stride + 1)
    steps = [
        AxisMap.window(places, n, stride=stride, offset=tap * dilation - before)
        for tap in range(taps)
    ]
    result = shifted(b, x, axis, steps[0])
    for step in steps[1:]:
        right = shifted(b, x, axis, step)
        result = b.add(Maximum(result, right, b.shape(right)))
    return result


def checked(graph: Graph, b: Builder) -> list[Operator]:
    run = Run.of(graph, b.weights, b.feed())
    agree(run, b.rng)
    return [operator for operator in run.program.operators if operator.fold is Fold.MAXIMUM]


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize(("taps", "stride", "dilation"), [(2, 2, 1), (3, 1, 1), (3, 2, 2)])
def test_a_pool_is_one_operator(taps: int, stride: int, dilation: int, before: int) -> None:
    """Over two axes: one part, whose summands are the places of the window."""
    b = Builder(np.random.default_rng(0))
    x = b.input((2, 3, 9, 8), 0, 255)
    y = pool(b, x, 2, taps, stride, dilation, before)
    pool(b, y, 3, taps, stride, dilation, before)
    graph = b.graph()
    found = checked(graph, b)
    run = Run.of(graph, b.weights, b.feed())
    assert len(run.program.operators) == len(found) == 1
    assert found[0].summands == taps * taps
    assert len(found[0].parts) == 1
    assert found[0].operands[0].source is Source.INPUT


@pytest.mark.parametrize("name", ["maxpool", "maxpool-ceil", "conv-relu-pool"])
def test_pools_of_onnx(name: str) -> None:
    """One for each MaxPool, between what makes its input and what reads it."""
    net = Net(np.random.default_rng(1), dtype="uint8", weights="int8", qdq=True)
    compiled = compile_model(load(net.model([CASES[name][0](net)], True)))
    program, _ = lower(compiled.graph, compiled.weights)
    assert [o.fold for o in program.operators].count(Fold.MAXIMUM) == 1


def test_a_global_pool() -> None:
    b = Builder(np.random.default_rng(0))
    x = b.input((1, 2, 7, 6), -9, 9)
    y = pool(b, pool(b, x, 2, 7), 3, 6)
    assert b.shape(y) == (1, 2, 1, 1)
    found = checked(b.graph(), b)
    assert [operator.summands for operator in found] == [42]


@settings(max_examples=150)
@given(st.integers(0, 2**32 - 1))
def test_any_pools(seed: int) -> None:
    """Chains of pools along random axes; some of what lies between is read elsewhere too."""
    b = Builder(np.random.default_rng(seed))
    rng = b.rng
    x = b.input(tuple(int(n) for n in rng.integers(1, 7, 3)), -5, 9)
    seen = [x]
    for _ in range(int(rng.integers(1, 5))):
        taps, stride, dilation, before = (int(n) for n in rng.integers([1, 1, 1, 0], [4, 3, 3, 3]))
        x = pool(b, x, int(rng.integers(3)), taps, stride, dilation, before)
        if rng.random() < 0.2:
            x = b.add(Reshape(x, b.shape(x)))
        same = [v for v in seen if b.shape(v) == b.shape(x)]
        if same and rng.random() < 0.3:
            x = b.add(Maximum(x, int(rng.choice(same)), b.shape(x)))
        seen.append(x)
    graph = b.graph(*sorted({x, *(int(v) for v in rng.integers(0, len(b.nodes), rng.integers(2)))}))
    checked(graph, b)


def test_what_others_read_is_kept() -> None:
    """A pool between two, as an output, read by another node, or by two pools."""
    for reader in ("output", "reshape", "pool"):
        b = Builder(np.random.default_rng(0))
        first = pool(b, b.input((4, 6, 6), 0, 9), 1, 2, 2)
        last = pool(b, first, 2, 2, 2)
        if reader == "output":
            graph = b.graph(first, last)
        elif reader == "reshape":
            graph = b.graph(last, b.add(Reshape(first, (12, 6))))
        else:
            graph = b.graph(last, pool(b, first, 0, 2, 2))
        found = checked(graph, b)
        assert len(found) == (3 if reader == "pool" else 2)


def test_views_that_other_nodes_read_are_kept() -> None:
    b = Builder(np.random.default_rng(0))
    x = b.input((6,), 0, 9)
    one, two = (shifted(b, x, 0, AxisMap.window(3, 6, stride=2, offset=i)) for i in (0, 1))
    top = b.add(Maximum(one, two, (3,)))
    graph = b.graph(top, one)
    program, _ = lower(graph, b.weights)
    assert [o.fold for o in program.operators] == [Fold.SUM, Fold.MAXIMUM]
    assert {o.source for o in program.operators[1].operands} == {Source.INPUT, Source.OPERATOR}
    checked(graph, b)


def test_two_windows_along_one_axis_do_not_compose() -> None:
    b = Builder(np.random.default_rng(0))
    pool(b, pool(b, b.input((20,), 0, 9), 0, 3, 2), 0, 3, 2)
    assert [operator.summands for operator in checked(b.graph(), b)] == [3, 3]


def part(*axes: Axis, sums: tuple[int, ...] = ()) -> Part:
    cells = Cells.of(tuple(axis.length for axis in axes), 0, 9)
    return Part(1, sums, Operand(Source.INPUT, 0, cells, axes))


def test_which_parts_are_a_window() -> None:
    def at(*offsets: int) -> list[Part]:
        return [part(Axis(9, 0, stride=2, offset=n), Axis(4, 1, stride=1)) for n in offsets]

    assert merged(at(1, 3, -1)) == [part(Axis(9, 0, 0, 2, 2, -1), Axis(4, 1, stride=1), sums=(3,))]
    for offsets in ((0, 1, 3), (0, 0), (0, 0, 1), (5,)):
        assert merged(at(*offsets)) == at(*offsets)
    both = [*at(0), part(Axis(9, 0, stride=2), Axis(4, 1, stride=1, offset=1))]
    assert len(merged(both)) == 1
    both[0] = part(Axis(9, 0, stride=2, offset=1), Axis(4, 1, stride=1))
    assert merged(both) == both


def test_which_parts_compose() -> None:
    window, plain = Axis(9, 0, 0, 2, 1, -1), Axis(5, 0, stride=1)
    inner = part(Axis(9, 0, 0, 2, 1, -1), Axis(7, 1, stride=1), sums=(3,))
    outer = part(plain, Axis(7, 1, 0, 2, 1, 0), sums=(2,))
    assert composed(outer, inner, (5, 6)) == part(
        Axis(9, 0, 1, 2, 1, -1), Axis(7, 1, 0, 2, 1, 0), sums=(2, 3)
    )
    # Along an axis that the inner part does not read, nothing may be out of range.
    lost = part(plain, Axis(7, 1, stride=1), Axis(3, 1, stride=1, offset=-1))
    assert composed(lost, inner, (5, 2)) is None
    assert composed(part(plain, Axis(7, 1, stride=1), Axis(3, offset=2)), inner, (5, 7)) is not None
    assert composed(part(plain, Axis(7, 1, stride=1), Axis(3, offset=3)), inner, (5, 7)) is None
    assert composed(part(replace_length(window, 5), Axis(7, 1, stride=1)), inner, (5, 7)) is None


def replace_length(axis: Axis, length: int) -> Axis:
    return Axis(length, axis.out, axis.sum, axis.stride, axis.dilation, axis.offset)
