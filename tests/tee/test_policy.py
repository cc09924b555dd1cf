"""The table `[backends.tee]`: strict defaults, every key read, and an error that names each."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proofml.errors import UsageError
from proofml.policy import DEFAULT_ASSUMPTIONS, Policy
from proofml.tee.about import ASSUMPTIONS
from proofml.tee.platform import Platform, RootKind, Source
from proofml.tee.policy import STATUSES, TeePolicy
from proofml.tee.roots import Roots

KEY = "ed25519:" + "ab" * 32
MRTD, ONE, TWO = "0a" * 48, "1b" * 48, "2c" * 48


def policy_of(text: str, source: str = "policy.toml") -> Policy:
    table = tomllib.loads(text)
    return Policy.from_mapping({"version": 1, "backends": {"tee": table}}, source=source)


def read(text: str, source: str = "policy.toml") -> TeePolicy:
    return TeePolicy.read(policy_of(text, source))


def test_an_empty_table_is_strict() -> None:
    found = read("")
    assert replace(found, source="policy") == TeePolicy()
    assert found.tcb_statuses == {"UpToDate"}
    assert not found.advisories
    assert not found.debug
    assert not found.own_installation
    assert not found.references()
    assert found.platforms == frozenset(Platform)
    assert found.anchors() == Roots.vendor()
    assert TeePolicy.read(Policy()) == replace(found, source="default policy")


def test_no_assumption_is_allowed_without_being_named() -> None:
    assert not ASSUMPTIONS.keys() & DEFAULT_ASSUMPTIONS


def test_every_key(tmp_path: Path) -> None:
    found = read(
        f"""
        platforms = ["tdx", "nitro"]
        measurements = {{ mrtd = ["{MRTD}"], rtmr1 = ["{ONE}", "{TWO}"], pcr0 = ["{MRTD}"] }}
        tcb_statuses = ["UpToDate", "SWHardeningNeeded"]
        advisories = ["INTEL-SA-00837"]
        min_svn = {{ snp_svn = 24, isv_svn = 2 }}
        attributes = {{ single_socket = true, migratable = true }}
        debug = true
        roots = ["{"11" * 32}"]
        simulated_roots = ["{"22" * 32}"]
        at = 1764000000
        nonces = "nonces.sqlite"
        challenge = "c0ffee"
        max_age = 600
        checkpoints = ["last.json"]
        """,
        str(tmp_path / "policy.toml"),
    )
    assert found.platforms == {Platform.TDX, Platform.NITRO}
    tdx, nitro = found.references()
    assert (tdx.platform, nitro.platform) == (Platform.TDX, Platform.NITRO)
    assert tdx.registers == {
        "mrtd": frozenset({MRTD}),
        "rtmr1": frozenset({ONE, TWO}),
    }
    assert nitro.registers == {"pcr0": frozenset({MRTD})}
    assert tdx.source is Source.HARDWARE
    assert found.tcb_statuses == {"UpToDate", "SWHardeningNeeded"}
    assert found.advisories == {"INTEL-SA-00837"}
    assert found.min_svn == {"snp_svn": 24, "isv_svn": 2}
    assert found.attributes == {"single_socket": True, "migratable": True}
    assert found.debug
    assert found.at == 1764000000
    assert found.nonces == tmp_path / "nonces.sqlite"
    assert found.challenge == bytes.fromhex("c0ffee")
    assert found.max_age == 600
    assert found.checkpoints == (tmp_path / "last.json",)
    anchors = found.anchors(frozenset({"33" * 32}))
    kinds = {anchor.sha256: anchor.kind for anchor in anchors.anchors}
    assert kinds["11" * 32] is RootKind.CUSTOM
    assert kinds["22" * 32] is kinds["33" * 32] is RootKind.SIMULATED


def test_a_vendors_root_among_the_policys_stays_the_vendors() -> None:
    """Nor can a simulated root be passed off as a custom one by a second list."""
    vendor = Roots.vendor().anchors[0]
    found = read(f'roots = ["{vendor.sha256}"]\nsimulated_roots = ["{vendor.sha256}"]').anchors()
    first = next(one for one in found.anchors if one.sha256 == vendor.sha256)
    assert first.kind is RootKind.VENDOR


def test_own_installation() -> None:
    found = read('measurements = "own-installation"')
    assert found.own_installation
    assert not found.references()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("more = 1", "more"),
        ("platforms = []", "platforms"),
        ('platforms = ["sgx", "trustzone"]', "platforms[1]"),
        ('platforms = "tdx"', "platforms"),
        ("measurements = {}", "measurements"),
        ("measurements = []", "measurements"),
        ("measurements = 1", "measurements"),
        ('measurements = "anything"', "measurements"),
        ("measurements = { mrtd = [] }", "measurements.mrtd"),
        (f'measurements = {{ mrtd = "{MRTD}" }}', "measurements.mrtd"),
        (f'measurements = {{ mrtt = ["{MRTD}"] }}', "measurements.mrtt"),
        (f'measurements = {{ mrtd = ["{MRTD[:-1]}"] }}', "measurements.mrtd[0]"),
        (f'measurements = {{ mrtd = ["{MRTD.upper()}"] }}', "measurements.mrtd[0]"),
        (f'measurements = {{ mrenclave = ["{MRTD}"] }}', "measurements.mrenclave[0]"),
        (f'reference_keys = ["{KEY}"]', "reference_keys"),
        ('measurements = ["a.json"]\nreference_keys = ["ab"]', "reference_keys[0]"),
        ("tcb_statuses = []", "tcb_statuses"),
        ('tcb_statuses = ["Revoked"]', "tcb_statuses[0]"),
        ('tcb_statuses = ["uptodate"]', "tcb_statuses[0]"),
        ('advisories = ["all"]', "advisories[0]"),
        ("min_svn = { snp = 1 }", "min_svn.snp"),
        ("min_svn = { snp_svn = -1 }", "min_svn.snp_svn"),
        ("min_svn = { snp_svn = true }", "min_svn.snp_svn"),
        ("attributes = { debug = true }", "attributes.debug"),
        ("attributes = { cxl = 1 }", "attributes.cxl"),
        ("debug = 1", "debug"),
        ('roots = ["ab"]', "roots[0]"),
        ('simulated_roots = "all"', "simulated_roots"),
        ('simulated_roots = ["ALL"]', "simulated_roots[0]"),
        ("at = -1", "at"),
        ("at = 1.5", "at"),
        ("nonces = true", "nonces"),
        ('challenge = ""', "challenge"),
        ('challenge = "xy"', "challenge"),
        ("max_age = 0", "max_age"),
        ('checkpoints = "one"', "checkpoints"),
    ],
    ids=str,
)
def test_what_is_not_read_is_an_error_that_names_the_key(text: str, key: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert f"policy.toml: backends.tee.{key}: expected" in str(caught.value)
    assert "docs/policy.md" in str(caught.value)


def test_revoked_can_be_accepted_by_nobody() -> None:
    assert "Revoked" not in STATUSES


def test_files_that_are_not_there(tmp_path: Path) -> None:
    found = read('measurements = ["none.json"]', str(tmp_path / "policy.toml"))
    with pytest.raises(UsageError, match=r"none\.json"):
        found.references()


@pytest.mark.parametrize("value", [[], {"a": {}}, {"mrtd": [1]}, [1], ["a", 2]], ids=str)
def test_values_of_other_types(value: Any) -> None:
    table = {"version": 1, "backends": {"tee": {"measurements": value}}}
    with pytest.raises(UsageError, match="measurements"):
        TeePolicy.read(Policy.from_mapping(table))
