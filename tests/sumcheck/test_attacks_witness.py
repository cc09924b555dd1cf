"""Lies in the witness: every committed column and every lookup of every case, in three depths.

naive       the lie is followed everywhere: the fractions do not add up        sumcheck.9
leaves      leaves as if honest, the committed column lies: the leaves' claims 11, 12
claims      leaves and claims as if honest: only the opening knows better      15
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from proofml.circuits.graph import ArgMax, Input, Ints, Maximum, Step
from proofml.circuits.tables import Direct
from proofml.zkml.sumcheck import proving
from proofml.zkml.sumcheck.columns import Columns, columns_of, place
from proofml.zkml.sumcheck.keys import commit_ports
from proofml.zkml.sumcheck.layout import MODEL, PORTS, WITNESS, lookup_shape
from proofml.zkml.sumcheck.prover import _leaves

from .graphs import CASES
from .malicious import Lie, Trial, argmax_numbers, bump, copied, rerun, swapped_ids, witness

Get = Callable[[str], Trial]

ROOT, NUMERATORS, DENOMINATORS = "sumcheck.9", "sumcheck.11", "sumcheck.12"
OUTPUTS, OPENING = "sumcheck.13", "sumcheck.15"


def blocks(tree: str | None = None) -> list[tuple[str, str, str]]:
    """(case, tree, block) of everything that is committed, but the salt."""
    return [
        (name, place, block)
        for name, make in CASES.items()
        for place, stack in make().layout.trees.items()
        for block in stack.blocks
        if block != "salt" and tree in (None, place)
    ]


def lookups(*kinds: type, windowed: bool | None = None) -> list[tuple[str, int]]:
    return [
        (name, index)
        for name, make in CASES.items()
        for index, lookup in enumerate(make().layout.lookups)
        if isinstance(make().graph.nodes[lookup.node], kinds)
        and windowed in (None, lookup.windows >= 0)
    ]


def forced(trial: Trial, number: int, value: Ints) -> list[Ints]:
    return rerun(trial, {number: value})


# -- the result of a lookup --------------------------------------------------------------------


@pytest.mark.parametrize(("name", "index"), lookups(Step, Maximum))
def test_a_result_off_by_one(name: str, index: int, trial: Get) -> None:
    """Everything after it follows from it, the public outputs as well."""
    run = trial(name)
    number = run.layout.lookups[index].node
    low, high = run.key.executor._ranges[number]
    other = bump(run.values[number], low, high)
    if other is None:
        pytest.skip("a constant function")
    values = forced(run, number, other)
    proof = run.prove(columns=witness(run, values), values=values)
    assert run.refused(proof, public=run.public_of(values)) == ROOT


@pytest.mark.parametrize(("name", "index"), lookups(Maximum))
@pytest.mark.parametrize("kind", ["smaller", "larger", "right"])
def test_a_maximum_that_is_none(name: str, index: int, kind: str, trial: Get) -> None:
    """Trap 12: an upper bound that nobody attains, or the wrong one of the two."""
    run = trial(name)
    number = run.layout.lookups[index].node
    node = run.case.graph.nodes[number]
    assert isinstance(node, Maximum)
    left, right = run.values[node.left], run.values[node.right]
    wrong = {"smaller": np.minimum(left, right), "larger": np.maximum(left, right) + (left > right),
             "right": right}[kind]  # fmt: skip
    assert (wrong != run.values[number]).any()
    values = list(run.values)
    values[number] = wrong
    assert run.refused(run.prove(columns=witness(run, values), values=values)) == ROOT


@pytest.mark.parametrize(("name", "index"), lookups(ArgMax))
@pytest.mark.parametrize("kind", ["later tie", "smaller value"])
def test_an_index_that_is_not_the_first_maximum(
    name: str, index: int, kind: str, trial: Get
) -> None:
    run = trial(name)
    number = run.layout.lookups[index].node
    node = run.case.graph.nodes[number]
    assert isinstance(node, ArgMax)
    y = np.moveaxis(run.values[node.value], node.axis, -1)
    best = y.max(axis=-1, keepdims=True)
    wanted = (y == best) if kind == "later tie" else (y < best)
    rows = np.argwhere(wanted.sum(axis=-1) > (kind == "later tie"))
    assert len(rows), "the case has no such row"
    row = tuple(rows[0])
    wrong = run.values[number].copy()
    wrong[row] = np.flatnonzero(wanted[row])[-1]
    assert wrong[row] != run.values[number][row]
    values = forced(run, number, wrong)
    proof = run.prove(columns=witness(run, values), values=values)
    assert run.refused(proof, public=run.public_of(values)) == ROOT
    # The honest witness under the wrong public index.
    assert run.refused(run.prove(), public=run.public_of(values)) == DENOMINATORS


@pytest.mark.parametrize("name", [n for n in CASES if argmax_numbers(CASES[n]())])
@pytest.mark.parametrize("beyond", [-1, 0, 1000], ids=["below", "first", "far"])
def test_an_index_outside(name: str, beyond: int, trial: Get) -> None:
    run = trial(name)
    for number in argmax_numbers(run.case):
        node = run.case.graph.nodes[number]
        assert isinstance(node, ArgMax)
        length = run.case.graph.shape(node.value)[node.axis]
        index = beyond if beyond < 0 else length + beyond
        public = dict(run.public)
        public[number] = public[number].copy()
        public[number].reshape(-1)[0] = index
        assert run.refused(run.prove(), public=public) == "sumcheck.7"


# -- offsets within windows --------------------------------------------------------------------


def _moved(run: Trial, index: int, choose: Callable[[Columns, int], Ints | None]) -> Columns | None:
    """Columns with another d, and the multiplicities of the rows that its lookup then meets."""
    lookup = run.layout.lookups[index]
    found = copied(columns_of(run.layout, run.values))
    d = choose(found, index)
    if d is None:
        return None
    found.blocks[f"d{lookup.node}"] = d
    return found


@pytest.mark.parametrize(("name", "index"), lookups(Step, windowed=True))
@pytest.mark.parametrize("delta", [1, -1])
def test_an_offset_off_by_one(name: str, index: int, delta: int, trial: Get) -> None:
    run = trial(name)
    wrong = _moved(run, index, lambda c, i: bump(c.blocks[f"d{run.layout.lookups[i].node}"],
                                                 by=delta))  # fmt: skip
    assert run.refused(run.prove(columns=wrong)) == ROOT


def _other_rows(run: Trial, index: int, *, same: bool) -> Iterator[tuple[int, int, int]]:
    """(row, d, cell) for rows of the step's table that cell could use but for the range of d."""
    layout = run.layout
    lookup = layout.lookups[index]
    table = layout.plan.tables[lookup.table]
    windows = layout.plan.windows[lookup.windows]
    allowed = set(layout.plan.tables[windows.table].c1.tolist())
    columns = columns_of(layout, run.values)
    c1, argument = columns.lookups[index]
    shape = lookup_shape(layout.graph, lookup)
    dims = [n if axis in lookup.channel else 1 for axis, n in enumerate(shape)]
    ids = np.broadcast_to(lookup.ids.reshape(dims), shape).reshape(-1)
    for cell in range(ids.size):
        y, a = int(c1.reshape(-1)[cell]), int(argument.reshape(-1)[cell])
        for row in np.flatnonzero(table.id_of == ids[cell]):
            d = a - int(table.c2[row])
            if (int(table.c1[row]) == y) == same and d not in allowed:
                yield int(row), d, cell
                break


