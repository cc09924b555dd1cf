"""What proving and verifying again need not do: with warm caches, no ONNX is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
INT8 = ("digits_cnn_int8.onnx", "digit.npz")
FLOAT = ("digits_mlp.onnx", "digit_features.npz")
HEAVY = {"onnx", "google", "onnxruntime", "torch", "rich", "cryptography", "asyncio", "numpy.ma"}

RUN = """
import json, sys
from proofml.cli import main
started = []
sys.addaudithook(lambda event, args: started.append(event) if event == "subprocess.Popen" else None)
try:
    main(sys.argv[1:])
except SystemExit as end:
    print(json.dumps({"code": end.code, "modules": sorted(sys.modules), "workers": len(started)}))
"""


def run(folder: Path, *words: str | Path) -> tuple[set[str], int]:
    """Modules that a command imports, and processes that it starts; it has to end with 0."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, words)],
        cwd=folder,
        env={**os.environ, "PROOFML_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"] == 0, done.stderr
    return set(told["modules"]), told["workers"]


@pytest.mark.parametrize(("model", "inputs"), [INT8, FLOAT])
@pytest.mark.parametrize("named", [True, False])
def test_no_onnx_on_warm_caches(tmp_path: Path, model: str, inputs: str, named: bool) -> None:
    backend = ["-b", "sumcheck"] if named else []
    prove = ["prove", DIGITS / model, DIGITS / inputs, *backend, "-o", "p.pml", "--force"]
    verify = ["verify", "p.pml", "--model", DIGITS / model, "--input", DIGITS / inputs]
    verify += ["--allow", "quantisation:prover-chosen"]
    for command in (prove, verify):
        _, workers = run(tmp_path, *command)
        if command is prove:
            assert workers >= 1  # that checked the model: else this test shows nothing
        modules, workers = run(tmp_path, *command)
        assert not modules & HEAVY
        assert workers == 0


def test_setting_up_is_all_that_is_needed(tmp_path: Path) -> None:
    """After it, neither the first proof nor its verifier on this machine reads the model again."""
    run(tmp_path, "setup", DIGITS / INT8[0], "-b", "sumcheck")
    for command in (
        ["prove", DIGITS / INT8[0], DIGITS / INT8[1], "-b", "sumcheck", "-o", "p.pml"],
        ["verify", "p.pml", "--model", DIGITS / INT8[0]],
    ):
        modules, workers = run(tmp_path, *command)
        assert not modules & HEAVY
        assert workers == 0


def test_a_warm_cache_of_another_model(tmp_path: Path) -> None:
    """What is kept of one model is not said of another."""
    (tmp_path / "m.onnx").write_bytes((DIGITS / INT8[0]).read_bytes())
    prove = ["prove", "m.onnx", DIGITS / INT8[1], "-b", "sumcheck", "-o", "p.pml", "--force"]
    run(tmp_path, *prove)
    (tmp_path / "m.onnx").write_bytes((DIGITS / "digits_cnn.onnx").read_bytes())
    modules, workers = run(tmp_path, *prove)
    assert "onnx" in modules
    assert workers >= 1
