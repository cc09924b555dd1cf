"""What a quote binds: one Statement, or the session whose key signs receipts for many.

The 64 bytes that a guest puts into its quote (`report_data`; `user_data` of a Nitro document) are

    inference:  SHA-512("proofml/tee/inference/v1" || 0x00 || Statement digest, 32 bytes)
    session:    SHA-512("proofml/tee/session/v1" || 0x00 || canonical bytes of the session record)

No message of one mode is a message of the other: the tags differ and neither begins with the
other one. A caller passes the 64 bytes of the *verified* quote, never a copy beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from proofml.canonical import JSON, CanonicalError, dumps, loads, tagged_sha256
from proofml.errors import UsageError
from proofml.fields import HEX_SHA256, FieldError, Fields
from proofml.tee.checks import BINDING, EVIDENCE, MODE, refuse

INFERENCE_TAG: Final = b"proofml/tee/inference/v1\0"
SESSION_TAG: Final = b"proofml/tee/session/v1\0"
#: Of the digest by which receipts name their session; not what a quote binds.
SESSION_DIGEST_TAG: Final = "proofml/tee/session-digest/v1"

REPORT_DATA_BYTES: Final = 64
MAX_SESSION_BYTES: Final = 4096
MAX_CHALLENGE_BYTES: Final = 64
SEALING_KEY_BYTES: Final = 32
#: The end of the year 9999, in seconds since 1970: no time in a record is later.
LATEST_TIME: Final = 253402300799


class Mode(StrEnum):
    """INFERENCE: one quote for each Statement. SESSION: one quote, then a receipt for each."""

    INFERENCE = "inference"
    SESSION = "session"


class ReceiptAlgorithm(StrEnum):
    """How receipts are signed; SECP256K1 signs EIP-191 text, for contracts."""

    ED25519 = "ed25519"
    SECP256K1 = "secp256k1"


#: Raw Ed25519 key; SEC 1 compressed point of secp256k1.
RECEIPT_KEY_BYTES: Final[Mapping[ReceiptAlgorithm, int]] = {
    ReceiptAlgorithm.ED25519: 32,
    ReceiptAlgorithm.SECP256K1: 33,
}


@dataclass(frozen=True)
class Session:
    """What one start of an enclave promises, as its quote binds it.

    Attributes:
        receipt_algorithm: of the key that signs receipts and checkpoints.
        receipt_key: 32 raw bytes, or 33 of a compressed point.
        sealing_key: raw X25519 key, 32 bytes; inputs are sealed to it.
        model: canonical SHA-256 of the model that was loaded.
        config: SHA-256 of the configuration's bytes.
        challenge: the verifier's, 1 to 64 bytes; shows that the quote is younger than it.
        started: seconds since 1970 by the enclave's own clock.

    Raises:
        UsageError: a value that the record cannot hold.
    """

    receipt_algorithm: ReceiptAlgorithm
    receipt_key: bytes
    sealing_key: bytes
    model: str
    config: str
    challenge: bytes | None
    started: int

    def __post_init__(self) -> None:
        try:
            _read(self.to_json())
        except FieldError as error:
            raise UsageError(f"{error}; the session cannot be written down") from error

    def to_json(self) -> dict[str, JSON]:
        return {
            "version": 1,
            "receipt_algorithm": self.receipt_algorithm,
            "receipt_key": self.receipt_key.hex(),
            "sealing_key": self.sealing_key.hex(),
            "model": self.model,
            "config": self.config,
            "challenge": None if self.challenge is None else self.challenge.hex(),
            "started": self.started,
        }

    def to_bytes(self) -> bytes:
        """Canonical JSON; what `session_data` hashes."""
        return dumps(self.to_json())

    @cached_property
    def digest(self) -> str:
        """The name of this session in its receipts; 64 hexadecimal digits."""
        return tagged_sha256(SESSION_DIGEST_TAG, self.to_bytes())

    @classmethod
    def read(cls, data: bytes) -> Session:
        """Strictly; raises `VerificationError` tee.2 for anything that `to_bytes` never writes."""
        try:
            return cls(**_read(loads(data, max_bytes=MAX_SESSION_BYTES)))
        except (FieldError, CanonicalError) as error:
            refuse(EVIDENCE, f"session record: {error}")


def _read(value: object) -> dict[str, Any]:
    """The record's fields by attribute; raises `FieldError`."""
    fields = Fields(value, "session")
    fields.integer("version", 1, 1)
    algorithm = ReceiptAlgorithm(
        fields.string("receipt_algorithm", choices=tuple(ReceiptAlgorithm), longest=32)
    )
    challenge = (
        None
        if fields.raw("challenge") is None
        else fields.hexadecimal("challenge", longest=MAX_CHALLENGE_BYTES)
    )
    if challenge == b"":
        raise FieldError(fields.at("challenge"), "null or at least one byte", "an empty one")
    found = {
        "receipt_algorithm": algorithm,
        "receipt_key": _key(fields, "receipt_key", RECEIPT_KEY_BYTES[algorithm]),
        "sealing_key": _key(fields, "sealing_key", SEALING_KEY_BYTES),
        "model": fields.sha256("model"),
        "config": fields.sha256("config"),
        "challenge": challenge,
        "started": fields.integer("started", 0, LATEST_TIME),
    }
    fields.done()
    return found


def _key(fields: Fields, name: str, size: int) -> bytes:
    key = fields.hexadecimal(name, longest=size)
    if len(key) != size:
        raise FieldError(fields.at(name), f"{size} bytes as lower-case hex", f"{len(key)} bytes")
    return key


def inference_data(statement_digest: str) -> bytes:
    """Report data of a quote over one Statement, 64 bytes.

    Args:
        statement_digest: `Statement.digest`, 64 lower-case hexadecimal digits.

    Raises:
        UsageError: anything else.
    """
    if not HEX_SHA256.fullmatch(statement_digest):
        raise UsageError(
            f"Statement digest: expected 64 lower-case hexadecimal digits, got {statement_digest!r}"
        )
    return hashlib.sha512(INFERENCE_TAG + bytes.fromhex(statement_digest)).digest()


def session_data(session: Session) -> bytes:
    """Report data of a quote over a session record, 64 bytes."""
    return hashlib.sha512(SESSION_TAG + session.to_bytes()).digest()


def check_binding(
    report_data: bytes, mode: Mode, statement_digest: str, session: Session | None = None
) -> None:
    """The quote binds this Statement, or this session, in the mode that the Statement names.

    Args:
        report_data: of the verified quote; Nitro: `user_data`.
        session: the record in the evidence; exactly in session mode.

    Raises:
        VerificationError: tee.9, the evidence or the quote is of the other mode; tee.10, the
            quote binds something else.
    """
    if (session is not None) != (mode is Mode.SESSION):
        refuse(
            MODE,
            f"evidence in {mode} mode",
            expected="a session record" if mode is Mode.SESSION else "no session record",
            got="none" if session is None else "one",
        )
    inference = inference_data(statement_digest)
    expected = inference if session is None else session_data(session)
    if report_data == expected:
        return
    if session is not None and report_data == inference:
        refuse(MODE, "report data", expected="that of a session", got="that of one inference")
    refuse(
        BINDING,
        f"report data in {mode} mode",
        expected=expected.hex(),
        got=report_data.hex(),
    )
