"""Whole disputes as the contract's tests replay them: every move, every context, what is illegal.

A game is played by the rules in Python between the players of the other tests. Beside each move it
keeps changed bytes of it, with the refusal that Python gives them; the contract must give the same.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from proofml.optimistic import game, moves
from proofml.optimistic.claim import Terms
from proofml.optimistic.clock import Side
from proofml.optimistic.contexts import context_of
from proofml.optimistic.encoding import Header, read_header
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.moves import Move
from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.optimistic.wire import WireError

CLAIMANT, CHALLENGER = "claimant", "challenger"
#: Errors of the contract by number; the last one stands for any.
ERRORS = (
    *("".join(word.capitalize() for word in refusal.name.split("_")) for refusal in Refusal),
    "Malformed",
    "Context",
    "*",
)
#: Instead of a position: the last byte is left out.
SHORTER = 0xFFFFFFFF


class Player(Protocol):
    def move(self, terms: Terms, dispute: DisputeState) -> Move: ...


def error_number(refusal: Refusal) -> int:
    return list(Refusal).index(refusal)


def changed(data: bytes, position: int, xor: int) -> bytes:
    if position == SHORTER:
        return data[:-1]
    return data[:position] + bytes([data[position] ^ xor]) + data[position + 1 :]


@dataclass
class Game:
    """A dispute that is over.

    Attributes:
        by: 0 where the claimant moved, 1 where the challenger did; with the seconds before.
        illegal: six numbers each: step, who (0, 1, or 2 for a stranger), 0 for the move or 1 for
            the context, position, xor, error.
        silent: the side that made no move in time in the end, or -1.
    """

    name: str
    terms: Terms
    header: bytes
    by: list[int] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    contexts: list[bytes] = field(default_factory=list)
    illegal: list[int] = field(default_factory=list)
    silent: int = -1
    status: Status = Status.RUNNING

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "terms": hexed(self.terms.to_bytes()),
            "header": hexed(self.header),
            "by": self.by,
            "waits": self.waits,
            "moves": [hexed(each) for each in self.data],
            "contexts": [hexed(each) for each in self.contexts],
            "illegal": self.illegal,
            "silent": self.silent + 1,
            "status": int(self.status),
        }


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


@dataclass
class Recorder:
    """Plays one game and writes it down.

    Attributes:
        changes: how many changed moves are kept for each step.
        seen: errors that were kept so far; rare ones are preferred.
    """

    name: str
    terms: Terms
    header_bytes: bytes
    players: tuple[Player, Player]
    changes: int = 4
    seen: Counter[int] = field(default_factory=Counter)
    now: int = 1000

    def __post_init__(self) -> None:
        self.header: Header = read_header(self.header_bytes)
        self.content = self.terms.to_bytes() + self.header_bytes
        self.rng = random.Random(self.name)
        self.made = Game(self.name, self.terms, self.header_bytes)

    def play(self) -> Game:
        state = game.start(1, CLAIMANT, CHALLENGER, self.terms, self.header, self.now)
        while state.status is Status.RUNNING:
            side = state.clock.turn
            move = self.players[side].move(self.terms, state)
            wait = self._wait(state)
            try:
                after = self._after(state, move, wait)
            except IllegalMove as error:
                # A liar who cannot go on; his try is one more illegal move.
                self._note(state, move, 0)
                self._illegal(side, 0, 0, 0, error_number(error.refusal))
                state = self._silent(state)
                break
            self._note(state, move, wait)
            self._changes(state, wait)
            self.now += wait
            state = after
        self.made.status = state.status
        return self.made

    def _after(self, state: DisputeState, move: Move, wait: int) -> DisputeState:
        sender = state.account(state.clock.turn)
        return game.play(state, self.terms, self.header, sender, move, self.now + wait)

    def _wait(self, state: DisputeState) -> int:
        """Often nothing, sometimes all that is left."""
        left = state.clock.deadline - self.now
        return self.rng.choice([0, 0, 1, min(left, self.terms.extension), left])

    def _silent(self, state: DisputeState) -> DisputeState:
        self.made.silent = int(state.clock.turn)
        return game.time_out(state, state.clock.deadline + 1)

    def _note(self, state: DisputeState, move: Move, wait: int) -> None:
        self.made.by.append(int(state.clock.turn))
        self.made.waits.append(wait)
        self.made.data.append(moves.to_bytes(move))
        self.made.contexts.append(context_of(state.position, move, self.content))

    def _illegal(self, who: int, target: int, position: int, xor: int, error: int) -> None:
        self.seen[error] += 1
        self.made.illegal += [len(self.made.data) - 1, who, target, position, xor, error]

    def _changes(self, state: DisputeState, wait: int) -> None:
        """Keeps some changes of the last move, those whose errors are rare so far."""
        tries = 16 * self.changes
        found = {change for change in (self._try(state, wait) for _ in range(tries)) if change}
        kept = sorted(found)
        for _ in range(min(self.changes, len(kept))):
            rarest = min(kept, key=lambda change: (self.seen[change[-1]], change))
            kept.remove(rarest)
            self._illegal(*rarest)

    def _try(self, state: DisputeState, wait: int) -> tuple[int, int, int, int, int] | None:
        """One change at random: who, target, position, xor, error."""
        rng, data, context = self.rng, self.made.data[-1], self.made.contexts[-1]
        side = int(state.clock.turn)
        kind = rng.randrange(8)
        if kind == 0:
            return rng.choice([1 - side, 2]), 0, 0, 0, error_number(Refusal.NOT_YOUR_TURN)
        xor = 1 << rng.randrange(8)
        if kind < 3 and context:
            position = rng.choice([SHORTER, rng.randrange(len(context))])
            error = "*" if position == SHORTER else "Context"
            return side, 1, position, xor, ERRORS.index(error)
        # Near the front lie kinds, counts and lengths.
        reach = min(len(data), rng.choice([2, 8, 40, len(data)]))
        position = rng.choice([SHORTER, *[rng.randrange(reach)] * 5])
        error_ = self._refusal(state, changed(data, position, xor), wait)
        return None if error_ is None else (side, 0, position, xor, error_)

    def _refusal(self, state: DisputeState, data: bytes, wait: int) -> int | None:
        """What Python says of these bytes; None where they are legal."""
        try:
            move = moves.read_move(data)
        except WireError:
            return ERRORS.index("*")
        try:
            self._after(state, move, wait)
        except IllegalMove as error:
            return error_number(error.refusal)
        # The context is still that of the move as it was.
        tree = isinstance(move, moves.Select) and hasattr(state.position, "descent")
        return ERRORS.index("Context") if tree else None


def record(
    name: str,
    terms: Terms,
    header: bytes,
    players: Sequence[Player],
    changes: int = 4,
    seen: Counter[int] | None = None,
) -> Game:
    """The game of these players, claimant first."""
    claimant, challenger = players
    assert Side.CLAIMANT == 0
    recorder = Recorder(name, terms, header, (claimant, challenger), changes)
    if seen is not None:
        recorder.seen = seen
    return recorder.play()
