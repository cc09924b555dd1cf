"""Levels of the trusted computing base: the same as `dcap-qvl` finds, whatever they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proofml.errors import VerificationError
from proofml.tee import x509
from proofml.tee.collateral import read_collateral
from proofml.tee.dcap_verify import verify_signatures
from proofml.tee.pck import read_pck
from proofml.tee.platform import Platform
from proofml.tee.simulator.intel import IntelAuthority
from proofml.tee.tcb import Tcb, evaluate
from tests.tee.conftest import NOW
from tests.tee.intel_cases import DATA, Bench, body_with
from tests.tee.platform_cases import number

PLATFORM = (
    "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded",
    "OutOfDate", "OutOfDateConfigurationNeeded",
)  # fmt: skip
SMALL = st.integers(0, 3)
ADVISORIES = ("INTEL-SA-00001", "INTEL-SA-00002", "INTEL-SA-00003")
NAMES = st.lists(st.sampled_from(ADVISORIES), max_size=2)
#: What `dcap-qvl` says where no level is reached.
UNREACHED = ("No matching TCB level", "below minimum", "No TCB levels", "identity with id")


def numbers(size: int) -> st.SearchStrategy[list[int]]:
    """Mostly alike, so that levels are reached and missed by one part."""
    return st.dictionaries(st.integers(0, 15), SMALL, max_size=2).map(
        lambda other: [other.get(index, 1) for index in range(size)]
    )


def level(tcb: dict[str, Any], statuses: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "tcb": st.fixed_dictionaries(tcb),
            "tcbDate": st.just("2024-03-13T00:00:00Z"),
            "tcbStatus": st.sampled_from(statuses),
        },
        optional={"advisoryIDs": NAMES},
    )


def components(size: int = 16) -> st.SearchStrategy[list[dict[str, int]]]:
    return numbers(size).map(lambda all_: [{"svn": one} for one in all_])


ZEROS = st.just([{"svn": 0}] * 16)


def levels(
    one: st.SearchStrategy[dict[str, Any]], lowest: st.SearchStrategy[dict[str, Any]]
) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Up to two, and mostly one that everybody reaches."""
    end = st.sampled_from([True, True, True, False])
    return st.tuples(st.lists(one, max_size=2), lowest, end).map(
        lambda all_: [*all_[0], *([all_[1]] if all_[2] else [])]
    )


TDX_LEVEL = level(
    {"sgxtcbcomponents": components(), "tdxtcbcomponents": components(), "pcesvn": SMALL}, PLATFORM
)
SGX_LEVEL = level({"sgxtcbcomponents": components(), "pcesvn": SMALL}, PLATFORM)
QE = ("UpToDate", "OutOfDate", "ConfigurationNeeded", "OutOfDateConfigurationNeeded")
MODULE = ("UpToDate", "OutOfDate")
NONE = st.just(0)
TDX_LEVELS = levels(
    TDX_LEVEL,
    level({"sgxtcbcomponents": ZEROS, "tdxtcbcomponents": ZEROS, "pcesvn": NONE}, PLATFORM),
)
SGX_LEVELS = levels(SGX_LEVEL, level({"sgxtcbcomponents": ZEROS, "pcesvn": NONE}, PLATFORM))
QE_LEVELS = levels(level({"isvsvn": SMALL}, QE), level({"isvsvn": NONE}, QE))
MODULE_LEVELS = levels(level({"isvsvn": SMALL}, MODULE), level({"isvsvn": NONE}, MODULE))


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_same_as_dcap_qvl(intel: IntelAuthority, data: st.DataObject) -> None:
    """By two levels, two module identities and a quoting enclave of any versions and status."""
    name = data.draw(st.sampled_from(["tdx-v4", "tdx-v5-td15", "sgx-v3"]))
    bench = Bench(intel, name)
    tdx = bench.platform is Platform.TDX
    made = json.loads(bench.collateral)
    info, identity = json.loads(made["tcb_info"]), json.loads(made["qe_identity"])
    info["tcbLevels"] = data.draw(TDX_LEVELS if tdx else SGX_LEVELS)
    identity["tcbLevels"] = data.draw(QE_LEVELS)
    svns = []
    body = bench.body
    if tdx:
        for one in info["tdxModuleIdentities"]:
            one["tcbLevels"] = data.draw(MODULE_LEVELS)
        svn = st.tuples(SMALL, st.sampled_from([0, 1, 1, 3]), numbers(14))
        starts = (0, 584) if name == "tdx-v5-td15" else (0,)
        for start in starts:
            first, module, rest = data.draw(svn)
            svns.append(bytes((first, module, *rest)))
            body = body_with(body, {start + at: value for at, value in enumerate(svns[-1])})
    sgx_svn, pce_svn, qe_svn = data.draw(st.tuples(st.integers(1, 2), SMALL, SMALL))
    pck = intel.pck(NOW, sgx_svn=sgx_svn, pce_svn=pce_svn)
    chain = intel.chain(NOW, pck=pck)
    quote = intel.sign(body, NOW, chain=chain, qe_svn=qe_svn)
    made = json.loads(bench.signed("tcb_info", lambda text: text.update(info)))
    other = json.loads(bench.signed("qe_identity", lambda text: text.update(identity)))
    made |= {part: other[part] for part in ("qe_identity", "qe_identity_signature")}

    mine: Tcb | str
    try:
        mine = evaluate(info, identity, read_pck(chain[0]), qe_svn, svns)
    except VerificationError as error:
        mine = error.check
    assert mine == by_dcap_qvl(quote, json.dumps(made), intel.root_der)


