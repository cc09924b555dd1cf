"""Tables, row by row: every (row, d) that the field admits gives the function, and nothing is left.

Together with the range analysis this is why a lookup proves a step: traps 4, 5, 7 and 9.
"""

from __future__ import annotations

import numpy as np
import pytest

from proofml.circuits.field import ext5
from proofml.circuits.functions import Function, Relu, Requant, Steps, Table, bits_of
from proofml.circuits.graph import ArgMax, Graph, Ints, Maximum, Step
from proofml.circuits.ranges import ranges
from proofml.circuits.tables import Cover, Lookup, Plan, TableError, plan
from proofml.zkml.sumcheck.tables_at import columns_at, ids_at

from .graphs import CASES, Builder, random_case

P = 2013265921
WITH_STEPS = [n for n in CASES if n != "linear"]


def audit(graph: Graph, made: Plan, lookup: Lookup) -> int:
    """Checks one lookup for every argument, row and d; returns how many arguments it covers."""
    node = graph.nodes[lookup.node]
    bounds = ranges(graph)
    table = made.tables[lookup.table]
    assert table.rows == len(table.id_of) == len(table.c2)
    low, high, functions = argument(graph, lookup, bounds)
    for number, function in zip(lookup.ids.tolist(), functions, strict=True):
        rows = np.flatnonzero(table.id_of == number)
        assert len(rows), "an id without rows"
        seen = np.zeros(high - low + 1, bool)
        d = np.zeros(1, np.int64)
        if lookup.windows >= 0:
            d = made.tables[made.windows[lookup.windows].table].c1
        reached = (table.c2[rows][:, None] + d[None, :]) % P  # every T + d in the field
        centred = np.where(reached > P // 2, reached - P, reached)
        ok = (centred >= low) & (centred <= high)
        y = np.broadcast_to(table.c1[rows][:, None], ok.shape)[ok]
        expected = np.zeros_like(y) if function is None else function.evaluate(centred[ok])
        assert (y == expected).all(), f"{node}: a row with a d gives another result"
        seen[centred[ok] - low] = True
        assert seen.all(), f"{node}: an argument has no row"
        if lookup.windows >= 0:
            # Also beyond the stated range, up to the largest argument of the class.
            most = (
                made.windows[lookup.windows].delta - (1 << made.windows[lookup.windows].body)
            ) // 2
            inside = (abs(centred) <= most) & ~ok
            body = reached[inside]
            assert body.size == 0 or (abs(centred[inside]) <= most).all()
    return high - low + 1


def argument(
    graph: Graph, lookup: Lookup, bounds: tuple[tuple[int, int], ...]
) -> tuple[int, int, list[Function | None]]:
    node = graph.nodes[lookup.node]
    if isinstance(node, Step):
        return *bounds[node.value], list(node.functions)
    if isinstance(node, Maximum):
        left, right = bounds[node.left], bounds[node.right]
        return left[0] - right[1], left[1] - right[0], [Relu()]
    if isinstance(node, ArgMax):
        low, high = bounds[node.value]
        return 0, high - low, [None]
    return *bounds[lookup.node], [None]


@pytest.mark.parametrize("name", WITH_STEPS)
def test_trap_04_every_row_and_every_offset(name: str) -> None:
    layout = CASES[name]().layout
    for lookup in layout.lookups:
        assert audit(layout.graph, layout.plan, lookup) > 0


@pytest.mark.parametrize("seed", range(30))
def test_trap_04_of_random_graphs(seed: int) -> None:
    layout = random_case(seed).layout
    for lookup in layout.lookups:
        audit(layout.graph, layout.plan, lookup)


@pytest.mark.parametrize("name", WITH_STEPS)
def test_trap_09_ids_are_distinct(name: str) -> None:
    """Every id belongs to one table; 0 to none, since leaves without a tuple have it."""
    made = CASES[name]().layout.plan
    ids = [i for t in made.tables for i in range(t.first_id, t.first_id + t.ids)]
    assert len(set(ids)) == len(ids)
    assert min(ids) == 1
    assert ids == list(range(1, len(ids) + 1))
    for table in made.tables:
        assert set(table.id_of.tolist()) == set(range(table.first_id, table.first_id + table.ids))
    for lookup in made.lookups:
        table = made.tables[lookup.table]
        assert set(lookup.ids.tolist()) <= set(table.id_of.tolist())
        if lookup.windows >= 0:
            assert made.windows[lookup.windows].table != lookup.table


@pytest.mark.parametrize("name", WITH_STEPS)
def test_the_witness_finds_its_rows(name: str) -> None:
    """`choose` and `row` give a row of the argument's function, for every argument."""
    layout = CASES[name]().layout
    bounds = ranges(layout.graph)
    for lookup in layout.lookups:
        low, high, functions = argument(layout.graph, lookup, bounds)
        table = layout.plan.tables[lookup.table]
        a = np.arange(low, high + 1)
        for k, function in enumerate(functions):
            channel = int(lookup.ids[k]) - table.first_id
            if isinstance(lookup.witness, Cover):
                row, d = lookup.witness.choose(a, channel)
                own = layout.plan.windows[lookup.windows]
                assert set(d.tolist()) <= set(layout.plan.tables[own.table].c1.tolist())
                assert (table.c2[row] + d == a).all()
            else:
                row = lookup.witness.row(a, channel)
                assert (table.c2[row] == a).all()
            assert (table.id_of[row] == lookup.ids[k]).all()
            want = np.zeros_like(a) if function is None else function.evaluate(a)
            assert (table.c1[row] == want).all()


def _one_step(a: int, function: Function) -> Graph:
    b = Builder()
    x = b.input(2, low=-100, high=100)
    b.output(b.functions(b.affine((2,), b.term(x, a)), [function]))
    return Graph(tuple(b.nodes), tuple(b.inputs), tuple(b.outputs), {})


def test_trap_05_the_largest_argument() -> None:
    """4 A + 2^w + 2^wt + 1 < p: the largest that fits, and the next."""
    function = Steps((-5_000_000, 7_000_000), (0, 1, 2))
    most = (P - 1) // 4
    good = plan(_one_step((most - (1 << 16)) // 100, function))
    for windows in good.windows:
        largest = (windows.delta - (1 << windows.body) - 1) // 2
        assert 4 * largest + (1 << windows.body) + (1 << windows.tail) + 1 < P
        assert largest == (most - (1 << 16)) // 100 * 100
    with pytest.raises((TableError, ValueError), match=r"accumulator|provable"):
        plan(_one_step(most // 100 + 1, function))


def test_trap_06_bounds_come_from_types() -> None:
    """The table of a step is as long as its operands' types make it, whatever came in."""
    graph = _one_step(100, Requant(bits_of(0.01), -50, 50))
    made = plan(graph)
    assert ranges(graph)[1] == (-10_000, 10_000)
    assert audit(graph, made, made.lookups[0]) == 20_001


def test_trap_07_a_range_table_for_each_width() -> None:
    """Steps whose windows differ do not share a range table, nor an id."""
    b = Builder()
    x = b.input(2, low=-100, high=100)
    wide = b.affine((2,), b.term(x, 1000))
    b.output(b.functions(wide, [Steps((-50_000, 30_000), (0, 1, 2))]))
    b.output(b.functions(wide, [Requant(bits_of(0.02), -100, 100)]))
    made = b.case().layout.plan
    assert len(made.windows) == 2
    assert made.windows[0].body != made.windows[1].body
    for windows in made.windows:
        table = made.tables[windows.table]
        assert table.ids == 1
        assert (table.c2 == 0).all()
        body, tail = 1 << windows.body, 1 << windows.tail
        assert table.c1.tolist() == [*range(body), *range(windows.delta, windows.delta + tail)]


def test_equal_functions_share_a_table() -> None:
    b = Builder()
    x, y = b.input(2), b.input(3)
    f = Table(-8, tuple(range(16)))
    b.output(b.functions(x, [f]))
    b.output(b.functions(y, [f]))
    made = b.case().layout.plan
    assert len(made.tables) == 1
    assert [lookup.table for lookup in made.lookups] == [0, 0]


def test_too_many_rows() -> None:
    """Refused before any is built: functions that change 64,000 times, one for each channel."""
    b = Builder()
    x = b.input(2, 70, low=-100, high=100)
    wide = b.affine((2, 70), b.term(x, 100_000))
    functions = [Requant(bits_of(0.001 * (1 + k)), -32000, 32000) for k in range(70)]
    b.functions(wide, functions, (1,))
    with pytest.raises(TableError, match="rows"):
        plan(Graph(tuple(b.nodes), tuple(b.inputs), tuple(b.outputs), {}))


@pytest.mark.parametrize("rows", [1, 2, 3, 31, 32, 33, 100])
def test_columns_at_a_point(rows: int) -> None:
    """Zero beyond the rows."""
    from proofml.circuits.tables import Table as Rows

    rng = np.random.default_rng(rows)
    columns: list[Ints] = [rng.integers(-(1 << 30), 1 << 30, rows) for _ in range(3)]
    z = [ext5.element(rng.integers(0, P, 5)) for _ in range((rows - 1).bit_length())]
    found = columns_at(Rows(1, 1, *columns), z)
    for column, at in zip(columns, found, strict=True):
        want = ext5.total(ext5.scale(ext5.eq_bits(z, i), int(v)) for i, v in enumerate(column))
        assert at == want


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 4, 2)])
def test_ids_at_a_point(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(7)
    ids = rng.integers(1, 100, int(np.prod(shape)))
    points = [rng.integers(0, P, (n, 5)).astype(np.uint64) for n in shape]
    want = ext5.ZERO
    for cell in np.ndindex(*shape):
        own = ext5.product(ext5.element(points[a][i]) for a, i in enumerate(cell))
        want = ext5.add(want, ext5.scale(own, int(ids.reshape(shape)[cell])))
    assert ids_at(ids, shape, points) == want
