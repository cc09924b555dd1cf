"""The attestation document from hardware, under AWS's pinned root."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proofml.tee import nitro
from proofml.tee.platform import Attestation, Platform, RootKind, Verified
from proofml.tee.roots import Roots
from proofml.tee.simulator import aws
from tests.tee.nitro_cases import (
    REAL_ROOT,
    REAL_TIME,
    number,
    real_document,
    simulated,
)

SNAPSHOT = Path(__file__).parent / "snapshots" / "nitro_document.txt"
DAY = 24 * 3600


@pytest.fixture(scope="module")
def real(vectors: Path) -> bytes:
    return real_document(vectors)


def verify(data: bytes, *, roots: Roots | None = None, now: int = REAL_TIME) -> Verified:
    return nitro.verify(Attestation(Platform.NITRO, data), roots or Roots.vendor(), now)


def judge(data: bytes, *, roots: Roots | None = None, now: int = REAL_TIME) -> str:
    return number(lambda: verify(data, roots=roots, now=now))


def test_it_verifies_under_the_pinned_root_at_its_own_time(real: bytes) -> None:
    found = verify(real)
    assert found.root.kind is RootKind.VENDOR
    assert found.root.sha256 == REAL_ROOT
    assert found.report_data == bytes(64)
    assert found.attributes == {"debug": False}
    assert found.measurements["pcr0"].startswith("5cb702954321826d7939d6da829a940d")
    assert len(found.measurements) == 16
    assert found.details["time"] == "2025-12-25T13:15:37Z"
    assert found.details["module_id"] == "i-0827e799ec9232d44-enc019b55a68bd2ed4b"
    # The leaf's three hours.
    assert (found.not_before, found.not_after) == (1766668534, 1766679337)


@pytest.mark.parametrize("now", [1766668533, 1766679338, REAL_TIME + DAY, REAL_TIME - DAY])
def test_it_is_refused_outside_the_life_of_its_leaf(real: bytes, now: int) -> None:
    assert judge(real, now=now) == "tee.5"


def test_it_is_refused_where_its_root_is_not_held(real: bytes) -> None:
    others = tuple(root for root in Roots.vendor().anchors if root.sha256 != REAL_ROOT)
    assert judge(real, roots=Roots(others)) == "tee.4"
    authority = aws.AwsAuthority.create(REAL_TIME)
    only = replace(simulated(authority.root_der).anchors[-1], kind=RootKind.SIMULATED)
    assert judge(real, roots=Roots((only,))) == "tee.4"


def test_its_certificates_do_not_vouch_for_what_others_sign(real: bytes) -> None:
    """An attacker has the whole real document, and an authority of his own."""
    document = nitro.parse(real)
    authority = aws.AwsAuthority.create(REAL_TIME)
    mine = authority.chain(authority.links(REAL_TIME))
    theirs = (*document.cabundle, document.certificate)

    def claimed(chain: Sequence[bytes]) -> str:
        data = authority.quote(
            report_data=bytes(64), now=REAL_TIME, pcrs=document.pcrs, chain=chain
        )
        return judge(data)

    assert claimed(theirs) == "tee.7"
    for at in range(1, len(theirs)):
        assert claimed([*theirs[:at], *mine[at:]]) == "tee.5"
    assert claimed(mine) == "tee.4"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_a_changed_byte_anywhere_is_refused(real: bytes, draw: st.DataObject) -> None:
    data = bytearray(real)
    data[draw.draw(st.integers(0, len(real) - 1))] ^= draw.draw(st.integers(1, 255))
    assert judge(bytes(data)) in {"tee.3", "tee.4", "tee.5", "tee.7"}


def test_the_frame_of_its_publisher_is_no_part_of_it(vectors: Path, real: bytes) -> None:
    framed = (vectors / "tee" / "dstack_nitro_attestation.cose").read_bytes()
    assert judge(framed) == "tee.3"
    assert judge(real + framed[4 + len(real) :]) == "tee.3"


def lines(document: nitro.Document) -> str:
    found = []
    for field in document.fields:
        shown = field.data.hex()
        if len(field.data) > 96:
            shown = f"sha256 {hashlib.sha256(field.data).hexdigest()}"
        found.append(f"{field.offset:5} {len(field.data):4} {field.name}: {shown} {field.note}")
    return "".join(f"{line.rstrip()}\n" for line in found)


def test_each_field_stands_where_the_snapshot_says(real: bytes) -> None:
    """PROOFML_WRITE_SNAPSHOTS=1 writes the snapshot anew; read the difference before it is kept."""
    document = nitro.parse(real)
    assert b"".join(field.data for field in document.fields) == real
    found = lines(document)
    if os.environ.get("PROOFML_WRITE_SNAPSHOTS"):
        SNAPSHOT.write_text(found, encoding="utf-8")
    assert found == SNAPSHOT.read_text(encoding="utf-8")
