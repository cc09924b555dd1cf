"""The soundness report against formulas written here from the protocol's text, section 11."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import pytest

from proofml.zkml.sumcheck.params import Params
from proofml.zkml.sumcheck.soundness import Report, Shape, Term, soundness_report

PARAMS = Params(12, (3, 4), 3, 102, 16)
SHAPE = Shape(17, 5, 9, 40, (4, 7), {"X": 16, "W": 17, "P": 9})

F = Fraction(2013265921**5)


def total(params: Params, shape: Shape) -> float:
    """-log2 of the sum of all errors of a proof, exactly but for the queries."""
    error = Fraction(0)
    n = shape.leaves
    error += 2 * Fraction(2) ** n / F  # alpha, beta: degree 2 in 2^N factors
    error += 2 * n * 1 / F  # lambda and line of every layer
    error += Fraction(n * (n - 1), 2) * 3 / F  # rounds of degree 3
    for coordinates in shape.outputs:
        error += max(coordinates, 1) / F
    if shape.contractions:
        error += max(shape.contractions - 1, 1) / F
        error += shape.rounds * 2 / F
    error += max(shape.claims - 1, 1) / F
    k = {tree: max(0, log - params.mu) for tree, log in shape.trees.items()}
    domain = Fraction(2) ** (params.mu + params.rate)
    pairs = max(1, sum(2**v for v in k.values()) // 2)
    error += max(k.values()) * (2 + 2 * pairs * domain) / F
    selectors = {1: 0, 2: 1, 3: 2, 4: 2}[len(k)]
    error += selectors * (2 + 2 * len(k) * domain) / F
    for fold in params.folds:
        domain /= 2**fold
        error += fold * (2 + 2 * Fraction(2) ** (fold - 1) * domain) / F
    error += (params.mu - sum(params.folds)) * 2 / F
    queries = params.queries * math.log2((1 + 2.0**-params.rate) / 2) - params.grind
    return -math.log2(float(error) + 2.0**queries)


SHAPES = [
    SHAPE,
    Shape(1, 0, 0, 0, (), {"X": 1}),
    Shape(3, 1, 0, 2, (), {"X": 2}),
    Shape(25, 300, 14, 5000, (10,), {"X": 24, "W": 25}),
    Shape(27, 3, 20, 1 << 20, (0, 3), {"X": 27, "W": 5}),
]
SETS = [
    PARAMS,
    Params(1, (), 1, 1, 0),
    Params(6, (1, 1, 1), 2, 40, 3),
    Params(1, (), 1, 900, 0),  # so many queries that the smallest terms show
    Params(19, (4, 3, 3), 3, 102, 16),
    Params(19, (4, 3, 3), 3, 400, 32),
]


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
@pytest.mark.parametrize("params", SETS, ids=range(len(SETS)))
def test_the_total_is_the_protocols(params: Params, shape: Shape) -> None:
    report = soundness_report(params, shape)
    assert report.total == pytest.approx(total(params, shape), abs=1e-9)
    assert report.bits == max(0, math.floor(report.total))
    assert report.total <= report.weakest.bits + 1e-9
    assert report.weakest.bits == min(t.bits for t in report.terms)


@pytest.mark.parametrize("name", [f.name for f in fields(Params)])
def test_trap_16_each_parameter_enters(name: str) -> None:
    """With so many queries that the other terms can be seen."""
    base = replace(PARAMS, queries=500) if name not in ("queries", "grind") else PARAMS
    change: Any = (3, 3) if name == "folds" else getattr(base, name) + 1
    one, two = (soundness_report(p, SHAPE).total for p in (base, replace(base, **{name: change})))
    assert one != two


@pytest.mark.parametrize("name", [f.name for f in fields(Shape)])
def test_each_size_enters(name: str) -> None:
    small = Shape(2, 5, 900000, 40, (4000000,), {"X": 2})
    params = Params(1, (), 1, 900, 16)
    change: Any = {
        "leaves": 9,
        "contractions": 50_000_000,
        "rounds": 1_800_000,
        "claims": 50_000_000,
        "outputs": (4000000, 4000000),
        "trees": {"X": 9},
    }[name]
    one, two = (
        soundness_report(params, s).total for s in (small, replace(small, **{name: change}))
    )
    assert one > two + 1e-6


def test_a_table_of_the_protocol() -> None:
    """Section 11: bits at rate 1/8 for three sizes."""
    for leaves, x, w, mu, folds, lookups, fold in (
        (17, 16, 17, 12, (3,), 136.5, 133.9),
        (21, 20, 19, 15, (3, 3), 132.5, 130.9),
        (25, 24, 25, 19, (4, 3, 3), 128.5, 125.9),
    ):
        shape = Shape(leaves, 10, 12, 100, (), {"X": x, "W": w})
        report = soundness_report(Params(mu, folds, 3, 102, 16), shape)
        terms = {t.name: t.bits for t in report.terms}
        assert terms["lookup challenges"] == pytest.approx(lookups, abs=0.06)
        assert terms["columns fold"] == pytest.approx(fold, abs=0.06)
        assert terms["queries"] == pytest.approx(100.7, abs=0.06)
        assert report.total == pytest.approx(100.7, abs=0.06)
        assert terms["lookup sumcheck rounds"] == pytest.approx(152.9, abs=0.06)


def test_counts_are_kept() -> None:
    report = Report((Term("a", 10, 4, "own", "here"), Term("b", 10, 4, "own", "here")))
    assert report.total == pytest.approx(7)
    assert report.bits == 7
    assert report.to_json() == {
        "total_bits": "7.00",
        "weakest": "a",
        "terms": [
            {"name": n, "bits": "10.00", "count": 4, "status": "own", "source": "here"}
            for n in "ab"
        ],
    }


def test_every_term_says_on_what_it_rests() -> None:
    terms = soundness_report(PARAMS, SHAPE).terms
    assert {t.status for t in terms} <= {"proven", "lemma", "own"}
    assert [t.name for t in terms if t.status == "own"] == ["queries"]
    assert all(t.source for t in terms)
    assert [(t.name, t.count) for t in terms] == [
        ("lookup challenges", 1),
        ("lookup batching and lines", 34),
        ("lookup sumcheck rounds", 136),
        ("output point", 1),
        ("output point", 1),
        ("contraction batching", 1),
        ("contraction sumcheck rounds", 9),
        ("opening batching", 1),
        ("columns fold", 5),
        ("tree selection", 2),
        ("layer 0 fold", 3),
        ("layer 1 fold", 4),
        ("final rounds", 5),
        ("queries", 1),
    ]
