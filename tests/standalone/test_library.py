"""The function for services, and what it says where signatures cannot be checked."""

from __future__ import annotations

from typing import Any

import pytest

from proofml.checks import Result
from proofml.errors import EXIT_ACCEPTED, PolicyRefused, UsageError, VerificationError
from proofml.proof import Proof
from proofml.testing import Attacker
from proofml.verdict import Status
from proofml.zkml.sumcheck import standalone
from proofml.zkml.sumcheck.standalone import ASSUMPTIONS, read_key, verify

from .conftest import Golden


def test_many_proofs_with_one_key(golden: Golden) -> None:
    key = read_key(golden.key.read_bytes())
    assert key.digest == golden.circuit
    for proof in (golden.proof, golden.proof.read_bytes()):
        verdict = verify(proof, key, circuit_sha256=golden.circuit, model_sha256=golden.model)
        assert verdict.exit_code == EXIT_ACCEPTED
        assert verdict.require().output("logits").shape == (1, 10)


def test_a_proof_of_another_backend(golden: Golden) -> None:
    lie = Attacker.of(golden.proof.read_bytes())
    lie.predicate["backend"]["name"] = "ezkl"
    verdict = verify(lie.forge(sign=False), golden.key.read_bytes())
    assert verdict.error is not None
    assert (verdict.error.check, verdict.error.expected) == ("core.12", "sumcheck")


def test_not_accepted_is_not_used(golden: Golden) -> None:
    refused = verify(golden.proof, golden.key.read_bytes(), min_bits=110)
    with pytest.raises(PolicyRefused):
        refused.output("logits")
    invalid = verify(golden.proof, golden.key.read_bytes(), nonce=b"other")
    with pytest.raises(VerificationError, match=r"core\.11"):
        invalid.output("logits")


def test_fewer_assumptions(golden: Golden) -> None:
    """A service that has to have the nonce: without one, no proof is accepted."""
    demanded = ASSUMPTIONS - {"nonce:unpinned"}
    key = golden.key.read_bytes()
    refused = verify(golden.proof, key, assumptions=demanded)
    assert refused.status is Status.REFUSED
    assert refused.reasons[0].startswith("assumption nonce:unpinned is not allowed")
    assert verify(golden.proof, key, assumptions=demanded, nonce=bytes.fromhex(golden.nonce))


@pytest.mark.parametrize(
    "wrong",
    [
        {"circuit_sha256": "00"},
        {"circuit_sha256": "A" * 64},
        {"model_sha256": ""},
        {"nonce": b""},
        {"nonce": bytes(65)},
        {"salt": b""},
        {"min_bits": 0},
        {"min_bits": 79},
        {"assumptions": ["all"]},
        {"inputs": {"image": [1.0]}},
    ],
    ids=str,
)
def test_wrong_use(golden: Golden, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        verify(golden.proof, golden.key.read_bytes(), **wrong)


def test_keys_that_are_none(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    key = golden.key.read_bytes()
    for data in (b"", key[:-1], key + b"\n", key.replace(b'"version":1', b'"version":2')):
        with pytest.raises(UsageError, match="verifying key"):
            read_key(data)
    monkeypatch.setattr(standalone, "MAX_BYTES", 10)
    with pytest.raises(UsageError, match="at most 10 are read"):
        read_key(key)


# -- signatures -----------------------------------------------------------------------------------


@pytest.fixture
def signed(golden: Golden) -> Attacker:
    return Attacker.of(golden.proof.read_bytes())


def test_signature_checked(golden: Golden, signed: Attacker) -> None:
    verdict = verify(signed.forge(), golden.key.read_bytes())
    assert verdict
    assert verdict.signers == (signed.key.public,)


def test_signature_not_checked(
    golden: Golden, signed: Attacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is assumed by name, and no signer is reported."""
    monkeypatch.setattr(standalone, "can_check_signatures", lambda: False)
    key, data = golden.key.read_bytes(), signed.forge()
    verdict = verify(data, key)
    assert verdict
    assert verdict.signers == ()
    assert verdict.guarantee is not None
    assert "signer:unchecked" in verdict.guarantee.assumptions
    for number in ("core.3", "core.13"):
        (check,) = [c for c in verdict.checks if c.number == number]
        assert check.result is Result.ASSUMED
    refused = verify(data, key, assumptions=ASSUMPTIONS - {"signer:unchecked"})
    assert refused.status is Status.REFUSED
    # The rest of the envelope is read as strictly as ever.
    unsigned = verify(golden.proof, key)
    assert unsigned.guarantee is not None
    assert "signer:unsigned" in unsigned.guarantee.assumptions


def test_reading_without_signatures(golden: Golden, signed: Attacker) -> None:
    data = signed.forge()
    found = Proof.read(data, signatures=False)
    assert (found.signers, found.unchecked) == ((), (signed.key.public,))
    found = Proof.read(data)
    assert (found.signers, found.unchecked) == ((signed.key.public,), ())


def test_whether_signatures_can_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    standalone.can_check_signatures.cache_clear()
    assert standalone.can_check_signatures()
    standalone.can_check_signatures.cache_clear()
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    assert not standalone.can_check_signatures()
    standalone.can_check_signatures.cache_clear()
