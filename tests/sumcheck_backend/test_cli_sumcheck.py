"""The commands, each in a process of its own, on the digits model."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
MODEL, DIGIT = DIGITS / "digits_cnn_int8.onnx", DIGITS / "digit.npz"
NONCE = "8f3ac90d51e47b26"

Cli = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def cli(folder: Path) -> Cli:
    def run(*words: object) -> tuple[int, Any]:
        done = subprocess.run(
            [sys.executable, "-c", "from proofml.cli import main; main()", *map(str, words)],
            cwd=folder,
            env={**os.environ, "PROOFML_CACHE": str(folder / "cache")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            return done.returncode, done.stdout + done.stderr

    return run


def test_prove_and_verify(cli: Cli, folder: Path) -> None:
    """The default backend, the default policy; the printed command is the one that works."""
    code, made = cli("prove", MODEL, DIGIT, "--nonce", NONCE, "-o", "d.pml", "--json")
    assert code == 0, made
    assert made["backend"] == "sumcheck"
    assert "--allow" not in made["verify"]
    expect = ["--model", MODEL, "--input", DIGIT]
    code, verdict = cli("verify", "d.pml", *expect, "--nonce", NONCE, "--json")
    assert code == 0, verdict
    assert verdict["guarantee"]["assumptions"] == ["output:unpinned", "signer:unsigned"]
    assert (
        verdict["statement"]["computation"]["detail"]["circuit_sha256"]
        == (made["notes"]["circuit"])
    )
    code, verdict = cli("verify", "d.pml", *expect, "--nonce", "00", "--json")
    assert (code, verdict["failed_check"]) == (1, "core.11")


def test_verify_without_the_model(cli: Cli, folder: Path) -> None:
    cli("prove", MODEL, DIGIT, "-o", "p.pml")
    code, made = cli("setup", MODEL, "-b", "sumcheck", "-o", "keys", "--json")
    assert code == 0, made
    assert set(made["artifacts"]) == {"verifying-key", "policy.toml"}
    assert all(Path(folder, row["path"]).is_file() for row in made["artifacts"].values())
    code, shown = cli("show", "p.pml", "--json")
    assert code == 0
    digest = shown["statement"]["model"]["canonical_sha256"]
    pinned = ["--policy", "keys/policy.toml", "--model-sha256", digest]
    assert cli("verify", "p.pml", *pinned)[0] == 0
    code, said = cli("verify", "p.pml", "--model-sha256", digest)
    assert code == 2
    assert "pin the circuit in the policy" in said
    code, said = cli("setup", MODEL, "-b", "sumcheck", "-o", "keys")
    assert code == 2
    assert "exists" in said
    assert cli("setup", MODEL, "-b", "sumcheck", "-o", "keys", "--force")[0] == 0


def test_committed_input(cli: Cli, folder: Path) -> None:
    """From the refusal, that says what to consent to, to the command that opens the root."""
    words = ["prove", MODEL, DIGIT, "-b", "sumcheck", "--input-visibility", "hashed", "-o", "h.pml"]
    code, said = cli(*words)
    assert code == 2
    assert "--set hiding=none" in said
    options = ["--set", "hiding=none", "--set", "salt-file=digit.salt"]
    code, made = cli(*words, *options, "--json")
    assert code == 0, made
    assert shlex.split(made["verify"])[-4:] == [
        "--salt-file",
        "digit.salt",
        "--allow",
        "hiding:none",
    ]
    code, verdict = cli(*shlex.split(made["verify"])[1:], "--json")
    assert code == 0, verdict
    assert "input:unpinned" not in verdict["guarantee"]["assumptions"]
    expect = ["--model", MODEL, "--allow", "hiding:none", "--json"]
    code, verdict = cli("verify", "h.pml", *expect, "--input", DIGIT)
    assert (code, verdict["failed_check"]) == (1, "core.9")
    code, said = cli("verify", "h.pml", *expect, "--salt-file", "none.salt")
    assert code == 2
    assert "none.salt: no such file" in said


def test_everything_committed(cli: Cli, folder: Path) -> None:
    words = ["prove", MODEL, DIGIT, "-b", "sumcheck", "--input-visibility", "hashed"]
    words += ["--output-visibility", "hashed", "--set", "hiding=none", "--set", "salt-file=b.salt"]
    code, made = cli(*words, "-o", "b.pml", "--set", "output-file=b.npz", "--json")
    assert code == 0, made
    assert cli(*shlex.split(made["verify"])[1:])[0] == 0
    # Where nobody kept the output, the input cannot be compared: the command does not try.
    code, made = cli(*words, "-o", "c.pml", "--json")
    assert code == 0, made
    assert "--input" not in made["verify"]
    assert cli(*shlex.split(made["verify"])[1:])[0] == 0


def test_inspect(cli: Cli) -> None:
    code, found = cli("inspect", MODEL, "--json")
    assert code == 0
    (row,) = [row for row in found["backends"] if row["name"] == "sumcheck"]
    assert row["supported"]
    assert row["available"]


def test_float_model(cli: Cli) -> None:
    pytest.importorskip("onnxruntime")
    float_model, calibration = DIGITS / "digits_cnn.onnx", DIGITS / "calibration.npz"
    words = ["prove", float_model, DIGIT, "-b", "sumcheck", "--calibration", calibration]
    code, made = cli(*words, "-o", "f.pml", "--max-error", "1", "--json")
    assert code == 0, made
    assert "--allow quantisation:prover-chosen" in made["verify"]
    expect = ["--model", float_model, "--input", DIGIT]
    assert cli("verify", "f.pml", *expect)[0] == 3
    assert cli("verify", "f.pml", *expect, "--allow", "quantisation:prover-chosen")[0] == 0
    code, made = cli(*words, "-o", "g.pml", "--max-error", "1e-9")
    assert code == 5
    assert "--max-error" in made
