"""A prover with all the code: each lie is proven as well as it can be, one number refuses it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from proofml.canonical import sha256
from proofml.circuits.quantise import QuantisationConfig, QuantisationRecord, calibrate
from proofml.circuits.ranges import RangeError
from proofml.errors import BackendFailed
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.statement import Statement
from proofml.testing import gemm
from proofml.verdict import Status
from proofml.worker import Limits
from proofml.zkml.sumcheck import compile as compiling
from proofml.zkml.sumcheck.bounds import most_bytes
from proofml.zkml.sumcheck.compile import Source
from proofml.zkml.sumcheck.params import Params

from .models import BATCH, OTHER_X, X, qdq_gemm
from .workshop import Forger, Workshop, attacker, refused_by, weaker

SHAPES = {"x": (1, 4)}


@pytest.fixture(scope="module")
def forger(model: Model) -> Forger:
    return Forger.of(Source(model, SHAPES))


def test_an_honest_forger_is_accepted(workshop: Workshop, model: Model, forger: Forger) -> None:
    """So that what is refused below is refused for the lie alone."""
    assert workshop.judge(forger.proof(X), model)


# -- the circuit ----------------------------------------------------------------------------------


def test_proof_of_another_model(workshop: Workshop, model: Model) -> None:
    """Of a model whose circuit has the same graph, so that the weights alone tell."""
    other = workshop.load(qdq_gemm(0, turned=True))
    theirs = Forger.of(Source(other, SHAPES))
    refused_by(workshop.judge(theirs.proof(X), model), "core.7")
    # Named as the expected model, with the circuit that was proven.
    refused_by(workshop.judge(replace(theirs, model=model).proof(X), model), "sumcheck.5")
    # And with the circuit that should have been.
    own = Forger.of(Source(model, SHAPES)).key.circuit
    assert own.graph == theirs.key.circuit.graph
    lie = replace(theirs, model=model, detail={"circuit_sha256": own.digest})
    refused_by(workshop.judge(lie.proof(X), model), "sumcheck.18")


def test_circuit_of_other_shapes(workshop: Workshop) -> None:
    """The circuit of a batch of three for a Statement about one."""
    model = workshop.load(qdq_gemm(0, batch="n"))
    batch = Forger.of(Source(model, {"x": (3, 4)}))
    one = Forger.of(Source(model, SHAPES))
    assert workshop.judge(batch.proof(BATCH), model)
    lie = replace(one, detail={"circuit_sha256": batch.key.circuit.digest})
    refused_by(workshop.judge(lie.proof(X), model), "sumcheck.5")


@pytest.mark.parametrize(
    "classes", [{"E": 0, "T": 0, "D": 0}, {"E": 1, "T": 2, "D": 3}], ids=["none", "others"]
)
def test_wrong_count_of_classes(
    workshop: Workshop, model: Model, forger: Forger, classes: dict[str, int]
) -> None:
    lie = replace(forger, detail={"classes": classes})
    refused_by(workshop.judge(lie.proof(X), model), "sumcheck.5")


@pytest.mark.parametrize(
    "detail",
    [
        {"protocol": 2},
        {"protocol": True},
        {"onnxruntime": "1.17"},
        {"classes": {"E": 1, "T": 1}},
        {"classes": {"E": 1, "T": 1, "D": 0, "X": 1}},
        {"classes": {"E": -1, "T": 1, "D": 0}},
        {"circuit_sha256": "00"},
        {"quantisation_sha256": "0" * 63},
        {"more": 1},
    ],
    ids=str,
)
def test_records_outside_the_schema(
    workshop: Workshop, model: Model, forger: Forger, detail: dict[str, Any]
) -> None:
    refused_by(workshop.judge(replace(forger, detail=detail).proof(X), model), "sumcheck.1")


# -- parameters -----------------------------------------------------------------------------------


def test_few_queries(workshop: Workshop, model: Model, forger: Forger) -> None:
    """Proven honestly under parameters that prove nothing."""
    params = forger.key.circuit.params
    weak = Forger.of(Source(model, SHAPES), weaker(params, queries=10))
    refused_by(workshop.judge(weak.proof(X), model), "sumcheck.3")
    none = Forger.of(Source(model, SHAPES), weaker(params, queries=1, grind=0))
    refused_by(workshop.judge(none.proof(X), model), "sumcheck.3")


def test_fewer_bits_than_the_policy_demands(
    workshop: Workshop, model: Model, forger: Forger
) -> None:
    """Eighty and more are a proof; whether they are enough is for the policy to say."""
    params = forger.key.circuit.params
    proof = Forger.of(Source(model, SHAPES), weaker(params, queries=90)).proof(X)
    verdict = workshop.judge(proof, model)
    assert verdict.status is Status.REFUSED
    assert "bits of soundness" in verdict.reasons[0]
    assert workshop.judge(proof, model, Policy(min_bits=85))


@pytest.mark.parametrize(
    "changes",
    [
        {"queries": 0},
        {"queries": 1025},
        {"grind": 33},
        {"rate": 0},
        {"rate": 5},
        {"rate": 8},
        {"mu": 24},
        {"mu": 19},
        {"mu": 28},
        {"profile": "jb"},
        {"folds": [1] * 33},
        {"folds": [9]},
        {"folds": [8, 8, 8]},
        {"more": 1},
    ],
    ids=str,
)
def test_parameters_out_of_bounds(
    workshop: Workshop, model: Model, forger: Forger, changes: dict[str, Any]
) -> None:
    """Refused before anything of their size is built."""
    params = {**forger.key.circuit.params.to_json(), **changes}
    lie = replace(forger, detail={"parameters": params})
    refused_by(workshop.judge(lie.proof(X), model), "sumcheck.3")


def test_other_parameters_than_proven(workshop: Workshop, model: Model, forger: Forger) -> None:
    params = weaker(forger.key.circuit.params, queries=120)
    lie = replace(forger, detail={"parameters": params.to_json()})
    refused_by(workshop.judge(lie.proof(X), model), "sumcheck.5")


# -- public tensors -------------------------------------------------------------------------------


def _output(honest: Proof) -> np.ndarray:
    return honest.tensor("output.0").copy()


@pytest.mark.parametrize(
    "wrong",
    [np.float32(0.03), np.float32(-0.0), np.float32(np.nan), np.float32(np.inf), np.float32(1e30)],
    ids=str,
)
def test_output_that_is_no_code(
    workshop: Workshop, model: Model, forger: Forger, honest: Proof, wrong: np.float32
) -> None:
    """Near a code is not a code: its neighbour was proven."""
    y = _output(honest)
    y[0, 1] = wrong
    refused_by(workshop.judge(replace(forger, tensors={"y": y}).proof(X), model), "sumcheck.7")


def test_output_of_another_code(
    workshop: Workshop, model: Model, forger: Forger, honest: Proof
) -> None:
    """Proven under this very Statement: the first lookup with a wrong value."""
    y = _output(honest)
    y[0, 1] += np.float32(1 / 16)
    lie = replace(forger, tensors={"y": y})
    refused_by(workshop.judge(lie.proof(X), model), "sumcheck.12")


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_input_without_a_code(
    workshop: Workshop, model: Model, forger: Forger, wrong: float
) -> None:
    x = X["x"].copy()
    x[0, 2] = wrong
    refused_by(workshop.judge(replace(forger, tensors={"x": x}).proof(X), model), "sumcheck.7")


def test_input_of_another_code(workshop: Workshop, model: Model, forger: Forger) -> None:
    lie = replace(forger, tensors=OTHER_X)
    refused_by(workshop.judge(lie.proof(X), model), "sumcheck.14")


def test_input_of_the_same_codes(workshop: Workshop, model: Model, forger: Forger) -> None:
    """Rounding the input is part of the model: two floats of one code are both proven."""
    x = X["x"].copy()
    x[0, 0] = np.nextafter(x[0, 0], np.float32(1))
    verdict = workshop.judge(replace(forger, tensors={"x": x}).proof(X), model)
    assert verdict
    refused_by(
        workshop.judge(replace(forger, tensors={"x": x}).proof(X), model, inputs=X), "core.9"
    )


# -- nonce and evidence ---------------------------------------------------------------------------


def test_old_proof_under_a_new_nonce(workshop: Workshop, model: Model, honest: Proof) -> None:
    lie = attacker(honest)
    lie.statement["nonce"] = "ff" * 8
    refused_by(workshop.judge(lie.forge(), model, nonce=b"\xff" * 8), "sumcheck.10")
    refused_by(workshop.judge(honest, model, nonce=b"\xff" * 8), "core.11")


def test_proof_bytes_of_another_statement(
    workshop: Workshop, model: Model, forger: Forger, honest: Proof
) -> None:
    def later(statement: Statement) -> Statement:
        return replace(statement, nonce=b"another")

    lie = attacker(honest)
    lie.sections["proof"] = replace(forger, change=later).proof(X).sections["proof"]
    refused_by(workshop.judge(lie.forge(), model), "sumcheck.10")


def test_longest_proof(workshop: Workshop, model: Model, forger: Forger, honest: Proof) -> None:
    most = most_bytes(forger.key.circuit)
    body = honest.sections["proof"]
    assert len(body) <= most
    for size, number in ((len(body) + 1, "sumcheck.23"), (most, "sumcheck.23")):
        if size > len(body):
            lie = attacker(honest)
            lie.sections["proof"] = body.ljust(size, b"\0")
            refused_by(workshop.judge(lie.forge(), model), number)
    lie = attacker(honest)
    lie.sections["proof"] = body.ljust(most + 1, b"\0")
    refused_by(workshop.judge(lie.forge(), model), "sumcheck.8")


def test_evidence_beside_the_proof(workshop: Workshop, model: Model, honest: Proof) -> None:
    lie = attacker(honest)
    body = lie.sections.pop("proof")
    lie.predicate["evidence"] = [
        {
            "name": "proof",
            "mediaType": "application/octet-stream",
            "size": len(body),
            "sha256": sha256(body),
            "location": "beside",
        }
    ]
    path = workshop.folder / "beside.pml"
    path.write_bytes(lie.forge())
    path.with_name(f"{sha256(body)}.evidence").write_bytes(body)
    refused_by(workshop.judge(Proof.read(path), model), "sumcheck.2")


# -- quantisation ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def float_model(workshop: Workshop) -> Model:
    return workshop.load(gemm(0, relu=True))


@pytest.fixture(scope="module")
def record(workshop: Workshop, float_model: Model) -> QuantisationRecord:
    return calibrate(float_model, [X, OTHER_X], QuantisationConfig(), workshop.prover.store)


ALLOWED = Policy().allow(["quantisation:prover-chosen"])


def test_quantisation_is_the_provers_choice(
    workshop: Workshop, float_model: Model, record: QuantisationRecord
) -> None:
    proof = Forger.of(Source(float_model, SHAPES, record)).proof(X)
    verdict = workshop.judge(proof, float_model)
    assert verdict.status is Status.REFUSED
    assert "quantisation:prover-chosen" in verdict.reasons[0]
    assert workshop.judge(proof, float_model, ALLOWED)


def test_pinned_quantisation(
    workshop: Workshop, float_model: Model, record: QuantisationRecord
) -> None:
    """A record that the verifier knows is no choice; a doctored one is not that record."""
    pinned = Policy(sections={"sumcheck": {"quantisation": [record.digest]}})
    proof = Forger.of(Source(float_model, SHAPES, record)).proof(X)
    verdict = workshop.judge(proof, float_model, pinned)
    assert verdict
    assert verdict.guarantee is not None
    assert "quantisation:prover-chosen" not in verdict.guarantee.assumptions
    doctored = _doctored(record)
    proof = Forger.of(Source(float_model, SHAPES, doctored)).proof(X)
    assert workshop.judge(proof, float_model, pinned).status is Status.REFUSED


def _doctored(record: QuantisationRecord) -> QuantisationRecord:
    """Another scale for the last value."""
    name, params = list(record.activations.items())[-1]
    scale = replace(params, scale_bits=params.scale_bits + (1 << 20))
    return replace(record, activations={**record.activations, name: scale})


def test_doctored_record(
    workshop: Workshop, float_model: Model, record: QuantisationRecord
) -> None:
    forger = Forger.of(Source(float_model, SHAPES, record))
    doctored = _doctored(record)
    # Sent in the place of the stated one.
    lie = replace(forger, record=(doctored.to_bytes(), record.digest))
    refused_by(workshop.judge(lie.proof(X), float_model, ALLOWED), "sumcheck.4")
    # Stated too, with a proof of the circuit of the honest one.
    lie = replace(forger, record=(doctored.to_bytes(), doctored.digest))
    refused_by(workshop.judge(lie.proof(X), float_model, ALLOWED), "sumcheck.5")


def test_records_that_do_not_fit(
    workshop: Workshop, float_model: Model, record: QuantisationRecord
) -> None:
    forger = Forger.of(Source(float_model, SHAPES, record))

    def judged(sent: bytes) -> Any:
        lie = replace(forger, record=(sent, sha256(sent)))
        return workshop.judge(lie.proof(X), float_model, ALLOWED)

    refused_by(judged(replace(record, model="0" * 64).to_bytes()), "sumcheck.4")
    refused_by(judged(b""), "sumcheck.4")
    refused_by(judged(record.to_bytes() + b" "), "sumcheck.4")
    refused_by(judged(b'{"_type":"proofml/quantisation/v1"}'), "sumcheck.4")
    # In the schema, and not a record of this model's values.
    refused_by(judged(replace(record, activations={}).to_bytes()), "sumcheck.5")
    extra = {**record.activations, "no such value": next(iter(record.activations.values()))}
    refused_by(
        judged(replace(record, activations=dict(sorted(extra.items()))).to_bytes()), "sumcheck.5"
    )


def test_record_left_out(
    workshop: Workshop, float_model: Model, record: QuantisationRecord
) -> None:
    lie = replace(Forger.of(Source(float_model, SHAPES, record)), record=None)
    refused_by(workshop.judge(lie.proof(X), float_model, ALLOWED), "sumcheck.5")


def test_record_for_a_quantised_model(
    workshop: Workshop, model: Model, forger: Forger, record: QuantisationRecord
) -> None:
    own = replace(record, model=model.digest)
    lie = replace(forger, record=(own.to_bytes(), own.digest))
    refused_by(workshop.judge(lie.proof(X), model, ALLOWED), "sumcheck.5")


# -- the verifier's own work ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (ZeroDivisionError("in the compiler"), "sumcheck.5"),
        (RecursionError("deep"), "sumcheck.5"),
        (RangeError("from 0 to 2^40", 7), "sumcheck.6"),
    ],
    ids=str,
)
def test_what_the_compiler_ends_with(
    workshop: Workshop,
    model: Model,
    honest: Proof,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    number: str,
) -> None:
    """A Statement about a model on which the compiler breaks is refused by a number."""

    def broken(*args: object, **more: object) -> None:
        raise error

    monkeypatch.setattr("proofml.circuits.onnx.compile_model", broken)
    compiling._CIRCUITS.clear()
    fresh = Workshop(workshop.folder / type(error).__name__)
    refused_by(fresh.judge(honest, model), number)


@pytest.mark.parametrize("shape", [(0, 4), (1 << 20, 0)], ids=str)
def test_shapes_that_nothing_fits(workshop: Workshop, shape: tuple[int, ...]) -> None:
    model = workshop.load(qdq_gemm(0, batch="n"))
    lie = attacker(workshop.prove(model, X))
    if shape[1] != 4:
        lie.set_value("input.0", np.zeros(shape, np.float32))
        refused_by(workshop.judge(lie.forge(), model), "core.14")
        return
    lie.set_value("input.0", np.zeros(shape, np.float32))
    lie.set_value("output.0", np.zeros((shape[0], 3), np.float32))
    refused_by(workshop.judge(lie.forge(), model), "sumcheck.5")


def test_memory_of_the_verifier(workshop: Workshop, model: Model, honest: Proof) -> None:
    """A limit of this machine says nothing of the proof."""
    fresh = Workshop(workshop.folder / "small")
    fresh.verifier = replace(fresh.verifier, limits=Limits(memory=1 << 12))
    with pytest.raises(BackendFailed, match="--memory-limit allows more"):
        fresh.judge(honest, model)
    fresh.verifier = replace(fresh.verifier, limits=Limits(memory=1 << 30))
    assert fresh.judge(honest, model)


def test_output_that_is_an_input(workshop: Workshop) -> None:
    """Two ports of one value show one value: an output cannot say otherwise than the input."""
    model = workshop.load(qdq_gemm(0, passing=True))
    forger = Forger.of(Source(model, SHAPES))
    assert workshop.judge(forger.proof(X), model)
    lie = replace(forger, tensors={"x_again": OTHER_X["x"]})
    refused_by(workshop.judge(lie.proof(X), model), "sumcheck.7")


def test_params_are_compared_as_a_whole(forger: Forger) -> None:
    """No field of the parameters is outside of the circuit's digest."""
    circuit = forger.key.circuit
    for name, value in (
        ("queries", 103),
        ("grind", 17),
        ("rate", 4),
        ("mu", circuit.params.mu + 1),
    ):
        changed: Params = weaker(circuit.params, **{name: value})
        assert replace(circuit, params=changed).digest != circuit.digest
