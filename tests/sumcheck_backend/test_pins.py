"""Verifying without the model: a circuit that the policy pins, and its verifying key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.backend import Request, get_backend
from proofml.errors import UsageError
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.verdict import Status
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.compile import Source
from proofml.zkml.sumcheck.policy import SumcheckPolicy

from .models import BATCH, X, qdq_gemm
from .workshop import Forger, Workshop, attacker, refused_by, weaker

SHAPES = {"x": (1, 4)}


def pin(folder: Path, *circuits: tuple[Model, Circuit], **changes: str) -> Policy:
    """A policy that pins these circuits, with their keys beside it."""
    tables = []
    for index, (model, circuit) in enumerate(circuits):
        (folder / f"key{index}").write_bytes(circuit.bytes)
        table = {"model": model.digest, "circuit": circuit.digest, "key": f"key{index}"}
        tables.append({**table, **changes})
    value = {"version": 1, "backends": {"sumcheck": {"pinned": tables}}}
    return Policy.from_mapping(value, source=str(folder / "policy.toml"))


@pytest.fixture(scope="module")
def circuit(model: Model) -> Circuit:
    return Forger.of(Source(model, SHAPES)).key.circuit


def test_setup_writes_what_a_verifier_needs(
    workshop: Workshop, model: Model, honest: Proof, tmp_path: Path
) -> None:
    found = get_backend("sumcheck").setup(model, Request(), workshop.prover)
    for name, path in found.items():
        (tmp_path / name).write_bytes(path.read_bytes())
    policy = Policy.load(tmp_path / "policy.toml")
    verdict = workshop.judge(honest, None, policy, model_sha256=model.digest)
    assert verdict, verdict.reasons
    # Which model it is stays an assumption where the verifier does not say.
    verdict = workshop.judge(honest, None, policy)
    assert verdict.status is Status.REFUSED
    assert "model:unpinned" in verdict.reasons[0]


def test_model_and_pin_together(
    workshop: Workshop, model: Model, circuit: Circuit, honest: Proof, tmp_path: Path
) -> None:
    assert workshop.judge(honest, model, pin(tmp_path, (model, circuit)))


def test_neither_model_nor_pin(
    workshop: Workshop, model: Model, circuit: Circuit, honest: Proof, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"--model FILE.*backends\.sumcheck\.pinned"):
        workshop.judge(honest, None, model_sha256=model.digest)
    other = pin(tmp_path, (model, circuit), circuit="0" * 64)
    with pytest.raises(UsageError, match="--model FILE"):
        workshop.judge(honest, None, other, model_sha256=model.digest)


def test_circuit_of_another_pinned_model(
    workshop: Workshop, model: Model, other: Model, circuit: Circuit, tmp_path: Path
) -> None:
    """Both are pinned; a proof of one is none of the other, whatever it says."""
    theirs = Forger.of(Source(other, SHAPES))
    policy = pin(tmp_path, (model, circuit), (other, theirs.key.circuit))
    assert workshop.judge(theirs.proof(X), None, policy, model_sha256=other.digest)
    lie = replace(theirs, model=model)
    with pytest.raises(UsageError, match="--model FILE"):
        workshop.judge(lie.proof(X), None, policy, model_sha256=model.digest)
    lie = replace(lie, detail={"circuit_sha256": circuit.digest})
    verdict = workshop.judge(lie.proof(X), None, policy, model_sha256=model.digest)
    assert verdict.status is Status.INVALID


def test_swapped_verifying_key(
    workshop: Workshop, model: Model, other: Model, circuit: Circuit, honest: Proof, tmp_path: Path
) -> None:
    """A key is believed for its digest, not for lying where the policy says."""
    policy = pin(tmp_path, (model, circuit))
    theirs = Forger.of(Source(other, SHAPES)).key.circuit
    (tmp_path / "key0").write_bytes(theirs.bytes)
    verdict = workshop.judge(honest, None, policy, model_sha256=model.digest)
    refused_by(verdict, "sumcheck.5")


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"[1]"], ids=repr)
def test_key_that_is_none(
    workshop: Workshop, model: Model, circuit: Circuit, honest: Proof, tmp_path: Path, body: bytes
) -> None:
    policy = pin(tmp_path, (model, circuit))
    (tmp_path / "key0").write_bytes(body)
    with pytest.raises(UsageError, match="key0"):
        workshop.judge(honest, None, policy, model_sha256=model.digest)
    (tmp_path / "key0").unlink()
    with pytest.raises(UsageError, match="no such file"):
        workshop.judge(honest, None, policy, model_sha256=model.digest)


def test_names_and_types_are_the_circuits(
    workshop: Workshop, model: Model, circuit: Circuit, honest: Proof, tmp_path: Path
) -> None:
    """Without a model nobody else looks at them."""
    policy = pin(tmp_path, (model, circuit))

    def judged(role: str, **changes: Any) -> None:
        lie = attacker(honest)
        lie.claim(role).update(changes)
        verdict = workshop.judge(lie.forge(), None, policy, model_sha256=model.digest)
        refused_by(verdict, "sumcheck.7")

    judged("input.0", name="y")
    judged("output.0", name="other")
    for role, value in (
        ("input.0", X["x"].reshape(4, 1)),
        ("input.0", X["x"].view(np.int32)),
        ("output.0", honest.tensor("output.0")[0]),
    ):
        lie = attacker(honest)
        lie.set_value(role, value)
        verdict = workshop.judge(lie.forge(), None, policy, model_sha256=model.digest)
        refused_by(verdict, "sumcheck.7")
    lie = attacker(honest)
    lie.remove("output.0")
    verdict = workshop.judge(lie.forge(), None, policy, model_sha256=model.digest)
    refused_by(verdict, "sumcheck.7")


def test_pinned_circuit_of_weak_parameters(
    workshop: Workshop, model: Model, circuit: Circuit, tmp_path: Path
) -> None:
    """A pin says which function it is; how well it is shown is judged all the same."""
    weak = Forger.of(Source(model, SHAPES), weaker(circuit.params, queries=10))
    policy = pin(tmp_path, (model, weak.key.circuit))
    verdict = workshop.judge(weak.proof(X), None, policy, model_sha256=model.digest)
    refused_by(verdict, "sumcheck.3")


def test_other_parameters_than_the_pinned(
    workshop: Workshop, model: Model, circuit: Circuit, tmp_path: Path
) -> None:
    forger = Forger.of(Source(model, SHAPES))
    params = weaker(circuit.params, queries=120).to_json()
    lie = replace(forger, detail={"parameters": params})
    policy = pin(tmp_path, (model, circuit))
    verdict = workshop.judge(lie.proof(X), None, policy, model_sha256=model.digest)
    refused_by(verdict, "sumcheck.5")


def test_pin_is_of_one_batch_size(workshop: Workshop, tmp_path: Path) -> None:
    model = workshop.load(qdq_gemm(0, batch="n"))
    one = Forger.of(Source(model, SHAPES)).key.circuit
    policy = pin(tmp_path, (model, one))
    assert workshop.judge(workshop.prove(model, X), None, policy, model_sha256=model.digest)
    with pytest.raises(UsageError, match="--model FILE"):
        workshop.judge(workshop.prove(model, BATCH), None, policy, model_sha256=model.digest)


@pytest.mark.parametrize(
    "table",
    [
        {"circuits": []},
        {"quantisation": ["00"]},
        {"quantisation": "0" * 64},
        {"pinned": [{"model": "0" * 64}]},
        {"pinned": [{"model": "0" * 64, "circuit": "0" * 64, "key": 1}]},
        {"pinned": [{"model": "0" * 64, "circuit": "0" * 64, "key": "k", "more": 1}]},
    ],
    ids=str,
)
def test_policy_is_read_strictly(table: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"backends\.sumcheck.*see docs/policy\.md"):
        SumcheckPolicy.read(Policy(sections={"sumcheck": table}))
