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
    """Parameters for trees of 2^logs cells whose query term has at least `bits` bits.

    Of the message lengths whose proofs are within 5% of the shortest, the smallest: it is the
    quickest to prove. A matter of cost only; a verifier takes what the Statement says.
    """
    queries = queries_for(bits, RATE, GRIND)
    largest = max(logs.values())
    options = []
    for mu in range(max(0, largest - MAX_COLUMNS_LOG), min(largest, TWO_ADICITY - RATE) + 1):
        for final in range(min(mu, 7), min(mu, 10) + 1):
            folds = _folds(mu - final)
            options.append((_bytes(logs, mu, folds, queries), mu, folds))
    shortest = min(options)[0]
    mu = min(option[1] for option in options if option[0] <= 1.05 * shortest)
    folds = min(option for option in options if option[1] == mu)[2]
    return Params(mu, folds, RATE, queries, GRIND)


def _folds(variables: int) -> tuple[int, ...]:
    """By 2^3, and by 2^4 where that saves a layer."""
    folds: list[int] = []
    while variables > 0:
        folds.append(min(variables, 4 if variables in (4, 7, 8) or variables > 9 else 3))
        variables -= folds[-1]
    return tuple(folds)


def _bytes(logs: Mapping[str, int], mu: int, folds: tuple[int, ...], queries: int) -> float:
    """Expected length of rows, paths and final vector."""
    log_n = mu + RATE
    total = 0.0
    for k in columns_logs(logs, mu).values():
        total += queries * (4 << k) + _path_bytes(log_n, queries)
    for fold in folds:
        log_n -= fold
        total += _distinct(log_n, queries) * (20 << fold) + _path_bytes(log_n, queries)
    return total + (20 << (mu - sum(folds)))


def _distinct(log_n: int, queries: int) -> float:
    return 2.0**log_n * (1 - (1 - 2.0**-log_n) ** queries)


def _path_bytes(log_n: int, queries: int) -> float:
    """Siblings of a multiproof, level by level."""
    found = (2 * _distinct(n, queries) - _distinct(n + 1, queries) for n in range(log_n))
    return 32 * sum(found)


def columns_logs(logs: Mapping[str, int], mu: int) -> dict[str, int]:
    """log2 of the columns of each tree, which is padded to at least 2^mu cells."""
    return {tree: max(log, mu) - mu for tree, log in logs.items()}
