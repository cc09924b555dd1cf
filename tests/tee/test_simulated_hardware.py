"""Evidence of an enclave under each simulated root verifies; the simulator's own keys and rules."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from proofml.errors import BackendFailed, UsageError
from proofml.store import Store
from proofml.tee import platforms
from proofml.tee.binding import (
    Mode,
    check_binding,
)
from proofml.tee.config import Runtime, check_measured
from proofml.tee.enclave.evidence import parts_of
from proofml.tee.eventlog import REGISTERS, EventLog
from proofml.tee.known_simulators import folder, known_roots
from proofml.tee.measure import code_measurement
from proofml.tee.platform import Platform, RootKind
from proofml.tee.quoter import Quoter
from proofml.tee.receipt_chain import check_receipt, check_segment
from proofml.tee.roots import Roots, fingerprint
from proofml.tee.simulator.hardware import SimulatedQuoter, open_authority

from .enclave_cases import (
    linear,
    started,
    values,
)

# -- the whole, on each platform ------------------------------------------------------------------


@pytest.fixture(scope="module")
def authorities(intel: Any, amd: Any, aws: Any) -> dict[Platform, Any]:
    return {
        Platform.TDX: intel,
        Platform.SGX: intel,
        Platform.SEV_SNP: amd,
        Platform.NITRO: aws,
    }


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("platform", list(Platform))
def test_evidence_of_each_platform_verifies(
    authorities: dict[Platform, Any], platform: Platform, mode: Mode
) -> None:
    authority = authorities[platform]
    model = linear()
    with started(model, mode, quoter=SimulatedQuoter(platform, authority)) as enclave:
        found = enclave.infer(values(), b"nonce")
        file = enclave.session if mode is Mode.SESSION else None
        parts = parts_of(found, enclave.config, file)
    roots = Roots.vendor().with_simulated([fingerprint(authority.root_der)])
    verified = platforms.verify(parts.attestation, roots, int(time.time()))
    assert verified.root.kind is RootKind.SIMULATED
    assert not verified.attributes["debug"]
    for register, value in code_measurement(platform).items():
        assert verified.measurements[register] == value
    stated = found.statement
    check_binding(verified.report_data, mode, stated.digest, parts.session)
    log = None
    if platform in REGISTERS:
        log = EventLog.read(parts.attestation.event_log, platform)
        log.check(verified.measurements)
    check_measured(
        parts.config,
        platform,
        verified.measurements,
        log,
        model=model.digest,
        mode=mode,
        runtime=Runtime.read(stated.computation.detail["runtime"], "runtime"),
        session=parts.session,
    )
    if parts.session is not None:
        check_receipt(check_segment(parts.receipts, parts.session), stated.digest)
    wanted = {"quote", "config"}
    wanted |= {"session", "receipts"} if mode is Mode.SESSION else set()
    wanted |= {"event-log"} if platform in REGISTERS else set()
    wanted |= set() if platform is Platform.NITRO else {"collateral"}
    assert set(parts_of(found, enclave.config, file).blobs()) == wanted


# -- roots that are made once ---------------------------------------------------------------------


@pytest.mark.parametrize("platform", [Platform.TDX, Platform.NITRO])
def test_a_root_is_made_once_and_kept_for_its_owner(tmp_path: Path, platform: Platform) -> None:
    store = Store(tmp_path / "cache")
    assert known_roots(store) == frozenset()
    first, second = open_authority(store, platform), open_authority(store, platform)
    assert first.root_der == second.root_der
    assert known_roots(store) == {fingerprint(first.root_der)}
    place = folder(store, platform)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    keys = list(place.glob("*.pem"))
    assert len(keys) > 2
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert [path.name for path in place.parent.iterdir()] == [place.name], "nothing half made"


def test_tdx_and_sgx_share_a_root(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tdx, sgx = (open_authority(store, platform) for platform in (Platform.TDX, Platform.SGX))
    assert tdx.root_der == sgx.root_der


def test_processes_at_the_same_time_make_one_root(tmp_path: Path) -> None:
    code = (
        "import sys; from proofml.store import Store; from proofml.tee.platform import Platform\n"
        "from proofml.tee.simulator.hardware import open_authority\n"
        "print(open_authority(Store(sys.argv[1]), Platform.NITRO).root_der.hex())\n"
    )
    started_now = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    assert len({process.communicate()[0] for process in started_now}) == 1


def test_a_broken_root_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    open_authority(store, Platform.NITRO)
    (folder(store, Platform.NITRO) / "root.pem").write_text("no key")
    with pytest.raises(UsageError, match="delete the folder"):
        open_authority(store, Platform.NITRO)


def test_a_root_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "tee-simulator").write_text("a file")
    with pytest.raises(BackendFailed, match="simulated root"):
        open_authority(Store(tmp_path), Platform.NITRO)


# -- the simulator's rules ------------------------------------------------------------------------


@pytest.mark.parametrize("platform", list(Platform))
def test_a_guest_is_configured_once(authorities: dict[Platform, Any], platform: Platform) -> None:
    quoter = SimulatedQuoter(platform, authorities[platform])
    assert isinstance(quoter, Quoter)
    quoter.configure(b"config")
    with pytest.raises(UsageError, match="measured already"):
        quoter.configure(b"config")
    with pytest.raises(UsageError, match="64 bytes"):
        quoter.quote(b"short")
    if platform in REGISTERS:
        quoter.extend("event", b"payload")
        log = EventLog.read(quoter.quote(bytes(64)).event_log, platform)
        assert [event.name for event in log.events] == ["proofml-config", "event"]
    else:
        with pytest.raises(UsageError, match="no register"):
            quoter.extend("event", b"payload")
        assert quoter.quote(bytes(64)).event_log == b""


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("platform", list(Platform))
def test_a_debug_guest_says_so(
    authorities: dict[Platform, Any], platform: Platform, debug: bool
) -> None:
    authority = authorities[platform]
    quoter = SimulatedQuoter(platform, authority, debug=debug)
    roots = Roots.vendor().with_simulated([fingerprint(authority.root_der)])
    verified = platforms.verify(quoter.quote(bytes(64)), roots, int(time.time()))
    assert verified.attributes["debug"] is debug


@pytest.mark.parametrize("platform", list(Platform))
def test_evidence_is_fresh_however_long_a_guest_runs(
    authorities: dict[Platform, Any], platform: Platform
) -> None:
    """Collateral is signed anew after an hour; a quote days later still verifies at its time."""
    authority = authorities[platform]
    now = [1764100000.0]
    quoter = SimulatedQuoter(platform, authority, clock=lambda: now[0])
    roots = Roots.vendor().with_simulated([fingerprint(authority.root_der)])
    first = quoter.quote(bytes(64))
    now[0] += 1800
    assert quoter.quote(bytes(64)).collateral == first.collateral
    now[0] += 60 * 86400
    later = quoter.quote(bytes(64))
    assert platforms.verify(later, roots, int(now[0])).report_data == bytes(64)
    if platform is not Platform.NITRO:
        assert later.collateral != first.collateral
