"""The numbered checks of a verification: each has one number for ever, and a recorded result.

The numbers stand in the code (`checks.passed("core.4")`), in `VerificationError.check`, in the
verdict and in docs/checks.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from proofml.canonical import JSON
from proofml.errors import VerificationError

#: The core's own checks, in the order in which they are made.
CORE_CHECKS: Mapping[str, str] = {
    "core.1": "container: magic, version, section table, sizes and end of file",
    "core.2": "attestation: canonical JSON of an in-toto Statement v1 with our predicate",
    "core.3": "signature: each DSSE signature verifies over the PAE under the key it names",
    "core.4": "subjects: exactly those that the Statement implies",
    "core.5": "evidence: the sections are exactly those listed, by name, size and digest",
    "core.6": "public tensors: the values carried are those whose digests are stated",
    "core.7": "model: the stated canonical digest is the expected one",
    "core.8": "model file: the stated file digest is the expected one",
    "core.9": "inputs: the stated inputs are the expected ones",
    "core.10": "outputs: the stated outputs are the expected ones",
    "core.11": "nonce: the stated nonce is the expected one",
    "core.12": "backend: known here, and of a version that this verifier speaks",
    "core.13": "signer: the key that signed is one that the policy pins",
    "core.14": "interface: the stated tensors are the inputs and outputs of the expected model",
    "core.15": "backend: its verifier ended without an unexpected error",
}


class Result(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    REFUSED = "refused"
    ASSUMED = "assumed"
    SKIPPED = "not applicable"


@dataclass(frozen=True, slots=True)
class CheckResult:
    number: str
    title: str
    result: Result
    detail: str = ""

    def to_json(self) -> dict[str, JSON]:
        return {
            "check": self.number,
            "title": self.title,
            "result": self.result.value,
            "detail": self.detail,
        }


class Checks:
    """Records results in the order in which they are made; a failure raises at once."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        self._titles = dict(titles)
        self._results: list[CheckResult] = []
        self.assumptions: set[str] = set()
        #: Roles of hashed tensors that the verifier knows and whose commitment nobody has
        #: recomputed yet. A backend discards a role once it did; the rest end as refused.
        self.open_commitments: set[str] = set()

    @property
    def results(self) -> tuple[CheckResult, ...]:
        return tuple(self._results)

    def extend(self, titles: Mapping[str, str]) -> None:
        """Make a backend's own checks known."""
        self._titles.update(titles)

    def _record(self, number: str, result: Result, detail: str) -> None:
        self._results.append(CheckResult(number, self._titles[number], result, detail))

    def passed(self, number: str, detail: str = "") -> None:
        self._record(number, Result.PASSED, detail)

    def skipped(self, number: str, detail: str) -> None:
        """The check has nothing to look at in this proof; `detail` says why."""
        self._record(number, Result.SKIPPED, detail)

    def refused(self, number: str, detail: str) -> None:
        """The evidence is good and the policy says no; the guarantee carries the objection."""
        self._record(number, Result.REFUSED, detail)

    def assumed(self, number: str, assumption: str, detail: str = "") -> None:
        """The check could not be made; what it would have shown becomes an assumption."""
        self.assumptions.add(assumption)
        self._record(number, Result.ASSUMED, f"{assumption}" + (f": {detail}" if detail else ""))

    def failed(
        self, number: str, message: str, *, expected: object = None, got: object = None
    ) -> NoReturn:
        """Record and raise `VerificationError` with this number."""
        error = VerificationError(number, message, expected=expected, got=got)
        self.record_failure(error)
        raise error

    def record_failure(self, error: VerificationError) -> None:
        title = self._titles.get(error.check, error.check)
        if not any(r.number == error.check and r.result is Result.FAILED for r in self._results):
            detail = str(error).split(": ", 1)[-1]
            self._results.append(CheckResult(error.check, title, Result.FAILED, detail))

    def equal(self, number: str, what: str, *, expected: object, got: object) -> None:
        """Fail unless `expected == got`; does not record a pass, a check may compare much."""
        if expected != got:
            self.failed(number, f"{what} differs", expected=expected, got=got)
