"""The contracts' artefacts and vectors: they fit the Python twin, and come from where they say."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from proofml.optimistic.commit import read_leaf
from proofml.optimistic.contexts import context_of
from proofml.optimistic.encoding import descriptor
from proofml.optimistic.moves import DisputeCells, Select
from proofml.optimistic.phases.positions import AtWiring, Site
from proofml.optimistic.refusals import Refusal

from . import contract_vectors
from .claims import honest
from .contract_model import cnn, products

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "optimistic" / "contracts"
NAMES = ("AgentValidator", "ContentVerifier", "InferenceVerifier", "Ledger")
#: Errors that the contract has and Python has not.
ON_CHAIN = {"Malformed", "Context", "Transfer"}


def artifact(name: str) -> dict[str, Any]:
    return dict(json.loads((FOLDER / "artifacts" / f"{name}.json").read_text("ascii")))


def bytes_of(text: str) -> bytes:
    assert text.startswith("0x")
    return bytes.fromhex(text[2:])


@pytest.mark.parametrize("name", NAMES)
def test_artifacts_are_canonical_and_say_their_hash(name: str) -> None:
    raw = (FOLDER / "artifacts" / f"{name}.json").read_text("ascii")
    found = artifact(name)
    assert raw == json.dumps(found, sort_keys=True, separators=(",", ":")) + "\n"
    runtime = bytes_of(found["runtime"])
    assert found["code_sha256"] == "0x" + hashlib.sha256(runtime).hexdigest()
    assert len(bytes_of(found["code_hash"])) == 32
    assert runtime in bytes_of(found["bytecode"])
    assert len(runtime) <= 24_576, "the limit of EIP-170"
    assert found["compiler"].startswith("solc 0.8.37+")
    assert str(ROOT) not in raw


def test_the_ledger_has_no_immutables() -> None:
    """So its code hash is the same wherever it is deployed, and a policy can pin it."""
    assert artifact("Ledger")["immutables"] == []


def test_there_is_one_artifact_for_each_contract() -> None:
    assert {path.stem for path in (FOLDER / "artifacts").iterdir()} == set(NAMES)


def test_errors_are_the_refusals() -> None:
    names = {"".join(part.capitalize() for part in each.name.split("_")) for each in Refusal}
    declared = set(re.findall(r"^error (\w+)\(\);", (FOLDER / "src/Errors.sol").read_text(), re.M))
    assert declared == names | ON_CHAIN
    abi = artifact("Ledger")["abi"]
    # All but the descriptors' own are errors of the ledger's code.
    assert {entry["name"] for entry in abi if entry["type"] == "error"} == declared


def test_vectors_are_what_the_generator_writes() -> None:
    written = dict(contract_vectors.files())
    kept = {path.stem for path in contract_vectors.FOLDER.glob("*.json")}
    assert kept == set(written)
    for name, data in written.items():
        assert (contract_vectors.FOLDER / f"{name}.json").read_bytes() == data, name


def test_gas_is_measured_with_a_cnn_that_is_large_enough() -> None:
    assert products(cnn()) > 100_000


def test_a_context_is_of_an_awaited_move() -> None:
    run = honest("network")
    operator = run.tiny.program.operators[1]
    at = AtWiring(Site(read_leaf(run.leaves[1]), operator))
    assert context_of(at, DisputeCells(), b"content") == b""
    with pytest.raises(ValueError, match="AtWiring: awaits no Select"):
        context_of(at, Select(0), b"content")
    assert descriptor(operator) == run.tiny.bytes_of[1]
