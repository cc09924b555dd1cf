"""Collateral of simulated Intel platforms: checks tee.8 and tee.2 by an attacker.

He has the keys of the platform, and of who signs the texts where a test says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from proofml.tee.platform import Platform
from proofml.tee.simulator import intel as simulated
from proofml.tee.simulator.intel import IntelAuthority
from proofml.tee.simulator.intel_certificates import (
    DAY,
    FMSPC,
    pck_extension,
)
from tests.tee.conftest import NOW
from tests.tee.intel_cases import BODIES, DATA, TEXTS, Bench, body_with


@pytest.fixture(params=sorted(BODIES))
def bench(request: pytest.FixtureRequest, intel: IntelAuthority) -> Bench:
    return Bench(intel, request.param)


#: In the place of a number.
NO_EVALUATIONS = (None, True, "17", 17.5, -1, 1 << 32, [17])


# -- tee.8 -------------------------------------------------------------------------------------


def test_tee_8_identity_is_missing(bench: Bench) -> None:
    """What older verifiers passed over (CVE-2026-22696)."""
    assert bench.judge(None, bench.made(without_identity=True)) == "tee.8"
    assert bench.judge(None, b"") == "tee.8"
    for name in TEXTS:
        for part in (name, f"{name}_signature"):
            assert bench.judge(None, bench.changed(**{part: ""})) == "tee.8"
        assert bench.judge(None, bench.changed(**{name: "", f"{name}_signature": ""})) == "tee.8"


@pytest.mark.parametrize("name", TEXTS)
def test_tee_8_dates_of_each_text(bench: Bench, name: str) -> None:
    """Signed by the honest key: it held until yesterday, holds from tomorrow on, or has no date."""
    for key, date in (
        ("nextUpdate", NOW - 1),
        ("issueDate", NOW + 1),
    ):
        text = datetime.fromtimestamp(date, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        made = bench.signed(name, lambda value, k=key, t=text: value.update({k: t}))
        assert bench.judge(None, made) == "tee.8"
        moved = NOW + (-1 if key == "nextUpdate" else 1)
        assert bench.judge(None, made, now=moved) == "accepted"
        for other in ("2025-11-24", 7, None, "", "9999999-01-01T00:00:00Z"):
            made = bench.signed(name, lambda value, k=key, o=other: value.update({k: o}))
            assert bench.judge(None, made) == "tee.8"
        made = bench.signed(name, lambda value, k=key: value.pop(k))
        assert bench.judge(None, made) == "tee.8"


@pytest.mark.parametrize("name", TEXTS)
def test_tee_8_texts_that_are_none(bench: Bench, name: str) -> None:
    honest = json.loads(bench.collateral)[name]
    for text in (
        "{}",
        "[]",
        "7",
        honest[:-1],
        honest + "x",
        honest.replace('"version":', '"version":2,"version":', 1),
        '["]",' * 100_000,
        honest[:-1] + ',"more":' + "[" * 40 + "]" * 40 + "}",
    ):
        assert bench.judge(None, bench.signed_text(name, text)) == "tee.8"


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
    honest = bench.authority.pck(NOW).extension
    assert bench.judge(bench.authority.sign(bench.body, NOW)) == "accepted"
    fmspc = honest.index(b"\x04\x06" + FMSPC)
    arc = honest.index(b"\x01\x0d\x01\x04\x04\x06" + FMSPC) + 3
    for broken in (
        b"\x30\x80",
        b"\x30\x01",
        honest[:-1],
        honest + b"\0",
        honest + honest,
        honest[2:],
        honest[:fmspc] + b"\x03" + honest[fmspc + 1 :],  # bits for octets
        honest[: arc - 1] + b"\x02" + honest[arc:],  # another arc of Intel's
        honest[:arc] + b"\x03" + honest[arc + 1 :],  # two of one identifier
        honest[:arc] + b"\x29" + honest[arc + 1 :],  # none of the one
    ):
        chain = bench.authority.chain(NOW, pck=replace(link, extension=broken))
        assert bench.judge(bench.authority.sign(bench.body, NOW, chain=chain)) == "tee.8"


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("tcb_info", "id", "TDX or SGX"),
        ("tcb_info", "version", 2),
        ("tcb_info", "version", 4),
        ("tcb_info", "fmspc", "50806F000001"),
        ("tcb_info", "fmspc", None),
        ("tcb_info", "pceId", "0001"),
        ("tcb_info", "pceId", 0),
        ("qe_identity", "id", "QVE"),
        ("qe_identity", "version", 1),
        ("qe_identity", "version", 4),
        ("qe_identity", "mrsigner", "00" * 32),
        ("qe_identity", "mrsigner", None),
        ("qe_identity", "isvprodid", 3),
        ("qe_identity", "isvprodid", "1"),
        ("qe_identity", "miscselect", "00000001"),
        ("qe_identity", "miscselect", "0000"),
        ("qe_identity", "miscselectMask", "zz"),
        ("qe_identity", "attributes", "11000000000000010000000000000000"),
        ("qe_identity", "attributes", 17),
        ("qe_identity", "attributesMask", "FF"),
        *((name, "tcbEvaluationDataNumber", value) for name in TEXTS for value in NO_EVALUATIONS),
    ],
)
def test_tee_8_texts_of_others_signed_as_they_should(
    bench: Bench, name: str, key: str, value: object
) -> None:
    """Honest texts about another platform or another enclave, and such of no known form."""
    made = bench.signed(name, lambda text: text.update({key: value}))
    assert bench.judge(None, made) == "tee.8"
    made = bench.signed(name, lambda text: text.pop(key))
    assert bench.judge(None, made) == "tee.8"


def test_tee_8_masks_say_what_counts(bench: Bench) -> None:
    """Bits outside of the mask are the enclave's own; debug mode is not, whatever the mask."""
    report = bytearray(bench.authority.qe_report(bench.platform, bytes(range(32))))
    report[48 + 8], report[16] = 3, 4  # XFRM, miscselect
    quote = bench.authority.sign(bench.body, NOW, qe_report=bytes(report))
    assert bench.judge(quote) == "tee.8"

    def free(text: dict[str, object]) -> None:
        text |= {"miscselectMask": "FBFFFFFF", "attributesMask": "00" * 16}

    made = bench.signed("qe_identity", free)
    assert bench.judge(quote, made) == "accepted"
    report[48] |= 2
    quote = bench.authority.sign(bench.body, NOW, qe_report=bytes(report))
    assert bench.judge(quote, made) == "tee.8"


