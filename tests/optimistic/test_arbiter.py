"""The arbiter against plain loops over whole tensors, and against openings that lie."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest

from proofml.optimistic import arbiter
from proofml.optimistic.arbiter import BadOpening
from proofml.optimistic.moves import Opening
from proofml.optimistic.program import Axis, Cells, Fold, Operand, Operator, Output, Part, Source

from .claims import Run, honest
from .players import TraceInputs, rule_opening, summand_openings, table_opening
from .tiny import SCALE, ZOO, Kit, Tiny, _Ports, finished, plain, whole


def odd() -> Run:
    """What no model is lowered to, but descriptors may say: missing cells under every fold,
    indices beyond the axis, a maximum over a padded window, an argmax by a table."""
    kit = Kit()
    x = Cells.of((4, 6), -8, 7)
    window = (Axis(4, **plain(0)), Axis(6, out=1, sum=0, stride=1, dilation=2, offset=-3))
    pooled = Operator(
        Fold.MAXIMUM,
        Cells.of((4, 6), -(2**31), 7),
        (
            Part(1, (3,), Operand(Source.INPUT, 0, x, window)),
            Part(1, (), Operand(Source.INPUT, 0, x, (Axis(4), Axis(6, offset=5)))),
        ),
        Output(),
    )
    entries = [(i, c) for i, c in zip((-7, 5, -1, 6, 3, 0, 2, 99), (2, -1) * 4, strict=True)]
    leading = Operator(
        Fold.ARGMAX,
        Cells.of((4,), 0, 7),
        (
            Part(
                1,
                (8,),
                Operand(
                    Source.INPUT,
                    0,
                    x,
                    (
                        kit.axis(4, [(3, 1), (-1, 5), (0, -2), (1, 1)], out=0),
                        kit.axis(6, entries, sum=0),
                    ),
                ),
            ),
        ),
        Output(),
    )
    model = finished("odd", kit, [pooled, leading], _Ports([x], [(Source.OPERATOR, 1)]))
    given = [[(5 * i) % 16 - 8 for i in range(24)]]
    return Run.of(model, given, model.run(given))


@pytest.mark.parametrize("name", [*ZOO, "odd"])
def test_every_step_is_the_programs(name: str) -> None:
    run = odd() if name == "odd" else honest(name)
    rng = random.Random(name)
    for number, operator in enumerate(run.tiny.program.operators):
        roots = TraceInputs(run, number).roots
        count = operator.cells.count
        for cell in range(count) if count < 30 else rng.sample(range(count), 30):
            states = run.tiny.states(operator, run.given, run.values, cell)
            assert states[0] == arbiter.start_state(operator.fold)
            steps = range(operator.summands)
            for j in steps if len(steps) < 20 else rng.sample(steps, 20):
                openings = summand_openings(run, operator, cell, j, states[j])
                found = arbiter.fold_step(operator, roots, cell, j, states[j], openings)
                assert found == states[j + 1], (number, cell, j)
            rule = rule_opening(run, operator, cell, states[-1])
            assert arbiter.apply_rule(operator, cell, states[-1], rule) == run.values[number][cell]


def test_states_beyond_int32_do_not_wrap() -> None:
    """What a claimant may assert is an int64; the step from there is exact."""
    run = honest("network")
    operator = run.tiny.program.operators[0]
    roots = TraceInputs(run, 0).roots
    for start in (2**63 - 1, -(2**63), 2**31, -(2**31) - 1):
        openings = summand_openings(run, operator, 31, 9, start)
        here = arbiter.fold_step(operator, roots, 31, 9, start, openings)
        assert here - start == arbiter.fold_step(operator, roots, 31, 9, 0, openings)


def test_cells_are_taken_as_their_bytes_say() -> None:
    """Beyond the range too: there is a move of its own for that."""
    run = honest("network")
    operator = run.tiny.program.operators[1]
    tensor = run.tensors[0]
    data = bytes((250,)) + tensor.data[1:]
    other = tensor.raw(tensor.cells, data)
    opening = Opening(0, data, ())
    roots = (other.root, other.root)
    assert arbiter.fold_step(operator, roots, 0, 0, 0, (opening,)) == 2 * (250 - 8)


def test_a_missing_cell_ends_the_summand() -> None:
    """Nothing behind the first axis that is outside is opened: not its cell, not the right one."""
    run = honest("network")
    operator = run.tiny.program.operators[0]
    assert summand_openings(run, operator, 0, 0, 0) == ()
    assert arbiter.fold_step(operator, TraceInputs(run, 0).roots, 0, 0, 41, ()) == 41
    leading = odd().tiny.program.operators[1]
    # Channel 1's record says -1, so the second axis' record is not read.
    openings = summand_openings(odd(), leading, 1, 4, 0)
    assert [opening.leaf[:4] for opening in openings] == [struct.pack(">i", 3)] * 2


@pytest.mark.parametrize("state", [-1, 12, 2**40])
def test_an_argmax_state_that_is_no_summand(state: int) -> None:
    run = honest("network")
    operator = run.tiny.program.operators[4]
    openings = summand_openings(run, operator, 3, 7, 0)
    with pytest.raises(BadOpening, match="summands"):
        arbiter.fold_step(operator, TraceInputs(run, 4).roots, 3, 7, state, openings)


@pytest.mark.parametrize("scale", [0, 1, 0x007FFFFF, 0x7F800000, 0x7FC00000, SCALE | 1 << 31])
def test_a_scale_that_no_model_has(scale: int) -> None:
    kit = Kit()
    cells = Cells.of((3,), -8, 7)
    operator = Operator(
        Fold.SUM,
        cells,
        (Part(1, (), whole(cells, Source.INPUT, 0)),),
        kit.requant([scale], -8, 7),
    )
    model = finished("scale", kit, [operator], _Ports([cells], [(Source.OPERATOR, 0)]))
    opening = _rule(model)
    with pytest.raises(BadOpening, match="normal scale"):
        arbiter.apply_rule(operator, 0, 5, opening)


def _rule(model: Tiny) -> Opening:
    table = model.program.operators[0].output.table
    assert table is not None
    values = [[0] * model.program.inputs[0].cells.count]
    return table_opening(Run.of(model, values, values), table, 0)


def test_a_range_that_is_none() -> None:
    kit = Kit()
    cells = Cells.of((3,), -8, 7)
    part = Part(1, (), whole(cells, Source.INPUT, 0))
    operator = Operator(Fold.SUM, cells, (part,), kit.requant([SCALE], 7, -8))
    model = finished("range", kit, [operator], _Ports([cells], [(Source.OPERATOR, 0)]))
    with pytest.raises(BadOpening, match="range"):
        arbiter.apply_rule(operator, 0, 5, _rule(model))


def test_the_first_record_that_fits_counts() -> None:
    kit = Kit()
    cells = Cells.of((3,), 0, 9)
    part = Part(1, (), whole(cells, Source.INPUT, 0))
    rows = [(0, 0, 3, 1), (0, 2, 9, 2), (0, 0, 9, 3)]
    operator = Operator(Fold.SUM, cells, (part,), kit.intervals(rows))
    model = finished("overlap", kit, [operator], _Ports([cells], [(Source.OPERATOR, 0)]))
    opening = _rule(model)
    assert [arbiter.apply_rule(operator, 0, s, opening) for s in (0, 2, 3, 4, 9)] == [1, 1, 1, 2, 2]
    with pytest.raises(BadOpening, match="says nothing"):
        arbiter.apply_rule(operator, 0, 10, opening)


def test_chunks_of_inputs() -> None:
    run = honest("wide")
    tensor = run.inputs[0]
    last = Opening(1, tensor.chunk(1), tensor.tree.path(1))
    arbiter.check_chunk(tensor.cells, tensor.root, last)
    assert arbiter.check_cell(tensor.cells, tensor.root, 1500, last) == run.given[0][1500]
    for wrong in (
        replace(last, leaf=last.leaf[:-1]),
        replace(last, leaf=tensor.chunk(0)),
        replace(last, path=()),
        replace(last, path=(bytes(32),)),
    ):
        with pytest.raises(BadOpening):
            arbiter.check_chunk(tensor.cells, tensor.root, wrong)
    with pytest.raises(BadOpening, match="leaf 1"):
        arbiter.check_cell(tensor.cells, tensor.root, 1500, replace(last, index=0))
