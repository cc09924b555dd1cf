"""Parameters of the commitment: profile `ud`, unique decoding, every query worth 0.83 bit.

They are stated in the proof, bound by the transcript, and judged by the verifier: vacuous ones
and those below the policy's bits are refused before anything else (`soundness`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from proofml.canonical import JSON
from proofml.circuits.axes import integer_item
from proofml.circuits.field.babybear import TWO_ADICITY
from proofml.fields import FieldError, Fields

PROFILE = "ud"
RATE = 3
GRIND = 16
MAX_QUERIES = 1024
MAX_GRIND = 32
#: Rows of the widest tree have at most 2^12 numbers.
MAX_COLUMNS_LOG = 12


@dataclass(frozen=True)
class Params:
    """What prover and verifier have to agree upon.

    Attributes:
        mu: log2 of the message length that all trees share; the domain is 2^(mu + rate).
        folds: log2 of the columns of each folded layer; what is left, 2^(mu - sum), is sent.
        rate: log2 of the inverse rate.
        queries: positions that are opened.
        grind: bits of proof of work before the positions are drawn.
    """

    mu: int
    folds: tuple[int, ...]
    rate: int = RATE
    queries: int = 102
    grind: int = GRIND

    @property
    def log_domain(self) -> int:
        return self.mu + self.rate

    @property
    def log_final(self) -> int:
        return self.mu - sum(self.folds)

    def to_json(self) -> dict[str, JSON]:
        return {
            "profile": PROFILE,
            "mu": self.mu,
            "folds": self.folds,
            "rate": self.rate,
            "queries": self.queries,
            "grind": self.grind,
        }

    @classmethod
    def read(cls, value: object, path: str) -> Params:
        """Strictly from its JSON form: bounded and never vacuous; raises `FieldError`."""
        fields = Fields(value, path)
        fields.string("profile", choices=(PROFILE,))
        rate = fields.integer("rate", 1, 8)
        mu = fields.integer("mu", 0, TWO_ADICITY - rate)
        result = cls(
            mu,
            fields.items("folds", lambda item, at: integer_item(item, at, 1, 8), most=32),
            rate,
            fields.integer("queries", 1, MAX_QUERIES),
            fields.integer("grind", 0, MAX_GRIND),
        )
        fields.done()
        if result.log_final < 0:
            raise FieldError(f"{path}.folds", f"at most {mu} in all", list(result.folds))
        return result


def queries_for(bits: int, rate: int, grind: int) -> int:
    """Least number of queries whose term has `bits` bits."""
    return math.ceil((bits - grind) / -math.log2((1 + 2.0**-rate) / 2))


def choose(logs: Mapping[str, int], *, bits: int = 100) -> Params:
    """Parameters for trees of 2^logs cells whose query term has at least `bits` bits."""
    largest = max(logs.values())
    mu = max(min(largest, 4), largest - (5 if largest <= 20 else 6))
    left, folds = mu, []
    while left > 9:
        folds.append(min(4 if left - 9 in (4, 7, 8) or left - 9 > 9 else 3, left - 9))
        left -= folds[-1]
    return Params(mu, tuple(folds), RATE, queries_for(bits, RATE, GRIND), GRIND)


def columns_logs(logs: Mapping[str, int], mu: int) -> dict[str, int]:
    """log2 of the columns of each tree, which is padded to at least 2^mu cells."""
    return {tree: max(log, mu) - mu for tree, log in logs.items()}
