"""Times of stages and peak memory of workers, taken from progress events."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path


class Meter:
    """A progress callback that remembers: seconds a stage, and the largest resident set."""

    def __init__(self) -> None:
        self.peak = 0
        self.seconds: dict[str, float] = {}
        self._stage = ""
        self._since = time.monotonic()

    def __call__(self, stage: str, fraction: float | None, rss: int | None) -> None:
        now = time.monotonic()
        if self._stage:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now
        self.peak = max(self.peak, rss or 0)


def machine() -> str:
    """The machine in one line: processor, cores, memory."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB"
