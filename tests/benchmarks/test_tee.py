"""The benchmarks of trusted hardware run, and what they print is tables. No time is judged."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from proofml.benchmarks.tee import main
from proofml.tee.platform import Platform

ROOT = Path(__file__).parents[2]


def rows(page: Path, name: str) -> list[list[str]]:
    """The cells of a table in the page, without its head."""
    inside = page.read_text("utf-8").split(f"<!-- table: {name} -->\n")[1].split("<!-- end -->")[0]
    lines = [line for line in inside.splitlines() if line.startswith("|")]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in found}) == 1
    return found[2:]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """The page as it is."""
    page = (ROOT / "docs" / "tee" / "benchmarks.md").read_text("utf-8")
    (tmp_path / "benchmarks.md").write_text(page, "utf-8")
    return tmp_path


def bench(docs: Path, *words: object) -> Path:
    argv = [*map(str, words), "--repeat", "1", "--docs", str(docs)]
    result = CliRunner().invoke(main, argv)
    assert result.exit_code == 0, result.output
    return docs / "benchmarks.md"


def test_receipts(docs: Path) -> None:
    found = rows(bench(docs, "receipts", "--count", 20), "receipts")
    assert all(len(row) == 3 and all(row) for row in found)
    (rate,) = (row[1:] for row in found if row[0] == "receipts a second, one core")
    assert all(int(cell.split()[0].replace(",", "")) > 0 for cell in rate)


def test_quotes(docs: Path) -> None:
    found = rows(bench(docs, "quotes"), "quotes")
    assert [row[0] for row in found] == [platform.value for platform in Platform]
    assert all(all(row) for row in found)
