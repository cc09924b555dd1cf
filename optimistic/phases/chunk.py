"""One chunk of the output, and one cell of it."""

from __future__ import annotations

from dataclasses import replace

from proofml.optimistic import arbiter, cells, merkle
from proofml.optimistic.clock import Side
from proofml.optimistic.moves import ProveRange, RevealChunk, SelectCell
from proofml.optimistic.phases.positions import AtChunk, AtSums, Won
from proofml.optimistic.refusals import IllegalMove, Refusal


def reveal(at: AtChunk, move: RevealChunk) -> AtChunk:
    """With its bytes.

    Raises:
        IllegalMove: CHUNK.
    """
    length = cells.chunk_bytes(at.site.operator.cells, at.chunk)
    if len(move.data) != length or merkle.leaf_hash(move.data) != at.node:
        raise IllegalMove(
            Refusal.CHUNK, f"chunk {at.chunk}: expected the {length} bytes of that leaf"
        )
    return replace(at, data=move.data)


def select_cell(at: AtChunk, move: SelectCell) -> AtSums:
    """The fold of this cell, from its start.

    Raises:
        IllegalMove: NO_CELL.
    """
    value = _value(at, move.cell)
    operator = at.site.operator
    return AtSums(
        at.site,
        move.cell,
        value,
        first=0,
        last=operator.summands,
        start=arbiter.start_state(operator.fold),
    )


def prove_range(at: AtChunk, move: ProveRange) -> Won:
    """Who wins by the cell's bytes.

    Raises:
        IllegalMove: NO_CELL.
    """
    value, high = _value(at, move.cell), at.site.operator.cells.high
    if value > high:
        return Won(Side.CHALLENGER, f"cell {move.cell} is {value}, beyond {high}")
    return Won(Side.CLAIMANT, f"cell {move.cell} is {value}, at most {high}")


def _value(at: AtChunk, cell: int) -> int:
    assert at.data is not None
    described = at.site.operator.cells
    within = cells.cells_of(described, at.chunk)
    if cell not in within:
        raise IllegalMove(
            Refusal.NO_CELL,
            f"cell {cell}: expected {within.start} to {within.stop - 1}, of chunk {at.chunk}",
        )
    return cells.raw_value(described, at.data, cells.place(described, cell)[1])
