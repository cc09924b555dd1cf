"""Soundness of a parameter set for a layout, term by term.

Round-by-round soundness in the random-oracle model: a prover who makes Q hash queries convinces
the verifier of a false statement with probability at most about Q times the largest term below,
and besides by a collision of SHA-256 (about Q^2 / 2^256; not a term).
`total` adds up all terms of a proof, which is the stricter figure and the one that is reported.

Each term says on what it rests: `proven` (elementary, proof in docs/sumcheck/soundness.md),
`lemma` (a cited theorem), `own` (this project's own argument over cited lemmas, not audited).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from proofml.canonical import JSON
from proofml.circuits.field.babybear import P
from proofml.zkml.sumcheck.params import Params, columns_logs

LOG_FIELD = 5 * math.log2(P)
#: Highest power of beta in a fingerprint.
FINGERPRINT_DEGREE = 2


@dataclass(frozen=True)
class Term:
    """`bits` = -log2 of the error of one round; `count` such rounds are in the proof."""

    name: str
    bits: float
    count: int
    status: str
    source: str

    def to_json(self) -> dict[str, JSON]:
        return {
            "name": self.name,
            "bits": f"{self.bits:.2f}",
            "count": self.count,
            "status": self.status,
            "source": self.source,
        }


@dataclass(frozen=True)
class Shape:
    """The sizes that enter: of a layout, or of any other circuit.

    Attributes:
        leaves: log2 of the LogUp leaves.
        contractions: instances in the batched sumcheck; `rounds`: its rounds.
        claims: linear claims that are opened.
        outputs: coordinates of each random point at which outputs are compared.
        trees: log2 of the cells of each tree.
    """

    leaves: int
    contractions: int
    rounds: int
    claims: int
    outputs: tuple[int, ...]
    trees: Mapping[str, int]


@dataclass(frozen=True)
class Report:
    terms: tuple[Term, ...]

    @property
    def weakest(self) -> Term:
        return min(self.terms, key=lambda term: term.bits)

    @property
    def total(self) -> float:
        """-log2 of the sum of all terms, each as often as it occurs."""
        return -math.log2(sum(term.count * 2.0**-term.bits for term in self.terms))

    @property
    def bits(self) -> int:
        """What a verdict reports: the sum, rounded down."""
        return max(0, math.floor(self.total))

    def to_json(self) -> dict[str, JSON]:
        return {
            "total_bits": f"{self.total:.2f}",
            "weakest": self.weakest.name,
            "terms": [term.to_json() for term in self.terms],
        }


def soundness_report(params: Params, shape: Shape) -> Report:
    """Every term of the sum; no parameter and no size can change without changing it."""
    columns = columns_logs(shape.trees, params.mu)
    selectors = (len(columns) - 1).bit_length()
    terms = [
        _term(
            "lookup challenges",
            FINGERPRINT_DEGREE * 2.0**shape.leaves,
            1,
            "lemma",
            "LogUp, ePrint 2022/1530 and 2023/1284; Schwartz-Zippel in alpha and beta",
        ),
        _term(
            "lookup batching and lines",
            1,
            2 * shape.leaves,
            "lemma",
            "GKR, Thaler's survey, chapter 4",
        ),
        _term(
            "lookup sumcheck rounds",
            3,
            shape.leaves * (shape.leaves - 1) // 2,
            "lemma",
            "sumcheck of degree 3, Thaler's survey, section 4.1",
        ),
    ]
    for size in shape.outputs:
        terms.append(_term("output point", size, 1, "lemma", "Schwartz-Zippel"))
    if shape.contractions:
        terms += [
            _term(
                "contraction batching", shape.contractions - 1, 1, "lemma", "powers of a challenge"
            ),
            _term(
                "contraction sumcheck rounds",
                2,
                shape.rounds,
                "lemma",
                "sumcheck of degree 2, Thaler's survey, section 4.1",
            ),
        ]
    terms.append(_term("opening batching", shape.claims - 1, 1, "lemma", "powers of a challenge"))
    # Before the first layer: columns of all trees fold in pairs, then the trees are selected.
    pairs = max(1, sum(1 << k for k in columns.values()) // 2)
    terms.append(_fold("columns fold", params.log_domain, pairs, max(columns.values())))
    if selectors:
        terms.append(_fold("tree selection", params.log_domain, len(columns), selectors))
    log_n = params.log_domain
    for index, fold in enumerate(params.folds):
        log_n -= fold
        terms.append(_fold(f"layer {index} fold", log_n, 1 << (fold - 1), fold))
    terms.append(
        _term("final rounds", 2, params.log_final, "lemma", "sumcheck of degree 2, Thaler's survey")
    )
    terms.append(
        Term(
            "queries",
            params.grind - params.queries * math.log2((1 + 2.0**-params.rate) / 2),
            1,
            "own",
            "unique decoding; one set of positions for all layers, docs/sumcheck/soundness.md",
        )
    )
    return Report(tuple(term for term in terms if term.count))


def _term(name: str, numerator: float, count: int, status: str, source: str) -> Term:
    bits = LOG_FIELD - math.log2(max(numerator, 1))
    return Term(name, bits, count, status, source)


def _fold(name: str, log_n: int, pairs: int, count: int) -> Term:
    """A round that folds `pairs` pairs of words of length 2^log_n: sumcheck and proximity."""
    return _term(
        name,
        2 + 2.0 * pairs * 2**log_n,
        count,
        "lemma",
        "sumcheck of degree 2; mutual correlated agreement in the unique-decoding regime: "
        "ePrint 2020/654, Theorem 4.1, and 2024/1586, Corollary 4.11",
    )
