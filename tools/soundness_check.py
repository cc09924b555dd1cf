#!/usr/bin/env python3
"""Soundness of the native prover's parameters, a second time: exact rationals, no proofml code.

Everything here is written from docs/sumcheck/soundness.md; the names of the terms are those of
its table. `stated` is the sum that the document states and the verifier reports. `sharp` counts
each round by itself, as the proofs in the document do; it is never larger.

    python tools/soundness_check.py                 the sizes in the document
    python tools/soundness_check.py FILE            {"parameters": .., "sizes": ..}, JSON
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

P = 15 * 2**27 + 1
FIELD = P**5
#: A fingerprint is id + beta c1 + beta^2 c2: its degree in alpha and beta together.
DEGREE = 2


@dataclass(frozen=True)
class Setting:
    """Parameters of the commitment, and the sizes of a circuit.

    Attributes:
        mu, folds, rate, queries, grind: as in the circuit's JSON.
        leaves: log2 of the LogUp leaves.
        trees: log2 of the cells of each tree.
        claims: that are opened; contractions: in the batched sumcheck, of `rounds` rounds.
        outputs: for each output bound at a random point, the coordinates of that point.
    """

    mu: int
    folds: Sequence[int]
    rate: int
    queries: int
    grind: int
    leaves: int
    trees: Sequence[int]
    claims: int
    contractions: int
    rounds: int
    outputs: Sequence[int]

    @classmethod
    def of(cls, parameters: Mapping[str, Any], sizes: Mapping[str, Any]) -> Setting:
        mine = {key: parameters[key] for key in ("mu", "folds", "rate", "queries", "grind")}
        return cls(**mine, **sizes)


Errors = dict[str, list[Fraction]]


def _over_field(*numerators: int) -> list[Fraction]:
    return [Fraction(number, FIELD) for number in numerators]


def _before_opening(s: Setting) -> Errors:
    layers = s.leaves
    found = {
        "lookup challenges": _over_field(DEGREE << layers),
        "lookup batching and lines": _over_field(*[1] * (2 * layers)),
        "lookup sumcheck rounds": _over_field(*[3] * (layers * (layers - 1) // 2)),
        "output point": _over_field(*[max(size, 1) for size in s.outputs]),
    }
    if s.contractions:
        found["contraction batching"] = _over_field(max(s.contractions - 1, 1))
        found["contraction sumcheck rounds"] = _over_field(*[2] * s.rounds)
    return found


def _query(s: Setting) -> Fraction:
    """A position passes with probability (1 + rho) / 2 at most; one nonce in 2^grind is valid."""
    rho = Fraction(1, 1 << s.rate)
    return ((1 + rho) / 2) ** s.queries / (1 << s.grind)


def _opening_end(s: Setting) -> Errors:
    final = s.mu - sum(s.folds)
    return {
        "opening batching": _over_field(max(s.claims - 1, 1)),
        "final rounds": _over_field(*[2] * final),
        "queries": [_query(s)],
    }


def _columns(s: Setting) -> list[int]:
    """log2 of the columns of each tree."""
    return [max(log, s.mu) - s.mu for log in s.trees]


def stated(s: Setting) -> Errors:
    """The terms of the document's table, one entry for each round."""
    columns = _columns(s)
    selectors = (len(columns) - 1).bit_length()
    n = 1 << (s.mu + s.rate)
    pairs = max(1, sum(1 << k for k in columns) // 2)
    found = _before_opening(s)
    found["columns fold"] = _over_field(*[2 + 2 * pairs * n] * max(columns))
    found["tree selection"] = _over_field(*[2 + 2 * len(columns) * n] * selectors)
    for index, fold in enumerate(s.folds):
        n >>= fold
        found[f"layer {index} fold"] = _over_field(*[2 + (n << fold)] * fold)
    return {name: errors for name, errors in (found | _opening_end(s)).items() if errors}


def sharp(s: Setting) -> Errors:
    """Every round with the pairs that it folds, each of them an error of n / |F|."""
    columns = _columns(s)
    rounds, selectors = max(columns), (len(columns) - 1).bit_length()
    n = 1 << (s.mu + s.rate)
    found = _before_opening(s)
    # LogUp: the root has no lambda, and a product of denominators lacks at least one factor.
    found["lookup challenges"] = _over_field(DEGREE * ((1 << s.leaves) - 1))
    found["lookup batching and lines"] = _over_field(*[1] * (2 * s.leaves - 1))
    found["columns fold"] = []
    for t in range(rounds):
        active = sum(k >= rounds - t for k in columns)
        found["columns fold"] += _over_field(2 + active * (1 << (rounds - t - 1)) * n)
    found["tree selection"] = _over_field(
        *(2 + (1 << (selectors - t - 1)) * n for t in range(selectors))
    )
    for index, fold in enumerate(s.folds):
        n >>= fold
        found[f"layer {index} fold"] = _over_field(
            *(2 + (1 << (fold - t - 1)) * n for t in range(fold))
        )
    return {name: errors for name, errors in (found | _opening_end(s)).items() if errors}


def total(errors: Errors) -> Fraction:
    return sum((error for rounds in errors.values() for error in rounds), Fraction(0))


def hundredths(error: Fraction) -> int:
    """floor(-100 log2(error)), exactly: the largest t with error^100 <= 2^-t."""
    power = error**100
    t = power.denominator.bit_length() - power.numerator.bit_length() + 1
    while power.numerator << max(t, 0) > power.denominator << max(-t, 0):
        t -= 1
    return t


def _show(s: Setting) -> None:
    for name, errors in stated(s).items():
        bits = hundredths(max(errors)) / 100
        print(f"{name:28} {bits:8.2f} bits, {len(errors)} times")
    for name, make in (("sum, as stated", stated), ("sum, round by round", sharp)):
        print(f"{name:28} {hundredths(total(make(s))) / 100:8.2f} bits")


#: Trees X and W of 2^16, 2^20 and 2^24 cells, with the parameters that the tables of the document
#: are for.
EXAMPLES = (
    Setting(12, (3,), 3, 102, 16, 17, (16, 17), 40, 6, 12, ()),
    Setting(15, (3, 3), 3, 102, 16, 21, (20, 19), 200, 30, 14, ()),
    Setting(19, (4, 3, 3), 3, 102, 16, 25, (24, 25), 800, 120, 16, ()),
)


def main(arguments: Sequence[str]) -> None:
    if arguments:
        value = json.loads(Path(arguments[0]).read_text("utf-8"))
        _show(Setting.of(value["parameters"], value["sizes"]))
        return
    for setting in EXAMPLES:
        print(f"trees 2^{setting.trees}, leaves 2^{setting.leaves}, mu {setting.mu}")
        _show(setting)
        print()


if __name__ == "__main__":
    main(sys.argv[1:])
