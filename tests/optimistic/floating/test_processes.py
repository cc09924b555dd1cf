"""Float claims by the commands, each in a process of its own: what one writes, all others check."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .court import Court, moved
from .parts import made_by

PROOFML = [sys.executable, "-c", "from proofml.cli import main; main()"]


def run(court: Court, *words: object, code: int = 0) -> Any:
    """The command's JSON, or its words."""
    done = subprocess.run(
        [*PROOFML, *map(str, words)],
        cwd=court.folder,
        env={**os.environ, "PROOFML_CACHE": str(court.folder / "cache"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    try:
        return json.loads(done.stdout)
    except ValueError:
        return done.stdout + done.stderr


def test_honest_and_false(tmp_path: Path) -> None:
    court = Court(tmp_path, int(time.time()))
    for name in ("claimant", "watcher", "attacker"):
        court.ledger(name)
    np.savez(tmp_path / "in.npz", x=court.inputs["x"])
    model = court.model and tmp_path / "model.onnx"
    here = ["--set", "ledger=ledger.db", "--set", "key=claimant.pem"]
    run(court, "prove", model, "in.npz", "-b", "optimistic", "--set", "arithmetic=float", *here,
        "-o", "claim.pml")  # fmt: skip
    court.post(moved(court.honest(), made_by(4), 0.25))
    watch = ["watch", "--ledger", "ledger.db", "--key", "watcher.pem", "--model", model, "--once"]
    log = run(court, *watch)
    assert log.count('"result":"true"') == 1
    assert log.count('"result":"false"') == 1
    found = run(court, "dispute", "list", "--ledger", "ledger.db")
    assert "won by challenger" in found
    assert "operator 4" in found
    shown = run(court, "dispute", "show", "1", "--ledger", "ledger.db")
    assert "points at operator 4" in shown
    expected = ["--model", model, "--input", "in.npz", "--ledger", "ledger.db"]
    verdict = run(court, "verify", "claim.pml", *expected, "--json", code=3)
    assert "float-bounds:theoretical" in verdict["guarantee"]["assumptions"]
    court.close()
