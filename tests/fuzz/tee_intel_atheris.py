"""Any bytes: a verified quote or `VerificationError` of the tee checks; and no forgery.

A coverage-guided run over the Intel verifiers (not a test; needs `pip install atheris`):

    python -m tests.fuzz.tee_intel_atheris CORPUS [-max_total_time=600] [-seed=1]

An input is a script. It damages a quote or its collateral as a whole (from hardware where
PROOFML_VECTORS or a folder `shared/vectors` beside the repository has them, and simulated ones of
every version); or the body or the quoting enclave's report, which are then signed anew by the
platform's keys; or the signed texts of the collateral, as text or by their values, signed anew; or
it is the bytes themselves. What is accepted must say what its signer said.
"""

from __future__ import annotations

import json
import os
import sys
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import atheris

with atheris.instrument_imports(include=["proofml.tee"]):
    from proofml.tee import (  # noqa: F401
        collateral,
        dcap,
        dcap_verify,
        pck,
        sgx,
        tcb,
        tdx,
        x509,
    )
    from proofml.tee.checks import CHECKS

from proofml.errors import VerificationError
from proofml.tee.platform import Attestation, Platform
from proofml.tee.roots import Roots, fingerprint
from proofml.tee.simulator.intel import Body, IntelAuthority, raw_signature, sgx_body, td_body

NOW = 1764000000
REAL_TIME = 1750330800
AUTHORITY = IntelAuthority.create(NOW)
ROOTS = Roots.vendor().with_simulated([fingerprint(AUTHORITY.root_der)])
CHAIN = AUTHORITY.chain(NOW)
DATA = bytes(range(64))
BODIES = [
    td_body(report_data=DATA),
    td_body(report_data=DATA, version=5),
    td_body(report_data=DATA, td15=True),
    sgx_body(report_data=DATA),
]
TEXTS = ("tcb_info", "qe_identity")
ROOT_FOLDER = Path(__file__).resolve().parents[2]
Case = tuple[Attestation, int]


def platform_of(body: Body) -> Platform:
    return Platform.SGX if body.kind == 1 else Platform.TDX


def module_of(platform: Platform) -> ModuleType:
    return sgx if platform is Platform.SGX else tdx


COLLATERAL = {
    platform: AUTHORITY.collateral(NOW, platform=platform)
    for platform in (Platform.TDX, Platform.SGX)
}


def cases() -> list[Case]:
    found = [
        (
            Attestation(
                platform_of(body),
                AUTHORITY.sign(body, NOW, chain=CHAIN),
                COLLATERAL[platform_of(body)],
            ),
            NOW,
        )
        for body in BODIES
    ]
    folder = Path(os.environ.get("PROOFML_VECTORS", ROOT_FOLDER.parent / "shared" / "vectors"))
    for name, platform in (
        ("dcap_qvl_tdx_quote_v4", Platform.TDX),
        ("dcap_qvl_sgx_quote_v3", Platform.SGX),
    ):
        path = folder / "tee" / f"{name}.bin"
        if path.exists():
            beside = path.with_suffix(".collateral.json").read_bytes()
            found.append((Attestation(platform, path.read_bytes(), beside), REAL_TIME))
    return found


CASES = cases()


def judge(evidence: Attestation, now: int) -> str:
    """The number of the check that refuses, or `accepted`."""
    try:
        module_of(evidence.platform).verify(evidence, ROOTS, now)
    except VerificationError as error:
        if error.check not in CHECKS:
            raise AssertionError(f"{error.check} is no check of this backend") from error
        return error.check
    return "accepted"


def damaged(data: bytes, script: atheris.FuzzedDataProvider) -> bytes:
    """Up to six changes of bytes, bits, lengths and pieces."""
    found = bytearray(data)
    for _ in range(script.ConsumeIntInRange(1, 6)):
        if not found:
            break
        kind = script.ConsumeIntInRange(0, 6)
        at = script.ConsumeIntInRange(0, len(found) - 1)
        size = script.PickValueInList([1, 2, 4, 16, 48, 64, 384])
        if kind == 0:
            found[at] = script.ConsumeIntInRange(0, 255)
        elif kind == 1:
            found[at] ^= 1 << script.ConsumeIntInRange(0, 7)
        elif kind == 2:
            found[at : at + size] = b""
        elif kind == 3:
            found[at:at] = found[at : at + size]
        elif kind == 4:
            found[at : at + 4] = script.PickValueInList([b"\xff" * 4, b"\0" * 4, b"\0\0\0\x80"])
        elif kind == 5:
            del found[at:]
        else:
            found[at:at] = script.ConsumeBytes(script.ConsumeIntInRange(0, 64))
    return bytes(found)


