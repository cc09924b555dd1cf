"""The session file: one byte string for one session, and tee.2 for all others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.container import pack
from proofml.errors import UsageError
from proofml.proof import Proof
from proofml.tee.platform import Attestation, Platform
from proofml.tee.session_file import MAX_FILE_BYTES, SessionFile

from .record_cases import configuration, refusal, refused
from .record_cases import session as record

FILE = SessionFile(
    Attestation(Platform.TDX, b"quote", b"collateral", b"[]"),
    configuration().to_bytes(),
    record().to_bytes(),
)
HEAD = b'{"platform":"tdx","type":"proofml/tee/session-file","version":1}'
SECTIONS = {
    "quote": b"quote",
    "collateral": b"collateral",
    "event-log": b"[]",
    "config": FILE.config,
    "session": FILE.session,
}


def test_it_is_read_as_it_was_written() -> None:
    assert SessionFile.read(FILE.to_bytes()) == FILE
    assert FILE.to_bytes() == pack(HEAD, SECTIONS)
    assert FILE.platform is Platform.TDX
    assert FILE.record() == record()


def test_a_platform_without_collateral_and_log() -> None:
    file = replace(FILE, attestation=Attestation(Platform.NITRO, b"quote"))
    assert SessionFile.read(file.to_bytes()) == file


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data: bytes) -> None:
    with refused("tee.2"):
        SessionFile.read(data)


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_another_file(at: int, change: int) -> None:
    data = bytearray(FILE.to_bytes())
    data[at % len(data)] ^= change
    check = refusal(lambda: SessionFile.read(bytes(data)))
    if check == "accepted":
        assert SessionFile.read(bytes(data)) != FILE
        assert SessionFile.read(bytes(data)).to_bytes() == bytes(data)
    else:
        assert check == "tee.2"


@pytest.mark.parametrize(
    ("head", "sections"),
    [
        (HEAD.replace(b"tdx", b"arm"), SECTIONS),
        (HEAD.replace(b"session-file", b"proof"), SECTIONS),
        (HEAD.replace(b":1}", b":2}"), SECTIONS),
        (HEAD.replace(b":1}", b':1,"x":1}'), SECTIONS),
        (HEAD + b" ", SECTIONS),
        (b"", SECTIONS),
        (HEAD, {**SECTIONS, "more": b"x"}),
        (HEAD, {name: data for name, data in SECTIONS.items() if name != "session"}),
        (HEAD, {name: data for name, data in SECTIONS.items() if name != "quote"}),
        (HEAD, {name: data for name, data in SECTIONS.items() if name != "config"}),
        (HEAD, {**SECTIONS, "quote": b""}),
        (HEAD, {**SECTIONS, "collateral": b""}),
        (HEAD, {**SECTIONS, "session": b"{}"}),
        (HEAD, {**SECTIONS, "quote": bytes(1 << 19)}),
        (HEAD, {**SECTIONS, "session": bytes(5000)}),
    ],
    ids=range(15),
)
def test_another_form_is_refused(head: bytes, sections: dict[str, bytes]) -> None:
    with refused("tee.2"):
        SessionFile.read(pack(head, sections))


def test_it_is_no_proof() -> None:
    with refused("core.2"):
        Proof.read(FILE.to_bytes())


def test_a_file_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        SessionFile.load(tmp_path / "none")
    with pytest.raises(UsageError, match="no such file"):
        SessionFile.load(tmp_path)
    with pytest.raises(UsageError, match="cannot be written"):
        FILE.save(tmp_path / "no" / "folder")
    large = tmp_path / "large"
    with large.open("wb") as out:
        out.truncate(MAX_FILE_BYTES + 1)
    with refused("tee.2"):
        SessionFile.load(large)
