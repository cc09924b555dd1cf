"""The chess clock of a dispute: each side pays for its own thinking, and can always answer.

A side has `clock` seconds for the whole dispute. They run while it owes the move; when its turn
begins they are raised to `extension` where they are less, so that the other side's quickness
cannot take the time for an answer from it. All times are whole seconds, of the ledger.

With at most R moves a dispute lasts at most `2 * clock + R * extension` seconds: a side uses what
it began with and what was added, and something is added once a turn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum


class Side(IntEnum):
    CLAIMANT = 0
    CHALLENGER = 1

    @property
    def other(self) -> Side:
        return Side(1 - self)


@dataclass(frozen=True)
class Clock:
    """Who owes the move, since when, and what each side has left.

    Attributes:
        extension: seconds, of the terms.
        turn: the side whose time runs.
        since: when its turn began.
        left: seconds of claimant and challenger; those of `turn` as they were at `since`.
    """

    extension: int
    turn: Side
    since: int
    left: tuple[int, int]

    @classmethod
    def start(cls, clock: int, extension: int, turn: Side, now: int) -> Clock:
        return cls(extension, turn, now, (clock, clock))._begin(turn, now)

    @property
    def deadline(self) -> int:
        """The last second in which the side that owes the move may make it."""
        return self.since + self.left[self.turn]

    def late(self, now: int) -> bool:
        return now > self.deadline

    def moved(self, turn: Side, now: int) -> Clock:
        """After a move in time; `turn` owes the next one, be it the same side or the other.

        Raises:
            ValueError: `now` is before the turn, or too late.
        """
        if not self.since <= now <= self.deadline:
            raise ValueError(f"a move at {now}: expected {self.since} to {self.deadline}")
        left = list(self.left)
        left[self.turn] -= now - self.since
        return replace(self, left=(left[0], left[1]))._begin(turn, now)

    def _begin(self, turn: Side, now: int) -> Clock:
        left = list(self.left)
        left[turn] = max(left[turn], self.extension)
        return replace(self, turn=turn, since=now, left=(left[0], left[1]))


def longest(clock: int, extension: int, moves: int) -> int:
    """Seconds that a dispute of at most so many moves lasts at most.

    A side that lets its time run out is late one second after it; that second counts.
    """
    return 2 * clock + moves * extension + 1
