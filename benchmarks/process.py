"""Processes under measurement: their wall time, and the memory of whole trees of them.

A process's own peak is VmHWM. Not `ru_maxrss`: a child inherits the peak of the process that
started it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

_SAMPLING_SECONDS = 0.01
_LOOKS = 20


def own_memory() -> tuple[int, int]:
    """Peak and current resident bytes of this process; zeros where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0, 0
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    peak, now = (int(fields[name].split()[0]) << 10 for name in ("VmHWM", "VmRSS"))
    return peak, now


def summary(values: Sequence[float]) -> dict[str, float]:
    """Least and median."""
    return {"min": min(values), "median": median(values)}


def others() -> float:
    """How many other threads want to run just now, over one second: how quiet the machine is.

    Not the load average, which still counts what this process did a minute ago.
    """
    source, found = Path("/proc/loadavg"), []
    if not source.exists():
        return 0.0
    for _ in range(_LOOKS):
        time.sleep(1 / _LOOKS)
        running, _, _ = source.read_text().split()[3].partition("/")
        found.append(max(0, int(running) - 1))
    return sum(found) / len(found)


def call(
    module: str, *words: object, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run `python -m module words...` and read the JSON object that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def command_line(*words: object) -> list[str]:
    """The command `proofml words...` with this interpreter."""
    return [sys.executable, "-c", "from proofml.cli import main; main()", *map(str, words)]


def run(argv: Sequence[str], environment: Mapping[str, str], *, sample: bool = False) -> Run:
    """Run a command to its end; raises `RuntimeError` with what it said if it fails."""
    started = time.perf_counter()
    with subprocess.Popen(
        list(argv),
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as child:
        watch = _Watch(child.pid) if sample else None
        said, _ = child.communicate()
        seconds = time.perf_counter() - started
    peak = 0 if watch is None else watch.stop()
    if child.returncode:
        words, last = " ".join(argv[3:]), said.decode(errors="replace")[-2000:]
        raise RuntimeError(f"{words}: exit code {child.returncode}\n{last}")
    return Run(seconds, peak)


class Run:
    """Seconds of wall time; peak of the resident bytes of all processes together, if sampled."""

    def __init__(self, seconds: float, peak: int) -> None:
        self.seconds = seconds
        self.peak = peak


class _Watch(threading.Thread):
    """Adds up the resident sets of a process and all below it, again and again."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self._peak = 0
        self.start()

    def run(self) -> None:
        while not self._ended.wait(_SAMPLING_SECONDS):
            self._peak = max(self._peak, _tree(self._pid))

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self._peak


def _tree(pid: int) -> int:
    total, waiting = 0, [pid]
    page = os.sysconf("SC_PAGE_SIZE")
    while waiting:
        folder = Path(f"/proc/{waiting.pop()}")
        try:
            total += int((folder / "statm").read_text().split()[1]) * page
            for task in (folder / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (OSError, IndexError, ValueError):
            continue  # it ended while we looked
    return total
