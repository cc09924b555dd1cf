"""The side of whoever owns the inputs: seal them to an enclave, read the outputs of its proof.

What inputs are sealed to is the file of a session (`proofml tee serve` writes it). Its quote is
verified and appraised as that of a proof is, before anything is encrypted: to whom the key in it
belongs is for the hardware to say, and whether that will do, for the owner's policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from proofml.backend import Context
from proofml.errors import PolicyRefused, UsageError
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.tee.backend_verifier import verify_session
from proofml.tee.checks import EVIDENCE
from proofml.tee.evidence import SEALED_OUTPUTS, SECTIONS
from proofml.tee.sealing import Secret, open_outputs, seal_inputs
from proofml.tee.session_file import SessionFile
from proofml.tensors import Array

if TYPE_CHECKING:
    from proofml.model import Model


def seal(
    model: Model,
    inputs: Mapping[str, Array],
    recipient: bytes | None,
    policy: Policy,
    context: Context,
) -> tuple[bytes, bytes]:
    """Seal inputs to the session whose file `recipient` is; returns the message and the secret.

    Raises:
        UsageError: no recipient, inputs that are too large, or a policy that cannot be read.
        VerificationError: the session's evidence is bad, or it runs another model.
        PolicyRefused: it is good, and the policy says no.
    """
    if recipient is None:
        raise UsageError(
            "inputs are sealed to one running enclave; give its session file, which `proofml tee "
            "serve` writes (--to FILE)"
        )
    file = SessionFile.read(recipient)
    found = verify_session(file, model.digest, policy, context.store)
    if found.objections:
        raise PolicyRefused(found.objections)
    message, secret = seal_inputs(inputs, found.session)
    return message, secret.to_bytes()


def open_proof(proof: Proof, secret: bytes) -> dict[str, Array]:
    """Outputs by name, in the Statement's order; of a proof whose verdict is accepted.

    Raises:
        UsageError: no secret of this backend.
        VerificationError: tee.2, the proof is over other inputs, or holds no outputs for this
            secret.
    """
    kept = Secret.read(secret)
    sealed = proof.evidence(SEALED_OUTPUTS, check=EVIDENCE, most=SECTIONS[SEALED_OUTPUTS][1])
    return open_outputs(sealed, kept, proof.statement)
