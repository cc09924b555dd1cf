"""A backend that is not ours: installed beside proofml, listed, and through the whole suite."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "stranger_backend"
MAIN = "from proofml.cli import main; main()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and what an installer writes beside it; no index is asked."""
    target = tmp_path_factory.mktemp("site")
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    name = project["name"].replace("-", "_")
    shutil.copytree(SOURCE / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    info = target / f"{name}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{point} = {value}" for point, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return target


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, PYTHONPATH=str(installed), PYTHONDONTWRITEBYTECODE="1")
    environment.pop("PYTEST_ADDOPTS", None)
    environment = {k: v for k, v in environment.items() if not k.startswith("PYTEST_XDIST")}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_listed(installed: Path) -> None:
    result = run(installed, "-c", MAIN, "backends", "--json")
    assert result.returncode == 0, result.stderr
    rows = {row["name"]: row for row in json.loads(result.stdout)["backends"]}
    assert {"quorum", "reexec"} <= set(rows)
    assert rows["quorum"]["available"]
    assert rows["quorum"]["integrity"] == ["honest-majority"]


def test_it_is_unknown_where_it_is_not_installed(tmp_path: Path) -> None:
    result = run(tmp_path, "-c", MAIN, "backends", "--json")
    assert "quorum" not in {row["name"] for row in json.loads(result.stdout)["backends"]}


def test_it_passes_the_suite(installed: Path) -> None:
    """The stranger's own test run, as he would start it in his own checkout."""
    result = run(
        installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
        "--rootdir", str(SOURCE), "-c", str(SOURCE / "pyproject.toml"), str(SOURCE / "tests"),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None
    assert int(passed[1]) > 100
    assert "skipped" not in result.stdout
