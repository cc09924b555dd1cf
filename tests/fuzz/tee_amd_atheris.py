"""Any bytes: a verified report or `VerificationError` of the tee checks; and no forgery.

A coverage-guided run over the SEV-SNP verifier (not a test; needs `pip install atheris`):

    python -m tests.fuzz.tee_amd_atheris CORPUS [-max_total_time=600] [-seed=1]

An input is a script. It damages a report or its collateral as a whole (from hardware where
PROOFML_VECTORS or a folder `shared/vectors` beside the repository has them, and simulated ones of
every version, product line and kind of key); or the report below its signature, or what a
certificate of the signing key says, or a certificate or list below its frame of text, each signed
anew where the simulator can; or it is the bytes themselves. What is accepted must say what its
signer said.
"""

from __future__ import annotations

import base64
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["proofml.tee"]):
    from proofml.tee import amd_collateral, sev_snp, snp_report, x509
    from proofml.tee.checks import CHECKS

from proofml.canonical import dumps, loads
from proofml.errors import VerificationError
from proofml.tee.platform import Attestation, Platform
from proofml.tee.roots import Roots, fingerprint
from proofml.tee.simulator.amd import AmdAuthority
from proofml.tee.snp_report import REPORT_BYTES, SIGNED_BYTES
from tests.tee.amd_cases import PRODUCTS, REAL_TIME, real_collateral, real_report

NOW = 1764000000
DATA = bytes(range(64))
ROOT_FOLDER = Path(__file__).resolve().parents[2]
FIRST = AmdAuthority.create(NOW)
LINES = [AmdAuthority.create(NOW, product, keys=FIRST.keys) for product in PRODUCTS]
ROOTS = Roots.vendor().with_simulated(fingerprint(line.root_der) for line in LINES)
#: The line, whether the key was lent, the collateral.
CASES = [
    (line, vlek, line.collateral(NOW, vlek=vlek, without_crl=without))
    for line in LINES
    for vlek in (False, True)
    for without in (False, True)
]
VERSIONS = (2, 3, 4, 5)
#: What is in a certificate, and at which place in the collateral.
PLACES = ("leaf", "intermediate", "root", "crl")


def seeds() -> list[tuple[Attestation, int]]:
    found = [
        (
            Attestation(
                Platform.SEV_SNP,
                line.quote(report_data=DATA, vlek=vlek, version=version),
                collateral,
            ),
            NOW,
        )
        for line, vlek, collateral in CASES
        for version in VERSIONS
    ]
    folder = Path(os.environ.get("PROOFML_VECTORS", ROOT_FOLDER.parent / "shared" / "vectors"))
    if folder.is_dir():
        real = Attestation(Platform.SEV_SNP, real_report(folder), real_collateral(folder))
        found.append((real, REAL_TIME))
    return found


SEEDS = seeds()


def judge(evidence: Attestation, now: int = NOW) -> str:
    """The number of the check that refuses, or `accepted`."""
    try:
        sev_snp.verify(evidence, ROOTS, now)
    except VerificationError as error:
        if error.check not in CHECKS:
            raise AssertionError(f"{error.check} is no check of this backend") from error
        return error.check
    return "accepted"


def damaged(data: bytes, script: atheris.FuzzedDataProvider, *, keep: bool = False) -> bytes:
    """Up to five changes; `keep`: of bytes alone, so that the length stays."""
    found = bytearray(data)
    for _ in range(script.ConsumeIntInRange(1, 5)):
        if not found:
            break
        kind = script.ConsumeIntInRange(0, 2 if keep else 6)
        at = script.ConsumeIntInRange(0, len(found) - 1)
        size = script.PickValueInList([1, 2, 3, 4, 8, 48, 64, 72])
        if kind == 0:
            found[at] = script.ConsumeIntInRange(0, 255)
        elif kind == 1:
            found[at] ^= 1 << script.ConsumeIntInRange(0, 7)
        elif kind == 2:
            fill = script.PickValueInList([0, 1, 0x7F, 0x80, 0xFF])
            found[at : at + size] = bytes([fill]) * len(found[at : at + size])
        elif kind == 3:
            found[at : at + size] = b""
        elif kind == 4:
            other = script.ConsumeIntInRange(0, len(found) - 1)
            found[at:at] = found[other : other + size]
        elif kind == 5:
            del found[at:]
        else:
            found[at:at] = script.ConsumeBytes(script.ConsumeIntInRange(0, 64))
    return bytes(found)


def whole(script: atheris.FuzzedDataProvider) -> None:
    """Nobody signs anew: what is accepted is what it was, whichever of the two S it has."""
    evidence, now = script.PickValueInList(SEEDS)
    quote, collateral = evidence.quote, evidence.collateral
    if script.ConsumeBool():
        quote = damaged(quote, script, keep=script.ConsumeBool())
    else:
        collateral = damaged(collateral, script)
    changed = replace(evidence, quote=quote, collateral=collateral)
    if judge(changed, now) == "accepted" and (
        quote[:SIGNED_BYTES] != evidence.quote[:SIGNED_BYTES] or collateral != evidence.collateral
    ):
        raise AssertionError("a forged report or certificate was accepted")


