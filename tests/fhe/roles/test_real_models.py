"""Fitted models on real data, client, server and verifier as three processes, on both libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from proofml.benchmarks.fhe_cases import CASES, CKKS_CASES, Case
from proofml.fhe.about import CKKS
from proofml.model import Model
from proofml.runtime import run_model
from proofml.store import Store
from proofml.tensors import Array

from .processes import Role
from .world import need

ALLOWED = ("decryptions:unshared", "nonce:unauthenticated")
PAIRS = [
    (backend, name)
    for name in CASES
    for backend in ("ckks", "concrete")
    if backend == "concrete" or name in CKKS_CASES
]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "name"), PAIRS)
def test_client_server_verifier(backend: str, name: str, tmp_path: Path) -> None:
    need(backend)
    case = CASES[name]()
    client, server, verifier = (Role(tmp_path / n) for n in ("client", "server", "verifier"))
    for role in (client, server, verifier):
        (role.folder / "model.onnx").write_bytes(case.onnx)
    model = Model.load(case.onnx, store=Store(tmp_path / "reference"))
    source = model.inputs[0].name
    np.savez(client.folder / "samples.npz", **{source: np.concatenate(list(case.calibration))})
    np.savez(client.folder / "x.npz", **{source: case.rows[0]})

    client.run(
        *("fhe", "compile", "model.onnx", "-b", backend, "--calibration", "samples.npz"),
        *("-o", "model.circuit"),
    )
    client.run("fhe", "keygen", "model.circuit")
    client.run("fhe", "seal", "model.onnx", "x.npz", "--key", "model.key")
    client.give(server, "x.sealed", "model.evaluation")
    _, private = server.run(
        *("prove", "model.onnx", "--sealed", "x.sealed", "--set", "evaluation=model.evaluation"),
        *("--nonce", "00ff"),
    )
    assert private == []
    evidence = next(server.folder.glob("*.evidence")).name
    for role in (client, verifier):
        server.give(role, "x.pml", evidence)
    client.give(verifier, "model.policy.toml")
    rules = ["--model", "model.onnx", "--policy", "model.policy.toml", "--nonce", "00ff"]
    rules += [word for one in ALLOWED for word in ("--allow", one)]
    verdict, private = verifier.run("verify", "x.pml", *rules)
    assert verdict["status"] == "accepted"
    assert private == []
    secret = client.secret()
    assert client.holds(secret)
    assert not server.holds(secret)
    assert not verifier.holds(secret)
    client.run("fhe", "open", "x.pml", "--secret", "x.secret", "-o", "y.npz", *rules)
    with np.load(client.folder / "y.npz") as opened:
        got = {name: opened[name] for name in opened}
    wanted = expected(backend, case, model, client, Store(tmp_path / "reference"))
    assert sorted(got) == sorted(wanted)
    for output, want in wanted.items():
        if backend == CKKS:
            assert got[output].argmax() == want.argmax()
            assert np.abs(got[output] - want).max() < 0.2
        else:
            np.testing.assert_array_equal(got[output], want)


def expected(
    backend: str, case: Case, model: Model, client: Role, store: Store
) -> dict[str, Array]:
    """CKKS: the float model's outputs. Concrete: its circuit's in simulation, exact integers."""
    from proofml.backend import Context
    from proofml.fhe.concrete.server import read_circuit, simulate

    inputs = model.check_inputs({model.inputs[0].name: case.rows[0]})
    if backend == CKKS:
        return dict(run_model(model, inputs, store))
    circuit = read_circuit((client.folder / "model.circuit").read_bytes())
    return dict(simulate(circuit, inputs, Context(store)))
