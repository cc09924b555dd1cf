"""Illegal moves from one operator's output to one summand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from proofml.optimistic import moves
from proofml.optimistic.moves import Opening, ProveSummand, RevealSums
from proofml.optimistic.phases.positions import AtSums
from proofml.optimistic.program import Cells, Fold, Operator, Part, Source
from proofml.optimistic.refusals import Refusal

from .boards import POSITIONS, Board, at
from .claims import Run, honest
from .illegal import Case, flipped, legal_at
from .tiny import Kit, _Ports, finished, tiny, whole


# ---------------------------------------------------------------- chunks and cells
def chunk_other_bytes() -> Case:
    board = at(POSITIONS["chunk hidden"])
    move = legal_at(board)
    assert isinstance(move, moves.RevealChunk)
    return Case(Refusal.CHUNK, board, replace(move, data=flipped(move.data)), move)


def chunk_too_long() -> Case:
    """It hashes; but the tensor has not so many cells."""
    true = honest("network")
    longer = replace(true.tensors[0], data=true.tensors[0].data + b"\0")
    raw = longer.raw(longer.cells, longer.data)
    run = Run.of(true.tiny, true.given, true.values, tensors={0: raw})
    board = at(POSITIONS["chunk hidden"], run)
    return Case(Refusal.CHUNK, board, legal_at(board), None)


def cell_before_the_chunk() -> Case:
    board = at(POSITIONS["chunk shown"], honest("wide"), operator=0, cell=300)
    return Case(Refusal.NO_CELL, board, moves.SelectCell(255), moves.SelectCell(256))


def cell_after_the_chunk() -> Case:
    board = at(POSITIONS["chunk shown"], honest("wide"), operator=0, cell=300)
    return Case(Refusal.NO_CELL, board, moves.ProveRange(512), moves.ProveRange(511))


def cell_beyond_the_tensor() -> Case:
    """The last chunk is shorter than others."""
    board = at(POSITIONS["chunk shown"], honest("wide"), operator=0, cell=1799)
    return Case(Refusal.NO_CELL, board, moves.SelectCell(1800), moves.SelectCell(1799))


# ---------------------------------------------------------------- sums
def _sums(name: str = "sums hidden", **where: int) -> tuple[Board, RevealSums]:
    board = at(POSITIONS[name], **where)
    move = legal_at(board)
    assert isinstance(move, RevealSums)
    return board, move


def a_state_too_few() -> Case:
    board, move = _sums()
    return Case(Refusal.STATES, board, replace(move, states=move.states[1:]), move)


def a_state_too_many() -> Case:
    board, move = _sums()
    return Case(Refusal.STATES, board, replace(move, states=(0, *move.states)), move)


def an_end_again() -> Case:
    """The end is agreed after the first round, and not said again."""
    board, move = _sums("sums hidden later")
    position = board.dispute.position
    assert isinstance(position, AtSums)
    assert position.end is not None
    return Case(Refusal.STATES, board, replace(move, states=(*move.states, position.end)), move)


def argmax_beyond_the_axis() -> Case:
    board, move = _sums(operator=4)
    return Case(Refusal.STATES, board, replace(move, states=(12, move.states[-1])), move)


def argmax_before_the_axis() -> Case:
    board, move = _sums(operator=4)
    return Case(Refusal.STATES, board, replace(move, states=(-1, move.states[-1])), move)


def an_end_that_gives_another_cell() -> Case:
    board, move = _sums()
    return Case(Refusal.RULE, board, replace(move, states=(move.states[0], 10**6)), move)


def an_end_that_relu_does_not_make() -> Case:
    run = honest("network")
    cell = next(i for i, value in enumerate(run.values[3]) if value > 0)
    board, move = _sums(operator=3, cell=cell)
    return Case(Refusal.RULE, board, replace(move, states=(move.states[0], -1)), move)


def no_record_of_the_rule() -> Case:
    board, move = _sums()
    return Case(Refusal.OPENING, board, replace(move, rule=None), move)


def a_record_for_identity() -> Case:
    board, move = _sums(operator=2)
    assert move.rule is None
    record = Opening(0, bytes(12), ())
    return Case(Refusal.OPENING, board, replace(move, rule=record), move)


def a_record_in_a_later_round() -> Case:
    board, move = _sums("sums hidden later")
    record = Opening(0, bytes(12), ())
    return Case(Refusal.OPENING, board, replace(move, rule=record), move)


def a_record_that_is_not_committed() -> Case:
    board, move = _sums()
    assert move.rule is not None
    wrong = replace(move.rule, leaf=flipped(move.rule.leaf, 32 * 4 + 31))
    return Case(Refusal.OPENING, board, replace(move, rule=wrong), move)


def a_requant_leaf_of_another_channel() -> Case:
    """It verifies, and says nothing of this channel."""
    run = _many_channels()
    board = at(POSITIONS["sums hidden"], run, cell=90)
    move = legal_at(board)
    assert isinstance(move, RevealSums)
    table = run.tiny.program.operators[0].output.table
    assert table is not None
    tree = run.tiny.kit.trees[table.root]
    data = b"".join(run.tiny.kit.records[table.root])
    other = Opening(0, data[: 85 * 12], tree.path(0))
    return Case(Refusal.OPENING, board, replace(move, rule=other), move)


def _many_channels() -> Run:
    """A program with 100 channels: its rule's table has two leaves of at most 85 records."""
    from .tiny import SCALE

    kit = Kit()
    cells = Cells.of((100,), -8, 7)
    operator = Operator(
        Fold.SUM,
        cells,
        (Part(1, (), whole(cells, Source.INPUT, 0)), Part(1, (), whole(cells, Source.INPUT, 0))),
        kit.requant([SCALE + i for i in range(100)], -8, 7, 0),
    )
    model = finished("channels", kit, [operator], _Ports([cells], [(Source.OPERATOR, 0)]))
    given = [[i % 16 - 8 for i in range(100)]]
    return Run.of(model, given, model.run(given))


