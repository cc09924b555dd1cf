"""Every way of hiding that the backend offers: proven honestly, accepted, its guarantee named."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from proofml.api import prove, verify
from proofml.backend import Context, Request
from proofml.errors import UnsupportedModel
from proofml.expectation import Expectation
from proofml.guarantee import Integrity
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.statement import Visibility
from proofml.store import Store
from proofml.tensors import Array
from proofml.verdict import Verdict
from proofml.zkml.ezkl.instances import SCHEME

from .models import ALLOWED, DEVELOPMENT, FLOAT, OPTIONS, OTHER_X, X, constant, graph, mlp
from .workshop import Workshop, refused

PUBLIC, HASHED, PRIVATE = Visibility.PUBLIC, Visibility.HASHED, Visibility.PRIVATE
PARAMETERS = ("fixed", "hashed", "private")
#: The fewer elements there are to hash, the fewer rows.
TINY = mlp(0, (2, 2))
SMALL, OTHER_SMALL = ({"x": array[:, :2]} for array in (X["x"], OTHER_X["x"]))
#: One decomposition instead of the better of two: half the calibration.
QUICK = {**OPTIONS, "decomp-base": "128"}
#: All but one: with both private there is no instance to bind a Statement to.
VARIANTS = [
    (one, other, parameters)
    for one, other, parameters in product(
        (PUBLIC, HASHED, PRIVATE), (PUBLIC, HASHED, PRIVATE), PARAMETERS
    )
    if {one, other} != {PRIVATE}
]
HIDDEN = {
    HASHED: "whoever cannot guess it (an unsalted hash is public)",
    PRIVATE: "everybody but the prover",
}


def passed(verdict: Verdict) -> set[str]:
    return {check.number for check in verdict.checks if check.result.value == "passed"}


@pytest.mark.parametrize(
    ("input_", "output", "parameters"), VARIANTS, ids=["-".join(map(str, v)) for v in VARIANTS]
)
def test_variant(
    workshop: Workshop, input_: Visibility, output: Visibility, parameters: str
) -> None:
    request = Request(input_, output, parameters, nonce=b"variant", options=QUICK)
    model = workshop.load(TINY)
    proof = workshop.honest(model, SMALL, request)
    statement = proof.statement
    (x,), (y,) = statement.inputs, statement.outputs
    assert (x.visibility, y.visibility) == (input_, output)
    for claim in (x, y):
        assert (claim.sha256 is not None) == (claim.visibility is PUBLIC)
        assert (claim.commitment is not None) == (claim.visibility is HASHED)
    assert statement.model.weights_hidden == (parameters != "fixed")

    expected = {"model:weights-hidden"} if parameters == "private" else set()
    policy = ALLOWED.allow(expected)
    known = SMALL if input_ is not PRIVATE else None
    verdict = workshop.judge(proof, Expectation(model, inputs=known, nonce=b"variant"), policy)
    assert verdict, verdict.reasons
    found = verdict.guarantee
    assert found is not None
    assert found.integrity == {Integrity.CRYPTOGRAPHIC}
    assert found.bits == 100
    hidden = {role: HIDDEN[v] for role, v in (("input", input_), ("output", output)) if v in HIDDEN}
    if parameters == "hashed":
        hidden["parameters"] = "whoever cannot guess them (an unsalted hash is public)"
    elif parameters == "private":
        hidden["parameters"] = "everybody but the prover"
    assert found.hidden == hidden
    expected |= {*DEVELOPMENT, "output:unpinned", "signer:unsigned"}
    expected |= {"input:unpinned"} if known is None else set()
    assert found.assumptions == expected

    made = passed(verdict)
    assert ("ezkl.9" in made) == (input_ is not PRIVATE)
    assert ("ezkl.10" in made) == (output is not PRIVATE)
    assert ("ezkl.11" in made) == (parameters == "hashed")
    comparable = output is PUBLIC and input_ is not PRIVATE and parameters != "private"
    assert ("ezkl.17" in made) == comparable
    if comparable:
        assert found.notes["max error"] == "0"
    if input_ is HASHED:
        assert x.commitment is not None
        assert x.commitment.scheme == SCHEME
        owner = Expectation(model, inputs=OTHER_SMALL, nonce=b"variant")
        refused(workshop.judge(proof, owner, policy), "ezkl.9")


def test_nothing_shown_is_not_offered(workshop: Workshop) -> None:
    request = Request(PRIVATE, PRIVATE, options=OPTIONS)
    with pytest.raises(UnsupportedModel, match="nothing to bind"):
        prove(workshop.model, X, backend="ezkl", request=request, context=workshop.prover)


def test_verifier_needs_nothing_of_the_prover(workshop: Workshop, tmp_path: Path) -> None:
    """Another folder, another cache: the file, the string beside it, and the verifier's model."""
    path = tmp_path / "moved" / "proof.pml"
    path.parent.mkdir()
    workshop.honest().write(path)
    assert {p.suffix for p in path.parent.iterdir()} == {".pml", ".evidence"}
    context = Context(Store(tmp_path / "cache"))
    model = Model.load(mlp(0), store=context.store)
    verdict = verify(path, Expectation(model=model), ALLOWED, context=context)
    assert verdict, verdict.reasons


