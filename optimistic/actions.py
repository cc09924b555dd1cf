"""What senders do on a ledger, as frozen records and as bytes: `u8 kind || body`.

    1 Deposit       u128 amount
    2 Withdraw      nothing: all of the sender's balance
    3 Post          u32 length, terms | u32 length, header of the program
    4 Challenge     u64 claim
    5 Play          u64 dispute | a move (`moves`)
    6 TimeOut       u64 dispute
    7 Release       u64 dispute
    8 Ask           u64 claim | u16 input | u32 chunk
    9 Answer        u64 request | u16 length, chunk | path
    10 Default      u64 request
    11 ReleaseRequest u64 request
    12 InputRange   u64 claim | u16 input | u32 cell | opening
    13 Finalise     u64 claim

`SqliteLedger` signs and stores these bytes; a contract has a function for each (deposits are the
value of a transaction there).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from proofml.optimistic import moves
from proofml.optimistic.claim import MAX_PORTS, MAX_TERMS_BYTES, Terms
from proofml.optimistic.moves import MAX_MOVE_BYTES, MAX_POINT_BYTES, Move, Opening, PointAt
from proofml.optimistic.wire import Reader, WireError, sized, unsigned

#: A port's cells have at most eight axes, and each port has its source and its index.
MAX_HEADER_BYTES = 2 * MAX_PORTS * 64 + 64
MAX_ACTION_BYTES = MAX_MOVE_BYTES + 64
#: Of a `Play` with `PointAt`; all others have less.
MAX_POINTING_BYTES = MAX_POINT_BYTES + 64
_MOVE_AT = 9  # after the action's kind and the dispute


@dataclass(frozen=True)
class Deposit:
    """Money that the ledger books for the sender."""

    kind: ClassVar[int] = 1
    amount: int

    def body(self) -> bytes:
        return unsigned(self.amount, 16, "amount")


@dataclass(frozen=True)
class Withdraw:
    """All of the sender's balance."""

    kind: ClassVar[int] = 2

    def body(self) -> bytes:
        return b""


@dataclass(frozen=True)
class Post:
    """A claim; its bond is held from now on."""

    kind: ClassVar[int] = 3
    terms: Terms
    header: bytes

    def body(self) -> bytes:
        if len(self.header) > MAX_HEADER_BYTES:
            raise WireError(f"header: expected at most {MAX_HEADER_BYTES} bytes")
        return sized(self.terms.to_bytes(), 4, "terms") + sized(self.header, 4, "header")


@dataclass(frozen=True)
class Challenge:
    """A dispute about a claim; its bond is held from now on."""

    kind: ClassVar[int] = 4
    claim: int

    def body(self) -> bytes:
        return unsigned(self.claim, 8, "claim")


@dataclass(frozen=True)
class Play:
    kind: ClassVar[int] = 5
    dispute: int
    move: Move

    def body(self) -> bytes:
        return unsigned(self.dispute, 8, "dispute") + moves.to_bytes(self.move)


@dataclass(frozen=True)
class TimeOut:
    """Ends a dispute in which the side that owes the move has no time left."""

    kind: ClassVar[int] = 6
    dispute: int

    def body(self) -> bytes:
        return unsigned(self.dispute, 8, "dispute")


@dataclass(frozen=True)
class Release:
    """Returns the bond of a dispute that was running when another one defeated the claim."""

    kind: ClassVar[int] = 7
    dispute: int

    def body(self) -> bytes:
        return unsigned(self.dispute, 8, "dispute")


@dataclass(frozen=True)
class Ask:
    """Asks for a chunk of an input, for a fee."""

    kind: ClassVar[int] = 8
    claim: int
    input: int
    chunk: int

    def body(self) -> bytes:
        return (
            unsigned(self.claim, 8, "claim")
            + unsigned(self.input, 2, "input")
            + unsigned(self.chunk, 4, "chunk")
        )


@dataclass(frozen=True)
class Answer:
    """The chunk, and the path to its input's root."""

    kind: ClassVar[int] = 9
    request: int
    chunk: bytes
    path: tuple[bytes, ...]

    def body(self) -> bytes:
        return (
            unsigned(self.request, 8, "request")
            + sized(self.chunk, 2, "chunk")
            + moves.write_path(self.path)
        )


