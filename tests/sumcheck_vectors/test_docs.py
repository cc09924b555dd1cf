"""docs/sumcheck: links lead somewhere, and the pages name what exists."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from proofml.zkml.sumcheck import checks
from proofml.zkml.sumcheck.params import Params, choose
from proofml.zkml.sumcheck.soundness import Shape, soundness_report

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "sumcheck"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        assert "://" in target or (page.parent / target.split("#")[0]).exists(), target


def test_every_page_is_in_the_index() -> None:
    index = (FOLDER / "README.md").read_text("utf-8")
    for page in FOLDER.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


def test_every_check_is_in_the_specification() -> None:
    page = (FOLDER / "protocol.md").read_text("utf-8").split("## 9. Checks")[1]
    named = {f"sumcheck.{n}" for row in re.findall(r"\| sumcheck\.([\d, ]+)", page)
             for n in row.replace(" ", "").split(",")}  # fmt: skip
    assert named == set(checks.CHECKS)


def test_every_term_is_on_the_page() -> None:
    shape = Shape(9, 4, 5, 20, (3,), {"X": 9, "W": 7, "P": 6})
    report = soundness_report(Params(5, (2,)), shape)
    page = (FOLDER / "soundness.md").read_text("utf-8")
    for term in report.terms:
        name = re.sub(r"layer \d+", "layer i", term.name)
        row = re.search(rf"^\| {name} \|.*$", page, re.MULTILINE)
        assert row is not None, name
        assert f"| {term.status} |" in row[0], (name, term.status)


def test_the_table_of_sizes_is_what_the_code_gives() -> None:
    """Parameters as `choose` takes them by default, and the report's bits, rounded down."""
    page = (FOLDER / "soundness.md").read_text("utf-8")
    table = re.findall(r"^\| 2\^(\d+), 2\^(\d+) \| (\d+) \|(.*)\|$", page, re.MULTILINE)
    assert len(table) == 3
    for x, w, leaves, rest in table:
        trees = {"X": int(x), "W": int(w)}
        params = choose(trees)
        report = soundness_report(params, Shape(int(leaves), 10, 12, 100, (), trees))
        bits = {term.name: term.bits for term in report.terms}
        shown = [bits[name] for name in ("lookup challenges", "columns fold", "queries")]
        assert [cell.strip() for cell in rest.split("|")] == [
            f"{params.mu}; {', '.join(map(str, params.folds))}",
            *(f"{math.floor(100 * value) / 100:.2f}" for value in (*shown, report.total)),
        ]
        assert f"(rate {params.rate}, {params.queries} queries, {params.grind} bits of work" in page


def test_every_vector_family_is_on_the_page() -> None:
    page = (FOLDER / "vectors.md").read_text("utf-8")
    vectors = FOLDER.parents[1] / "tests" / "vectors" / "sumcheck"
    for path in vectors.glob("*.json"):
        name = path.stem.removeprefix("proof-")
        assert f"`{name}`" in page or f"`{path.name}`" in page, path.name
