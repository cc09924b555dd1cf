"""Appraisal: each number refuses exactly what it is for, and says what it could not tell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proofml.checks import Checks, Result
from proofml.errors import VerificationError
from proofml.tee import about, platforms
from proofml.tee.appraisal import APPRAISED, Opinion, appraise, notes, record
from proofml.tee.attributes import ATTRIBUTES, DEMANDS
from proofml.tee.checks import CHECKS
from proofml.tee.config import Configuration
from proofml.tee.eventlog import EventLog
from proofml.tee.platform import (
    Attestation,
    Finding,
    Platform,
    Root,
    RootKind,
    Source,
    Truth,
    Verified,
)
from proofml.tee.policy import TeePolicy
from proofml.tee.reference import Reference
from proofml.tee.registers import LEVELS, REGISTERS, SVNS
from proofml.tee.roots import Roots

from .amd_cases import real_collateral, real_report
from .nitro_cases import REAL_TIME, real_document
from .record_cases import configuration
from .workshop import quoter, root_of

A, B, ZERO = "0a" * 48, "0b" * 48, "00" * 48
CODE = {
    Platform.TDX: {"mrtd": A, "rtmr0": ZERO, "rtmr1": ZERO, "rtmr2": ZERO, "rtmr3": B},
    Platform.SGX: {"mrenclave": A[:64], "mrsigner": B[:64], "isvprodid": "0001"},
    Platform.SEV_SNP: {"measurement": A, "host_data": B[:64]},
    Platform.NITRO: {"pcr0": A, "pcr1": B, "pcr2": B},
}
#: What each platform's demands ask for, and no debugging.
GOOD = {platform: {"debug": False, **DEMANDS[platform]} for platform in Platform}
LEVEL = {"bootloader_svn": 4, "tee_svn": 0, "snp_svn": 24, "microcode_svn": 219}


def verified(platform: Platform = Platform.TDX, **changes: Any) -> Verified:
    intel = platform in (Platform.TDX, Platform.SGX)
    found = Verified(
        platform=platform,
        root=Root("00" * 32, platform, RootKind.VENDOR, "a vendor's root"),
        report_data=bytes(64),
        measurements=CODE[platform],
        svns=LEVEL if platform is Platform.SEV_SNP else {"isv_svn": 3},
        attributes=GOOD[platform],
        not_before=0,
        not_after=1,
        tcb_status="UpToDate" if intel else None,
    )
    return replace(found, **changes)


def reference(platform: Platform = Platform.TDX, **registers: str) -> Reference:
    values = {name: frozenset({value}) for name, value in registers.items()}
    return Reference(platform, "image", values, Source.PROVIDER, "values.json")


def judge(
    one: Verified,
    policy: TeePolicy | None = None,
    references: Sequence[Reference] = (),
    *,
    config: Configuration | None = None,
    log: EventLog | None = None,
) -> tuple[tuple[Opinion, ...], Checks, tuple[str, ...]]:
    """Opinions, the record, objections."""
    checks = Checks(CHECKS)
    opinions = appraise(one, policy or TeePolicy(), references, config or configuration(), log=log)
    objections = record(opinions, checks)
    return opinions, checks, objections


def result(checks: Checks, number: str) -> Result:
    (found,) = [one.result for one in checks.results if one.number == number]
    return found


def refused(one: Verified, number: str, *args: Any, **more: Any) -> str:
    """The only objection, which is this number's; nothing else is refused."""
    _, checks, objections = judge(one, *args, **more)
    (reason,) = objections
    assert reason.startswith(f"{number}: ")
    assert result(checks, number) is Result.REFUSED
    assert [check.number for check in checks.results if check.result is Result.REFUSED] == [number]
    return reason


@pytest.mark.parametrize("platform", Platform)
def test_what_is_good_and_pinned_leaves_nothing(platform: Platform) -> None:
    policy = TeePolicy(min_svn=LEVEL)
    code = next(iter(CODE[platform].items()))
    opinions, checks, objections = judge(
        verified(platform), policy, [reference(platform, **dict([code]))]
    )
    assert not objections
    assert not checks.assumptions
    assert [check.number for check in checks.results] == list(APPRAISED)
    assert not {check.result for check in checks.results} - {Result.PASSED, Result.SKIPPED}
    assert result(checks, "tee.16") is result(checks, "tee.17") is Result.PASSED
    for key, text in notes(opinions).items():
        assert key.startswith("tee.")
        assert text.split(" ", 1)[0] in set(Truth)
    assert notes(opinions)["tee.16 measurements"].startswith("asserted (provider): ")


