"""DER by hand: elements that are taken apart, changed and put together again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Element:
    """A tag of one byte and what is inside."""

    tag: int
    content: bytes

    def around(self, content: bytes) -> bytes:
        """The same tag around something else."""
        size = len(content)
        if size < 128:
            return bytes((self.tag, size)) + content
        octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
        return bytes((self.tag, 128 + len(octets))) + octets + content


def elements(data: bytes) -> list[bytes]:
    """One after the other, each with its head."""
    found, at = [], 0
    while at < len(data):
        size, head = data[at + 1], 2
        if size >= 128:
            head += size - 128
            size = int.from_bytes(data[at + 2 : at + head], "big")
        found.append(data[at : at + head + size])
        at += head + size
    return found


def element(data: bytes) -> Element:
    """The only one in `data`."""
    head = 2 + (data[1] - 128 if data[1] >= 128 else 0)
    assert elements(data) == [data]
    return Element(data[0], data[head:])
