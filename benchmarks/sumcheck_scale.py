"""How setup, proving and verifying grow with the model: from 10^4 to 10^7 parameters."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import log
from pathlib import Path
from typing import Any

from proofml.benchmarks import models
from proofml.benchmarks.process import others
from proofml.benchmarks.sumcheck_child import STAGES
from proofml.benchmarks.sumcheck_compare import native

#: Below this, what does not depend on the model is most of the time.
FIXED = 100_000


def scale(
    *,
    say: Callable[[str], None],
    repeat: int = 7,
    names: Sequence[str] = (),
    most: int | None = None,
) -> Iterator[dict[str, Any]]:
    """One result for each model of `models.SERIES`, or of `names`, up to `most` parameters."""
    for family, members in models.SERIES.items():
        for name in members:
            if names and name not in names:
                continue
            with tempfile.TemporaryDirectory() as root:
                case = models.write(name, Path(root))
                if most is not None and case.parameters > most:
                    continue
                load = others()
                say(f"{name}: {case.parameters:,} parameters")
                cost = native(case, Path(root) / "native", repeat)
            size = case.parameters
            yield {"name": name, "family": family, "parameters": size, "load": load, **cost}


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """The slope of a line through (log x, log y), by least squares; None for less than 2 points."""
    if len({x for x, _ in points}) < 2:
        return None
    xs, ys = ([log(point[axis]) for point in points] for axis in (0, 1))
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - mean_x) ** 2 for x in xs)


def points(results: Sequence[Mapping[str, Any]], family: str) -> list[tuple[int, float]]:
    """Parameters and least seconds of a proof."""
    return [
        (result["parameters"], result["proof"]["min"])
        for result in results
        if result["family"] == family
    ]


# ---------------------------------------------------------------- as tables
def table(results: Sequence[Mapping[str, Any]]) -> str:
    """One line a model; milliseconds are the least of all repetitions."""
    head = [
        *("model", "parameters", "leaves", "quantise s", "compile s", "commit s"),
        *(f"{stage} ms" for stage in STAGES),
        *("prove ms (median)", "verify ms", "NumPy ms", "proof kB", "peak MiB", "key MB"),
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    families = list(models.SERIES)
    for result in sorted(
        results, key=lambda one: (families.index(one["family"]), one["parameters"])
    ):
        made = result["setup_stages"]
        cells = [result["name"], f"{result['parameters']:,}", f"2^{result['sizes']['leaves']}"]
        cells += [f"{made[name]:.2f}" for name in ("quantise", "compile", "commit")]
        cells += [_ms(result["stages"][stage]["min"]) for stage in STAGES]
        cells.append(f"{_ms(result['proof']['min'])} ({_ms(result['proof']['median'])})")
        cells += [_ms(result[name]["min"]) for name in ("verify", "verify_plain")]
        cells.append(f"{result['bytes'] / 1e3:.0f}")
        cells.append(f"{result['peak'] / 2**20:,.0f}")
        cells.append(f"{result['proving_key'] / 1e6:,.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def exponents(results: Sequence[Mapping[str, Any]]) -> str:
    """By family: over all sizes, and over those where the fixed cost no longer counts."""
    lines = [
        "| family | models | exponent | from 100,000 parameters | largest: ns a parameter |",
        "|---|---|---|---|---|",
    ]
    for family in models.GROWING:
        all_points = points(results, family)
        if not all_points:
            continue
        large = [point for point in all_points if point[0] >= 0.9 * FIXED]
        most, seconds = max(all_points)
        cells = [family, str(len(all_points)), _two(exponent(all_points)), _two(exponent(large))]
        lines.append("| " + " | ".join(cells) + f" | {seconds / most * 1e9:.0f} |")
    return "\n".join(lines) + "\n"


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f}" if seconds >= 0.1 else f"{seconds * 1e3:.3g}"
