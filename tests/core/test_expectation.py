"""An Expectation: what may be expected at all, and what is left open when it is not given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from proofml.api import verify
from proofml.errors import UsageError
from proofml.expectation import Expectation
from proofml.model import Model
from proofml.policy import Policy
from proofml.verdict import Verdict


@pytest.mark.parametrize(
    "wrong",
    [
        {"model_sha256": "abc"},
        {"model_sha256": "A" * 64},
        {"model_sha256": "a" * 65},
        {"nonce": b""},
        {"nonce": b"x" * 65},
        {"inputs": {"a": [1.0, 2.0]}},
        {"inputs": {"a": 1.0}},
        {"inputs": {"a": np.array(["text"])}},
        {"outputs": {"a": np.zeros(2, np.complex64)}},
        {"outputs": {"a": np.array([None])}},
    ],
)
def test_misuse(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Expectation(**wrong)


@pytest.fixture
def judge(register: Any, parts: Any) -> Any:
    register(register.Fake())
    data = parts.proof().to_bytes()

    def run(**expected: Any) -> Verdict:
        return verify(data, Expectation(**expected), Policy())

    return run


def assumptions(verdict: Verdict) -> frozenset[str]:
    assert verdict.guarantee is not None
    return verdict.guarantee.assumptions


ALL = {"model:unpinned", "input:unpinned", "output:unpinned", "nonce:unpinned", "signer:unpinned"}


def test_nothing_expected(judge: Any) -> None:
    verdict = judge()
    assert assumptions(verdict) == ALL
    assert verdict.reasons == (
        "assumption model:unpinned is not allowed (--allow model:unpinned accepts it)",
    )


def test_each_pin_takes_one_assumption_away(judge: Any, parts: Any) -> None:
    out = {"y": parts.arrays["output.0"]}
    for expected, gone, left in (
        # A digest of the graph says nothing of the file that the Statement names too.
        ({"model_sha256": "1" * 64}, "model:unpinned", {"model:file-unpinned"}),
        ({"outputs": out}, "output:unpinned", set()),
        ({"nonce": b"nonce"}, "nonce:unpinned", set()),
    ):
        assert assumptions(judge(**expected)) == ALL - {gone} | left


def test_a_part_of_the_inputs_is_not_all(judge: Any, parts: Any) -> None:
    verdict = judge(inputs={"a": parts.arrays["input.0"]})
    assert assumptions(verdict) == ALL
    (detail,) = [c.detail for c in verdict.checks if c.number == "core.9"]
    assert "not pinned: b, c" in detail
    assert assumptions(judge(inputs={})) == ALL


def test_values_are_compared_to_the_bit(judge: Any, parts: Any) -> None:
    good = parts.arrays["input.0"]
    for wrong in (
        good + 1,
        np.nextafter(good, np.float32(9)),
        good.astype(np.float64),
        good.reshape(4),
        -good * 0,
    ):
        verdict = judge(inputs={"a": wrong})
        assert verdict.error is not None
        assert verdict.error.check == "core.9"
    big_endian = good.astype(">f4")
    assert judge(inputs={"a": big_endian}).error is None


def test_a_name_that_is_not_stated(judge: Any, parts: Any) -> None:
    verdict = judge(outputs={"z": parts.arrays["output.0"]})
    assert verdict.error is not None
    assert str(verdict.error) == "check core.10: output 'z'; expected stated; got y"


def test_both_model_and_digest(register: Any, parts: Any, model: Model) -> None:
    """Whoever gives both insists on both."""
    register(register.Fake())
    statement = replace(parts.statement, model=model.claim)
    data = parts.proof(statement=statement).to_bytes()
    for digest in ("1" * 64, model.file_digest):
        verdict = verify(data, Expectation(model=model, model_sha256=digest))
        assert verdict.error is not None
        assert verdict.error.check == "core.7"
    verdict = verify(data, Expectation(model=model, model_sha256=model.digest))
    assert verdict.error is not None
    assert verdict.error.check == "core.14"  # these are not the model's tensors
