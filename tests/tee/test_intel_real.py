"""Quotes from hardware under Intel's pinned root, with the collateral of their time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proofml.tee import one_form, sgx, tdx
from proofml.tee.platform import Attestation, Platform, RootKind
from proofml.tee.roots import Roots
from tests.tee.platform_cases import SNAPSHOTS, covers, flipped, listing, number

#: When the collateral of both quotes holds.
TIME = 1750330800
DAY = 86400
INTEL = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"


def load(vectors: Path, name: str, platform: Platform) -> Attestation:
    folder = vectors / "tee"
    collateral = folder / f"{name}.collateral.json"
    return Attestation(platform, (folder / f"{name}.bin").read_bytes(), collateral.read_bytes())


@pytest.fixture(scope="module")
def tdx_quote(vectors: Path) -> Attestation:
    return load(vectors, "dcap_qvl_tdx_quote_v4", Platform.TDX)


@pytest.fixture(scope="module")
def sgx_quote(vectors: Path) -> Attestation:
    return load(vectors, "dcap_qvl_sgx_quote_v3", Platform.SGX)


@pytest.fixture(scope="module")
def bare_quote(vectors: Path) -> bytes:
    return (vectors / "tee" / "go_tdx_guest_spr_e4_quote_v4.bin").read_bytes()


def test_tdx_is_up_to_date(tdx_quote: Attestation) -> None:
    found = tdx.verify(tdx_quote, Roots.vendor(), TIME)
    assert (found.root.sha256, found.root.kind) == (INTEL, RootKind.VENDOR)
    assert (found.tcb_status, found.advisories) == ("UpToDate", ())
    assert found.measurements["mrtd"].startswith("91eb2b44d141d4ece09f0c75c2c53d24")
    assert found.report_data.hex().startswith("9a9d48e7f6799642d3d1b34e1e5e1742")
    assert not found.attributes["debug"]
    assert found.details["fmspc"] == "b0c06f000000"
    assert found.not_before <= TIME <= found.not_after


def test_sgx_needs_configuration_which_a_strict_policy_refuses(sgx_quote: Attestation) -> None:
    found = sgx.verify(sgx_quote, Roots.vendor(), TIME)
    assert found.root.sha256 == INTEL
    assert found.tcb_status == "ConfigurationAndSWHardeningNeeded"
    assert found.advisories == ("INTEL-SA-00289", "INTEL-SA-00615")
    assert not found.attributes["debug"]


@pytest.mark.parametrize("now", [TIME - DAY, TIME + 40 * DAY])
def test_outside_the_time_of_the_collateral(
    tdx_quote: Attestation, sgx_quote: Attestation, now: int
) -> None:
    for module, evidence in ((tdx, tdx_quote), (sgx, sgx_quote)):
        assert number(lambda m=module, e=evidence: m.verify(e, Roots.vendor(), now)) in (
            "tee.6",
            "tee.8",
        )


def test_without_collateral_chain_and_signatures_are_shown(bare_quote: bytes) -> None:
    found = tdx.signatures(bare_quote, Roots.vendor(), TIME, lenient=True)
    assert found.path.root.sha256 == INTEL
    assert found.details["fmspc"] == "50806f000000"
    assert found.status is None
    # What stands behind the signature is no part of the quote: a remark by who published it.
    assert number(lambda: tdx.signatures(bare_quote, Roots.vendor(), TIME)) == "tee.3"
    quote = tdx.parse(bare_quote, lenient=True)
    exact = bare_quote[: -len(quote.fields[-1].data)]
    tdx.signatures(exact, Roots.vendor(), TIME)
    evidence = Attestation(Platform.TDX, exact)
    assert number(lambda: tdx.verify(evidence, Roots.vendor(), TIME)) == "tee.8"


def test_collateral_of_another_platform(tdx_quote: Attestation, sgx_quote: Attestation) -> None:
    swapped = Attestation(Platform.TDX, tdx_quote.quote, sgx_quote.collateral)
    # Signed by the same root: the lists are of another authority below it.
    assert number(lambda: tdx.verify(swapped, Roots.vendor(), TIME)) == "tee.6"


def test_no_root_is_held(tdx_quote: Attestation) -> None:
    assert number(lambda: tdx.verify(tdx_quote, Roots(()), TIME)) == "tee.4"


def test_every_field(tdx_quote: Attestation, sgx_quote: Attestation, bare_quote: bytes) -> None:
    for name, fields, data in (
        ("tdx_quote_v4.txt", tdx.parse(tdx_quote.quote).fields, tdx_quote.quote),
        ("sgx_quote_v3.txt", sgx.parse(sgx_quote.quote).fields, sgx_quote.quote),
        ("tdx_quote_v4_bare.txt", tdx.parse(bare_quote, lenient=True).fields, bare_quote),
    ):
        assert covers(fields, len(data))
        assert listing(fields) == (SNAPSHOTS / name).read_text(encoding="ascii")


def test_one_platform_for_the_other(tdx_quote: Attestation, sgx_quote: Attestation) -> None:
    assert number(lambda: sgx.parse(tdx_quote.quote)) == "tee.3"
    assert number(lambda: tdx.parse(sgx_quote.quote)) == "tee.3"


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_one_bit_of_a_quote(
    tdx_quote: Attestation, sgx_quote: Attestation, data: st.DataObject
) -> None:
    """Every bit of both quotes counts."""
    for module, evidence in ((tdx, tdx_quote), (sgx, sgx_quote)):
        quote = evidence.quote
        bit = data.draw(st.integers(0, 8 * len(quote) - 1))
        changed = Attestation(evidence.platform, flipped(quote, bit), evidence.collateral)
        found = number(lambda m=module, e=changed: m.verify(e, Roots.vendor(), TIME))
        assert found in {"tee.3", "tee.4", "tee.5", "tee.6", "tee.7", "tee.8"}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_one_bit_of_the_collateral(
    tdx_quote: Attestation, sgx_quote: Attestation, data: st.DataObject
) -> None:
    """Every bit of what a proof carries counts: by a check, or as another form of the same."""
    for module, evidence in ((tdx, tdx_quote), (sgx, sgx_quote)):
        exact = one_form.normalised(evidence)
        bit = data.draw(st.integers(0, 8 * len(exact.collateral) - 1))
        changed = replace(exact, collateral=flipped(exact.collateral, bit))
        found = number(lambda m=module, e=changed: m.verify(e, Roots.vendor(), TIME))
        if found == "accepted":
            found = number(lambda e=changed: one_form.check_form(e))
        assert found in {"tee.2", "tee.4", "tee.5", "tee.6", "tee.8"}


def test_parts_of_the_collateral_are_missing(
    tdx_quote: Attestation, sgx_quote: Attestation
) -> None:
    """Without the identity of the quoting enclave anybody's enclave would do (CVE-2026-22696)."""
    for module, evidence in ((tdx, tdx_quote), (sgx, sgx_quote)):
        honest = json.loads(evidence.collateral)
        for names, judged in (
            (("qe_identity", "qe_identity_signature"), "tee.8"),
            (("tcb_info", "tcb_info_signature"), "tee.8"),
            (("root_ca_crl",), "tee.6"),
            (("pck_crl",), "tee.6"),
            (("qe_identity_issuer_chain",), "tee.5"),
        ):
            empty = honest | dict.fromkeys(names, "")
            without = {name: value for name, value in honest.items() if name not in names}
            for parts, check in ((empty, judged), (without, "tee.2")):
                changed = replace(evidence, collateral=json.dumps(parts).encode())
                found = number(lambda m=module, e=changed: m.verify(e, Roots.vendor(), TIME))
                assert found == check


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(cut=st.integers(0, 5005))
def test_a_quote_cut_off(tdx_quote: Attestation, sgx_quote: Attestation, cut: int) -> None:
    padding = len(tdx.parse(tdx_quote.quote).fields[-1].data)
    if cut < len(tdx_quote.quote) - padding:
        assert number(lambda: tdx.parse(tdx_quote.quote[:cut])) == "tee.3"
    if cut < len(sgx_quote.quote):
        assert number(lambda: sgx.parse(sgx_quote.quote[:cut])) == "tee.3"
