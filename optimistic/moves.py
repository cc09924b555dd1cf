"""The moves of a dispute, as frozen records and as bytes: `u8 kind || body`, nothing after it.

    1 RevealTrace, 6 RevealCells   u8 m, 2^m * 32 children
    2 Select                       u32 i
    3 RevealOperator               u16 length, leaf | u16 length, descriptor | path
    4 ProveWiring                  u16 operand | u16 length, leaf | path
    5 DisputeCells                 nothing
    7 RevealChunk                  u16 length, bytes
    8 SelectCell, 9 ProveRange     u32 cell
    10 RevealSums                  u8 n, n * i64 states | u8 0, or u8 1 and an opening
    11 ProveSummand                u8 n, n * opening
    20 PointAt                     an accusation of a float operator (`floating.accusation`)

    path     u8 n, n * 32 nodes, from the leaf's sibling upwards
    opening  u32 leaf index | u16 length, leaf | path

The contract takes these bytes and logs them. `read_move` says only that they have this form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from proofml.optimistic.claim import MAX_K_LOG
from proofml.optimistic.wire import Reader, WireError, hashes, signed64, sized, unsigned

#: Nodes of a path: no tree has more than 2^32 leaves.
MAX_PATH = 32
#: A summand has two operands of at most eight axes, an argmax opens two summands.
MAX_OPENINGS = 64
MAX_MOVE_BYTES = 1 << 18
#: Of `PointAt`, which shows all that an operator reads and makes; no contract takes it.
MAX_POINT_BYTES = 1 << 24


@dataclass(frozen=True)
class Opening:
    """A leaf of a tree whose root is known: its number, its bytes, the siblings up to the root."""

    index: int
    leaf: bytes
    path: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        return (
            unsigned(self.index, 4, "leaf index")
            + sized(self.leaf, 2, "leaf")
            + write_path(self.path)
        )


@dataclass(frozen=True)
class RevealTrace:
    """Claimant: nodes of the trace's tree, at most `k_log` levels below the current one."""

    kind: ClassVar[int] = 1
    children: tuple[bytes, ...]

    def body(self) -> bytes:
        return _children(self.children)


@dataclass(frozen=True)
class Select:
    """Challenger: the revealed child, or interval of states, that he disputes."""

    kind: ClassVar[int] = 2
    index: int

    def body(self) -> bytes:
        return unsigned(self.index, 4, "index")


@dataclass(frozen=True)
class RevealOperator:
    """Claimant: the disputed operator's leaf of the trace, and its descriptor in the program."""

    kind: ClassVar[int] = 3
    leaf: bytes
    descriptor: bytes
    path: tuple[bytes, ...]

    def body(self) -> bytes:
        return (
            sized(self.leaf, 2, "leaf")
            + sized(self.descriptor, 2, "descriptor")
            + write_path(self.path)
        )


@dataclass(frozen=True)
class ProveWiring:
    """Challenger: an operand's root is not the output root in its producer's leaf."""

    kind: ClassVar[int] = 4
    operand: int
    leaf: bytes
    path: tuple[bytes, ...]

    def body(self) -> bytes:
        return (
            unsigned(self.operand, 2, "operand")
            + sized(self.leaf, 2, "leaf")
            + write_path(self.path)
        )


@dataclass(frozen=True)
class DisputeCells:
    """Challenger: the operator's inputs are right, a cell of its output is not."""

    kind: ClassVar[int] = 5

    def body(self) -> bytes:
        return b""


@dataclass(frozen=True)
class RevealCells:
    """Claimant: nodes of the output's tree."""

    kind: ClassVar[int] = 6
    children: tuple[bytes, ...]

    def body(self) -> bytes:
        return _children(self.children)


@dataclass(frozen=True)
class RevealChunk:
    """Claimant: the bytes of the disputed chunk."""

    kind: ClassVar[int] = 7
    data: bytes

    def body(self) -> bytes:
        return sized(self.data, 2, "chunk")


@dataclass(frozen=True)
class SelectCell:
    """Challenger: the cell that does not follow, by its flat index in the whole tensor."""

    kind: ClassVar[int] = 8
    cell: int

    def body(self) -> bytes:
        return unsigned(self.cell, 4, "cell")


@dataclass(frozen=True)
class ProveRange:
    """Challenger: the bytes of this cell are beyond the tensor's range."""

    kind: ClassVar[int] = 9
    cell: int

    def body(self) -> bytes:
        return unsigned(self.cell, 4, "cell")


@dataclass(frozen=True)
class RevealSums:
    """Claimant: states of the fold at the cuts of the interval; in the first round at its end
    too, with the record of the rule that makes the cell of it."""

    kind: ClassVar[int] = 10
    states: tuple[int, ...]
    rule: Opening | None = None

    def body(self) -> bytes:
        states = b"".join(signed64(state, "state") for state in self.states)
        rule = b"\x00" if self.rule is None else b"\x01" + self.rule.to_bytes()
        return unsigned(len(self.states), 1, "states") + states + rule


