"""Any bytes: a verified document or `VerificationError` of the tee checks; and no forgery.

A coverage-guided run over the Nitro verifier (not a test; needs `pip install atheris`):

    python -m tests.fuzz.tee_nitro_atheris CORPUS [-max_total_time=600] [-seed=1]

An input is a script. It damages a document as a whole (one from hardware where PROOFML_VECTORS or a
folder `shared/vectors` beside the repository has it, and simulated ones); or the map inside, which
is then signed anew by the enclave's key, so that all behind the signature is reached; or
certificates, some of which are signed anew; or it is the bytes themselves. What is accepted must
say what its signer said: a damaged document that nobody signed anew has to be the document.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["proofml.tee"]):
    from proofml.tee import cbor, cose, nitro, x509  # noqa: F401 - instrumented
    from proofml.tee.checks import CHECKS

import cbor2
from cryptography.hazmat.primitives import hashes

from proofml.errors import VerificationError
from proofml.tee.platform import Attestation, Platform
from proofml.tee.simulator import aws
from tests.tee.nitro_cases import REAL_TIME, real_document, simulated

NOW = REAL_TIME
AUTHORITY = aws.AwsAuthority.create(NOW - 86400)
ROOTS = simulated(AUTHORITY.root_der)
LINKS = AUTHORITY.links(NOW)
CHAIN = AUTHORITY.chain(LINKS)
DOCUMENT = AUTHORITY.document(
    report_data=bytes(range(64)), now=NOW, pcrs={0: b"a" * 48, 16: b"q" * 48}, chain=CHAIN
)
PAYLOAD = aws.encode(DOCUMENT)
ROOT_FOLDER = Path(__file__).resolve().parents[2]


def seeds() -> list[bytes]:
    found = [AUTHORITY.sign(PAYLOAD), AUTHORITY.sign(cbor2.dumps(DOCUMENT), tagged=True)]
    folder = Path(os.environ.get("PROOFML_VECTORS", ROOT_FOLDER.parent / "shared" / "vectors"))
    if folder.is_dir():
        found.append(real_document(folder))
    return found


SEEDS = seeds()


def judge(data: bytes) -> str:
    """The number of the check that refuses, or `accepted`."""
    try:
        nitro.verify(Attestation(Platform.NITRO, data), ROOTS, NOW)
    except VerificationError as error:
        if error.check not in CHECKS:
            raise AssertionError(f"{error.check} is no check of this backend") from error
        return error.check
    return "accepted"


def damaged(data: bytes, script: atheris.FuzzedDataProvider) -> bytes:
    """Up to six changes: bytes, heads of CBOR items, and pieces that move."""
    found = bytearray(data)
    for _ in range(script.ConsumeIntInRange(1, 6)):
        if not found:
            break
        kind = script.ConsumeIntInRange(0, 7)
        at = script.ConsumeIntInRange(0, len(found) - 1)
        size = script.PickValueInList([1, 2, 3, 5, 9, 48, 51, 96])
        if kind == 0:
            found[at] = script.ConsumeIntInRange(0, 255)
        elif kind == 1:
            found[at] ^= 1 << script.ConsumeIntInRange(0, 7)
        elif kind == 2:
            found[at : at + size] = b""
        elif kind == 3:
            found[at:at] = found[at : at + size]
        elif kind == 4:
            head = script.PickValueInList(
                [b"\x9f", b"\xbf", b"\xff", b"\x5f", b"\xf6", b"\xd2", b"\x9b" + b"\xff" * 8]
            )
            found[at : at + 1] = head
        elif kind == 5:
            other = script.ConsumeIntInRange(0, len(found) - 1)
            found[at:at] = found[other : other + size]
        elif kind == 6:
            del found[at:]
        else:
            found[at:at] = script.ConsumeBytes(script.ConsumeIntInRange(0, 64))
    return bytes(found)


def whole(script: atheris.FuzzedDataProvider) -> None:
    seed = script.PickValueInList(SEEDS)
    data = damaged(seed, script)
    if judge(data) == "accepted":
        # What is signed must be what it was; a tag in front may have been taken off.
        before, after = nitro.parse(seed), nitro.parse(data)
        if before.message.payload != after.message.payload:
            raise AssertionError("a forged document was accepted")


def inside(script: atheris.FuzzedDataProvider) -> None:
    payload = damaged(PAYLOAD, script)
    if 1 <= len(payload) <= cose.MAX_PAYLOAD_BYTES and judge(AUTHORITY.sign(payload)) == "accepted":
        document = cbor2.loads(payload)
        if document["cabundle"][0] != AUTHORITY.root_der or document["digest"] != "SHA384":
            raise AssertionError("a document against the rules was accepted")


def certificates(script: atheris.FuzzedDataProvider) -> None:
    """One certificate is damaged after it was signed, or one is issued with other claims."""
    index = script.ConsumeIntInRange(0, 4)
    chain = list(CHAIN)
    if script.ConsumeBool() or index == 4:
        chain[index] = damaged(chain[index], script)
        if chain[index] == CHAIN[index]:
            return
        expected = {"tee.3", "tee.4", "tee.5"}
    else:
        link = replace(
            LINKS[index],
            authority=script.ConsumeBool(),
            path_length=None,
            signs_certificates=script.ConsumeBool(),
            signs_data=script.ConsumeBool(),
            not_before=NOW - script.ConsumeIntInRange(0, 1 << 31),
            digest=script.PickValueInList([hashes.SHA256(), hashes.SHA384(), hashes.SHA512()]),
        )
        chain = list(AUTHORITY.chain([*LINKS[:index], link, *LINKS[index + 1 :]]))
        expected = {"accepted", "tee.5"}
    data = AUTHORITY.sign(aws.encode(DOCUMENT | _with(chain)))
    found = judge(data)
    if found not in expected:
        raise AssertionError(f"damaged certificate {index}: {found}")


def _with(chain: list[bytes]) -> dict[str, object]:
    return {"certificate": chain[-1], "cabundle": chain[:-1]}


def bare(script: atheris.FuzzedDataProvider) -> None:
    data = script.ConsumeBytes(script.remaining_bytes())
    judge(data)
    try:
        value = cbor.loads(data, "bytes", indefinite=True)
    except VerificationError:
        return
    if cbor2.loads(data) != value:
        raise AssertionError("two readings")
    try:
        cbor.loads(data, "bytes")
    except VerificationError:
        return
    if cbor2.dumps(value) != data:
        raise AssertionError("two forms")


MODES = (whole, inside, inside, certificates, bare, bare)


def one(data: bytes) -> None:
    script = atheris.FuzzedDataProvider(data)
    MODES[script.ConsumeIntInRange(0, len(MODES) - 1)](script)


def main() -> None:
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
