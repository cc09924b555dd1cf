"""Simulated SGX and TDX quotes: every check by an attacker who signs all that he can.

He has the platform's own keys where a test says so; what he never has is the root's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proofml.tee import sgx, tdx
from proofml.tee.platform import Attestation, Platform, RootKind, Verified
from proofml.tee.roots import Roots, fingerprint
from proofml.tee.simulator import intel as simulated
from proofml.tee.simulator.intel import Body, IntelAuthority, sgx_body, td_body
from proofml.tee.simulator.intel_certificates import DAY, YEAR, issue, pck_extension
from tests.tee.conftest import NOW
from tests.tee.platform_cases import covers, flipped, number

DATA = bytes(range(64))
BODIES: dict[str, Callable[..., Body]] = {
    "tdx-v4": td_body,
    "tdx-v5": lambda **kind: td_body(version=5, **kind),
    "tdx-v5-td15": lambda **kind: td_body(td15=True, **kind),
    "sgx-v3": sgx_body,
}


class Bench:
    """One kind of quote, its honest evidence and its verifier."""

    def __init__(self, authority: IntelAuthority, name: str) -> None:
        self.authority = authority
        self.make = BODIES[name]
        self.platform = Platform.SGX if name.startswith("sgx") else Platform.TDX
        self.module: ModuleType = sgx if self.platform is Platform.SGX else tdx
        self.roots = Roots.vendor().with_simulated([fingerprint(authority.root_der)])
        self.body = self.make(report_data=DATA)
        self.quote = authority.sign(self.body, NOW)
        self.collateral = authority.collateral(NOW, platform=self.platform)

    def verify(
        self,
        quote: bytes | None = None,
        collateral: bytes | None = None,
        *,
        roots: Roots | None = None,
        now: int = NOW,
    ) -> Verified:
        evidence = Attestation(
            self.platform,
            self.quote if quote is None else quote,
            self.collateral if collateral is None else collateral,
        )
        found = self.module.verify(evidence, roots or self.roots, now)
        assert isinstance(found, Verified)
        return found

    def judge(self, *parts: bytes | None, **rest: Any) -> str:
        return number(lambda: self.verify(*parts, **rest))

    def made(self, **changes: Any) -> bytes:
        return self.authority.collateral(NOW, platform=self.platform, **changes)


@pytest.fixture(params=sorted(BODIES))
def bench(request: pytest.FixtureRequest, intel: IntelAuthority) -> Bench:
    return Bench(intel, request.param)


def test_dcap_qvl_accepts_it_under_this_root(bench: Bench) -> None:
    found = bench.verify()
    assert (found.root.kind, found.tcb_status) == (RootKind.SIMULATED, "UpToDate")
    assert found.report_data == DATA
    assert not found.attributes["debug"]
    assert found.not_before <= NOW <= found.not_after
    assert covers(bench.module.parse(bench.quote).fields, len(bench.quote))


def test_vendors_roots_do_not_know_it(bench: Bench) -> None:
    assert bench.judge(roots=Roots.vendor()) == "tee.4"


def test_what_is_measured_comes_from_the_signed_bytes(intel: IntelAuthority) -> None:
    registers = {name: bytes([index] * 48) for index, name in enumerate(
        ("mrtd", "mrconfigid", "mrowner", "mrownerconfig", "rtmr0", "rtmr1", "rtmr2", "rtmr3"), 1
    )}  # fmt: skip
    bench = Bench(intel, "tdx-v4")
    quote = intel.sign(td_body(report_data=DATA, registers=registers), NOW)
    found = bench.verify(quote)
    for name, value in registers.items():
        assert found.measurements[name] == value.hex()
    bench = Bench(intel, "sgx-v3")
    body = sgx_body(
        report_data=DATA, mrenclave=b"e" * 32, mrsigner=b"s" * 32, config_id=b"c" * 64, svn=7
    )
    found = bench.verify(intel.sign(body, NOW))
    assert found.measurements["mrenclave"] == (b"e" * 32).hex()
    assert found.measurements["mrsigner"] == (b"s" * 32).hex()
    assert found.measurements["configid"] == (b"c" * 64).hex()
    assert found.svns["isv_svn"] == 7


def test_debug_is_a_good_quote_for_appraisal(bench: Bench) -> None:
    quote = bench.authority.sign(bench.make(report_data=DATA, debug=True), NOW)
    found = bench.verify(quote)
    assert found.attributes["debug"]
    assert found.tcb_status == "UpToDate"


@pytest.mark.parametrize(
    "status",
    ["OutOfDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded",
     "OutOfDateConfigurationNeeded", "Revoked"],
)  # fmt: skip
def test_a_downgraded_tcb_is_a_good_quote_for_appraisal(bench: Bench, status: str) -> None:
    found = bench.verify(None, bench.made(status=status, advisories=("INTEL-SA-00001",)))
    assert found.tcb_status == status
    assert found.advisories == ("INTEL-SA-00001",)


# -- tee.3 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 2, 4, 5, 12])
def test_tee_3_header(bench: Bench, at: int) -> None:
    """Another version, key type, platform, reserved byte or vendor, and the quote signed again."""
    signed = bytearray(bench.body.data)
    authority, body = bench.authority, bench.body
    quote = bytearray(authority.sign(Body(body.version, body.kind, bytes(signed)), NOW))
    quote[at] ^= 0x55
    assert bench.judge(bytes(quote)) == "tee.3"


def test_tee_3_reserved_bytes(intel: IntelAuthority) -> None:
    """Signed by the platform itself: what is reserved has to be zero all the same."""
    bench = Bench(intel, "sgx-v3")
    for at in (20, 31, 48 + 7, 96, 160, 262, 303):
        data = bytearray(bench.body.data)
        data[at] = 0x80
        assert bench.judge(intel.sign(replace(bench.body, data=bytes(data)), NOW)) == "tee.3"
    bench = Bench(intel, "tdx-v4")
    for at, value in ((112, 1), (121, 2), (122, 0xFF)):
        data = bytearray(bench.body.data)
        data[at] = value
        assert bench.judge(intel.sign(replace(bench.body, data=bytes(data)), NOW)) == "tee.3"


def test_tee_3_lengths(bench: Bench) -> None:
    quote = bench.quote
    for changed in (quote[:-1], quote + b"\1", quote[:100], b"", quote + b"\0" * 16 + b"x"):
        assert bench.judge(changed) == "tee.3"
    assert bench.judge(quote + bytes(64)) == "accepted"  # a guest's buffer ends in zeros
    assert bench.judge(quote + bytes(1 << 18)) == "tee.3"


# -- tee.4, tee.5 ------------------------------------------------------------------------------


def test_tee_4_a_root_of_his_own(bench: Bench) -> None:
    """All of it is honest under another root that has the same names."""
    other = IntelAuthority.create(NOW)
    quote = other.sign(bench.body, NOW)
    collateral = other.collateral(NOW, platform=bench.platform)
    assert bench.judge(quote, collateral) == "tee.4"
    # The quote is his own, the collateral is the honest one, and the reverse.
    assert bench.judge(quote) == "tee.4"
    assert bench.judge(None, collateral) == "tee.4"


def test_tee_5_a_chain_that_ends_in_the_root_in_name_only(bench: Bench) -> None:
    authority = bench.authority
    own = ec.generate_private_key(ec.SECP256R1())
    leaf, between, root = authority.chain(NOW)
    forged = issue(replace(authority.pck(NOW), key=own, signer=own), between, own)
    quote = authority.sign(bench.body, NOW, chain=(forged, between, root), pck_key=own)
    assert bench.judge(quote) == "tee.5"
    issuer = replace(authority.issuer(NOW), key=own, signer=own)
    between = issue(issuer, root, own)
    forged = issue(authority.pck(NOW), between, own)
    assert bench.judge(authority.sign(bench.body, NOW, chain=(forged, between, root))) == "tee.5"
    assert bench.judge(authority.sign(bench.body, NOW, chain=(leaf, root))) == "tee.5"
    assert bench.judge(authority.sign(bench.body, NOW, chain=(between, leaf, root))) == "tee.5"


@pytest.mark.parametrize(("before", "after"), [(NOW + DAY, NOW + YEAR), (NOW - YEAR, NOW - DAY)])
def test_tee_5_certificates_out_of_time(bench: Bench, before: int, after: int) -> None:
    authority = bench.authority
    late = {"not_before": before, "not_after": after}
    chain = authority.chain(NOW, pck=replace(authority.pck(NOW), **late))
    assert bench.judge(authority.sign(bench.body, NOW, chain=chain)) == "tee.5"
    chain = authority.chain(NOW, issuer=replace(authority.issuer(NOW), **late))
    assert bench.judge(authority.sign(bench.body, NOW, chain=chain)) == "tee.5"
    link = replace(authority.tcb_signing(NOW), **late)
    assert bench.judge(None, bench.made(tcb_signing=link)) == "tee.5"


def test_tee_5_a_pck_key_that_plays_an_authority(bench: Bench) -> None:
    """Whoever has a PCK key certifies another one with it."""
    authority = bench.authority
    pck = authority.pck(NOW)
    leaf = issue(pck, authority.chain(NOW)[1], authority.keys["platform"])
    own = replace(pck, key=ec.generate_private_key(ec.SECP256R1()))
    below = issue(own, leaf, pck.key)
    chain = (below, leaf, authority.root)
    assert bench.judge(authority.sign(bench.body, NOW, chain=chain, pck_key=own.key)) == "tee.5"


def test_tee_5_a_pck_key_that_signs_tcb_information(bench: Bench) -> None:
    """The PCK key is under the same root, but it is no TCB signing key."""
    authority = bench.authority
    link = replace(authority.pck(NOW), key=authority.keys["pck"])
    assert bench.judge(None, bench.made(tcb_signing=link)) == "tee.5"


# -- tee.6 -------------------------------------------------------------------------------------


def test_tee_6_revoked(bench: Bench) -> None:
    assert bench.judge(None, bench.made(revoked_pck=(0x2002,))) == "tee.6"
    assert bench.judge(None, bench.made(revoked=(0x2001,))) == "tee.6"
    assert bench.judge(None, bench.made(revoked=(0x2003,))) == "tee.6"
    assert bench.judge(None, bench.made(revoked=(0x3000,), revoked_pck=(0x3000,))) == "accepted"


def test_tee_6_lists_out_of_date_or_foreign(bench: Bench) -> None:
    assert bench.judge(None, bench.made(list_days=0)) == "tee.6"
    other = json.loads(IntelAuthority.create(NOW).collateral(NOW, platform=bench.platform))
    for name in ("root_ca_crl", "pck_crl"):
        value = json.loads(bench.collateral)
        value[name] = other[name]
        assert bench.judge(None, json.dumps(value).encode()) == "tee.6"
        value[name] = ""
        assert bench.judge(None, json.dumps(value).encode()) == "tee.6"
    swapped = json.loads(bench.collateral)
    swapped["pck_crl"], swapped["root_ca_crl"] = swapped["root_ca_crl"], swapped["pck_crl"]
    assert bench.judge(None, json.dumps(swapped).encode()) == "tee.6"


# -- tee.7 -------------------------------------------------------------------------------------


def test_tee_7_each_signature(bench: Bench) -> None:
    authority = bench.authority
    own = ec.generate_private_key(ec.SECP256R1())
    # Header and body by another key; the enclave's report by another key.
    assert bench.judge(authority.sign(bench.body, NOW, key=own)) == "tee.7"
    assert bench.judge(authority.sign(bench.body, NOW, pck_key=own)) == "tee.7"


def test_tee_7_an_attestation_key_of_his_own(bench: Bench) -> None:
    """He keeps the honest enclave's signed report, and signs the quote with a key that it does
    not name."""
    authority = bench.authority
    forger = IntelAuthority(
        {**authority.keys, "attestation": ec.generate_private_key(ec.SECP256R1())},
        authority.root_der,
    )
    report = authority.qe_report(bench.platform, bytes(range(32)))
    assert bench.judge(forger.sign(bench.body, NOW, qe_report=report)) == "tee.7"
    # The key is named, and something more behind it; the name is of other authentication data.
    named = forger.qe_report(bench.platform, bytes(range(32)))
    assert bench.judge(forger.sign(bench.body, NOW, qe_report=named[:-1] + b"\1")) == "tee.7"
    assert bench.judge(forger.sign(bench.body, NOW, qe_report=named, auth=b"other")) == "tee.7"


def test_tee_7_a_body_from_another_quote(bench: Bench) -> None:
    other = bench.authority.sign(bench.make(report_data=DATA[::-1]), NOW)
    size = 48 + len(bench.body.data) + (6 if bench.body.version == 5 else 0)
    assert bench.judge(other[:size] + bench.quote[size:]) == "tee.7"


# -- tee.8 -------------------------------------------------------------------------------------


def test_tee_8_identity_is_missing(bench: Bench) -> None:
    """What older verifiers passed over (CVE-2026-22696)."""
    assert bench.judge(None, bench.made(without_identity=True)) == "tee.8"
    assert bench.judge(None, b"") == "tee.8"


def test_tee_8_stale_texts(bench: Bench) -> None:
    assert bench.judge(None, bench.made(text_days=0)) == "tee.8"
    assert bench.judge(now=NOW + 29 * DAY + 1) == "tee.6"
    later = bench.made(list_days=90)
    assert bench.judge(None, later, now=NOW + 40 * DAY) == "tee.8"
    assert (
        bench.judge(None, bench.made(list_days=90, text_days=90), now=NOW + 40 * DAY) == "accepted"
    )


def test_tee_8_texts_that_nobody_signed(bench: Bench) -> None:
    for name in ("tcb_info", "qe_identity"):
        value = json.loads(bench.collateral)
        value[name] = value[name].replace("UpToDate", "OutOfDate")
        assert bench.judge(None, json.dumps(value).encode()) == "tee.8"


def test_tee_8_texts_signed_by_others(bench: Bench) -> None:
    """Another authority's texts with signatures and the honest chain."""
    other = json.loads(IntelAuthority.create(NOW).collateral(NOW, platform=bench.platform))
    for name in ("tcb_info", "qe_identity"):
        value = json.loads(bench.collateral)
        value[name], value[f"{name}_signature"] = other[name], other[f"{name}_signature"]
        assert bench.judge(None, json.dumps(value).encode()) == "tee.8"


