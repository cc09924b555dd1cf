"""Nitro documents: what is read, field by field, and what the rules of AWS refuse (tee.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.errors import VerificationError, printable
from proofml.tee import nitro
from proofml.tee.reader import Field
from proofml.tee.simulator import aws
from tests.tee.nitro_cases import number

NOW = 1_800_000_000
AUTHORITY = aws.AwsAuthority.create(NOW)
USER_DATA = bytes(range(64))
DOCUMENT = AUTHORITY.document(
    report_data=USER_DATA, now=NOW, pcrs={0: b"a" * 48, 1: b"b" * 48, 2: b"c" * 48, 16: b"q" * 48}
)


def parsed(change: Mapping[str, object]) -> nitro.Document:
    return nitro.parse(AUTHORITY.sign(aws.encode(DOCUMENT | dict(change))))


def tiles(data: bytes, fields: tuple[Field, ...]) -> bool:
    at = 0
    for field in fields:
        if field.offset != at:
            return False
        at += len(field.data)
    return b"".join(field.data for field in fields) == data


@pytest.mark.parametrize("tagged", [False, True])
def test_a_document_is_read_and_every_byte_of_it_is_a_field(tagged: bool) -> None:
    data = AUTHORITY.sign(aws.encode(DOCUMENT), tagged=tagged)
    document = nitro.parse(data)
    assert document.module_id == aws.MODULE_ID
    assert document.timestamp == NOW * 1000
    assert sorted(document.pcrs) == [*range(16), 16]
    assert document.pcrs[0] == b"a" * 48
    assert document.pcrs[3] == bytes(48)
    assert document.cabundle[0] == AUTHORITY.root_der
    assert len(document.cabundle) == 4
    assert document.user_data == USER_DATA
    assert document.public_key is None
    assert document.nonce is None
    assert tiles(data, document.fields)
    named = {field.name: field for field in document.fields}
    assert named["payload.user_data"].data == USER_DATA
    assert named["payload.pcrs.16"].data == b"q" * 48
    assert named["payload.certificate"].data == document.certificate
    assert named["protected.1"].note == "-35 (ES384)"
    assert named["payload.pcrs.0"].note == "the image"
    assert named["signature"].data == data[-96:]


def test_a_map_of_definite_length_in_any_order_is_the_same_document() -> None:
    backwards = dict(reversed(list(DOCUMENT.items())))
    first = parsed({})
    again = nitro.parse(AUTHORITY.sign(cbor2.dumps(backwards)))
    for name in ("module_id", "timestamp", "pcrs", "certificate", "cabundle", "user_data"):
        assert getattr(first, name) == getattr(again, name)


@pytest.mark.parametrize("key", ["public_key", "user_data", "nonce"])
def test_an_optional_field_may_be_null_or_not_there(key: str) -> None:
    assert getattr(parsed({key: None}), key) is None
    without = {name: value for name, value in DOCUMENT.items() if name != key}
    assert getattr(nitro.parse(AUTHORITY.sign(aws.encode(without))), key) is None


@pytest.mark.parametrize(
    ("key", "size"),
    [
        ("public_key", 1),
        ("public_key", 1024),
        ("user_data", 0),
        ("user_data", 512),
        ("nonce", 0),
        ("nonce", 512),
    ],
)
def test_optional_fields_at_their_limits(key: str, size: int) -> None:
    assert getattr(parsed({key: bytes(size)}), key) == bytes(size)


def test_all_32_registers_are_read_sorted() -> None:
    registers = {index: bytes([index]) * 48 for index in reversed(range(32))}
    assert list(parsed({"pcrs": registers}).pcrs.items()) == sorted(registers.items())


REGISTER = bytes(48)
WRONG: dict[str, Mapping[str, Any]] = {
    **{f"{key} is null": {key: None} for key in DOCUMENT if key not in nitro._OPTIONAL},
    **{f"{key} is true": {key: True} for key in DOCUMENT},
    **{f"{key} is 1": {key: 1} for key in DOCUMENT if key != "timestamp"},
    **{f"{key} is a text": {key: "x"} for key in DOCUMENT if key != "module_id"},
    **{f"{key} is an empty map": {key: {}} for key in DOCUMENT},
    **{f"{key} is an empty array": {key: []} for key in DOCUMENT},
    "module_id is empty": {"module_id": ""},
    "module_id is bytes": {"module_id": b"i-1"},
    "an unknown key": {"extra": 1},
    "an unknown integer key": {1: 1},  # type: ignore[dict-item]
    "an unknown key of control characters": {"\x01\u202e" * 16: 1},
    "an unknown key with dots": {"pcrs.0": bytes(48)},
    "an unknown key that is empty": {"": 1},
    "a key in capitals": {"Nonce": b""},
    "a key with a blank": {"nonce ": b""},
    "digest SHA256": {"digest": "SHA256"},
    "digest SHA512": {"digest": "SHA512"},
    "digest in small letters": {"digest": "sha384"},
    "digest as bytes": {"digest": b"SHA384"},
    "timestamp 0": {"timestamp": 0},
    "timestamp -1": {"timestamp": -1},
    "timestamp as a float": {"timestamp": float(NOW * 1000)},
    "timestamp of more than 64 bits": {"timestamp": 2**64},
    "timestamp as a date": {"timestamp": cbor2.CBORTag(1, NOW)},
    "33 registers": {"pcrs": dict.fromkeys(range(33), REGISTER)},
    "register 32": {"pcrs": {32: REGISTER}},
    "register -1": {"pcrs": {-1: REGISTER}},
    "register 2^32": {"pcrs": {2**32: REGISTER}},
    "register as a text": {"pcrs": {"0": REGISTER}},
    "register as a control character": {"pcrs": {"\x01": REGISTER}},
    "register as a text with dots": {"pcrs": {"0.key": REGISTER}},
    "register 0 as an integer and as a text": {"pcrs": {0: REGISTER, "0": REGISTER}},
    "registers as an array": {"pcrs": [REGISTER]},
    "a register of 32 bytes": {"pcrs": {0: bytes(32)}},
    "a register of 64 bytes": {"pcrs": {0: bytes(64)}},
    "a register of 47 bytes": {"pcrs": {0: bytes(47)}},
    "an empty register": {"pcrs": {0: b""}},
    "a register as a text": {"pcrs": {0: "0" * 48}},
    "a register that is null": {"pcrs": {0: None}},
    "an empty certificate": {"certificate": b""},
    "a certificate of 1025 bytes": {"certificate": bytes(1025)},
    "a bundle with an empty certificate": {"cabundle": [AUTHORITY.root_der, b""]},
    "a bundle with a long certificate": {"cabundle": [AUTHORITY.root_der, bytes(1025)]},
    "a bundle with null": {"cabundle": [AUTHORITY.root_der, None]},
    "a bundle as a map": {"cabundle": {0: AUTHORITY.root_der}},
    "a bundle as bytes": {"cabundle": AUTHORITY.root_der},
    "an empty public key": {"public_key": b""},
    "a public key of 1025 bytes": {"public_key": bytes(1025)},
    "user data of 513 bytes": {"user_data": bytes(513)},
    "a nonce of 513 bytes": {"nonce": bytes(513)},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_signed_document_against_the_rules_is_refused(name: str) -> None:
    with pytest.raises(VerificationError) as caught:
        parsed(WRONG[name])
    assert caught.value.check == "tee.3"
    (key,) = WRONG[name]
    assert printable(key) in f"{caught.value.reason} {caught.value.got}"


@pytest.mark.parametrize(
    "key", ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"]
)
def test_a_mandatory_key_that_is_missing_is_refused(key: str) -> None:
    without = {name: value for name, value in DOCUMENT.items() if name != key}
    with pytest.raises(VerificationError, match=f"expected key {key}") as caught:
        nitro.parse(AUTHORITY.sign(aws.encode(without)))
    assert caught.value.check == "tee.3"


def entry(key: object, value: object) -> bytes:
    return cbor2.dumps(key) + cbor2.dumps(value)


def raw(*, before: bytes = b"", after: bytes = b"", behind: bytes = b"") -> bytes:
    inner = aws.encode(DOCUMENT)[1:-1]
    return b"\xbf" + before + inner + after + b"\xff" + behind


def replaced(old: bytes, new: bytes) -> bytes:
    data = aws.encode(DOCUMENT)
    assert data.count(old) == 1
    return data.replace(old, new)


RAW: dict[str, Callable[[], bytes]] = {
    "user data twice, the false one first": lambda: raw(before=entry("user_data", b"false")),
    "user data twice, the false one last": lambda: raw(after=entry("user_data", b"false")),
    "registers twice": lambda: raw(after=entry("pcrs", {0: bytes(48)})),
    "register 0 twice": lambda: replaced(
        b"\x64pcrs\xb1\x00\x58\x30", b"\x64pcrs\xb2\x00\x58\x30" + bytes(48) + b"\x00\x58\x30"
    ),
    "a key in a longer form": lambda: replaced(b"\x66digest", b"\x78\x06digest"),
    "a key in pieces": lambda: replaced(b"\x66digest", b"\x7f\x63dig\x63est\xff"),
    "user data in pieces": lambda: replaced(
        b"\x58\x40" + USER_DATA, b"\x5f\x58\x40" + USER_DATA + b"\xff"
    ),
    "a length in a longer form": lambda: replaced(
        b"\x58\x40" + USER_DATA, b"\x59\x00\x40" + USER_DATA
    ),
    "a register's index in a longer form": lambda: replaced(
        b"\x01\x58\x30" + b"b" * 48, b"\x18\x01\x58\x30" + b"b" * 48
    ),
    "a tag around user data": lambda: replaced(
        b"\x58\x40" + USER_DATA, b"\xd8\x18\x58\x40" + USER_DATA
    ),
    "user data undefined": lambda: replaced(b"\x58\x40" + USER_DATA, b"\xf7"),
    "a byte behind the map": lambda: raw(behind=b"\x00"),
    "a second map behind the map": lambda: raw(behind=b"\xa0"),
    "no end of the map": lambda: raw()[:-1],
    "no map but an array": lambda: cbor2.dumps(list(DOCUMENT.values())),
    "no map but a string around it": lambda: cbor2.dumps(aws.encode(DOCUMENT)),
    "a tag around the map": lambda: b"\xd8\x18" + raw(),
    "an empty map": lambda: b"\xa0",
    "null": lambda: b"\xf6",
    "nesting without an end": lambda: raw(after=b"\x61a" + b"\x9f" * 9000),
    "nine thousand items": lambda: raw(after=b"\x61a\x9f" + bytes(9000) + b"\xff"),
    "an array of 2^32 items": lambda: raw(after=b"\x61a\x9a\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("name", RAW)
def test_a_signed_document_in_another_encoding_is_refused(name: str) -> None:
    data = AUTHORITY.sign(RAW[name]())
    assert number(lambda: nitro.parse(data)) == "tee.3"


@given(st.binary(max_size=400))
def test_any_signed_bytes_are_read_or_refused_by_one_check(payload: bytes) -> None:
    data = AUTHORITY.sign(payload or b"\x00")
    assert number(lambda: nitro.parse(data)) == "tee.3"
