"""Salts: what keeps a commitment from being opened by trying values, one in a file.

A salt is a secret of whoever made the commitment, and never enters a proof. Who is given it, and
the tensors, can compute the commitment again.
"""

from __future__ import annotations

import os
from pathlib import Path

from proofml.errors import UsageError

MAX_SALT_BYTES = 64


def read_salt(path: Path) -> bytes:
    """The salt in a file, as `write_salt` writes it.

    Raises:
        UsageError: unreadable, or something else.
    """
    if not path.is_file():  # opening a pipe would wait for ever
        raise UsageError(f"{path}: no such file; expected the salt of a commitment")
    try:
        with path.open("rb") as file:
            text = file.read(4 * MAX_SALT_BYTES).decode("ascii").strip()
        salt = bytes.fromhex(text)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(
            f"{path}: expected hexadecimal digits, the salt of a commitment"
        ) from error
    if not 1 <= len(salt) <= MAX_SALT_BYTES:
        raise UsageError(f"{path}: expected a salt of 1 to {MAX_SALT_BYTES} bytes, got {len(salt)}")
    return salt


def write_salt(path: Path, salt: bytes) -> None:
    """Write a new file that only its owner may read; raises `UsageError`."""
    write_private(path, f"{salt.hex()}\n".encode("ascii"))


def write_private(path: Path, data: bytes) -> None:
    """A new file that only its owner may read; raises `UsageError` where there is one."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
