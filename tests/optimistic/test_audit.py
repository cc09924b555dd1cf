"""What an auditor looked for: other graphs than those of `test_lower`, games that must not pay.

The graphs have longer axes, windows that reach beyond an end on one side only, tables with gaps and
repetitions, sums over several tensors of one value, maxima over maxima, ties, and outputs that are
inputs, aliases of each other, or constants. Each is held against the executor and against the words
of its nodes (`circuits.oracle`).
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.circuits.axes import AxisMap
from proofml.circuits.functions import Requant, Steps, bits_of
from proofml.circuits.graph import (
    ONES,
    Affine,
    ArgMax,
    Bind,
    Contraction,
    Maximum,
    Reshape,
    Step,
    Term,
    View,
)
from proofml.errors import UnsupportedModel
from proofml.optimistic import actions, arbiter
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.indexing import Entry, Record, read_entry
from proofml.optimistic.lower import lower
from proofml.optimistic.program import Cells, Fold, Source
from proofml.optimistic.trace import Machine

from ..circuits.oracle import Builder, values_of
from .claims import Run, false_run, honest
from .conftest import Run as Lowered
from .desk import ALICE, BOB, CAROL, RICH, Desk
from .test_lower import agree
from .tiny import Tensor


def viewed(b: Builder, value: int, maps: list[AxisMap], coefficient: int = 1) -> int:
    """A view that keeps the order of the axes."""
    view = View(tuple(m.n_out for m in maps), tuple(enumerate(maps)))
    return b.add(Affine(view.shape, (Term(coefficient, value, view),)))


def some_map(rng: np.random.Generator, n: int) -> AxisMap:
    """Slices, paddings at one end, reversals, repetitions, gaps, sums with coefficients."""
    kind = int(rng.integers(8))
    longer, shorter = n + int(rng.integers(1, 4)), max(1, n - int(rng.integers(1, 3)))
    match kind:
        case 0:
            return AxisMap.identity(n)
        case 1:
            return AxisMap.window(longer, n)
        case 2:
            return AxisMap.window(longer, n, offset=n - longer)
        case 3:
            return AxisMap.window(shorter, n, offset=int(rng.integers(0, n - shorter + 1)))
        case 4:
            return AxisMap.of(n, n, ((i, n - 1 - i, 1) for i in range(n)))
        case 5:
            chosen = rng.integers(-1, n, longer)
            return AxisMap.of(longer, n, ((i, int(c), 1) for i, c in enumerate(chosen) if c >= 0))
        case 6:
            stride, step, taps = (int(v) for v in rng.integers(1, 4, 3))
            return AxisMap.window(
                shorter, n, stride=stride, offset=int(rng.integers(-3, 4)), taps=taps, step=step
            )
    entries = rng.integers(0, [shorter, n, 4], (int(rng.integers(0, 2 * n)), 3))
    return AxisMap.of(shorter, n, ((int(o), int(i), int(c)) for o, i, c in entries))


def maxima(b: Builder, x: int, axis: int) -> int:
    """A maximum of views of one value, shifted along an axis by equal steps."""
    shape = b.shape(x)
    n, taps = shape[axis], int(b.rng.integers(2, 4))
    stride, step = (int(v) for v in b.rng.choice([1, 1, 1, 2], 2))
    places = max(1, n // stride + int(b.rng.integers(-1, 2)))
    before = int(b.rng.integers(-1, 2))
    others = [AxisMap.identity(m) for m in shape]
    for i, m in enumerate(shape):
        chance = b.rng.random()
        if chance < 0.3:  # a little longer or shorter at the end: still a plain axis
            others[i] = AxisMap.window(max(1, m + int(b.rng.integers(-1, 2))), m)
        elif chance < 0.33:
            others[i] = some_map(b.rng, m)
    found = []
    for tap in range(taps):
        maps = list(others)
        maps[axis] = AxisMap.window(places, n, stride=stride, offset=tap * step - before)
        found.append(viewed(b, x, maps))
    result = found[0]
    for other in found[1:]:
        result = b.add(Maximum(result, other, b.shape(other)))
    return result


def grouped(b: Builder, x: int) -> int | None:
    """A grouped, dilated convolution along the last axis; all others are rows or groups."""
    shape = b.shape(x)
    if len(shape) < 2 or max(abs(end) for end in b.ranges[x]) > 300:
        return None
    groups, length = shape[-2], shape[-1]
    taps, filters = int(b.rng.integers(1, 4)), int(b.rng.integers(1, 4))
    stride, dilation = int(b.rng.integers(1, 4)), int(b.rng.integers(1, 4))
    places = int(b.rng.integers(1, length + 3))
    window = stride, dilation, int(b.rng.integers(-4, 5))
    rows = shape[:-2]
    out = (*rows, groups, filters, places)
    weight = b.weight((groups, filters, taps), -20, 20)
    at = len(rows)
    contraction = Contraction(
        x,
        weight,
        (groups, taps),
        (*(Bind(i) for i in range(at)), Bind(at, 0), Bind(at + 2, 1, window)),
        (Bind(sum=0), Bind(at + 1), Bind(sum=1)),
    )
    terms = [b.bias(out, at + 1)]
    # As the zero point of an operand does: constants that differ where the window is cut.
    reach = AxisMap.window(
        places, length, stride=stride, offset=window[2], taps=taps, step=dilation
    )
    terms.append(Term(int(b.rng.integers(-9, 10)), ONES, View(out, ((at + 2, reach),))))
    return b.add(Affine(out, tuple(terms), (contraction,)))


def wild(seed: int) -> Builder:
    rng = np.random.default_rng(seed)
    b = Builder(rng)
    rank = int(rng.choice([1, 2, 2, 3]))
    low = int(rng.choice([-128, -9, 0, 3]))
    b.input(
        tuple(int(n) for n in rng.integers(1, 9, rank)), low, low + int(rng.choice([0, 1, 255]))
    )
    if rng.random() < 0.4:
        b.input(b.shape(0), -2, 2)
    for _ in range(int(rng.integers(1, 7))):
        # The newest value often, or there would be no chains.
        x = len(b.nodes) - 1 if rng.random() < 0.6 else int(rng.integers(len(b.nodes)))
        if isinstance(b.nodes[x], ArgMax) or not b.shape(x):
            continue
        # What is large stops growing.
        small = max(abs(end) for end in b.ranges[x]) < 20_000 and int(np.prod(b.shape(x))) < 3_000
        if not small:
            continue
        kind = int(rng.integers(9))
        if kind <= 1 or kind > 6:
            for axis in rng.permutation(len(b.shape(x)))[: 1 if kind <= 1 else 2]:
                x = maxima(b, x, int(axis))
        elif kind == 2:
            viewed(b, x, [some_map(rng, n) for n in b.shape(x)], int(rng.choice([1, 1, -2])))
        elif kind == 3:
            value = grouped(b, x)
            if value is not None and rng.random() < 0.7:
                channel = tuple(i for i in range(len(b.shape(value))) if rng.random() < 0.4)
                b.requant(value, channel)
        elif kind == 4:
            b.add(Reshape(x, (int(np.prod(b.shape(x))),)))
        elif kind == 5:
            cuts = sorted({int(t) for t in rng.integers(b.ranges[x][0] - 1, b.ranges[x][1] + 2, 3)})
            steps = Steps(tuple(cuts), tuple(int(v) for v in rng.integers(-3, 4, len(cuts) + 1)))
            function = steps if rng.random() < 0.5 else Requant(bits_of(0.5), -3, 90)
            b.add(Step(x, b.shape(x), (function,)))
        else:
            same = [v for v in range(len(b.nodes)) if b.shape(v) == b.shape(x)]
            b.add(Maximum(x, int(rng.choice(same)), b.shape(x)))
    x = len(b.nodes) - 1
    if b.shape(x) and b.ranges[x][1] - b.ranges[x][0] < 1 << 17 and rng.random() < 0.4:
        axis = int(rng.integers(len(b.shape(x))))
        b.add(ArgMax(x, axis, (*b.shape(x)[:axis], *b.shape(x)[axis + 1 :])))
    return b


class Held:
    """A witness from the values of a run."""

    def __init__(self, run: Lowered, number: int) -> None:
        self.run = run
        self.operands = run.program.operators[number].operands
        self.reader = run.fetch(number)

    def record(self, record: Record) -> Entry:
        data = self.run.tables.committed[record.table.root].leaf(record.leaf)
        return read_entry(data[record.start : record.end])

    def cell(self, number: int, tensor: Cells, flat: int) -> int:
        return int(self.reader.tensor(number, self.operands[number]).reshape(-1)[flat])


def stepped(run: Lowered, rng: np.random.Generator) -> None:
    """The arbiter's steps, one after the other, for a cell of each operator."""
    for number, operator in enumerate(run.program.operators):
        if operator.summands > 300:
            continue
        cell = int(rng.integers(operator.cells.count))
        state = arbiter.start_state(operator.fold)
        for summand in range(operator.summands):
            state = arbiter.step(operator, cell, summand, state, Held(run, number))
            assert -(2**31) <= state < 2**31
        opening = None
        table = operator.output.table
        if table is not None:
            record = run.tables.rule_record(operator, cell, state)
            assert record is not None
            committed, leaf = run.tables.committed[table.root], Record(table, record).leaf
            opening = arbiter.Opening(leaf, *committed.opening(leaf))
        wanted = int(run.operator(number).reshape(-1)[cell])
        assert arbiter.apply_rule(operator, cell, state, opening) == wanted


