"""Bounds against every input, and what the analysis refuses."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.circuits import ranges
from proofml.circuits.axes import AxisMap
from proofml.circuits.functions import Relu, Requant, Steps, Table, bits_of
from proofml.circuits.graph import (
    ONES,
    Affine,
    ArgMax,
    Bind,
    Codec,
    Contraction,
    Graph,
    Input,
    Ints,
    Maximum,
    Node,
    Port,
    Reshape,
    Step,
    Term,
    View,
    Weight,
)
from proofml.circuits.ranges import ARGUMENT_LIMIT, FIELD, LIMIT, RangeError, affine_bounds, check

from .oracle import Builder, random_graph, random_outputs, values_of

BIND = (Bind(0), Bind(sum=0)), (Bind(sum=0), Bind(1))


def graph_of(*nodes: Node) -> Graph:
    return Graph(nodes, (), (), {})


def attained(b: Builder, value: int) -> tuple[int, int]:
    """Extremes of a value over all inputs at the ends of their ranges."""
    graph = b.graph(value)
    ports = [(v, n) for v, n in enumerate(b.nodes) if isinstance(n, Input)]
    choices = [
        [np.array(x).reshape(n.shape) for x in product((n.low, n.high), repeat=_cells(n))]
        for _, n in ports
    ]
    found: list[int] = []
    for arrays in product(*choices):
        inputs: dict[int, Ints] = {v: x for (v, _), x in zip(ports, arrays, strict=True)}
        result = values_of(graph, b.weights, inputs)[value]
        found += [int(result.min()), int(result.max())]
    return min(found), max(found)


def _cells(node: Input) -> int:
    return int(np.prod(node.shape))


@pytest.mark.parametrize(("low", "high"), [(-3, 4), (0, 5), (2, 6), (-7, -1)])
def test_bounds_of_a_matrix_product_are_attained(low: int, high: int) -> None:
    b = Builder(np.random.default_rng(0))
    x = b.input((1, 5), low, high)
    weight = b.weight((5, 4))
    contraction = Contraction(x, weight, (5,), *BIND)
    value = b.add(Affine((1, 4), (b.bias((1, 4), 1),), (contraction,)))
    assert b.ranges[value] == attained(b, value)


@pytest.mark.parametrize("offset", [0, -1, 1])
@pytest.mark.parametrize(("low", "high"), [(-3, 4), (2, 6)])
def test_bounds_of_a_window_are_attained(low: int, high: int, offset: int) -> None:
    """With every tap inside, and with taps outside, which count as 0."""
    b = Builder(np.random.default_rng(1))
    x = b.input((2, 4), low, high)
    weight = b.weight((2, 2, 2), -9, -1)
    window = Bind(1, 1, (2, 1, offset))
    axes = (Bind(sum=0), window), (Bind(0), Bind(sum=0), Bind(sum=1))
    value = b.add(Affine((2, 2), (), (Contraction(x, weight, (2, 2), *axes),)))
    least, most = attained(b, value)
    low_bound, high_bound = b.ranges[value]
    assert low_bound <= least <= most <= high_bound
    if offset == 0 or low < 0:
        assert low_bound == least
    assert high_bound == (most if offset == 0 or low < 0 else 0)


def test_bounds_of_groups_do_not_add_up_over_groups() -> None:
    b = Builder(np.random.default_rng(2))
    x = b.input((3, 2), -2, 3)
    weight = b.weight((3, 2, 2))
    axes = (Bind(sum=0), Bind(sum=1)), (Bind(0, 0), Bind(1), Bind(sum=1))
    value = b.add(Affine((3, 2), (), (Contraction(x, weight, (3, 2), *axes),)))
    assert b.ranges[value] == attained(b, value)


def test_bounds_of_a_product_of_values_come_from_their_types() -> None:
    b = Builder(np.random.default_rng(3))
    x, y = b.input((1, 3), -2, 5), b.input((3, 1), -4, 1)
    value = b.add(Affine((1, 1), (), (Contraction(x, y, (3,), *BIND),)))
    assert b.ranges[value] == (-60, 24) == attained(b, value)


def test_terms_are_added_cell_by_cell() -> None:
    """Parts of a Concat lie side by side; a pool's border has fewer taps than its middle."""
    b = Builder(np.random.default_rng(4))
    x, y = b.input((3,), -2, 7), b.input((2,), -30, 1)
    parts = (
        Term(2, x, View((5,), ((0, AxisMap.window(5, 3)),))),
        Term(-1, y, View((5,), ((0, AxisMap.window(5, 2, offset=-3)),))),
        Term(1, ONES, View((5,), ((0, AxisMap.window(5, 1, offset=-4)),))),
    )
    value = b.add(Affine((5,), parts))
    assert b.ranges[value] == (-4, 31) == attained(b, value)
    pool = View((4,), ((0, AxisMap.window(4, 3, offset=-1, taps=2)),))
    value = b.add(Affine((4,), (Term(1, x, pool), Term(100, ONES, View((4,), ())))))
    assert b.ranges[value] == (96, 114) == attained(b, value)


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1))
def test_no_value_of_any_graph_leaves_its_range(seed: int) -> None:
    b = random_graph(seed)
    graph = random_outputs(b)
    check(graph, b.weights)
    check(graph, None)
    found = ranges.ranges(graph)
    for _ in range(3):
        values = values_of(graph, b.weights, b.feed())
        for value, (low, high) in zip(values, found, strict=True):
            assert low <= int(value.min())
            assert int(value.max()) <= high


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_large_grids_are_looked_at_in_pieces(seed: int) -> None:
    b = random_graph(seed)
    whole = ranges.ranges(b.graph())
    before = ranges._PIECE
    ranges._PIECE = 3
    try:
        assert ranges.ranges(b.graph()) == whole
        check(b.graph(), b.weights)
    finally:
        ranges._PIECE = before


