"""How a proof is judged: the core's checks in their order, a backend's, then the policy.

`api.verify` calls it with the registered backends. A verifier of one backend alone calls it with
that one, and needs neither the registry nor a model, a cache or a key of anybody's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from proofml.backend import Context, Trial
from proofml.checks import CORE_CHECKS, Checks
from proofml.errors import (
    BackendFailed,
    PolicyRefused,
    ProofmlError,
    UnsupportedModel,
    VerificationError,
)
from proofml.expectation import (
    Expectation,
    check_expectation,
    check_interface,
    close_commitments,
)
from proofml.guarantee import Guarantee, Integrity
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.statement import Visibility
from proofml.verdict import Status, Verdict

_UNCHECKED = "signer:unchecked"


class Examiner(Protocol):
    """What of a `Backend` judges proofs."""

    name: str
    version: int
    integrity: frozenset[Integrity]
    checks: Mapping[str, str]

    def verify(self, trial: Trial) -> Guarantee: ...


@dataclass(frozen=True)
class Bench:
    """Who judges.

    Attributes:
        names: of the backends that are known.
        find: the backend by one of these names.
        signatures: False where they cannot be checked; what they would have shown is then assumed.
    """

    names: tuple[str, ...]
    find: Callable[[str], Examiner]
    signatures: bool = True


def judge(
    proof: Proof | Path | str | bytes,
    expect: Expectation,
    policy: Policy,
    context: Context,
    bench: Bench,
) -> Verdict:
    """Untrusted content ends in a `Verdict` that is accepted, refused, pending or invalid.

    Raises:
        UsageError: the backend needs something that `expect` does not hold (it names it).
        BackendUnavailable: the proof's backend cannot run here.
        BackendFailed: this machine could not do the work (memory, disk); says nothing of the proof.
    """
    checks = Checks(CORE_CHECKS)
    parsed: Proof | None = None
    try:
        # A Proof object is read again from its bytes: its fields may have been set by anybody.
        if isinstance(proof, Proof):
            read = Proof.read(proof.to_bytes(), signatures=bench.signatures)
            parsed = replace(read, folder=proof.folder, beside=proof.beside)
        else:
            parsed = Proof.read(proof, signatures=bench.signatures)
        guarantee = _examine(Trial(parsed, expect, policy, checks, context), bench)
    except VerificationError as error:
        checks.record_failure(error)
        return Verdict(
            Status.INVALID,
            checks.results,
            statement=None if parsed is None else parsed.statement,
            backend=None if parsed is None else parsed.backend,
            reasons=(str(error),),
            error=_without_frames(error),
            signers=() if parsed is None else parsed.signers,
            notes=None if parsed is None else parsed.notes,
            proof_sha256=None if parsed is None else parsed.digest,
        )
    except PolicyRefused as refusal:
        assert parsed is not None  # only a backend refuses, and it was given the parsed proof
        return Verdict(
            Status.REFUSED,
            checks.results,
            statement=parsed.statement,
            backend=parsed.backend,
            reasons=refusal.reasons,
            signers=parsed.signers,
            notes=parsed.notes,
            proof_sha256=parsed.digest,
        )
    objections = policy.objections(parsed.backend, guarantee)
    status = Status.REFUSED if objections else Status.ACCEPTED
    if not objections and policy.is_pending(guarantee):
        status, objections = Status.PENDING, ("the result can still be overturned",)
    return Verdict(
        status,
        checks.results,
        guarantee=guarantee,
        statement=parsed.statement,
        backend=parsed.backend,
        reasons=objections,
        signers=parsed.signers,
        notes=parsed.notes,
        tensors={
            role: parsed.tensor(role)
            for role, claim in parsed.statement.tensors()
            if claim.visibility is Visibility.PUBLIC
        },
        proof_sha256=parsed.digest,
    )


def _without_frames(error: VerificationError) -> VerificationError:
    """A verdict that is kept must not keep the proof: frames hold evidence of up to gigabytes."""
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        one = chain.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        chain += [one.__cause__, one.__context__]
    return error


def _examine(trial: Trial, bench: Bench) -> Guarantee:
    """Core checks in their order, then the backend's, then the sum of all assumptions."""
    proof, checks = trial.proof, trial.checks
    for number in ("core.1", "core.2"):
        checks.passed(number)
    if proof.signers:
        checks.passed("core.3", ", ".join(proof.signers))
    elif proof.unchecked:
        checks.assumed("core.3", _UNCHECKED, "signatures by " + ", ".join(proof.unchecked))
    else:
        checks.skipped("core.3", "not signed")
    for number in ("core.4", "core.5", "core.6"):
        checks.passed(number)
    check_expectation(trial.expect, proof, checks)
    if proof.backend not in bench.names:
        checks.failed("core.12", "backend", expected=", ".join(bench.names), got=proof.backend)
    backend = bench.find(proof.backend)
    if proof.backend_version != backend.version:
        checks.failed(
            "core.12",
            f"evidence version of {backend.name}",
            expected=backend.version,
            got=proof.backend_version,
        )
    checks.passed("core.12", f"{backend.name} {backend.version}")
    _check_signer(trial)
    check_interface(trial.expect, proof, checks)
    checks.extend(backend.checks)
    guarantee = _run(trial, backend)
    checks.passed("core.15")
    close_commitments(checks)
    return replace(guarantee, assumptions=guarantee.assumptions | checks.assumptions)


def _check_signer(trial: Trial) -> None:
    """Check core.13: an unpinned signer is an assumption; the policy decides whether it may be."""
    proof, pinned, checks = trial.proof, trial.policy.signers, trial.checks
    if proof.unchecked:
        checks.assumed("core.13", _UNCHECKED)
    elif not proof.signers:
        checks.assumed("core.13", "signer:unsigned")
    elif pinned & set(proof.signers):
        checks.passed("core.13", ", ".join(sorted(pinned & set(proof.signers))))
    else:
        checks.assumed("core.13", "signer:unpinned", ", ".join(proof.signers))


def _run(trial: Trial, backend: Examiner) -> Guarantee:
    try:
        guarantee = backend.verify(trial)
        if not guarantee.integrity <= backend.integrity:
            trial.checks.failed("core.15", f"{backend.name} concludes what it does not declare")
        return guarantee
    except UnsupportedModel as error:
        trial.checks.failed("core.15", f"{backend.name} cannot take the model as stated: {error}")
    except ProofmlError:
        raise
    except OSError as error:
        raise BackendFailed(f"verifying with {backend.name}: {error}") from error
    except MemoryError as error:
        raise BackendFailed(f"verifying with {backend.name}: out of memory") from error
    except Exception as error:  # noqa: BLE001 - fail closed: a stranger's backend may raise anything
        trial.checks.failed(
            "core.15",
            f"unexpected error in the verifier of {backend.name}",
            expected="accept or refuse",
            got=f"{type(error).__name__}: {error}",
        )