def test_tee_8_version_3_of_an_identity_is_of_trust_domains(bench: Bench) -> None:
    made = bench.signed("qe_identity", lambda text: text.update(version=3))
    assert bench.judge(None, made) == ("tee.8" if bench.platform is Platform.SGX else "accepted")


def test_tee_8_below_every_level(bench: Bench) -> None:
    authority = bench.authority
    for changes in ({"sgx_svn": 3}, {"pce_svn": 10}):
        chain = authority.chain(NOW, pck=authority.pck(NOW, **changes))
        assert bench.judge(authority.sign(bench.body, NOW, chain=chain)) == "tee.8"
    if bench.platform is Platform.TDX:
        for kind in ({"tdx_svn": 1}, {"module": 2}, {"module": 3, "tdx_svn": 2}):
            body = bench.make(report_data=DATA, **kind)
            assert bench.judge(authority.sign(body, NOW)) == "tee.8"
        body = bench.make(report_data=DATA, module=0, tdx_svn=1)
        assert bench.judge(authority.sign(body, NOW)) == "tee.8"


@pytest.mark.parametrize("name", ["tdx-v4", "tdx-v5", "tdx-v5-td15"])
@pytest.mark.parametrize("status", ["UpToDate", "Revoked"])
@pytest.mark.parametrize("attributes", [1 << 28, 1 | 1 << 28, 1 << 28 | 1 << 29])
def test_tee_8_a_module_that_intel_did_not_sign(
    intel: IntelAuthority, name: str, status: str, attributes: int
) -> None:
    """MRSIGNERSEAM is zeros for Intel's own; also where other things are wrong with the guest."""
    bench = Bench(intel, name)
    made = bench.made(status=status)
    for version in (0, 1):
        body = bench.make(report_data=DATA, attributes=attributes, module=version)
        assert bench.judge(intel.sign(body, NOW), made) == "accepted"
        for at in (64, 111):
            quote = intel.sign(body_with(body, {at: 1}), NOW)
            assert bench.judge(quote, made) == "tee.8"


Change = Callable[[dict[str, Any]], object]


def module(*which: int, **values: object) -> Change:
    """Of the base (0), the identity of version 3 (1) and that of version 1 (2)."""

    def change(text: dict[str, Any]) -> None:
        known = [text["tdxModule"], *text["tdxModuleIdentities"]]
        for index in which:
            known[index].update(values)

    return change


SIGNER, ATTRIBUTES = "01" * 48, "01" + "00" * 7
#: What is changed, and which versions of the module are refused for it.
MODULES: dict[str, tuple[Change, str]] = {
    "the base module's signer": (module(0, mrsigner=SIGNER), "0"),
    "the identity's signer": (module(2, mrsigner=SIGNER), "1"),
    "the other identity's": (module(1, mrsigner=SIGNER), ""),
    "a signer of 32 bytes": (module(0, 1, 2, mrsigner="00" * 32), "01"),
    "a signer that is no text": (module(0, 1, 2, mrsigner=0), "01"),
    "other attributes": (module(0, 1, 2, attributes=ATTRIBUTES), "01"),
    "attributes that do not count": (
        module(0, 1, 2, attributes=ATTRIBUTES, attributesMask="FE" + "FF" * 7),
        "",
    ),
    "a short mask": (module(0, 1, 2, attributesMask="FF"), "01"),
    "no mask": (module(0, 1, 2, attributesMask=None), "01"),
    "no base module": (lambda text: text.pop("tdxModule"), "0"),
    "no identities": (lambda text: text.pop("tdxModuleIdentities"), "1"),
    "no identity of this version": (lambda text: text["tdxModuleIdentities"].pop(), "1"),
    "identities of another form": (lambda text: text.update(tdxModuleIdentities=[7]), "1"),
}
BY_DCAP_QVL = {"no base module", "no identities", "identities of another form"}


