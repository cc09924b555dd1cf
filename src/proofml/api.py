"""The verbs `prove` and `verify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from proofml.backend import Context, Request, backend_names, get_backend
from proofml.errors import BackendFailed, UsageError, VerificationError
from proofml.expectation import Expectation
from proofml.guarantee import Integrity
from proofml.judge import Bench, judge
from proofml.keys import SigningKey
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.router import route
from proofml.store import Store
from proofml.tensors import Array
from proofml.verdict import Verdict


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
    return judge(proof, expect, policy, context, Bench(backend_names(), get_backend))


def _check_sections(policy: Policy) -> None:
    """A misspelt table would be a demand that nobody hears."""
    unknown = sorted(set(policy.sections) - set(backend_names()))
    if unknown:
        raise UsageError(
            f"{policy.source}: backends.{unknown[0]}: expected a registered backend "
            f"({', '.join(backend_names())}); see docs/policy.md"
        )