@pytest.mark.parametrize(("name", "index"), lookups(Step, windowed=True))
@pytest.mark.parametrize("same", [True, False], ids=["same result", "other result"])
def test_a_window_that_the_argument_is_not_in(
    name: str, index: int, same: bool, trial: Get
) -> None:
    """Traps 4 and 5: a row that exists, reached by a d beyond its width, or across tail and body.

    With another row comes another result; it is committed, and the row's multiplicity counts.
    """
    run = trial(name)
    lookup = run.layout.lookups[index]
    found = next(_other_rows(run, index, same=same), None)
    if found is None:
        pytest.skip("the table has one row")
    row, d, cell = found
    table = run.layout.plan.tables[lookup.table]
    values = list(run.values)
    if not same:
        value = run.values[lookup.node].copy()
        value.reshape(-1)[cell] = table.c1[row]
        values = forced(run, lookup.node, value)
    wrong = copied(witness(run, values))
    block = f"d{lookup.node}"
    wrong.blocks[block].reshape(-1)[cell] = d
    before = lookup.witness.choose(wrong.lookups[index][1], 0) if not lookup.channel else None
    if before is not None:
        wrong.blocks[f"m{lookup.table}"][before[0].reshape(-1)[cell]] -= 1
        wrong.blocks[f"m{lookup.table}"][row] += 1
    assert (
        run.refused(run.prove(columns=wrong, values=values), public=run.public_of(values)) == ROOT
    )