@pytest.mark.parametrize("name", MODULES)
def test_tee_8_modules_of_the_tcb_information(intel: IntelAuthority, name: str) -> None:
    """Version 0 of a module is compared with the base, later ones with their identity."""
    change, refused = MODULES[name]
    for kind in ("tdx-v4", "tdx-v5-td15"):
        bench = Bench(intel, kind)
        made = bench.signed("tcb_info", change)
        for version in (0, 1):
            quote = intel.sign(bench.make(report_data=DATA, module=version), NOW)
            found = bench.judge(quote, made)
            if str(version) in refused:
                assert found == "tee.8"
            else:
                # `dcap-qvl` wants the base in any case, and every text to be of its form.
                assert found in {"accepted", "tee.8 by dcap-qvl"}
                assert found == "accepted" or name in BY_DCAP_QVL


@pytest.mark.parametrize("status", ["UpToDate", "OutOfDate", "Revoked"])
@pytest.mark.parametrize("attributes", [1 << 28, 1 | 1 << 28, 1 << 28 | 1 << 29, 0])
def test_tee_8_a_service_domain(intel: IntelAuthority, status: str, attributes: int) -> None:
    """What is bound to a domain may get into it, and nothing here appraises it."""
    bench = Bench(intel, "tdx-v5-td15")
    made = bench.made(status=status)
    body = bench.make(report_data=DATA, attributes=attributes)
    assert bench.judge(intel.sign(body, NOW), made) == "accepted"
    for at in (600, 647):
        assert bench.judge(intel.sign(body_with(body, {at: 1}), NOW), made) == "tee.8"


def test_tee_8_the_library_finds_another_status(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two readings of one quote have to agree, in advisories as well."""
    import dcap_qvl

    library = dcap_qvl.verify_with_root_ca
    made = bench.made(status="OutOfDate", advisories=("INTEL-SA-00001",))
    for text in (
        {"status": "UpToDate"},
        {"status": "SWHardeningNeeded"},
        {"advisory_ids": []},
        {"advisory_ids": ["INTEL-SA-00001", "INTEL-SA-00002"]},
    ):

        class Report:
            def __init__(self, *parts: Any, changes: dict[str, Any] = text) -> None:
                self.text = json.dumps(json.loads(library(*parts).to_json()) | changes)

            def to_json(self) -> str:
                return self.text

        monkeypatch.setattr(dcap_qvl, "verify_with_root_ca", Report)
        assert bench.judge(None, made) == "tee.8"
    monkeypatch.undo()
    found = bench.verify(None, made)
    assert (found.tcb_status, found.advisories) == ("OutOfDate", ("INTEL-SA-00001",))


def test_which_evaluation_the_texts_are_of_is_said(bench: Bench) -> None:
    """Whoever sends an old one, signed anew, is seen to do so."""
    for name, key in zip(TEXTS, ("tcb evaluation", "qe evaluation"), strict=True):
        assert bench.verify().details[key] == "17"
        made = bench.signed(name, lambda text: text.update(tcbEvaluationDataNumber=12))
        assert bench.verify(None, made).details[key] == "12"


def test_tee_8_another_quoting_enclave(bench: Bench) -> None:
    """An enclave of anybody's on the same platform, whose report the PCK key signs."""
    report = bytearray(bench.authority.qe_report(bench.platform, bytes(range(32))))
    for at in (128, 256, 48, 16):  # mrsigner, product, attributes (debug), miscselect
        changed = bytearray(report)
        changed[at] ^= 2
        quote = bench.authority.sign(bench.body, NOW, qe_report=bytes(changed))
        assert bench.judge(quote) == "tee.8"
    # One that is older than every level; older than the current one is for appraisal.
    assert bench.judge(None, bench.made(qe_svn=simulated.SVN["qe"] + 3)) == "tee.8"


# -- tee.2 -------------------------------------------------------------------------------------


def test_tee_2_collateral_of_another_form(bench: Bench) -> None:
    value = json.loads(bench.collateral)
    text = bench.collateral.decode()
    for changed in (
        b"{}",
        b"[]",
        b"\xff\xfe",
        b"[" * 100000,
        b'["]",' * 100000,  # brackets in a string close nothing
        b'{"a":' * 100000,
        b"[" * 500 + b"]" * 500,
        b'{"tcb_info": 1e999}',
        b'{"tcb_info": NaN}',
        b'{"tcb_info": "\\ud800"}',
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
