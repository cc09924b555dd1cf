"""The executor against the definitions of the nodes, cell by cell."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.circuits import contract
from proofml.circuits.axes import AxisMap
from proofml.circuits.execute import Executor, execute
from proofml.circuits.functions import Pair, Steps, bits_of
from proofml.circuits.graph import (
    ONES,
    Affine,
    Bind,
    Contraction,
    Graph,
    Ints,
    Reshape,
    Step,
    Term,
    View,
    cells,
)
from proofml.circuits.ranges import check

from .oracle import Builder, contraction_of, random_graph, random_outputs, values_of


def agree(graph: Graph, b: Builder, rounds: int = 2) -> None:
    check(graph, b.weights)
    executor = Executor(graph, b.weights)
    for _ in range(rounds):
        inputs = b.feed()
        found = executor.run(inputs)
        for value, wanted in enumerate(values_of(graph, b.weights, inputs)):
            assert found[value].dtype == np.int64
            assert found[value].flags.c_contiguous
            assert found[value].shape == graph.shape(value)
            np.testing.assert_array_equal(found[value], wanted, str(graph.nodes[value]))


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1))
def test_any_graph(seed: int) -> None:
    b = random_graph(seed)
    agree(random_outputs(b), b)


def lenet(
    rng: np.random.Generator, side: int = 28, widths: tuple[int, ...] = (120, 84, 10)
) -> Builder:
    b = Builder(rng)
    x = b.input((1, 1, side, side))
    x = b.pooled(b.requant(b.conv(x, 6, 5, pad=2)), 2)
    x = b.pooled(b.requant(b.conv(x, 16, 5)), 2)
    x = b.add(Reshape(x, (1, cells(b.shape(x)))))
    for n in widths:
        x = b.dense(x, n)
    return b


def test_a_small_convolutional_network() -> None:
    b = lenet(np.random.default_rng(1), side=12, widths=(5, 3))
    agree(b.graph(), b, 1)


@pytest.mark.parametrize("pad", [0, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_convolutions(pad: int, stride: int, dilation: int) -> None:
    b = Builder(np.random.default_rng(2))
    x = b.input((2, 2, 6, 7))
    b.requant(b.conv(x, 3, 3, pad=pad, stride=stride, dilation=dilation), channel=(1,))
    agree(b.graph(), b)


@pytest.mark.parametrize("shape", [(2, 3, 2, 4, 5), (1, 4, 1, 4, 4)])
def test_grouped_convolutions(shape: tuple[int, ...]) -> None:
    b = Builder(np.random.default_rng(3))
    b.requant(b.grouped(b.input(shape), 2, 3, pad=1), channel=(1, 2))
    agree(b.graph(), b)


def test_a_product_of_two_values_with_heads() -> None:
    """Attention's scores: [b, m, h, k] and [b, n, h, k] to [b, h, m, n]."""
    b = Builder(np.random.default_rng(4))
    left, right = b.input((2, 3, 2, 4)), b.input((2, 5, 2, 4), -7, 100)
    binds = (
        (Bind(0), Bind(2), Bind(1), Bind(sum=0)),
        (Bind(0), Bind(3), Bind(1), Bind(sum=0)),
    )
    product = Affine((2, 2, 3, 5), (), (Contraction(left, right, (4,), *binds),))
    b.requant(b.add(product))
    agree(b.graph(), b)


def test_contractions_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "MAX_UNFOLDED", 50)
    b = Builder(np.random.default_rng(5))
    b.requant(b.conv(b.input((2, 2, 6, 7)), 3, 3, pad=1))
    agree(b.graph(), b)


@pytest.mark.parametrize(
    ("size", "dtype"), [(127, np.float32), (1 << 13, np.float64), (1 << 27, np.int64)]
)
def test_sums_are_exact_whatever_holds_them(size: int, dtype: type) -> None:
    """At the ends of all ranges, where a narrower float would round."""
    rng = np.random.default_rng(6)
    contraction = Contraction(0, 1, (257,), (Bind(0), Bind(sum=0)), (Bind(sum=0), Bind(1)))
    most = 257 * size * size
    plan = contract.Plan.of(contraction, (2, 3), (2, 257), (257, 3), most)
    assert plan.dtype == dtype
    for low in (-size, size - 1):
        left = rng.integers(low, size, (2, 257), endpoint=True)
        right = rng.integers(low, size, (257, 3), endpoint=True)
        exact = contraction_of(contraction, (2, 3), left, right)
        np.testing.assert_array_equal(plan.run(left, right, {}), exact)