def hold(seed: int) -> int:
    """One graph; how many maxima became parts of others."""
    b, rng = wild(seed), np.random.default_rng(seed)
    outputs = {len(b.nodes) - 1, *(int(v) for v in rng.integers(0, len(b.nodes), rng.integers(3)))}
    graph = b.graph(*sorted(outputs))
    feed = b.feed()
    try:
        run = Lowered.of(graph, b.weights, feed)
    except UnsupportedModel:
        return 0
    for value, wanted in enumerate(values_of(graph, b.weights, feed)):
        np.testing.assert_array_equal(run.values[value], wanted)
    agree(run, rng, 25)
    stepped(run, rng)
    machine = Machine.of(graph, b.weights)
    inputs = [feed[port.value] for port in graph.inputs]
    assert machine.run(inputs).output_roots == machine.execute(inputs).output_roots
    folded = [o for o in run.program.operators if o.fold is Fold.MAXIMUM]
    return sum(len(o.parts[0].sums) > 1 for o in folded)


@settings(max_examples=120)
@given(st.integers(0, 2**32 - 1))
def test_wild_graphs(seed: int) -> None:
    hold(seed)


def test_wild_graphs_have_pools_in_pools() -> None:
    """The search reaches what it is for."""
    assert sum(hold(seed) for seed in range(80)) > 2


