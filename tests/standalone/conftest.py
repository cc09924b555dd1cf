"""The golden proof and its key, kept as files: what a stranger holds who verifies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from proofml.proof import Proof
from proofml.tensors import Array

GOLDEN = Path(__file__).parent / "golden"
NONCE = "8f3ac90d51e47b26"


@dataclass(frozen=True)
class Golden:
    """Files, and what a verifier of them may know."""

    folder: Path
    proof: Path
    key: Path
    nonce: str
    circuit: str
    model: str
    input: Array
    output: Array

    def save(self, name: str, array: Array) -> Path:
        path = self.folder / f"{name}.npy"
        np.save(path, array)
        return path


@pytest.fixture
def golden(tmp_path: Path) -> Golden:
    read = Proof.read(GOLDEN / "digits.pml")
    detail, model = read.statement.computation.detail, read.statement.model.canonical_sha256
    assert model is not None
    return Golden(
        folder=tmp_path,
        proof=GOLDEN / "digits.pml",
        key=GOLDEN / "digits.key",
        nonce=NONCE,
        circuit=str(detail["circuit_sha256"]),
        model=model,
        input=read.tensor("input.0"),
        output=read.tensor("output.0"),
    )