def test_ranges_of_the_other_nodes() -> None:
    x, y = Input("x", (2, 3), -4, 9), Input("y", (2, 3), -5, 2)
    nodes = (
        x,
        y,
        Maximum(0, 1, (2, 3)),
        Reshape(0, (6,)),
        ArgMax(0, 1, (2,)),
        Step(0, (2, 3), (Table(-4, tuple(range(14))), Steps((0,), (-9, 3))), (0,)),
        Step(0, (2, 3), (Relu(),)),
        Step(0, (2, 3), (Requant(bits_of(0.5), -1, 100),)),
    )
    wanted = ((-4, 9), (-5, 2), (-4, 9), (-4, 9), (0, 2), (-9, 13), (0, 9), (-1, 4))
    assert ranges.ranges(graph_of(*nodes)) == wanted


def product_graph() -> Builder:
    b = Builder(np.random.default_rng(5))
    b.dense(b.input((1, 6)), 4)
    return b


def changed(b: Builder, value: int, **fields: int) -> Graph:
    graph = b.graph()
    nodes = list(graph.nodes)
    nodes[value] = replace(nodes[value], **fields)  # type: ignore[arg-type]
    return replace(graph, nodes=tuple(nodes))


@pytest.mark.parametrize("delta", [-1, 1])
@pytest.mark.parametrize("field", ["low", "high"])
def test_stated_bounds_are_the_exact_ones(field: str, delta: int) -> None:
    b = product_graph()
    check(b.graph(), b.weights)
    for value, node in enumerate(b.nodes):
        if isinstance(node, Affine | Weight):
            wrong = changed(b, value, **{field: getattr(node, field) + delta})
            with pytest.raises(RangeError, match="are stated") as caught:
                check(wrong, b.weights)
            assert caught.value.value == value


def test_bounds_of_terms_are_checked_without_weights() -> None:
    b = Builder(np.random.default_rng(6))
    x = b.input((3,))
    value = b.add(Affine((3,), (Term(2, x, View.identity((3,))), b.bias((3,), 0))))
    check(b.graph(), None)
    node = b.nodes[value]
    assert isinstance(node, Affine)
    with pytest.raises(RangeError, match="are stated"):
        check(changed(b, value, high=node.high - 1), None)


def test_missing_and_misshapen_weights() -> None:
    b = product_graph()
    value = min(b.weights)
    for weights in ({}, {**b.weights, value: np.zeros((9,), np.int64)}):
        with pytest.raises(RangeError, match="expected numbers"):
            check(b.graph(), weights)


def test_the_limits_are_those_of_the_field() -> None:
    assert 2 * LIMIT + 1 == FIELD == 15 * 2**27 + 1
    assert 4 * ARGUMENT_LIMIT + 2**17 + 2 < FIELD <= 4 * (ARGUMENT_LIMIT + 1) + 2**17 + 2