def test_a_padded_pool_of_a_slice_reads_nothing_behind_the_slice() -> None:
    """The rows behind the padding exist in the inner pool's input; the graph says 0 there."""
    b = Builder(np.random.default_rng(3))
    x = b.input((8, 4), -9, 9)
    inner = b.add(
        Maximum(
            viewed(b, x, [AxisMap.window(4, 8), AxisMap.identity(4)]),
            viewed(b, x, [AxisMap.window(4, 8, offset=1), AxisMap.identity(4)]),
            (4, 4),
        )
    )
    left, right = (
        viewed(b, inner, [AxisMap.window(5, 4), AxisMap.window(3, 4, offset=offset)])
        for offset in (0, 1)
    )
    outer = b.add(Maximum(left, right, (5, 3)))
    run = Lowered.of(b.graph(outer), b.weights, {x: np.full((8, 4), 7)})
    assert run.values[outer][-1].tolist() == [0, 0, 0]
    agree(run, b.rng)
    assert [operator.summands for operator in run.program.operators] == [2, 2]


@pytest.mark.parametrize(("count", "said"), [(501, "501 parts"), (300, "bytes of its descriptor")])
def test_no_operator_is_too_long_for_a_transaction(count: int, said: str) -> None:
    """A contract reads the whole descriptor when the operator is revealed: `test_audit_evm`."""
    b = Builder(np.random.default_rng(0))
    x = b.input((1, 1, 1, 1) if count == 300 else ())
    b.add(Affine(b.shape(x), (Term(1, x, View.identity(b.shape(x))),) * count))
    with pytest.raises(UnsupportedModel, match=f"value 1: .*{said}; expected at most"):
        lower(b.graph(), b.weights)


