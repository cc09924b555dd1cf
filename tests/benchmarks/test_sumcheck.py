"""The benchmarks of the native prover run, and what they print is tables. No time is judged."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from proofml.benchmarks import models, sumcheck_compare, sumcheck_plot, sumcheck_scale
from proofml.benchmarks.process import command_line, own_memory, run
from proofml.benchmarks.sumcheck import TABLES, main, replace_table
from proofml.benchmarks.sumcheck_child import STAGES
from proofml.zkml.ezkl.circuit import ezkl_version

PARAMETERS = {"mlp": 2_410, "lenet": 61_706, "cnn-264k": 263_766, "dense-10k": 9_610}


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A page with a place for each table."""
    folder = tmp_path / "docs"
    folder.mkdir()
    page = "".join(f"<!-- table: {name} -->\n<!-- end -->\n" for name in TABLES)
    (folder / "benchmarks.md").write_text(page)
    return folder


def bench(tmp_path: Path, *words: object) -> list[dict[str, object]]:
    """Run one command of the benchmarks; the results that it keeps."""
    words = (*words, "--results", tmp_path / "results")
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    path = tmp_path / "results" / f"{words[0]}.json"
    found: list[dict[str, object]] = json.loads(path.read_text())
    assert all("other threads" in str(one["about"]) for one in found)
    return found


def rows_of(page: str, name: str) -> list[list[str]]:
    """The cells of a table in the page, without its head."""
    inside = page.split(f"<!-- table: {name} -->\n")[1].split("<!-- end -->")[0]
    lines = [line for line in inside.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in cells}) == 1
    return cells[2:]


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_models_are_what_they_say(name: str, parameters: int, tmp_path: Path) -> None:
    case = models.write(name, tmp_path)
    assert case.parameters == parameters
    model = onnx.load(case.model)
    onnx.checker.check_model(model, full_check=True)
    with np.load(case.input) as inputs, np.load(case.calibration) as samples:
        assert inputs["input"].shape[0] == 1
        assert samples["input"].shape == (models.CALIBRATION_SAMPLES, *inputs["input"].shape[1:])
    first = case.model.read_bytes()
    assert models.write(name, tmp_path).model.read_bytes() == first


def test_series_reach_from_ten_thousand_to_ten_million() -> None:
    assert {name for names in models.SERIES.values() for name in names} <= set(models.BUILDERS)


def test_scale(tmp_path: Path, docs: Path) -> None:
    words = ("--model", "dense-10k", "--model", "cnn-7k", "--repeat", 1, "--docs", docs)
    found = bench(tmp_path, "scale", *words)
    assert [one["name"] for one in found] == ["dense-10k", "cnn-7k"]
    page = (docs / "benchmarks.md").read_text()
    assert [row[0] for row in rows_of(page, "scale")] == ["dense-10k", "cnn-7k"]
    assert [row[0] for row in rows_of(page, "exponents")] == ["dense", "convolutional"]
    assert (docs / "scale.png").exists() == sumcheck_plot.available()


def test_stages(tmp_path: Path, docs: Path) -> None:
    (found,) = bench(tmp_path, "stages", "--model", "mlp", "--repeat", 1, "--docs", docs)
    page = (docs / "benchmarks.md").read_text()
    assert [row[1] for row in rows_of(page, "stages")] == [*STAGES, "all"]
    kernels = {row[2] for row in rows_of(page, "rates")}
    assert {"`encode`", "`merkle`", "`logup_prove`", "`open_prove`", "`grind`"} <= kernels
    assert found["name"] == "mlp"


@pytest.mark.skipif(ezkl_version() is None, reason="ezkl is not installed")
def test_compare(tmp_path: Path, docs: Path) -> None:
    words = ("--model", "mlp", "--rows", "mlp", 9, "--docs", docs)
    once = ("--repeat", 1, "--ezkl-repeat", 1, "--commands", 1)
    (found,) = bench(tmp_path, "compare", *words, *once)
    page = (docs / "benchmarks.md").read_text()
    figures = [row[0] for row in rows_of(page, "compare")]
    assert figures == [name for name, _, _ in sumcheck_compare._FIGURES]
    for side in ("ezkl", "sumcheck"):
        cost = found[side]
        assert isinstance(cost, dict)
        assert cost["proof"]["min"] > 0
        assert cost["peak"] > 0


def test_tables_of_earlier_results_are_written_again(tmp_path: Path, docs: Path) -> None:
    words = ("scale", "--model", "dense-10k", "--repeat", 1, "--results", tmp_path / "results")
    CliRunner().invoke(main, [str(word) for word in words])
    words = ("write", "--results", tmp_path / "results", "--docs", docs)
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    page = (docs / "benchmarks.md").read_text()
    assert [row[0] for row in rows_of(page, "scale")] == ["dense-10k"]
    assert rows_of(page.replace("<!-- end -->", "| a |\n|---|\n<!-- end -->"), "stages") == []


def test_a_page_without_the_table_is_refused() -> None:
    with pytest.raises(click.ClickException, match="one table scale"):
        replace_table("nothing", "scale", "")


def test_exponent_of_a_power_law() -> None:
    points = [(n, 3e-9 * n**0.8) for n in (1e4, 1e5, 1e6)]
    slope = sumcheck_scale.exponent(points)
    assert slope == pytest.approx(0.8)
    assert sumcheck_scale.exponent(points[:1]) is None


def test_memory_of_a_tree_of_processes_is_seen() -> None:
    """A child that holds 64 MiB for a while, started by a shell in between."""
    hold = "import time; held = b'x' * (64 << 20); time.sleep(0.3)"
    between = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    found = run([*command_line()[:2], between], {}, sample=True)
    assert found.peak > 64 << 20
    assert found.seconds > 0.3
    peak, now = own_memory()
    assert peak >= now > 0
