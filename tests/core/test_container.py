"""The container: `unpack` reads what `pack` writes, and refuses everything else by core.1."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml import container
from proofml.container import ATTESTATION, MAGIC, MAX_SECTIONS, pack, unpack
from proofml.errors import VerificationError
from proofml.testing.attacker import join

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True).filter(
    lambda name: name != ATTESTATION
)
SECTIONS = st.dictionaries(NAMES, st.binary(max_size=20), max_size=6)


def refused(data: bytes) -> str:
    with pytest.raises(VerificationError) as caught:
        unpack(data)
    assert caught.value.check == "core.1"
    return str(caught.value)


@given(st.binary(max_size=50), SECTIONS)
def test_round_trip(attestation: bytes, sections: dict[str, bytes]) -> None:
    data = pack(attestation, sections)
    assert unpack(data) == (attestation, sections)
    assert list(unpack(data)[1]) == sorted(sections)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(data: bytes, with_magic: bool) -> None:
    data = MAGIC + data if with_magic else data
    try:
        attestation, sections = unpack(data)
    except VerificationError as error:
        found = error.check
    else:
        found = "core.1" if pack(attestation, sections) == data else "another file"
    assert found == "core.1"


@given(st.binary(max_size=20), SECTIONS, st.data())
def test_any_change(attestation: bytes, sections: dict[str, bytes], data: st.DataObject) -> None:
    """A changed file is refused or is another content; never the same content twice."""
    packed = bytearray(pack(attestation, sections))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack(bytes(packed))
    except VerificationError:
        return
    assert found != (attestation, sections)
    assert pack(*found) == bytes(packed)


def test_messages() -> None:
    good = pack(b"{}", {"a": b"1", "b": b"2"})
    assert "not a .pml file" in refused(b"GIF89a" + good)
    assert "container version" in refused(MAGIC + b"\2\0" + good[10:])
    assert "number of sections" in refused(MAGIC + b"\1\0\0\0")
    assert "number of sections" in refused(MAGIC + struct.pack("<HH", 1, MAX_SECTIONS + 1))
    assert "bytes after the last section" in refused(good + b"\0")
    assert "file ends inside" in refused(good[:-1])
    assert "first section" in refused(join([("a", b"1")]))
    assert "out of order" in refused(join([(ATTESTATION, b"{}"), ("b", b""), ("a", b"")]))
    assert "out of order" in refused(join([(ATTESTATION, b"{}"), ("a", b""), ("a", b"")]))
    assert "out of order" in refused(join([(ATTESTATION, b"{}"), (ATTESTATION, b"{}")]))
    assert "is not allowed" in refused(join([(ATTESTATION, b"{}"), ("A", b"")]))
    assert "is not allowed" in refused(join([(ATTESTATION, b"{}"), ("a\n", b"")]))


def test_every_prefix_is_refused() -> None:
    good = pack(b"{}", {"a": b"123", "b": b""})
    for end in range(len(good)):
        refused(good[:end])


def test_sizes_that_lie() -> None:
    """A size far beyond the file is refused before anything is allocated for it."""
    head = MAGIC + struct.pack("<HH", 1, 2) + b"\x0battestation" + struct.pack("<Q", 2) + b"{}"
    for size in (1, 2**31, 2**63, 2**64 - 1):
        assert "file ends inside a" in refused(head + b"\1a" + struct.pack("<Q", size))
    huge = MAGIC + struct.pack("<HH", 1, 1) + b"\x0battestation" + struct.pack("<Q", 2**40)
    assert "first section" in refused(huge)


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be read back is not written."""
    with pytest.raises(ValueError, match="not allowed"):
        pack(b"{}", {"Upper": b""})
    body = b"{}"
    with pytest.raises(ValueError, match="not allowed"):
        pack(body, {ATTESTATION: body})
    with pytest.raises(ValueError, match="at most"):
        pack(b"{}", {f"s{i}": b"" for i in range(MAX_SECTIONS)})
    full = pack(b"{}", {f"s{i}": b"" for i in range(MAX_SECTIONS - 1)})
    assert len(unpack(full)[1]) == MAX_SECTIONS - 1
    monkeypatch.setattr(container, "MAX_ATTESTATION_BYTES", 3)
    with pytest.raises(ValueError, match="attestation of 4 bytes"):
        pack(b"{  }", {})
    monkeypatch.setattr(container, "MAX_FILE_BYTES", 40)
    with pytest.raises(ValueError, match="at most 40"):
        pack(b"{}", {"a": b"x" * 40})
    assert "file size" in refused(full)