def test_aliases_and_inputs_as_outputs_have_the_roots_of_their_cells() -> None:
    """An output of another shape than its operator's, the same operator twice, and an input."""
    b = Builder(np.random.default_rng(0))
    x = b.input((2, 6), -5, 5)
    y = viewed(b, x, [AxisMap.identity(2), AxisMap.window(6, 6, offset=1)])
    graph = b.graph(y, b.add(Reshape(y, (3, 4))), x, b.add(Reshape(x, (12,))))
    machine = Machine.of(graph, b.weights)
    assert [port.source for port in machine.program.outputs] == [
        Source.OPERATOR,
        Source.OPERATOR,
        Source.INPUT,
        Source.INPUT,
    ]
    inputs = [b.feed()[x]]
    roots = machine.run(inputs).output_roots
    assert roots[0] == roots[1]
    assert roots[2] == roots[3]
    assert machine.execute(inputs).output_roots == roots


# ---------------------------------------------------------------- games for money
def _disputed(points: int) -> tuple[Desk, int]:
    """A false claim of Alice, an honest dispute of Bob one move before its end; Bob's dispute."""
    lie = false_run("network", "cell", 0)
    data = bytearray(lie.inputs[0].data)
    data[0] = 255
    wrong = Tensor.raw(lie.inputs[0].cells, bytes(data))
    run = Run.of(lie.tiny, lie.given, lie.values, inputs={0: wrong})
    desk = Desk(run)
    for name in (ALICE, BOB, CAROL):
        desk.act(actions.Deposit(RICH), name)
    desk.act(actions.Post(run.terms(burn=points), run.header), ALICE)
    return desk, desk.act(actions.Challenge(1), BOB)


@pytest.mark.parametrize("points", [0, 1000, 10_000])
def test_who_defeats_himself_in_time_loses_the_burnt_share_only(points: int) -> None:
    """A liar who is about to lose has an accomplice prove an input out of range, and is first.

    So the burnt share of a bond is what a lie costs for certain, and the challenger who was right
    gets his own bond back and nothing for his work. A policy has to ask for bond and burn.
    """
    desk, dispute = _disputed(points)
    run = desk.run
    tensor = run.inputs[0]
    opening = arbiter.Opening(0, tensor.chunk(0), tensor.tree.path(0))
    desk.act(actions.InputRange(1, 0, 0, opening), CAROL)
    desk.act(actions.Release(dispute), BOB)
    assert desk.book.claims[1].status is ClaimStatus.DEFEATED
    burnt = run.terms().bond * points // 10_000
    assert desk.book.balances[ALICE] + desk.book.balances[CAROL] == 2 * RICH - burnt
    assert desk.book.balances[BOB] == RICH
    assert desk.book.money.burnt == burnt


def test_one_missed_answer_pays_for_all_requests() -> None:
    """Whoever asks for one chunk many times risks his fees only where every answer comes in time.

    Requests are not counted against each other, so a claimant has to be able to answer as many as
    the requests' gas allows within `answer` seconds, one transaction each.
    """
    run = honest("network")
    desk = Desk(run)
    for name in (ALICE, BOB):
        desk.act(actions.Deposit(RICH), name)
    desk.act(actions.Post(run.terms(), run.header), ALICE)
    asked = [desk.act(actions.Ask(1, 0, 0), BOB) for _ in range(40)]
    tensor = run.inputs[0]
    for request in asked[:-1]:
        desk.act(actions.Answer(request, tensor.chunk(0), tensor.tree.path(0)), ALICE)
    desk.now += run.terms().answer + 1
    desk.act(actions.Default(asked[-1]), BOB)
    terms = run.terms()
    gain = terms.bond - terms.burnt(terms.bond) - 39 * terms.data_fee
    assert desk.book.balances[BOB] == RICH + gain
    assert gain > 0
