"""Exactly the sections of a mode and a platform; proofs over sealed inputs on every platform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from proofml.errors import VerificationError
from proofml.expectation import Expectation
from proofml.proof import Proof
from proofml.tee.backend_owner import open_proof
from proofml.tee.binding import Mode, ReceiptAlgorithm, inference_data
from proofml.tee.evidence import SECTIONS, Record
from proofml.tee.platform import Platform
from proofml.tee.sealing import seal_inputs
from proofml.testing.attacker import Attacker
from proofml.verdict import Verdict

from .workshop import NONCE, Enclave, Verifier, X, assembled, model

ALL = tuple(Platform)
EVERY = [(platform, mode) for platform in ALL for mode in Mode]
EXPECT = Expectation(model=model(), nonce=NONCE)


def judged(data: bytes) -> Verdict:
    return Verifier(expect=EXPECT).judge(data)


def refused(data: bytes) -> str:
    verdict = judged(data)
    assert verdict.error is not None, verdict.status
    return verdict.error.check


# -- sections -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("platform", "mode"), EVERY)
def test_each_section_has_to_be_there_and_filled(platform: Platform, mode: Mode) -> None:
    honest = Attacker.of(Enclave.start(platform, mode).proof())
    needed = set(honest.sections) - {"input.0", "output.0"}
    assert needed >= {"quote", "config"}
    for section in needed:
        lie = honest.copy()
        lie.sections[section] = b""
        assert refused(lie.forge()) == "tee.2", section
        lie = honest.copy()
        del lie.sections[section]
        assert refused(lie.forge()) == "tee.2", section


@pytest.mark.parametrize(("platform", "mode"), EVERY)
def test_sections_of_another_platform_or_mode(platform: Platform, mode: Mode) -> None:
    honest = Attacker.of(Enclave.start(platform, mode).proof())
    for section in set(SECTIONS) - set(honest.sections):
        lie = honest.copy()
        lie.sections[section] = b"{}"
        assert refused(lie.forge()) == "tee.2", section


def test_sections_that_are_too_long() -> None:
    """Nothing of one is parsed. (That of sealed outputs may be as long as any file.)"""
    honest = Attacker.of(Enclave.start(Platform.TDX, Mode.SESSION).proof())
    for section, (_, most) in SECTIONS.items():
        if section in honest.sections:
            lie = honest.copy()
            lie.sections[section] = bytes(most + 1)
            verdict = judged(lie.forge())
            assert verdict.error is not None
            assert verdict.error.check == "tee.2", section
            assert f"at most {most} bytes" in str(verdict.error)


# -- sealed inputs --------------------------------------------------------------------------------


def sealed(enclave: Enclave) -> tuple[bytes, bytes]:
    """The message, and what its owner keeps."""
    assert enclave.session is not None
    message, secret = seal_inputs(X, enclave.session.record())
    return message, secret.to_bytes()


@pytest.fixture(scope="module", params=ALL)
def made(request: pytest.FixtureRequest) -> tuple[bytes, bytes]:
    """An honest proof, and what its owner keeps."""
    enclave = Enclave.start(request.param, Mode.SESSION, algorithm=ReceiptAlgorithm.SECP256K1)
    message, secret = sealed(enclave)
    return enclave.proof(enclave.infer(message)), secret


def test_a_sealed_proof_is_accepted_and_hides(made: tuple[bytes, bytes]) -> None:
    verdict = judged(made[0])
    assert verdict, verdict.reasons
    assert verdict.guarantee is not None
    assert set(verdict.guarantee.hidden) == {"input", "output"}
    assert not verdict.tensors
    assert set(open_proof(Proof.read(made[0]), made[1])) == {"y"}


def test_a_proof_in_the_open_hides_nothing() -> None:
    verdict = judged(Enclave.start(Platform.TDX, Mode.SESSION).proof())
    assert verdict
    assert verdict.guarantee is not None
    assert not verdict.guarantee.hidden


def test_digests_in_receipts_can_be_tried_unless_something_is_salted() -> None:
    """What clients of one session see of each other: equal inputs in the open, without a nonce."""
    enclave = Enclave.start(Platform.SGX, Mode.SESSION)
    for given in (X, X, sealed(enclave)[0], sealed(enclave)[0]):
        enclave.infer(given, None)
    enclave.infer(X, b"of one client alone")
    digests = [signed.record.statement for signed in enclave.receipts]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


LIES: dict[str, Callable[[Attacker], None]] = {
    "no outputs for the owner": lambda lie: _drop(lie, "sealed-outputs"),
    "an empty section": lambda lie: _put(lie, "sealed-outputs", b""),
    "no receipts": lambda lie: _drop(lie, "receipts"),
    "no session record": lambda lie: _drop(lie, "session"),
    "another scheme": lambda lie: _commitment(lie, scheme="sha256"),
    "a shorter commitment": lambda lie: _commitment(lie, value="00" * 31),
    "a longer commitment": lambda lie: _commitment(lie, value="00" * 33),
    "a private output": lambda lie: lie.hide("output.0"),
    "all tensors private": lambda lie: _hide(lie, "input.0", "output.0"),
    "a mode that seals nothing": lambda lie: _mode(lie, "inference"),
}


def _drop(lie: Attacker, section: str) -> None:
    del lie.sections[section]


def _put(lie: Attacker, section: str, data: bytes) -> None:
    lie.sections[section] = data


def _hide(lie: Attacker, *roles: str) -> None:
    for role in roles:
        lie.hide(role)


def _commitment(lie: Attacker, **changes: str) -> None:
    lie.claim("output.0")["commitment"].update(changes)


def _mode(lie: Attacker, mode: str) -> None:
    lie.statement["computation"]["detail"]["mode"] = mode


@pytest.mark.parametrize("name", LIES)
def test_evidence_that_is_not_that_of_sealed_inputs(made: tuple[bytes, bytes], name: str) -> None:
    lie = Attacker.of(made[0])
    LIES[name](lie)
    assert refused(lie.forge()) == "tee.2"


def test_another_commitment_has_no_receipt(made: tuple[bytes, bytes]) -> None:
    for role in ("input.0", "output.0"):
        lie = Attacker.of(made[0])
        lie.claim(role)["commitment"]["value"] = "00" * 32
        assert refused(lie.forge()) == "tee.13"


def test_sealed_outputs_beside_a_proof_in_the_open() -> None:
    lie = Attacker.of(Enclave.start(Platform.SGX, Mode.SESSION).proof())
    lie.sections["sealed-outputs"] = b"what nobody reads"
    assert refused(lie.forge()) == "tee.2"


def test_sealed_tensors_in_inference_mode() -> None:
    """By code of his own, whose quote is over such a Statement: no key was there to seal to."""
    session = Enclave.start(Platform.SGX, Mode.SESSION)
    statement = session.infer(sealed(session)[0]).statement
    detail = {**statement.computation.detail, "mode": "inference"}
    lie = replace(statement, computation=replace(statement.computation, detail=detail))
    enclave = Enclave.start(Platform.SGX, Mode.INFERENCE)
    found = enclave.infer()
    quote = enclave.quoter.quote(inference_data(lie.digest))
    parts = replace(enclave.parts(found), attestation=quote, sealed_outputs=b"anything")
    assert Record.read(lie).mode is Mode.INFERENCE
    assert refused(assembled(replace(found, statement=lie, tensors={}), parts)) == "tee.2"


def test_outputs_that_were_replaced_do_not_open(made: tuple[bytes, bytes]) -> None:
    """No signature covers the sealed message, so that verifying cannot tell; its owner can."""
    data, secret = made
    honest = Attacker.of(data).sections["sealed-outputs"]
    for other in (honest[:-1] + bytes([honest[-1] ^ 1]), honest[:-1], b"anything"):
        lie = Attacker.of(data)
        lie.sections["sealed-outputs"] = other
        forged = lie.forge(sign=False)
        assert judged(forged)
        with pytest.raises(VerificationError) as caught:
            open_proof(Proof.read(forged), secret)
        assert caught.value.check == "tee.2"
