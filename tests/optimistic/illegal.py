"""A legal move with one thing wrong, and the rule that forbids it."""

from __future__ import annotations

from dataclasses import dataclass

from proofml.optimistic.moves import Move
from proofml.optimistic.refusals import Refusal

from .boards import POSITIONS, Board, Guide, at
from .claims import honest
from .players import Claimant


@dataclass
class Case:
    """A move that one rule forbids.

    Attributes:
        legal: the move from which it differs in one thing; None where this position has no legal
            move (a claimant who committed to nonsense).
    """

    refusal: Refusal
    board: Board
    illegal: Move
    legal: Move | None


def legal_at(board: Board) -> Move:
    return board.owed(Claimant(board.run), Guide(board.run, 0, 0, 0))


def wide_cells(name: str) -> Board:
    """At the tree of a tensor of eight chunks, three levels."""
    return at(POSITIONS[name], honest("wide"), operator=0)


def flipped(data: bytes, bit: int = 0) -> bytes:
    return data[: bit // 8] + bytes((data[bit // 8] ^ 1 << bit % 8,)) + data[bit // 8 + 1 :]
