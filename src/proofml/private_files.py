"""Files of secrets and of sealed inputs: written new, read within a bound, private."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from proofml.errors import UsageError


def write_new(path: Path, data: bytes, mode: int, hint: str = "give another name") -> None:
    """A new file, on the disk when this returns; nothing of it is left where that fails.

    Raises:
        UsageError: it exists (`hint` says what to do), or cannot be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise UsageError(f"{path}: exists; {hint}") from error
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


def read_bounded(path: Path, most: int, what: str) -> bytes:
    """A whole file of at most `most` bytes; raises `UsageError`, `what` in its words."""
    try:
        # Opening a pipe would wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path}: expected a file, {what}")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise UsageError(f"{path}: {what} cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise UsageError(f"{path}: expected {what} of at most {most} bytes, got more")
    return data


def require_private(path: Path, what: str, hint: str) -> None:
    """Raises `UsageError` where others than its owner can read the file."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UsageError(f"{path}: {what} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise UsageError(
            f"{path}: expected mode 0600, got {stat.S_IMODE(mode):04o}: others can read the "
            f"{what}; {hint}, or chmod 600 if nobody has"
        )
