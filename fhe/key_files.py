"""The owner's key file on disk: mode 0600, never over another file, perhaps under a passphrase.

Protection is that of secrets (`proofml.sealed`): AES-256-GCM, key by scrypt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from proofml.errors import UsageError
from proofml.fhe import files
from proofml.fhe.backend_owner import read_key
from proofml.fhe.files import Key
from proofml.private_files import read_bounded, require_private, write_new
from proofml.sealed import protect, unlock

#: A tag, a header, and whatever the container adds.
_PROTECTION: Final = 1 << 16


def save_key(key: Key, path: Path, *, passphrase: str | None = None) -> None:
    """A new file; raises `UsageError` where it exists or cannot be written."""
    data = key.to_bytes()
    if len(data) > files.MAX_KEY_BYTES:
        raise UsageError(f"{path}: a key file has at most {files.MAX_KEY_BYTES} bytes")
    if passphrase is not None:
        data = protect(data, passphrase)
    write_new(path, data, 0o600, "a key is never written over, choose another")


def load_key(path: Path, *, passphrase: str | None = None) -> Key:
    """From a file that its owner alone can read; the passphrase exactly where it has one.

    Raises:
        UsageError: unreadable, malformed, open to others, or not opened by this passphrase.
    """
    most = files.MAX_KEY_BYTES + _PROTECTION
    data = read_bounded(path, most, "key")
    found = read_key(unlock(data, passphrase, str(path), "key"), what=str(path))
    require_private(path, "key", "make new ones")
    return found
