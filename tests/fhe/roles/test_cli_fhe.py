"""`proofml fhe`: what it writes, what it refuses to write over, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from proofml.cli import group
from proofml.cli.common import run_guarded
from proofml.fhe.ckks.circuit import read
from proofml.fhe.key_files import load_key
from proofml.fhe.policy import FhePolicy
from proofml.policy import Policy

from .world import World

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Commands in an empty folder, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROOFML_CACHE", str(tmp_path / "cache"))
    return lambda *words: CliRunner().invoke(group, words)


def test_compile_tells_accuracy_and_cost(ckks: World, run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(ckks.model.canonical)
    rows = np.random.default_rng(1).normal(0, 2, (16, 4)).astype(np.float32)
    np.savez(tmp_path / "c.npz", x=rows)
    words = ("fhe", "compile", "m.onnx", "-b", "ckks", "--calibration", "c.npz", "--no-progress")
    made = run(*words, "--set", "ring=4096", "--json")
    assert made.exit_code == 0, made.output
    told: dict[str, Any] = json.loads(made.stdout)
    circuit = read((tmp_path / "m.circuit").read_bytes())
    assert told["sha256"] == circuit.digest
    assert told["security_bits"] >= 128
    assert {"error", "p_error"} <= set(told["report"])
    again = run(*words, "--set", "ring=4096", "--force")
    assert "security: " in again.stdout
    assert "error: " in again.stdout
    assert (tmp_path / "m.circuit").read_bytes() == circuit.data


def test_other_files_are_named(ckks: World, run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(ckks.model.canonical)
    (tmp_path / "m.circuit").write_bytes(ckks.circuit)
    np.savez(tmp_path / "i.npz", x=np.zeros((1, 4), np.float32))
    shown = run("show", "m.circuit")
    assert "type: expected a proof, got proofml/ckks-circuit" in str(shown.exception)
    sealed = run("seal", "m.onnx", "i.npz", "-b", "ckks", "--to", "m.onnx")
    assert "(--to): expected a circuit" in str(sealed.exception)
    assert not list(tmp_path.glob("i.se*"))
    proven = run("prove", "m.onnx", "i.npz", "-b", "ckks", "--set", "evaluatio=x")
    assert "when proving evaluation, trace" in str(proven.exception)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty one"),
        (b"\nwords", "an empty one"),
        (b"\xff", "not UTF-8"),
        (None, "No such"),
    ],
)
def test_a_passphrase_is_a_line(
    ckks: World, run: Run, tmp_path: Path, content: bytes | None, got: str
) -> None:
    (tmp_path / "m.circuit").write_bytes(ckks.circuit)
    if content is not None:
        (tmp_path / "words.txt").write_bytes(content)
    made = run("fhe", "keygen", "m.circuit", "--passphrase-file", "words.txt", "--no-progress")
    assert "words.txt: expected a line of text, got" in str(made.exception)
    assert got in str(made.exception)
    assert not (tmp_path / "m.key").exists()


def test_nothing_is_written_over(ckks: World, run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.circuit").write_bytes(ckks.circuit)
    (tmp_path / "m.key").write_bytes(b"somebody's")
    taken = run("fhe", "keygen", "m.circuit", "--force", "--no-progress")
    assert "never written over" in str(taken.exception)
    (tmp_path / "m.key").unlink()
    (tmp_path / "m.evaluation").write_bytes(b"somebody's")
    taken = run("fhe", "keygen", "m.circuit", "--no-progress")
    assert "m.evaluation: exists" in str(taken.exception)
    assert not (tmp_path / "m.key").exists()
    same = run("fhe", "keygen", "m.circuit", "--key", "k", "--evaluation", "k")
    assert "four names" in str(same.exception)


def test_keygen_writes_a_policy_that_pins(ckks: World, run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.circuit").write_bytes(ckks.circuit)
    made = run("fhe", "keygen", "m.circuit", "--json", "--no-progress")
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    rules = FhePolicy.read(Policy.load(tmp_path / "m.policy.toml"), "ckks")
    assert rules.circuits == {told["circuit_sha256"]}
    assert rules.keys == {told["evaluation_sha256"]}
    assert load_key(tmp_path / "m.key").evaluation == told["evaluation_sha256"]
    assert (tmp_path / "m.key").stat().st_mode & 0o777 == 0o600


def test_keygen_of_something_else(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.circuit").write_bytes(b"no circuit")
    assert run_guarded(group, ["fhe", "keygen", "m.circuit", "--no-progress"]) == 2


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"circuits": ["0"]}, "64 lower-case"),
        ({"derive": 1}, "true or false"),
        ({"operators": 0}, "integer from 1"),
        ({"no-such": 1}, "no such key"),
    ],
)
def test_policy_is_read_strictly(table: dict[str, Any], words: str) -> None:
    from proofml.errors import UsageError

    with pytest.raises(UsageError, match=words):
        FhePolicy.read(Policy(sections={"ckks": table}), "ckks")


def test_concrete_has_no_operators() -> None:
    from proofml.errors import UsageError

    with pytest.raises(UsageError, match="no such key"):
        FhePolicy.read(Policy(sections={"concrete": {"operators": 1}}), "concrete")
