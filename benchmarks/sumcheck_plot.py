"""Prove time against parameters as a picture. Needs matplotlib, which nothing else here does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proofml.benchmarks import models
from proofml.benchmarks.sumcheck_scale import exponent, points

#: Okabe and Ito's colours, which most readers can tell apart, and markers for all others.
_STYLE = {"dense": ("#0072B2", "o"), "convolutional": ("#D55E00", "s")}
_OTHERS, _EZKL = ("#009E73", "^"), ("#555555", "D")


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

    figure, axes = pyplot.subplots(figsize=(7.5, 4.8), dpi=160)
    for family, (colour, marker) in _STYLE.items():
        found = sorted(points(results, family))
        if not found:
            continue
        slope = exponent(found)
        label = family if slope is None else f"{family}, exponent {slope:.2f}"
        xs, ys = zip(*found, strict=True)
        axes.plot(xs, ys, color=colour, marker=marker, markersize=6, linewidth=1.6, label=label)
    others = [one for one in results if one["family"] not in models.GROWING]
    _scatter(axes, [*others, *compared], "sumcheck", _OTHERS, "others, native")
    _scatter(axes, compared, "ezkl", _EZKL, "EZKL")
    for one in compared:
        low, high = (one[side]["proof"]["min"] for side in ("sumcheck", "ezkl"))
        where = (one["parameters"], (low * high) ** 0.5)
        axes.plot([where[0]] * 2, [low, high], color=_EZKL[0], linewidth=0.8, linestyle=":")
        _label(axes, f"{high / low:,.0f} times", where, (5, 0))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(x=0.1, y=0.08)
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


def _scatter(
    axes: Any,
    results: Sequence[Mapping[str, Any]],
    side: str,
    style: tuple[str, str],
    label: str,
) -> None:
    """Single models with their names; results of `scale` have one side only."""
    if not results:
        return
    colour, marker = style
    places = [(one["parameters"], one.get(side, one)["proof"]["min"]) for one in results]
    xs, ys = zip(*places, strict=True)
    axes.scatter(xs, ys, color=colour, marker=marker, s=40, label=label, zorder=3)
    for one, place in zip(results, places, strict=True):
        _label(axes, one["name"], place, (-7, 6), right=True)


def _label(
    axes: Any,
    text: str,
    place: tuple[float, float],
    offset: tuple[int, int],
    *,
    right: bool = False,
) -> None:
    axes.annotate(
        text,
        place,
        textcoords="offset points",
        xytext=offset,
        fontsize=8.5,
        color="#444444",
        horizontalalignment="right" if right else "left",
    )
