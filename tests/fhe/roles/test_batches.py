"""CKKS, several inferences in several ciphertexts, where the model leaves its batch free."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from proofml import api
from proofml.backend import Context, Request
from proofml.expectation import Expectation
from proofml.fhe import files
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.sealed import Secret
from proofml.store import Store
from proofml.testing.attacker import Attacker
from proofml.verdict import Status, Verdict

from ..ckks.models import mlp, reference, samples
from . import attacks

pytest.importorskip("tenseal")
BATCH = 5


@dataclass(frozen=True)
class Batched:
    model: Model
    context: Context
    inputs: dict[str, np.ndarray]
    secret: Secret
    proof: Proof
    error: float

    def judge(self, proof: Proof | bytes, **section: object) -> Verdict:
        names = ["decryptions:unshared", "circuit:unpinned", "trace:sampled"]
        policy = Policy(sections={"ckks": section}).allow(names)
        return api.verify(proof, Expectation(model=self.model), policy, context=self.context)


@pytest.fixture(scope="module")
def batched(tmp_path_factory: pytest.TempPathFactory) -> Batched:
    from proofml.fhe.ckks.compiler import compile_model

    context = Context(Store(tmp_path_factory.mktemp("batches")))
    model = mlp(context.store, batch="n")
    options = {"degree": "4", "ring": "8192", "tolerance": "1", "batch": "2"}
    circuit = compile_model(model, samples(model), options, context)
    assert circuit.program.lanes == 2
    inputs = {"x": np.linspace(-1, 1, 8 * BATCH, dtype=np.float32).reshape(BATCH, 8)}
    sealed, secret = api.seal(
        model, inputs, backend="ckks", recipient=circuit.data, context=context
    )
    request = Request(options={"trace": "yes"})
    proof = api.prove(model, sealed, request=request, context=context)
    return Batched(model, context, inputs, secret, proof, float(str(circuit.report["error"])))


def test_all_of_a_batch(batched: Batched) -> None:
    """Three groups of ciphertexts for five inferences, two in each."""
    assert len(files.split(batched.proof.sections["inputs"], "inputs")) == 3
    assert batched.proof.statement.outputs[0].shape == (BATCH, 4)
    verdict = batched.judge(batched.proof)
    assert verdict.status is Status.ACCEPTED, verdict.reasons
    got = api.open(batched.proof, batched.secret, verdict)
    (want,) = reference(batched.model, batched.inputs).values()
    (found,) = got.values()
    assert found.shape == want.shape
    assert np.abs(found - want).max() <= 3 * batched.error


def test_operators_of_every_group_are_in_the_trace(batched: Batched) -> None:
    total = batched.proof.statement.computation.detail["trace"]["operators"]  # type: ignore[index,call-overload]
    assert total % 3 == 0
    verdict = batched.judge(batched.proof, operators=total)
    assert verdict.status is Status.ACCEPTED, verdict.reasons


@pytest.mark.parametrize("role", ["inputs", "outputs"])
def test_shape_that_the_model_leaves_open(batched: Batched, role: str) -> None:
    """A batch that the ciphertexts do not hold: their headers tell the right one."""
    attacker = Attacker.of(batched.proof.to_bytes())
    attacker.statement[role][0]["shape"][0] -= 1
    verdict = batched.judge(attacker.forge())
    assert verdict.error is not None
    assert verdict.error.check == ("ckks.7" if role == "inputs" else "ckks.8")


def test_group_left_out(batched: Batched) -> None:
    attacker = Attacker.of(batched.proof.to_bytes())
    attacks.put(attacker, "outputs", attacks.ciphertexts(attacker, "outputs")[:-1])
    verdict = batched.judge(attacker.forge())
    assert verdict.error is not None
    assert verdict.error.check == "ckks.8"


def test_groups_exchanged(batched: Batched) -> None:
    """Each output is a good one, of other inputs."""
    attacker = Attacker.of(batched.proof.to_bytes())
    first, second, third = attacks.ciphertexts(attacker, "outputs")
    attacks.put(attacker, "outputs", (second, first, third))
    del attacker.sections["trace"]
    attacks.detail(attacker)["trace"] = None
    verdict = batched.judge(attacker.forge())
    assert verdict.error is not None
    assert verdict.error.check == "ckks.10"
