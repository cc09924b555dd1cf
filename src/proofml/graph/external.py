"""External data: plain files beside the model, read without following anybody out of its folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from proofml.errors import UnsupportedModel
from proofml.graph.names import shown

#: The limit of a protobuf message, and so of a canonical model.
MAX_MODEL_BYTES = (1 << 31) - 1
#: O_NONBLOCK: opening a pipe without a writer must not wait for one.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def open_plain(path: Path) -> int:
    """A file descriptor of a plain file; pipes, devices and folders raise `OSError`."""
    descriptor = os.open(path, _OPEN_FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is not a plain file")
    return descriptor


@dataclass
class Storage:
    """Where tensors may take data from, and how much all of them have taken together.

    The sum is bounded before anything is read: a thousand tensors may point at one large file.

    Attributes:
        folder: None where there is none.
        used: bytes of all tensors so far.
        foreign: whether any of them came from another file, so that the model's own does not say
            it all.
    """

    folder: Path | None
    used: int = 0
    foreign: bool = False

    def charge(self, size: int, where: str) -> None:
        self.used += size
        if self.used > MAX_MODEL_BYTES:
            raise UnsupportedModel(
                f"{where}: up to it, the tensors hold {self.used} bytes; at most "
                f"{MAX_MODEL_BYTES} together"
            )

    def external(self, entries: Mapping[str, str], size: int, where: str) -> bytes:
        """`size` bytes of external data.

        Raises:
            UnsupportedModel: no folder is known, or the entry is anything but `size` bytes of a
                plain file inside it.
        """
        self.foreign = True
        location = entries.get("location", "")
        if self.folder is None:
            raise UnsupportedModel(
                f"{where}: its data is in the file {shown(location)}; load the model from its path"
            )
        offset = _number(entries, "offset", 0, where)
        length = _number(entries, "length", size, where)
        if length != size:
            raise UnsupportedModel(
                f"{where}: external data {shown(location)}: expected {size} bytes, "
                f"the entry says {length}"
            )
        if "\\" in location:
            raise UnsupportedModel(
                f"{where}: external data {shown(location)}: expected a path with /, got \\"
            )
        try:
            root = self.folder.resolve(strict=True)
            path = (root / location).resolve(strict=True)
            if not location or Path(location).is_absolute() or not path.is_relative_to(root):
                raise UnsupportedModel(
                    f"{where}: external data {shown(location)} is not inside the model's folder; "
                    "a model may read only from beside itself"
                )
            descriptor = open_plain(path)
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
            reason = getattr(error, "strerror", None) or error
            raise UnsupportedModel(
                f"{where}: external data {shown(location)} cannot be read: {reason}; expected a "
                "file inside the model's folder"
            ) from error
        with os.fdopen(descriptor, "rb") as file:
            there = os.fstat(descriptor).st_size
            if offset + size > there:
                raise UnsupportedModel(
                    f"{where}: external data {shown(location)}: expected {size} bytes at "
                    f"{offset}, the file has {there}"
                )
            file.seek(offset)
            return file.read(size)


def _number(entries: Mapping[str, str], key: str, default: int, where: str) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise UnsupportedModel(f"{where}: external data: {key}: expected digits, got {shown(text)}")
    return int(text)
