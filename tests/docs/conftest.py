"""A folder in which the commands of the documentation can run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

Shell = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """`proofml` and `python` of this interpreter first on the PATH, and a cache of its own."""
    return dict(
        os.environ,
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        PROOFML_CACHE=str(tmp_path_factory.mktemp("cache")),
    )


@pytest.fixture
def shell(tmp_path: Path, environment: Mapping[str, str]) -> Shell:
    """Runs a script where `examples/` is the checkout's."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
