"""Strict reading: every key is asked for, every error names its path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.fields import FieldError, Fields, sha256_item, text_item

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
READERS: dict[str, Callable[[Fields], Any]] = {
    "string": lambda f: f.string("k"),
    "choice": lambda f: f.string("k", choices=("a", "b")),
    "sha256": lambda f: f.sha256("k"),
    "hexadecimal": lambda f: f.hexadecimal("k"),
    "integer": lambda f: f.integer("k", -5, 5),
    "number": lambda f: f.number("k", -5.0, 5.0),
    "boolean": lambda f: f.boolean("k"),
    "items": lambda f: f.items("k", text_item),
    "digests": lambda f: f.items("k", sha256_item),
    "table": lambda f: f.table("k").path,
}


@pytest.mark.parametrize("reader", sorted(READERS))
@given(value=ANYTHING)
def test_any_value(reader: str, value: Any) -> None:
    """A value or a FieldError with the path; never another exception."""
    path, text = "here.k", ""
    try:
        READERS[reader](Fields({"k": value}, "here"))
    except FieldError as error:
        path, text = error.path, str(error)
    assert path.startswith("here.k")
    assert len(text) < 3000


@pytest.mark.parametrize("reader", sorted(READERS))
def test_missing(reader: str) -> None:
    with pytest.raises(FieldError, match=r"here\.k: expected this key, got nothing"):
        READERS[reader](Fields({}, "here"))


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        ("string", "plain \u20ac text"),
        ("choice", "b"),
        ("sha256", "0f" * 32),
        ("integer", 5),
        ("number", 2.5),
        ("number", 3),
        ("boolean", False),
        ("items", ["a", "b"]),
        ("digests", ["0f" * 32]),
    ],
)
def test_taken(reader: str, value: Any) -> None:
    fields = Fields({"k": value}, "")
    found = READERS[reader](fields)
    assert found == (tuple(value) if isinstance(value, list) else value)
    fields.done()


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        ("string", "x" * 1025),
        ("string", "escape \x1b[2J"),
        ("string", "two\nlines"),
        ("string", "turned \u202e round"),
        ("string", "c1 \x9b2J"),
        ("choice", "c"),
        ("sha256", "0F" * 32),
        ("sha256", "0f" * 32 + "\n"),
        ("hexadecimal", "0"),
        ("hexadecimal", "0g"),
        ("hexadecimal", "AA"),
        ("hexadecimal", "00" * 65),
        ("integer", 6),
        ("integer", True),
        ("integer", 1.0),
        ("number", float("nan")),
        ("number", float("inf")),
        ("number", True),
        ("boolean", 1),
        ("items", "abc"),
        ("items", ["x" * 1025]),
        ("items", ["a\x00b"]),
        ("digests", ["0f" * 31]),
        ("table", []),
    ],
)
def test_refused(reader: str, value: Any) -> None:
    with pytest.raises(FieldError):
        READERS[reader](Fields({"k": value}, ""))


def test_unknown_key_is_named() -> None:
    fields = Fields({"known": 1, "unknwon": 2}, "top")
    fields.integer("known", 0, 9)
    with pytest.raises(
        FieldError, match=r"top\.unknwon: expected no such key \(known here: known\)"
    ):
        fields.done()


def test_paths_of_nested_values() -> None:
    fields = Fields({"outer": {"list": ["a", 2]}}, "")
    with pytest.raises(FieldError, match=r"^outer\.list\[1\]: "):
        fields.table("outer").items("list", text_item)


def test_defaults() -> None:
    fields = Fields({}, "")
    assert fields.string("k", default="d") == "d"
    assert fields.integer("k", 0, 9, default=3) == 3
    assert fields.boolean("k", default=True)
    assert fields.items("k", text_item, default=()) == ()
    assert "k" not in fields


def test_too_many_items() -> None:
    with pytest.raises(FieldError, match="at most 2"):
        Fields({"k": ["a"] * 3}, "").items("k", text_item, most=2)


def test_long_values_are_shortened() -> None:
    with pytest.raises(FieldError) as caught:
        Fields({"k": ["x" * 100_000]}, "").integer("k", 0, 1)
    assert len(str(caught.value)) < 200
