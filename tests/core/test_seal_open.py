"""The verbs `seal` and `open` themselves; what every backend has to keep is in the kit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import proofml
from proofml.api import NOT_ACCEPTED, open, prove, seal, verify
from proofml.backend import Backend, Context, Probe, SealingBackend, get_backend
from proofml.checks import Checks, Result
from proofml.errors import (
    BackendFailed,
    BackendUnavailable,
    PolicyRefused,
    UsageError,
    VerificationError,
)
from proofml.expectation import Expectation
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.sealed import Sealed, Secret
from proofml.store import Store
from proofml.tensors import Array, same_bits
from proofml.testing import Attacker, gemm
from proofml.verdict import Status, Verdict

from .box import RECIPIENT, Box, evaluate


@pytest.fixture
def box(register: Any) -> Box:
    """The only backend besides one that seals nothing."""
    made = Box()
    register(made, register.Fake())
    return made


@pytest.fixture
def context(store: Store) -> Context:
    return Context(store)


@pytest.fixture
def made(
    box: Box, model: Model, x: Mapping[str, Array], context: Context
) -> tuple[Sealed, Secret, Proof]:
    sealed, secret = seal(model, x, backend="box", recipient=RECIPIENT, context=context)
    return sealed, secret, prove(model, sealed, context=context)


def judged(proof: Proof | bytes | Path, model: Model, context: Context) -> Verdict:
    return verify(proof, Expectation(model=model), context=context)


# -- who seals ------------------------------------------------------------------------------------


def test_protocols(box: Box) -> None:
    """A backend without the verbs is a backend all the same."""
    assert isinstance(box, SealingBackend)
    assert isinstance(box, Backend)
    fake = get_backend("fake")
    assert isinstance(fake, Backend)
    assert not isinstance(fake, SealingBackend)


def test_public_names() -> None:
    assert proofml.seal is seal
    assert proofml.open is open
    assert (proofml.Sealed, proofml.Secret) == (Sealed, Secret)


def test_backend_that_does_not_seal(
    box: Box, model: Model, x: Mapping[str, Array], context: Context
) -> None:
    with pytest.raises(UsageError, match="fake seals nothing"):
        seal(model, x, backend="fake", context=context)
    sealed = Sealed("fake", model.digest, b"")
    with pytest.raises(UsageError, match="fake seals nothing"):
        prove(model, sealed, context=context)
    with pytest.raises(UsageError, match="no backend 'none'"):
        seal(model, x, backend="none", context=context)


def test_backend_that_is_not_here(
    box: Box, model: Model, x: Mapping[str, Array], context: Context, monkeypatch: Any
) -> None:
    monkeypatch.setattr(Box, "probe", lambda self: Probe(False, "pip install box"))
    with pytest.raises(BackendUnavailable, match="pip install box"):
        seal(model, x, backend="box", recipient=RECIPIENT, context=context)


# -- seal -----------------------------------------------------------------------------------------


def test_inputs_are_checked_first(box: Box, model: Model, context: Context) -> None:
    for wrong in ({}, {"y": np.zeros((1, 4), np.float32)}, {"x": np.zeros((1, 5), np.float32)}):
        with pytest.raises(UsageError):
            seal(model, wrong, backend="box", recipient=RECIPIENT, context=context)


def test_recipient(box: Box, model: Model, x: Mapping[str, Array], context: Context) -> None:
    """Somebody, good evidence, and a policy that takes it; each has its own error."""

    def run(recipient: bytes | None, policy: Policy | None = None) -> None:
        seal(model, x, backend="box", recipient=recipient, policy=policy, context=context)

    run(RECIPIENT)
    with pytest.raises(UsageError, match="--to"):
        run(None)
    with pytest.raises(VerificationError) as caught:
        run(b"somebody else")
    assert caught.value.check == "box.6"
    with pytest.raises(PolicyRefused, match="closed"):
        run(RECIPIENT, Policy(sections={"box": {"closed": True}}))
    with pytest.raises(UsageError, match=r"backends\.bocks"):
        run(RECIPIENT, Policy(sections={"bocks": {"closed": True}}))


def test_what_belongs_together(made: tuple[Sealed, Secret, Proof], model: Model) -> None:
    sealed, secret, proof = made
    assert secret.sealed == sealed.digest
    assert {sealed.model, secret.model, proof.statement.model.canonical_sha256} == {model.digest}
    assert {sealed.backend, secret.backend, proof.backend} == {"box"}


# -- prove ----------------------------------------------------------------------------------------


def test_sealed_for_another(
    made: tuple[Sealed, Secret, Proof], box: Box, model: Model, context: Context
) -> None:
    sealed, _, _ = made
    other = Model.load(gemm(1))
    with pytest.raises(UsageError, match="sealed for another model"):
        prove(other, sealed, context=context)
    with pytest.raises(UsageError, match="sealed for box cannot be proven with fake"):
        prove(model, sealed, backend="fake", context=context)
    assert prove(model, sealed, backend="box", context=context).backend == "box"


def test_shown_inputs_are_no_proof(
    made: tuple[Sealed, Secret, Proof], box: Box, model: Model, context: Context
) -> None:
    box.defects.add("inputs in the open")
    with pytest.raises(BackendFailed, match="in the open"):
        prove(model, made[0], context=context)


# -- verdicts -------------------------------------------------------------------------------------


def test_verdict_names_its_proof(
    made: tuple[Sealed, Secret, Proof], model: Model, context: Context, tmp_path: Path
) -> None:
    _, _, proof = made
    path = tmp_path / "x.pml"
    proof.write(path)
    for source in (proof, path, path.read_bytes()):
        verdict = judged(source, model, context)
        assert verdict.status is Status.ACCEPTED
        assert verdict.proof_sha256 == proof.digest == Proof.read(path).digest
        assert verdict.to_json()["proof_sha256"] == proof.digest


def test_verdict_on_a_bad_proof(
    made: tuple[Sealed, Secret, Proof], model: Model, context: Context
) -> None:
    """Named as far as it can be read."""
    data = made[2].to_bytes()
    attacker = Attacker.of(data)
    attacker.sections["code"] = bytes(32)
    forged = attacker.forge()
    verdict = judged(forged, model, context)
    assert verdict.status is Status.INVALID
    assert verdict.proof_sha256 == Proof.read(forged).digest
    assert judged(data[:-1], model, context).proof_sha256 is None


def test_digest_covers_every_section(made: tuple[Sealed, Secret, Proof]) -> None:
    """Another byte anywhere is another digest, or no proof."""
    data = made[2].to_bytes()
    digest = Proof.read(data).digest
    for at in range(0, len(data), 7):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            assert Proof.read(changed).digest != digest
        except VerificationError:
            continue


# -- open -----------------------------------------------------------------------------------------


def test_open(
    made: tuple[Sealed, Secret, Proof],
    box: Box,
    model: Model,
    x: Mapping[str, Array],
    context: Context,
) -> None:
    _, secret, proof = made
    outputs = open(proof, secret, judged(proof, model, context))
    assert same_bits(outputs["y"], evaluate(model, x)["y"])
    assert box.opened == 1


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.ACCEPTED])
def test_open_without_acceptance(
    made: tuple[Sealed, Secret, Proof], box: Box, model: Model, context: Context, status: Status
) -> None:
    """Whatever the reason: the same words, and the backend is not asked."""
    _, secret, proof = made
    verdict = replace(judged(proof, model, context), status=status)
    with pytest.raises(PolicyRefused) as caught:
        open(proof, secret, verdict)
    assert str(caught.value) == f"refused by policy: {NOT_ACCEPTED}"
    assert caught.value.__cause__ is None
    assert box.opened == 0


def test_open_with_the_verdict_of_another(
    made: tuple[Sealed, Secret, Proof],
    box: Box,
    model: Model,
    x: Mapping[str, Array],
    context: Context,
) -> None:
    """Not even of the same inputs, sealed once more to the same machine."""
    _, secret, proof = made
    again, _ = seal(model, x, backend="box", recipient=RECIPIENT, context=context)
    verdict = judged(prove(model, again, context=context), model, context)
    assert verdict
    for wrong in (verdict, replace(verdict, proof_sha256=None)):
        with pytest.raises(PolicyRefused, match="exactly this proof"):
            open(proof, secret, wrong)
    assert box.opened == 0


def test_open_another_proof_under_an_accepted_name(
    made: tuple[Sealed, Secret, Proof], box: Box, model: Model, context: Context
) -> None:
    """A `Proof` is taken for its bytes, whatever its fields say."""
    _, secret, proof = made
    verdict = judged(proof, model, context)
    for changed in (
        replace(proof, sections={**proof.sections, "sealed-outputs": b"chosen"}),
        replace(proof, attestation=b"{}"),
        replace(proof, sections={"no name at all": b""}),
    ):
        with pytest.raises(PolicyRefused) as caught:
            open(changed, secret, verdict)
        assert caught.value.reasons == (NOT_ACCEPTED,)
    assert box.opened == 0
    # The statement is read again as well, so this one is the accepted proof.
    nonce = replace(proof, statement=replace(proof.statement, nonce=b"1"))
    assert open(nonce, secret, verdict)


def test_open_with_a_secret_of_another(
    made: tuple[Sealed, Secret, Proof], box: Box, model: Model, context: Context
) -> None:
    _, secret, proof = made
    verdict = judged(proof, model, context)
    for wrong in (replace(secret, backend="fake"), replace(secret, model="0" * 64)):
        with pytest.raises(UsageError, match="the secret is of"):
            open(proof, wrong, verdict)
    assert box.opened == 0


@pytest.mark.parametrize(
    "outputs",
    [
        {},
        {"z": np.zeros((1, 3), np.float32)},
        {"y": np.zeros((1, 4), np.float32)},
        {"y": np.zeros((1, 3), np.float64)},
    ],
    ids=["none", "another name", "another shape", "another dtype"],
)
def test_opened_outputs_are_those_stated(
    made: tuple[Sealed, Secret, Proof],
    model: Model,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    outputs: dict[str, Array],
) -> None:
    _, secret, proof = made
    verdict = judged(proof, model, context)
    monkeypatch.setattr(Box, "open", lambda self, proof, secret: outputs)
    with pytest.raises(BackendFailed, match="opened outputs: expected y"):
        open(proof, secret, verdict)


# -- a check that the policy refuses --------------------------------------------------------------


def test_refused_is_recorded_and_goes_on() -> None:
    checks = Checks({"a.1": "first", "a.2": "second"})
    checks.refused("a.1", "not good enough")
    checks.passed("a.2")
    first, second = checks.results
    assert (first.result, first.detail) == (Result.REFUSED, "not good enough")
    assert first.to_json()["result"] == "refused"
    assert second.result is Result.PASSED
