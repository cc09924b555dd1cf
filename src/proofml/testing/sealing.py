"""What a backend that seals must keep: outputs for their owner alone, after an accepted verdict.

Two owners seal to one prover. Whatever goes wrong afterwards ends in an error, never in outputs;
where the verdict is not an accepting one for exactly this proof, the backend is not even asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from proofml.api import NOT_ACCEPTED, open, prove, seal, verify
from proofml.backend import Context, SealingBackend
from proofml.errors import PolicyRefused, ProofmlError, UsageError, VerificationError
from proofml.expectation import Expectation
from proofml.proof import Proof
from proofml.sealed import Sealed, Secret
from proofml.statement import Visibility
from proofml.tensors import Array, same_bits
from proofml.testing.attacker import Attacker
from proofml.testing.case import SealedRun
from proofml.testing.harness import NONCE, Harness
from proofml.verdict import Status, Verdict


@dataclass(frozen=True)
class Owned:
    """Inputs of one owner, and the proof over them, as it was read from its file."""

    inputs: Mapping[str, Array]
    sealed: Sealed
    secret: Secret
    proof: Proof


class Owners:
    """One sealed the case's inputs, the other one its other inputs."""

    def __init__(self, harness: Harness, run: SealedRun) -> None:
        self.harness = harness
        self.run = run
        self.one = self._owned(harness.case.inputs)
        self.two = self._owned(harness.case.other_inputs)

    def _owned(self, inputs: Mapping[str, Array]) -> Owned:
        sealed, secret = self.seal(inputs)
        return Owned(inputs, sealed, secret, Proof.read(self.prove(sealed).to_bytes()))

    def seal(self, inputs: Mapping[str, Array]) -> tuple[Sealed, Secret]:
        """With the owner's cache, which is not the prover's; both went through a file."""
        sealed, secret = seal(
            self.harness.model,
            inputs,
            backend=self.harness.case.backend,
            recipient=self.run.recipient,
            policy=self.run.policy,
            context=Context(self.harness.verifier),
        )
        return Sealed.read(sealed.to_bytes()), Secret.read(secret.to_bytes())

    def prove(self, sealed: Sealed) -> Proof:
        return prove(
            self.harness.model,
            sealed,
            request=self.run.request,
            nonce=NONCE,
            context=Context(self.harness.prover),
        )

    def judge(self, proof: Proof | bytes, **changes: object) -> Verdict:
        """As an owner who pins model and nonce; `changes` are to the policy."""
        return verify(
            proof,
            Expectation(model=self.harness.model, nonce=NONCE),
            replace(self.run.policy, **changes),  # type: ignore[arg-type]
            context=Context(self.harness.verifier),
        )

    def read(self, proof: Proof, secret: Secret) -> dict[str, Array]:
        """Verify and open."""
        return open(proof, secret, self.judge(proof))


