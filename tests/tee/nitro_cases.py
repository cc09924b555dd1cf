"""Messages and documents as an attacker writes them, byte by byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from proofml.errors import VerificationError
from proofml.tee.platform import Platform, Root, RootKind
from proofml.tee.roots import Roots, fingerprint

ES384 = bytes.fromhex("a1013822")
#: The order of P-384 (FIPS 186-4, D.1.2.4).
ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
#: 2025-12-25T13:15:37Z, when the document from hardware was made.
REAL_TIME = 1766668537
REAL_ROOT = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"


def number(call: Callable[[], object]) -> str:
    """The check that refuses, or `accepted`; any other exception is a failure of the test."""
    try:
        call()
    except VerificationError as error:
        return error.check
    return "accepted"


def simulated(der: bytes, platform: Platform = Platform.NITRO) -> Roots:
    """The vendors' roots and this one, for one platform."""
    root = Root(fingerprint(der), platform, RootKind.SIMULATED, "simulated root")
    return Roots((*Roots.vendor().anchors, root))


def real_document(vectors: Path) -> bytes:
    """The document from hardware, out of the frame in which its publisher keeps it.

    The frame (SCALE): version 0, variant 2, the length as a compact integer of two bytes; the
    document; then the publisher's event log, report data and configuration.
    """
    data = (vectors / "tee" / "dstack_nitro_attestation.cose").read_bytes()
    assert data[:2] == b"\x00\x02"
    length = int.from_bytes(data[2:4], "little")
    assert length & 3 == 1
    return data[4 : 4 + (length >> 2)]


def raw_signature(
    key: ec.EllipticCurvePrivateKey, data: bytes, digest: hashes.HashAlgorithm | None = None
) -> bytes:
    """r and s, big-endian, as long as the curve wants them."""
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest or hashes.SHA384())))
    size = (key.curve.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def envelope(
    payload: object,
    signature: object,
    *,
    protected: object = ES384,
    unprotected: bytes = b"\xa0",
    front: bytes = b"\x84",
) -> bytes:
    parts = [cbor2.dumps(protected), unprotected, cbor2.dumps(payload), cbor2.dumps(signature)]
    return front + b"".join(parts)


def signed(
    payload: bytes,
    key: ec.EllipticCurvePrivateKey,
    *,
    protected: bytes = ES384,
    unprotected: bytes = b"\xa0",
    front: bytes = b"\x84",
    digest: hashes.HashAlgorithm | None = None,
    context: str = "Signature1",
    external: bytes = b"",
) -> bytes:
    """A message whose signature covers whatever headers it has (RFC 9052 section 4.4)."""
    covered = cbor2.dumps([context, protected, external, payload])
    signature = raw_signature(key, covered, digest)
    return envelope(payload, signature, protected=protected, unprotected=unprotected, front=front)
