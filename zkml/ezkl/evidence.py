"""The proof section: instances and transcript in one byte string of exact length.

    offset  size  field
    0       8     magic "PMLEZK1\\0"
    8       4     number n of instances, little-endian
    12      32 n  instances: canonical elements of BN254's scalar field, little-endian
    ...     4     length m of the transcript, little-endian
    ...     m     halo2's transcript

EZKL's own JSON is not carried: its convenience fields, upper-case digits, unknown keys and
trailing bytes are all accepted by EZKL's verifier and bound by nothing.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proofml.errors import VerificationError
from proofml.zkml.ezkl import field

MAGIC = b"PMLEZK1\0"
MAX_INSTANCES = 1 << 22
#: Thirty times that of LeNet-5; the bytes pass through JSON twice.
MAX_TRANSCRIPT = 4 << 20
CHECK = "ezkl.7"


@dataclass(frozen=True, slots=True)
class ProofBlob:
    """`instances` are 32-byte canonical elements; `transcript` is what the prover wrote."""

    instances: tuple[bytes, ...]
    transcript: bytes

    def pack(self) -> bytes:
        return b"".join(
            [
                MAGIC,
                struct.pack("<I", len(self.instances)),
                *self.instances,
                struct.pack("<I", len(self.transcript)),
                self.transcript,
            ]
        )

    @classmethod
    def unpack(cls, data: bytes) -> ProofBlob:
        """Raises `VerificationError` (ezkl.7) for any byte string that `pack` would not write."""
        if data[:8] != MAGIC or len(data) < 16:
            raise VerificationError(CHECK, "proof section", expected=MAGIC, got=data[:8])
        (count,) = struct.unpack_from("<I", data, 8)
        end = 12 + field.BYTES * count
        if count > MAX_INSTANCES or len(data) < end + 4:
            raise VerificationError(
                CHECK, "proof section: instances", expected=f"{count} elements", got=len(data)
            )
        (length,) = struct.unpack_from("<I", data, end)
        if length > MAX_TRANSCRIPT or len(data) != end + 4 + length:
            raise VerificationError(
                CHECK,
                "proof section: length",
                expected=f"{end + 4 + length} bytes",
                got=f"{len(data)} bytes",
            )
        instances = tuple(
            data[position : position + field.BYTES] for position in range(12, end, field.BYTES)
        )
        for index, element in enumerate(instances):
            if not field.is_canonical(element):
                raise VerificationError(
                    CHECK, f"instance {index}", expected="an element below r", got=element.hex()
                )
        return cls(instances, data[end + 4 :])

    def to_ezkl(self) -> str:
        """The least JSON that EZKL's verifier reads."""
        return json.dumps(
            {"instances": [[e.hex() for e in self.instances]], "proof": list(self.transcript)}
        )

    @classmethod
    def from_ezkl(cls, value: Any) -> ProofBlob:
        """From the file that EZKL's prover wrote (trusted: it is our own worker's)."""
        columns: Sequence[Sequence[str]] = value["instances"]
        flat = [bytes.fromhex(element) for column in columns for element in column]
        return cls(tuple(flat), bytes(value["proof"]))