# -- tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "block"), [(n, b) for n, _, b in blocks(WITNESS) if b.startswith("m")]
)
def test_a_wrong_multiplicity(name: str, block: str, trial: Get) -> None:
    """One more, and one moved from a row to another."""
    run = trial(name)
    more = copied(columns_of(run.layout, run.values))
    more.blocks[block][0] += 1
    assert run.refused(run.prove(columns=more)) == ROOT
    if len(more.blocks[block]) > 1:
        more.blocks[block][-1] -= 1
        assert run.refused(run.prove(columns=more)) == ROOT


@pytest.mark.parametrize(
    ("name", "index"), [(n, i) for n, i in lookups(Step) if CASES[n]().layout.lookups[i].channel]
)
def test_trap_09_the_function_of_another_channel(name: str, index: int, trial: Get) -> None:
    """Outputs, leaves and multiplicities follow; only the ids at the leaves tell."""
    run = trial(name)
    lookup = run.layout.lookups[index]
    node = run.case.graph.nodes[lookup.node]
    assert isinstance(node, Step)
    ids = np.roll(lookup.ids, 1)
    other = swapped_ids(run, index, ids)
    functions = tuple(np.roll(np.array(node.functions, object), 1))
    assert functions != node.functions
    argument = run.values[node.value]
    value = argument.copy()
    for cell, function in zip(np.ndindex(*(argument.shape[a] for a in node.channel)), functions,
                              strict=True):  # fmt: skip
        at = [slice(None)] * argument.ndim
        for axis, i in zip(node.channel, cell, strict=True):
            at[axis] = i
        value[tuple(at)] = function.evaluate(argument[tuple(at)])
    values = forced(run, lookup.node, value)
    columns = witness(run, values, other)
    proof = run.prove(Lie(layout=other), columns=columns, values=values)
    assert run.refused(proof, public=run.public_of(values)) == DENOMINATORS


@pytest.mark.parametrize(("name", "index"), lookups(Step, Maximum, Input, ArgMax))
def test_trap_09_the_row_of_another_table(name: str, index: int, trial: Get) -> None:
    """One leaf under another id, its row counted: the fractions add up, the ids do not."""
    run = trial(name)
    layout = run.layout
    lookup = layout.lookups[index]
    other = next((i for i in range(len(layout.plan.tables)) if i != lookup.table), None)
    if other is None:
        pytest.skip("one table")
    columns = copied(columns_of(layout, run.values))
    there = layout.plan.tables[other]
    offset = layout.leaves.offsets[f"s{index}"]
    ids, c1, c2, _ = _leaves(layout, columns)
    here = layout.plan.tables[lookup.table]
    row = (here.id_of == ids[offset]) & (here.c1 == c1[offset]) & (here.c2 == c2[offset])
    columns.blocks[f"m{lookup.table}"][np.flatnonzero(row)[0]] -= 1
    columns.blocks[f"m{other}"][0] += 1

    def leaves(_: object, found: tuple[np.ndarray, ...]) -> None:
        for target, source in zip(found, (there.id_of, there.c1, there.c2), strict=False):
            target[offset] = source[0]

    assert run.refused(run.prove(Lie(leaves=leaves), columns=columns)) == DENOMINATORS


