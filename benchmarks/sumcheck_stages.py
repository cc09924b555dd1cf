"""Where the time of a proof goes: each stage against the bare rates of the kernels.

A stage's expected time is the time of its kernel calls alone, repeated warm with the arguments of
this very proof; the rest is Python and NumPy. Beside it stands what the design's cost model
expects, from its own rates for one core.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from proofml.benchmarks import models
from proofml.benchmarks.process import call
from proofml.benchmarks.sumcheck_child import STAGES, read, sizes
from proofml.benchmarks.sumcheck_kernels import (
    GRINDING,
    OPENING,
    UNITS,
    Recording,
    grinding_rate,
    record,
)
from proofml.circuits.graph import Affine, Step
from proofml.zkml.sumcheck.prover import prove_circuit

CHILD = "proofml.benchmarks.sumcheck_child"
STATEMENT = b"benchmark".ljust(32, b".")
#: A stage or part that takes this many times longer than expected needs an explanation.
OFF = 2.0
#: The cost model of the protocol's design: seconds a unit on one core.
MODEL = {
    "logup_prove": 35e-9,
    "encode": 2.5e-9,
    "merkle": 24e-9,
    "grind": 25e-9,
    "step": 6e-9,
    "mac": 1 / 60e9,
    "witness": 7e-9,
    "weight": 3e-9,
    "round": 12e-6,
    "node": 60e-6,
}


def stages(name: str, *, say: Callable[[str], None], repeat: int = 7) -> dict[str, Any]:
    """Measure one model.

    Returns:
        `stages`: for each stage its seconds, those within kernels, those expected of the kernels,
        and those of the cost model (None where it has none). `rates`: for each kernel of each
        stage its units, seconds in the proof and bare. `sizes`.
    """
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        case = models.write(name, folder)
        say(f"setting up {name}")
        call(CHILD, "setup", case.model, case.input, case.calibration, folder)
        key, codes = read(folder)
        say(f"proving {name}")
        recordings = [_proof(key, codes) for _ in range(repeat)]
        best = {stage: min(recordings, key=lambda one: one.stages[stage]) for stage in STAGES}
        size = sizes(key)
        say(f"repeating the kernel calls of {name}")
        rates = list(_rates(best, size, repeat))
        expected = _model(key, size, rates)
        found = []
        for stage in STAGES:
            mine = [rate for rate in rates if rate["stage"] == stage]
            found.append(
                {
                    "stage": stage,
                    "seconds": best[stage].stages[stage],
                    "kernels": sum(rate["seconds"] for rate in mine),
                    "bare": sum(rate["bare"] for rate in mine),
                    "model": expected[stage],
                }
            )
        return {"name": name, "stages": found, "rates": rates, "sizes": size}


def _proof(key: Any, codes: Mapping[int, Any]) -> Recording:
    with record() as recording:
        recording.begin(STAGES[0])
        values = key.executor.run(codes)
        prove_circuit(key, values, STATEMENT, stage=recording.begin)
    return recording


def _rates(
    best: Mapping[str, Recording], size: Mapping[str, Any], repeat: int
) -> Iterator[dict[str, Any]]:
    grind = grinding_rate(size["grind"])
    for stage, recording in best.items():
        for kernel, unit in UNITS.items():
            calls = recording.of(stage, kernel)
            if not calls:
                continue
            seconds = sum(one.seconds for one in calls)
            units = sum(one.units for one in calls)
            if kernel == OPENING:
                # The search for a nonce is a matter of luck: it is taken out, and stands by itself.
                bare = sum(one.bare(repeat, _6=0) for one in calls)
                lucky = max(0.0, sum(one.bare(repeat) for one in calls) - bare)
                tries = 1 << size["grind"]
                yield _rate(stage, kernel, unit, len(calls), units, seconds - lucky, bare)
                yield _rate(stage, GRINDING, "hash", len(calls), tries, lucky, tries * grind)
                continue
            bare = sum(one.bare(repeat) for one in calls)
            yield _rate(stage, kernel, unit, len(calls), units, seconds, bare)


def _rate(
    stage: str, kernel: str, unit: str, calls: int, units: int, seconds: float, bare: float
) -> dict[str, Any]:
    return {
        "stage": stage,
        "kernel": kernel,
        "unit": unit,
        "calls": calls,
        "units": units,
        "seconds": seconds,
        "bare": bare,
    }


def _model(
    key: Any, size: Mapping[str, Any], rates: Sequence[Mapping[str, Any]]
) -> dict[str, float | None]:
    """What the cost model expects of each stage."""
    graph = key.circuit.graph
    steps = sum(prod(node.shape) for node in graph.nodes if isinstance(node, Step))
    macs = sum(
        prod(node.shape) * prod(part.sums)
        for node in graph.nodes
        if isinstance(node, Affine)
        for part in node.contractions
    )
    units = {
        (rate["stage"], rate["kernel"]): rate["units"] for rate in rates if rate["kernel"] in MODEL
    }
    witness, weights = (1 << size["trees"].get(tree, 0) for tree in ("X", "W"))
    layers, columns = size["leaves"], max(size["trees"].values())
    return {
        "inference": steps * MODEL["step"] + macs * MODEL["mac"],
        "commit": sum(units["commit", name] * MODEL[name] for name in ("encode", "merkle")),
        "lookups": units["lookups", "logup_prove"] * MODEL["logup_prove"]
        + layers * (layers - 1) / 2 * MODEL["round"]
        + size["lookups"] * MODEL["node"],
        "contractions": None,
        "opening": witness * MODEL["witness"]
        + weights * MODEL["weight"]
        + units["opening", GRINDING] * MODEL["grind"]
        + (columns + 1) * MODEL["round"],
    }


def profile(name: str, *, say: Callable[[str], None], lines: int = 30) -> str:
    """Where Python spends the time of one proof, by function's own time."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        case = models.write(name, folder)
        say(f"setting up {name}")
        call(CHILD, "setup", case.model, case.input, case.calibration, folder)
        key, codes = read(folder)
        prove_circuit(key, key.executor.run(codes), STATEMENT)
        profiler = cProfile.Profile()
        profiler.enable()
        prove_circuit(key, key.executor.run(codes), STATEMENT)
        profiler.disable()
        text = io.StringIO()
        pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(lines)
        return text.getvalue()