def an_interval_of_another_channel() -> Case:
    """Leaves of the table that verify; none of their records is of this channel."""
    board = at(POSITIONS["sums hidden"], honest("wide"), operator=1, cell=0)
    move = legal_at(board)
    assert isinstance(move, RevealSums)
    assert move.rule is not None
    table = tiny("wide").program.operators[1].output.table
    assert table is not None
    tree = tiny("wide").kit.trees[table.root]
    data = b"".join(tiny("wide").kit.records[table.root])
    other = Opening(2, data[2 * 1024 : 3 * 1024], tree.path(2))
    return Case(Refusal.OPENING, board, replace(move, rule=other), move)


def an_interval_leaf_beyond_the_table() -> Case:
    board = at(POSITIONS["sums hidden"], honest("wide"), operator=1, cell=0)
    move = legal_at(board)
    assert isinstance(move, RevealSums)
    assert move.rule is not None
    wrong = replace(move.rule, index=4)
    return Case(Refusal.OPENING, board, replace(move, rule=wrong), move)


# ---------------------------------------------------------------- the step
def _summand(operator: int = 0, cell: int = 31, summand: int = 9) -> tuple[Board, ProveSummand]:
    """A step in the middle of a window that lies inside: two openings."""
    board = at(POSITIONS["summand"], operator=operator, cell=cell, summand=summand)
    move = legal_at(board)
    assert isinstance(move, ProveSummand)
    return board, move


def _changed(change: Callable[[tuple[Opening, ...]], tuple[Opening, ...]]) -> Case:
    board, move = _summand()
    assert len(move.openings) == 2
    return Case(Refusal.OPENING, board, ProveSummand(change(move.openings)), move)


def step_without_the_last_opening() -> Case:
    return _changed(lambda found: found[:-1])


def step_without_any_opening() -> Case:
    return _changed(lambda _: ())


def step_with_one_opening_too_many() -> Case:
    return _changed(lambda found: (*found, found[-1]))


def step_in_another_order() -> Case:
    return _changed(lambda found: found[::-1])


def step_with_another_cell() -> Case:
    return _changed(lambda found: (replace(found[0], leaf=flipped(found[0].leaf)), *found[1:]))


def step_with_another_weight() -> Case:
    return _changed(lambda found: (found[0], replace(found[1], leaf=flipped(found[1].leaf))))


def step_with_a_chunk_too_short() -> Case:
    return _changed(lambda found: (replace(found[0], leaf=found[0].leaf[:-1]), *found[1:]))


def step_with_another_leaf_number() -> Case:
    return _changed(lambda found: (replace(found[0], index=1), *found[1:]))


def step_with_a_longer_path() -> Case:
    return _changed(lambda found: (replace(found[0], path=(bytes(32),)), *found[1:]))


def step_with_another_record() -> Case:
    """Operator 2 reads two records of axis tables, then the cell."""
    board, move = _summand(2, 30, 1)
    first, *rest = move.openings
    assert len(rest) == 2
    wrong = replace(first, leaf=flipped(first.leaf, 40))
    return Case(Refusal.OPENING, board, ProveSummand((wrong, *rest)), move)


def step_of_argmax_with_one_summand() -> Case:
    """An argmax compares two cells."""
    board, move = _summand(4, 3, 7)
    assert len(move.openings) == 2
    return Case(Refusal.OPENING, board, ProveSummand(move.openings[:1]), move)


CASES: list[Callable[[], Case]] = [
    chunk_other_bytes,
    chunk_too_long,
    cell_before_the_chunk,
    cell_after_the_chunk,
    cell_beyond_the_tensor,
    a_state_too_few,
    a_state_too_many,
    an_end_again,
    argmax_beyond_the_axis,
    argmax_before_the_axis,
    an_end_that_gives_another_cell,
    an_end_that_relu_does_not_make,
    no_record_of_the_rule,
    a_record_for_identity,
    a_record_in_a_later_round,
    a_record_that_is_not_committed,
    a_requant_leaf_of_another_channel,
    an_interval_of_another_channel,
    an_interval_leaf_beyond_the_table,
    step_without_the_last_opening,
    step_without_any_opening,
    step_with_one_opening_too_many,
    step_in_another_order,
    step_with_another_cell,
    step_with_another_weight,
    step_with_a_chunk_too_short,
    step_with_another_leaf_number,
    step_with_a_longer_path,
    step_with_another_record,
    step_of_argmax_with_one_summand,
]