@dataclass(frozen=True)
class ProveSummand:
    """Challenger: all that one step of the fold reads."""

    kind: ClassVar[int] = 11
    openings: tuple[Opening, ...]

    def body(self) -> bytes:
        if len(self.openings) > MAX_OPENINGS:
            raise WireError(f"openings: expected at most {MAX_OPENINGS}, got {len(self.openings)}")
        return unsigned(len(self.openings), 1, "openings") + b"".join(
            opening.to_bytes() for opening in self.openings
        )


@dataclass(frozen=True)
class PointAt:
    """Challenger, of a float claim: this operator does not follow; here is what shows it."""

    kind: ClassVar[int] = 20
    data: bytes

    def body(self) -> bytes:
        return self.data


Move: TypeAlias = (
    RevealTrace
    | Select
    | RevealOperator
    | ProveWiring
    | DisputeCells
    | RevealCells
    | RevealChunk
    | SelectCell
    | ProveRange
    | RevealSums
    | ProveSummand
    | PointAt
)


def to_bytes(move: Move) -> bytes:
    """The move's only encoding.

    Raises:
        WireError: a field that the bytes cannot hold.
    """
    data = unsigned(move.kind, 1, "kind") + move.body()
    most = most_bytes(move.kind)
    if len(data) > most:
        raise WireError(f"move: expected at most {most} bytes, got {len(data)}")
    return data


def most_bytes(kind: int) -> int:
    """Of a move of this kind."""
    return MAX_POINT_BYTES if kind == PointAt.kind else MAX_MOVE_BYTES


def read_move(data: bytes) -> Move:
    """The move of these bytes, which `to_bytes` gives back.

    Raises:
        WireError: other bytes.
    """
    reader = Reader(data, "move", most_bytes(data[0] if data else 0))
    move = _read(reader, reader.unsigned(1, "kind"))
    reader.done()
    return move


def _read(reader: Reader, kind: int) -> Move:
    match kind:
        case RevealTrace.kind:
            return RevealTrace(_read_children(reader))
        case Select.kind:
            return Select(reader.unsigned(4, "index"))
        case RevealOperator.kind:
            return RevealOperator(
                reader.sized(2, "leaf"), reader.sized(2, "descriptor"), read_path(reader)
            )
        case ProveWiring.kind:
            return ProveWiring(
                reader.unsigned(2, "operand"), reader.sized(2, "leaf"), read_path(reader)
            )
        case DisputeCells.kind:
            return DisputeCells()
        case RevealCells.kind:
            return RevealCells(_read_children(reader))
        case RevealChunk.kind:
            return RevealChunk(reader.sized(2, "chunk"))
        case SelectCell.kind:
            return SelectCell(reader.unsigned(4, "cell"))
        case ProveRange.kind:
            return ProveRange(reader.unsigned(4, "cell"))
        case RevealSums.kind:
            states = tuple(reader.signed64("state") for _ in range(reader.unsigned(1, "states")))
            return RevealSums(states, read_opening(reader) if reader.flag("rule") else None)
        case ProveSummand.kind:
            count = reader.unsigned(1, "openings")
            if count > MAX_OPENINGS:
                raise WireError(f"openings: expected at most {MAX_OPENINGS}, got {count}")
            return ProveSummand(tuple(read_opening(reader) for _ in range(count)))
        case PointAt.kind:
            return PointAt(reader.rest())
        case _:
            raise WireError(f"move: kind: expected 1 to 11 or 20, got {kind}")


def read_opening(reader: Reader) -> Opening:
    return Opening(reader.unsigned(4, "leaf index"), reader.sized(2, "leaf"), read_path(reader))


def read_path(reader: Reader) -> tuple[bytes, ...]:
    count = reader.unsigned(1, "length of the path")
    if count > MAX_PATH:
        raise WireError(f"path: expected at most {MAX_PATH} nodes, got {count}")
    return reader.hashes(count, "path")


def write_path(path: tuple[bytes, ...]) -> bytes:
    if len(path) > MAX_PATH:
        raise WireError(f"path: expected at most {MAX_PATH} nodes, got {len(path)}")
    return unsigned(len(path), 1, "length of the path") + hashes(path, "path")


def _children(children: tuple[bytes, ...]) -> bytes:
    levels = len(children).bit_length() - 1
    if not 1 <= levels <= MAX_K_LOG or len(children) != 1 << levels:
        raise WireError(f"children: expected 2, 4, ... or 64 of them, got {len(children)}")
    return unsigned(levels, 1, "levels") + hashes(children, "children")


def _read_children(reader: Reader) -> tuple[bytes, ...]:
    levels = reader.unsigned(1, "levels")
    if not 1 <= levels <= MAX_K_LOG:
        raise WireError(f"children: levels: expected 1 to {MAX_K_LOG}, got {levels}")
    return reader.hashes(1 << levels, "children")
