"""Strict CBOR: one reading or tee.3; the fields cover every byte."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.errors import VerificationError
from proofml.tee import cbor
from proofml.tee.reader import MAX_QUOTE_BYTES, Field

KEYS = st.integers(-(2**63), 2**63) | st.text(max_size=16)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=300)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def refusal(data: bytes, *, indefinite: bool = False) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        cbor.loads(data, "evidence", name="it", indefinite=indefinite)
    return caught.value


def judged(data: bytes, *, indefinite: bool = False) -> tuple[str, object]:
    """The number of the check that refuses and None, or `accepted` and the value."""
    try:
        return "accepted", cbor.loads(data, "evidence", indefinite=indefinite)
    except VerificationError as error:
        return error.check, None


@given(VALUES, st.integers(0, 1000))
def test_what_cbor2_writes_is_read_and_every_byte_is_a_field(value: object, offset: int) -> None:
    data = cbor2.dumps(value)
    fields: list[Field] = []
    assert cbor.loads(data, "evidence", name="it", offset=offset, fields=fields) == value
    assert b"".join(field.data for field in fields) == data
    at = offset
    for field in fields:
        assert field.offset == at
        at += len(field.data)


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_refused_by_one_check_or_have_one_form(data: bytes, indefinite: bool) -> None:
    number, value = judged(data, indefinite=indefinite)
    if number != "accepted":
        assert number == "tee.3"
        return
    assert cbor2.loads(data) == value
    if not indefinite:
        assert cbor2.dumps(value) == data


@given(VALUES, st.data())
def test_a_changed_byte_never_gives_the_same_value(value: object, draw: st.DataObject) -> None:
    data = bytearray(cbor2.dumps(value))
    data[draw.draw(st.integers(0, len(data) - 1))] ^= draw.draw(st.integers(1, 255))
    number, found = judged(bytes(data))
    assert number == "tee.3" or (number == "accepted" and repr(found) != repr(value))


REFUSED = {
    "nothing": ("", "1 bytes"),
    "two items": ("0001", "expected none; got 1"),
    "a byte behind a string": ("4161ff", "expected none; got 1"),
    "a string that ends too early": ("4261", "expected 2 bytes; got 1"),
    "a length of 4 GiB": ("5affffffff00", "expected 4294967295 bytes; got 1"),
    "a length of 16 EiB": ("5bffffffffffffffff00", "expected 18446744073709551615 bytes"),
    "an array of 16 EiB": ("9bffffffffffffffff00", "at most 1 bytes of items"),
    "a map of 8 EiB": ("bb7fffffffffffffff0000", "at most 2 bytes of items"),
    "an array of 2 that has 1": ("8200", "at most 1 bytes of items"),
    "a head that ends too early": ("19ff", "expected 2 bytes; got 1"),
    "23 in two bytes": ("1817", "the shortest form"),
    "255 in three bytes": ("1900ff", "the shortest form"),
    "65535 in five bytes": ("1a0000ffff", "the shortest form"),
    "2^32 - 1 in nine bytes": ("1b00000000ffffffff", "the shortest form"),
    "-24 in two bytes": ("3817", "the shortest form"),
    "a length in two bytes": ("580161", "the shortest form"),
    "a count in two bytes": ("980100", "the shortest form"),
    "a key in two bytes": ("a1180000", "the shortest form"),
    "reserved information 28": ("1c", "well-formed CBOR"),
    "reserved information 30": ("fe", "well-formed CBOR"),
    "an integer of indefinite length": ("1f", "a definite length; got integer of indef"),
    "a byte string of indefinite length": (
        "5f4161ff",
        "a definite length; got byte string of indef",
    ),
    "a text of indefinite length": ("7f6161ff", "a definite length; got text of indef"),
    "an array of indefinite length": ("9f00ff", "a definite length; got array of indef"),
    "a map of indefinite length": ("bf0000ff", "a definite length; got map of indef"),
    "a break alone": ("ff", "the end of a container"),
    "a break for an item": ("81ff", "the end of a container"),
    "a duplicate integer key": ("a200010002", "each key once; got 0 again"),
    "a duplicate text key": ("a2616101616102", "each key once; got a again"),
    "a duplicate key further in": ("8181a200010002", "each key once"),
    "a byte string for a key": ("a1410000", "an integer or a text"),
    "null for a key": ("a1f600", "an integer or a text"),
    "an array for a key": ("a18000", "an integer or a text"),
    "true for a key": ("a1f500", "an integer or a text"),
    "a key of 65 bytes": ("a17841" + "61" * 65 + "00", "at most 64 bytes; got 65"),
    "a tag": ("c000", "an untagged item; got tag 0"),
    "a big integer": ("c240", "an untagged item; got tag 2"),
    "a shared reference": ("d81c80", "an untagged item; got tag 28"),
    "a half float": ("f93c00", "false, true or null; got byte 0xf9"),
    "a double": ("fb3ff0000000000000", "false, true or null"),
    "undefined": ("f7", "false, true or null"),
    "simple value 0": ("e0", "false, true or null"),
    "simple value 255": ("f8ff", "false, true or null; got byte 0xf8"),
    "true in two bytes": ("f815", "false, true or null; got byte 0xf8"),
    "a text that is no UTF-8": ("61ff", "UTF-8"),
    "a lone surrogate": ("63eda080", "UTF-8"),
    "nine levels": ("81" * 9 + "00", "at most 8 levels"),
    "ten thousand levels": ("81" * 10_000 + "00", "at most 8 levels"),
    "ten thousand maps": ("a100" * 10_000 + "00", "at most 8 levels"),
    "too many items": ("990400" + "00" * 1024, "at most 1024 items"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data, why = REFUSED[name]
    error = refusal(bytes.fromhex(data))
    assert error.check == "tee.3"
    assert why in str(error)


INDEFINITE = {
    "a string in pieces": ("9f5f4161ffff", "a definite length; got byte string of indef"),
    "no end": ("9f00", "expected 1 bytes; got 0"),
    "no end of a map": ("bf0000", "expected 1 bytes; got 0"),
    "a key without a value": ("bf00ff", "the end of a container"),
    "an end in a definite container": ("9f82ff00ff", "the end of a container"),
    "a duplicate key": ("bf00010002ff", "each key once"),
    "nine levels": ("9f" * 9 + "00" + "ff" * 9, "at most 8 levels"),
    "a thousand levels without an end": ("9f" * 1000, "at most 8 levels"),
    "too many items": ("9f" + "00" * 2000 + "ff", "at most 1024 items"),
    "a tag of indefinite length": ("df00", "a definite length; got tag of indef"),
}


@pytest.mark.parametrize("name", INDEFINITE)
def test_refused_where_containers_may_be_of_indefinite_length(name: str) -> None:
    data, why = INDEFINITE[name]
    error = refusal(bytes.fromhex(data), indefinite=True)
    assert error.check == "tee.3"
    assert why in str(error)


def test_containers_of_indefinite_length_are_read_where_they_may_be() -> None:
    fields: list[Field] = []
    data = bytes.fromhex("bf61619f0102ff62626260ff")
    assert cbor.loads(data, "evidence", indefinite=True, fields=fields) == {"a": [1, 2], "bb": ""}
    names = [field.name for field in fields]
    assert names == ["", "a.key", "a", "a.0", "a.1", "a.end", "bb.key", "bb.head", "bb", "end"]
    assert b"".join(field.data for field in fields) == data


def test_what_people_see_is_printable_and_what_programs_see_is_not_changed() -> None:
    fields: list[Field] = []
    text = "a\x1b[2Jb\u202e"
    assert cbor.loads(cbor2.dumps({text: text}), "evidence", fields=fields) == {text: text}
    shown = "".join(field.name + field.note for field in fields)
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_the_bounds_themselves_are_read() -> None:
    assert cbor.loads(b"\x81" * 8 + b"\x00", "evidence") == [[[[[[[[0]]]]]]]]
    assert len(cbor.loads(b"\x99\x03\xff" + bytes(1023), "evidence")) == 1023  # type: ignore[arg-type]
    assert cbor.loads(b"\xa1\x78\x40" + b"a" * 64 + b"\x00", "evidence") == {"a" * 64: 0}


def test_elements_are_named_at_the_top_alone() -> None:
    fields: list[Field] = []
    cbor.loads(cbor2.dumps([[1], [2], 3]), "evidence", items=("a", "b"), fields=fields)
    assert [field.name for field in fields] == ["", "a", "a.0", "b", "b.0", "2"]


def test_the_longest_evidence_is_read() -> None:
    content = bytes(MAX_QUOTE_BYTES - 5)
    assert cbor.loads(cbor2.dumps(content), "evidence") == content


def test_longer_evidence_is_refused_before_it_is_read() -> None:
    error = refusal(bytes(MAX_QUOTE_BYTES + 1))
    assert error.check == "tee.3"
    assert f"at most {MAX_QUOTE_BYTES} bytes" in str(error)


def test_a_refusal_names_the_field_and_its_offset_in_the_whole_evidence() -> None:
    with pytest.raises(VerificationError, match=r"it\.a\.0 at offset 104"):
        cbor.loads(bytes.fromhex("a16161811805"), "evidence", name="it", offset=100)