# ---------------------------------------------------------------- as tables
def table(results: Sequence[Mapping[str, Any]]) -> str:
    """One line a stage."""
    lines = [
        "| model | stage | measured ms | of it kernels | kernels bare | measured / bare "
        "| cost model | measured / model |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        total: dict[str, Any] = {"stage": "all"}
        for key in ("seconds", "kernels", "bare", "model"):
            total[key] = sum(stage[key] or 0.0 for stage in result["stages"])
        for stage in (*result["stages"], total):
            measured = stage["seconds"]
            cells = [result["name"], stage["stage"], *map(_ms, _times(stage))]
            cells.append(_ratio(measured, stage["bare"]))
            cells += [_ms(stage["model"]), _ratio(measured, stage["model"])]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _times(stage: Mapping[str, Any]) -> tuple[float, float, float]:
    return stage["seconds"], stage["kernels"], stage["bare"]


def rates_table(results: Sequence[Mapping[str, Any]]) -> str:
    """One line a kernel and stage."""
    lines = [
        "| model | stage | kernel | calls | unit | units | ns a unit, in the proof | bare | ratio "
        "| cost model |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for rate in result["rates"]:
            units, kernel = rate["units"], rate["kernel"]
            model = MODEL.get(kernel)
            cells = [
                *(result["name"], rate["stage"], f"`{kernel}`", str(rate["calls"])),
                *(rate["unit"], f"{units:,}"),
                *(f"{rate[one] / units * 1e9:.3g}" for one in ("seconds", "bare")),
                _ratio(rate["seconds"], rate["bare"]),
                "" if model is None else f"{model * 1e9:.3g}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.3g}"


def _ratio(measured: float, expected: float | None) -> str:
    if not expected:
        return ""
    ratio = measured / expected
    return f"**{ratio:.2g}**" if ratio > OFF else f"{ratio:.2g}"
