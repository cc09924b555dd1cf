"""COSE_Sign1 by ES384 and nothing else: the message does not choose how it is verified."""

from __future__ import annotations

import hashlib
import hmac

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from proofml.errors import VerificationError
from proofml.tee import cose
from proofml.tee.reader import MAX_QUOTE_BYTES
from proofml.tee.simulator import aws
from tests.tee.nitro_cases import ES384, ORDER, envelope, number, raw_signature, signed

KEY = ec.derive_private_key(0x1234567, ec.SECP384R1())
PAYLOAD = b"what is signed"
GOOD = aws.sign(PAYLOAD, KEY)


def verdict(data: bytes, key: ec.EllipticCurvePublicKey | None = None) -> str:
    return number(lambda: cose.verify(cose.parse(data), key or KEY.public_key()))


def test_a_message_is_read_and_verified_tagged_or_not() -> None:
    tagged = aws.sign(PAYLOAD, KEY, tagged=True)
    assert tagged[:1] == b"\xd2"
    for data in (GOOD, tagged, signed(PAYLOAD, KEY), signed(PAYLOAD, KEY, front=b"\xd2\x84")):
        message = cose.parse(data)
        cose.verify(message, KEY.public_key())
        assert message.payload == PAYLOAD
        assert data[message.payload_offset :].startswith(PAYLOAD)
        assert b"".join(field.data for field in message.fields) == data
        names = [field.name for field in message.fields if field.name != "tag"]
        assert names == [
            "message",
            "protected.head",
            "protected",
            "protected.1.key",
            "protected.1",
            "unprotected",
            "payload.head",
            "payload",
            "signature.head",
            "signature",
        ]
        assert message.fields[-1].data == message.signature


@pytest.mark.parametrize("size", [1, 16384])
def test_the_longest_and_the_shortest_payload(size: int) -> None:
    assert verdict(aws.sign(bytes(size), KEY)) == "accepted"


def hs384(secret: bytes) -> bytes:
    """A MAC under a key that everybody knows: the public key, the classic confusion."""
    protected = cbor2.dumps({1: 6})
    covered = cbor2.dumps(["MAC0", protected, b"", PAYLOAD])
    tag = hmac.new(secret, covered, hashlib.sha384).digest()
    return envelope(PAYLOAD, tag + tag, protected=protected, front=b"\xd1\x84")


def public_bytes() -> bytes:
    return KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


P256 = ec.derive_private_key(7, ec.SECP256R1())
P521 = ec.derive_private_key(7, ec.SECP521R1())
NO_KEY = bytes(95) + b"\x01"

