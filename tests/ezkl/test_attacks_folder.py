"""The folder in which a verifier happens to stand: nothing in it is imported by a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .models import mlp
from .workshop import Workshop

EVIL = """
import pathlib
pathlib.Path(__file__).with_name("imported").touch()
raise SystemExit("foreign code in a worker")
"""
VERIFY = ["verify", "p.pml", "--model", "model.onnx", "--allow", "srs:local-dev",
          "--allow", "quantisation:prover-chosen"]  # fmt: skip


@pytest.mark.parametrize("name", ["ezkl.py", "onnxruntime.py", "json.py", "proofml.py"])
def test_module_beside_the_proof(workshop: Workshop, tmp_path: Path, name: str) -> None:
    workshop.honest().write(tmp_path / "p.pml")
    (tmp_path / "model.onnx").write_bytes(mlp(0))
    (tmp_path / name).write_text(EVIL)
    code = "import sys; sys.path.pop(0); from proofml.cli import main; sys.exit(main())"
    run = subprocess.run(
        [sys.executable, "-c", code, *VERIFY],
        cwd=tmp_path,
        env={**os.environ, "PROOFML_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (tmp_path / "imported").exists()
    assert run.returncode == 0, run.stderr