def test_tee_8_information_about_another_platform(bench: Bench) -> None:
    assert bench.judge(None, bench.made(fmspc=b"others")) == "tee.8"
    other = Platform.SGX if bench.platform is Platform.TDX else Platform.TDX
    foreign = json.loads(bench.authority.collateral(NOW, platform=other))
    honest = json.loads(bench.collateral)
    for name in ("tcb_info", "qe_identity"):
        value = {**honest, name: foreign[name], f"{name}_signature": foreign[f"{name}_signature"]}
        assert bench.judge(None, json.dumps(value).encode()) == "tee.8"
    link = replace(
        bench.authority.pck(NOW),
        extension=pck_extension(b"others", simulated.SVN["sgx"], simulated.SVN["pce"]),
    )
    chain = bench.authority.chain(NOW, pck=link)
    assert bench.judge(bench.authority.sign(bench.body, NOW, chain=chain)) == "tee.8"
    chain = bench.authority.chain(NOW, pck=replace(link, extension=b""))
    assert bench.judge(bench.authority.sign(bench.body, NOW, chain=chain)) == "tee.8"
    for broken in (b"\x30\x80", b"\x30\x01", link.extension[:-1], link.extension + b"\0"):
        chain = bench.authority.chain(NOW, pck=replace(link, extension=broken))
        assert bench.judge(bench.authority.sign(bench.body, NOW, chain=chain)) == "tee.8"


