"""Files that commands read and write as a whole."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from proofml.errors import UsageError


def read_file(source: str | Path, most: int, what: str = "") -> bytes:
    """At most `most` bytes; `-`, as text, stands for standard input.

    Args:
        what: the option that names the file, for messages.

    Raises:
        UsageError: there is no such file, or it cannot be read, or is larger.
    """
    where = f"{what} {source}".strip()
    if source != "-" and not Path(source).is_file():  # opening a pipe would wait for ever
        raise UsageError(f"{where}: no such file")
    try:
        if source == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(most + 1)
    except OSError as error:
        raise UsageError(f"{where}: cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise UsageError(f"{where}: expected at most {most} bytes, got more")
    return data


def write_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Put a file there, or in the place of the one that is there: whole or not at all.

    Args:
        mode: from its first moment on; the umask narrows it.

    Raises:
        UsageError: it cannot be written.
    """
    # A name that nobody can have taken before: a link there would lead to another file.
    part = path.with_name(f".{secrets.token_hex(8)}.{path.name[:200]}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
