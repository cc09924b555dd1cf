"""Another model than the one that is claimed: other weights, other keys, other operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from proofml.backend import Request
from proofml.errors import BackendFailed, UsageError
from proofml.expectation import Expectation
from proofml.model import Model
from proofml.policy import DEFAULT_ASSUMPTIONS, Policy
from proofml.proof import Proof
from proofml.statement import Visibility
from proofml.tensors import Array
from proofml.testing import Attacker
from proofml.verdict import Status

from .malicious import Table
from .models import ALLOWED, DEVELOPMENT, FLOAT, X, constant, graph, mlp, one
from .workshop import HASHED_ROWS, Workshop, deaf_to, refused

WEIGHTS_HIDDEN = ALLOWED.allow(["model:weights-hidden"])


def pinning(proof: Proof, *, model: str | None = None) -> Policy:
    """A policy that pins the circuit of a proof, under the proof's model or another one."""
    claim = proof.statement.model
    detail = proof.statement.computation.detail
    pin = {
        "model": model or claim.canonical_sha256 or claim.architecture_sha256,
        "settings": detail["settings_sha256"],
        "verifying_key": detail["verifying_key_sha256"],
    }
    allowed = ["srs:local-dev", "interface:unpinned"]
    return Policy(sections={"ezkl": {"pinned": [pin]}}).allow(allowed)


# -- other weights --------------------------------------------------------------------------------


def test_other_weights_fixed(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    proof = workshop.forger(workshop.other, claimed=workshop.model).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.13")
    deaf_to("ezkl.13", monkeypatch)
    assert workshop.judge(proof)


def test_other_weights_hashed(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is that of any weights: only the commitment tells, to who holds the model."""
    request = Request(parameters="hashed")
    proof = workshop.forger(workshop.other, request=request, run_args=HASHED_ROWS).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.11")
    assert workshop.judge(proof, Expectation(model=workshop.other))
    deaf_to("ezkl.11", monkeypatch)
    assert workshop.judge(proof)


def test_other_weights_hashed_under_the_honest_commitment(workshop: Workshop) -> None:
    """The Statement carries the model's commitment, the instance that of other weights."""
    request = Request(parameters="hashed")
    honest = workshop.forger(request=request, run_args=HASHED_ROWS).prove()
    stolen = honest.statement.computation.detail["parameters_commitment"]

    def lie(statement: Table) -> None:
        statement["computation"]["detail"]["parameters_commitment"] = stolen

    forger = workshop.forger(workshop.other, request=request, run_args=HASHED_ROWS, lie=lie)
    refused(workshop.judge(forger.prove()), "ezkl.11")


def test_other_weights_private(workshop: Workshop) -> None:
    """Nothing can tell them apart, so no model is named and nobody accepts it by default."""
    proof = workshop.forger(workshop.other, request=Request(parameters="private")).prove()
    assert proof.statement.model.canonical_sha256 is None
    assert proof.statement.model.file_sha256 is None
    verdict = workshop.judge(proof)
    assert verdict.status is Status.REFUSED
    assert [reason for reason in verdict.reasons if "model:weights-hidden" in reason]
    accepted = workshop.judge(proof, policy=WEIGHTS_HIDDEN)
    assert accepted.guarantee is not None
    assert "model:weights-hidden" in accepted.guarantee.assumptions
    assert accepted.guarantee.hidden == {"parameters": "everybody but the prover"}
    skipped = [check.detail for check in accepted.checks if check.number == "ezkl.17"]
    assert skipped == ["the weights are hidden"]


def test_other_architecture_private(workshop: Workshop) -> None:
    """Hidden weights do not hide another graph: two layers without the ReLU between them."""
    proto = workshop.model.proto
    (relu,) = [node for node in proto.graph.node if node.op_type == "Relu"]
    relu.op_type = "Identity"
    linear = workshop.load(proto.SerializeToString())
    request = Request(parameters="private")
    proof = workshop.forger(linear, request=request, claimed=workshop.model).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof, policy=WEIGHTS_HIDDEN), "ezkl.12")


