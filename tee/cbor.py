"""Strict, bounded CBOR for evidence (RFC 8949), on top of `cbor2`.

`cbor2` decodes; it keeps the last of two equal keys, reads lengths in any width and ignores what
follows the item. So each byte is walked over first, and an item is handed to `cbor2` only if it
has one reading:

- integers, lengths and counts in their shortest form (section 4.2.1, but keys in any order:
  the documents of AWS have them unsorted), all within 64 bits;
- strings of definite length; maps and arrays of indefinite length only where the caller says so;
- keys are integers or short texts, each at most once in its map;
- of major type 7 only false, true and null; no tags, no floating-point numbers;
- bounded depth and number of items, and nothing behind the item.

All that is refused here fails tee.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn, TypeAlias

import cbor2

from proofml.errors import printable
from proofml.tee.checks import QUOTE, refuse
from proofml.tee.reader import MAX_QUOTE_BYTES, Field

Value: TypeAlias = "bool | int | str | bytes | list[Value] | dict[int | str, Value] | None"

#: Levels of nesting: a Nitro document has 3.
MAX_DEPTH: Final = 8
#: Data items, keys included: a Nitro document has fewer than 200.
MAX_ITEMS: Final = 1024
MAX_KEY_BYTES: Final = 64

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_KINDS: Final = (
    "integer",
    "negative integer",
    "byte string",
    "text",
    "array",
    "map",
    "tag",
    "simple value or float",
)
_CONSTANTS: Final = {20: "false", 21: "true", 22: "null"}
_INDEFINITE: Final = 31
_BREAK: Final = 0xFF


class _Walk:
    """Goes over one item and lists its parts; they lie side by side and cover every byte."""

    def __init__(
        self, data: bytes, what: str, offset: int, indefinite: bool, items: Sequence[str]
    ) -> None:
        self._data = data
        self._what = what
        self._base = offset
        self._indefinite = indefinite
        self._names = items
        self._at = 0
        self._count = 0
        self.fields: list[Field] = []

    def refuse(self, name: str, at: int, *, expected: object, got: object) -> NoReturn:
        where = f"{self._what}: {name or 'item'} at offset {self._base + at}"
        refuse(QUOTE, where, expected=expected, got=got)

    def _take(self, name: str, size: int) -> bytes:
        left = len(self._data) - self._at
        if size > left:
            self.refuse(name, self._at, expected=f"{size} bytes", got=left)
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    def _list(self, name: str, start: int, note: str) -> None:
        data = self._data[start : self._at]
        self.fields.append(Field(name, self._base + start, data, note))

    def _head(self, name: str) -> tuple[int, int | None]:
        """Major type and argument of the next item; no argument: of indefinite length."""
        self._count += 1
        if self._count > MAX_ITEMS:
            self.refuse(name, self._at, expected=f"at most {MAX_ITEMS} items", got="more")
        start = self._at
        first = self._take(name, 1)[0]
        major, info = first >> 5, first & 31
        if info < 24:
            return major, info
        if info == _INDEFINITE:
            if first == _BREAK:
                self.refuse(name, start, expected="an item", got="the end of a container")
            if major not in (_ARRAY, _MAP) or not self._indefinite:
                got = f"{_KINDS[major]} of indefinite length"
                self.refuse(name, start, expected="a definite length", got=got)
            return major, None
        if info > 27:
            self.refuse(name, start, expected="well-formed CBOR", got=f"byte {first:#04x}")
        if major == _SIMPLE:
            self.refuse(name, start, expected="false, true or null", got=f"byte {first:#04x}")
        size = 1 << (info - 24)
        argument = int.from_bytes(self._take(name, size), "big")
        if argument < (24 if size == 1 else 1 << (4 * size)):
            expected = "the shortest form"
            self.refuse(name, start, expected=expected, got=f"{argument} in {size} bytes")
        return major, argument

    def item(self, name: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.refuse(name, self._at, expected=f"at most {MAX_DEPTH} levels", got="more")
        start = self._at
        major, argument = self._head(name)
        if major in (_ARRAY, _MAP):
            self._container(name, start, major, argument, depth)
            return
        if argument is None or major == _TAG:
            self.refuse(name, start, expected="an untagged item", got=f"tag {argument}")
        if major in (_BYTES, _TEXT):
            self._list(f"{name}.head" if name else "head", start, f"{_KINDS[major]}({argument})")
            start = self._at
            content = self._take(name, argument)
            self._list(name, start, "" if major == _BYTES else self._text(name, start, content))
        elif major == _SIMPLE:
            if argument not in _CONSTANTS:
                self.refuse(name, start, expected="false, true or null", got=f"simple {argument}")
            self._list(name, start, _CONSTANTS[argument])
        else:
            self._list(name, start, str(argument if major == _UNSIGNED else -1 - argument))

    def _text(self, name: str, start: int, content: bytes) -> str:
        """As people may see it; what a program sees is `cbor2`'s."""
        try:
            return printable(content.decode())
        except UnicodeDecodeError as error:
            self.refuse(name, start, expected="UTF-8", got=error.reason)

    def _container(
        self, name: str, start: int, major: int, argument: int | None, depth: int
    ) -> None:
        kind = _KINDS[major]
        if argument is None:
            self._list(name, start, f"{kind} of indefinite length")
        else:
            self._list(name, start, f"{kind}({argument})")
            left = len(self._data) - self._at
            if argument * (1 if major == _ARRAY else 2) > left:
                self.refuse(name, start, expected=f"at most {left} bytes of items", got=argument)
        seen: set[bytes] = set()
        index = 0
        while index != argument and not (argument is None and self._ends(name)):
            if major == _ARRAY:
                child = self._names[index] if not depth and index < len(self._names) else str(index)
            else:
                child = self._key(name, seen)
            self.item(f"{name}.{child}" if name else child, depth + 1)
            index += 1

    def _ends(self, name: str) -> bool:
        """Takes the break that ends a container of indefinite length, where it is next."""
        if self._data[self._at : self._at + 1] != bytes([_BREAK]):
            return False
        self._at += 1
        self._list(f"{name}.end" if name else "end", self._at - 1, "end of a container")
        return True

    def _key(self, name: str, seen: set[bytes]) -> str:
        """Takes a key; returns it as it stands in the names of fields."""
        start = self._at
        what = f"key in {name}" if name else "key"
        major, argument = self._head(what)
        if argument is None or major not in (_UNSIGNED, _NEGATIVE, _TEXT):
            self.refuse(what, start, expected="an integer or a text", got=_KINDS[major])
        if major == _TEXT:
            if argument > MAX_KEY_BYTES:
                expected = f"at most {MAX_KEY_BYTES} bytes"
                self.refuse(what, start, expected=expected, got=argument)
            key = self._text(what, start, self._take(what, argument))
        else:
            key = str(argument if major == _UNSIGNED else -1 - argument)
        # The shortest form is the only one, so equal keys are equal bytes.
        encoded = self._data[start : self._at]
        if encoded in seen:
            self.refuse(what, start, expected="each key once", got=f"{key} again")
        seen.add(encoded)
        self._list(f"{name}.{key}.key" if name else f"{key}.key", start, key)
        return key

    def end(self) -> None:
        left = len(self._data) - self._at
        if left:
            self.refuse("bytes behind the item", self._at, expected="none", got=left)


def loads(
    data: bytes,
    what: str,
    *,
    name: str = "",
    items: Sequence[str] = (),
    offset: int = 0,
    fields: list[Field] | None = None,
    indefinite: bool = False,
) -> Value:
    """The one item that `data` is; refused by tee.3 for anything else.

    Args:
        data: at most 256 KiB.
        what: it is called in messages.
        name: of the item among the fields: `payload`, then `payload.pcrs.0`. The head of a string
            is `NAME.head`, a key is `NAME.key`, the break that ends a container `NAME.end`.
        items: names of the elements where the item is an array, instead of 0, 1, 2, ...
        offset: of `data` in the whole evidence.
        fields: where the fields are listed; one behind the other they are `data`.
        indefinite: whether maps and arrays may be of indefinite length.
    """
    if len(data) > MAX_QUOTE_BYTES:
        refuse(QUOTE, what, expected=f"at most {MAX_QUOTE_BYTES} bytes", got=len(data))
    walk = _Walk(data, what, offset, indefinite, items)
    walk.item(name, 0)
    walk.end()
    try:
        value: Value = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError) as error:
        refuse(QUOTE, f"{what} at offset {offset}", expected="CBOR", got=error)
    if fields is not None:
        fields.extend(walk.fields)
    return value
