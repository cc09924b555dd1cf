"""Receipts and checkpoints: what the key of a session signs, and how a signature is checked.

A receipt says: in this session, as number `counter`, this Statement was made; before it came the
receipt whose digest is `previous`. A checkpoint says, over a nonce of the asker's: so many receipts
there are, and this is the digest of the last one (`proofml.tee.receipt_chain`). On the wire

    {"receipt": {"counter", "previous", "session", "statement", "time", "version": 1}, "signature"}
    {"checkpoint": {"counter", "head", "nonce", "session", "version": 1}, "signature"}

in canonical JSON; digests, nonce and signature as lower-case hex. What is signed:

    Ed25519     "proofml/tee/receipt/v1" || 0x00 || canonical JSON of the inner object
                "proofml/tee/checkpoint/v1" || 0x00 || ...
    secp256k1   EIP-191 text (`Receipt.text`, `Checkpoint.text`), r || s || v

The digest of a receipt is SHA-256 of what Ed25519 signs, with either algorithm.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from proofml.canonical import JSON, CanonicalError, dumps, loads
from proofml.errors import UsageError
from proofml.fields import FieldError, Fields
from proofml.statement import MAX_NONCE_BYTES
from proofml.tee import ethereum
from proofml.tee.binding import LATEST_TIME, ReceiptAlgorithm, Session
from proofml.tee.checks import EVIDENCE, FRESHNESS, RECEIPT, refuse

RECEIPT_TAG: Final = b"proofml/tee/receipt/v1\0"
CHECKPOINT_TAG: Final = b"proofml/tee/checkpoint/v1\0"
#: What the first receipt names as its predecessor.
NO_RECEIPT: Final = "0" * 64

MAX_COUNTER: Final = 2**53 - 1
#: Of one segment; a longer chain is checked in parts, each from the head of the one before it.
MAX_RECEIPTS: Final = 1 << 14
MAX_RECEIPTS_BYTES: Final = 8 << 20
MAX_CHECKPOINT_BYTES: Final = 2048
#: A longer segment that cannot be read is refused without a search for the reason.
MAX_EXPLAINED_BYTES: Final = 1 << 16
SIGNATURE_BYTES: Final = {ReceiptAlgorithm.ED25519: 64, ReceiptAlgorithm.SECP256K1: 65}


@dataclass(frozen=True, slots=True)
class Receipt:
    """Digests as 64 lower-case hexadecimal digits; `time` in seconds since 1970."""

    session: str
    statement: str
    counter: int
    previous: str
    time: int

    def to_bytes(self) -> bytes:
        """Canonical JSON, written directly: none of the values has a character to escape."""
        return (
            f'{{"counter":{self.counter},"previous":"{self.previous}","session":"{self.session}",'
            f'"statement":"{self.statement}","time":{self.time},"version":1}}'
        ).encode("ascii")

    @property
    def message(self) -> bytes:
        """What Ed25519 signs."""
        return RECEIPT_TAG + self.to_bytes()

    @property
    def digest(self) -> str:
        """By which the next receipt, or a checkpoint, names this one."""
        return hashlib.sha256(self.message).hexdigest()

    @property
    def text(self) -> str:
        """What secp256k1 signs, as EIP-191 `personal_sign`: six lines, no line feed at the end."""
        return (
            f"proofml receipt v1\nsession: {self.session}\nstatement: {self.statement}\n"
            f"counter: {self.counter}\nprevious: {self.previous}\ntime: {self.time}"
        )

    def to_json(self) -> dict[str, JSON]:
        return {
            "version": 1,
            "session": self.session,
            "statement": self.statement,
            "counter": self.counter,
            "previous": self.previous,
            "time": self.time,
        }

    @classmethod
    def read(cls, value: object, path: str) -> Receipt:
        fields = Fields(value, path)
        fields.integer("version", 1, 1)
        found = cls(
            fields.sha256("session"),
            fields.sha256("statement"),
            fields.integer("counter", 0, MAX_COUNTER),
            fields.sha256("previous"),
            fields.integer("time", 0, LATEST_TIME),
        )
        fields.done()
        return found


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`counter` receipts were issued, the last one has digest `head` (64 zeros for none)."""

    session: str
    counter: int
    head: str
    nonce: bytes

    def to_bytes(self) -> bytes:
        return dumps(self.to_json())

    @property
    def message(self) -> bytes:
        """What Ed25519 signs."""
        return CHECKPOINT_TAG + self.to_bytes()

    @property
    def text(self) -> str:
        """What secp256k1 signs, as EIP-191 `personal_sign`: five lines."""
        return (
            f"proofml checkpoint v1\nsession: {self.session}\ncounter: {self.counter}\n"
            f"head: {self.head}\nnonce: {self.nonce.hex()}"
        )

    def to_json(self) -> dict[str, JSON]:
        return {
            "version": 1,
            "session": self.session,
            "counter": self.counter,
            "head": self.head,
            "nonce": self.nonce.hex(),
        }

    @classmethod
    def read(cls, value: object, path: str) -> Checkpoint:
        fields = Fields(value, path)
        fields.integer("version", 1, 1)
        found = cls(
            fields.sha256("session"),
            fields.integer("counter", 0, MAX_COUNTER + 1),
            fields.sha256("head"),
            fields.hexadecimal("nonce", longest=MAX_NONCE_BYTES),
        )
        fields.done()
        if not found.nonce:
            raise FieldError(fields.at("nonce"), "at least one byte", "an empty one")
        return found