def whole(script: atheris.FuzzedDataProvider) -> None:
    evidence, now = script.PickValueInList(CASES)
    quote, beside = evidence.quote, evidence.collateral
    if script.ConsumeBool():
        quote = damaged(quote, script)
    else:
        beside = damaged(beside, script)
    changed = Attestation(evidence.platform, quote, beside)
    if judge(changed, now) != "accepted":
        return
    module = module_of(evidence.platform)
    before, after = module.parse(evidence.quote), module.parse(quote)
    if before.envelope.signed != after.envelope.signed:
        raise AssertionError("a forged quote was accepted")
    mine, theirs = json.loads(evidence.collateral), json.loads(beside)
    if any(mine[name] != theirs[name] for name in TEXTS):
        raise AssertionError("a forged text was accepted")


def signed_anew(script: atheris.FuzzedDataProvider) -> None:
    body = script.PickValueInList(BODIES)
    platform = platform_of(body)
    if script.ConsumeBool():
        changed = Body(body.version, body.kind, damaged(body.data, script))
        quote = AUTHORITY.sign(changed, NOW, chain=CHAIN)
    else:
        report = damaged(AUTHORITY.qe_report(platform, bytes(range(32))), script)
        quote = AUTHORITY.sign(body, NOW, chain=CHAIN, qe_report=report)
    judge(Attestation(platform, quote, COLLATERAL[platform]), NOW)


def texts(script: atheris.FuzzedDataProvider) -> None:
    """As text."""
    body = script.PickValueInList(BODIES)
    platform = platform_of(body)
    name = script.PickValueInList(list(TEXTS))
    text = damaged(json.loads(COLLATERAL[platform])[name].encode(), script).decode("latin-1")
    signed_text(body, name, text)


def signed_text(body: Body, name: str, text: str) -> None:
    platform = platform_of(body)
    value = json.loads(COLLATERAL[platform])
    value[name] = text
    value[f"{name}_signature"] = raw_signature(AUTHORITY.keys["tcb"], text.encode()).hex()
    quote = AUTHORITY.sign(body, NOW, chain=CHAIN)
    judge(Attestation(platform, quote, json.dumps(value).encode()), NOW)


#: In the place of any value of a text.
VALUES = (
    None, True, -1, 0, 1, 255, 256, 65535, 2**70, 0.5, "", "0", "FF" * 16, "00" * 48, "Revoked",
    "OutOfDate", "SWHardeningNeeded", "TDX_00", "2025-11-24T00:00:00Z", [], [[]], {}, [{}],
    [1] * 16,
)  # fmt: skip


def values(script: atheris.FuzzedDataProvider) -> None:
    """By their values: up to four of them are others, are gone, or stand twice."""
    body = script.PickValueInList(BODIES)
    name = script.PickValueInList(list(TEXTS))
    text: Any = json.loads(json.loads(COLLATERAL[platform_of(body)])[name])
    for _ in range(script.ConsumeIntInRange(1, 4)):
        place: Any = text
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = script.PickValueInList(keys)
            deeper = isinstance(place[key], dict | list)
            if deeper and script.ConsumeIntInRange(0, 3):
                place = place[key]
                continue
            kind = script.ConsumeIntInRange(0, 3)
            if kind == 0:
                del place[key]
            elif kind == 1 and isinstance(place, list):
                place.append(deepcopy(place[key]))
            else:
                # A copy: several places may draw the same list, one within itself.
                place[key] = deepcopy(script.PickValueInList(list(VALUES)))
            break
    signed_text(body, name, json.dumps(text))


def bare(script: atheris.FuzzedDataProvider) -> None:
    data = script.ConsumeBytes(script.remaining_bytes())
    for module in (tdx, sgx):
        try:
            module.parse(data, lenient=True)
        except VerificationError as error:
            if error.check != "tee.3":
                raise AssertionError(f"parsing ended in {error.check}") from error
    judge(Attestation(Platform.TDX, CASES[0][0].quote, data), NOW)


MODES = (whole, whole, signed_anew, texts, values, bare)


def one(data: bytes) -> None:
    script = atheris.FuzzedDataProvider(data)
    MODES[script.ConsumeIntInRange(0, len(MODES) - 1)](script)


def main() -> None:
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
