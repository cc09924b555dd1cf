"""SGX quotes: where each field stands, and what is read from it."""

from __future__ import annotations

import pytest

from proofml.errors import UsageError
from proofml.tee import dcap, sgx
from proofml.tee.platform import Attestation, Platform
from proofml.tee.simulator.intel import IntelAuthority, sgx_body
from tests.tee.conftest import NOW
from tests.tee.intel_cases import DATA, Bench, body_with
from tests.tee.platform_cases import covers, number

#: Offsets in a quote of version 3: Intel SGX ECDSA QuoteLibReference DCAP API, A.4.
OFFSETS = {
    "header.version": (0, 2),
    "header.att_key_type": (2, 2),
    "header.tee_type": (4, 4),
    "header.qe_svn": (8, 2),
    "header.pce_svn": (10, 2),
    "header.qe_vendor_id": (12, 16),
    "header.user_data": (28, 20),
    "report.cpu_svn": (48, 16),
    "report.misc_select": (64, 4),
    "report.reserved_20": (68, 12),
    "report.isv_ext_prod_id": (80, 16),
    "report.attributes": (96, 16),
    "report.mrenclave": (112, 32),
    "report.reserved_96": (144, 32),
    "report.mrsigner": (176, 32),
    "report.reserved_160": (208, 32),
    "report.config_id": (240, 64),
    "report.isv_prod_id": (304, 2),
    "report.isv_svn": (306, 2),
    "report.config_svn": (308, 2),
    "report.reserved_262": (310, 42),
    "report.isv_family_id": (352, 16),
    "report.report_data": (368, 64),
    "signature_length": (432, 4),
    "signature.signature": (436, 64),
    "signature.attestation_key": (500, 64),
    "qe_report.cpu_svn": (564, 16),
    "qe_report.report_data": (564 + 320, 64),
    "qe_report_signature": (948, 64),
    "qe_auth_length": (1012, 2),
    "qe_auth": (1014, 32),
    "pck_chain.type": (1046, 2),
    "pck_chain.length": (1048, 4),
}


def test_where_fields_stand(intel: IntelAuthority) -> None:
    quote = Bench(intel, "sgx-v3").quote
    fields = sgx.parse(quote).fields
    assert covers(fields, len(quote))
    found = {field.name: (field.offset, len(field.data)) for field in fields}
    for name, where in OFFSETS.items():
        assert found[name] == where, name


def test_each_part_is_its_own_bytes(intel: IntelAuthority) -> None:
    bench = Bench(intel, "sgx-v3")
    parts = ("isv_ext_prod_id", "mrenclave", "mrsigner", "config_id", "isv_family_id")
    changes = {
        OFFSETS[f"report.{name}"][0] - 48 + at: index
        for index, name in enumerate(parts, 1)
        for at in range(OFFSETS[f"report.{name}"][1])
    }
    numbers = {"isv_prod_id": 0x0102, "isv_svn": 0x0304, "config_svn": 0x0506}
    for name, value in numbers.items():
        start = OFFSETS[f"report.{name}"][0] - 48
        changes |= {start: value & 0xFF, start + 1: value >> 8}
    found = bench.verify(intel.sign(body_with(bench.body, changes), NOW))
    assert found.measurements == {
        "isvextprodid": "01" * 16,
        "mrenclave": "02" * 32,
        "mrsigner": "03" * 32,
        "configid": "04" * 64,
        "isvfamilyid": "05" * 16,
        "isvprodid": "0102",
    }
    assert {"isv_svn": 0x0304, "config_svn": 0x0506}.items() <= found.svns.items()
    assert set(found.svns) == {
        "isv_svn", "config_svn", "pce_svn", "qe_isv_svn", "tcb_evaluation",
    }  # fmt: skip
    assert found.report_data == DATA
    assert set(found.attributes) == set(dcap.SGX_ATTRIBUTES)
    assert found.details["quote"] == "version 3"


@pytest.mark.parametrize("bit", range(64))
def test_each_attribute(intel: IntelAuthority, bit: int) -> None:
    data = intel.sign(sgx_body(report_data=DATA, flags=1 << bit), NOW)
    if bit in dcap.SGX_ATTRIBUTES.values():
        (name,) = (one for one, on in sgx.parse(data).report.named_flags().items() if on)
        assert dcap.SGX_ATTRIBUTES[name] == bit
    else:
        assert number(lambda: sgx.parse(data)) == "tee.3"


def test_versions_in_the_header_are_of_the_quoting_enclave(intel: IntelAuthority) -> None:
    header = sgx.parse(intel.sign(sgx_body(report_data=DATA), NOW, qe_svn=0x0708)).envelope.header
    assert (header.qe_svn, header.pce_svn) == (0x0708, 13)
    assert (header.version, header.tee_type) == (3, dcap.TEE_SGX)


def test_cut_off_everywhere(intel: IntelAuthority) -> None:
    quote = Bench(intel, "sgx-v3").quote
    for size in range(0, len(quote), 7):
        assert number(lambda n=size: sgx.parse(quote[:n])) == "tee.3"


def test_evidence_of_another_platform_is_misuse(intel: IntelAuthority) -> None:
    bench = Bench(intel, "sgx-v3")
    evidence = Attestation(Platform.TDX, bench.quote, bench.collateral)
    with pytest.raises(UsageError, match="sgx was expected"):
        sgx.verify(evidence, bench.roots, NOW)