#: Messages that would hold if the header were obeyed or ignored; each must fail the format.
CONFUSED = {
    "ES256 over this key": signed(
        PAYLOAD, KEY, protected=cbor2.dumps({1: -7}), digest=hashes.SHA256()
    ),
    "ES256 by P-256": signed(PAYLOAD, P256, protected=cbor2.dumps({1: -7})),
    "ES512 over this key": signed(
        PAYLOAD, KEY, protected=cbor2.dumps({1: -36}), digest=hashes.SHA512()
    ),
    "ES512 by P-521": signed(PAYLOAD, P521, protected=cbor2.dumps({1: -36})),
    "ESP384, the same by another name": signed(PAYLOAD, KEY, protected=cbor2.dumps({1: -51})),
    "EdDSA": signed(PAYLOAD, KEY, protected=cbor2.dumps({1: -8})),
    "HS384 under the public key": hs384(public_bytes()),
    "HS384 under the public key, as Sign1": hs384(public_bytes())[1:],
    "tag of COSE_Mac0": signed(PAYLOAD, KEY, front=b"\xd1\x84"),
    "tag of COSE_Encrypt0": signed(PAYLOAD, KEY, front=b"\xd0\x84"),
    "tag of COSE_Sign": signed(PAYLOAD, KEY, front=b"\xd8\x62\x84"),
    "the tag in two bytes": signed(PAYLOAD, KEY, front=b"\xd8\x12\x84"),
    "the tag twice": signed(PAYLOAD, KEY, front=b"\xd2\xd2\x84"),
    "algorithm 0": signed(PAYLOAD, KEY, protected=cbor2.dumps({1: 0})),
    "algorithm null": signed(PAYLOAD, KEY, protected=cbor2.dumps({1: None})),
    "algorithm none as text": signed(PAYLOAD, KEY, protected=cbor2.dumps({1: "none"})),
    "algorithm ES384 as text": signed(PAYLOAD, KEY, protected=cbor2.dumps({1: "ES384"})),
    "algorithm as a float": signed(PAYLOAD, KEY, protected=cbor2.dumps({1: -35.0})),
    "algorithm under true": signed(PAYLOAD, KEY, protected=cbor2.dumps({True: -35})),
    "algorithm under 1.0": signed(PAYLOAD, KEY, protected=cbor2.dumps({1.0: -35})),
    "algorithm in three bytes": signed(PAYLOAD, KEY, protected=bytes.fromhex("a101390022")),
    "label in two bytes": signed(PAYLOAD, KEY, protected=bytes.fromhex("a118013822")),
    "header of indefinite length": signed(PAYLOAD, KEY, protected=bytes.fromhex("bf013822ff")),
    "algorithm twice": signed(PAYLOAD, KEY, protected=bytes.fromhex("a2013822013822")),
    "two algorithms, the good one last": signed(
        PAYLOAD, KEY, protected=bytes.fromhex("a20126013822")
    ),
    "a byte behind the header": signed(PAYLOAD, KEY, protected=ES384 + b"\x00"),
    "a critical header": signed(PAYLOAD, KEY, protected=cbor2.dumps({1: -35, 2: [99], 99: 0})),
    "a key id": signed(PAYLOAD, KEY, protected=cbor2.dumps({1: -35, 4: b"mine"})),
    "no protected header": signed(PAYLOAD, KEY, protected=b""),
    "an empty protected header": signed(PAYLOAD, KEY, protected=b"\xa0"),
    "algorithm in the unprotected header": signed(
        PAYLOAD, KEY, protected=b"", unprotected=cbor2.dumps({1: -35})
    ),
    "algorithm in both": signed(PAYLOAD, KEY, unprotected=cbor2.dumps({1: -7})),
    "a key id in the unprotected header": signed(PAYLOAD, KEY, unprotected=cbor2.dumps({4: b"a"})),
    "a certificate in the unprotected header": signed(
        PAYLOAD, KEY, unprotected=cbor2.dumps({33: b"mine"})
    ),
    "a duplicate key in the unprotected header": signed(
        PAYLOAD, KEY, unprotected=bytes.fromhex("a2040004 00".replace(" ", ""))
    ),
    "an unprotected header of indefinite length": signed(PAYLOAD, KEY, unprotected=b"\xbf\xff"),
    "no map for the unprotected header": signed(PAYLOAD, KEY, unprotected=b"\x80"),
    "null for the unprotected header": signed(PAYLOAD, KEY, unprotected=b"\xf6"),
    "a map for the protected header": envelope(PAYLOAD, NO_KEY, protected={1: -35}),
    "three items": b"\x83" + GOOD[1:-98],
    "five items": b"\x85" + GOOD[1:] + b"\x00",
    "an envelope of indefinite length": b"\x9f" + GOOD[1:] + b"\xff",
    "a map": cbor2.dumps({0: ES384, 1: {}, 2: PAYLOAD, 3: NO_KEY}),
    "bytes behind the message": GOOD + b"\x00",
    "the message twice": GOOD + GOOD,
    "a detached payload": envelope(None, raw_signature(KEY, PAYLOAD)),
    "a payload of text": envelope(PAYLOAD.decode(), NO_KEY),
    "an empty payload": signed(b"", KEY),
    "a payload too long": signed(bytes(16385), KEY),
    "a signature of 95 bytes": envelope(PAYLOAD, bytes(95)),
    "a signature of 97 bytes": envelope(PAYLOAD, GOOD[-96:] + b"\x00"),
    "a signature in DER": envelope(PAYLOAD, KEY.sign(PAYLOAD, ec.ECDSA(hashes.SHA384()))),
    "no signature": envelope(PAYLOAD, None),
    "a list of signatures": envelope(PAYLOAD, [[ES384, {}, GOOD[-96:]]]),
    "nothing": b"",
    "the tag alone": b"\xd2",
}


