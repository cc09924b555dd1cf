"""COSE_Sign1 by one algorithm, ES384 (RFC 9052 section 4.2, RFC 9053 section 2.1).

The message has no say in how it is verified: its protected header must be the bytes of
`{1: -35}` and the unprotected one empty, and `cwt` gets a key that is bound to ES384 and an
envelope of type 18. (Left alone, `cwt` 3.3 would pick the type by the message's tag and the key by
its `kid`, and would not compare the header's algorithm with the key's.)

A signature (r, s) holds as (r, n - s) too: ECDSA says so, and AWS does not ask for the lower s. It
is accepted by design: nothing here takes a signature for a name. What is signed, the payload and
the protected header, cannot change without the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn

from cbor2 import CBORTag
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cwt import (
    COSE,
    COSEAlgs,
    COSEKey,
    COSEKeyCrvs,
    COSEKeyOps,
    COSEKeyParams,
    COSEKeyTypes,
    CWTError,
)

from proofml.tee import cbor
from proofml.tee.checks import QUOTE, SIGNATURE, refuse
from proofml.tee.reader import Field

#: CBOR tag of COSE_Sign1; a message may stand without it.
TAG: Final = 18
#: The only protected header: algorithm (1) is ES384 (-35).
PROTECTED: Final = bytes.fromhex("a1013822")
#: r and s, 48 bytes each, big-endian.
SIGNATURE_BYTES: Final = 96
#: What AWS allows for an attestation document.
MAX_PAYLOAD_BYTES: Final = 16384

_WHAT: Final = "COSE_Sign1"
_NAMES: Final = ("protected", "unprotected", "payload", "signature")
_TAG_BYTE: Final = bytes([0xC0 | TAG])
_COORDINATE_BYTES: Final = 48


@dataclass(frozen=True, slots=True)
class Sign1:
    """A message of the right form; nobody has checked its signature.

    Attributes:
        payload_offset: of `payload` in the message.
        fields: every byte of the message; `payload` is one of them.
    """

    payload: bytes
    payload_offset: int
    signature: bytes
    fields: tuple[Field, ...]


def parse(data: bytes) -> Sign1:
    """Read a COSE_Sign1 message, tagged (18) or not, with its payload inside.

    Raises:
        VerificationError: tee.3, for all other bytes.
    """
    fields: list[Field] = []
    start = 0
    if data.startswith(_TAG_BYTE):
        fields.append(Field("tag", 0, _TAG_BYTE, f"{_WHAT} ({TAG})"))
        start = 1
    envelope: list[Field] = []
    value = cbor.loads(data[start:], _WHAT, items=_NAMES, offset=start, fields=envelope)
    if not isinstance(value, list) or len(value) != len(_NAMES):
        refuse(QUOTE, _WHAT, expected="an array of 4", got=envelope[0].note)
    protected, unprotected, payload, signature = value
    offsets = {field.name: field.offset for field in envelope}
    if not isinstance(protected, bytes):
        _wrong("protected", offsets, "a byte string", protected)
    for field in envelope:
        if not field.name:
            fields.append(Field("message", field.offset, field.data, field.note))
        elif field.name == "protected":
            cbor.loads(
                protected,
                f"{_WHAT} protected header",
                name="protected",
                offset=field.offset,
                fields=fields,
            )
        else:
            fields.append(field)
    # Bytes are compared, not values: to Python {True: -35.0} and {1: -35} are equal.
    if protected != PROTECTED:
        _wrong("protected", offsets, "a1013822, which is {1: -35} (ES384)", protected)
    if not isinstance(unprotected, dict) or unprotected:
        _wrong("unprotected", offsets, "an empty map", unprotected)
    if not isinstance(payload, bytes) or not 1 <= len(payload) <= MAX_PAYLOAD_BYTES:
        _wrong("payload", offsets, f"1 to {MAX_PAYLOAD_BYTES} bytes", payload)
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_BYTES:
        _wrong("signature", offsets, f"{SIGNATURE_BYTES} bytes", signature)
    return Sign1(payload, offsets["payload"], signature, tuple(fields))


def _wrong(name: str, offsets: dict[str, int], expected: str, got: object) -> NoReturn:
    shown: object = type(got).__name__
    if isinstance(got, bytes):
        shown = got.hex() if len(got) <= 64 else f"{len(got)} bytes"
    elif isinstance(got, dict):
        shown = f"a map of {len(got)}"
    refuse(QUOTE, f"{_WHAT}: {name} at offset {offsets[name]}", expected=expected, got=shown)


def verify(message: Sign1, key: EllipticCurvePublicKey) -> None:
    """Check the signature by `key`, which is of P-384.

    Raises:
        VerificationError: tee.7.
    """
    if not isinstance(key.curve, SECP384R1):
        refuse(SIGNATURE, f"{_WHAT}: signing key", expected="curve secp384r1", got=key.curve.name)
    point = key.public_numbers()
    cose_key = COSEKey.new(
        {
            COSEKeyParams.KTY: COSEKeyTypes.EC2,
            COSEKeyParams.ALG: COSEAlgs.ES384,
            COSEKeyParams.KEY_OPS: [COSEKeyOps.VERIFY],
            COSEKeyParams.CRV: COSEKeyCrvs.P384,
            COSEKeyParams.X: point.x.to_bytes(_COORDINATE_BYTES, "big"),
            COSEKeyParams.Y: point.y.to_bytes(_COORDINATE_BYTES, "big"),
        }
    )
    envelope = CBORTag(TAG, [PROTECTED, {}, message.payload, message.signature])
    try:
        COSE.new().decode(envelope, cose_key)
    except (CWTError, ValueError) as error:
        offset = message.fields[-1].offset
        what = f"{_WHAT}: signature at offset {offset} over {len(message.payload)} bytes of payload"
        refuse(SIGNATURE, what, expected="a signature by the leaf certificate's key", got=error)