def test_tee_8_another_quoting_enclave(bench: Bench) -> None:
    """An enclave of anybody's on the same platform, whose report the PCK key signs."""
    report = bytearray(bench.authority.qe_report(bench.platform, bytes(range(32))))
    for at in (128, 256, 48, 16):  # mrsigner, product, attributes (debug), miscselect
        changed = bytearray(report)
        changed[at] ^= 2
        quote = bench.authority.sign(bench.body, NOW, qe_report=bytes(changed))
        assert bench.judge(quote) == "tee.8"
    assert bench.judge(None, bench.made(qe_svn=simulated.SVN["qe"] + 1)) == "tee.8"


# -- tee.2 and any bytes -----------------------------------------------------------------------


def test_tee_2_collateral_of_another_form(bench: Bench) -> None:
    value = json.loads(bench.collateral)
    text = bench.collateral.decode()
    for changed in (
        b"{}",
        b"[]",
        b"\xff\xfe",
        b"[" * 100000,
        json.dumps({**value, "more": 1}).encode(),
        json.dumps({key: one for key, one in value.items() if key != "pck_crl"}).encode(),
        json.dumps({**value, "pck_crl": "zz"}).encode(),
        json.dumps({**value, "pck_crl": 7}).encode(),
        json.dumps({**value, "pck_certificate_chain": "x"}).encode(),
        text.replace('"pck_crl":', '"pck_crl": "", "pck_crl":', 1).encode(),
        b" " * ((4 << 20) + 1),
    ):
        assert bench.judge(None, changed) == "tee.2"
    assert bench.judge(None, json.dumps({**value, "pck_certificate_chain": None}).encode()) in (
        "accepted",
        "tee.8",
    )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_one_bit_of_quote_or_collateral(bench: Bench, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(bench.quote) - 1))
    assert bench.judge(flipped(bench.quote, bit)) != "accepted"
    bit = data.draw(st.integers(0, 8 * len(bench.collateral) - 1))
    changed = flipped(bench.collateral, bit)
    if bench.judge(None, changed) == "accepted":
        # Nothing but how the JSON is written: a space for another, a digit in upper case.
        mine, theirs = json.loads(bench.collateral), json.loads(changed)
        assert {key: one.lower() for key, one in mine.items()} == {
            key: one.lower() for key, one in theirs.items()
        }


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000), st.sampled_from([tdx, sgx]))
def test_any_bytes(data: bytes, module: ModuleType) -> None:
    assert number(lambda: module.parse(data)) == "tee.3"


def test_stored_and_loaded_again(intel: IntelAuthority, tmp_path: Any) -> None:
    intel.save(tmp_path / "root")
    again = IntelAuthority.load(tmp_path / "root")
    assert again.root_der == intel.root_der
    bench = Bench(again, "tdx-v4")
    assert bench.judge() == "accepted"
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "root").iterdir())
