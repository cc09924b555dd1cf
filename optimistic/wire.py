"""Bytes of terms, moves and actions: written from integers, read strictly and with bounds.

All integers are big-endian. What a reader accepts has one byte string, so that a digest over the
bytes is a digest over the meaning.
"""

from __future__ import annotations

from collections.abc import Sequence

HASH = 32


class WireError(ValueError):
    """The bytes are no encoding of what was asked for, or a value has none."""


def unsigned(value: int, size: int, what: str) -> bytes:
    """`size` bytes.

    Raises:
        WireError: negative, or too large for them.
    """
    if isinstance(value, bool) or not 0 <= value < 1 << 8 * size:
        raise WireError(f"{what}: expected 0 to 2^{8 * size} - 1, got {value}")
    return value.to_bytes(size, "big")


def signed64(value: int, what: str) -> bytes:
    if not -(1 << 63) <= value < 1 << 63:
        raise WireError(f"{what}: expected an int64, got {value}")
    return value.to_bytes(8, "big", signed=True)


def hashes(values: Sequence[bytes], what: str) -> bytes:
    """Digests end to end, without their number."""
    for value in values:
        if len(value) != HASH:
            raise WireError(f"{what}: expected {HASH} bytes each, got {len(value)}")
    return b"".join(values)


def sized(value: bytes, size: int, what: str) -> bytes:
    """The length in `size` bytes, then the bytes."""
    return unsigned(len(value), size, f"length of {what}") + value


class Reader:
    """Takes fields one after the other; `done` when all are taken.

    Args:
        data: what is read.
        what: its name, for messages.
        most: more bytes than these are refused before anything is read.

    Raises:
        WireError: from every method, where the bytes end too early or say something else.
    """

    def __init__(self, data: bytes, what: str, most: int) -> None:
        if len(data) > most:
            raise WireError(f"{what}: expected at most {most} bytes, got {len(data)}")
        self._data = data
        self._what = what
        self._at = 0

    def take(self, size: int, field: str) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise WireError(
                f"{self._what}: {field} at byte {self._at}: expected {size} bytes, "
                f"got {len(self._data) - self._at}"
            )
        found = self._data[self._at : end]
        self._at = end
        return found

    def unsigned(self, size: int, field: str) -> int:
        return int.from_bytes(self.take(size, field), "big")

    def signed64(self, field: str) -> int:
        return int.from_bytes(self.take(8, field), "big", signed=True)

    def hash(self, field: str) -> bytes:
        return self.take(HASH, field)

    def hashes(self, count: int, field: str) -> tuple[bytes, ...]:
        data = self.take(count * HASH, field)
        return tuple(data[i * HASH : (i + 1) * HASH] for i in range(count))

    def sized(self, size: int, field: str, most: int | None = None) -> bytes:
        length = self.unsigned(size, f"length of {field}")
        if most is not None and length > most:
            raise WireError(f"{self._what}: {field}: expected at most {most} bytes, got {length}")
        return self.take(length, field)

    def flag(self, field: str) -> bool:
        value = self.unsigned(1, field)
        if value > 1:
            raise WireError(f"{self._what}: {field}: expected 0 or 1, got {value}")
        return value == 1

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at, "the rest")

    def done(self) -> None:
        if self._at != len(self._data):
            raise WireError(
                f"{self._what}: expected its end at byte {self._at}, "
                f"got {len(self._data) - self._at} bytes more"
            )