class SealingTests:
    """Part of the suite where `Case.sealing` is there."""

    @pytest.fixture(scope="class")
    @classmethod
    def owners(cls, harness: Harness) -> Iterator[Owners]:
        assert harness.case.sealing is not None
        with harness.case.sealing(harness.model, harness.prover) as run:
            yield Owners(harness, run)

    # -- what works -----------------------------------------------------------------------

    def test_sealing_is_declared(self, harness: Harness) -> None:
        assert isinstance(harness.backend, SealingBackend)
        assert "input" in harness.backend.hides

    def test_owner_reads_the_outputs(self, owners: Owners) -> None:
        found = owners.read(owners.one.proof, owners.one.secret)
        expected = owners.run.outputs or owners.harness.facts.outputs
        assert list(found) == [spec.name for spec in owners.harness.model.outputs]
        assert set(found) == set(expected)
        for name, array in found.items():
            assert (array.dtype, array.shape) == (expected[name].dtype, expected[name].shape)
            if owners.run.tolerance:
                assert np.allclose(array, expected[name], rtol=0, atol=owners.run.tolerance)
            else:
                assert same_bits(array, expected[name])

    def test_each_owner_has_outputs_of_his_own(self, owners: Owners) -> None:
        one = owners.read(owners.one.proof, owners.one.secret)
        two = owners.read(owners.two.proof, owners.two.secret)
        assert any(not same_bits(one[name], two[name]) for name in one)

    def test_proof_hides_what_was_sealed(self, owners: Owners) -> None:
        """Neither file has the inputs in it, or a plain digest; the verdict says what is hidden."""
        for owned in (owners.one, owners.two):
            for array in owned.inputs.values():
                assert array.tobytes() not in owned.sealed.to_bytes()
                assert array.tobytes() not in owned.proof.to_bytes()
            for claim in owned.proof.statement.inputs:
                assert claim.visibility is not Visibility.PUBLIC
                assert claim.sha256 is None
        guarantee = owners.judge(owners.one.proof).guarantee
        assert guarantee is not None
        assert "input" in guarantee.hidden

    def test_equal_inputs_seal_differently(self, owners: Owners) -> None:
        again, _ = owners.seal(owners.one.inputs)
        assert again.message != owners.one.sealed.message

    # -- no outputs without an accepted verdict -------------------------------------------

    def test_not_accepted(self, owners: Owners, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refused, invalid, pending, or of another proof: one message, and nobody is asked."""

        def never(*_: object, **__: object) -> Mapping[str, Array]:
            raise AssertionError("a backend was asked to open what is not accepted")

        owned = owners.one
        accepted = owners.judge(owned.proof)
        assert accepted.status is Status.ACCEPTED, accepted.reasons
        refused = owners.judge(owned.proof, signers=frozenset({"ed25519:" + "0" * 64}))
        assert refused.status is Status.REFUSED
        damaged = owners.judge(owned.proof.to_bytes()[:-1])
        assert damaged.status is Status.INVALID
        pending = replace(accepted, status=Status.PENDING)
        other = owners.judge(owners.two.proof)
        assert other.status is Status.ACCEPTED
        nothing = replace(accepted, proof_sha256=None)
        monkeypatch.setattr(type(owners.harness.backend), "open", never)
        for verdict in (refused, damaged, pending, other, nothing):
            with pytest.raises(PolicyRefused) as caught:
                open(owned.proof, owned.secret, verdict)
            assert caught.value.reasons == (NOT_ACCEPTED,)

    def test_proof_changed_after_its_verdict(self, owners: Owners) -> None:
        """Fields of a `Proof` may be set by anybody: what was accepted are bytes."""
        one, two = owners.one.proof, owners.two.proof
        verdict = owners.judge(one)
        for changed in (
            replace(one, sections=two.sections),
            replace(two, attestation=one.attestation),
            replace(one, attestation=two.attestation, sections=two.sections),
        ):
            with pytest.raises(PolicyRefused):
                open(changed, owners.one.secret, verdict)

    # -- what belongs to something else ---------------------------------------------------

    def test_secret_of_another_seal(self, owners: Owners) -> None:
        """Of other inputs, and of the same inputs sealed once more."""
        _, again = owners.seal(owners.one.inputs)
        for secret in (owners.two.secret, again):
            with pytest.raises((VerificationError, UsageError)):
                owners.read(owners.one.proof, secret)

    def test_secret_that_is_none(self, owners: Owners) -> None:
        data = owners.one.secret.data
        for wrong in (b"", data[:-1], data + b"\0", b"\0" * len(data), data[::-1]):
            with pytest.raises((VerificationError, UsageError)):
                owners.read(owners.one.proof, replace(owners.one.secret, data=wrong))

    def test_secret_of_another_model(self, owners: Owners) -> None:
        secret = replace(owners.one.secret, model=owners.harness.other_model.digest)
        with pytest.raises(UsageError, match="model"):
            owners.read(owners.one.proof, secret)

    def test_evidence_of_another_owner(self, owners: Owners) -> None:
        """A piece of the one's evidence in the other's proof: invalid, or it does not open."""
        theirs = owners.two.proof
        changed = 0
        for name, body in owners.one.proof.sections.items():
            if theirs.sections.get(name, body) == body:
                continue
            changed += 1
            self._never_opens(owners, name, theirs.sections[name])
        assert changed

    def test_damaged_evidence_never_opens(self, owners: Owners) -> None:
        """Any piece, at both ends and in the middle: invalid, or it does not open.

        A piece at which the verifier does not look is damaged in many places.
        """
        for name, body in owners.one.proof.sections.items():
            for count in (2, 40):
                found = [self._never_opens(owners, name, body, at) for at in _places(body, count)]
                if all(status is Status.INVALID for status in found):
                    break

    @staticmethod
    def _never_opens(owners: Owners, name: str, body: bytes, at: int | None = None) -> Status:
        """The first owner's proof with this section instead, damaged at `at` if that is given."""
        attacker = Attacker.of(owners.one.proof.to_bytes())
        attacker.sections[name] = body if at is None else _flipped(body, at)
        data = attacker.forge()
        verdict = owners.judge(data)
        if verdict.status is not Status.INVALID:
            with pytest.raises((VerificationError, PolicyRefused)):
                open(Proof.read(data), owners.one.secret, verdict)
        return verdict.status

    # -- sealed files ---------------------------------------------------------------------

    def test_sealed_for_another_model(self, owners: Owners) -> None:
        context = Context(owners.harness.prover)
        other = owners.harness.other_model
        with pytest.raises(UsageError, match="sealed for another model"):
            prove(other, owners.one.sealed, request=owners.run.request, context=context)
        # The prover says that they are for the other one; their owner does not read that.
        moved = replace(owners.one.sealed, model=other.digest)
        self._leads_nowhere(
            lambda: prove(other, moved, request=owners.run.request, nonce=NONCE, context=context),
            owners,
        )

    def test_sealed_for_another_backend(self, owners: Owners) -> None:
        context = Context(owners.harness.prover)
        with pytest.raises(UsageError, match="sealed for"):
            prove(
                owners.harness.model,
                owners.one.sealed,
                backend="no-such-backend",
                request=owners.run.request,
                context=context,
            )

    def test_tampered_sealed_inputs(self, owners: Owners) -> None:
        """Changed in many places, cut, extended, empty: no outputs come of it."""
        message = owners.one.sealed.message
        wrong = [_flipped(message, at) for at in _places(message, 40)]
        wrong += [b"", message[:-1], message + b"\0", message + message]
        for one in wrong:
            sealed = replace(owners.one.sealed, message=one)
            self._leads_nowhere(lambda sealed=sealed: owners.prove(sealed), owners)  # type: ignore[misc]

    @staticmethod
    def _leads_nowhere(make: Callable[[], Proof], owners: Owners) -> None:
        """The prover refuses, or the proof is not accepted, or it does not open."""
        with pytest.raises(ProofmlError):
            owners.read(make(), owners.one.secret)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _places(data: bytes, count: int) -> list[int]:
    """The first byte, the last one, and about `count` between them."""
    return sorted({0, len(data) - 1, *range(0, len(data), max(1, len(data) // count))})