@pytest.mark.parametrize("platform", Platform)
def test_nothing_pinned_is_assumed(platform: Platform) -> None:
    opinions, checks, objections = judge(verified(platform))
    assert not objections
    assert about.MEASUREMENT_UNPINNED in checks.assumptions
    assert result(checks, "tee.16") is Result.ASSUMED
    assert A[:64] in notes(opinions)["tee.16 measurements"]


# -- tee.16 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", Platform)
def test_other_code(platform: Platform) -> None:
    name, value = next(iter(CODE[platform].items()))
    wrong = reference(platform, **{name: "ff" * (len(value) // 2)})
    policy = TeePolicy(min_svn=LEVEL)
    reason = refused(verified(platform), "tee.16", policy, [wrong])
    assert name in reason
    assert value in reason
    assert "values.json" in reason


def test_references_of_other_platforms_say_nothing() -> None:
    _, checks, objections = judge(verified(), None, [reference(Platform.NITRO, pcr0=A)])
    assert not objections
    assert checks.assumptions == {about.MEASUREMENT_UNPINNED}


def test_references_are_alternatives_and_each_is_one_whole() -> None:
    """Half of the one and half of the other is neither."""
    booted = verified(measurements={**CODE[Platform.TDX], "rtmr1": B})
    first, second = reference(mrtd=A, rtmr1=A), reference(mrtd=B, rtmr1=B)
    refused(booted, "tee.16", None, [first, second])
    _, checks, objections = judge(booted, None, [first, second, reference(mrtd=A, rtmr1=B)])
    assert not objections
    assert not checks.assumptions


def test_a_kernel_that_nobody_pinned() -> None:
    """MRTD is the firmware alone; what it booted stands in RTMR0 to 2."""
    for name in ("rtmr0", "rtmr1", "rtmr2"):
        booted = verified(measurements={**CODE[Platform.TDX], name: B})
        opinions, checks, objections = judge(booted, None, [reference(mrtd=A)])
        assert not objections
        assert checks.assumptions == {about.MEASUREMENT_UNPINNED}
        assert f"leaves open: {name}" in notes(opinions)["tee.16 measurements"]


def test_a_kernel_without_its_firmware() -> None:
    _, checks, _ = judge(verified(), None, [reference(rtmr0=ZERO)])
    assert checks.assumptions == {about.MEASUREMENT_UNPINNED}


def test_an_application_of_dstack_that_nobody_pinned() -> None:
    """It is an event in RTMR3, so the log names it and the references have to know it."""
    log = EventLog(Platform.TDX).extended(3, "compose-hash", b"\xcc" * 32)
    _, checks, objections = judge(verified(), None, [reference(mrtd=A)], log=log)
    assert not objections
    assert checks.assumptions == {about.MEASUREMENT_UNPINNED}
    known = Reference(
        Platform.TDX, "image", {"mrtd": frozenset({A}), "compose-hash": frozenset({"cc" * 32})}
    )
    _, checks, objections = judge(verified(), None, [known], log=log)
    assert not objections
    assert not checks.assumptions
    other = replace(known, registers={**known.registers, "compose-hash": frozenset({"cd" * 32})})
    refused(verified(), "tee.16", None, [other], log=log)
    # Without the event, what has to be there is not.
    refused(verified(), "tee.16", None, [known])


def test_a_register_that_the_quote_does_not_have() -> None:
    policy = TeePolicy()
    refused(verified(Platform.NITRO), "tee.16", policy, [reference(Platform.NITRO, pcr8=A)])


def test_an_enclave_by_its_signer_takes_the_product_too() -> None:
    one = verified(Platform.SGX)
    _, checks, objections = judge(one, None, [reference(Platform.SGX, mrsigner=B[:64])])
    assert not objections
    assert checks.assumptions == {about.MEASUREMENT_UNPINNED}
    whole = reference(Platform.SGX, mrsigner=B[:64], isvprodid="0001")
    _, checks, objections = judge(one, None, [whole])
    assert not objections
    assert not checks.assumptions
    refused(one, "tee.16", None, [reference(Platform.SGX, mrsigner=B[:64], isvprodid="0002")])


# -- tee.17 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", Platform)
@pytest.mark.parametrize("said", [True, False], ids=["on", "not said"])
def test_debug(platform: Platform, said: bool) -> None:
    attributes = {name: value for name, value in GOOD[platform].items() if name != "debug"}
    if said:
        attributes["debug"] = True
    one = verified(platform, attributes=attributes)
    name, value = next(iter(CODE[platform].items()))
    pins = [reference(platform, **{name: value})]
    refused(one, "tee.17", TeePolicy(min_svn=LEVEL), pins)
    # A policy that takes it cannot make it disappear.
    _, checks, objections = judge(one, TeePolicy(min_svn=LEVEL, debug=True), pins)
    assert not objections
    assert checks.assumptions == {about.DEBUG_ENABLED}
    assert result(checks, "tee.17") is Result.ASSUMED


# -- tee.18 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status",
    ["OutOfDate", "ConfigurationAndSWHardeningNeeded", "SWHardeningNeeded", "Revoked", "", "?"],
)
def test_status(status: str) -> None:
    one = verified(tcb_status=status)
    pins = [reference(mrtd=A)]
    assert "UpToDate" in refused(one, "tee.18", None, pins)
    accepted = TeePolicy(tcb_statuses=frozenset({status}))
    assert not judge(one, accepted, pins)[2]


def test_advisories() -> None:
    """Each of them, whatever the status is."""
    names = ("INTEL-SA-00001", "INTEL-SA-00837")
    one = verified(advisories=names)
    pins = [reference(mrtd=A)]
    assert names[1] in refused(one, "tee.18", None, pins)
    some = TeePolicy(advisories=frozenset(names[:1]))
    assert names[1] in refused(one, "tee.18", some, pins)
    assert not judge(one, TeePolicy(advisories=frozenset(names)), pins)[2]


@pytest.mark.parametrize("platform", [Platform.TDX, Platform.SGX])
def test_a_status_that_is_missing(platform: Platform) -> None:
    """Intel publishes one for every machine: without it nothing was compared."""
    name, value = next(iter(CODE[platform].items()))
    one = verified(platform, tcb_status=None)
    refused(one, "tee.18", None, [reference(platform, **{name: value})])


def test_no_status_is_not_a_good_one() -> None:
    opinions, checks, _ = judge(verified(Platform.NITRO))
    assert result(checks, "tee.18") is Result.SKIPPED
    assert "unknown" in notes(opinions)["tee.18 status of the trusted computing base"]


# -- tee.19 ---------------------------------------------------------------------------------------


def test_versions_below_the_policys() -> None:
    one = verified(Platform.SEV_SNP)
    pins = [reference(Platform.SEV_SNP, measurement=A)]
    for name, number in LEVEL.items():
        policy = TeePolicy(min_svn={**LEVEL, name: number + 1})
        reason = refused(one, "tee.19", policy, pins)
        assert name in reason
        assert f"{number}, at least {number + 1}" in reason


def test_levels_that_nobody_bounds_are_assumed() -> None:
    """Where the vendor has no status, firmware of any age would pass."""
    one = verified(Platform.SEV_SNP)
    pins = [reference(Platform.SEV_SNP, measurement=A)]
    for left_out in LEVEL:
        policy = TeePolicy(min_svn={k: v for k, v in LEVEL.items() if k != left_out})
        opinions, checks, objections = judge(one, policy, pins)
        assert not objections
        assert checks.assumptions == {about.SVN_UNPINNED}
        assert left_out in notes(opinions)["tee.19 firmware is recent enough"]


@pytest.mark.parametrize("platform", [Platform.TDX, Platform.SGX])
def test_an_old_evaluation_is_refused_where_one_is_named(platform: Platform) -> None:
    """Intel signs several at once, and the sender chooses among them."""
    one = verified(platform, svns={"isv_svn": 3, "tcb_evaluation": 18})
    register = "mrtd" if platform is Platform.TDX else "mrenclave"
    pins = [reference(platform, **{register: CODE[platform][register]})]
    for least, objected in ((18, False), (19, True)):
        _, checks, objections = judge(one, TeePolicy(min_svn={"tcb_evaluation": least}), pins)
        assert not checks.assumptions
        assert any(reason.startswith("tee.19") for reason in objections) is objected
    _, checks, objections = judge(one, TeePolicy(), pins)
    assert not objections
    assert checks.assumptions == {about.SVN_UNPINNED}


def test_versions_of_other_platforms_and_generations() -> None:
    """`fmc_svn` is Turin's, `isv_svn` SGX's: a policy for a fleet may bound all of them."""
    one = verified(Platform.SEV_SNP)
    pins = [reference(Platform.SEV_SNP, measurement=A)]
    policy = TeePolicy(min_svn={**LEVEL, "fmc_svn": 9, "isv_svn": 9})
    assert not judge(one, policy, pins)[2]
    turin = verified(Platform.SEV_SNP, svns={**LEVEL, "fmc_svn": 8})
    refused(turin, "tee.19", policy, pins)
    enclave = verified(Platform.SGX)
    refused(enclave, "tee.19", policy, [reference(Platform.SGX, mrenclave=A[:64])])


def test_a_version_that_the_quote_does_not_have() -> None:
    one = verified(Platform.SEV_SNP)
    policy = TeePolicy(min_svn={**LEVEL, "guest_svn": 0})
    refused(one, "tee.19", policy, [reference(Platform.SEV_SNP, measurement=A)])


# -- tee.20 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "name"), [(p, name) for p, demands in DEMANDS.items() for name in demands]
)
def test_each_demand(platform: Platform, name: str) -> None:
    wanted = DEMANDS[platform][name]
    code = dict([next(iter(CODE[platform].items()))])
    policy = TeePolicy(min_svn=LEVEL)
    without = {key: value for key, value in GOOD[platform].items() if key != name}
    for attributes in ({**GOOD[platform], name: not wanted}, without):
        one = verified(platform, attributes=attributes)
        assert name in refused(one, "tee.20", policy, [reference(platform, **code)])
    # The policy's word comes before the default one.
    turned = replace(policy, attributes={name: not wanted})
    other = verified(platform, attributes={**GOOD[platform], name: not wanted})
    assert not judge(other, turned, [reference(platform, **code)])[2]
    refused(verified(platform), "tee.20", turned, [reference(platform, **code)])


def test_attributes_that_the_policy_asks_for() -> None:
    one = verified(Platform.SEV_SNP)
    pins = [reference(Platform.SEV_SNP, measurement=A)]
    policy = TeePolicy(min_svn=LEVEL, attributes={"single_socket": True, "pks": True})
    refused(one, "tee.20", policy, pins)
    socket = verified(
        Platform.SEV_SNP, attributes={**GOOD[Platform.SEV_SNP], "single_socket": True}
    )
    assert not judge(socket, policy, pins)[2]


@pytest.mark.parametrize("platform", Platform)
def test_platforms_that_the_policy_does_not_take(platform: Platform) -> None:
    code = dict([next(iter(CODE[platform].items()))])
    others = frozenset(Platform) - {platform}
    policy = TeePolicy(platforms=others, min_svn=LEVEL)
    refused(verified(platform), "tee.20", policy, [reference(platform, **code)])


def test_a_finding_of_the_platforms_own() -> None:
    mine = Finding("tee.20", "something", Truth.REFUTED, Source.HARDWARE, "it is not")
    opinions = appraise(verified(), TeePolicy(), [reference(mrtd=A)], configuration(), more=[mine])
    assert record(opinions, Checks(CHECKS)) == ("tee.20: something: it is not",)


def test_isolation_is_said_of_the_simulator_alone() -> None:
    shared = configuration(isolation={**configuration().isolation, "network": False})
    pins = [reference(mrtd=A)]
    assert not judge(verified(), None, pins, config=shared)[1].assumptions
    simulated = replace(verified().root, kind=RootKind.SIMULATED)
    one = verified(root=simulated)
    opinions, checks, objections = judge(one, None, pins, config=shared)
    assert not objections
    assert checks.assumptions == {about.BOUNDARY_PROCESS}
    assert "network" in notes(opinions)["tee.20 isolation of the process"]
    assert not judge(one, None, pins)[1].assumptions


def test_everything_at_once() -> None:
    """Each number keeps its own word."""
    one = verified(
        tcb_status="OutOfDate",
        attributes={"debug": True},
        measurements={**CODE[Platform.TDX], "mrtd": B},
    )
    policy = TeePolicy(platforms=frozenset({Platform.SGX}), min_svn={"tee_tcb_svn0": 1})
    _, checks, objections = judge(one, policy, [reference(mrtd=A)])
    numbers = {reason.split(":")[0] for reason in objections}
    assert numbers == set(APPRAISED)
    assert {check.result for check in checks.results} == {Result.REFUSED}


# -- names ----------------------------------------------------------------------------------------


def test_tables_are_of_every_platform() -> None:
    for table in (REGISTERS, SVNS, ATTRIBUTES, DEMANDS):
        assert set(table) == set(Platform)
    for platform, demands in DEMANDS.items():
        assert demands.keys() <= ATTRIBUTES[platform].keys()
        assert "debug" not in ATTRIBUTES[platform]
    for platform, names in LEVELS.items():
        assert set(names) <= SVNS[platform]


@pytest.mark.parametrize("platform", Platform)
def test_what_quotes_say_has_a_name_in_the_tables(platform: Platform) -> None:
    """So that a policy can be about it; and what is demanded, quotes do say."""
    evidence = quoter(platform).quote(bytes(64))
    roots = TeePolicy(simulated_roots=frozenset({root_of(platform)})).anchors()
    found = platforms.verify(evidence, roots, int(time.time()))
    assert set(found.measurements) <= set(REGISTERS[platform])
    for name, value in found.measurements.items():
        assert len(value) == 2 * REGISTERS[platform][name]
    assert {name for name in SVNS[platform] if "fmc" not in name} == set(found.svns)
    assert set(LEVELS.get(platform, ())) <= SVNS[platform]
    assert set(found.attributes) - {"debug"} == set(ATTRIBUTES[platform])
    assert platforms.detect(evidence.quote) is platform


@pytest.mark.parametrize("data", [b"", b"\x04", bytes(1184), b"\x84", b"\x04\0\x02\0" + bytes(700)])
def test_what_is_no_quote(data: bytes) -> None:
    """Of no platform, or of one whose reader then refuses it."""
    with pytest.raises(VerificationError) as caught:
        platforms.parse(platforms.detect(data), data)
    assert caught.value.check == "tee.3"


# -- evidence from hardware -----------------------------------------------------------------------


def real(vectors: Path, platform: Platform) -> Verified:
    """Verified at the time that its publisher names, under the vendor's pinned root."""
    folder, at = vectors / "tee", 1750330800
    if platform is Platform.SEV_SNP:
        evidence = Attestation(platform, real_report(vectors), real_collateral(vectors))
    elif platform is Platform.NITRO:
        evidence, at = Attestation(platform, real_document(vectors)), REAL_TIME
    else:
        name = "tdx_quote_v4" if platform is Platform.TDX else "sgx_quote_v3"
        quote = (folder / f"dcap_qvl_{name}.bin").read_bytes()
        collateral = (folder / f"dcap_qvl_{name}.collateral.json").read_bytes()
        evidence = Attestation(platform, quote, collateral)
    assert platforms.detect(evidence.quote) is platform
    return platforms.verify(evidence, Roots.vendor(), at)


#: What the strict policy says of it, where nothing is pinned: objections and assumptions.
REAL = {
    Platform.TDX: (set(), {about.MEASUREMENT_UNPINNED, about.SVN_UNPINNED}),
    Platform.SGX: ({"tee.18"}, {about.MEASUREMENT_UNPINNED, about.SVN_UNPINNED}),
    Platform.SEV_SNP: ({"tee.17"}, {about.MEASUREMENT_UNPINNED, about.SVN_UNPINNED}),
    Platform.NITRO: (set(), {about.MEASUREMENT_UNPINNED}),
}


@pytest.mark.parametrize("platform", Platform)
def test_the_strict_policy_on_evidence_from_hardware(vectors: Path, platform: Platform) -> None:
    found = real(vectors, platform)
    assert found.root.kind is RootKind.VENDOR
    opinions, checks, objections = judge(found)
    refused, assumed = REAL[platform]
    assert {reason.split(":")[0] for reason in objections} == refused
    assert checks.assumptions == assumed
    assert all(one.finding.detail for one in opinions)


def test_a_policy_that_takes_the_real_enclave(vectors: Path) -> None:
    found = real(vectors, Platform.SGX)
    policy = TeePolicy(
        tcb_statuses=frozenset({"ConfigurationAndSWHardeningNeeded"}),
        advisories=frozenset(found.advisories),
        min_svn={"tcb_evaluation": found.svns["tcb_evaluation"]},
    )
    pins = [reference(Platform.SGX, mrenclave=found.measurements["mrenclave"])]
    _, checks, objections = judge(found, policy, pins)
    assert not objections
    assert not checks.assumptions
    # Each advisory has to be accepted by name.
    for name in found.advisories:
        some = replace(policy, advisories=policy.advisories - {name})
        refused(found, "tee.18", some, pins)


def test_the_real_image_is_pinned_as_a_whole(vectors: Path) -> None:
    """Firmware alone leaves the kernel open: RTMR0 to 2 of a real guest are not zero."""
    found = real(vectors, Platform.TDX)
    names = ("mrtd", "rtmr0", "rtmr1", "rtmr2")
    whole = {name: found.measurements[name] for name in names}
    policy = TeePolicy(min_svn={"tcb_evaluation": found.svns["tcb_evaluation"]})
    assert not judge(found, policy, [reference(**whole)])[1].assumptions
    for name in names:
        some = {key: value for key, value in whole.items() if key != name}
        _, checks, objections = judge(found, policy, [reference(**some)])
        assert not objections
        assert checks.assumptions == {about.MEASUREMENT_UNPINNED}
