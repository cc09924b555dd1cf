"""The enclave's side of receipts: the private key, and the one chain that it signs.

Not imported by verifiers. The chain lives in memory only: an enclave that starts again has a new
key, a new session and a new quote, so that an old state can never be played back to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from proofml.errors import BackendFailed, UsageError
from proofml.fields import HEX_SHA256
from proofml.statement import MAX_NONCE_BYTES
from proofml.tee import ethereum
from proofml.tee.binding import LATEST_TIME, ReceiptAlgorithm, Session
from proofml.tee.receipts import (
    MAX_COUNTER,
    NO_RECEIPT,
    Checkpoint,
    Receipt,
    Record,
    SignedCheckpoint,
    SignedReceipt,
)


@dataclass(frozen=True)
class ReceiptSecret:
    """A private key that never leaves the process; `public` goes into the session record."""

    algorithm: ReceiptAlgorithm
    public: bytes
    _sign: Callable[[Record], bytes]

    @classmethod
    def generate(cls, algorithm: ReceiptAlgorithm) -> ReceiptSecret:
        """Raises `BackendUnavailable` where secp256k1 needs a package that is not installed."""
        if algorithm is ReceiptAlgorithm.SECP256K1:
            key, public = ethereum.generate()
            return cls(algorithm, public, lambda record: ethereum.sign(key, record.text))
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        secret = Ed25519PrivateKey.generate()
        raw = secret.public_key().public_bytes_raw()
        return cls(algorithm, raw, lambda record: secret.sign(record.message))

    def sign_receipt(self, record: Receipt) -> SignedReceipt:
        return SignedReceipt(record, self._sign(record))

    def sign_checkpoint(self, record: Checkpoint) -> SignedCheckpoint:
        return SignedCheckpoint(record, self._sign(record))


class ReceiptSigner:
    """Issues the receipts of one session, one after the other; safe for several threads.

    Raises:
        UsageError: the session names another key.
    """

    def __init__(self, secret: ReceiptSecret, session: Session) -> None:
        if (session.receipt_algorithm, session.receipt_key) != (secret.algorithm, secret.public):
            raise UsageError("receipts: the session's record names another key than this one")
        self._secret = secret
        self._session = session.digest
        self._lock = threading.Lock()
        self._counter, self._head, self._time = 0, NO_RECEIPT, session.started

    def receipt(self, statement_digest: str, now: int) -> SignedReceipt:
        """The next receipt, over one Statement.

        A clock that was set back does not turn the receipts' times back: each is at least the one
        before it.

        Raises:
            UsageError: not a digest of 64 lower-case hexadecimal digits, or a time out of bounds.
            BackendFailed: the session has no counter left.
        """
        if not HEX_SHA256.fullmatch(statement_digest):
            raise UsageError(f"receipt: expected a Statement's digest, got {statement_digest!r}")
        if not 0 <= now <= LATEST_TIME:
            raise UsageError(f"receipt: expected seconds since 1970, got {now}")
        with self._lock:
            if self._counter > MAX_COUNTER:
                raise BackendFailed("receipts: this session has no counter left; start another")
            time = max(now, self._time)
            record = Receipt(self._session, statement_digest, self._counter, self._head, time)
            signed = self._secret.sign_receipt(record)
            self._counter, self._head, self._time = self._counter + 1, record.digest, time
        return signed

    def checkpoint(self, nonce: bytes) -> SignedCheckpoint:
        """How many receipts there are, and the last one's digest, over the asker's nonce.

        Raises:
            UsageError: a nonce of no byte, or of more than 64.
        """
        if not 1 <= len(nonce) <= MAX_NONCE_BYTES:
            raise UsageError(f"nonce: expected 1 to {MAX_NONCE_BYTES} bytes, got {len(nonce)}")
        with self._lock:
            record = Checkpoint(self._session, self._counter, self._head, nonce)
            return self._secret.sign_checkpoint(record)
