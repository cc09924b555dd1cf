"""docs/sumcheck/verifying.md: its blocks run, its options and digests are the real ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from proofml.zkml.sumcheck import standalone_cli

from .conftest import Golden

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "sumcheck" / "verifying.md"
TEXT = PAGE.read_text("utf-8")


def block(kind: str) -> str:
    found = re.search(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def environment(folder: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PROOFML_CACHE": str(folder / "cache")}


def test_shell_block(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block("sh run")],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == block("text output")


def test_python_block(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block("python")],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().isdigit()


def test_options_are_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        standalone_cli.main(["--help"])
    options = set(re.findall(r"--[a-z0-9-]+", capsys.readouterr().out))
    aside = {"--help", "--version", "--model-sha256"}  # the last is the other command's name
    assert options - aside <= set(re.findall(r"--[a-z0-9-]+", TEXT))


def test_digests_are_those_of_the_example(golden: Golden) -> None:
    yaml = block("yaml")
    assert f"--circuit-digest {golden.circuit}\n" in yaml
    assert f"--model-digest {golden.model}\n" in yaml


def test_links_lead_somewhere() -> None:
    for page in (PAGE, PAGE.with_name("README.md")):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
            assert "://" in target or (page.parent / target.split("#")[0]).exists(), target