def test_placed_terms_do_not_add_up_and_strides_are_slices() -> None:
    """Concat along an axis, every second cell, a pool, a transpose, constants."""
    b = Builder(np.random.default_rng(7))
    x, y = b.input((2, 3)), b.input((2, 4))
    rows = (0, AxisMap.identity(2))
    terms = (
        Term(1, x, View((2, 7), (rows, (1, AxisMap.window(7, 3))))),
        Term(1, y, View((2, 7), (rows, (1, AxisMap.window(7, 4, offset=-3))))),
    )
    joined = b.add(Affine((2, 7), terms))
    assert b.ranges[joined] == (-128, 127)
    thin = b.add(Affine((2, 3), (Term(1, joined, b.strided(joined, 1, 2, 1)),)))
    total = View((3,), ((-1, AxisMap.total(2)), (0, AxisMap.identity(3))))
    b.add(Affine((3,), (Term(-2, thin, total), Term(5, ONES, View((3,), ())))))
    agree(b.graph(), b)


def test_functions_that_differ_by_channel() -> None:
    b = Builder(np.random.default_rng(8))
    x = b.input((2, 3), -5, 5)
    functions = tuple(Steps((t,), (0, 1)) for t in (-1, 0, 2))
    b.add(Step(x, (2, 3), functions, (1,)))
    agree(b.graph(), b)


@pytest.mark.parametrize("operator", ["add", "mul"])
def test_functions_of_two_codes(operator: str) -> None:
    b = Builder(np.random.default_rng(11))
    x, y = b.input((3, 50), 0, 255), b.input((3, 50), 0, 255)
    same = View.identity((3, 50))
    joined = b.add(Affine((3, 50), (Term(256, x, same), Term(1, y, same))))
    scales = [(bits_of(scale), 100) for scale in (0.5, 0.25, 30.0 if operator == "mul" else 0.7)]
    b.add(Step(joined, (3, 50), (Pair(operator, "none", 0, *scales, -100, 155),)))
    agree(b.graph(), b)


def mlp() -> tuple[Builder, Graph]:
    b = Builder(np.random.default_rng(9))
    b.dense(b.dense(b.input((1, 64)), 32), 10)
    return b, b.graph()


def test_execute_runs_once() -> None:
    b, graph = mlp()
    inputs = b.feed()
    for one, two in zip(
        execute(graph, b.weights, inputs), Executor(graph, b.weights).run(inputs), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def _spoiled(array: Ints, number: int) -> Ints:
    result = array.copy()
    result.flat[0] = number
    return result


def test_what_leaves_its_range_is_refused() -> None:
    """The plans are exact only within the ranges."""
    b, graph = mlp()
    inputs = b.feed()
    executor = Executor(graph, b.weights)
    value = next(iter(b.weights))
    for wrong in (
        {},
        {0: inputs[0][0]},
        {0: inputs[0].astype(np.int32)},
        {0: _spoiled(inputs[0], 128)},
        {0: _spoiled(inputs[0], -129)},
    ):
        with pytest.raises(ValueError, match="input x0"):
            executor.run(wrong)  # type: ignore[arg-type]
    for weights in ({}, {**b.weights, value: _spoiled(b.weights[value], 4000)}):
        with pytest.raises(ValueError, match=f"weight w{value}"):
            Executor(graph, weights)


def test_an_executor_is_small() -> None:
    b = lenet(np.random.default_rng(10))
    graph = b.graph()
    tracemalloc.start()
    executor = Executor(graph, b.weights)
    inputs = b.feed()
    executor.run(inputs)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1 << 20
    assert peak < 4 << 20