def by_dcap_qvl(quote: bytes, collateral: str, root: bytes) -> Tcb | str:
    """What it finds, or the number where it reaches no level."""
    import dcap_qvl

    parts = dcap_qvl.QuoteCollateralV3.from_json(collateral)
    try:
        found = dcap_qvl.verify_with_root_ca(quote, parts, root, NOW)
    except ValueError as error:
        return "tee.8" if any(one in str(error) for one in UNREACHED) else str(error)
    return Tcb(found.status, tuple(sorted(set(found.advisory_ids))))


def parts_of(bench: Bench) -> tuple[Any, ...]:
    collateral = read_collateral(bench.collateral)
    envelope = bench.module.parse(bench.quote).envelope
    shown = verify_signatures(envelope, bench.platform, bench.roots, NOW)
    assert x509.der(shown.path.certificates[-1]) == bench.authority.root_der
    svns = [bench.body.data[:16]] if bench.platform is Platform.TDX else []
    values = (json.loads(one.text) for one in (collateral.tcb_info, collateral.identity))
    return (*values, read_pck(shown.path.leaf), 8, svns)


def _statuses(text: dict[str, Any], value: object) -> None:
    text["tcbLevels"][0]["tcbStatus"] = value


BROKEN: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "no levels": lambda info, _: info.pop("tcbLevels"),
    "no level": lambda info, _: info.update(tcbLevels=[]),
    "levels of another form": lambda info, _: info.update(tcbLevels=7),
    "a level of another form": lambda info, _: info.update(tcbLevels=["x"]),
    "15 components": lambda info, _: info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].pop(),
    "no components": lambda info, _: info["tcbLevels"][1]["tcb"].pop("sgxtcbcomponents"),
    "a text as version": lambda info, _: info["tcbLevels"][0]["tcb"].update(pcesvn="13"),
    "a flag as version": lambda info, _: info["tcbLevels"][0]["tcb"].update(pcesvn=True),
    "a negative version": lambda info, _: info["tcbLevels"][0]["tcb"].update(pcesvn=-1),
    "a large version": lambda info, _: info["tcbLevels"][0]["tcb"].update(pcesvn=65536),
    "unknown status": lambda info, _: _statuses(info, "Fine"),
    "relaunch is no level's": lambda info, _: _statuses(info, "TDRelaunchAdvised"),
    "no status": lambda info, _: _statuses(info, None),
    "a list as status": lambda info, _: _statuses(info, []),
    "advisories as text": lambda info, _: info["tcbLevels"][0].update(advisoryIDs="INTEL"),
    "advisories of numbers": lambda info, _: info["tcbLevels"][0].update(advisoryIDs=[7]),
    "no levels of the enclave": lambda _, identity: identity.pop("tcbLevels"),
    "no level of the enclave": lambda _, identity: identity.update(tcbLevels=[]),
    "status of the enclave": lambda _, identity: _statuses(identity, "SWHardeningNeeded"),
}
MODULES: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "no identities": lambda info, _: info.pop("tdxModuleIdentities"),
    "no identity": lambda info, _: info.update(tdxModuleIdentities=[]),
    "identities of another form": lambda info, _: info.update(tdxModuleIdentities=[{"id": 1}]),
    "status of the module": lambda info, _: _statuses(
        info["tdxModuleIdentities"][1], "ConfigurationNeeded"
    ),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=list(BROKEN))
