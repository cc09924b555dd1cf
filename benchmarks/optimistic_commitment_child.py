"""One process of `optimistic_commitment`: runs a prepared model; prints JSON.

    python -m proofml.benchmarks.optimistic_commitment_child FOLDER MODE TIMES

MODE is `times` (all ways in turn, again and again) or one way alone, for its memory: `plain`,
`claim` (plain, and the roots of inputs and outputs as codes), `trace` (every operator's output
hashed).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from proofml.benchmarks.process import own_memory
from proofml.optimistic.interface import read_interface
from proofml.optimistic.stages import execute
from proofml.runtime_stages import open_session

Seconds = dict[str, float]


class Ways:
    """The sessions of both ways, and an input. Both on one thread, with the same settings."""

    def __init__(self, folder: Path, wanted: str) -> None:
        self.about: dict[str, Any] = json.loads((folder / "about.json").read_text())
        with np.load(folder / "input.npz") as file:
            self.feeds = dict(file)
        self.pieces = self.about["pieces"]
        self.interface = read_interface((folder / "interface").read_bytes())
        self.whole = self.parts = None
        if wanted != "trace":
            self.whole = open_session(folder / "model.onnx", "model")
        if wanted in ("trace", "times"):
            self.parts = [
                open_session(folder / p["file"], "piece", shared=True) for p in self.pieces
            ]

    def plain(self) -> Seconds:
        assert self.whole is not None
        start = time.perf_counter()
        self.whole.run(None, self.feeds)
        return {"whole": time.perf_counter() - start}

    def claim(self) -> Seconds:
        """What a claimant does whose trace is deferred to a dispute."""
        assert self.whole is not None
        start = time.perf_counter()
        outputs = self.whole.run(None, self.feeds)
        middle = time.perf_counter()
        self.interface.input_roots(list(self.feeds.values()))
        self.interface.output_roots(outputs)
        end = time.perf_counter()
        return {"whole": end - start, "run": middle - start, "hash": end - middle}

    def trace(self) -> Seconds:
        assert self.parts is not None
        _, seconds = execute(self.parts, self.pieces, dict(self.feeds), "model")
        return seconds


def measure(folder: Path, mode: str, times: int) -> dict[str, Any]:
    """Seconds of every run by way, and memory; the first run of each is not counted."""
    ways = Ways(folder, mode)
    chosen: dict[str, Callable[[], Seconds]] = {
        name: way
        for name, way in (("plain", ways.plain), ("claim", ways.claim), ("trace", ways.trace))
        if mode in (name, "times")
    }
    found: dict[str, list[Seconds]] = {name: [] for name in chosen}
    for turn in range(times + 1):
        for name, way in chosen.items():
            seconds = way()
            if turn:
                found[name].append(seconds)
    return {"seconds": found, "peak": own_memory()[0]}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
