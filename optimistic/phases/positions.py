"""Where a dispute stands: one record a phase, with all that its next move is checked against.

    TRACE      claimant reveals nodes of the trace's tree, challenger selects one, until a leaf
    OPERATOR   claimant reveals the operator; challenger proves its wiring wrong, or goes on
    CELLS      as TRACE, in the tree of the operator's output, until a chunk
    CHUNK      claimant reveals the chunk, challenger selects a cell, or proves it out of range
    SUMS       claimant asserts states of the fold, challenger selects an interval, until one step
    SUMMAND    challenger opens what the step reads, and the arbiter computes it
    POINT      of a float claim, alone: challenger points at an operator with all of its tensors

A phase is skipped where it has nothing to decide (a tree of one leaf).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, TypeAlias

from proofml.canonical import JSON
from proofml.optimistic import moves
from proofml.optimistic.clock import Side
from proofml.optimistic.commit import TraceLeaf
from proofml.optimistic.program import Operator

Kinds: TypeAlias = tuple[type[moves.Move], ...]


class Phase(IntEnum):
    TRACE = 1
    OPERATOR = 2
    CELLS = 3
    CHUNK = 4
    SUMS = 5
    SUMMAND = 6
    POINT = 7


@dataclass(frozen=True)
class Descent:
    """A node of a committed tree, and its descendants where they are revealed.

    Attributes:
        count: leaves of the tree.
        node, level, index: the current node; level 0 is a leaf.
        children: 2^m nodes m levels below, or none yet.
    """

    count: int
    node: bytes
    level: int
    index: int
    children: tuple[bytes, ...] = ()

    def to_json(self) -> JSON:
        return {
            "leaves": self.count,
            "node": self.node.hex(),
            "level": self.level,
            "index": self.index,
            "children": [child.hex() for child in self.children],
        }


@dataclass(frozen=True)
class Site:
    """The disputed operator, as the claimant revealed it."""

    leaf: TraceLeaf
    operator: Operator

    def to_json(self) -> JSON:
        return {
            "operator": self.leaf.index,
            "inputs": [root.hex() for root in self.leaf.inputs],
            "output": self.leaf.output.hex(),
        }


@dataclass(frozen=True)
class AtTrace:
    phase: ClassVar[Phase] = Phase.TRACE
    descent: Descent

    @property
    def awaits(self) -> Kinds:
        return (moves.Select,) if self.descent.children else (moves.RevealTrace,)

    def to_json(self) -> JSON:
        return self.descent.to_json()


@dataclass(frozen=True)
class AtLeaf:
    """The leaf of the trace is found; the claimant owes what it says."""

    phase: ClassVar[Phase] = Phase.OPERATOR
    awaits: ClassVar[Kinds] = (moves.RevealOperator,)
    node: bytes
    index: int

    def to_json(self) -> JSON:
        return {"node": self.node.hex(), "index": self.index}


@dataclass(frozen=True)
class AtWiring:
    """The operator is known; the challenger says whether its inputs or its cells are wrong."""

    phase: ClassVar[Phase] = Phase.OPERATOR
    awaits: ClassVar[Kinds] = (moves.ProveWiring, moves.DisputeCells)
    site: Site

    def to_json(self) -> JSON:
        return {"site": self.site.to_json()}


@dataclass(frozen=True)
class AtCells:
    phase: ClassVar[Phase] = Phase.CELLS
    site: Site
    descent: Descent

    @property
    def awaits(self) -> Kinds:
        return (moves.Select,) if self.descent.children else (moves.RevealCells,)

    def to_json(self) -> JSON:
        return {"site": self.site.to_json(), "descent": self.descent.to_json()}


@dataclass(frozen=True)
class AtChunk:
    """A chunk of the output; `data` once it is revealed."""

    phase: ClassVar[Phase] = Phase.CHUNK
    site: Site
    chunk: int
    node: bytes
    data: bytes | None = None

    @property
    def awaits(self) -> Kinds:
        if self.data is None:
            return (moves.RevealChunk,)
        return (moves.SelectCell, moves.ProveRange)

    def to_json(self) -> JSON:
        return {
            "site": self.site.to_json(),
            "chunk": self.chunk,
            "node": self.node.hex(),
            "data": None if self.data is None else self.data.hex(),
        }


@dataclass(frozen=True)
class AtSums:
    """An interval [first, last) of the summands of one cell.

    Attributes:
        cell, value: flat index of the cell, and what the claimant says it is.
        start: the state before summand `first`, on which both agree.
        end: the state after summand `last - 1`, which the claimant asserts; None before his first
            reveal.
        cuts: (summand, state) of all ends of intervals within, the last of them `last`; empty
            where the claimant owes them.
    """

    phase: ClassVar[Phase] = Phase.SUMS
    site: Site
    cell: int
    value: int
    first: int
    last: int
    start: int
    end: int | None = None
    cuts: tuple[tuple[int, int], ...] = ()

    @property
    def awaits(self) -> Kinds:
        return (moves.Select,) if self.cuts else (moves.RevealSums,)

    def to_json(self) -> JSON:
        return {
            "site": self.site.to_json(),
            "cell": self.cell,
            "value": self.value,
            "interval": [self.first, self.last],
            "start": str(self.start),
            "end": None if self.end is None else str(self.end),
            "cuts": [[at, str(state)] for at, state in self.cuts],
        }


@dataclass(frozen=True)
class AtSummand:
    """One step: from `start` by summand `summand` of the cell to `end`, says the claimant."""

    phase: ClassVar[Phase] = Phase.SUMMAND
    awaits: ClassVar[Kinds] = (moves.ProveSummand,)
    site: Site
    cell: int
    summand: int
    start: int
    end: int

    def to_json(self) -> JSON:
        return {
            "site": self.site.to_json(),
            "cell": self.cell,
            "summand": self.summand,
            "start": str(self.start),
            "end": str(self.end),
        }


@dataclass(frozen=True)
class AtPoint:
    """A float claim is disputed; nothing is said yet of what is wrong."""

    phase: ClassVar[Phase] = Phase.POINT
    awaits: ClassVar[Kinds] = (moves.PointAt,)

    def to_json(self) -> JSON:
        return {}


Position: TypeAlias = AtTrace | AtLeaf | AtWiring | AtCells | AtChunk | AtSums | AtSummand | AtPoint

#: Moves of the claimant; all others are the challenger's.
REVEALS: frozenset[type[moves.Move]] = frozenset(
    (
        moves.RevealTrace,
        moves.RevealOperator,
        moves.RevealCells,
        moves.RevealChunk,
        moves.RevealSums,
    )
)


def turn(position: Position) -> Side:
    """Who owes the move; no position awaits moves of both sides."""
    return Side.CLAIMANT if position.awaits[0] in REVEALS else Side.CHALLENGER


@dataclass(frozen=True)
class Won:
    """The dispute is decided."""

    side: Side
    why: str
