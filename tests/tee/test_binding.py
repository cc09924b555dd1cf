"""What a quote binds: two modes that cannot be taken for each other, and a strict record."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proofml.errors import UsageError, VerificationError
from proofml.tee.binding import (
    INFERENCE_TAG,
    SESSION_TAG,
    Mode,
    ReceiptAlgorithm,
    Session,
    check_binding,
    inference_data,
    session_data,
)
from tests.tee.record_cases import STATEMENT, assert_strict, refused, session

OTHER = "c3" * 32


def test_inference_data_is_the_documented_hash() -> None:
    expected = hashlib.sha512(b"proofml/tee/inference/v1\x00" + b"\xb2" * 32).digest()
    assert inference_data(STATEMENT) == expected
    assert len(expected) == 64


def test_session_data_is_the_documented_hash() -> None:
    record = Session(
        ReceiptAlgorithm.ED25519, b"\x01" * 32, b"\x02" * 32, "ab" * 32, "cd" * 32, b"\xee", 7
    )
    text = (
        '{"challenge":"ee","config":"' + "cd" * 32 + '","model":"' + "ab" * 32 + '",'
        '"receipt_algorithm":"ed25519","receipt_key":"' + "01" * 32 + '",'
        '"sealing_key":"' + "02" * 32 + '","started":7,"version":1}'
    )
    assert record.to_bytes() == text.encode()
    assert (
        session_data(record)
        == hashlib.sha512(b"proofml/tee/session/v1\x00" + text.encode()).digest()
    )
    assert (
        record.digest
        == hashlib.sha256(b"proofml/tee/session-digest/v1\x00" + text.encode()).hexdigest()
    )


def test_no_message_of_one_mode_is_one_of_the_other() -> None:
    """Neither tag begins with the other, so no choice of what follows can make them equal."""
    assert not INFERENCE_TAG.startswith(SESSION_TAG)
    assert not SESSION_TAG.startswith(INFERENCE_TAG)


@pytest.mark.parametrize("bad", ["", "b2" * 31, "B2" * 32, "b2" * 33, "zz" * 32, "b2" * 32 + "\n"])
def test_a_digest_is_asked_for(bad: str) -> None:
    with pytest.raises(UsageError):
        inference_data(bad)


# -- the binding ----------------------------------------------------------------------------------


def test_inference_mode() -> None:
    check_binding(inference_data(STATEMENT), Mode.INFERENCE, STATEMENT)
    with refused("tee.10"):
        check_binding(inference_data(OTHER), Mode.INFERENCE, STATEMENT)


@pytest.mark.parametrize("algorithm", ReceiptAlgorithm)
def test_session_mode(algorithm: ReceiptAlgorithm) -> None:
    record = session(algorithm)
    check_binding(session_data(record), Mode.SESSION, STATEMENT, record)
    check_binding(session_data(record), Mode.SESSION, OTHER, record)


CHANGED: dict[str, Any] = {
    "receipt_algorithm": ReceiptAlgorithm.SECP256K1,
    "receipt_key": b"\x07" * 32,
    "sealing_key": b"\x07" * 32,
    "model": OTHER,
    "config": OTHER,
    "challenge": b"challengf",
    "started": 1_750_000_001,
}


def test_every_field_has_a_change() -> None:
    assert set(CHANGED) == {field.name for field in fields(Session)}


@pytest.mark.parametrize("name", CHANGED)
def test_each_field_of_the_record_is_bound(name: str) -> None:
    """The record is rewritten with all its digests; the quote is the one thing out of reach."""
    honest = session()
    change = {name: CHANGED[name]}
    if name == "receipt_algorithm":
        change["receipt_key"] = b"\x02" * 33
    changed = replace(honest, **change)
    assert changed.digest != honest.digest
    with refused("tee.10"):
        check_binding(
            session_data(honest), Mode.SESSION, STATEMENT, Session.read(changed.to_bytes())
        )


def test_no_challenge_is_not_an_empty_one() -> None:
    honest = session(challenge=None)
    assert Session.read(honest.to_bytes()) == honest
    with refused("tee.10"):
        check_binding(session_data(honest), Mode.SESSION, STATEMENT, session())
    with refused("tee.2"):
        Session.read(honest.to_bytes().replace(b'"challenge":null', b'"challenge":""'))


def test_mode_confusion() -> None:
    """Every mix of mode, evidence and quote but the two honest ones is refused."""
    record = session()
    quotes = {"inference": inference_data(STATEMENT), "session": session_data(record)}
    accepted, numbers = set(), set()
    for mode in Mode:
        for quote, data in quotes.items():
            for carried in (None, record):
                try:
                    check_binding(data, mode, STATEMENT, carried)
                except VerificationError as error:
                    numbers.add((mode.value, quote, carried is not None, error.check))
                else:
                    accepted.add((mode.value, quote, carried is not None))
    assert accepted == {("inference", "inference", False), ("session", "session", True)}
    assert numbers == {
        # A record where there should be none, or none where there should be one.
        ("inference", "inference", True, "tee.9"),
        ("inference", "session", True, "tee.9"),
        ("session", "inference", False, "tee.9"),
        ("session", "session", False, "tee.9"),
        # Evidence of the stated mode, quote of the other one.
        ("session", "inference", True, "tee.9"),
        ("inference", "session", False, "tee.10"),
    }


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("swap", ["raw", "short", "long", "empty", "zeros", "plain-hash"])
def test_report_data_of_other_forms(mode: Mode, swap: str) -> None:
    record = session() if mode is Mode.SESSION else None
    honest = session_data(record) if record else inference_data(STATEMENT)
    data = {
        "raw": bytes.fromhex(STATEMENT) + bytes(32),
        "short": honest[:-1],
        "long": honest + b"\0",
        "empty": b"",
        "zeros": bytes(64),
        "plain-hash": hashlib.sha512(bytes.fromhex(STATEMENT)).digest(),
    }[swap]
    with refused("tee.10"):
        check_binding(data, mode, STATEMENT, record)


@given(st.integers(0, 511), st.sampled_from(Mode))
def test_each_bit_of_the_report_data(bit: int, mode: Mode) -> None:
    record = session() if mode is Mode.SESSION else None
    data = bytearray(session_data(record) if record else inference_data(STATEMENT))
    data[bit // 8] ^= 1 << bit % 8
    with refused("tee.10"):
        check_binding(bytes(data), mode, STATEMENT, record)


# -- the record -----------------------------------------------------------------------------------

RECORDS = st.builds(
    session,
    st.sampled_from(ReceiptAlgorithm),
    sealing_key=st.binary(min_size=32, max_size=32),
    model=st.binary(min_size=32, max_size=32).map(bytes.hex),
    config=st.binary(min_size=32, max_size=32).map(bytes.hex),
    challenge=st.none() | st.binary(min_size=1, max_size=64),
    started=st.integers(0, 253402300799),
)


@given(RECORDS)
def test_round_trip(record: Session) -> None:
    assert Session.read(record.to_bytes()) == record


@given(RECORDS, RECORDS)
def test_equal_records_alone_have_equal_digests(first: Session, second: Session) -> None:
    assert (first == second) == (first.digest == second.digest)
    assert (first == second) == (session_data(first) == session_data(second))


@pytest.mark.parametrize("algorithm", ReceiptAlgorithm)
def test_read_is_strict(algorithm: ReceiptAlgorithm) -> None:
    assert_strict(session(algorithm).to_bytes(), Session.read, "tee.2")


def test_keys_of_the_other_algorithms_length() -> None:
    text = session().to_bytes()
    with refused("tee.2"):
        Session.read(text.replace(b'"ed25519"', b'"secp256k1"'))


def test_long_records_are_not_parsed() -> None:
    with refused("tee.2"):
        Session.read(b'"' + b"a" * 5000 + b'"')


@settings(max_examples=300)
@given(st.binary(max_size=200))
@example(b"\xff\xfe")
@example(b"1" * 5000)
@example(b"-0")
@example(b'"\\ud800"')
def test_any_bytes(data: bytes) -> None:
    with refused("tee.2"):
        Session.read(data)


@pytest.mark.parametrize(
    "change",
    [
        {"receipt_key": b""},
        {"receipt_key": bytes(33)},
        {"sealing_key": bytes(31)},
        {"sealing_key": bytes(33)},
        {"model": "A1" * 32},
        {"config": "short"},
        {"challenge": b""},
        {"challenge": bytes(65)},
        {"started": -1},
        {"started": 253402300800},
    ],
    ids=str,
)
def test_what_cannot_be_written_is_misuse(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        session(**change)