# -- every committed block ---------------------------------------------------------------------


@pytest.mark.parametrize(("name", "tree", "block"), blocks())
def test_a_column_that_the_leaves_do_not_know(name: str, tree: str, block: str, trial: Get) -> None:
    """Committed and claimed: one number; in the leaves: the honest one."""
    run = trial(name)
    columns = copied(columns_of(run.layout, run.values))
    key, ports = run.key, run.ports
    if tree == MODEL:
        key = replace(key, weights={**key.weights, block: key.weights[block].astype(np.int64)})
        key.weights[block].reshape(-1)[0] += 1  # type: ignore[index]
    else:
        columns.blocks[block].reshape(-1)[0] += 1
    honest = columns_of(run.layout, run.values)
    lie = Lie(leaves=lambda layout, found: _restore(run, honest, found))
    proof = Trial(run.case, run.key, run.values, run.public, ports).prove(
        lie, columns=columns, key=key
    )
    # A column that nothing but the leaves reads, or that reaches a stated tensor first.
    wanted = {NUMERATORS} if block.startswith("m") else {DENOMINATORS, OUTPUTS}
    assert run.refused(proof) in wanted


def _restore(run: Trial, honest: Columns, found: tuple[np.ndarray, ...]) -> None:
    for target, source in zip(found, _leaves(run.layout, honest), strict=True):
        target[:] = source


@pytest.mark.parametrize(("name", "tree", "block"), blocks())
def test_a_column_that_only_the_opening_knows(name: str, tree: str, block: str, trial: Get) -> None:
    """Leaves and claims as if honest, another number under the root."""
    run = trial(name)
    stack = run.layout.trees[tree]
    at = stack.offsets[block]

    def commit(tag: str, cells: np.ndarray) -> np.ndarray:
        if tag == tree:
            cells[at] = (int(cells[at]) + 1) % 2013265921
        return cells

    if tree == WITNESS:
        assert run.refused(run.prove(Lie(commit=commit))) == OPENING
        return
    params = run.key.circuit.params
    old = run.key.tree if tree == MODEL else run.ports
    assert old is not None
    new = proving.commit(tree, commit(tree, old.values.copy()), params.mu, params.rate)
    root = new.nodes[1].tobytes()
    if tree == MODEL:
        key = replace(run.key, tree=new, circuit=replace(run.key.circuit, model_root=root))
        proof = run.prove(key=key)
        assert run.refused(proof, circuit=key.circuit) == OPENING
        assert run.refused(proof) == OPENING
    else:
        other = replace(run, ports=new)
        assert other.refused(other.prove()) == OPENING


@pytest.mark.parametrize("tree", [WITNESS, MODEL, PORTS])
def test_trap_11_free_cells_are_free(tree: str, trial: Get) -> None:
    """Garbage in cells that belong to no tensor is accepted: no claim's weight reaches them."""
    for name in ("committed", "conv", "mlp", "several"):
        run = trial(name)
        if tree not in run.layout.trees:
            continue
        params = run.key.circuit.params

        def commit(tag: str, cells: np.ndarray, run: Trial = run) -> np.ndarray:
            if tag == tree:
                used = np.zeros(len(cells), bool)
                stack = run.layout.trees[tree]
                for block in stack.blocks.values():
                    place(used, block, stack.offsets[block.name], True)
                cells[~used] = np.arange((~used).sum()) * 777 + 5
                assert not used.all()
            return cells

        if tree == WITNESS:
            run.verify(run.prove(Lie(commit=commit)))
            continue
        old = run.key.tree if tree == MODEL else run.ports
        assert old is not None
        new = proving.commit(tree, commit(tree, old.values.copy()), params.mu, params.rate)
        if tree == MODEL:
            root = new.nodes[1].tobytes()
            key = replace(run.key, tree=new, circuit=replace(run.key.circuit, model_root=root))
            run.verify(run.prove(key=key), circuit=key.circuit)
        else:
            other = replace(run, ports=new)
            other.verify(other.prove())


