"""One summand of one cell, from single leaves: what an arbiter does, against all states at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.circuits.graph import Ints
from proofml.optimistic import cells, indexing
from proofml.optimistic.commit import Committed, commit_tensor
from proofml.optimistic.folding import apply_rule, evaluate, start
from proofml.optimistic.lower import lower
from proofml.optimistic.merkle import root_of
from proofml.optimistic.program import Fold, Operand, Operator, Rule, Source

from ..circuits.oracle import random_graph, random_outputs
from ..sumcheck.graphs import CASES
from .conftest import Run


def opened_record(run: Run, record: indexing.Record) -> bytes:
    """Its bytes, from a leaf whose path is checked."""
    table = record.table
    leaf, path = run.tables.committed[table.root].opening(record.leaf)
    count = indexing.leaves_of(table)
    assert root_of(leaf, record.leaf, count, path) == table.root
    assert len(leaf) == indexing.leaf_bytes(table, record.leaf)
    return leaf[record.start : record.end]


def opened_cell(committed: Committed, operand: Operand, flat: int) -> int:
    chunk, at = cells.place(operand.cells, flat)
    leaf, path = committed.opening(chunk)
    assert root_of(leaf, chunk, operand.cells.chunks, path) == committed.root
    return cells.value(operand.cells, leaf, at)


def committed(run: Run, operand: Operand, tensor: Ints) -> Committed:
    if operand.source is Source.WEIGHT:
        assert run.tables.committed[operand.root].root == operand.root
        return run.tables.committed[operand.root]
    return commit_tensor(operand.cells, tensor)


def summand(run: Run, number: int, cell: int, j: int) -> int:
    """Computed from opened leaves only."""
    operator = run.program.operators[number]
    place = indexing.at(operator, cell, j)
    result = place.part.coefficient
    for right, operand in ((False, place.part.left), (True, place.part.right)):
        if operand is None:
            continue
        at = indexing.operand_number(operator, place.number, right=right)
        if at is None:
            assert operand.source is Source.ONES
            continue
        entries = [
            indexing.read_entry(opened_record(run, record))
            for record in indexing.wanted(operand, place)
        ]
        flat, factor = indexing.cell(operand, place, entries)
        if flat is None:
            return 0
        tensor = run.fetch(number).tensor(at, operand)
        result *= factor * opened_cell(committed(run, operand, tensor), operand, flat)
    return result


def step(operator: Operator, state: int, j: int, value: int, best: int) -> int:
    match operator.fold:
        case Fold.SUM:
            return state + value
        case Fold.MAXIMUM:
            return max(state, value)
        case Fold.ARGMAX:
            return j if value > best else state


def compare(run: Run, rng: np.random.Generator, most: int) -> None:
    for number, operator in enumerate(run.program.operators):
        for cell in {int(n) for n in rng.integers(0, operator.cells.count, 3)}:
            states = evaluate(operator, cell, run.fetch(number))
            assert states[0] == start(operator)
            for j in {int(n) for n in rng.integers(0, operator.summands, most)}:
                state = int(states[j])
                best = summand(run, number, cell, state) if operator.fold is Fold.ARGMAX else 0
                value = summand(run, number, cell, j)
                assert step(operator, state, j, value, best) == states[j + 1]
            rule(run, operator, cell, int(states[-1]), int(run.operator(number).flat[cell]))


def rule(run: Run, operator: Operator, cell: int, state: int, wanted: int) -> None:
    """The record that `rule_record` names makes the cell of the state."""
    number = run.tables.rule_record(operator, cell, state)
    table = operator.output.table
    if table is None:
        assert number is None
        return
    assert number is not None
    data = opened_record(run, indexing.Record(table, number))
    channel = indexing.channel_of(operator, cell)
    if operator.output.rule is Rule.REQUANT:
        assert number == channel
        scale, low, high = indexing.read_requant(data)
        with np.errstate(over="ignore"):
            product = np.float32(state) * np.uint32(scale).view(np.float32)
        assert wanted == int(np.rint(np.clip(product, np.float32(low), np.float32(high))))
    else:
        found, first, last, value = indexing.read_interval(data)
        assert found == channel
        assert first <= state <= last
        assert value == wanted


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_node(name: str) -> None:
    case = CASES[name]()
    compare(Run.of(case.graph, case.weights, case.inputs()), np.random.default_rng(0), 8)


@given(st.integers(0, 2**32 - 1))
def test_any_graph(seed: int) -> None:
    b = random_graph(seed)
    run = Run.of(random_outputs(b), b.weights, b.feed())
    compare(run, np.random.default_rng(seed), 3)


shapes = st.lists(st.integers(1, 5), max_size=4).map(tuple)


@given(shapes, st.data())
def test_flat_indices(shape: tuple[int, ...], data: st.DataObject) -> None:
    count = int(np.prod(shape, dtype=int))
    flat = data.draw(st.integers(0, count - 1))
    index = indexing.unravel(flat, shape)
    assert index == tuple(int(i) for i in np.unravel_index(flat, shape))
    assert indexing.ravel(index, shape) == flat
    with pytest.raises(ValueError, match="one beyond"):
        indexing.unravel(count, shape)


def with_tables() -> Operator:
    """An operator of which an operand is indexed by a table."""
    for seed in range(100):
        b = random_graph(seed)
        for operator in lower(random_outputs(b), b.weights)[0].operators:
            if any(axis.table for part in operator.parts for axis in part.left.axes):
                return operator
    raise AssertionError("none")


def test_what_is_not_there() -> None:
    operator = with_tables()
    for cell, j in ((-1, 0), (operator.cells.count, 0), (0, -1), (0, operator.summands)):
        with pytest.raises(ValueError, match="expected below"):
            indexing.at(operator, cell, j)
    number = next(i for i, p in enumerate(operator.parts) if any(a.table for a in p.left.axes))
    skipped = sum(part.count for part in operator.parts[:number])
    place = indexing.at(operator, 0, skipped)
    operand = place.part.left
    wanted = indexing.wanted(operand, place)
    for entries in ([], [(0, 1)] * (len(wanted) + 1)):
        with pytest.raises(ValueError, match="record"):
            indexing.cell(operand, place, entries)
    for index in (-2, max(operand.cells.shape)):
        with pytest.raises(ValueError, match="a record: expected an index"):
            indexing.cell(operand, place, [(index, 1)] * len(wanted))
    with pytest.raises(ValueError, match="no such operand"):
        indexing.operand_number(operator, len(operator.parts), right=False)
    table = wanted[0].table
    with pytest.raises(ValueError, match="expected one of"):
        indexing.leaf_bytes(table, indexing.leaves_of(table))
    for read in (indexing.read_entry, indexing.read_requant, indexing.read_interval):
        with pytest.raises(ValueError, match="record: expected"):
            read(bytes(7))


def test_no_interval_holds_it() -> None:
    case = CASES["steps"]()
    run = Run.of(case.graph, case.weights, case.inputs())
    operator = next(o for o in run.program.operators if o.output.rule is Rule.INTERVALS)
    table = operator.output.table
    assert table is not None
    records = run.tables.records(table)
    for state in (int(records[0, 1]) - 1, int(records[-1, 2]) + 1):
        with pytest.raises(ValueError, match="no interval"):
            run.tables.rule_record(operator, 0, state)
        with pytest.raises(ValueError, match="no interval"):
            apply_rule(operator, 0, state, records)