def test_a_value_as_large_as_half_the_field() -> None:
    check(graph_of(Input("x", (1,), 1 - LIMIT, LIMIT - 1)), None)
    for low, high in ((-LIMIT, 0), (0, LIMIT)):
        with pytest.raises(RangeError, match="the field holds"):
            check(graph_of(Input("x", (1,), low, high)), None)


def test_an_interval_without_a_number() -> None:
    """`validate` refuses it as well; so does the analysis by itself."""
    check(graph_of(Input("x", (1,), 2, 2)), None)
    with pytest.raises(RangeError, match="an interval from 3 to 2") as caught:
        check(graph_of(Input("x", (1,), 3, 2)), None)
    assert caught.value.value == 0


REQUANT = Requant(bits_of(0.001), -128, 127)


@pytest.mark.parametrize(
    ("low", "high", "function", "good"),
    [
        (-ARGUMENT_LIMIT, ARGUMENT_LIMIT, REQUANT, True),
        (-ARGUMENT_LIMIT - 1, 0, REQUANT, False),
        (0, ARGUMENT_LIMIT + 1, REQUANT, False),
        (0, ARGUMENT_LIMIT + 1, Steps((5,), (0, 1)), False),
        (3, 4, Table(3, (7, 8)), True),
        (2, 4, Table(3, (7, 8)), False),
        (3, 5, Table(3, (7, 8)), False),
        (-ARGUMENT_LIMIT, 1 << 17, Relu(), True),
        (0, (1 << 17) + 1, Relu(), False),
    ],
)
def test_arguments_stay_where_one_lookup_proves_them(
    low: int, high: int, function: Requant | Table | Steps | Relu, good: bool
) -> None:
    graph = graph_of(Input("x", (1,), low, high), Step(0, (1,), (function,)))
    if good:
        check(graph, None)
        return
    with pytest.raises(RangeError, match="provable from") as caught:
        check(graph, None)
    assert caught.value.value == 1


def test_a_maximum_is_bounded_by_the_difference() -> None:
    nodes = Input("x", (1,), 0, 1 << 16), Input("y", (1,), -(1 << 16) - 1, 0)
    with pytest.raises(RangeError, match="value 2: argument"):
        check(graph_of(*nodes, Maximum(0, 1, (1,))), None)
    check(graph_of(*nodes, Maximum(1, 0, (1,))), None)


def test_an_accumulator_beyond_the_field() -> None:
    x = Input("x", (1, 64), -(1 << 20), 1 << 20)
    weights = {1: np.full((64, 1), 127)}
    nodes = x, Weight("w", (64, 1), 0, 127)
    node = Affine((1, 1), (), (Contraction(0, 1, (64,), *BIND),))
    low, high = affine_bounds(nodes, node, ((-(1 << 20), 1 << 20), (0, 127)), weights)
    assert (low, high) == (-(127 << 26), 127 << 26)
    with pytest.raises(RangeError, match="the field holds"):
        check(graph_of(*nodes, replace(node, low=low, high=high)), weights)


def test_sums_that_would_overflow_64_bits_are_refused_before() -> None:
    most = LIMIT - 1
    nodes = Input("x", (64,), -most, most), Weight("w", (64,), -most, most)
    axes = (Bind(sum=0),), (Bind(sum=0),)
    node = Affine((), (), (Contraction(0, 1, (64,), *axes),))
    stated = (-most, most), (-most, most)
    for weights in (None, {1: np.full(64, most)}):
        with pytest.raises(RangeError, match="out of all bounds"):
            affine_bounds(nodes, node, stated, weights)
    total = View((), ((-1, AxisMap.of(1, 64, [(0, i, 1 << 20) for i in range(64)])),))
    with pytest.raises(RangeError, match="out of all bounds"):
        affine_bounds(nodes, Affine((), (Term(1 << 20, 0, total),)), stated, None)


@pytest.mark.parametrize("coefficient", [1 << 20, -(1 << 20)])
def test_sums_of_many_cells_are_counted(coefficient: int) -> None:
    """A map that adds a value up more than 2^20 times, along an axis of the result."""
    most = LIMIT - 1
    for count, good in ((1 << 10, True), (1 << 20, False)):
        view = View((2,), ((0, AxisMap.of(2, 1, [(0, 0, 1), (1, 0, count)])),))
        node = Affine((2,), (Term(coefficient, 0, view),))
        nodes = (Input("x", (1,), -most, most),)
        if good:
            bound = (1 << 20) * count * most
            assert affine_bounds(nodes, node, ((-most, most),), None) == (-bound, bound)
        else:
            with pytest.raises(RangeError, match="out of all bounds"):
                affine_bounds(nodes, node, ((-most, most),), None)


