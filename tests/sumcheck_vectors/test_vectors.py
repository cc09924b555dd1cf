"""The vectors are what the generator writes today, and the verifier agrees with every one."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from proofml.canonical import dumps
from proofml.circuits import kernels
from proofml.errors import VerificationError
from proofml.zkml.sumcheck import checks, engine
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.params import columns_logs
from proofml.zkml.sumcheck.verifier import verify_proof

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "vectors" / "sumcheck"
PROOFS = sorted(FOLDER.glob("proof-*.json"))


def load(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(
        "sumcheck_vectors", ROOT / "tools" / "sumcheck_vectors.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("sumcheck_proofs", None)


def test_the_generator_writes_these_files(generator: ModuleType) -> None:
    """A difference is a change of the protocol: then its version has to change as well."""
    made = generator.files()
    assert sorted(made) == sorted(path.name for path in FOLDER.glob("*.json"))
    for name, text in made.items():
        assert text == (FOLDER / name).read_text("utf-8"), name


@pytest.fixture(
    params=[
        False,
        pytest.param(True, marks=pytest.mark.skipif(not kernels.available(), reason="no kernels")),
    ],
    ids=["numpy", "native"],
)
def arithmetic(request: pytest.FixtureRequest) -> Iterator[bool]:
    with engine.using(native=request.param):
        yield request.param


def check_of(file: Any, change: Any) -> str | None:
    """The check that a change of the file fails; None if it is accepted."""
    circuit = Circuit.read(dumps(change.get("circuit", file["circuit"])))
    public = {item["value"]: (item["shape"], item["codes"]) for item in file["public"]}
    if "value" in change:
        public[change["value"]] = (public[change["value"]][0], change["codes"])
    proof = bytearray.fromhex(change.get("proof", file["proof"]))
    if "offset" in change:
        data = bytes.fromhex(change["bytes"])
        proof[change["offset"] : change["offset"] + len(data)] = data
    if "length" in change:
        proof = proof[: change["length"]].ljust(change["length"], b"\0")
    root = file["ports_root"]
    try:
        verify_proof(
            circuit,
            bytes.fromhex(change.get("statement_digest", file["statement_digest"])),
            {k: np.array(v, np.int64).reshape(shape) for k, (shape, v) in public.items()},
            bytes(proof),
            ports_root=None if root is None else bytes.fromhex(root),
        )
    except VerificationError as error:
        return error.check
    return None


@pytest.mark.parametrize("path", PROOFS, ids=lambda path: path.stem)
def test_proofs_are_accepted_and_changed_ones_are_not(path: Path, arithmetic: bool) -> None:
    file = load(path)
    assert Circuit.read(dumps(file["circuit"])).digest == file["circuit_digest"]
    assert len(file["proof"]) == 2 * file["proof_bytes"]
    assert check_of(file, {}) is None
    for change in file["rejected"]:
        assert check_of(file, change) == change["check"], change["what"]


def test_every_check_of_a_proof_is_failed_by_one() -> None:
    """Checks 1 to 6 are made before a proof is read; what they refuse is not in these files."""
    failed = {change["check"] for path in PROOFS for change in load(path)["rejected"]}
    assert failed == {check for check in checks.CHECKS if int(check.split(".")[1]) >= 7}


@pytest.mark.parametrize("path", PROOFS, ids=lambda path: path.stem)
def test_messages_cover_the_proof(path: Path) -> None:
    file = load(path)
    at = 0
    for message in file["messages"]:
        assert message["offset"] == at
        at += message["bytes"]
    assert at == file["proof_bytes"]


@pytest.mark.parametrize("path", PROOFS, ids=lambda path: path.stem)
def test_the_formula_of_the_length(path: Path) -> None:
    """docs/sumcheck/protocol.md, section 10."""
    file = load(path)
    circuit = Circuit.read(dumps(file["circuit"]))
    params, shape = circuit.params, circuit.shape
    n, columns = shape.leaves, columns_logs(shape.trees, params.mu)
    size = 32 + 80 * n + 30 * n * (n - 1) + 20 * (shape.claims + shape.contractions)
    size += 40 * (shape.rounds + max(columns.values()) + (len(columns) - 1).bit_length())
    size += 40 * params.mu + 32 * len(params.folds) + (20 << params.log_final) + 8
    first = next(m["offset"] for m in file["messages"] if m["tag"] == "rows X")
    assert first == size