# -- inputs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "index"), lookups(Input))
@pytest.mark.parametrize("end", ["low", "high", "wrapped"])
def test_a_committed_input_out_of_range(name: str, index: int, end: str, trial: Get) -> None:
    """Correction 2: ranges start from inputs that are looked up."""
    run = trial(name)
    number = run.layout.lookups[index].node
    node = run.case.graph.nodes[number]
    assert isinstance(node, Input)
    value = run.values[number].copy()
    value.reshape(-1)[-1] = {"low": node.low - 1, "high": node.high + 1, "wrapped": 1 << 29}[end]
    values = list(run.values)
    values[number] = value
    other = replace(run, values=values)
    other.ports = other.ports_of(values)
    columns = witness(run, values)
    assert other.refused(other.prove(columns=columns, values=values)) == ROOT


def test_the_root_of_another_input(trial: Get) -> None:
    """Correction 1: what the Statement names is what the proof opens."""
    for name in ("committed", "hidden"):
        run = trial(name)
        other = Trial.on(run.case, run.key, 5)
        other.public, proof = run.public, run.prove()
        assert run.root != other.root
        assert run.refused(proof, root=other.root) == "sumcheck.19"
        assert run.refused(proof, root=None) == "sumcheck.19"
    run = trial("mlp")
    assert run.refused(run.prove(), root=bytes(32)) == "sumcheck.19"


def test_another_salt_is_another_root(trial: Get) -> None:
    run = trial("committed")
    salted = commit_ports(run.key.circuit, dict(enumerate(run.values)))
    other = replace(run, ports=salted)
    other.verify(other.prove())
    assert run.refused(other.prove()) == "sumcheck.19"


# -- outputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "output"), [(n, i) for n in CASES for i in range(len(CASES[n]().graph.outputs))]
)
def test_another_output(name: str, output: int, trial: Get) -> None:
    """The honest witness under another public tensor, each cell in turn."""
    run = trial(name)
    number = run.case.graph.outputs[output].value
    if number not in run.public:
        pytest.skip("the output is committed")
    proof = run.prove()
    size = run.values[number].size
    for cell in sorted({0, size // 2, size - 1}):
        for delta in (1, -1):
            public = dict(run.public)
            public[number] = run.public[number].copy()
            public[number].reshape(-1)[cell] += delta
            index = isinstance(run.case.graph.nodes[number], ArgMax)
            wanted = {DENOMINATORS} | ({"sumcheck.7"} if index else set())
            if output in run.layout.bound_outputs:
                wanted = {OUTPUTS}
            assert run.refused(proof, public=public) in wanted


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n]().visibility.inputs])
def test_another_input(name: str, trial: Get) -> None:
    run = trial(name)
    for port in run.case.graph.inputs:
        public = dict(run.public)
        public[port.value] = run.public[port.value].copy()
        public[port.value].reshape(-1)[0] += 1
        found = run.refused(run.prove(), public=public)
        assert found in (DENOMINATORS, OUTPUTS, "sumcheck.14")


def test_a_direct_table_has_every_argument_once() -> None:
    for make in CASES.values():
        plan = make().layout.plan
        for lookup in plan.lookups:
            if isinstance(lookup.witness, Direct):
                table = plan.tables[lookup.table]
                for number in np.unique(table.id_of):
                    assert len(set(table.c2[table.id_of == number].tolist())) == lookup.witness.span
