"""Bounded reading of binary evidence: every byte belongs to a named field at a known offset.

The same fields are what `proofml tee inspect` prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from proofml.tee.checks import QUOTE, refuse

#: Longer evidence than this is refused before it is read: the longest known quote has 64 KiB.
MAX_QUOTE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Field:
    """One field as it stands in the evidence.

    Attributes:
        name: dotted, `header.version`.
        offset: in bytes from the start of the evidence.
        data: its bytes.
        note: what they mean, for people.
    """

    name: str
    offset: int
    data: bytes
    note: str = ""


class Reader:
    """Takes fields from the front of `data`; a field that is not there fails tee.3.

    Args:
        data: the evidence, or a part of it.
        what: what it is called in messages.
        offset: of `data` in the whole evidence.
        fields: where fields are listed; shared with readers of nested parts.
    """

    def __init__(
        self, data: bytes, what: str, *, offset: int = 0, fields: list[Field] | None = None
    ) -> None:
        if len(data) > MAX_QUOTE_BYTES:
            refuse(QUOTE, what, expected=f"at most {MAX_QUOTE_BYTES} bytes", got=len(data))
        self._data = data
        self._what = what
        self._base = offset
        self._at = 0
        self.fields: list[Field] = [] if fields is None else fields

    @property
    def offset(self) -> int:
        """Of the next byte, in the whole evidence."""
        return self._base + self._at

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, name: str, size: int, note: str = "") -> bytes:
        """The next `size` bytes."""
        if size > self.left:
            refuse(
                QUOTE,
                f"{self._what}: {name} at offset {self.offset}",
                expected=f"{size} bytes",
                got=f"{self.left}",
            )
        found = self._data[self._at : self._at + size]
        self.fields.append(Field(name, self.offset, found, note))
        self._at += size
        return found

    def integer(self, name: str, size: int, note: str = "") -> int:
        """An unsigned little-endian integer."""
        return int.from_bytes(self.take(name, size, note), "little")

    def zeros(self, name: str, size: int) -> None:
        """A reserved field, which has to be zero."""
        offset = self.offset
        if any(self.take(name, size, "reserved")):
            refuse(QUOTE, f"{self._what}: {name} at offset {offset}", expected="zeros", got="data")

    def nested(self, name: str, size: int) -> Reader:
        """A reader of the next `size` bytes, which lists its fields here."""
        if size > self.left:
            self.take(name, size)
        start = self._at
        self._at += size
        return Reader(
            self._data[start : self._at],
            self._what,
            offset=self._base + start,
            fields=self.fields,
        )

    def end(self) -> None:
        """Refuses bytes that are left over."""
        if self.left:
            refuse(
                QUOTE,
                f"{self._what}: bytes after offset {self.offset}",
                expected="none",
                got=self.left,
            )

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)
