"""Accounts of an embedded ledger: Ed25519 keys that sign what their owner does there.

An account is named like any key of this package, `ed25519:` and 64 hexadecimal digits, and a key
made by `proofml keys generate` can be one. Signatures are over the pre-authentication encoding
(DSSE v1) under a type of their own, so that none of them can pass for a signature of a proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from proofml.errors import UsageError
from proofml.keys import KEY_ID, key_id, pae

PAYLOAD_TYPE = "application/vnd.proofml.ledger-event"
KEY_BYTES = 32
SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Account:
    """A private key; `name` is the account."""

    _key: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> Account:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def of_seed(cls, seed: bytes) -> Account:
        """The key of these 32 secret bytes."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def load(cls, path: Path, *, passphrase: str | None = None) -> Account:
        """The key in a file.

        Raises:
            UsageError: for anything but an Ed25519 PKCS#8 PEM that opens.
        """
        secret = None if passphrase is None else passphrase.encode()
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), secret)
        except OSError as error:
            raise UsageError(f"{path}: cannot read the key: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UsageError(
                f"{path}: expected an Ed25519 private key in PEM form: {error}; make one with "
                "`proofml keys generate`"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise UsageError(f"{path}: expected an Ed25519 key, got {type(key).__name__}")
        return cls(key)

    @property
    def name(self) -> str:
        return key_id(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        """64 bytes over a message of a ledger."""
        return self._key.sign(pae(PAYLOAD_TYPE, message))


def name_of(public: bytes) -> str:
    """The account of a public key of 32 bytes."""
    return f"ed25519:{public.hex()}"


def public_of(name: str) -> bytes:
    """The 32 bytes of an account's public key.

    Raises:
        UsageError: no account's name.
    """
    if not KEY_ID.fullmatch(name):
        raise UsageError(f"account: expected ed25519: and 64 hexadecimal digits, got {name!r}")
    return bytes.fromhex(name.split(":", 1)[1])


def signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the owner of this key signed the message."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, pae(PAYLOAD_TYPE, message))
    except (InvalidSignature, ValueError):
        return False
    return True
