"""Tables, row by row: every (row, d) that the field admits gives the function, and nothing is left.

Together with the range analysis this is why a lookup proves a step: traps 4, 5, 7 and 9.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from proofml.circuits import ranges as ranges_module
from proofml.circuits import tables as tables_module
from proofml.circuits.field import ext5
from proofml.circuits.functions import Function, Relu, Requant, Steps, Table, bits_of
from proofml.circuits.graph import (
    ArgMax,
    Bind,
    Contraction,
    Graph,
    Ints,
    Maximum,
    Step,
)
from proofml.circuits.ranges import RangeError, ranges
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


def _exactly(most: int) -> Graph:
    """A windowed step whose argument is in [-most, most]."""
    b = Builder()
    x = b.input(2, low=-1, high=1)
    b.output(b.functions(b.affine((2,), b.term(x, most)), [Steps((-9000, 9000), (0, 1, 2))]))
    return Graph(tuple(b.nodes), tuple(b.inputs), tuple(b.outputs), {})


def test_trap_05_the_condition_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equality is refused, one less is not; the range analysis would refuse a little earlier."""
    monkeypatch.setattr(ranges_module, "ARGUMENT_LIMIT", 1 << 29)
    windows = plan(_exactly(P // 4 - (1 << 17))).windows[0]
    widths = (1 << windows.body) + (1 << windows.tail)
    assert (P - 1 - widths) % 4 == 0
    most = (P - 1 - widths) // 4
    assert 4 * most + widths + 1 == P
    made = plan(_exactly(most - 1))
    assert made.windows[0].delta == 2 * (most - 1) + (1 << windows.body) + 1
    for beyond in (most, most + 1, most + 5000):
        with pytest.raises(TableError, match="accumulator"):
            plan(_exactly(beyond))


def test_limits_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tables together, each direct one, and the least that windows need."""
    layout = CASES["mlp"]().layout
    rows = sum(table.rows for table in layout.plan.tables)
    monkeypatch.setattr(tables_module, "MAX_ROWS", rows)
    assert plan(layout.graph).rows == rows
    monkeypatch.setattr(tables_module, "MAX_ROWS", rows - 1)
    with pytest.raises(TableError, match="expected at most"):
        plan(layout.graph)
    intervals = sum(len(node.functions[0].starts(*ranges(layout.graph)[node.value]))
                    for node in layout.graph.nodes if isinstance(node, Step))  # fmt: skip
    monkeypatch.setattr(tables_module, "MAX_ROWS", intervals)
    with pytest.raises(TableError, match=r"have \d+ rows"):
        plan(layout.graph)
    monkeypatch.setattr(tables_module, "MAX_ROWS", intervals - 1)
    with pytest.raises(TableError, match=f"at least {intervals} rows"):
        plan(layout.graph)
    direct = CASES["tiny"]().graph
    monkeypatch.setattr(tables_module, "MAX_ROWS", 4)
    plan(direct)
    monkeypatch.setattr(tables_module, "MAX_ROWS", 3)
    with pytest.raises(TableError, match="4 arguments"):
        plan(direct)
    b = Builder()
    b.functions(b.input(2, 1, low=-2, high=1), [Table(-2, (0, k, 2, 3)) for k in range(2)], (0,))
    two = Graph(tuple(b.nodes), tuple(b.inputs), tuple(b.outputs), {})
    with pytest.raises(TableError, match="4 arguments"):
        plan(two)
    monkeypatch.setattr(tables_module, "MAX_ROWS", 7)
    with pytest.raises(TableError, match="4 arguments"):
        plan(two)
    monkeypatch.setattr(tables_module, "MAX_ROWS", 8)
    assert plan(two).rows == 8


def _contracted(k: int, most: int, weight: int | None, copies: int = 1) -> None:
    """Bounds of `copies` sums of k products of [0, most] with a weight, or with another input."""
    b = Builder()
    x = b.input(k, low=0, high=most)
    y = b.input(k, low=0, high=most) if weight is None else b.constant(np.full(k, weight))
    sides = ((Bind(sum=0),), (Bind(sum=0),))
    b.affine((), *(Contraction(x, y, (k,), *sides) for _ in range(copies)))


def test_trap_06_sums_that_int64_cannot_hold() -> None:
    """They are refused, and do not wrap around into a small bound."""
    _contracted(3, 1 << 29, 1 << 31)
    for args in ((16, 1 << 29, 1 << 31), (16, 1 << 29, -(1 << 31)), (3, 1 << 29, 1 << 31, 2),
                 (4, 1 << 31, None), (4, 1 << 29, 1 << 31)):  # fmt: skip
        with pytest.raises(RangeError, match="out of all bounds"):
            _contracted(*args)
    b = Builder()
    x = b.input(2, low=-(1 << 30), high=0)
    with pytest.raises(RangeError, match="out of all bounds"):
        b.affine((2,), b.term(x, 1 << 33))


def test_trap_05_differences_are_bounded() -> None:
    """left - right of a maximum, and value - value of an index, not only the values."""
    most = int(0.6 * ranges_module.ARGUMENT_LIMIT)

    def pair(left: tuple[int, int], right: tuple[int, int]) -> None:
        b = Builder()
        x = b.input(2, low=left[0], high=left[1])
        y = b.input(2, low=right[0], high=right[1])
        b.nodes.append(Maximum(x, y, (2,)))
        b.bounds()

    def index(low: int, high: int) -> None:
        b = Builder()
        b.nodes.append(ArgMax(b.input(2, low=low, high=high), 0, ()))
        b.bounds()

    pair((-most, 0), (0, 0))
    pair((-most, 0), (0, most // 2))
    with pytest.raises(RangeError):
        pair((-most, 0), (0, most))
    pair((0, 60_000), (-70_000, 0))
    with pytest.raises(RangeError):
        pair((0, 70_000), (-70_000, 0))
    index(-60_000, 60_000)
    with pytest.raises(RangeError):
        index(-70_000, 70_000)


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


def _stepped(length: int, cells: int, functions: int = 1, thresholds: int = 2) -> Graph:
    """Functions of `thresholds` + 1 intervals each, on 0 to length - 1."""
    b = Builder()
    x = b.input(functions, cells // functions, low=0, high=length - 1)
    values = [tuple(range(k, k + thresholds + 1)) for k in range(functions)]
    steps = [Steps(tuple(range(1, thresholds + 1)), v) for v in values]
    b.output(b.functions(x, steps, (0,) if functions > 1 else ()))
    return Graph(tuple(b.nodes), tuple(b.inputs), tuple(b.outputs), {})


@pytest.mark.parametrize(
    ("cells", "functions", "thresholds", "most"),
    [(2, 1, 2, 10), (1, 1, 2, 8), (5, 1, 2, 16), (2, 1, 4, 14), (4, 2, 2, 10), (6, 2, 2, 12)],
)
def test_what_is_written_out(cells: int, functions: int, thresholds: int, most: int) -> None:
    """As long as that has no more rows than two for each interval and two for each cell."""
    for length, windowed in ((most, False), (most + 1, True)):
        made = plan(_stepped(length, cells, functions, thresholds))
        assert (made.lookups[0].windows >= 0) == windowed
        assert len(made.windows) == windowed


@pytest.mark.parametrize(
    "functions",
    [
        [Table(0, (3,) * 41)],
        [Table(0, (3,) * 41), Steps((7,), (0, 1))],
        [Steps((7,), (0, 1)), Table(0, (3,) * 41)],
        [Relu()],
    ],
    ids=str,
)
def test_what_is_always_written_out(functions: list[Function]) -> None:
    """Functions that are stated as tables, however long their intervals are; also beside others."""
    b = Builder()
    x = b.input(len(functions), 1, low=0, high=40)
    b.output(b.functions(x, functions, (0,)))
    made = b.case().layout.plan
    assert made.lookups[0].windows == -1
    assert made.rows == 41 * len(functions)


def test_what_is_never_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_module, "MAX_DIRECT", 9)
    for length, windowed in ((9, False), (10, True)):
        assert (plan(_stepped(length, 100)).lookups[0].windows >= 0) == windowed


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


def _two_classes() -> Graph:
    b = Builder()
    x = b.input(2, low=-100, high=100)
    wide = b.affine((2,), b.term(x, 1000))
    b.output(b.functions(wide, [Steps((-50_000, 30_000), (0, 1, 2))]))
    b.output(b.functions(wide, [Requant(bits_of(0.02), -100, 100)]))
    b.output(b.functions(wide, [Requant(bits_of(0.5), -3000, 3000)]))
    return Graph(tuple(b.nodes), tuple(b.inputs), tuple(b.outputs), {})


def _mixed() -> Graph:
    b = Builder()
    x = b.input(3, 2, low=-100, high=100)
    wide = b.affine((3, 2), b.term(x, 77))
    scales = (0.9, 0.011, 0.05)
    b.output(b.functions(wide, [Requant(bits_of(s), -120, 90) for s in scales], (0,)))
    b.output(b.functions(b.affine((3, 2), b.term(x, 5000)), [Steps((-7, 90, 4000), (0, 1, 2, 3))]))
    return Graph(tuple(b.nodes), tuple(b.inputs), tuple(b.outputs), {})


def _outer() -> Graph:
    """Most of its rows are those of the last interval, [3, 139]."""
    b = Builder()
    b.output(b.functions(b.input(2, low=-5, high=139), [Steps((0, 3), (0, 1, 2))]))
    return Graph(tuple(b.nodes), tuple(b.inputs), tuple(b.outputs), {})


@pytest.mark.parametrize("make", [_outer, _two_classes, _mixed, lambda: CASES["mlp"]().graph,
                                  lambda: CASES["steps"]().graph])  # fmt: skip
def test_widths_are_those_with_the_fewest_rows(
    make: Callable[[], Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all widths; of several that are as good, the first."""
    graph = make()
    honest = tables_module._Planner._widths
    chosen: list[tuple[int, int]] = []

    def spied(self: tables_module._Planner, needs: list[tables_module._Need]) -> tuple[int, int]:
        chosen.append(honest(self, needs))
        return chosen[-1]

    monkeypatch.setattr(tables_module._Planner, "_widths", spied)
    rows = plan(graph).rows
    found = []
    for widths in itertools.product(range(2, 17), range(2, 17)):
        monkeypatch.setattr(tables_module._Planner, "_widths", lambda *_, own=widths: own)
        found.append((plan(graph).rows, widths))
    assert rows == min(found)[0]
    assert chosen == [min(found)[1]]