@pytest.mark.parametrize("name", CONFUSED)
def test_another_form_is_refused_before_any_signature_is_looked_at(name: str) -> None:
    assert number(lambda: cose.parse(CONFUSED[name])) == "tee.3"


N = ORDER.to_bytes(48, "big")
R, S = GOOD[-96:-48], GOOD[-48:]
FALSE_SIGNATURES = {
    "zeros": bytes(96),
    "r is zero": bytes(48) + S,
    "s is zero": R + bytes(48),
    "r is the order": N + S,
    "s is the order": R + N,
    "r + n does not fit, all ones": b"\xff" * 96,
    "r and s swapped": S + R,
    "r = s = 1": 2 * (bytes(47) + b"\x01"),
    "little-endian": R[::-1] + S[::-1],
    "n - r": (ORDER - int.from_bytes(R, "big")).to_bytes(48, "big") + S,
}


@pytest.mark.parametrize("name", FALSE_SIGNATURES)
def test_a_false_signature_is_refused(name: str) -> None:
    assert verdict(GOOD[:-96] + FALSE_SIGNATURES[name]) == "tee.7"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("by SHA-256", signed(PAYLOAD, KEY, digest=hashes.SHA256())),
        ("by SHA-512", signed(PAYLOAD, KEY, digest=hashes.SHA512())),
        ("by another key", aws.sign(PAYLOAD, ec.generate_private_key(ec.SECP384R1()))),
        ("of another context", signed(PAYLOAD, KEY, context="Signature")),
        ("with external data", signed(PAYLOAD, KEY, external=b"x")),
        ("over the bare payload", envelope(PAYLOAD, raw_signature(KEY, PAYLOAD))),
        ("over another payload", envelope(PAYLOAD + b"!", GOOD[-96:])),
    ],
)
def test_a_signature_over_something_else_is_refused(name: str, data: bytes) -> None:
    assert verdict(data) == "tee.7", name


def test_a_key_of_another_curve_is_refused() -> None:
    assert verdict(GOOD, P256.public_key()) == "tee.7"
    k256 = ec.derive_private_key(7, ec.BrainpoolP384R1())
    assert verdict(signed(PAYLOAD, k256), k256.public_key()) == "tee.7"


def test_the_other_s_is_accepted_by_design() -> None:
    """ECDSA: with (r, s) the pair (r, n - s) verifies too. The payload stays what it is."""
    other = (ORDER - int.from_bytes(S, "big")).to_bytes(48, "big")
    message = cose.parse(GOOD[:-48] + other)
    cose.verify(message, KEY.public_key())
    assert message.payload == PAYLOAD


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused(at: int, change: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= change
    found = verdict(bytes(data))
    message = cose.parse(GOOD)
    inside = at >= len(GOOD) - 96 or 0 <= at - message.payload_offset < len(PAYLOAD)
    assert found == ("tee.7" if inside else "tee.3")


def test_longer_evidence_is_refused_before_it_is_read() -> None:
    for front in (b"", b"\xd2"):
        with pytest.raises(VerificationError, match=f"at most {MAX_QUOTE_BYTES} bytes"):
            cose.parse(front + bytes(MAX_QUOTE_BYTES + 1))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_one_check(data: bytes) -> None:
    with pytest.raises(VerificationError) as caught:
        cose.parse(data)
    assert caught.value.check == "tee.3"
