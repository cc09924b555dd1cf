"""What a file of Concrete's evaluation keys says of itself, compared with a circuit's parameters.

Concrete believes the descriptions and the sizes in such a file, and computes with keys as if they
had them: others make it read beside what it holds. So the message is walked here, its keys never
copied: every description is the one of the parameters, every key as long as it follows from that.

The form is that of Cap'n Proto, from the rules for its words: segments of 8-byte words, in which
pointers lead to structs (data words, then pointers) and lists, over "far" pointers where they lie
in another segment. What stands in a struct is Concrete 2.10's own, found in files that it wrote.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proofml.fhe.scheme import Malformed

_WORD = 8
_MAX_SEGMENTS = 4096
#: Of one key: it is cut where half a gigabyte is full.
_MAX_PIECES = 4096
#: Of a compressed key: what its masks are drawn from again.
_SEED_BYTES = 16
_BINARY, _NATIVE, _SEED = 0, 0, 1
_STRUCT, _LIST, _FAR = 0, 1, 2
_BYTES, _POINTERS, _COMPOSITE = 2, 6, 7


class _Broken(ValueError):
    """A message that says something else."""


@dataclass(frozen=True)
class _Struct:
    data: bytes
    segment: int
    pointers: range


class _Message:
    """Bounds are looked at wherever something is read."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        count = 1 + self._unsigned(0, 4)
        if count > _MAX_SEGMENTS:
            raise _Broken("segments")
        sizes = [self._unsigned(4 + 4 * i, 4) for i in range(count)]
        start = -(-(4 + 4 * count) // _WORD) * _WORD
        self._segments: list[range] = []
        for size in sizes:
            self._segments.append(range(start, start + _WORD * size, _WORD))
            start += _WORD * size
        if start != len(data):
            raise _Broken("size")

    def _unsigned(self, at: int, size: int) -> int:
        part = self._view[at : at + size]
        if len(part) != size:
            raise _Broken("end")
        return int.from_bytes(part, "little")

    def _word(self, segment: int, index: int) -> int:
        if not 0 <= segment < len(self._segments) or not 0 <= index < len(self._segments[segment]):
            raise _Broken("pointer out of its segment")
        return self._unsigned(self._segments[segment][index], _WORD)

    def _target(self, segment: int, index: int) -> tuple[int, int, int]:
        """Segment, first word and pointer of what the pointer at a word leads to."""
        word = self._word(segment, index)
        if word & 3 == _FAR:
            place, pad = word >> 32, (word >> 3) & ((1 << 29) - 1)
            if word & 4:  # a pad of two words: where it lies, and what it is
                far = self._word(place, pad)
                if far & 7 != _FAR:
                    raise _Broken("far pointer")
                return far >> 32, (far >> 3) & ((1 << 29) - 1), self._word(place, pad + 1)
            segment, index = place, pad
            word = self._word(segment, index)
        offset = (word >> 2) & ((1 << 30) - 1)
        return segment, index + 1 + offset - ((offset >> 29) << 30), word

    def _within(self, segment: int, start: int, words: int) -> None:
        if not 0 <= segment < len(self._segments) or start < 0:
            raise _Broken("segment")
        if start + words > len(self._segments[segment]):
            raise _Broken("pointer out of its segment")

    def _at(self, segment: int, start: int, sizes: int) -> _Struct:
        data, pointers = sizes & 0xFFFF, sizes >> 16
        self._within(segment, start, data + pointers)
        first = self._segments[segment].start + _WORD * start
        body = bytes(self._view[first : first + _WORD * data])
        return _Struct(body, segment, range(start + data, start + data + pointers))

    def root(self) -> _Struct:
        return self._struct(0, 0)

    def _struct(self, segment: int, index: int) -> _Struct:
        segment, start, word = self._target(segment, index)
        if word & 3 != _STRUCT:
            raise _Broken("a struct")
        return self._at(segment, start, word >> 32)

    def child(self, of: _Struct, number: int) -> _Struct:
        return self._struct(of.segment, self._pointer(of, number))

    def _pointer(self, of: _Struct, number: int) -> int:
        if number >= len(of.pointers):
            raise _Broken("pointers of a struct")
        return of.pointers[number]

    def _list(self, of: _Struct, number: int, kind: int) -> tuple[int, int, int]:
        """Segment, first word and number of a list of this kind of elements."""
        segment, start, word = self._target(of.segment, self._pointer(of, number))
        if word & 3 != _LIST or (word >> 32) & 7 != kind:
            raise _Broken("a list")
        return segment, start, word >> 35

    def structs(self, of: _Struct, number: int, most: int) -> Iterator[_Struct]:
        """At most so many: elements of no words cost nothing, and there can be 2^30 of them."""
        segment, start, words = self._list(of, number, _COMPOSITE)
        tag = self._word(segment, start)
        count, each = (tag >> 2) & ((1 << 30) - 1), (tag >> 32 & 0xFFFF) + (tag >> 48)
        if tag & 3 != _STRUCT or count * each != words or count > most:
            raise _Broken("elements of a list")
        for index in range(count):
            yield self._at(segment, start + 1 + index * each, tag >> 32)

    def bytes_in(self, of: _Struct, number: int) -> int:
        """How many there are in a list of lists of bytes."""
        segment, start, count = self._list(of, number, _POINTERS)
        self._within(segment, start, count)
        if count > _MAX_PIECES:
            raise _Broken("pieces of a key")
        total = 0
        for index in range(start, start + count):
            place, first, word = self._target(segment, index)
            if word & 3 != _LIST or (word >> 32) & 7 != _BYTES:
                raise _Broken("bytes of a key")
            self._within(place, first, -(-(word >> 35) // _WORD))
            total += word >> 35
        return total


def check(data: bytes, parameters: bytes) -> None:
    """Find that these are keys of a circuit's parameters, which `program.read` has read.

    Raises:
        Malformed: others, or none.
    """
    keyset: Mapping[str, Any] = json.loads(parameters)["keyset"]
    try:
        message = _Message(data)
        root = message.root()
        if root.data or len(root.pointers) != 3:
            raise _Broken("three lists of keys")
        _keys(message, root, 0, keyset["lweBootstrapKeys"], _bootstrap)
        _keys(message, root, 1, keyset["lweKeyswitchKeys"], _switch)
        if list(message.structs(root, 2, 1)):
            raise _Broken("no packing keys")
    except (_Broken, struct.error) as error:
        raise Malformed(
            "evaluation keys", "keys as Concrete writes them for the circuit's parameters", error
        ) from error


def _keys(message: _Message, root: _Struct, number: int, wanted: list[Any], form: Any) -> None:
    found = list(message.structs(root, number, len(wanted) + 1))
    if len(found) != len(wanted):
        raise _Broken("number of keys")
    for one, key in zip(found, wanted, strict=True):
        if one.data or len(one.pointers) != 2:
            raise _Broken("a key")
        info = message.child(one, 0)
        made = struct.pack("<4I", key["id"], key["inputId"], key["outputId"], _SEED)
        described = message.child(info, 0)
        head, tail, words = form(key["params"])
        # Between them is the variance: no size follows from it.
        same = described.data[: len(head)] == head and described.data[len(head) + 8 :] == tail
        if info.data != made or len(info.pointers) != 1 or not same:
            raise _Broken("description of a key")
        modulus = message.child(described, 0)
        if len(described.pointers) != 1 or modulus.data != struct.pack("<Q", _NATIVE):
            raise _Broken("modulus of a key")
        if message.bytes_in(message.child(one, 1), 0) != _WORD * words + _SEED_BYTES:
            raise _Broken("size of a key")


def _bootstrap(params: Mapping[str, int]) -> tuple[bytes, bytes, int]:
    """Bytes before and after the variance, and words of the compressed key."""
    levels, rank, size = params["levelCount"], params["glweDimension"], params["polynomialSize"]
    source = params["inputLweDimension"]
    head = struct.pack("<4I", levels, params["baseLog"], rank, size)
    tail = struct.pack("<4I", params["integerPrecision"], _BINARY, source, 0)
    return head, tail, source * levels * (rank + 1) * size


def _switch(params: Mapping[str, int]) -> tuple[bytes, bytes, int]:
    levels, source = params["levelCount"], params["inputLweDimension"]
    head = struct.pack("<2I", levels, params["baseLog"])
    precision, target = params["integerPrecision"], params["outputLweDimension"]
    return head, struct.pack("<4I", precision, _BINARY, source, target), source * levels
