"""The tables of `docs/optimistic/floating.md`, of what `optimistic_float` measured.

Each takes model -> result, as the commands write it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean, median
from typing import Any, TypeAlias

from proofml.optimistic.floating.bounds import Basis

Found: TypeAlias = Mapping[str, Any]

BASES = tuple(basis.value for basis in Basis)
#: Worst cases below this are what may be flushed to zero, and no rounding.
_NO_ERROR = 1e-30


def _table(header: Sequence[str], rows: Iterable[Sequence[object]], words: int = 1) -> str:
    """Markdown; the first `words` columns are text, the others numbers."""
    lines = ["| " + " | ".join(header) + " |"]
    lines.append("| " + " | ".join(["---"] * words + ["---:"] * (len(header) - words)) + " |")
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def alarms(found: Found) -> str:
    """Honest runs by model and machine."""
    rows = [
        (
            name,
            key,
            row["runs"],
            row["operators"] // max(1, row["runs"]),
            f"{row['elements'] / 1e9:.2f}",
            f"{row['differing']:.0%}",
            *(row["runs_with_alarms"][basis] for basis in BASES),
            *(f"{row['margin'][basis]:.2f}" for basis in BASES),
        )
        for name, result in found.items()
        for key, row in result["rows"].items()
    ]
    every = [row for result in found.values() for row in result["rows"].values()]
    runs = sum(row["runs"] for row in every)
    counts = "; ".join(
        f"{sum(row['runs_with_alarms'][basis] for row in every)} {basis}" for basis in BASES
    )
    header = (
        "model", "configuration", "runs", "operators", "elements, 10^9", "tensors that differ",
        *(f"alarms, {basis}" for basis in BASES),
        *(f"nearest, {basis}" for basis in BASES),
    )  # fmt: skip
    return f"{_table(header, rows, 2)}\n\n{runs:,} honest runs; with an alarm: {counts}."


def detection(found: Found) -> str:
    """The least change that is caught, by kind of operator; medians."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for result in found.values():
        for row in result["rows"]:
            kinds.setdefault(row["op"], []).append(row)

    def middle(rows: list[dict[str, Any]], of: Callable[[dict[str, Any]], float]) -> str:
        return f"{median(of(row) for row in rows):.3g}"

    def ulps(basis: str) -> Callable[[dict[str, Any]], float]:
        return lambda row: row["caught"][basis] / row["ulp"]

    rows = [
        (
            kind,
            len(found_),
            middle(found_, lambda row: row["worst"] / row["ulp"]),
            middle(found_, ulps("theoretical")),
            middle(found_, ulps("calibrated")),
            middle(found_, lambda row: row["caught"]["theoretical"] / row["worst"])
            if median(row["worst"] for row in found_) > _NO_ERROR
            else "exact",
            middle(found_, lambda row: row["caught"]["theoretical"] / row["caught"]["calibrated"]),
        )
        for kind, found_ in sorted(kinds.items())
    ]
    header = (
        "operator", "elements", "bound, ulp", "caught, theoretical, ulp",
        "caught, calibrated, ulp", "caught / bound", "calibrated is tighter by",
    )  # fmt: skip
    return _table(header, rows)


def drift(found: Found) -> str:
    """How far the nearest decision of each input was moved."""
    rows = []
    for name, result in found.items():
        for basis in BASES:
            moved = [row["moved"][basis] for row in result["rows"]]
            rows.append(
                (
                    name,
                    basis,
                    len(moved),
                    f"{median(-row['score'] for row in result['rows']):.3g}",
                    f"{median(moved):.2g}",
                    f"{max(moved):.2g}",
                    sum(row["flipped"][basis] for row in result["rows"]),
                    f"{mean(row['within'][basis] for row in result['rows']):.2%}",
                    sum(row["seen"][basis] for row in result["rows"]),
                )
            )
    header = (
        "model", "bounds", "inputs", "nearest decision, logits", "moved by, median",
        "moved by, most", "changed", "decisions within reach", "operators caught",
    )  # fmt: skip
    return _table(header, rows, 2)


def cost(found: Found) -> str:
    """Commitment over plain execution."""
    rows = []
    for name, result in found.items():
        best = {mode: min(values) for mode, values in result["seconds"].items()}
        plain, peaks = best["plain"], result["peaks"]
        hashing = best["committed"] - best["exposed"]
        rows.append(
            (
                name,
                "x".join(map(str, result["shape"])),
                result["operators"],
                f"{plain * 1e3:.0f}",
                f"{result['bytes'] / 1e6:.0f}",
                f"{best['exposed'] / plain - 1:+.0%}",
                f"{hashing / plain:+.0%}",
                f"{best['committed'] / plain - 1:+.0%}",
                f"{best['overlapped'] / plain - 1:+.0%}",
                f"{result['bytes'] / 1e9 / max(1e-9, hashing):.1f}",
                f"{peaks['overlapped'] / peaks['plain']:.2f}",
            )
        )
    header = (
        "model", "input", "tensors", "plain, ms", "committed, MB", "lost fusion", "hashing",
        "both", "both, hashing beside", "hashing, GB/s", "memory over plain",
    )  # fmt: skip
    return _table(header, rows, 2)


TABLES: Mapping[str, Callable[[Found], str]] = {
    "alarms": alarms,
    "detection": detection,
    "drift": drift,
    "cost": cost,
}
