"""Reference values: one form, signed or not; anything else is the mistake of who named the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.canonical import dumps
from proofml.errors import UsageError
from proofml.keys import SigningKey, envelope
from proofml.tee.measure import CODE_REGISTERS, code_measurement
from proofml.tee.platform import Platform, Source
from proofml.tee.reference import MAX_FILE_BYTES, PREDICATE_TYPE, Reference, ReferenceFile

MRTD, OTHER = "0a" * 48, "0b" * 48
IMAGE = Reference(
    Platform.TDX,
    "image 1.2",
    {"mrtd": frozenset({MRTD, OTHER}), "compose-hash": frozenset({"cc" * 32})},
)
ENCLAVE = Reference(
    Platform.SGX,
    "enclave",
    {"mrenclave": frozenset({"dd" * 32}), "isvprodid": frozenset({"0001"})},
)
FILE = ReferenceFile((IMAGE, ENCLAVE))


def test_written_and_read() -> None:
    data = FILE.to_bytes()
    assert ReferenceFile.read(data) == FILE
    value = json.loads(data)
    assert value["predicateType"] == PREDICATE_TYPE
    # Every digest once, by its kind; what is no digest is no subject.
    assert value["subject"] == [
        {"name": "tdx:compose-hash", "digest": {"sha256": "cc" * 32}},
        {"name": "tdx:mrtd", "digest": {"sha384": MRTD}},
        {"name": "tdx:mrtd", "digest": {"sha384": OTHER}},
        {"name": "sgx:mrenclave", "digest": {"sha256": "dd" * 32}},
    ]


def test_signed(tmp_path: Path) -> None:
    keys = [SigningKey.generate(), SigningKey.generate()]
    path = tmp_path / "values.json"
    path.write_bytes(FILE.to_bytes(keys))
    found = ReferenceFile.read(path.read_bytes())
    assert found.references == FILE.references
    assert set(found.signers) == {key.public for key in keys}
    for one in ReferenceFile.load(path, frozenset({keys[0].public})):
        assert one.source is Source.PROVIDER
        assert keys[0].public in one.origin
        assert "values.json" in one.origin


def test_signed_by_nobody_who_has_to(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    wanted = frozenset({SigningKey.generate().public})
    for keys in ([], [SigningKey.generate()]):
        path.write_bytes(FILE.to_bytes(keys))
        assert ReferenceFile.load(path)  # the verifier named it: without keys that is enough
        with pytest.raises(UsageError, match="signed by one of"):
            ReferenceFile.load(path, wanted)


def test_a_signature_that_does_not_verify(tmp_path: Path) -> None:
    """Also one by another key over the same values under that key's name."""
    key, thief = SigningKey.generate(), SigningKey.generate()
    payload = FILE.to_bytes()
    value = json.loads(envelope(payload, [thief]))
    value["signatures"][0]["keyid"] = key.public
    with pytest.raises(UsageError, match="does not verify"):
        ReferenceFile.read(dumps(value))
    # And over other values than those that are in the envelope.
    value = json.loads(envelope(payload, [key]))
    value["payload"] = json.loads(envelope(ReferenceFile((IMAGE,)).to_bytes(), [key]))["payload"]
    with pytest.raises(UsageError, match="does not verify"):
        ReferenceFile.read(dumps(value))


def _set(*path: Any) -> Callable[[Any], None]:
    *inner, key, value = path

    def change(found: Any) -> None:
        for step in inner:
            found = found[step]
        found[key] = value

    return change


BROKEN: dict[str, Callable[[Any], None]] = {
    "another type": _set("_type", "https://in-toto.io/Statement/v0.1"),
    "a proof's predicate": _set("predicateType", "https://proofml.dev/attestation/inference/v1"),
    "another version": _set("predicate", "version", 2),
    "more": _set("predicate", "more", 1),
    "more outside": _set("more", 1),
    "no reference": _set("predicate", "references", []),
    "another platform": _set("predicate", "references", 0, "platform", "sgx"),
    "no register": _set("predicate", "references", 0, "registers", {}),
    "no value": _set("predicate", "references", 0, "registers", "mrtd", []),
    "an unknown register": _set("predicate", "references", 0, "registers", "rtmr9", [MRTD]),
    "a value of another size": _set("predicate", "references", 0, "registers", "mrtd", ["0a"]),
    "a value in capitals": _set("predicate", "references", 0, "registers", "mrtd", ["0A" * 48]),
    "a value not among the subjects": _set(
        "predicate", "references", 0, "registers", "mrtd", ["0c" * 48]
    ),
    "no subject": _set("subject", []),
    "a subject of another digest": _set("subject", 0, "digest", "sha256", "ee" * 32),
    "a long name": _set("predicate", "references", 0, "name", "a" * 201),
    "a name with control characters": _set("predicate", "references", 0, "name", "\x1b[2J"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_anything_else_is_refused(name: str) -> None:
    value = json.loads(FILE.to_bytes())
    BROKEN[name](value)
    for data in (dumps(value), envelope(dumps(value), [SigningKey.generate()])):
        with pytest.raises(UsageError, match="a file of"):
            ReferenceFile.read(data, "a file of values")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        FILE.to_bytes() + b"\n",
        b" " + FILE.to_bytes(),
        b"[" * 100_000,
        b'{"payloadType":1}',
        b" " * (MAX_FILE_BYTES + 1),
    ],
    ids=lambda data: data[:12].decode(),
)
def test_bytes_that_are_none(data: bytes) -> None:
    with pytest.raises(UsageError):
        ReferenceFile.read(data)


@given(st.integers(0, 2**32), st.integers(1, 255))
def test_a_changed_byte_is_read_as_something_else_or_not_at_all(place: int, change: int) -> None:
    data = bytearray(FILE.to_bytes())
    data[place % len(data)] ^= change
    try:
        found = ReferenceFile.read(bytes(data))
    except UsageError:
        return
    assert found != FILE


def test_what_cannot_be_read_back_is_not_written() -> None:
    wrong = Reference(Platform.TDX, "image", {"mrenclave": frozenset({"dd" * 32})})
    with pytest.raises(UsageError, match="mrenclave"):
        ReferenceFile((wrong,)).to_bytes()
    with pytest.raises(UsageError, match="references"):
        ReferenceFile(()).to_bytes()


@pytest.mark.parametrize("platform", Platform)
def test_the_code_of_this_installation_is_a_reference(platform: Platform) -> None:
    registers = {name: frozenset({value}) for name, value in code_measurement(platform).items()}
    assert list(registers) == [CODE_REGISTERS[platform][0]]
    file = ReferenceFile((Reference(platform, "own", registers, Source.DERIVED),))
    assert ReferenceFile.read(file.to_bytes()) == file


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        ReferenceFile.load(tmp_path / "none")
    with pytest.raises(UsageError, match="no such file"):
        ReferenceFile.load(tmp_path)
