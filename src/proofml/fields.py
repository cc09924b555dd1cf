"""Strict reading of nested mappings: every key is asked for, and an unknown one is an error.

Used for whatever comes from outside as JSON or TOML. An error carries the path of the key, what
was expected and what came, so that each caller can turn it into its own kind of error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from proofml.errors import CONTROL

T = TypeVar("T")

HEX_SHA256 = re.compile(r"[0-9a-f]{64}")


class FieldError(ValueError):
    """`path` names the key; the message says what was expected there and what came."""

    def __init__(self, path: str, expected: str, got: object) -> None:
        self.path = path
        self.expected = expected
        self.got = got if isinstance(got, str) else _describe(got)
        super().__init__(f"{path}: expected {expected}, got {self.got}")


def _describe(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


class _Missing:
    pass


_MISSING = _Missing()


class Fields:
    """One mapping at `path`; `take` each key, then `done`."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            raise FieldError(path, "a table of keys", value)
        self._value: Mapping[str, Any] = value
        self._taken: set[str] = set()
        self.path = path

    def __contains__(self, key: str) -> bool:
        return key in self._value

    @property
    def mapping(self) -> Mapping[str, Any]:
        """The whole table, for somebody else to read strictly."""
        return self._value

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def raw(self, key: str, default: Any = _MISSING) -> Any:
        """The value as it is; raises `FieldError` where it is missing and has no default."""
        self._taken.add(key)
        value = self._value.get(key, default)
        if isinstance(value, _Missing):
            raise FieldError(self.at(key), "this key", "nothing")
        return value

    def string(
        self,
        key: str,
        *,
        choices: tuple[str, ...] = (),
        longest: int = 1024,
        default: Any = _MISSING,
    ) -> str:
        value = self.raw(key, default)
        if not isinstance(value, str) or len(value) > longest or CONTROL.search(value):
            raise FieldError(self.at(key), f"a line of at most {longest} characters", value)
        if choices and value not in choices:
            raise FieldError(self.at(key), "one of " + ", ".join(choices), value)
        return value

    def sha256(self, key: str) -> str:
        value = self.raw(key)
        if not isinstance(value, str) or not HEX_SHA256.fullmatch(value):
            raise FieldError(self.at(key), "64 lower-case hexadecimal digits", value)
        return value

    def hexadecimal(self, key: str, *, longest: int = 64) -> bytes:
        value = self.raw(key)
        if (
            not isinstance(value, str)
            or len(value) > 2 * longest
            or not re.fullmatch(r"([0-9a-f]{2})*", value)
        ):
            raise FieldError(self.at(key), f"at most {longest} bytes as lower-case hex", value)
        return bytes.fromhex(value)

    def integer(self, key: str, low: int, high: int, *, default: Any = _MISSING) -> int:
        value = self.raw(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise FieldError(self.at(key), f"an integer from {low} to {high}", value)
        return value

    def number(self, key: str, low: float, high: float, *, default: Any = _MISSING) -> float:
        """A real number (TOML only: canonical JSON has none); finite, within the bounds."""
        value = self.raw(key, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not low <= value <= high
        ):
            raise FieldError(self.at(key), f"a number from {low:g} to {high:g}", value)
        return float(value)

    def boolean(self, key: str, *, default: Any = _MISSING) -> bool:
        value = self.raw(key, default)
        if not isinstance(value, bool):
            raise FieldError(self.at(key), "true or false", value)
        return value

    def items(
        self,
        key: str,
        read: Callable[[object, str], T],
        *,
        most: int = 4096,
        default: Any = _MISSING,
    ) -> tuple[T, ...]:
        """A list at `key`, each item read by `read(item, path)`."""
        value = self.raw(key, default)
        if not isinstance(value, (list, tuple)) or len(value) > most:
            raise FieldError(self.at(key), f"a list of at most {most} items", value)
        return tuple(read(item, f"{self.at(key)}[{i}]") for i, item in enumerate(value))

    def table(self, key: str, *, default: Any = _MISSING) -> Fields:
        return Fields(self.raw(key, default), self.at(key))

    def done(self) -> None:
        """Refuses keys that nobody asked for."""
        extra = sorted(str(key) for key in self._value if key not in self._taken)
        if extra:
            known = ", ".join(sorted(self._taken)) or "none"
            raise FieldError(self.at(extra[0]), f"no such key (known here: {known})", "it")


def text_item(value: object, path: str) -> str:
    """Reader of a list's string items."""
    if not isinstance(value, str) or len(value) > 1024 or CONTROL.search(value):
        raise FieldError(path, "a line of at most 1024 characters", value)
    return value


def sha256_item(value: object, path: str) -> str:
    """Reader of a list's SHA-256 items."""
    if not isinstance(value, str) or not HEX_SHA256.fullmatch(value):
        raise FieldError(path, "64 lower-case hexadecimal digits", value)
    return value
