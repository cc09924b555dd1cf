"""The generated pages are current."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def gendocs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gendocs", ROOT / "tools" / "gendocs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["checks.md", "cli.md"])
def test_page_is_current(gendocs: ModuleType, name: str) -> None:
    assert (ROOT / "docs" / name).read_text("utf-8") == gendocs.PAGES[name](), "run `make docs`"


def test_every_built_in_backend_is_in_the_readme(gendocs: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme.split("## Backends")[1].split("## ")[0]
    for line in gendocs.render_checks().splitlines():
        if line.startswith("## ") and line != "## Core":
            assert f"| `{line[3:]}` |" in table, line
