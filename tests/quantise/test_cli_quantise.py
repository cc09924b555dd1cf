"""`proofml quantise`: files, options, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from proofml.circuits.quantise import QuantisationRecord, apply
from proofml.cli.quantise import command
from proofml.errors import ProofmlError, UnsupportedModel, UsageError
from proofml.model import Model

from .builder import Builder


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


def classifier(folder: Path) -> Path:
    """Open dims, a Reshape to what Shape says, and a Softmax at the end."""
    b = Builder(["n", 2, 4, 4])  # type: ignore[list-item]
    rows = b.op("Slice", b.op("Shape"), b.const([0], np.int64), b.const([1], np.int64))
    b.op("Reshape", "x", b.op("Concat", rows, b.const([32], np.int64), axis=0))
    b.op("MatMul", b.h, b.weight(32, 3))
    b.op("Softmax", axis=1)
    (folder / "m.onnx").write_bytes(b.finish())
    x = np.random.default_rng(0).standard_normal((5, 2, 4, 4)).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    return folder / "m.onnx"


def test_shapes_and_softmax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = classifier(tmp_path)
    words = [source, "--calibration", "x.npz", "--heldout", "x.npz", "-o", "q.onnx"]
    result = call(*words)
    assert isinstance(result.exception, UnsupportedModel)
    assert "--shape NAME=1,3,48,192" in str(result.exception)
    assert "--cut-softmax" in str(result.exception)
    result = call(*words, "--shape", "x=5,2,4,4")
    assert "(Softmax): cut the model before it" in str(result.exception)
    assert not Path("q.onnx").exists()
    words += ["--shape", "x=5,2,4,4", "--cut-softmax", "--record", "q.json"]
    result = call(*words)
    assert result.exit_code == 0, result.exception
    assert "output  v4: what the Softmax reads that was left out" in result.stdout
    assert "v4: error at most" in result.stdout
    record = QuantisationRecord.from_bytes(Path("q.json").read_bytes())
    assert record.config.shapes == {"x": (5, 2, 4, 4)}
    assert record.config.cut_softmax
    assert apply(Model.load(source), record) == Path("q.onnx").read_bytes()
    result = call(*words, "--force", "--json")
    got = json.loads(result.stdout)
    assert got["outputs"] == ["v4"]
    assert got["config"] == record.to_json()["config"] | {"shapes": {"x": [5, 2, 4, 4]}}
    assert got["fidelity"]["outputs"][0]["name"] == "v4"


@pytest.mark.parametrize("text", ["x", "x=1,a", "x=1,,2", "x=-1", "x=1.5", "x=" + "1," * 32 + "1"])
def test_shapes_that_are_none(digits: Path, tmp_path: Path, text: str) -> None:
    source = digits / "digits_mlp.onnx"
    words = [source, "--calibration", digits / "digit_features.npz", "-o", tmp_path / "q.onnx"]
    result = call(*words, "--shape", text)
    assert isinstance(result.exception, UsageError)
    assert f"--shape {text}: expected" in str(result.exception)


def test_calibration_is_required(digits: Path) -> None:
    result = call(digits / "digits_mlp.onnx", "-o", "q.onnx")
    assert result.exit_code == 2
    assert "--calibration" in result.stderr
    result = call(digits / "digits_mlp.onnx", "-o", "q.onnx", "--percentile", "50")
    assert result.exit_code == 2