@dataclass(frozen=True)
class Default:
    """Defeats a claim whose claimant did not answer a request in time."""

    kind: ClassVar[int] = 10
    request: int

    def body(self) -> bytes:
        return unsigned(self.request, 8, "request")


@dataclass(frozen=True)
class ReleaseRequest:
    """Returns the fee of a request that was open when the claim was defeated."""

    kind: ClassVar[int] = 11
    request: int

    def body(self) -> bytes:
        return unsigned(self.request, 8, "request")


@dataclass(frozen=True)
class InputRange:
    """Defeats a claim by a cell of an input that is beyond the input's range."""

    kind: ClassVar[int] = 12
    claim: int
    input: int
    cell: int
    opening: Opening

    def body(self) -> bytes:
        return (
            unsigned(self.claim, 8, "claim")
            + unsigned(self.input, 2, "input")
            + unsigned(self.cell, 4, "cell")
            + self.opening.to_bytes()
        )


@dataclass(frozen=True)
class Finalise:
    """Makes a claim final whose window is over, and returns its bond."""

    kind: ClassVar[int] = 13
    claim: int

    def body(self) -> bytes:
        return unsigned(self.claim, 8, "claim")


Action: TypeAlias = (
    Deposit
    | Withdraw
    | Post
    | Challenge
    | Play
    | TimeOut
    | Release
    | Ask
    | Answer
    | Default
    | ReleaseRequest
    | InputRange
    | Finalise
)


def to_bytes(action: Action) -> bytes:
    """The action's only encoding.

    Raises:
        WireError: a field that the bytes cannot hold.
    """
    return unsigned(action.kind, 1, "kind") + action.body()


def read_action(data: bytes) -> Action:
    """The action of these bytes, which `to_bytes` gives back.

    Raises:
        WireError: other bytes.
    """
    reader = Reader(data, "action", most_bytes(data))
    action = _read(reader, reader.unsigned(1, "kind"))
    reader.done()
    return action


def most_bytes(data: bytes) -> int:
    """How long an action that begins like this may be."""
    move = data[_MOVE_AT : _MOVE_AT + 1]
    pointing = data[:1] == bytes([Play.kind]) and move == bytes([PointAt.kind])
    return MAX_POINTING_BYTES if pointing else MAX_ACTION_BYTES


def _read(reader: Reader, kind: int) -> Action:
    match kind:
        case Deposit.kind:
            return Deposit(reader.unsigned(16, "amount"))
        case Withdraw.kind:
            return Withdraw()
        case Post.kind:
            terms = reader.sized(4, "terms", MAX_TERMS_BYTES)
            return Post(Terms.read(terms), reader.sized(4, "header", MAX_HEADER_BYTES))
        case Challenge.kind:
            return Challenge(reader.unsigned(8, "claim"))
        case Play.kind:
            return Play(reader.unsigned(8, "dispute"), moves.read_move(reader.rest()))
        case TimeOut.kind:
            return TimeOut(reader.unsigned(8, "dispute"))
        case Release.kind:
            return Release(reader.unsigned(8, "dispute"))
        case Ask.kind:
            return Ask(
                reader.unsigned(8, "claim"),
                reader.unsigned(2, "input"),
                reader.unsigned(4, "chunk"),
            )
        case Answer.kind:
            return Answer(
                reader.unsigned(8, "request"), reader.sized(2, "chunk"), moves.read_path(reader)
            )
        case Default.kind:
            return Default(reader.unsigned(8, "request"))
        case ReleaseRequest.kind:
            return ReleaseRequest(reader.unsigned(8, "request"))
        case InputRange.kind:
            return InputRange(
                reader.unsigned(8, "claim"),
                reader.unsigned(2, "input"),
                reader.unsigned(4, "cell"),
                moves.read_opening(reader),
            )
        case Finalise.kind:
            return Finalise(reader.unsigned(8, "claim"))
        case _:
            raise WireError(f"action: kind: expected 1 to 13, got {kind}")
