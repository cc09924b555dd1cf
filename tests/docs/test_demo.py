"""The demo's script, as `make demo` runs it and with the backend that needs no proving."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "demo" / "run.sh"


def demo(
    folder: Path, environment: Mapping[str, str], backend: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, folder],
        env=dict(environment, DEMO_BACKEND=backend),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


#: Backend -> word and exit code of the refusal that its demo ends with.
REFUSALS = {"sumcheck": ("INVALID", 1), "reexec": ("REFUSED", 3)}


@pytest.fixture(params=REFUSALS)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "reexec":
        pytest.importorskip("onnxruntime")
    return str(request.param)


def test_demo_ends_well(tmp_path: Path, environment: Mapping[str, str], backend: str) -> None:
    done = demo(tmp_path, environment, backend)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "ACCEPTED" in done.stdout
    assert REFUSALS[backend][0] in done.stdout
    assert done.stdout.endswith("demo: every step ended as expected\n")


def test_demo_fails_where_anything_is_otherwise(
    tmp_path: Path, environment: Mapping[str, str], backend: str
) -> None:
    """A verifier that accepts everything must not pass for a good one."""
    fake = tmp_path / "bin" / "proofml"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 0\n")
    fake.chmod(0o755)
    path = f"{fake.parent}{os.pathsep}{environment['PATH']}"
    done = demo(tmp_path / "out", dict(environment, PATH=path), backend)
    assert done.returncode == 1
    assert f"expected exit code {REFUSALS[backend][1]}, got 0" in done.stderr
