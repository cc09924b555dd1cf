"""What an inference leaves in a proof."""

from __future__ import annotations

from proofml.errors import BackendFailed, VerificationError
from proofml.tee.enclave.messages import Inference
from proofml.tee.evidence import Parts
from proofml.tee.receipts import read_receipts
from proofml.tee.session_file import SessionFile


def parts_of(inference: Inference, config: bytes, session: SessionFile | None = None) -> Parts:
    """The evidence, for `Parts.blobs`.

    Args:
        config: of the enclave that made the inference.
        session: of the same, in session mode.

    Raises:
        BackendFailed: the parts are not those of one mode, or cannot be read.
    """
    attestation = inference.attestation if session is None else session.attestation
    if attestation is None or (session is None) != (inference.receipts is None):
        raise BackendFailed(
            "the enclave gave a quote and no receipt in session mode, or the other way round"
        )
    try:
        return Parts(
            attestation,
            config,
            None if session is None else session.record(),
            () if inference.receipts is None else read_receipts(inference.receipts),
            inference.sealed_outputs,
        )
    except VerificationError as error:
        raise BackendFailed(f"the enclave's evidence cannot be read: {error}") from error