def test_default_policy_and_ceremony_only(workshop: Workshop) -> None:
    """What an unsigned proof with a pinned circuit on the public string would need: nothing."""
    policy = Policy()
    assert "srs:ceremony" in policy.assumptions
    assert policy.assumptions & {*DEVELOPMENT, "interface:unpinned"} == set()


# -- shapes and types of models -------------------------------------------------------------------


def proven(
    workshop: Workshop, data: bytes, inputs: Mapping[str, Array], request: Request | None = None
) -> Proof:
    """Proven honestly and accepted."""
    model = workshop.load(data)
    proof = workshop.honest(model, inputs, request)
    verdict = workshop.judge(proof, Expectation(model=model, inputs=inputs))
    assert verdict, verdict.reasons
    return proof


@pytest.mark.parametrize("batch", [1, 3])
def test_open_batch(workshop: Workshop, batch: int) -> None:
    """One circuit for each number of rows; the Statement says how many."""
    proto = ModelProto.FromString(mlp(0))
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    x = np.linspace(-1, 1, 4 * batch, dtype=np.float32).reshape(batch, 4)
    proof = proven(workshop, proto.SerializeToString(deterministic=True), {"x": x})
    assert proof.statement.outputs[0].shape == (batch, 2)


def test_whole_numbers_and_truth(workshop: Workshop) -> None:
    """int64 and bool inputs, an int64 and a bool output."""
    data = graph(
        [
            helper.make_node("Mul", ["n", "three"], ["m"]),
            helper.make_node("Not", ["t"], ["f"]),
        ],
        {"n": (TensorProto.INT64, [1, 3]), "t": (TensorProto.BOOL, [1, 2])},
        {"m": (TensorProto.INT64, [1, 3]), "f": (TensorProto.BOOL, [1, 2])},
        [constant("three", [3], np.int64)],
    )
    inputs = {"n": np.array([[-5, 0, 7]], np.int64), "t": np.array([[True, False]])}
    proof = proven(workshop, data, inputs)
    assert proof.tensor("output.0").tolist() == [[-15, 0, 21]]
    assert proof.tensor("output.1").tolist() == [[False, True]]


def test_scalar_output(workshop: Workshop) -> None:
    """Rank 0 in ONNX; EZKL writes a vector of one."""
    data = graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)],
        {"x": (FLOAT, [1, 4])},
        {"y": (FLOAT, [])},
    )
    proof = proven(workshop, data, X)
    assert proof.statement.outputs[0].shape == ()
    assert proof.tensor("output.0").item() == X["x"].sum()


def test_hashed_parameters_of_a_model_without_a_value_at_zero(workshop: Workshop) -> None:
    """The commitment is recomputed with a witness of some input: 1 / 0 has none, 1 / 1 has."""
    data = graph(
        [
            helper.make_node("Reciprocal", ["x"], ["r"]),
            helper.make_node("MatMul", ["r", "w"], ["y"]),
        ],
        {"x": (FLOAT, [1, 2])},
        {"y": (FLOAT, [1, 1])},
        [constant("w", [[1], [2]])],
    )
    inputs = {"x": np.array([[2, 4]], np.float32)}
    proven(workshop, data, inputs, Request(parameters="hashed", options=OPTIONS))
