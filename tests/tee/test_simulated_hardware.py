"""Evidence of an enclave under each simulated root verifies; the simulator's own keys and rules."""

from __future__ import annotations

import time
from typing import Any

import pytest

from proofml.tee import platforms
from proofml.tee.binding import (
    Mode,
    check_binding,
)
from proofml.tee.config import Runtime, check_measured
from proofml.tee.enclave.evidence import parts_of, sections
from proofml.tee.eventlog import REGISTERS, EventLog
from proofml.tee.measure import code_measurement
from proofml.tee.platform import Platform, RootKind
from proofml.tee.receipt_chain import check_receipt, check_segment
from proofml.tee.roots import Roots, fingerprint
from proofml.tee.simulator.hardware import SimulatedQuoter

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
    assert set(sections(found, enclave.config, file)) == wanted
