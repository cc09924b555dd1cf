"""What a worker may use, and how it reports progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Called with (stage, fraction in 0..1 or None, resident bytes of the worker or None).
Progress = Callable[[str, float | None, int | None], None]


def silent(stage: str, fraction: float | None, rss: int | None) -> None:
    """The progress callback that says nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory` in bytes of resident set, `seconds` of wall time; None for no limit."""

    memory: int | None = None
    seconds: float | None = None