@pytest.mark.parametrize("name", ["tdx-v4", "sgx-v3"])
def test_texts_of_another_form(intel: IntelAuthority, name: str, change: Any) -> None:
    info, identity, *rest = parts_of(Bench(intel, name))
    assert evaluate(info, identity, *rest) == Tcb("UpToDate")
    change(info, identity)
    assert number(lambda: evaluate(info, identity, *rest)) == "tee.8"


@pytest.mark.parametrize("change", MODULES.values(), ids=list(MODULES))
def test_modules_of_another_form(intel: IntelAuthority, change: Any) -> None:
    info, identity, *rest = parts_of(Bench(intel, "tdx-v4"))
    change(info, identity)
    assert number(lambda: evaluate(info, identity, *rest)) == "tee.8"


def test_a_revoked_part_is_the_whole(intel: IntelAuthority) -> None:
    """`dcap-qvl` says nothing else of these, so they are not among the cases above."""
    bench = Bench(intel, "tdx-v5-td15")
    info, identity, pck, qe_svn, svns = parts_of(bench)
    older = bytes((2, *svns[0][1:]))
    _statuses(info["tdxModuleIdentities"][1], "Revoked")
    found = Tcb("Revoked", ())
    assert evaluate(info, identity, pck, qe_svn, svns) == found
    # Started on the old module, which runs no more; and the reverse.
    assert evaluate(info, identity, pck, qe_svn, [older, svns[0]]).status == "Revoked"
    assert evaluate(info, identity, pck, qe_svn, [svns[0], older]).status == "Revoked"
    assert evaluate(info, identity, pck, qe_svn, [older, older]).status == "OutOfDate"
    for text in (0, 1):
        texts = parts_of(bench)
        _statuses(texts[text], "Revoked")
        assert evaluate(*texts) == found


@pytest.mark.parametrize(
    ("launch", "current", "whole"),
    [
        ("UpToDate", "UpToDate", "UpToDate"),
        ("UpToDate", "OutOfDate", "UpToDate"),
        ("ConfigurationNeeded", "UpToDate", "ConfigurationNeeded"),
        ("OutOfDate", "UpToDate", "TDRelaunchAdvised"),
        ("OutOfDate", "SWHardeningNeeded", "TDRelaunchAdvised"),
        ("OutOfDate", "ConfigurationNeeded", "TDRelaunchAdvisedConfigurationNeeded"),
        ("OutOfDate", "ConfigurationAndSWHardeningNeeded", "TDRelaunchAdvisedConfigurationNeeded"),
        ("OutOfDateConfigurationNeeded", "UpToDate", "TDRelaunchAdvisedConfigurationNeeded"),
        ("OutOfDate", "OutOfDate", "OutOfDate"),
        ("OutOfDate", "OutOfDateConfigurationNeeded", "OutOfDate"),
        ("OutOfDateConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
    ],
)
def test_a_domain_that_outlived_its_module(
    intel: IntelAuthority, launch: str, current: str, whole: str
) -> None:
    """Started on the second level, which is below the first that it runs on by now."""
    bench = Bench(intel, "tdx-v5-td15")
    body = bench.make(report_data=DATA, tdx_svn=2, updated_svn=4, module=0)

    def change(text: dict[str, Any]) -> None:
        first, second = text["tcbLevels"]
        first["tcbStatus"], second["tcbStatus"] = current, launch
        first["advisoryIDs"], second["advisoryIDs"] = ["INTEL-SA-00001"], ["INTEL-SA-00002"]

    made = bench.signed("tcb_info", change)
    found = by_dcap_qvl(intel.sign(body, NOW), made.decode(), intel.root_der)
    # Advisories are those of the level that it started on.
    assert found == Tcb(whole, ("INTEL-SA-00002",))
    info, identity, pck, qe_svn, _ = parts_of(bench)
    change(info)
    svns = [body.data[:16], body.data[584:600]]
    assert evaluate(info, identity, pck, qe_svn, svns) == found


def test_levels_in_any_order(intel: IntelAuthority) -> None:
    for name in ("tdx-v4", "sgx-v3"):
        info, *rest = parts_of(Bench(intel, name))
        info["tcbLevels"].reverse()
        assert evaluate(info, *rest) == Tcb("UpToDate")
    assert Bench(intel, "tdx-v4").body.data[-64:] == DATA
