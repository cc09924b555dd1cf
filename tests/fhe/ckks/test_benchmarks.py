"""The benchmarks run, and what they print is tables. No time is judged."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from proofml.benchmarks.fhe_ckks import main

pytest.importorskip("tenseal")


def rows(*words: str) -> list[list[str]]:
    """The cells of the table that is printed, without its head."""
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("|")]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in found}) == 1
    return found[2:]


def test_models() -> None:
    (row,) = rows("models", "--model", "mlp-64-relu", "--repeat", "1")
    assert row[0] == "mlp-64-relu"
    noise, bound = row[7].rstrip(")").split(" (")
    assert float(noise) <= float(bound)


@pytest.mark.slow
def test_compare() -> None:
    found = {row[0]: row[1:] for row in rows("compare", "--repeat", "2")}
    assert found["digests in 2 runs"] == ["2", "1"]
    assert float(found["largest error"][1]) < float(found["largest error"][0])
