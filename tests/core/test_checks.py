"""core.1 to core.15: each number has a proof in which exactly that check does not pass.

The backend is a made-up one that accepts everything, so what refuses here is the core. The
attacker recomputes every digest and signs with his own key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from proofml.api import verify
from proofml.backend import Trial
from proofml.checks import CORE_CHECKS, Checks, Result
from proofml.errors import BackendFailed, PolicyRefused, UsageError, VerificationError
from proofml.expectation import Expectation
from proofml.guarantee import Finality, Guarantee, Integrity
from proofml.keys import SigningKey
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Blob, Proof
from proofml.statement import TensorClaim, Visibility
from proofml.tensors import Array, tensor_digest
from proofml.testing import Attacker, gemm
from proofml.verdict import Status, Verdict

LENIENT = Policy().allow(["model:unpinned", "model:file-differs", "model:weights-hidden"])


@pytest.fixture
def fake(register: Any) -> Any:
    """A backend that believes everything."""
    backend = register.Fake()
    register(backend)
    return backend


@pytest.fixture(scope="session")
def honest(model: Model, x: dict[str, Array], parts: Any) -> bytes:
    """What a prover would say of `model` on `x`, on no evidence at all."""
    y = np.array([[1, 2, 3]], np.float32)

    def claim(name: str, array: Array) -> TensorClaim:
        return TensorClaim(name, "float32", array.shape, Visibility.PUBLIC, tensor_digest(array))

    statement = replace(
        parts.statement,
        model=model.claim,
        inputs=(claim("x", x["x"]),),
        outputs=(claim("y", y),),
    )
    tensors = {"input.0": x["x"], "output.0": y}
    proof = Proof.build(statement, "fake", 1, {"trace": Blob(b"t")}, tensors, signers=[parts.key])
    return proof.to_bytes()


@pytest.fixture
def full(model: Model, x: dict[str, Array]) -> Expectation:
    return Expectation(
        model=model,
        inputs=x,
        outputs={"y": np.array([[1, 2, 3]], np.float32)},
        nonce=b"nonce",
    )


def judged(
    data: bytes, number: str, expect: Expectation | None = None, policy: Policy = LENIENT
) -> Verdict:
    """The verdict; it must be invalid by `number`, which alone failed."""
    verdict = verify(data, expect, policy)
    assert verdict.status is Status.INVALID
    assert verdict.error is not None
    assert verdict.error.check == number, str(verdict.error)
    failed = [check.number for check in verdict.checks if check.result is Result.FAILED]
    assert failed == [number]
    assert [check.number for check in verdict.checks].count(number) == 1
    assert verdict.exit_code == 1
    with pytest.raises(VerificationError, match=number):
        verdict.require()
    return verdict


def result(verdict: Verdict, number: str) -> Result:
    (found,) = {check.result for check in verdict.checks if check.number == number}
    return found


def test_honest(fake: Any, honest: bytes, full: Expectation, parts: Any) -> None:
    policy = replace(Policy(), signers=frozenset({parts.key.public}))
    verdict = verify(honest, full, policy)
    assert verdict.status is Status.ACCEPTED, verdict.reasons
    results = {check.number: check.result for check in verdict.checks}
    assert results == dict.fromkeys(CORE_CHECKS, Result.PASSED)
    assert verdict.guarantee is not None
    assert not verdict.guarantee.assumptions


def test_objects_are_read_again(fake: Any, honest: bytes, full: Expectation) -> None:
    """A Proof whose fields somebody has set is judged by its bytes."""
    proof = Proof.read(honest)
    lie = replace(proof.statement, nonce=b"another")
    assert verify(replace(proof, statement=lie), full).status is Status.ACCEPTED
    sections = {**proof.sections, "trace": b"changed"}
    verdict = verify(replace(proof, sections=sections), full)
    assert verdict.error is not None
    assert verdict.error.check == "core.5"


# -- one number each ------------------------------------------------------------------------------


def _extra_subject(liar: Attacker) -> bytes:
    liar.payload["subject"] = []
    return liar.forge(recompute=False)


def _unlisted(liar: Attacker) -> bytes:
    liar.sections["zz"] = b""
    return liar.forge(recompute=False)


def _unsigned_change(liar: Attacker) -> bytes:
    key = SigningKey.generate()
    signed = Attacker.of(liar.forge())
    signed.key = key
    data = signed.forge()
    return data.replace(key.public.encode(), liar.key.public.encode())


ALONE: dict[str, Callable[[Attacker], bytes]] = {
    "core.1": lambda liar: liar.forge() + b"\0",
    "core.2": lambda liar: (liar.predicate.update(extra=1), liar.forge(recompute=False))[1],
    "core.3": _unsigned_change,
    "core.4": _extra_subject,
    "core.5": _unlisted,
    "core.6": lambda liar: (liar.sections.pop("input.0"), liar.forge())[1],
    "core.7": lambda liar: _stated(liar, "model", canonical_sha256="1" * 64),
    "core.9": lambda liar: _value(liar, "input.0", np.zeros((1, 4), np.float32)),
    "core.10": lambda liar: _value(liar, "output.0", np.zeros((1, 3), np.float32)),
    "core.11": lambda liar: (liar.statement.update(nonce="00"), liar.forge())[1],
    "core.12": lambda liar: _backend(liar, version=2),
}


def _stated(liar: Attacker, key: str, **change: Any) -> bytes:
    liar.statement[key].update(change)
    return liar.forge()


def _value(liar: Attacker, role: str, array: Array) -> bytes:
    liar.set_value(role, array)
    return liar.forge()


def _backend(liar: Attacker, **change: Any) -> bytes:
    liar.predicate["backend"].update(change)
    return liar.forge()


@pytest.mark.parametrize("number", sorted(ALONE))
def test_alone(fake: Any, honest: bytes, full: Expectation, number: str) -> None:
    judged(ALONE[number](Attacker.of(honest)), number, full)


def test_core_8_file_differs(fake: Any, honest: bytes, full: Expectation) -> None:
    """The same graph in another file: not false, so it is an assumption that the policy refuses."""
    data = _stated(Attacker.of(honest), "model", file_sha256="1" * 64)
    verdict = verify(data, full)
    assert verdict.status is Status.REFUSED
    assert result(verdict, "core.8") is Result.ASSUMED
    assert any("model:file-differs" in reason for reason in verdict.reasons)
    assert result(verify(data, full, LENIENT), "core.8") is Result.ASSUMED


def test_core_12_unknown_backend(fake: Any, honest: bytes, full: Expectation) -> None:
    judged(_backend(Attacker.of(honest), name="no-such"), "core.12", full)
    judged(_backend(Attacker.of(honest), version=65536), "core.12", full)


def test_core_13_signer(fake: Any, honest: bytes, full: Expectation, parts: Any) -> None:
    policy = replace(Policy(), signers=frozenset({parts.key.public}))
    for data in (Attacker.of(honest).forge(), Attacker.of(honest).forge(sign=False)):
        verdict = verify(data, full, policy)
        assert verdict.status is Status.REFUSED
        assert result(verdict, "core.13") is Result.ASSUMED
        with pytest.raises(PolicyRefused, match=r"signers\.keys"):
            verdict.require()
    assert verify(honest, full, policy)


@pytest.mark.parametrize(
    "change",
    [
        lambda liar: liar.claim("output.0").update(name="z"),
        lambda liar: liar.claim("input.0").update(name="z"),
        lambda liar: liar.set_value("output.0", np.zeros((1, 4), np.float32)),
        lambda liar: liar.set_value("output.0", np.zeros((1, 3), np.float64)),
        lambda liar: liar.set_value("input.0", np.zeros((2, 2), np.float32)),
        lambda liar: liar.remove("output.0"),
        lambda liar: liar.statement["inputs"].append(
            {"name": "z", "dtype": "bool", "shape": [], "visibility": "private"}
        ),
    ],
)
def test_core_14_interface(
    fake: Any, honest: bytes, model: Model, change: Callable[[Attacker], object]
) -> None:
    liar = Attacker.of(honest)
    change(liar)
    judged(liar.forge(), "core.14", Expectation(model=model))


def raising(error: BaseException) -> Callable[[Trial], Guarantee]:
    def conclude(trial: Trial) -> Guarantee:
        raise error

    return conclude


@pytest.mark.parametrize(
    "conclude",
    [
        raising(KeyError("missing")),
        raising(ZeroDivisionError()),
        raising(RecursionError()),
        raising(AssertionError("impossible")),
        raising(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")),
        lambda trial: trial.checks.passed("fake.99"),
        lambda trial: None,
        lambda trial: True,
        lambda trial: Guarantee(frozenset({Integrity.HARDWARE})),
        lambda trial: Guarantee(frozenset({Integrity.HARDWARE, Integrity.CRYPTOGRAPHIC})),
    ],
)
def test_core_15_backend(
    register: Any, honest: bytes, full: Expectation, conclude: Callable[[Trial], Any]
) -> None:
    """A verifier that breaks down, concludes nothing, or more than its kind: fail closed."""
    register(register.Fake(conclude=conclude))
    judged(honest, "core.15", full)


# -- what is not the proof's fault ----------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), MemoryError(), BackendFailed("killed")]
)
def test_this_machine(
    register: Any, honest: bytes, full: Expectation, error: BaseException
) -> None:
    register(register.Fake(conclude=raising(error)))
    with pytest.raises(BackendFailed):
        verify(honest, full)


@pytest.mark.parametrize("error", [UsageError("give the model"), KeyboardInterrupt()])
def test_the_caller(register: Any, honest: bytes, full: Expectation, error: BaseException) -> None:
    register(register.Fake(conclude=raising(error)))
    with pytest.raises(type(error)):
        verify(honest, full)


def test_refused_by_the_backend(register: Any, honest: bytes, full: Expectation) -> None:
    register(register.Fake(conclude=raising(PolicyRefused(["not examined"]))))
    verdict = verify(honest, full)
    assert verdict.status is Status.REFUSED
    assert verdict.reasons == ("not examined",)
    assert verdict.exit_code == 3


def test_refused_by_its_own_number(register: Any, honest: bytes, full: Expectation) -> None:
    register(register.Fake(conclude=lambda trial: trial.checks.failed("fake.1", "a lie")))
    judged(honest, "fake.1", full)
    register(register.Fake(conclude=raising(VerificationError("fake.1", "a lie"))))
    judged(honest, "fake.1", full)


def test_pending(register: Any, honest: bytes, full: Expectation) -> None:
    pending = Guarantee(frozenset({Integrity.CRYPTOGRAPHIC}), finality=Finality.PENDING)
    register(register.Fake(conclude=lambda trial: pending))
    verdict = verify(honest, full)
    assert verdict.status is Status.PENDING
    assert not verdict
    assert verdict.exit_code == 3
    with pytest.raises(PolicyRefused, match="overturned"):
        verdict.require()


# -- hidden tensors and weights -------------------------------------------------------------------


def test_private_tensor_that_is_insisted_on(fake: Any, honest: bytes, full: Expectation) -> None:
    """Hiding what the verifier expects does not get around the expectation."""
    for role, number in (("input.0", "core.9"), ("output.0", "core.10")):
        liar = Attacker.of(honest)
        liar.hide(role)
        judged(liar.forge(), number, full)
        assert verify(liar.forge(), policy=LENIENT).status is Status.ACCEPTED


def hashed(honest: bytes, role: str) -> bytes:
    liar = Attacker.of(honest)
    liar.hide(role)
    liar.claim(role).update(
        visibility="hashed", commitment={"scheme": "made-up", "value": "ab" * 32}
    )
    return liar.forge()


@pytest.mark.parametrize(("role", "number"), [("input.0", "core.9"), ("output.0", "core.10")])
def test_hashed_tensor_that_is_insisted_on(
    register: Any, honest: bytes, full: Expectation, role: str, number: str
) -> None:
    """A commitment pins nothing until the backend has recomputed it."""
    register(register.Fake())
    data = hashed(honest, role)
    judged(data, number, full)
    assert verify(data, policy=LENIENT).status is Status.ACCEPTED

    def recompute(trial: Trial) -> Guarantee:
        trial.checks.open_commitments.discard(role)
        return Guarantee(frozenset({Integrity.CRYPTOGRAPHIC}))

    register(register.Fake(conclude=recompute))
    verdict = verify(data, full)
    assert verdict.status is Status.ACCEPTED, verdict.reasons
    assert result(verdict, number) is Result.PASSED


def test_hidden_weights(register: Any, honest: bytes, full: Expectation, model: Model) -> None:
    """An architecture says nothing of the weights, unless the evidence commits to them."""
    register(register.Fake())
    liar = Attacker.of(honest)
    liar.statement["model"] = model.architecture_claim.to_json()
    verdict = verify(liar.forge(), full)
    assert verdict.status is Status.REFUSED
    assert any("model:weights-hidden" in reason for reason in verdict.reasons)
    digest = model.architecture_digest
    verdict = verify(liar.forge(), Expectation(model_sha256=digest))
    assert verdict.status is Status.REFUSED
    judged(liar.forge(), "core.7", Expectation(model_sha256=model.digest))
    liar.statement["model"]["architecture_sha256"] = "1" * 64
    judged(liar.forge(), "core.7", full)

    def recompute(trial: Trial) -> Guarantee:
        trial.checks.open_commitments.discard("model")
        return Guarantee(frozenset({Integrity.CRYPTOGRAPHIC}))

    register(register.Fake(conclude=recompute))
    liar.statement["model"] = model.architecture_claim.to_json()
    assert verify(liar.forge(), full).status is Status.ACCEPTED


# -- the record itself ----------------------------------------------------------------------------


def test_numbers_are_for_ever() -> None:
    assert list(CORE_CHECKS) == [f"core.{n}" for n in range(1, 16)]


def test_a_failure_is_recorded_once() -> None:
    checks = Checks({"a.1": "first"})
    error = VerificationError("a.1", "no", expected="x", got="y")
    checks.record_failure(error)
    checks.record_failure(error)
    (found,) = checks.results
    assert (found.result, found.title) == (Result.FAILED, "first")
    assert found.detail == "no; expected x; got y"


def test_unknown_numbers_are_not_recorded() -> None:
    with pytest.raises(KeyError):
        Checks({}).passed("a.1")


def test_other_weights_are_another_model() -> None:
    one, two = Model.load(gemm(0)), Model.load(gemm(1))
    assert one.digest != two.digest
    assert one.architecture_digest == two.architecture_digest
