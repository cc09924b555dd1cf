"""TDX quotes: where each field stands, and what is read from it."""

from __future__ import annotations

import pytest

from proofml.errors import UsageError
from proofml.tee import tdx
from proofml.tee.platform import Attestation, Platform
from proofml.tee.simulator.intel import IntelAuthority, td_body
from tests.tee.conftest import NOW
from tests.tee.intel_cases import DATA, Bench, body_with
from tests.tee.platform_cases import covers, flipped, number

#: Offsets in a quote of version 4: Intel TDX DCAP Quoting Library API, A.3.2; version 5 has six
#: bytes more before the body.
OFFSETS = {
    "header.version": (0, 2),
    "header.att_key_type": (2, 2),
    "header.tee_type": (4, 4),
    "header.qe_vendor_id": (12, 16),
    "header.user_data": (28, 20),
    "td.tee_tcb_svn": (48, 16),
    "td.mrseam": (64, 48),
    "td.mrsignerseam": (112, 48),
    "td.seam_attributes": (160, 8),
    "td.attributes": (168, 8),
    "td.xfam": (176, 8),
    "td.mrtd": (184, 48),
    "td.mrconfigid": (232, 48),
    "td.mrowner": (280, 48),
    "td.mrownerconfig": (328, 48),
    "td.rtmr0": (376, 48),
    "td.rtmr1": (424, 48),
    "td.rtmr2": (472, 48),
    "td.rtmr3": (520, 48),
    "td.report_data": (568, 64),
    "signature_length": (632, 4),
    "signature.signature": (636, 64),
    "signature.attestation_key": (700, 64),
    "signature.certification.type": (764, 2),
    "signature.certification.length": (766, 4),
    "qe_report.cpu_svn": (770, 16),
    "qe_report.report_data": (770 + 320, 64),
    "qe_report_signature": (770 + 384, 64),
    "qe_auth_length": (770 + 448, 2),
    "qe_auth": (770 + 450, 32),
    "pck_chain.type": (770 + 482, 2),
    "pck_chain.length": (770 + 484, 4),
}
TD15 = {"td.tee_tcb_svn2": (632, 16), "td.mrservicetd": (648, 48)}
REGISTERS = (
    "mrseam", "mrsignerseam", "mrtd", "mrconfigid", "mrowner", "mrownerconfig",
    "rtmr0", "rtmr1", "rtmr2", "rtmr3",
)  # fmt: skip


@pytest.mark.parametrize("name", ["tdx-v4", "tdx-v5", "tdx-v5-td15"])
def test_where_fields_stand(intel: IntelAuthority, name: str) -> None:
    bench = Bench(intel, name)
    fields = tdx.parse(bench.quote).fields
    assert covers(fields, len(bench.quote))
    found = {field.name: (field.offset, len(field.data)) for field in fields}
    version5, more = 6 * (name != "tdx-v4"), 64 * (name == "tdx-v5-td15")
    if version5:
        assert (found["body_type"], found["body_length"]) == ((48, 2), (50, 4))
    wanted = OFFSETS | (TD15 if more else {})
    for field, (offset, size) in wanted.items():
        behind = more if field in OFFSETS and offset >= 632 else 0
        moved = offset + (version5 if offset >= 48 else 0) + behind
        assert found[field] == (moved, size), field
    assert tdx.TD10_BYTES == 632 - 48
    assert tdx.TD10_BYTES + 64 == tdx.TD15_BYTES


@pytest.mark.parametrize("name", ["tdx-v4", "tdx-v5", "tdx-v5-td15"])
def test_each_register_is_its_own_bytes(intel: IntelAuthority, name: str) -> None:
    """Every register has another value, and so has each security version."""
    bench = Bench(intel, name)
    changes = {}
    for index, register in enumerate(REGISTERS, 1):
        start = OFFSETS[f"td.{register}"][0] - 48
        changes |= {start + at: index for at in range(48)}
    changes |= {at: 100 + at for at in range(16)}
    names = list(REGISTERS)
    if name == "tdx-v5-td15":
        changes |= {584 + at: 200 + at for at in range(16)} | {600 + at: 99 for at in range(48)}
        names.append("mrservicetd")
    quote = tdx.parse(intel.sign(body_with(bench.body, changes), NOW))
    assert quote.registers == {
        register: bytes([99 if register == "mrservicetd" else index]) * 48
        for index, register in enumerate(names, 1)
    }
    assert quote.tcb_svn == bytes(range(100, 116))
    assert quote.tcb_svn2 == (bytes(range(200, 216)) if name == "tdx-v5-td15" else None)
    assert quote.report_data == DATA


def test_what_is_verified_has_every_register(intel: IntelAuthority) -> None:
    for name in ("tdx-v4", "tdx-v5", "tdx-v5-td15"):
        found = Bench(intel, name).verify()
        more = {"mrservicetd"} if name == "tdx-v5-td15" else set()
        assert set(found.measurements) == {*REGISTERS} | more
        assert set(found.svns) == {"pce_svn", "qe_isv_svn", "tcb_evaluation"} | {
            f"tee_tcb_svn{index}" for index in range(16)
        }
        assert set(found.attributes) == set(tdx.TD_ATTRIBUTES)
        assert found.details["quote"] == f"version {name[5]}"


@pytest.mark.parametrize("bit", range(64))
def test_each_attribute(intel: IntelAuthority, bit: int) -> None:
    known = set(tdx.TD_ATTRIBUTES.values())
    data = intel.sign(td_body(report_data=DATA, attributes=1 << bit), NOW)
    if bit in known:
        assert tdx.parse(data).attributes == 1 << bit
    else:
        assert number(lambda: tdx.parse(data)) == "tee.3"


def test_padding_is_zeros_and_not_part_of_it(intel: IntelAuthority) -> None:
    quote = Bench(intel, "tdx-v4").quote
    padded = quote + bytes(100)
    fields = tdx.parse(padded).fields
    assert covers(fields, len(padded))
    assert (fields[-1].name, fields[-1].data) == ("padding", bytes(100))
    assert number(lambda: tdx.parse(flipped(padded, 8 * len(quote) + 8 * 50))) == "tee.3"
    remark = tdx.parse(quote + b"remark", lenient=True)
    assert remark.fields[-1].data == b"remark"
    assert remark.envelope.signed == tdx.parse(quote).envelope.signed


def test_cut_off_everywhere(intel: IntelAuthority) -> None:
    quote = Bench(intel, "tdx-v5-td15").quote
    for size in range(0, len(quote), 7):
        assert number(lambda n=size: tdx.parse(quote[:n])) == "tee.3"
        assert number(lambda n=size: tdx.parse(quote[:n], lenient=True)) == "tee.3"


def test_evidence_of_another_platform_is_misuse(intel: IntelAuthority) -> None:
    bench = Bench(intel, "tdx-v4")
    evidence = Attestation(Platform.SGX, bench.quote, bench.collateral)
    with pytest.raises(UsageError, match="tdx was expected"):
        tdx.verify(evidence, bench.roots, NOW)
