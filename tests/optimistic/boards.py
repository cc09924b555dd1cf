"""A dispute on a table: whoever wants a certain position gets there by legal moves."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from proofml.optimistic import game, moves
from proofml.optimistic.claim import Terms
from proofml.optimistic.clock import Side
from proofml.optimistic.encoding import Header, read_header
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.moves import Move
from proofml.optimistic.phases.positions import (
    AtCells,
    AtChunk,
    AtLeaf,
    AtSummand,
    AtSums,
    AtTrace,
    AtWiring,
    Position,
)

from .claims import Run, honest
from .players import Challenger, Claimant, Griefer

CLAIMANT, CHALLENGER = "claimant", "challenger"
START = 1000


@dataclass
class Board:
    """One dispute, the time, and what was played; every move goes through its bytes."""

    run: Run
    terms: Terms
    header: Header
    dispute: DisputeState
    now: int = START
    played: list[Move] = field(default_factory=list)

    @classmethod
    def of(cls, run: Run, **changes: Any) -> Board:
        terms, header = run.terms(**changes), read_header(run.header)
        return cls(run, terms, header, game.start(1, CLAIMANT, CHALLENGER, terms, header, START))

    @property
    def running(self) -> bool:
        return self.dispute.status is Status.RUNNING

    def after(self, move: Move, sender: str | None = None, now: int | None = None) -> DisputeState:
        """What the move makes of the dispute; the board stays as it is."""
        sender = sender or self.dispute.account(self.dispute.clock.turn)
        read = moves.read_move(moves.to_bytes(move))
        assert read == move
        return game.play(
            self.dispute, self.terms, self.header, sender, read, self.now if now is None else now
        )

    def play(self, move: Move) -> None:
        self.dispute = self.after(move)
        self.played.append(move)

    def owed(self, claimant: Claimant, challenger: Challenger | Griefer) -> Move:
        player = claimant if self.dispute.clock.turn is Side.CLAIMANT else challenger
        return player.move(self.terms, self.dispute)


Wanted = Callable[[Position], bool]

#: Position -> how it is recognised; all of them come in a dispute about `network`, operator 0.
POSITIONS: dict[str, Wanted] = {
    "trace hidden": lambda p: isinstance(p, AtTrace) and not p.descent.children,
    "trace shown": lambda p: isinstance(p, AtTrace) and bool(p.descent.children),
    "leaf": lambda p: isinstance(p, AtLeaf),
    "wiring": lambda p: isinstance(p, AtWiring),
    "cells hidden": lambda p: isinstance(p, AtCells) and not p.descent.children,
    "cells shown": lambda p: isinstance(p, AtCells) and bool(p.descent.children),
    "chunk hidden": lambda p: isinstance(p, AtChunk) and p.data is None,
    "chunk shown": lambda p: isinstance(p, AtChunk) and p.data is not None,
    "sums hidden": lambda p: isinstance(p, AtSums) and p.end is None,
    "sums shown": lambda p: isinstance(p, AtSums) and bool(p.cuts),
    "sums hidden later": lambda p: isinstance(p, AtSums) and p.end is not None and not p.cuts,
    "summand": lambda p: isinstance(p, AtSummand),
}


class Guide(Griefer):
    """A griefer who goes to a certain operator and cell, and to the summands in the middle."""

    def __init__(self, run: Run, operator: int, cell: int, summand: int) -> None:
        super().__init__(run, random.Random(0))
        self.operator = operator
        self.cell = cell
        self.summand = summand

    def move(self, terms: Terms, dispute: DisputeState) -> Move:
        match dispute.position:
            case AtTrace(place):
                return self._child(place, self.operator)
            case AtWiring():
                return moves.DisputeCells()
            case AtCells(site, place):
                return self._child(place, self.cell * site.operator.cells.width // 1024)
            case AtChunk():
                return moves.SelectCell(self.cell)
            case AtSums() as at:
                return moves.Select(self.interval(at))
        return super().move(terms, dispute)

    def interval(self, at: AtSums) -> int:
        return next(i for i, (cut, _) in enumerate(at.cuts) if self.summand < cut)

    @staticmethod
    def _child(place: Any, leaf: int) -> Move:
        level = place.level - (len(place.children).bit_length() - 1)
        return moves.Select((leaf >> level) - (place.index << (place.level - level)))


def at(
    wanted: Wanted,
    run: Run | None = None,
    *,
    operator: int = 0,
    cell: int = 0,
    summand: int = 0,
    **changes: Any,
) -> Board:
    """The first such position of a dispute about this cell; k is 2 unless it is said."""
    run = run or honest("network")
    board = Board.of(run, **{"k_log": 1, **changes})
    guide = Guide(run, operator, cell, summand)
    while not wanted(board.dispute.position):
        board.play(board.owed(Claimant(run), guide))
        assert board.running, "the dispute ended before"
    return board