def test_the_bound_of_sums_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three places where it is compared: all parts together, types alone, numbers of a weight."""
    x, y = Input("x", (1, 2), -3, 2), Input("y", (2, 2), -5, 4)
    numbers = np.array([[7, -1], [6, -2]])
    nodes = (x, y, Weight("w", (2, 2), -2, 7))
    found = ((-3, 2), (-5, 4), (-2, 7))
    terms = (Term(2, 0, View.identity((1, 2))), Term(-1, 0, View.identity((1, 2))))
    for node, weights, most in (
        (Affine((1, 2), terms), None, 9),
        (Affine((1, 2), (), (Contraction(0, 1, (2,), *BIND),)), None, 30),
        # Sums of positive and of negative numbers, though they are not those of one column.
        (Affine((1, 2), (), (Contraction(0, 2, (2,), *BIND),)), {2: numbers}, 48),
    ):
        monkeypatch.setattr(ranges, "_INT64", most + 1)
        low, high = affine_bounds(nodes, node, found, weights)
        assert max(abs(low), abs(high)) <= most
        monkeypatch.setattr(ranges, "_INT64", most)
        with pytest.raises(RangeError, match=f"{most}.* out of all bounds"):
            affine_bounds(nodes, node, found, weights)


def test_numbers_that_differ_along_different_axes() -> None:
    """Each cell counts where one part depends on an axis and another one does not."""
    b = Builder(np.random.default_rng(7))
    x = b.input((3, 2), -1, 2)
    weight = b.weight((2, 4))
    rows = np.array([3, -1000, 900])
    b.weights[b.add(Weight("rows", (3,), -1000, 900))] = rows
    term = Term(1, len(b.nodes) - 1, View((3, 4), ((0, AxisMap.identity(3)),)))
    for parts in ((term,), (term, b.bias((3, 4), 1))):
        value = b.add(Affine((3, 4), parts, (Contraction(x, weight, (2,), *BIND),)))
        columns = b.weights[weight]
        extra = b.weights[parts[1].value] if len(parts) > 1 else np.zeros(4, np.int64)
        high = np.maximum(2 * columns, -columns).sum(axis=0) + extra
        low = np.minimum(2 * columns, -columns).sum(axis=0) + extra
        assert b.ranges[value] == (int(low.min()) - 1000, int(high.max()) + 900)


def test_a_window_that_leaves_counts_no_more_than_zero() -> None:
    """Of a value that is negative everywhere, or positive, beside the cells outside."""
    for low, high, wanted in ((-7, -1, (0, 21)), (1, 7, (-21, 0)), (-7, 0, (0, 21))):
        b = Builder(np.random.default_rng(8))
        x = b.input((5,), low, high)
        b.weights[b.add(Weight("w", (3,), -1, 0))] = np.full(3, -1)
        axes = (Bind(0, 0, (1, 1, -1)),), (Bind(sum=0),)
        value = b.add(Affine((5,), (), (Contraction(x, 1, (3,), *axes),)))
        assert b.ranges[value] == wanted


def test_an_index_is_bounded_by_differences() -> None:
    check(graph_of(Input("x", (2,), -(1 << 16), 1 << 16), ArgMax(0, 0, ())), None)
    with pytest.raises(RangeError, match="value 1: argument"):
        check(graph_of(Input("x", (2,), -(1 << 16), 1 + (1 << 16)), ArgMax(0, 0, ())), None)
    for low in (600_000_000, -600_000_000):
        check(graph_of(Input("x", (2,), low, low + 5), ArgMax(0, 0, ())), None)


def test_outputs_fit_their_codes() -> None:
    codec = Codec("codes", "uint8", 0, 4, 0, 9)
    graph = graph_of(Input("x", (1,), -4, 5))
    check(replace(graph, outputs=(Port("y", (1,), 0, codec),)), None)
    for wrong in (replace(codec, low=1), replace(codec, high=8), replace(codec, zero_point=5)):
        with pytest.raises(RangeError, match="output y"):
            check(replace(graph, outputs=(Port("y", (1,), 0, wrong),)), None)
