"""Ed25519 keys of provers, and DSSE envelopes (https://github.com/secure-systems-lab/dsse v1).

A public key is written `ed25519:` and 64 hexadecimal digits; that text is the `keyid` of its
signatures, the name by which a policy pins it, and all that a verifier needs.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proofml.canonical import dumps
from proofml.errors import UsageError, VerificationError
from proofml.fields import FieldError, Fields

# `cryptography` is imported where a key is used: reading an unsigned proof needs none of it.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from cryptography.hazmat.primitives.serialization import KeySerializationEncryption

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_SIGNATURES = 8
MAX_PASSPHRASE_BYTES = 1023  # of OpenSSL
KEY_ID = re.compile(r"ed25519:[0-9a-f]{64}")


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: `DSSEv1 SP len SP type SP len SP payload`."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id(public: Ed25519PublicKey) -> str:
    from cryptography.hazmat.primitives import serialization

    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return "ed25519:" + raw.hex()


def read_passphrase(path: Path | None) -> str | None:
    """First line of a file; None without a file.

    Raises:
        UsageError: no line of text.
    """
    if path is None:
        return None
    try:
        first = next(iter(path.read_text("utf-8").splitlines()), "")
    except (OSError, UnicodeDecodeError) as error:
        got = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
        raise UsageError(f"--passphrase-file {path}: expected a line of text, got {got}") from error
    if not first:
        raise UsageError(f"--passphrase-file {path}: expected a line of text, got an empty one")
    return first


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A prover's private key; `public` is how verifiers name it."""

    _key: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> SigningKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @property
    def public(self) -> str:
        return key_id(self._key.public_key())

    def sign(self, payload: bytes) -> bytes:
        """64 bytes over the PAE of an in-toto payload."""
        return self._key.sign(pae(PAYLOAD_TYPE, payload))

    def save(self, path: Path, *, passphrase: str | None = None) -> None:
        """PKCS#8 PEM, mode 0600, never over an existing file."""
        from cryptography.hazmat.primitives import serialization

        protection: KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            secret = passphrase.encode("utf-8")
            if not 1 <= len(secret) <= MAX_PASSPHRASE_BYTES:
                raise UsageError(
                    f"passphrase: expected 1 to {MAX_PASSPHRASE_BYTES} bytes, got {len(secret)}"
                )
            protection = serialization.BestAvailableEncryption(secret)
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
        )
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise UsageError(
                f"{path}: exists; a key is never overwritten, choose another"
            ) from error
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(pem)
        except OSError as error:
            path.unlink(missing_ok=True)  # ours, and not a key
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path, *, passphrase: str | None = None) -> SigningKey:
        """Raises `UsageError` for anything but an Ed25519 PKCS#8 PEM that opens."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        try:
            pem = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: cannot read the key: {error.strerror}") from error
        secret = None if passphrase is None else passphrase.encode("utf-8")
        try:
            key = serialization.load_pem_private_key(pem, secret)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UsageError(
                f"{path}: expected an Ed25519 private key in PEM form: {error}; make one with "
                "`proofml keys generate`, give its passphrase with --passphrase-file"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise UsageError(f"{path}: expected an Ed25519 key, got {type(key).__name__}")
        return cls(key)


def envelope(payload: bytes, keys: Sequence[SigningKey]) -> bytes:
    """A DSSE envelope as canonical JSON, signatures ordered by key, one for each key.

    Raises:
        UsageError: more keys than an envelope may hold.
    """
    ordered = [key for _, key in sorted({key.public: key for key in keys}.items())]
    if len(ordered) > MAX_SIGNATURES:
        raise UsageError(f"{len(ordered)} signing keys, at most {MAX_SIGNATURES} can sign")
    return dumps(
        {
            "payload": base64.b64encode(payload).decode("ascii"),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {"keyid": key.public, "sig": base64.b64encode(key.sign(payload)).decode("ascii")}
                for key in ordered
            ],
        }
    )


def _base64(text: str, path: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FieldError(path, "base64", text[:20]) from error
    if base64.b64encode(data).decode("ascii") != text:
        raise FieldError(path, "canonical base64", text[-20:])
    return data


def open_envelope(fields: Fields, *, check: bool = True) -> tuple[bytes, tuple[str, ...]]:
    """Payload and the keys that signed it, every signature checked.

    With `check=False` the keys are those that are named: nobody looked at the signatures.

    Raises:
        FieldError: the envelope is malformed (the caller's check core.2).
        VerificationError: check core.3, a signature does not verify.
    """
    fields.string("payloadType", choices=(PAYLOAD_TYPE,))
    text = fields.string("payload", longest=8 << 20)
    payload = _base64(text, fields.at("payload"))
    signed = fields.items("signatures", _signature, most=MAX_SIGNATURES)
    fields.done()
    names = [name for name, _ in signed]
    if not names or sorted(set(names)) != names:
        raise FieldError(
            fields.at("signatures"), "at least one, in ascending order of keyid", names
        )
    if check:
        _check_signatures(signed, payload)
    return payload, tuple(names)


def _check_signatures(signed: Sequence[tuple[str, bytes]], payload: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    for name, signature in signed:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(name.split(":", 1)[1]))
        try:
            public.verify(signature, pae(PAYLOAD_TYPE, payload))
        except InvalidSignature as error:
            raise VerificationError(
                "core.3",
                "the signature does not verify",
                expected=f"a signature by {name} over this payload",
                got=signature.hex()[:32] + "...",
            ) from error


def _signature(value: object, path: str) -> tuple[str, bytes]:
    fields = Fields(value, path)
    name = fields.string("keyid", longest=128)
    if not KEY_ID.fullmatch(name):
        raise FieldError(fields.at("keyid"), "ed25519: and 64 hexadecimal digits", name)
    signature = _base64(fields.string("sig", longest=128), fields.at("sig"))
    fields.done()
    return name, signature
