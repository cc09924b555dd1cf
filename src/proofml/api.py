"""The four verbs: `seal`, `prove`, `verify`, `open`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from proofml.backend import (
    Backend,
    Context,
    Request,
    SealingBackend,
    backend_names,
    get_backend,
)
from proofml.errors import (
    BackendFailed,
    BackendUnavailable,
    PolicyRefused,
    UsageError,
    VerificationError,
)
from proofml.expectation import Expectation
from proofml.guarantee import Integrity
from proofml.judge import Bench, judge
from proofml.keys import SigningKey
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.router import route
from proofml.sealed import Sealed, Secret
from proofml.statement import Visibility
from proofml.store import Store
from proofml.tensors import Array, dtype_name
from proofml.verdict import Status, Verdict

#: All that `open` says of a proof without an accepted verdict.
NOT_ACCEPTED = "`open` takes an accepted verdict for exactly this proof; nothing was decrypted"


def seal(
    model: Model,
    inputs: Mapping[str, Array],
    *,
    backend: str,
    recipient: bytes | None = None,
    policy: Policy | None = None,
    context: Context | None = None,
) -> tuple[Sealed, Secret]:
    """Seal inputs so that the prover computes on what it cannot read.

    Args:
        inputs: name -> array, of the dtypes and shapes that the model declares.
        backend: by name; one that seals.
        recipient: whom to seal to, where the backend has somebody: the bytes of the file that
            names them, which are verified under `policy` first.

    Returns:
        What goes to the prover, and what stays with the caller.

    Raises:
        UsageError, UnsupportedModel, BackendUnavailable, BackendFailed.
        VerificationError: the recipient's evidence is bad.
        PolicyRefused: the recipient's evidence is good and the policy says no.
    """
    policy = policy or Policy()
    _check_sections(policy)
    context = context or Context(Store.default())
    arrays = model.check_inputs(inputs)
    chosen = _sealing(get_backend(backend))
    probe = chosen.probe()
    if not probe.available:
        raise BackendUnavailable(f"{chosen.name}: {probe.detail}")
    message, data = chosen.seal(model, arrays, recipient, policy, context)
    sealed = Sealed(chosen.name, model.digest, message)
    return sealed, Secret(chosen.name, model.digest, sealed.digest, data)


def open(proof: Proof, secret: Secret, verdict: Verdict) -> dict[str, Array]:
    """The outputs of a proof over inputs that were sealed with `secret`: name -> array.

    Nothing is decrypted without an accepted verdict for exactly this proof: a prover who sees what
    becomes of results that it made up can learn a secret from it. Of such a proof nothing is said.

    Raises:
        PolicyRefused: there is no accepted verdict for exactly this proof.
        UsageError: the secret is of another backend or model.
        VerificationError: the proof is over other inputs than those that this secret sealed.
        BackendFailed: the backend opened something else than the Statement's outputs.
    """
    accepted = _accepted(proof, verdict)
    model = accepted.statement.model.canonical_sha256
    if (accepted.backend, model) != (secret.backend, secret.model):
        raise UsageError(
            f"the secret is of {secret.backend} and model {secret.model}, the proof of "
            f"{accepted.backend} and model {model}"
        )
    found = _sealing(get_backend(accepted.backend)).open(accepted, secret.data)
    outputs = {claim.name: found.get(claim.name) for claim in accepted.statement.outputs}
    for claim in accepted.statement.outputs:
        array = outputs[claim.name]
        if array is None or (dtype_name(array), array.shape) != (claim.dtype, claim.shape):
            raise BackendFailed(
                f"{accepted.backend}: opened outputs: expected {claim.name}, "
                f"{claim.dtype}{list(claim.shape)}, got something else"
            )
    return {name: array for name, array in outputs.items() if array is not None}


def _accepted(proof: Proof, verdict: Verdict) -> Proof:
    """The proof, read again from its bytes: its fields may have been set by anybody."""
    try:
        read = Proof.read(proof.to_bytes())
    except (ValueError, VerificationError):
        read = None
    if read is None or verdict.status is not Status.ACCEPTED or verdict.proof_sha256 != read.digest:
        raise PolicyRefused([NOT_ACCEPTED])
    return replace(read, folder=proof.folder, beside=proof.beside)


def _sealing(backend: Backend) -> SealingBackend:
    if not isinstance(backend, SealingBackend):
        raise UsageError(f"{backend.name} seals nothing; `proofml backends` shows which ones do")
    return backend


def prove(
    model: Model,
    inputs: Mapping[str, Array] | Sealed,
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
        inputs: name -> array, of the dtypes and shapes that the model declares; or `Sealed`.
        backend: by name; None for the cheapest that meets `integrity` and the request, and for
            the one that sealed.
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
    if isinstance(inputs, Sealed):
        if backend not in (None, inputs.backend):
            raise UsageError(f"inputs sealed for {inputs.backend} cannot be proven with {backend}")
        if inputs.model != model.digest:
            raise UsageError(
                f"{model.name} ({model.digest}): the inputs were sealed for another model, "
                f"{inputs.model}"
            )
        chosen = route(model, request, name=inputs.backend, integrity=integrity)
        evidence = _sealing(chosen).prove_sealed(model, inputs.message, request, context)
        if any(claim.visibility is Visibility.PUBLIC for claim in evidence.statement.inputs):
            raise BackendFailed(f"{chosen.name} put sealed inputs into the proof in the open")
    else:
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
    return judge(proof, expect, policy, context, Bench(backend_names(), get_backend))


def _check_sections(policy: Policy) -> None:
    """A misspelt table would be a demand that nobody hears."""
    unknown = sorted(set(policy.sections) - set(backend_names()))
    if unknown:
        raise UsageError(
            f"{policy.source}: backends.{unknown[0]}: expected a registered backend "
            f"({', '.join(backend_names())}); see docs/policy.md"
        )