def test_rewrapped_for_another_model(workshop: Workshop) -> None:
    """The evidence of one model under the name of another one."""
    attacker = workshop.take(workshop.honest())
    attacker.statement["model"] = workshop.other.claim.to_json()
    assert workshop.bare(attacker)
    refused(workshop.judge(attacker, Expectation(model=workshop.other)), "ezkl.8")
    refused(workshop.judge(attacker), "core.7")


# -- the key --------------------------------------------------------------------------------------


def test_key_of_another_model(workshop: Workshop) -> None:
    """A bundle of proof and key that fit each other, for the wrong model."""
    proof = workshop.forger(workshop.other, claimed=workshop.model).prove()
    attacker = workshop.take(proof)
    refused(workshop.judge(attacker), "ezkl.13")
    # The key alone exchanged for the model's: then the proof is not one under it.
    attacker.sections["verifying-key"] = workshop.forger().prove().sections["verifying-key"]
    refused(workshop.judge(attacker), "ezkl.14")


def test_key_other_than_stated(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(statement: Table) -> None:
        statement["computation"]["detail"]["verifying_key_sha256"] = "7" * 64

    proof = workshop.forger(lie=lie).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.14")
    deaf_to("ezkl.14", monkeypatch)
    assert workshop.judge(proof)


def test_honest_key_with_bytes_after_it(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EZKL reads as much of a key as it needs."""

    def ship(blobs: dict[str, bytes]) -> None:
        blobs["verifying-key"] += b"whatever"

    proof = workshop.forger(ship=ship).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.13")
    deaf_to("ezkl.13", monkeypatch)
    assert workshop.judge(proof)


# -- pinned circuits ------------------------------------------------------------------------------


def digest_of(model: Model) -> Expectation:
    return Expectation(model_sha256=model.digest)


def test_pinned_circuit_needs_no_model(workshop: Workshop) -> None:
    proof = workshop.honest()
    policy = pinning(proof)
    accepted = workshop.judge(proof, digest_of(workshop.model), policy)
    assert accepted, accepted.reasons
    assert accepted.guarantee is not None
    assert "quantisation:prover-chosen" not in accepted.guarantee.assumptions
    assert "interface:unpinned" in accepted.guarantee.assumptions
    with pytest.raises(UsageError, match="--model FILE"):
        workshop.judge(proof, digest_of(workshop.model))
    with_model = workshop.judge(proof, policy=policy)
    assert with_model.guarantee is not None
    assert with_model.guarantee.assumptions & {"interface:unpinned"} == set()


def test_pinned_circuit_says_nothing_of_names(workshop: Workshop) -> None:
    """A pinned key does not know what the inputs are called, so the verdict says so."""

    def lie(statement: Table) -> None:
        statement["inputs"][0]["name"] = "z"

    proof = workshop.forger(lie=lie).prove()
    expect = digest_of(workshop.model)
    assert workshop.judge(proof, expect, pinning(proof))
    strict = Policy(sections=pinning(proof).sections).allow(["srs:local-dev"])
    verdict = workshop.judge(proof, expect, strict)
    assert verdict.status is Status.REFUSED
    assert "interface:unpinned" in verdict.reasons[0]
    refused(workshop.judge(proof, policy=strict), "core.14")


@pytest.mark.parametrize("shape", [(4, 1), (2, 2), (4,)])
def test_pinned_circuit_and_another_shape(workshop: Workshop, shape: tuple[int, ...]) -> None:
    values = {"input.0": X["x"].reshape(shape)}
    proof = workshop.forger(values=values).prove()
    refused(workshop.judge(proof, digest_of(workshop.model), pinning(proof)), "ezkl.12")


def test_pinned_circuit_and_another_type(workshop: Workshop) -> None:
    proof = workshop.forger(values={"input.0": X["x"].astype(np.float64)}).prove()
    refused(workshop.judge(proof, digest_of(workshop.model), pinning(proof)), "ezkl.9")


def test_pinned_circuit_and_another_key(workshop: Workshop) -> None:
    """The key of other weights in the place of the pinned one."""
    proof = workshop.forger(workshop.other, claimed=workshop.model).prove()
    policy = pinning(workshop.forger().prove())
    refused(workshop.judge(proof, digest_of(workshop.model), policy), "ezkl.14")


def test_pinned_circuit_and_another_model(workshop: Workshop) -> None:
    """Pinned is model A's circuit. A Statement of model B finds no pin, on whatever evidence."""
    honest = workshop.forger().prove()
    proof = workshop.forger(claimed=workshop.other).prove()  # A's circuit, said to be B
    policy = pinning(honest)
    for expect in (Expectation(), digest_of(workshop.other)):
        with pytest.raises(UsageError, match="--model FILE"):
            workshop.judge(proof, expect, policy)
    refused(workshop.judge(proof, digest_of(workshop.model), policy), "core.7")
    allowed = policy.allow(DEVELOPMENT)
    refused(workshop.judge(proof, Expectation(model=workshop.other), allowed), "ezkl.13")


def test_pinned_circuit_of_any_weights(workshop: Workshop) -> None:
    """A pin holds the key of hashed weights, which is that of all weights: the verdict says so."""
    request = Request(parameters="hashed")
    proof = workshop.forger(workshop.other, request=request, run_args=HASHED_ROWS).prove()
    architecture = workshop.model.architecture_digest
    policy = pinning(workshop.forger(request=request, run_args=HASHED_ROWS).prove())
    for expect in (Expectation(model_sha256=architecture), Expectation(model=workshop.model)):
        verdict = workshop.judge(proof, expect, policy)
        assert verdict.status is Status.REFUSED
        assert any("model:weights-hidden" in reason for reason in verdict.reasons)


def test_pinned_settings(workshop: Workshop) -> None:
    """Settings that the policy knows are not the prover's choice; the key is still derived."""
    proof = workshop.honest()
    settings = [proof.statement.computation.detail["settings_sha256"]]
    policy = Policy(sections={"ezkl": {"settings": settings}}).allow(["srs:local-dev"])
    accepted = workshop.judge(proof, policy=policy)
    assert accepted.guarantee is not None
    assert accepted.guarantee.assumptions - DEFAULT_ASSUMPTIONS == {"srs:local-dev"}
    chosen = workshop.forger(run_args={"input_scale": 8}).prove()
    verdict = workshop.judge(chosen, policy=policy)
    assert verdict.status is Status.REFUSED
    assert "quantisation:prover-chosen" in verdict.reasons[0]


# -- models that EZKL reads otherwise than ONNX ---------------------------------------------------


def quantised() -> bytes:
    """QuantizeLinear and back: ONNX rounds to integers, EZKL changes nothing."""
    return graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        {"x": (FLOAT, [1, 4])},
        {"y": (FLOAT, [1, 4])},
        [constant("s", 1.0), constant("z", 128, np.uint8)],
    )


def cast() -> bytes:
    """ONNX rounds towards zero, EZKL down."""
    return graph(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64)],
        {"x": (FLOAT, [1, 4])},
        {"y": (TensorProto.INT64, [1, 4])},
    )


