"""What the suite's tests say about verdicts."""

from __future__ import annotations

from collections.abc import Collection

from proofml.checks import CORE_CHECKS, Result
from proofml.guarantee import CORE_ASSUMPTIONS
from proofml.testing.harness import Harness
from proofml.verdict import Status, Verdict

#: The assumption by which the core marks a field that the verifier does not pin.
UNPINNED = {
    "model": "model:unpinned",
    "input": "input:unpinned",
    "output": "output:unpinned",
    "nonce": "nonce:unpinned",
}


def assert_invalid(verdict: Verdict, numbers: Collection[str], harness: Harness) -> None:
    """Invalid, and by one of these checks and no other."""
    assert verdict.status is Status.INVALID, f"expected a refusal by {numbers}: {verdict.status}"
    assert verdict.error is not None
    assert verdict.error.check in numbers, str(verdict.error)
    failed = [check.number for check in verdict.checks if check.result is Result.FAILED]
    assert failed == [verdict.error.check]
    assert_documented(verdict, harness)


def assert_documented(verdict: Verdict, harness: Harness) -> None:
    """Every number and every assumption in the verdict is one that is written down."""
    numbers = {check.number for check in verdict.checks}
    assert numbers <= set(CORE_CHECKS) | set(harness.backend.checks)
    if verdict.guarantee is not None:
        known = set(CORE_ASSUMPTIONS) | set(harness.backend.assumptions)
        assert verdict.guarantee.assumptions <= known


def assert_judged(verdict: Verdict, data: bytes, harness: Harness) -> None:
    """Hostile bytes: refused by a check that is meant to refuse, or nothing else but the proof."""
    if verdict.status is Status.INVALID:
        assert verdict.error is not None
        assert verdict.error.check != "core.15", str(verdict.error)
        assert_documented(verdict, harness)
    else:
        assert data == harness.data


def assert_bound(verdict: Verdict, field: str, assumption: str | None, harness: Harness) -> None:
    """Refused by a check of `bound_by`; where nothing binds the field, the assumption is there."""
    numbers = harness.case.numbers(field)
    if numbers:
        assert_invalid(verdict, numbers, harness)
        return
    assert verdict.status is not Status.INVALID, f"bound_by has None for {field}: {verdict.error}"
    assert verdict.guarantee is not None
    expected = {assumption, harness.case.unbound.get(field)} - {None}
    assert expected & verdict.guarantee.assumptions, f"a lie at {field} left no assumption"
    assert_documented(verdict, harness)
