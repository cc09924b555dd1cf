"""What a worker may use, and how it reports progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proofml.errors import UsageError

#: Called with (stage, fraction in 0..1 or None, resident bytes of the worker or None).
Progress = Callable[[str, float | None, int | None], None]


def silent(stage: str, fraction: float | None, rss: int | None) -> None:
    """The progress callback that says nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory` in bytes of resident set, `seconds` of wall time; None for no limit."""

    memory: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("memory", self.memory), ("time", self.seconds)):
            if value is not None and not value > 0:
                raise UsageError(f"{name} limit: expected more than 0, got {value}")

    def or_else(self, default: Limits) -> Limits:
        """These limits, and the default's where there is none."""
        return Limits(
            default.memory if self.memory is None else self.memory,
            default.seconds if self.seconds is None else self.seconds,
        )
