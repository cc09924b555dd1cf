"""Sealed inputs for a prover who must not see them, and the Secret that their owner keeps.

Both are containers (`proofml.container`) of two sections. The first is canonical JSON

    sealed   {"type": "proofml/sealed", "version": 1, "backend": name, "model": canonical SHA-256}
    secret   {"type": "proofml/secret", "version": 1, "backend": name, "model": canonical SHA-256,
              "sealed": SHA-256 of the sealed file}

and `body` is the backend's own: the message that the prover gets, or what opens the outputs.

Under a passphrase a secret is the `body` of another container: the plain file under AES-256-GCM,
key by scrypt (RFC 7914), the first section as associated data. The parameters of scrypt belong to
the version, so that no file can ask for more memory than `protect` took.

A file is what its writer writes, to the byte. Nothing in one is executed, and nothing in a sealed
file is believed: who can open it, and to which inputs a proof belongs, the backend's evidence says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from proofml import container
from proofml.canonical import JSON, CanonicalError, dumps, loads, sha256
from proofml.errors import UsageError, VerificationError
from proofml.fields import FieldError, Fields
from proofml.keys import MAX_PASSPHRASE_BYTES
from proofml.private_files import read_bounded, require_private, write_new

SEALED_TYPE: Final = "proofml/sealed"
SECRET_TYPE: Final = "proofml/secret"
PROTECTED_TYPE: Final = "proofml/protected-secret"

MAX_SEALED_BYTES: Final = container.MAX_FILE_BYTES
MAX_SECRET_BYTES: Final = 256 << 20
_MAX_HEAD_BYTES: Final = 4096

#: scrypt of version 1: 128 MiB of memory, some tenths of a second.
_N, _R, _P = 1 << 17, 8, 1
_SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 12, 16
_BODY: Final = "body"


@dataclass(frozen=True)
class Sealed:
    """Inputs as the prover gets them.

    Attributes:
        backend: who sealed them, and alone can prove with them.
        model: canonical SHA-256 of the model that they are for.
        message: the backend's own.
    """

    backend: str
    model: str
    message: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """The file; raises `UsageError` for what could not be read back."""
        return _pack(_head(SEALED_TYPE, self), self.message, MAX_SEALED_BYTES, "sealed inputs")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, 64 hexadecimal digits."""
        return sha256(self.to_bytes())

    @classmethod
    def read(cls, data: bytes, what: str = "sealed inputs") -> Sealed:
        """Strictly; raises `UsageError` for anything that `to_bytes` does not write."""
        fields, body = _unpack(data, SEALED_TYPE, MAX_SEALED_BYTES, what)
        try:
            found = cls(*_read_head(fields), body)
            fields.done()
        except FieldError as error:
            raise _broken(what, error) from error
        return found

    def save(self, path: Path, *, force: bool = False) -> None:
        """Write a file as a whole; refuses to overwrite without `force`; raises `UsageError`."""
        if not force:
            write_new(path, self.to_bytes(), 0o666)
            return
        part = path.with_name(f".{os.getpid()}.{path.name[:200]}.part")
        write_new(part, self.to_bytes(), 0o666)
        try:
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path) -> Sealed:
        """From a file; raises `UsageError`."""
        return cls.read(read_bounded(path, MAX_SEALED_BYTES, "sealed inputs"), str(path))


@dataclass(frozen=True)
class Secret:
    """What opens the outputs; whoever holds it may read them, and with some backends the inputs.

    Attributes:
        backend, model: as of the sealed inputs.
        sealed: SHA-256 of their file.
        data: the backend's own, keys among it.
    """

    backend: str
    model: str
    sealed: str
    data: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """The file in the clear; raises `UsageError` for what could not be read back."""
        head = {**_head(SECRET_TYPE, self), "sealed": self.sealed}
        return _pack(head, self.data, MAX_SECRET_BYTES, "secret")

    @classmethod
    def read(cls, data: bytes, what: str = "secret") -> Secret:
        """Strictly; raises `UsageError` for anything that `to_bytes` does not write."""
        fields, body = _unpack(data, SECRET_TYPE, MAX_SECRET_BYTES, what)
        try:
            found = cls(*_read_head(fields), fields.sha256("sealed"), body)
            fields.done()
        except FieldError as error:
            raise _broken(what, error) from error
        return found

    def save(self, path: Path, *, passphrase: str | None = None) -> None:
        """Write a new file of mode 0600; never over an existing one.

        Raises:
            UsageError: it exists or cannot be written; a passphrase of no or too many bytes.
        """
        data = self.to_bytes()
        write_new(path, data if passphrase is None else protect(data, passphrase), 0o600)

    @classmethod
    def load(cls, path: Path, *, passphrase: str | None = None) -> Secret:
        """From a file; the passphrase is given exactly where it has one.

        Raises:
            UsageError: unreadable, malformed, open to others, or not opened by this passphrase.
        """
        data = read_bounded(path, MAX_SECRET_BYTES, "secret")
        found = cls.read(unlock(data, passphrase, str(path), "secret"), str(path))
        require_private(path, "secret", "seal again")
        return found


