"""The verbs `prove` and `verify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from proofml.backend import Context, Request, Trial, backend_names, get_backend
from proofml.checks import CORE_CHECKS, Checks
from proofml.errors import (
    BackendFailed,
    PolicyRefused,
    ProofmlError,
    UnsupportedModel,
    UsageError,
    VerificationError,
)
from proofml.expectation import (
    Expectation,
    check_expectation,
    check_interface,
    close_commitments,
)
from proofml.guarantee import Guarantee, Integrity
from proofml.keys import SigningKey
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.router import route
from proofml.statement import Visibility
from proofml.store import Store
from proofml.tensors import Array
from proofml.verdict import Status, Verdict


def prove(
    model: Model,
    inputs: Mapping[str, Array],
    *,
    backend: str | None = None,
    integrity: frozenset[Integrity] | None = None,
    request: Request | None = None,
    nonce: bytes | None = None,
    signers: Sequence[SigningKey] = (),
    context: Context | None = None,
) -> Proof:
    """Prove the inference of `model` on `inputs`.

    Args:
        model: from `Model.load`.
        inputs: name -> array, of the dtypes and shapes that the model declares.
        backend: by name; None for the cheapest that meets `integrity` and the request.
        integrity: kinds of which the backend must offer one.
        request: visibilities, options and limits; `nonce` overrides the one in it.
        signers: keys that sign the proof.

    Raises:
        UsageError, UnsupportedModel, BackendUnavailable, BackendFailed.
    """
    request = request or Request()
    if nonce is not None:
        request = replace(request, nonce=nonce)
    context = context or Context(Store.default())
    arrays = model.check_inputs(inputs)
    chosen = route(model, request, name=backend, integrity=integrity)
    evidence = chosen.prove(model, arrays, request, context)
    proof = Proof.build(
        evidence.statement,
        chosen.name,
        chosen.version,
        evidence.blobs,
        evidence.tensors,
        notes=evidence.notes,
        signers=signers,
        hints=evidence.assumptions,
    )
    try:
        Proof.read(proof.to_bytes())
    except (ValueError, VerificationError) as error:
        raise BackendFailed(
            f"{chosen.name} made a proof that nobody could read: {error}"
        ) from error
    return proof


def verify(
    proof: Proof | Path | str | bytes,
    expect: Expectation | None = None,
    policy: Policy | None = None,
    *,
    context: Context | None = None,
) -> Verdict:
    """Judge a proof. Untrusted content ends in a `Verdict` that is accepted, refused or invalid.

    Raises:
        UsageError: the backend needs something that `expect` does not hold (it names it).
        BackendUnavailable: the proof's backend cannot run here.
        BackendFailed: this machine could not do the work (memory, disk); says nothing of the proof.
    """
    expect = expect or Expectation()
    policy = policy or Policy()
    _check_sections(policy)
    context = context or Context(Store.default())
    checks = Checks(CORE_CHECKS)
    parsed: Proof | None = None
    try:
        # A Proof object is read again from its bytes: its fields may have been set by anybody.
        if isinstance(proof, Proof):
            read = Proof.read(proof.to_bytes())
            parsed = replace(read, folder=proof.folder, beside=proof.beside)
        else:
            parsed = Proof.read(proof)
        guarantee = _examine(Trial(parsed, expect, policy, checks, context))
    except VerificationError as error:
        checks.record_failure(error)
        return Verdict(
            Status.INVALID,
            checks.results,
            statement=None if parsed is None else parsed.statement,
            backend=None if parsed is None else parsed.backend,
            reasons=(str(error),),
            error=error,
            signers=() if parsed is None else parsed.signers,
            notes=None if parsed is None else parsed.notes,
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
    )


def _check_sections(policy: Policy) -> None:
    """A misspelt table would be a demand that nobody hears."""
    unknown = sorted(set(policy.sections) - set(backend_names()))
    if unknown:
        raise UsageError(
            f"{policy.source}: backends.{unknown[0]}: expected a registered backend "
            f"({', '.join(backend_names())}); see docs/policy.md"
        )


def _examine(trial: Trial) -> Guarantee:
    """Core checks in their order, then the backend's, then the sum of all assumptions."""
    proof, checks = trial.proof, trial.checks
    for number in ("core.1", "core.2"):
        checks.passed(number)
    if proof.signers:
        checks.passed("core.3", ", ".join(proof.signers))
    else:
        checks.skipped("core.3", "not signed")
    for number in ("core.4", "core.5", "core.6"):
        checks.passed(number)
    check_expectation(trial.expect, proof, checks)
    if proof.backend not in backend_names():
        checks.failed("core.12", "backend", expected=", ".join(backend_names()), got=proof.backend)
    backend = get_backend(proof.backend)
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
    guarantee = _run(trial)
    checks.passed("core.15")
    close_commitments(checks)
    return replace(guarantee, assumptions=guarantee.assumptions | checks.assumptions)


def _check_signer(trial: Trial) -> None:
    """Check core.13: an unpinned signer is an assumption; the policy decides whether it may be."""
    proof, pinned, checks = trial.proof, trial.policy.signers, trial.checks
    if not proof.signers:
        checks.assumed("core.13", "signer:unsigned")
    elif pinned & set(proof.signers):
        checks.passed("core.13", ", ".join(sorted(pinned & set(proof.signers))))
    else:
        checks.assumed("core.13", "signer:unpinned", ", ".join(proof.signers))


def _run(trial: Trial) -> Guarantee:
    backend = get_backend(trial.proof.backend)
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
