"""The measuring commands run, and the columns that docs quote are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from click import Command
from click.testing import CliRunner

from proofml.benchmarks import fhe_accuracy, fhe_ckks, fhe_concrete, fhe_reproducibility

from .roles.world import need


def rows(command: Command, *words: str, docs: Path | None = None) -> Sequence[list[str]]:
    where = ("--docs", str(docs)) if docs is not None else ()
    done = CliRunner().invoke(command, [*words, *where], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROOFML_CACHE", str(tmp_path / "cache"))


def test_accuracy_on_ckks(tmp_path: Path) -> None:
    need("ckks")
    page = tmp_path / "benchmarks.md"
    page.write_text("<!-- table: accuracy -->\nold\n<!-- end -->\n")
    (_, _, row) = rows(fhe_accuracy.main, "--scheme", "ckks", "--model", "logistic", docs=tmp_path)
    assert row[:2] == ["logistic", "ckks"]
    assert row[4] == "+0.0"
    assert row[6] == "200 of 200"
    assert "| logistic | ckks |" in page.read_text()


def test_reproducibility_on_ckks() -> None:
    need("ckks")
    words = ("--scheme", "ckks", "--model", "logistic", "--runs", "2", "--busy", "1")
    (_, _, row) = rows(fhe_reproducibility.main, *words)
    assert row[:5] == ["ckks", "logistic", "2 of 2", "2 of 2", "1"]


def test_ckks_models() -> None:
    need("ckks")
    (_, _, row) = rows(fhe_ckks.main, "models", "--model", "mlp-64-relu", "--repeat", "1")
    assert row[0] == "mlp-64-relu"
    noise, bound = row[7].rstrip(")").split(" (")
    assert float(noise) <= float(bound)


@pytest.mark.slow
def test_ckks_compare() -> None:
    need("ckks")
    found = {row[0]: row[1:] for row in rows(fhe_ckks.main, "compare", "--repeat", "2")}
    assert found["digests in 2 runs"] == ["2", "1"]
    assert float(found["largest error"][1]) < float(found["largest error"][0])


@pytest.mark.slow
@pytest.mark.concrete
def test_on_concrete() -> None:
    need("concrete")
    words = ("--scheme", "concrete", "--model", "logistic", "--encrypted", "2")
    (_, _, row) = rows(fhe_accuracy.main, *words)
    assert row[6] == "2 of 2"
    (_, _, row) = rows(fhe_reproducibility.main, *words[:2], "--model", "boosted", "--runs", "1")
    assert row[3] == "1 of 1"
    found = dict(rows(fhe_concrete.main, "logistic", "--repeat", "1")[2:])
    assert float(found["ours / theirs, processor time"]) > 0
