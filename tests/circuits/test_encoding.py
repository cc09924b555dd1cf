"""Invariant: any JSON value gives a graph that writes it again, or `FieldError`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml import canonical
from proofml.circuits.axes import AxisMap
from proofml.circuits.encoding import graph_to_json, read_graph, validate
from proofml.circuits.functions import Relu, Requant, Table, bits_of
from proofml.circuits.graph import (
    ONES,
    Affine,
    ArgMax,
    Bind,
    Codec,
    Contraction,
    Graph,
    Input,
    Maximum,
    Node,
    Port,
    Reshape,
    Step,
    Term,
    View,
    Weight,
)
from proofml.fields import FieldError

from .oracle import Builder, random_graph, random_outputs

SEEDS = st.integers(0, 2**32 - 1)


def value_of(graph: Graph) -> Any:
    return canonical.loads(canonical.dumps(graph_to_json(graph)))


def fixed() -> Graph:
    """Every kind of node, window, group and codec."""
    b = Builder(np.random.default_rng(0))
    x = b.pooled(b.requant(b.conv(b.input((1, 1, 6, 6)), 4, 3, pad=1), (1,)), 2)
    grouped = b.grouped(b.add(Reshape(x, (1, 2, 2, 3, 3))), 2, 3)
    y = b.requant(grouped, (1, 2))
    flat = b.dense(b.add(Reshape(y, (1, 4))), 3)
    table = Table(-128, tuple(i % 7 for i in range(256)))
    last = b.add(Step(flat, (1, 3), (table,)))
    index = b.add(ArgMax(last, 1, (1,)))
    graph = b.graph(last, index)
    codec = Codec("quantise", "float32", bits_of(0.1), 128, 0, 255)
    out = Codec("dequantise", "float32", bits_of(0.2), -3, -128, 127)
    return replace(
        graph,
        inputs=(replace(graph.inputs[0], codec=codec),),
        outputs=(replace(graph.outputs[0], codec=out), graph.outputs[1]),
    )


@settings(max_examples=200)
@given(SEEDS)
def test_round_trip_of_any_graph(seed: int) -> None:
    graph = random_outputs(random_graph(seed))
    validate(graph)
    assert read_graph(value_of(graph)) == graph


def test_round_trip_and_sharing() -> None:
    graph = fixed()
    value = value_of(graph)
    back = read_graph(value)
    assert back == graph
    assert graph.to_json() == value
    assert len({canonical.dumps(m) for m in value["maps"]}) == len(value["maps"])
    assert len({canonical.dumps(v) for v in value["views"]}) == len(value["views"])


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(JSONS)
def test_any_value(value: object) -> None:
    with pytest.raises(FieldError):
        read_graph(value)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(sorted(value_of(fixed()))), JSONS))
def test_any_values_under_the_right_keys(parts: dict[str, object]) -> None:
    read_or_refuse({**value_of(fixed()), **parts})


def read_or_refuse(value: object) -> None:
    try:
        graph = read_graph(value)
    except FieldError:
        return
    assert graph_to_json(graph) == value
    assert canonical.dumps(graph_to_json(graph)) == canonical.dumps(value)  # type: ignore[arg-type]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from places(value[index], (*path, index))


def parent(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


REPLACEMENTS: tuple[Callable[[Any], Any], ...] = (
    lambda v: v + 1 if isinstance(v, int) else [v],
    lambda v: v - 1 if isinstance(v, int) else {},
    lambda v: -v if isinstance(v, int) else None,
    lambda v: 1 << 40 if isinstance(v, int) else v[::-1] if isinstance(v, list) else 0,
    lambda v: float(v) if isinstance(v, int) else v[:-1] if isinstance(v, (list, str)) else "x",
    lambda v: bool(v),
    lambda v: [*v, *v[-1:]] if isinstance(v, list) else str(v),
    lambda v: str(v),
)


@pytest.mark.parametrize("which", range(len(REPLACEMENTS)))
def test_every_place_changed(which: int) -> None:
    """Each value of the JSON of a graph with all kinds of nodes, replaced in eight ways."""
    original = value_of(fixed())
    for path in places(original):
        if path[0] == "functions" and len(path) > 4 and path[-1] > 5:
            continue  # the values of the table are all alike
        value = copy.deepcopy(original)
        holder = parent(value, path)
        holder[path[-1]] = REPLACEMENTS[which](holder[path[-1]])
        read_or_refuse(value)


@settings(max_examples=300)
@given(SEEDS, st.data())
def test_any_graph_changed_in_places(seed: int, data: st.DataObject) -> None:
    value = value_of(random_outputs(random_graph(seed, 4)))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(value))))
        holder = parent(value, path)
        old = holder[path[-1]]
        kind = data.draw(st.integers(0, 3))
        if kind == 0 and isinstance(old, int):
            holder[path[-1]] = old + data.draw(st.integers(-3, 3))
        elif kind == 1:
            donor = data.draw(st.sampled_from(list(places(value))))
            holder[path[-1]] = copy.deepcopy(parent(value, donor)[donor[-1]])
        elif kind == 2:
            del holder[path[-1]]
        else:
            holder[path[-1]] = data.draw(JSONS)
    read_or_refuse(value)


def test_numbers_that_are_equal_but_no_integers() -> None:
    for wrong in (1.0, True):
        value = value_of(fixed())
        assert value["nodes"][0][2][0] == 1
        value["nodes"][0][2][0] = wrong
        with pytest.raises(FieldError):
            read_graph(value)


def test_tables_hold_what_is_used_in_the_order_of_use() -> None:
    for name in ("maps", "views", "functions"):
        value = value_of(fixed())
        value[name].append(value[name][0])
        with pytest.raises(FieldError, match="first use"):
            read_graph(value)


X = Input("x", (2, 3), -4, 4)
ROW, COLUMN = (0, AxisMap.identity(2)), (1, AxisMap.identity(3))
SAME = View((2, 3), (ROW, COLUMN))
W = Weight("w", (3, 4), -1, 1)
BINDS = (Bind(0), Bind(sum=0)), (Bind(sum=0), Bind(1))
PRODUCT = Contraction(0, 1, (3,), *BINDS)
DEEP = Affine((2, 4), (), (PRODUCT,))
FLOATS = Codec("dequantise", "float32", bits_of(0.5), 0, -128, 127)
CODES = Codec("codes", "int8", 0, 0, -4, 4)


def graph_of(*nodes: Node, **changes: Any) -> Graph:
    inputs = tuple(
        Port(n.name, n.shape, i, replace(CODES, low=n.low, high=n.high))
        for i, n in enumerate(nodes)
        if isinstance(n, Input)
    )
    last = len(nodes) - 1
    outputs = (Port("y", nodes[last].shape, last, Codec("codes", "int64", 0, 0, -99, 99)),)
    return replace(Graph(nodes, inputs, outputs, {}), **changes)


def view(*axes: tuple[int, AxisMap], shape: tuple[int, ...] = (2, 3)) -> Affine:
    return Affine(shape, (Term(1, 0, View(shape, axes)),))


def product(
    left: int = 0, right: int = 1, shape: tuple[int, ...] = (2, 4), **fields: Any
) -> Affine:
    given = replace(PRODUCT, left=left, right=right)
    return Affine(shape, (), (replace(given, **fields),))


def windowed(*window: int) -> Affine:
    axes = (Bind(0), Bind(1, 0, window)), (Bind(sum=0),)  # type: ignore[arg-type]
    return Affine((2, 2), (), (Contraction(0, 1, (2,), *axes),))


PAIR = Weight("w", (2,), -1, 1)
GOOD = {
    "view": (X, view(ROW, COLUMN)),
    "ones": (X, Affine((2, 3), (Term(-1, ONES, View((2, 3), ())),))),
    "product": (X, W, product()),
    "window": (X, PAIR, windowed(1, 1, 0)),
    "deep to step": (X, W, DEEP, Step(2, (2, 4), (Requant(bits_of(0.1), -1, 1),))),
    "deep to view": (X, W, DEEP, Affine((2, 4), (Term(1, 2, View.identity((2, 4))),))),
}


@pytest.mark.parametrize("nodes", GOOD.values(), ids=GOOD)
def test_what_the_rules_allow(nodes: tuple[Node, ...]) -> None:
    graph = graph_of(*nodes)
    validate(graph)
    assert read_graph(value_of(graph)) == graph


LOOSE = AxisMap(3, 3, ((0, 0, 1), (1, 1, 1), (2, 2, 1)))
WEIGHTED = AxisMap.of(3, 3, [(i, j, 1 << 20) for i in range(3) for j in range(3)])
BAD: dict[str, tuple[Node, ...]] = {
    "an operand that comes later": (X, Reshape(2, (6,)), Reshape(0, (6,))),
    "a node that reads itself": (X, Reshape(1, (6,))),
    "rank": (Input("x", (1,) * 9, 0, 1),),
    "cells": (Input("x", (1 << 13, 1 << 14), 0, 1),),
    "no cells": (Input("x", (0,), 0, 1),),
    "a number of another type": (Input("x", (np.int64(2),), 0, 1),),  # type: ignore[arg-type]
    "an empty interval": (Input("x", (1,), 1, 0),),
    "a range beyond the field": (Input("x", (1,), 0, 1 << 30),),
    "a weight's range without 0": (X, Weight("w", (1,), 1, 2)),
    "a line break in a name": (Input("x\n", (1,), 0, 1),),
    "nothing summed": (X, Affine((2, 3), ())),
    "a coefficient of 0": (X, Affine((2, 3), (Term(0, 0, SAME),))),
    "a large coefficient": (X, Affine((2, 3), (Term(1 << 21, 0, SAME),))),
    "a view of another shape": (X, Affine((2, 4), (Term(1, 0, SAME),))),
    "a view of another source": (X, view(ROW)),
    "one axis twice": (X, view(ROW, (0, AxisMap.window(2, 3)))),
    "an axis that is not there": (X, view(ROW, (2, AxisMap.identity(3)))),
    "a map to another length": (X, view((1, AxisMap.identity(2)), (0, AxisMap.identity(3)))),
    "a sum that is left over": (X, view(ROW, (-1, AxisMap.identity(3)))),
    "an identity in disguise": (X, view(ROW, (1, LOOSE))),
    "unsorted entries": (X, view(ROW, (1, AxisMap(3, 3, ((1, 0, 1), (0, 0, 1)))))),
    "an entry outside": (X, view(ROW, (1, AxisMap(3, 3, ((0, 3, 1),))))),
    "a coefficient in a map": (X, view(ROW, (1, AxisMap(3, 3, ((0, 0, -1),))))),
    "a long reach": (X, Affine((2, 3), (Term(1 << 12, 0, View((2, 3), (ROW, (1, WEIGHTED)))),))),
    "other cells": (X, Reshape(0, (7,))),
    "a step's shape": (X, Step(0, (3, 2), (Relu(),))),
    "too few functions": (X, Step(0, (2, 3), (Relu(),), (1,))),
    "axes of functions out of order": (X, Step(0, (2, 3), (Relu(),) * 6, (1, 0))),
    "an axis of functions that is not there": (X, Step(0, (2, 3), (Relu(),), (2,))),
    "a function out of bounds": (X, Step(0, (2, 3), (Requant(0, 0, 1),))),
    "unequal shapes": (X, Input("y", (3, 2), 0, 1), Maximum(0, 1, (2, 3))),
    "an index of another axis": (X, ArgMax(0, 2, (2,))),
    "an index of another shape": (X, ArgMax(0, 1, (3,))),
    "an index that is read": (X, ArgMax(0, 1, (2,)), Reshape(1, (2,))),
    "the weight on the left": (X, W, product(1, 0)),
    "too few axes": (X, W, product(left_axes=(Bind(0),))),
    "an axis bound to nothing": (X, W, product(left_axes=(Bind(0), Bind()))),
    "an axis bound to another length": (X, W, product(sums=(4,))),
    "a result axis that nobody has": (X, W, product(shape=(2, 4, 5))),
    "a summed axis that nobody has": (X, W, product(sums=(3, 2))),
    "a summed axis that is not there": (X, W, product(left_axes=(Bind(0), Bind(sum=1)))),
    "one axis bound twice": (
        Input("x", (2, 2), 0, 1),
        PAIR,
        product(shape=(2,), sums=(2,), left_axes=(Bind(0), Bind(0)), right_axes=(Bind(sum=0),)),
    ),
    "a group in a window": (
        X,
        Weight("w", (2,), 0, 1),
        Affine(
            (2, 2),
            (),
            (Contraction(0, 1, (2,), (Bind(0), Bind(1, 0, (1, 1, 0))), (Bind(1, 0),)),),
        ),
    ),
    "two groups of one sum": (
        Input("x", (2, 2), 0, 1),
        Weight("w", (2, 2), 0, 1),
        Affine(
            (2, 2),
            (),
            (Contraction(0, 1, (2,), (Bind(0, 0), Bind(1)), (Bind(1, 0), Bind(0))),),
        ),
    ),
    "a window without a sum": (X, PAIR, product(left_axes=(Bind(0), Bind(1, -1, (1, 1, 0))))),
    "a window on the right": (
        X,
        Weight("w", (5,), 0, 1),
        Affine(
            (2, 2),
            (),
            (Contraction(0, 1, (3,), (Bind(0), Bind(sum=0)), (Bind(1, 0, (1, 1, 0)),)),),
        ),
    ),
    "a stride of 0": (X, PAIR, windowed(0, 1, 0)),
    "a dilation of 0": (X, PAIR, windowed(1, 0, 0)),
    "a window far away": (X, PAIR, windowed(1, 1, -(1 << 25))),
    "deep to reshape": (X, W, DEEP, Reshape(2, (8,))),
    "deep to maximum": (X, W, DEEP, Maximum(2, 2, (2, 4))),
    "deep to index": (X, W, DEEP, ArgMax(2, 1, (2,))),
    "deep to product": (X, W, DEEP, Weight("v", (4, 4), 0, 1), product(2, 3, sums=(4,))),
    "deep beside a product": (
        X,
        W,
        DEEP,
        Affine((2, 4), (Term(1, 2, View.identity((2, 4))),), (PRODUCT,)),
    ),
    "deep through a view": (
        X,
        W,
        DEEP,
        Affine((2, 4), (Term(1, 2, View.identity((2, 4))),)),
        Reshape(3, (8,)),
    ),
}


@pytest.mark.parametrize("nodes", BAD.values(), ids=BAD)
def test_what_the_rules_forbid(nodes: tuple[Node, ...]) -> None:
    graph = graph_of(*nodes)
    with pytest.raises(FieldError):
        validate(graph)
    if not any(isinstance(length, np.int64) for length in nodes[0].shape):  # else it has no JSON
        with pytest.raises(FieldError):
            read_graph(value_of(graph))


PORT = Port("y", (2, 3), 0, CODES)
BAD_PORTS: dict[str, dict[str, Any]] = {
    "no outputs": {"outputs": ()},
    "one name twice": {"outputs": (PORT, PORT)},
    "an input without a port": {"inputs": ()},
    "two ports of one input": {"inputs": (replace(PORT, name="x"), replace(PORT, name="z"))},
    "another name": {"inputs": (PORT,)},
    "another range": {"inputs": (replace(PORT, name="x", codec=replace(CODES, high=5)),)},
    "an input's codec for an output": {
        "outputs": (replace(PORT, codec=replace(FLOATS, kind="quantise")),)
    },
    "another shape": {"outputs": (replace(PORT, shape=(3, 2)),)},
    "a value that is not there": {"outputs": (replace(PORT, value=1),)},
    "another kind": {"outputs": (replace(PORT, codec=replace(CODES, kind="raw")),)},
    "codes of a float": {"outputs": (replace(PORT, codec=replace(CODES, dtype="float32")),)},
    "codes with a scale": {"outputs": (replace(PORT, codec=replace(CODES, scale=1)),)},
    "codes beyond their type": {"outputs": (replace(PORT, codec=replace(CODES, high=128)),)},
    "an empty range": {"outputs": (replace(PORT, codec=replace(CODES, high=-5)),)},
    "floats of another type": {"outputs": (replace(PORT, codec=replace(FLOATS, dtype="int8")),)},
    "a scale of 0": {"outputs": (replace(PORT, codec=replace(FLOATS, scale=0)),)},
    "a negative scale": {"outputs": (replace(PORT, codec=replace(FLOATS, scale=1 << 31)),)},
    "an infinite value": {"outputs": (replace(PORT, codec=replace(FLOATS, scale=0x7F000000)),)},
    "too many codes": {"outputs": (replace(PORT, codec=replace(FLOATS, low=-9, high=65535)),)},
    "a zero point outside": {"outputs": (replace(PORT, codec=replace(FLOATS, zero_point=128)),)},
    "another class": {"classes": {"F": ("a",)}},
    "a class of no lines": {"classes": {"E": ("a\n",)}},
}


@pytest.mark.parametrize("changes", BAD_PORTS.values(), ids=BAD_PORTS)
def test_ports_that_do_not_fit(changes: dict[str, Any]) -> None:
    validate(graph_of(X, outputs=(PORT,)))
    validate(graph_of(X, outputs=(replace(PORT, codec=FLOATS),)))
    graph = graph_of(X, **{"outputs": (PORT,), **changes})
    with pytest.raises(FieldError):
        validate(graph)
    with pytest.raises(FieldError):
        read_graph(value_of(graph))


def test_work_is_bounded_before_it_is_done() -> None:
    """Many views of large tensors, in few bytes."""
    shape = (1 << 13, 1 << 13)
    nodes = [
        Input("x", shape, 0, 1),
        *(Affine(shape, (Term(1, 0, View.identity(shape)),)) for _ in range(9)),
    ]
    with pytest.raises(FieldError, match="cells in all"):
        validate(graph_of(*nodes))


def test_an_axis_of_the_result_on_both_sides_is_refused() -> None:
    """Its weight would enter twice: the product of two partial evaluations is not the result's."""
    graph = Builder(np.random.default_rng(0))
    x = graph.input((3,), -5, 5)
    w = graph.weight((3,), -5, 5)
    both = Contraction(x, w, (), (Bind(out=0),), (Bind(out=0),))
    graph.add(Affine((3,), (), (both,), -25, 25))
    with pytest.raises(FieldError, match="each axis of the result on one side"):
        validate(graph.graph())


def test_a_sum_on_one_side_only_is_refused() -> None:
    graph = Builder(np.random.default_rng(0))
    x = graph.input((3,), -5, 5)
    w = graph.weight((2,), -5, 5)
    one = Contraction(x, w, (3,), (Bind(sum=0),), (Bind(out=0),))
    graph.add(Affine((2,), (), (one,), -75, 75))
    with pytest.raises(FieldError, match="each of 1 sums once"):
        validate(graph.graph())