Record: TypeAlias = Receipt | Checkpoint


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """As it travels; `signature` has 64 bytes (Ed25519) or 65 (r || s || v)."""

    record: Receipt
    signature: bytes

    def to_json(self) -> dict[str, JSON]:
        return {"receipt": self.record.to_json(), "signature": self.signature.hex()}

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return b'{"receipt":%s,"signature":"%s"}' % (
            self.record.to_bytes(),
            self.signature.hex().encode("ascii"),
        )

    @classmethod
    def read(cls, value: object, path: str) -> SignedReceipt:
        fields = Fields(value, path)
        record = Receipt.read(fields.raw("receipt"), fields.at("receipt"))
        return cls(record, _signature(fields))


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """As it travels; `signature` as in `SignedReceipt`."""

    record: Checkpoint
    signature: bytes

    def to_json(self) -> dict[str, JSON]:
        return {"checkpoint": self.record.to_json(), "signature": self.signature.hex()}

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return dumps(self.to_json())

    @classmethod
    def read(cls, value: object, path: str) -> SignedCheckpoint:
        fields = Fields(value, path)
        record = Checkpoint.read(fields.raw("checkpoint"), fields.at("checkpoint"))
        return cls(record, _signature(fields))


Signed: TypeAlias = SignedReceipt | SignedCheckpoint


def _signature(fields: Fields) -> bytes:
    sizes = tuple(SIGNATURE_BYTES.values())
    signature = fields.hexadecimal("signature", longest=max(sizes))
    fields.done()
    if len(signature) not in sizes:
        raise FieldError(fields.at("signature"), f"{sizes} bytes", f"{len(signature)} bytes")
    return signature


# -- reading --------------------------------------------------------------------------------------

# A signed receipt has exactly one canonical form without escapes or nesting to speak of, so one
# regular expression reads it. A general parser takes ten times as long, which is as much as the
# signature. What the expression does not match is read in the general way, to say what is wrong.
_HEX, _INTEGER = rb'"([0-9a-f]{64})"', rb"(0|[1-9][0-9]{0,15})"
_SIGNED = re.compile(
    rb'\{"receipt":\{"counter":%b,"previous":%b,"session":%b,"statement":%b,"time":%b,"version":1\},'
    rb'"signature":"((?:[0-9a-f]{128})(?:[0-9a-f]{2})?)"\}' % (_INTEGER, _HEX, _HEX, _HEX, _INTEGER)
)


def receipts_bytes(receipts: tuple[SignedReceipt, ...]) -> bytes:
    """Canonical JSON of a segment, as the evidence carries it."""
    return b"[" + b",".join(receipt.to_bytes() for receipt in receipts) + b"]"


def read_receipts(data: bytes) -> tuple[SignedReceipt, ...]:
    """A segment, 1 to `MAX_RECEIPTS` receipts; no signature is checked here.

    Raises:
        VerificationError: tee.2, not exactly what `receipts_bytes` writes.
    """
    found: list[SignedReceipt] = []
    at, end = 1, len(data) - 1
    if end <= MAX_RECEIPTS_BYTES and data[:1] == b"[" and data[end:] == b"]":
        while len(found) < MAX_RECEIPTS and (match := _SIGNED.match(data, at, end)):
            counter, previous, session, statement, time, signature = match.groups()
            receipt = Receipt(
                session.decode(), statement.decode(), int(counter), previous.decode(), int(time)
            )
            if receipt.counter > MAX_COUNTER or receipt.time > LATEST_TIME:
                break
            found.append(SignedReceipt(receipt, bytes.fromhex(signature.decode())))
            at = match.end()
            if at == end:
                return tuple(found)
            if data[at : at + 1] != b",":
                break
            at += 1
    return refuse(EVIDENCE, f"receipts: {_complaint(data, at)}")