def report(script: atheris.FuzzedDataProvider) -> None:
    """The chip signs whatever it is given; what is shown is what it signed."""
    line, vlek, collateral = script.PickValueInList(CASES)
    claims = line.claims(
        report_data=DATA, vlek=vlek, version=script.PickValueInList(list(VERSIONS))
    )
    body = damaged(claims.to_bytes()[:SIGNED_BYTES], script, keep=True)
    quote = line.sign(body.ljust(REPORT_BYTES, b"\0"), vlek=vlek)
    evidence = Attestation(Platform.SEV_SNP, quote, collateral)
    if judge(evidence) != "accepted":
        return
    found = sev_snp.verify(evidence, ROOTS, NOW)
    parsed = snp_report.parse(quote)
    if b"".join(field.data for field in parsed.fields) != quote:
        raise AssertionError("fields that are not every byte")
    if found.report_data != body[0x50:0x90] or body[0x180:0x188] != claims.to_bytes()[0x180:0x188]:
        raise AssertionError("something else than what was signed")
    if found.attributes["debug"] is not bool(body[0x0A] & 8):
        raise AssertionError("debugging is not what was signed")
    if found.measurements["measurement"] != body[0x90:0xC0].hex():
        raise AssertionError("another measurement than the one that was signed")


def leaf(script: atheris.FuzzedDataProvider) -> None:
    """The intermediate certifies whatever it is given; what is shown is what it certified."""
    line, vlek, _ = script.PickValueInList(CASES)
    good = line.leaf(NOW, vlek=vlek)
    extensions = dict(good.extensions)
    for _ in range(script.ConsumeIntInRange(1, 2)):
        oid = script.PickValueInList(sorted(extensions))
        extensions[oid] = damaged(extensions[oid], script) if extensions[oid] else b"\x02\x01\x00"
        if script.ConsumeIntInRange(0, 7) == 0:
            del extensions[oid]
        elif script.ConsumeIntInRange(0, 7) == 0:
            other = f"1.3.6.1.4.1.3704.1.{script.ConsumeIntInRange(1, 6)}"
            extensions[other] = extensions.pop(oid)
    collateral = line.collateral(
        NOW, vlek=vlek, leaf=replace(good, extensions=extensions), without_crl=True
    )
    quote = line.quote(report_data=DATA, vlek=vlek)
    accepted = judge(Attestation(Platform.SEV_SNP, quote, collateral)) == "accepted"
    kept = {*extensions.items()}
    named = {amd_collateral.PRODUCT_OID, amd_collateral.PROVIDER_OID}
    named |= set(amd_collateral.RESERVED_OIDS)
    if accepted and any(
        (oid, value) not in kept for oid, value in good.extensions.items() if oid not in named
    ):
        raise AssertionError("a certificate for another report was accepted")


def inside(script: atheris.FuzzedDataProvider) -> None:
    """The bytes of one certificate or list; the text around it is written anew."""
    line, vlek, collateral = script.PickValueInList(CASES)
    place = script.PickValueInList(list(PLACES))
    found: dict[str, Any] = loads(collateral)
    texts = {"leaf": found["leaf"], "crl": found["crl"]}
    texts["intermediate"], texts["root"] = found["chain"]
    if texts[place] is None:
        return
    first, *lines, last = texts[place].splitlines()
    der = base64.b64decode("".join(lines))
    changed = damaged(der, script)
    text = base64.b64encode(changed).decode()
    rows = [text[at : at + 64] for at in range(0, len(text), 64)]
    texts[place] = "\n".join([first, *rows, last, ""])
    found |= {"leaf": texts["leaf"], "crl": texts["crl"]}
    found["chain"] = [texts["intermediate"], texts["root"]]
    quote = line.quote(report_data=DATA, vlek=vlek)
    judged = judge(Attestation(Platform.SEV_SNP, quote, dumps(found)))
    expected = {"tee.6"} if place == "crl" else {"tee.4", "tee.5"}
    if changed != der and judged not in expected:
        raise AssertionError(f"damaged {place}: {judged}")


def bare(script: atheris.FuzzedDataProvider) -> None:
    size = script.ConsumeIntInRange(0, REPORT_BYTES + 8)
    quote = script.ConsumeBytes(size)
    if script.ConsumeBool():
        quote = b"\x03\0\0\0".ljust(8, b"\0") + quote
        quote = quote.ljust(REPORT_BYTES, b"\0")[:REPORT_BYTES]
    data = script.ConsumeBytes(script.remaining_bytes())
    judge(Attestation(Platform.SEV_SNP, quote, data))
    good, now = SEEDS[0]
    judge(replace(good, collateral=data), now)
    for read in (x509.load_der, x509.load_pems, x509.load_crl, x509.load_pem_crl):
        try:
            read(data, "bytes")
        except VerificationError as error:
            if error.check not in ("tee.5", "tee.6"):
                raise AssertionError(f"{error.check} from {read.__name__}") from error


MODES = (whole, report, leaf, inside, inside, bare)


def one(data: bytes) -> None:
    script = atheris.FuzzedDataProvider(data)
    MODES[script.ConsumeIntInRange(0, len(MODES) - 1)](script)


def main() -> None:
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
