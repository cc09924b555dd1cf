"""A dispute as it went: its moves, and which part of the run was still disputed after each.

The ledger's events are replayed by the game's own rules; what cannot be replayed is no history.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from proofml.canonical import JSON
from proofml.optimistic import actions, clerk, moves
from proofml.optimistic.book import ClaimState
from proofml.optimistic.clock import Side
from proofml.optimistic.floating.accusation import accused
from proofml.optimistic.game import DisputeState
from proofml.optimistic.ledger import Event, Ledger
from proofml.optimistic.moves import Move
from proofml.optimistic.phases.positions import (
    AtCells,
    AtChunk,
    AtLeaf,
    AtPoint,
    AtSummand,
    AtSums,
    AtTrace,
    AtWiring,
    Descent,
    Position,
)

_BATCH = 500


@dataclass(frozen=True)
class Span:
    """What is disputed: `[first, last)` of `count` things called `unit`."""

    unit: str
    first: int
    last: int
    count: int

    def to_json(self) -> JSON:
        return {"unit": self.unit, "first": self.first, "last": self.last, "count": self.count}

    def __str__(self) -> str:
        if self.last - self.first == 1:
            return f"{self.unit} {self.first} of {self.count}"
        return f"{self.unit}s {self.first} to {self.last - 1} of {self.count}"


@dataclass(frozen=True)
class Round:
    """One move.

    Attributes:
        number: from 1 on.
        time: of the ledger, in seconds.
        bytes: of the move, as the ledger takes it.
        words: what was shown or chosen.
        span: what is disputed after it.
    """

    number: int
    time: int
    side: Side
    move: Move
    bytes: int
    words: str
    span: Span

    def to_json(self) -> dict[str, JSON]:
        return {
            "number": self.number,
            "time": self.time,
            "side": self.side.name,
            "move": type(self.move).__name__,
            "bytes": self.bytes,
            "words": self.words,
            "span": self.span.to_json(),
        }


@dataclass(frozen=True)
class Listed:
    """A dispute of a ledger, with what was done in it."""

    number: int
    claim: int
    opened: int
    played: tuple[Event, ...]


def disputes(ledger: Ledger, only: int | None = None) -> dict[int, Listed]:
    """Number -> what was done, of all disputes, or of one."""
    found: dict[int, tuple[int, int, list[Event]]] = {}
    for event in _events(ledger):
        match event.action:
            case actions.Challenge(claim) if only in (None, event.result):
                found[event.result] = claim, event.time, []
            case actions.Play(dispute, _) if dispute in found:
                found[dispute][2].append(event)
    return {
        number: Listed(number, claim, opened, tuple(played))
        for number, (claim, opened, played) in found.items()
    }


def _events(ledger: Ledger) -> Iterator[Event]:
    last = 0
    while batch := ledger.events(last, _BATCH):
        yield from batch
        last = batch[-1].number


def rounds(claim: ClaimState, dispute: DisputeState, played: tuple[Event, ...]) -> list[Round]:
    """The moves of a dispute.

    Raises:
        IllegalMove: the events are not those of this dispute.
    """
    state = clerk.started(dispute.claim, claim, dispute.challenger, dispute.opened)
    found = []
    for number, event in enumerate(played, 1):
        assert isinstance(event.action, actions.Play)
        side, move = state.clock.turn, event.action.move
        state = clerk.played(state, claim, event.sender, move, event.time)
        position = state.position
        found.append(
            Round(
                number,
                event.time,
                side,
                move,
                len(moves.to_bytes(move)),
                words_of(move, position),
                span_of(position, claim.header.count),
            )
        )
    return found


def span_of(position: Position, operators: int) -> Span:
    """What is disputed at a position."""
    match position:
        case AtTrace(place):
            return _below(place, "operator")
        case AtLeaf(_, index):
            return Span("operator", index, index + 1, operators)
        case AtWiring(site):
            return Span("operator", site.leaf.index, site.leaf.index + 1, operators)
        case AtCells(_, place):
            return _below(place, "chunk")
        case AtChunk(site, chunk):
            return Span("chunk", chunk, chunk + 1, site.operator.cells.chunks)
        case AtSums(site, _, _, first, last):
            return Span("summand", first, last, site.operator.summands)
        case AtSummand(site, _, summand):
            return Span("summand", summand, summand + 1, site.operator.summands)
        case AtPoint():
            return Span("operator", 0, operators, operators)


def _below(place: Descent, unit: str) -> Span:
    first = place.index << place.level
    return Span(unit, first, min(place.count, (place.index + 1) << place.level), place.count)


def words_of(move: Move, after: Position) -> str:
    """What a move shows or chooses, for people."""
    match move:
        case moves.RevealTrace(children) | moves.RevealCells(children):
            return f"{len(children)} nodes, {len(children).bit_length() - 1} levels below"
        case moves.Select(index):
            return f"number {index}"
        case moves.RevealOperator(leaf, descriptor):
            return f"its leaf ({len(leaf)} bytes) and its descriptor ({len(descriptor)} bytes)"
        case moves.ProveWiring(operand):
            return f"operand {operand} is not what its producer made"
        case moves.DisputeCells():
            return "its inputs are agreed, a cell is not"
        case moves.RevealChunk(data):
            return f"{len(data)} bytes"
        case moves.SelectCell(cell):
            value = after.value if isinstance(after, AtSums) else ""
            return f"cell {cell}, said to be {value}"
        case moves.ProveRange(cell):
            return f"cell {cell} is out of range"
        case moves.RevealSums(states):
            return "states " + ", ".join(map(str, states))
        case moves.ProveSummand(openings):
            return f"opens {len(openings)} leaves" if len(openings) != 1 else "opens 1 leaf"
        case moves.PointAt(data):
            return f"points at {accused(data)}, with {len(data)} bytes"
