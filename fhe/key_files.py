"""The owner's key file on disk: mode 0600, never over another file, perhaps under a passphrase.

Protection is that of secrets (`proofml.sealed`): AES-256-GCM, key by scrypt.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from proofml.errors import UsageError
from proofml.fhe import files
from proofml.fhe.backend_owner import read_key
from proofml.fhe.files import Key
from proofml.sealed import PROTECTED_TYPE, protect, unprotect

#: A tag, a header, and whatever the container adds.
_PROTECTION: Final = 1 << 16


def save_key(key: Key, path: Path, *, passphrase: str | None = None) -> None:
    """A new file; raises `UsageError` where it exists or cannot be written."""
    data = key.to_bytes()
    if len(data) > files.MAX_KEY_BYTES:
        raise UsageError(f"{path}: a key file has at most {files.MAX_KEY_BYTES} bytes")
    if passphrase is not None:
        data = protect(data, passphrase)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise UsageError(f"{path}: exists; a key is never written over, choose another") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)  # ours, and not whole
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def load_key(path: Path, *, passphrase: str | None = None) -> Key:
    """From a file that its owner alone can read; the passphrase exactly where it has one.

    Raises:
        UsageError: unreadable, malformed, open to others, or not opened by this passphrase.
    """
    most = files.MAX_KEY_BYTES + _PROTECTION
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
            raise UsageError(f"{path}: expected a key file")
        if found.st_mode & 0o077:
            raise UsageError(
                f"{path}: expected mode 0600, got {stat.S_IMODE(found.st_mode):04o}: others can "
                "read the key; make new ones, or chmod 600 if nobody has"
            )
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise UsageError(f"{path}: the key cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise UsageError(f"{path}: expected a key file of at most {most} bytes, got more")
    if files.kind(data) == PROTECTED_TYPE:
        if passphrase is None:
            raise UsageError(f"{path}: is under a passphrase; give it (--passphrase-file)")
        data = unprotect(data, passphrase, str(path))
    elif passphrase is not None:
        raise UsageError(f"{path}: expected a key under a passphrase, this one has none")
    return read_key(data, what=str(path))
