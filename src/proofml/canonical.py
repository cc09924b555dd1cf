"""Canonical JSON and digests: one object has one byte string, and only that string is read back.

A subset of RFC 8785 (JCS): UTF-8, keys sorted, no white space, integers within +-2^53, **no
floating-point numbers** (their printing is where canonical forms usually break; a real number
is written as a string by `real`). `loads` refuses every byte string that `dumps` would not
have produced, so a digest over the bytes is a digest over the meaning.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

JSON: TypeAlias = "bool | int | str | Sequence[JSON] | Mapping[str, JSON] | None"

MAX_INT = 2**53
MAX_DEPTH = 32


class CanonicalError(ValueError):
    """The bytes are not canonical JSON, or the object has no canonical form."""


def _check(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise CanonicalError(f"nested deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, (bool, str)):
        return
    if isinstance(value, int):
        if not -MAX_INT <= value <= MAX_INT:
            raise CanonicalError("integer outside +-2^53")
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise CanonicalError(f"object key of type {type(key).__name__}, expected str")
            _check(item, depth + 1)
    else:
        raise CanonicalError(f"{type(value).__name__} has no canonical form")


def _plain(value: Any) -> Any:
    """Mappings and tuples as the dict and list that `json` knows, keys in the order of RFC 8785."""
    if isinstance(value, (int, str)):  # most of them: asking for a Mapping is slow
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in sorted(value, key=_utf16)}
    return value


def _utf16(key: str) -> bytes:
    """RFC 8785, section 3.2.3: keys are compared by their UTF-16 code units."""
    return key.encode("utf-16-be", "surrogatepass")


def dumps(value: JSON) -> bytes:
    """The canonical bytes of `value`.

    Raises:
        CanonicalError: floats, integers beyond +-2^53, lone surrogates, nesting over 32.
    """
    _check(value, 0)
    text = json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CanonicalError("string holds a lone surrogate") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise CanonicalError("object with a duplicated key")
    return result


def _refuse_number(text: str) -> Any:
    raise CanonicalError(f"number {text[:20]!r} is not an integer")


def _bounded_int(text: str) -> int:
    if len(text) > 17:
        raise CanonicalError("integer outside +-2^53")
    return int(text)


def loads(data: bytes, *, max_bytes: int = 16 << 20, canonical: bool = True) -> Any:
    """Parse strictly: bounded size and nesting, no duplicate keys, no floats.

    With `canonical=False` any white space and key order is read (files that people write).

    Raises:
        CanonicalError: for every other byte string.
    """
    if len(data) > max_bytes:
        raise CanonicalError(f"{len(data)} bytes of JSON, at most {max_bytes} are read")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
            parse_int=_bounded_int,
        )
    except CanonicalError:
        raise
    except (ValueError, RecursionError) as error:
        raise CanonicalError(f"not JSON: {error}") from error
    if dumps(value) != data and canonical:
        raise CanonicalError("not in canonical form (key order, white space or escapes)")
    return value


def real(value: float) -> str:
    """A float as the shortest decimal string that reads back to the same float64."""
    return repr(float(value))


def sha256(data: bytes | bytearray | memoryview) -> str:
    """Lower-case hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def tagged_sha256(tag: str, data: bytes) -> str:
    """SHA-256 over `tag`, a NUL byte and `data`: one domain for each kind of thing."""
    return hashlib.sha256(tag.encode("ascii") + b"\0" + data).hexdigest()
