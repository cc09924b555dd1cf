"""Canonical JSON: one value, one byte string; every other byte string is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.canonical import (
    MAX_DEPTH,
    MAX_INT,
    CanonicalError,
    dumps,
    loads,
    real,
    sha256,
    tagged_sha256,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_round_trip(value: Any) -> None:
    data = dumps(value)
    assert loads(data) == value
    assert dumps(loads(data)) == data
    assert json.loads(data) == value


@given(VALUES)
def test_any_other_spelling_is_refused(value: Any) -> None:
    for text in (
        json.dumps(value, indent=1),
        json.dumps(value) + " ",
        "\n" + json.dumps(value, separators=(",", ":")),
    ):
        data = text.encode()
        if data == dumps(value):
            continue
        with pytest.raises(CanonicalError):
            loads(data)
        assert loads(data, canonical=False) == value


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    try:
        value = loads(data)
    except CanonicalError:
        return
    assert dumps(value) == data


@pytest.mark.parametrize(
    "text",
    [
        '{"b":1,"a":2}',
        '{"a":1,"a":1}',
        "1.0",
        "1e3",
        "-0",
        "01",
        "NaN",
        "Infinity",
        "-Infinity",
        "9007199254740993",
        "99999999999999999999999999",
        '"\\u0041"',
        '"\\ud800"',
        '"\\/"',
        "[1,]",
        "[1 ,2]",
        "",
        "\ufeff1",
        "1 2",
        "'a'",
        '"\t"',
        "[" * 40 + "]" * 40,
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(CanonicalError):
        loads(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("data", [b"\xff", b'"\xed\xa0\x80"', b'"\xc0\x80"', b"\x00", b'"\x00"'])
def test_refused_bytes(data: bytes) -> None:
    for canonical in (True, False):
        with pytest.raises(CanonicalError):
            loads(data, canonical=canonical)


@pytest.mark.parametrize("text", ['"\\ud800"', "1.5", '{"a":1,"a":1}', "NaN"])
def test_refused_in_any_spelling(text: str) -> None:
    with pytest.raises(CanonicalError):
        loads(text.encode(), canonical=False)


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        float("nan"),
        MAX_INT + 1,
        -MAX_INT - 1,
        "\ud800",
        b"bytes",
        {1: 2},
        {"a": {None: 1}},
        set(),
    ],
)
def test_no_canonical_form(value: Any) -> None:
    with pytest.raises(CanonicalError):
        dumps(value)


def test_depth() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert loads(dumps(value)) == value
    with pytest.raises(CanonicalError, match="deeper"):
        dumps([value])


def test_size() -> None:
    assert loads(b"[1,2]", max_bytes=5) == [1, 2]
    with pytest.raises(CanonicalError, match="at most 4"):
        loads(b"[1,2]", max_bytes=4)


def test_limits_of_integers() -> None:
    assert loads(dumps([MAX_INT, -MAX_INT])) == [MAX_INT, -MAX_INT]


def test_rfc_8785_order_of_keys() -> None:
    """The example of section 3.2.3: UTF-16 code units, so an emoji comes before U+FB33."""
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    expected = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(dumps(dict.fromkeys(keys)))) == expected


def test_rfc_8785_strings() -> None:
    """The escapes of section 3.2.2.2, and nothing else escaped."""
    assert (
        dumps('\u20ac$\u000f\nA\'B"\\"/\u007f') == b'"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\"/\x7f"'
    )
    assert dumps("\b\t\n\f\r") == b'"\\b\\t\\n\\f\\r"'


def test_mappings_and_tuples_are_plain() -> None:
    assert dumps({"b": (1, 2), "a": None, "c": True}) == b'{"a":null,"b":[1,2],"c":true}'


@given(st.floats(allow_nan=False))
def test_real(value: float) -> None:
    assert float(real(value)) == value


def test_digests() -> None:
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert tagged_sha256("tag", b"abc") == sha256(b"tag\0abc")
    assert tagged_sha256("a", b"\0b") == sha256(b"a\0\0b")
