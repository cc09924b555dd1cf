"""The evidence: receipts in canonical JSON, in ascending order of their members.

{"receipts": [{"member": "ed25519:...", "signature": "<128 hexadecimal digits>"}, ...]}
"""

from __future__ import annotations

from proofml.canonical import CanonicalError, dumps, loads
from proofml.errors import VerificationError
from proofml.fields import FieldError, Fields
from proofml.keys import KEY_ID

SECTION = "receipts"
MAX_BYTES = 1 << 16
DETAIL = {"evaluator": "numpy", "precision": "float32"}


def message(statement_digest: str) -> bytes:
    """What a member signs: of no other use, so that a receipt is nothing but a receipt."""
    return b"quorum/receipt/v1\0" + bytes.fromhex(statement_digest)


def pack(receipts: dict[str, bytes]) -> bytes:
    return dumps(
        {
            "receipts": [
                {"member": member, "signature": signature.hex()}
                for member, signature in sorted(receipts.items())
            ]
        }
    )


def unpack(data: bytes) -> dict[str, bytes]:
    """Raises `VerificationError` (quorum.2) for any bytes that `pack` would not write."""
    try:
        fields = Fields(loads(data, max_bytes=MAX_BYTES), SECTION)
        found = fields.items("receipts", _receipt, most=256)
        fields.done()
    except (CanonicalError, FieldError) as error:
        raise VerificationError("quorum.2", str(error)) from error
    names = [member for member, _ in found]
    if sorted(set(names)) != names:
        raise VerificationError("quorum.2", "receipts are out of order or doubled")
    return dict(found)


def _receipt(value: object, path: str) -> tuple[str, bytes]:
    fields = Fields(value, path)
    member, signature = fields.string("member"), fields.hexadecimal("signature", longest=64)
    fields.done()
    if not KEY_ID.fullmatch(member):
        raise FieldError(f"{path}.member", "ed25519: and 64 hexadecimal digits", member)
    if len(signature) != 64:
        raise FieldError(f"{path}.signature", "64 bytes", f"{len(signature)}")
    return member, signature
