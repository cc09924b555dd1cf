"""What the pages of docs/optimistic say that code can tell: figures, tests, the picture."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from proofml.optimistic.moves import read_move
from proofml.optimistic.refusals import Refusal

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "optimistic"
SECURITY, PROTOCOL = (DOCS / name for name in ("security.md", "protocol.md"))
SVG = "{http://www.w3.org/2000/svg}"


def test_the_figures_are_computed() -> None:
    tool = ROOT / "tools" / "optimistic_security.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_that_are_named_exist() -> None:
    """`test_x.py::test_y` and `test_x.py`, the latter also as the file of what follows it."""
    page = SECURITY.read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|") and "`test" in line]
    assert len(rows) > 12
    for row in rows:
        words = re.findall(r"`(?:tests/optimistic/)?(test_\w+\.py)?(?:::)?(test_\w+)?`", row)
        file = ""
        for named, test in words:
            file = named or file
            text = (ROOT / "tests" / "optimistic" / file).read_text("utf-8")
            assert not test or f"def {test}(" in text, f"{file}::{test}"


def test_every_refusal_is_specified() -> None:
    page = PROTOCOL.read_text("utf-8")
    for refusal in Refusal:
        assert re.search(rf"\b{refusal.name}\b", page), refusal.name


@pytest.mark.parametrize("kind", range(1, 12))
def test_every_move_is_specified(kind: int) -> None:
    """Each kind's least bytes, as the page has them."""
    least = {2: 4, 3: 5, 4: 5, 5: 0, 7: 2, 8: 4, 9: 4, 10: 2, 11: 1}
    body = bytes([1, *bytes(64)]) if kind in (1, 6) else bytes(least[kind])
    name = type(read_move(bytes([kind]) + body)).__name__
    assert f"| {kind} | {name} |" in PROTOCOL.read_text("utf-8")


def test_the_picture_is_drawn_by_its_script() -> None:
    spec = importlib.util.spec_from_file_location(
        "optimistic_picture", ROOT / "tools" / "optimistic_picture.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    assert (DOCS / "game.svg").read_text("utf-8") == module.picture()
    words = {each.text for each in ElementTree.fromstring(module.picture()).iter(f"{SVG}text")}
    assert {"RevealTrace", "ProveSummand", "SUMS"} <= words
