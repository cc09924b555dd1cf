"""What `verify` makes of a policy and of a backend that cannot go on."""

from __future__ import annotations

import pytest

from proofml.api import prove, verify
from proofml.errors import BackendFailed, UnsupportedModel, UsageError, VerificationError
from proofml.expectation import Expectation
from proofml.model import Model
from proofml.policy import Policy
from proofml.reexec import verifier
from proofml.reexec.backend import ReexecBackend
from proofml.tensors import Array
from proofml.testing import Attacker
from proofml.verdict import Status
from proofml.worker import WorkerFailed


@pytest.fixture(scope="module")
def honest(model: Model, x: dict[str, Array]) -> bytes:
    return prove(model, x, backend="reexec").to_bytes()


def test_a_table_for_nobody_is_an_error(honest: bytes, model: Model) -> None:
    policy = Policy.from_mapping({"version": 1, "backends": {"reexce": {"tolerance": 1}}})
    with pytest.raises(UsageError, match=r"backends\.reexce: expected a registered backend"):
        verify(honest, Expectation(model=model), policy)


def test_a_model_that_cannot_be_judged_is_a_verdict(
    honest: bytes, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UnsupportedModel("dims that nobody can have")

    monkeypatch.setattr(ReexecBackend, "verify", refuse)
    verdict = verify(honest, Expectation(model=model))
    assert verdict.status is Status.INVALID
    assert verdict.error is not None
    assert verdict.error.check == "core.15"
    assert "dims that nobody can have" in str(verdict.error)


def test_a_kept_verdict_does_not_keep_the_proof(
    honest: bytes, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of a traceback would: a service that logs verdicts would fill up with evidence."""

    def refuse(*_: object) -> None:
        try:
            raise ValueError("inner")
        except ValueError as error:
            raise VerificationError("core.15", "outer") from error

    monkeypatch.setattr(ReexecBackend, "verify", refuse)
    error = verify(honest, Expectation(model=model)).error
    assert error is not None
    assert error.__traceback__ is None
    assert error.__cause__ is not None
    assert error.__cause__.__traceback__ is None


@pytest.mark.parametrize(
    ("kind", "message", "machine"),
    [
        ("memory", "too much", True),
        ("timeout", "too long", True),
        ("disk", "full", True),
        ("signal", "killed by SIGKILL", True),
        ("signal", "killed by SIGSEGV", False),
        ("exception", "no", False),
    ],
)
def test_whose_fault_it_is(
    honest: bytes,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    message: str,
    machine: bool,
) -> None:
    """A machine that lacks something says nothing of the proof; a crash on its inputs does."""

    def fail(*_: object, **__: object) -> None:
        raise WorkerFailed(kind, message, stage="onnxruntime")

    monkeypatch.setattr(verifier, "run_model", fail)
    if machine:
        with pytest.raises(BackendFailed, match=message):
            verify(honest, Expectation(model=model))
    else:
        verdict = verify(honest, Expectation(model=model))
        assert verdict.error is not None
        assert verdict.error.check == "reexec.4"


def test_a_model_is_no_architecture(honest: bytes, model: Model) -> None:
    """The two digests lie in different domains: stating one as the other matches nothing."""
    attacker = Attacker.of(honest)
    attacker.statement["model"] = {"kind": "architecture", "architecture_sha256": model.digest}
    for expect in (Expectation(model=model), Expectation(model_sha256=model.architecture_digest)):
        verdict = verify(attacker.forge(), expect)
        assert verdict.error is not None
        assert verdict.error.check == "core.7"
