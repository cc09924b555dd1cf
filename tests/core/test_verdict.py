"""Verdicts, exit codes, messages: what scripts and terminals rely on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml import errors
from proofml.errors import CONTROL, PolicyRefused, VerificationError, printable
from proofml.guarantee import Guarantee, Integrity
from proofml.verdict import Status, Verdict


def test_exit_codes_are_a_contract() -> None:
    table = {
        errors.ProofmlError: 5,
        errors.UsageError: 2,
        errors.UnsupportedModel: 2,
        errors.BackendUnavailable: 4,
        errors.BackendFailed: 5,
        errors.VerificationError: 1,
        errors.PolicyRefused: 3,
    }
    assert {kind: kind.exit_code for kind in table} == table
    codes = {status: Verdict(status, ()).exit_code for status in Status}
    assert codes == {
        Status.ACCEPTED: 0,
        Status.INVALID: 1,
        Status.REFUSED: 3,
        Status.PENDING: 3,
    }


@pytest.mark.parametrize("status", Status)
def test_truth(status: Status) -> None:
    assert bool(Verdict(status, ())) == (status is Status.ACCEPTED)


def test_require() -> None:
    accepted = Verdict(Status.ACCEPTED, ())
    assert accepted.require() is accepted
    error = VerificationError("core.1", "broken")
    with pytest.raises(VerificationError, match="broken"):
        Verdict(Status.INVALID, (), error=error).require()
    with pytest.raises(PolicyRefused, match="because of this") as caught:
        Verdict(Status.REFUSED, (), reasons=("because of this",)).require()
    assert caught.value.reasons == ("because of this",)


def test_json(parts: Any) -> None:
    guarantee = Guarantee(frozenset({Integrity.ECONOMIC}), assumptions=frozenset({"b:b", "a:a"}))
    verdict = Verdict(Status.REFUSED, (), guarantee, parts.statement, "fake", ("no",))
    value = json.loads(json.dumps(verdict.to_json()))
    assert value["status"] == "refused"
    assert value["exit_code"] == 3
    assert value["guarantee"]["assumptions"] == ["a:a", "b:b"]
    assert value["statement_sha256"] == parts.statement.digest
    assert value["failed_check"] is None
    error = VerificationError("core.5", "broken")
    assert Verdict(Status.INVALID, (), error=error).to_json()["failed_check"] == "core.5"


@given(st.text(max_size=700), st.text(max_size=700), st.text(max_size=700))
def test_messages_are_lines(message: str, expected: str, got: str) -> None:
    """Whatever a proof holds, an error about it is one line of bounded length, safe to print."""
    error = VerificationError("core.2", message, expected=expected, got=got)
    text = str(error)
    assert not CONTROL.search(text)
    assert len(text.splitlines()) <= 1
    assert len(text) < 2000
    assert text.startswith("check core.2: ")


def test_escapes_are_shown_not_obeyed() -> None:
    assert printable("a\x1b[2J\nb\u202e") == "a\\x1b[2J\\nb\\u202e"
    assert printable("plain \u20ac") == "plain \u20ac"
    assert len(printable("x" * 10_000)) == 600


def test_last_words() -> None:
    error = errors.BackendFailed("it died", stage="prove", last_words="ouch")
    assert str(error) == "it died\n  last words: ouch"
    assert error.stage == "prove"
