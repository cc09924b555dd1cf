"""Parameters: every one matters, none is vacuous, and those that are chosen are good enough."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from proofml.circuits.field.babybear import TWO_ADICITY
from proofml.errors import VerificationError
from proofml.fields import FieldError
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.layout import Visibility
from proofml.zkml.sumcheck.params import (
    MAX_GRIND,
    MAX_QUERIES,
    Params,
    choose,
    columns_logs,
    queries_for,
)
from proofml.zkml.sumcheck.soundness import Shape, soundness_report

from .malicious import Trial

GOOD = Params(12, (3, 4), 3, 102, 16)


def test_they_are_read_as_written() -> None:
    assert Params.read(GOOD.to_json(), "p") == GOOD
    assert GOOD.log_domain == 15
    assert GOOD.log_final == 5
    assert list(GOOD.to_json()) == ["profile", "mu", "folds", "rate", "queries", "grind"]
    assert {f.name for f in fields(Params)} == {"mu", "folds", "rate", "queries", "grind"}
    for edge in (
        Params(0, (), 1, 1, 0),
        Params(TWO_ADICITY - 8, (8, 8, 3), 8, MAX_QUERIES, MAX_GRIND),
        Params(TWO_ADICITY - 1, (1,) * 26, 1, 1, 0),
    ):
        assert Params.read(edge.to_json(), "p") == edge


@pytest.mark.parametrize(
    "change",
    [
        {"queries": 0},
        {"queries": -1},
        {"queries": MAX_QUERIES + 1},
        {"queries": True},
        {"queries": "102"},
        {"rate": 0},
        {"rate": 9},
        {"rate": None},
        {"mu": -1},
        {"mu": TWO_ADICITY - 3 + 1},
        {"rate": 8, "mu": TWO_ADICITY - 7},
        {"grind": -1},
        {"grind": MAX_GRIND + 1},
        {"folds": [0]},
        {"folds": [3, 0]},
        {"folds": [9]},
        {"folds": [-1]},
        {"folds": [8, 5]},
        {"folds": [1] * 33},
        {"folds": 3},
        {"folds": [3.0]},
        {"profile": "jb"},
        {"profile": ""},
        {"more": 1},
    ],
    ids=str,
)
def test_trap_16_vacuous_or_unknown_ones_are_refused(change: dict[str, Any]) -> None:
    value = GOOD.to_json()
    value["folds"] = [3, 4]
    assert Params.read(value, "p") == GOOD
    with pytest.raises(FieldError):
        Params.read(value | change, "p")


@pytest.mark.parametrize("name", ["profile", "mu", "folds", "rate", "queries", "grind"])
def test_none_may_be_missing(name: str) -> None:
    value = GOOD.to_json()
    del value[name]
    with pytest.raises(FieldError):
        Params.read(value, "p")


def test_each_is_in_the_circuits_digest() -> None:
    """Trap 1: what binds parameters, root, visibility and graph to the Statement."""
    circuit = Trial.of("mlp").key.circuit
    others = [
        replace(circuit, params=replace(circuit.params, **change))
        for change in (
            {"mu": 5},
            {"folds": (1,)},
            {"rate": 3},
            {"queries": 6},
            {"grind": 3},
        )
    ]
    assert circuit.model_root is not None
    others.append(replace(circuit, model_root=bytes(32)))
    others.append(replace(circuit, visibility=Visibility(inputs=False)))
    others.append(Trial.of("several").key.circuit)
    assert len({c.digest for c in (circuit, *others)}) == len(others) + 1


@pytest.mark.parametrize("root", ["00" * 32, None])
def test_a_root_is_there_exactly_where_weights_are(root: str | None) -> None:
    from proofml.canonical import dumps, loads

    name = "tiny" if root else "mlp"
    circuit = Trial.of(name).key.circuit
    value = loads(circuit.bytes)
    assert isinstance(value, dict)
    with pytest.raises(FieldError):
        Circuit.read(dumps(value | {"model_root": root}))
    for change in ({"version": 2}, {"more": 1}):
        with pytest.raises(FieldError):
            Circuit.read(dumps(value | change))


@pytest.mark.parametrize("bits", [60, 80, 100, 110])
def test_what_is_chosen_has_the_bits_that_were_asked_for(bits: int) -> None:
    for witness in range(27):
        for model in (None, 0, witness // 2, min(26, witness + 3), 26):
            logs = {"X": witness} | ({} if model is None else {"W": model})
            params = choose(logs, bits=bits)
            assert Params.read(params.to_json() | {"folds": list(params.folds)}, "p") == params
            assert params.log_domain <= TWO_ADICITY
            columns = columns_logs(logs, params.mu)
            assert all(0 <= k <= 12 for k in columns.values())
            shape = Shape(min(27, witness + 1), 10, 12, 500, (), logs)
            terms = {t.name: t.bits for t in soundness_report(params, shape).terms}
            assert terms["queries"] >= bits


@pytest.mark.parametrize(
    ("witness", "model", "mu", "folds"),
    [
        (0, None, 0, ()),
        (1, None, 1, ()),
        (3, None, 2, ()),
        (7, None, 4, ()),
        (8, 5, 4, ()),
        (9, None, 5, ()),
        (10, 12, 7, ()),
        (11, 3, 6, ()),
        (12, None, 7, ()),
        (13, 16, 10, ()),
        (14, 14, 9, ()),
        (16, 17, 11, (3,)),
        (18, 10, 12, (3,)),
        (20, 19, 14, (3, 3)),
        (21, None, 15, (3, 3)),
        (22, 25, 18, (3, 3, 3)),
        (24, 25, 19, (4, 3, 3)),
        (26, 26, 20, (4, 4, 3)),
        (26, None, 19, (4, 3, 3)),
    ],
)
def test_what_is_chosen(witness: int, model: int | None, mu: int, folds: tuple[int, ...]) -> None:
    """A change here is another circuit digest for the same model."""
    logs = {"X": witness} | ({} if model is None else {"W": model})
    assert choose(logs) == Params(mu, folds, 3, 102, 16)


@pytest.mark.parametrize(("bits", "folds", "queries"), [(60, (3, 3), 54), (120, (4,), 126)])
def test_what_is_chosen_for_other_bits(bits: int, folds: tuple[int, ...], queries: int) -> None:
    assert choose({"X": 18, "W": 20}, bits=bits) == Params(14, folds, 3, queries, 16)


def test_queries() -> None:
    """ceil((bits - grind) / 0.83) at rate 1/8; never fewer than the bits need."""
    assert queries_for(100, 3, 16) == 102
    assert queries_for(100, 3, 20) == 97
    assert queries_for(100, 4, 16) == 93
    for bits in range(20, 121):
        for rate in range(1, 9):
            q = queries_for(bits, rate, 16)
            error = ((1 + 2.0**-rate) / 2) ** q * 2.0**-16
            assert error <= 2.0**-bits
            assert ((1 + 2.0**-rate) / 2) ** (q - 1) * 2.0**-16 > 2.0**-bits or q <= 4


def test_defaults() -> None:
    for log in (3, 14, 22):
        assert choose({"X": log}) == choose({"X": log}, bits=100)
    default = Params(5, ())
    assert (default.rate, default.grind) == (3, 16)
    assert default.queries == queries_for(100, default.rate, default.grind)


def test_columns() -> None:
    assert columns_logs({"X": 9, "W": 3, "P": 5}, 5) == {"X": 4, "W": 0, "P": 0}


def test_parameters_out_of_proportion() -> None:
    """`bounds`: what a verifier does not even begin to work on."""
    from proofml.zkml.sumcheck.bounds import check_bits, check_parameters, most_bytes

    run = Trial.of("mlp")
    layout, circuit = run.layout, run.key.circuit
    largest = max(s.log for s in layout.trees.values())
    check_parameters(circuit.params, layout)
    for bad in (Params(largest + 1, ()), Params(6, (), rate=5)):
        with pytest.raises(VerificationError) as error:
            check_parameters(bad, layout)
        assert error.value.check == "sumcheck.3"
    with pytest.raises(VerificationError) as error:
        check_bits(circuit.report)
    assert error.value.check == "sumcheck.3"
    assert len(run.prove()) <= most_bytes(circuit)
