"""`proofml quantise`: files, options, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from proofml.circuits.quantise import QuantisationRecord, apply
from proofml.cli.quantise import command
from proofml.errors import ProofmlError, UsageError
from proofml.model import Model


def call(*words: str | Path) -> Any:
    return CliRunner().invoke(command, [str(word) for word in words])


def test_all_files(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = digits / "digits_cnn.onnx"
    words = [source, "--calibration", digits / "calibration.npz", "-o", "q.onnx"]
    more = ["--record", "q.json", "--heldout", digits / "digit.npz", "--per-channel", "--json"]
    result = call(*words, *more, "--method", "percentile", "--percentile", "99.9")
    assert result.exit_code == 0, result.exception
    got = json.loads(result.stdout)
    model, quantised = Model.load(source), Model.load("q.onnx")
    record = QuantisationRecord.from_bytes(Path("q.json").read_bytes())
    assert record.config.percentile == 999_000
    assert record.config.per_channel
    assert apply(model, record) == Path("q.onnx").read_bytes()
    assert got["canonical_sha256"] == quantised.digest == got["fidelity"]["quantised_model"]
    assert got["float_canonical_sha256"] == model.digest
    assert got["record_sha256"] == record.digest
    assert got["calibration_samples"] == 20
    assert got["fidelity"]["outputs"][0]["top1"] == "1.0"

    before = Path("q.onnx").read_bytes()
    result = call(*words)
    assert isinstance(result.exception, UsageError)
    assert Path("q.onnx").read_bytes() == before
    result = call(*words, "--force", "--heldout", digits / "digit.npz", "--activations", "int8")
    assert result.exit_code == 0, result.exception
    assert "top-1 agreement 100.00%" in result.stdout
    assert "proofml inspect q.onnx" in result.stdout
    assert "... onnxruntime" in result.stderr
    assert Path("q.onnx").read_bytes() != before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "missing/q.onnx"], "no such folder missing"),
        (["-o", "q.onnx", "--record", "q.onnx"], "different files"),
        (["-o", "q.onnx", "--calibration", "missing.npz"], "cannot be read"),
    ],
)
def test_mistakes(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = digits / "digits_mlp.onnx"
    result = call(source, "--calibration", digits / "digit_features.npz", *words)
    assert isinstance(result.exception, ProofmlError)
    assert message in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_calibration_is_required(digits: Path) -> None:
    result = call(digits / "digits_mlp.onnx", "-o", "q.onnx")
    assert result.exit_code == 2
    assert "--calibration" in result.stderr
    result = call(digits / "digits_mlp.onnx", "-o", "q.onnx", "--percentile", "50")
    assert result.exit_code == 2
