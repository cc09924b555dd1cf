"""What a proof carries beside its Statement.

circuit      the compiled model
evaluation   the evaluation keys; in the file, or beside it (keys are large, and one client's
             proofs share them)
inputs       ciphertexts, as `files.join` writes them
outputs      likewise
trace        where the Statement commits to one: see `trace`; in the file or beside it
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from proofml.errors import VerificationError
from proofml.fhe.checks import Check, Numbers
from proofml.fhe.files import MAX_CIRCUIT_BYTES, MAX_EVALUATION_BYTES
from proofml.fhe.record import Record
from proofml.proof import Proof

CIRCUIT: Final = "circuit"
EVALUATION: Final = "evaluation"
INPUTS: Final = "inputs"
OUTPUTS: Final = "outputs"
TRACE: Final = "trace"

MAX_CIPHERTEXT_BYTES: Final = 1 << 30
MAX_TRACE_BYTES: Final = 64 << 30
_MOST: Final = {
    CIRCUIT: MAX_CIRCUIT_BYTES,
    INPUTS: MAX_CIPHERTEXT_BYTES,
    OUTPUTS: MAX_CIPHERTEXT_BYTES,
}


@dataclass(frozen=True)
class Parts:
    """Read; what it means is still to be checked. `trace` is bytes, or a file beside the proof."""

    circuit: bytes = field(repr=False)
    evaluation: bytes = field(repr=False)
    inputs: bytes = field(repr=False)
    outputs: bytes = field(repr=False)
    trace: bytes | Path | None = field(default=None, repr=False)

    @classmethod
    def read(cls, proof: Proof, record: Record, numbers: Numbers) -> Parts:
        """Raises `VerificationError` of the check on the evidence."""
        check = numbers.of(Check.EVIDENCE)
        wanted = {CIRCUIT, EVALUATION, INPUTS, OUTPUTS} | ({TRACE} if record.trace else set())
        roles = {role for role, _ in proof.statement.tensors()}
        found = {entry.name for entry in proof.entries} - roles
        if found != wanted:
            numbers.refuse(
                Check.EVIDENCE,
                "sections",
                expected=", ".join(sorted(wanted)),
                got=", ".join(sorted(found)) or "none",
            )
        inline = {
            name: proof.evidence(name, check=check, most=most) for name, most in _MOST.items()
        }
        evaluation = section_or_file(proof, EVALUATION, MAX_EVALUATION_BYTES, check)
        if isinstance(evaluation, Path):
            evaluation = _read_file(evaluation, check)
        trace = section_or_file(proof, TRACE, MAX_TRACE_BYTES, check) if record.trace else None
        return cls(inline[CIRCUIT], evaluation, inline[INPUTS], inline[OUTPUTS], trace)


def section_or_file(proof: Proof, name: str, most: int, check: str) -> bytes | Path:
    """Evidence wherever it lies, its digest checked."""
    if name in proof.sections:
        return proof.evidence(name, check=check, most=most)
    return proof.evidence_beside(name, check=check, most=most)


def _read_file(path: Path, check: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VerificationError(check, f"{path.name}: {error.strerror}") from error