FOREIGN: dict[str, tuple[bytes, Array]] = {
    "QuantizeLinear": (quantised(), np.array([[0.25, 0.5, 500.0, -900.0]], np.float32)),
    "Trilu": (one("Trilu", (2, 2), opset=14), np.array([[1, 2], [3, 4]], np.float32)),
    "Cast": (cast(), np.array([[-0.25, 0.5, 1.5, -2.5]], np.float32)),
}


@pytest.mark.parametrize("operator", FOREIGN)
def test_operator_of_another_meaning(
    workshop: Workshop, operator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prover who skips `supports` proves EZKL's reading, far from the model's."""
    data, x = FOREIGN[operator]
    model = workshop.load(data)
    proof = workshop.forger(model, inputs={"x": x}).prove()
    assert workshop.bare(proof)
    expect = Expectation(model=model)
    verdict = workshop.judge(proof, expect)
    refused(verdict, "ezkl.12")
    assert operator in str(verdict.error)
    deaf_to("ezkl.12", monkeypatch)
    accepted = workshop.judge(proof, expect)
    assert accepted.guarantee is not None
    assert float(accepted.guarantee.notes["max error"]) >= 0.5


def test_model_that_onnxruntime_cannot_run(workshop: Workshop) -> None:
    """EZKL takes this one; without onnxruntime nobody knows what the model would have said."""
    double = TensorProto.DOUBLE
    node = helper.make_node("HardSigmoid", ["x"], ["y"])
    model = workshop.load(graph([node], {"x": (double, [1, 2])}, {"y": (double, [1, 2])}))
    proof = workshop.forger(model, inputs={"x": np.array([[1.0, -1.0]])}).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof, Expectation(model=model)), "ezkl.17")


def test_input_outside_the_domain(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The square root of -4 is 0 to EZKL and no number to the model."""
    model = workshop.load(one("Sqrt"))
    inputs = {"x": np.array([[-4.0, 0.0, 1.0, 4.0]], np.float32)}
    proof = workshop.forger(model, inputs=inputs).prove()
    assert proof.tensor("output.0").tolist() == [[0.0, 0.0, 1.0, 2.0]]
    assert workshop.bare(proof)
    refused(workshop.judge(proof, Expectation(model=model)), "ezkl.17")
    with pytest.raises(BackendFailed, match="NaN or infinite"):
        workshop.honest(model, inputs)
    deaf_to("ezkl.17", monkeypatch)
    assert workshop.judge(proof, Expectation(model=model))


def test_distance_from_onnxruntime(workshop: Workshop) -> None:
    """A coarse fixed point is no lie; `max_error` is how a policy objects, before anything else."""
    exact, coarse = workshop.honest(), {"x": np.array([[0.3, 0.3, 0.3, 0.3]], np.float32)}
    bounded = Policy(assumptions=ALLOWED.assumptions, sections={"ezkl": {"max_error": 0.0}})
    assert workshop.judge(exact, policy=bounded)
    verdict = workshop.judge(workshop.forger(inputs=coarse).prove(), policy=bounded)
    assert verdict.status is Status.REFUSED
    assert "max_error" in verdict.reasons[0]


def test_distance_that_cannot_be_measured(workshop: Workshop) -> None:
    """Where input or output are hidden a bound on the distance cannot be kept: refused."""
    bounded = Policy(assumptions=ALLOWED.assumptions, sections={"ezkl": {"max_error": 1e30}})
    request = Request(input_visibility=Visibility.PRIVATE)
    verdict = workshop.judge(workshop.forger(request=request).prove(), policy=bounded)
    assert verdict.status is Status.REFUSED
    assert "cannot be measured" in verdict.reasons[0]


# -- open dimensions ------------------------------------------------------------------------------


def opened(*names: str) -> bytes:
    """The model with the dimensions of its output left open."""
    from onnx import ModelProto

    proto = ModelProto.FromString(mlp(0))
    for dim, name in zip(proto.graph.output[0].type.tensor_type.shape.dim, names, strict=True):
        dim.dim_param = name
    return bytes(proto.SerializeToString(deterministic=True))


def test_public_output_of_another_shape(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph leaves both dimensions open: [1, 2] stated as [2, 1]."""
    model = workshop.load(opened("A", "B"))
    values = {"output.0": workshop.honest().tensor("output.0").reshape(2, 1)}
    proof = workshop.forger(model, values=values).prove()
    refused(workshop.judge(proof, Expectation(model=model)), "ezkl.12")
    deaf_to("ezkl.12", monkeypatch)
    assert workshop.judge(proof, Expectation(model=model))


def test_hidden_output_of_another_shape(workshop: Workshop) -> None:
    """No instance tells the shape of a hashed output; shape inference does."""
    model = workshop.load(opened("N", "M"))
    request = Request(output_visibility=Visibility.HASHED)

    def lie(statement: Table) -> None:
        statement["outputs"][0]["shape"] = [7, 2]

    hooks: dict[str, Any] = {
        "request": request,
        "run_args": HASHED_ROWS,
        "values": {"output.0": np.zeros((1, 2), np.float32)},  # hidden; its shape is stated
    }
    expect = Expectation(model=model)
    assert workshop.judge(workshop.forger(model, **hooks).prove(), expect)
    refused(workshop.judge(workshop.forger(model, lie=lie, **hooks).prove(), expect), "ezkl.12")


def test_attacker_signs_with_his_own_key(workshop: Workshop) -> None:
    """The tests above re-sign; a policy that pins the prover's key refuses all of it."""
    attacker = Attacker.of(workshop.honest().to_bytes())
    verdict = workshop.judge(attacker, policy=ALLOWED)
    assert verdict.signers == (attacker.key.public,)
    assert verdict.guarantee is not None
    assert "signer:unpinned" in verdict.guarantee.assumptions
