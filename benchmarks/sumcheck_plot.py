"""Prove time against parameters as a picture. Needs matplotlib, which nothing else here does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proofml.benchmarks import models
from proofml.benchmarks.sumcheck_scale import exponent, points

#: Okabe and Ito's colours, which most readers can tell apart, and markers for all others.
_STYLE = {"dense": ("#0072B2", "o"), "convolutional": ("#D55E00", "s")}
_EZKL = ("#555555", "D")


def available() -> bool:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def plot(
    results: Sequence[Mapping[str, Any]], compared: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Write the picture; `compared` adds EZKL's points where there are any."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.6), dpi=160)
    for family in models.SERIES:
        found = sorted(points(results, family))
        if not found:
            continue
        colour, marker = _STYLE[family]
        slope = exponent(found)
        label = family if slope is None else f"{family}, exponent {slope:.2f}"
        xs, ys = zip(*found, strict=True)
        axes.plot(xs, ys, color=colour, marker=marker, markersize=6, linewidth=1.6, label=label)
    if compared:
        xs = tuple(result["parameters"] for result in compared)
        ys = tuple(result["ezkl"]["proof"]["min"] for result in compared)
        axes.scatter(xs, ys, color=_EZKL[0], marker=_EZKL[1], s=38, label="EZKL", zorder=3)
        for result in compared:
            there = result["parameters"], result["ezkl"]["proof"]["min"]
            axes.annotate(
                result["name"],
                there,
                textcoords="offset points",
                xytext=(8, -3),
                color=_EZKL[0],
                fontsize=9,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("parameters")
    axes.set_ylabel("seconds to prove one inference")
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, loc="best")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)
