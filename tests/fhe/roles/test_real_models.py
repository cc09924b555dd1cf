"""Fitted models on real data, client, server and verifier as three processes, on both libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from proofml.backend import Context
from proofml.benchmarks.fhe_cases import CASES, CKKS_CASES
from proofml.fhe.about import CKKS
from proofml.fhe.ckks import circuit as ckks_circuit
from proofml.fhe.ckks.scheme import CkksScheme
from proofml.fhe.concrete import server as concrete_server
from proofml.model import Model
from proofml.runtime import run_model
from proofml.store import Store

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
    context = Context(Store(tmp_path / "reference"))
    inputs = model.check_inputs({source: case.rows[0]})
    data = (client.folder / "model.circuit").read_bytes()
    if backend == CKKS:
        circuit = ckks_circuit.read(data)
        wanted = CkksScheme().simulate(circuit, inputs, context)
        bound = float(str(circuit.report["noise"]))
        reference = run_model(model, inputs, context.store)
        assert all(got[name].argmax() == reference[name].argmax() for name in reference)
        assert all(np.abs(got[name] - wanted[name]).max() <= bound for name in wanted)
    else:  # exact integers
        wanted = concrete_server.simulate(concrete_server.read_circuit(data), inputs, context)
        for name, want in wanted.items():
            np.testing.assert_array_equal(got[name], want)
    assert sorted(got) == sorted(wanted)