# -- passphrases ----------------------------------------------------------------------------------


def unlock(data: bytes, passphrase: str | None, where: str, what: str) -> bytes:
    """What a file holds whose passphrase is given exactly where it has one; raises `UsageError`."""
    if _is_protected(data):
        if passphrase is None:
            raise UsageError(f"{where}: is under a passphrase; give it (--passphrase-file)")
        return unprotect(data, passphrase, where)
    if passphrase is not None:
        raise UsageError(f"{where}: expected a {what} under a passphrase, this one has none")
    return data


def protect(data: bytes, passphrase: str) -> bytes:
    """A secret's file under a passphrase of 1 to 1023 bytes; raises `UsageError`."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    head = dumps(
        {
            "type": PROTECTED_TYPE,
            "version": 1,
            "kdf": {"name": "scrypt", "salt": salt.hex(), "n": _N, "r": _R, "p": _P},
            "cipher": {"name": "aes-256-gcm", "nonce": nonce.hex()},
        }
    )
    body = AESGCM(_key(passphrase, salt)).encrypt(nonce, data, head)
    return container.pack(head, {_BODY: body})


def unprotect(data: bytes, passphrase: str, what: str = "secret") -> bytes:
    """The plain file; raises `UsageError` where the passphrase does not open it."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    fields, body = _unpack(data, PROTECTED_TYPE, MAX_SECRET_BYTES, what)
    try:
        kdf, cipher = fields.table("kdf"), fields.table("cipher")
        kdf.string("name", choices=("scrypt",))
        for name, value in (("n", _N), ("r", _R), ("p", _P)):
            kdf.integer(name, value, value)
        salt = _exactly(kdf, "salt", _SALT_BYTES)
        cipher.string("name", choices=("aes-256-gcm",))
        nonce = _exactly(cipher, "nonce", _NONCE_BYTES)
        for table in (kdf, cipher, fields):
            table.done()
    except FieldError as error:
        raise _broken(what, error) from error
    head, _ = container.unpack(data)
    try:
        return AESGCM(_key(passphrase, salt)).decrypt(nonce, body, head)
    except InvalidTag as error:
        raise UsageError(
            f"{what}: does not open; another passphrase was expected, or the file is damaged"
        ) from error


def _exactly(fields: Fields, key: str, size: int) -> bytes:
    value = fields.hexadecimal(key, longest=size)
    if len(value) != size:
        raise FieldError(fields.at(key), f"{size} bytes", f"{len(value)} bytes")
    return value


def _key(passphrase: str, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    secret = passphrase.encode("utf-8", "surrogatepass")
    if not 1 <= len(secret) <= MAX_PASSPHRASE_BYTES:
        raise UsageError(
            f"passphrase: expected 1 to {MAX_PASSPHRASE_BYTES} bytes, got {len(secret)}"
        )
    return Scrypt(salt=salt, length=32, n=_N, r=_R, p=_P).derive(secret)


def _is_protected(data: bytes) -> bool:
    """Whether it says so; what it is, `unprotect` finds out."""
    try:
        head, _ = container.unpack(data)
        value: Any = loads(head, max_bytes=_MAX_HEAD_BYTES)
    except (VerificationError, CanonicalError):
        return False
    return isinstance(value, dict) and value.get("type") == PROTECTED_TYPE


# -- containers -----------------------------------------------------------------------------------


def _head(kind: str, of: Sealed | Secret) -> dict[str, JSON]:
    return {"type": kind, "version": 1, "backend": of.backend, "model": of.model}


def _read_head(fields: Fields) -> tuple[str, str]:
    """Backend and model; raises `FieldError`."""
    return fields.string("backend", longest=64), fields.sha256("model")


def _pack(head: Mapping[str, JSON], body: bytes, most: int, what: str) -> bytes:
    try:
        data = container.pack(dumps(head), {_BODY: body})
    except ValueError as error:
        raise UsageError(f"{what}: cannot be written down: {error}") from error
    if len(data) > most:
        raise UsageError(f"{what}: {len(data)} bytes, at most {most} can be written")
    return data


def _unpack(data: bytes, kind: str, most: int, what: str) -> tuple[Fields, bytes]:
    """The first section, `type` and `version` taken, and the body."""
    if len(data) > most:
        raise UsageError(f"{what}: expected at most {most} bytes, got more")
    try:
        head, sections = container.unpack(data)
        fields = Fields(loads(head, max_bytes=_MAX_HEAD_BYTES), "")
        fields.string("type", choices=(kind,))
        fields.integer("version", 1, 1)
    except VerificationError as error:
        raise _broken(what, error.reason) from error
    except (CanonicalError, FieldError) as error:
        raise _broken(what, error) from error
    if set(sections) != {_BODY}:
        raise _broken(what, f"one section {_BODY}, got {', '.join(sections) or 'none'}")
    return fields, sections[_BODY]


def _broken(what: str, error: object) -> UsageError:
    return UsageError(f"{what}: expected a file of `proofml seal`: {error}")