def _complaint(data: bytes, at: int) -> str:
    """What is wrong with a segment: said by the general reader, where its memory is small."""
    if len(data) > MAX_EXPLAINED_BYTES:
        return f"expected a canonical list of at most {MAX_RECEIPTS} receipts; offset {at} differs"
    try:
        value = loads(data)
        if not isinstance(value, list) or not value:
            return "expected a list of at least one receipt"
        for index, item in enumerate(value):
            SignedReceipt.read(item, f"receipts[{index}]")
    except (CanonicalError, FieldError) as error:
        return str(error)
    return "not in canonical form"


# -- signatures -----------------------------------------------------------------------------------

# Encodings of y of the points whose order divides 8. With such a key one signature fits every
# message, and nobody has to know a secret for it.
_P = 2**255 - 19
_Y8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})


@dataclass(frozen=True)
class ReceiptKey:
    """A session's key, ready to check signatures; make one with `of` and use it for many."""

    session: str
    signature_bytes: int
    _valid: Callable[[Record, bytes, bytes], bool]

    @classmethod
    def of(cls, session: Session) -> ReceiptKey:
        """Raises `VerificationError` tee.13: the record's key is no key of its algorithm."""
        key, algorithm = session.receipt_key, session.receipt_algorithm
        valid = _ed25519(key) if algorithm is ReceiptAlgorithm.ED25519 else _secp256k1(key)
        if valid is None:
            refuse(
                RECEIPT,
                "session record: receipt key",
                expected=f"a public key of {algorithm}",
                got=key.hex(),
            )
        return cls(session.digest, SIGNATURE_BYTES[algorithm], valid)

    def check(self, signed: Signed) -> bytes:
        """The record is of this session and signed by its key; returns the record's `message`.

        Raises:
            VerificationError: tee.13.
        """
        record = signed.record
        if record.session != self.session:
            refuse(RECEIPT, f"{_name(record)}: session", expected=self.session, got=record.session)
        message = record.message
        if len(signed.signature) != self.signature_bytes or not self._valid(
            record, message, signed.signature
        ):
            refuse(
                RECEIPT,
                f"{_name(record)}: the signature does not verify",
                expected="one by the session's key over this record",
                got=signed.signature.hex()[:32] + "...",
            )
        return message


def _name(record: Record) -> str:
    return f"{'receipt' if isinstance(record, Receipt) else 'checkpoint at'} {record.counter}"


def _ed25519(key: bytes) -> Callable[[Record, bytes, bytes], bool] | None:
    """Checked by OpenSSL: RFC 8032, section 5.1.7, without cofactor; S below the order."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    y = int.from_bytes(key, "little") & (2**255 - 1)
    if y >= _P or y in _SMALL_ORDER:
        return None
    verify = Ed25519PublicKey.from_public_bytes(key).verify

    def valid(_: Record, message: bytes, signature: bytes) -> bool:
        try:
            verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return valid


def _secp256k1(key: bytes) -> Callable[[Record, bytes, bytes], bool] | None:
    if not ethereum.is_key(key):
        return None

    def valid(record: Record, _: bytes, signature: bytes) -> bool:
        return ethereum.recover(record.text, signature) == key

    return valid


def check_checkpoint(data: bytes, key: ReceiptKey, nonce: bytes | None) -> SignedCheckpoint:
    """A checkpoint of this session; with `nonce` also one that was asked for by it.

    Raises:
        UsageError: an empty nonce, or one over 64 bytes.
        VerificationError: tee.2, malformed; tee.13, not signed by the session's key; tee.15,
            another nonce: an old checkpoint.
    """
    if nonce is not None and not 1 <= len(nonce) <= MAX_NONCE_BYTES:
        raise UsageError(f"nonce: expected 1 to {MAX_NONCE_BYTES} bytes, got {len(nonce)}")
    try:
        signed = SignedCheckpoint.read(loads(data, max_bytes=MAX_CHECKPOINT_BYTES), "")
    except (CanonicalError, FieldError) as error:
        refuse(EVIDENCE, f"checkpoint: {error}")
    key.check(signed)
    if nonce is not None and signed.record.nonce != nonce:
        refuse(FRESHNESS, "checkpoint: nonce", expected=nonce.hex(), got=signed.record.nonce.hex())
    return signed
