"""The Verdict: accepted, refused by policy, pending, or invalid, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from proofml.canonical import JSON
from proofml.checks import CheckResult
from proofml.errors import (
    EXIT_ACCEPTED,
    EXIT_INVALID,
    EXIT_REFUSED,
    PolicyRefused,
    VerificationError,
)
from proofml.guarantee import Guarantee
from proofml.statement import Statement
from proofml.tensors import Array


class Status(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    PENDING = "pending"
    INVALID = "invalid"


@dataclass(frozen=True)
class Verdict:
    """What `verify` concluded. True in a condition only where it is accepted.

    Attributes:
        status: the conclusion.
        checks: every numbered check that was made, with its result.
        guarantee: what may be concluded; None where the proof is invalid.
        statement: what was claimed; None where it could not be read.
        backend: which backend judged; None where it could not be read.
        reasons: why it is not accepted; empty where it is.
        error: the failed check where the proof is invalid.
        signers: keys whose signatures verified.
        notes: the prover's own words, shown and not believed.
        tensors: the public tensors by role (`input.0`, `output.0`); None where it is invalid.
        proof_sha256: of the attestation, which names all evidence by digest: which proof this
            verdict is about; None where it could not be read.
    """

    status: Status
    checks: tuple[CheckResult, ...]
    guarantee: Guarantee | None = None
    statement: Statement | None = None
    backend: str | None = None
    reasons: tuple[str, ...] = ()
    error: VerificationError | None = None
    signers: tuple[str, ...] = ()
    notes: Mapping[str, str] | None = None
    tensors: Mapping[str, Array] | None = None
    proof_sha256: str | None = None

    def output(self, name: str) -> Array:
        """A public output by name, of an accepted verdict.

        Raises:
            VerificationError, PolicyRefused: it is not accepted.
            KeyError: there is no such output, or it is not public.
        """
        self.require()
        assert self.statement is not None  # an accepted verdict has both
        assert self.tensors is not None
        roles = {claim.name: f"output.{i}" for i, claim in enumerate(self.statement.outputs)}
        return self.tensors[roles[name]]

    def __bool__(self) -> bool:
        return self.status is Status.ACCEPTED

    @property
    def exit_code(self) -> int:
        if self.status is Status.ACCEPTED:
            return EXIT_ACCEPTED
        return EXIT_INVALID if self.status is Status.INVALID else EXIT_REFUSED

    def require(self) -> Verdict:
        """This verdict where it is accepted.

        Raises:
            VerificationError: the proof is invalid.
            PolicyRefused: the proof is good and the policy says no, or it is still pending.
        """
        if self.error is not None:
            raise self.error
        if self.status is not Status.ACCEPTED:
            raise PolicyRefused(self.reasons)
        return self

    def to_json(self) -> dict[str, JSON]:
        return {
            "status": self.status.value,
            "exit_code": self.exit_code,
            "backend": self.backend,
            "reasons": list(self.reasons),
            "failed_check": None if self.error is None else self.error.check,
            "guarantee": None if self.guarantee is None else self.guarantee.to_json(),
            "statement": None if self.statement is None else self.statement.to_json(),
            "statement_sha256": None if self.statement is None else self.statement.digest,
            "proof_sha256": self.proof_sha256,
            "signers": list(self.signers),
            "checks": [check.to_json() for check in self.checks],
            "prover_notes": dict(self.notes or {}),
        }
