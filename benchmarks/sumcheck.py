"""The native prover's benchmarks: against EZKL, by size of the model, by stage.

    python -m proofml.benchmarks.sumcheck compare   the same float model and input, EZKL and native
    python -m proofml.benchmarks.sumcheck scale     from 10^4 to 10^7 parameters
    python -m proofml.benchmarks.sumcheck stages    each stage against bare rates of the kernels
    python -m proofml.benchmarks.sumcheck all       all of them, one after the other
    python -m proofml.benchmarks.sumcheck write     the tables again, from earlier results
    python -m proofml.benchmarks.sumcheck profile   where Python spends its time in one proof

Results go to build/benchmarks as JSON; `--docs docs/sumcheck` writes the tables and the picture of
docs/sumcheck/benchmarks.md anew. Run it on a machine that does nothing else: the load at the
beginning stands below each table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import click

from proofml.benchmarks import (
    models,
    sumcheck_compare,
    sumcheck_plot,
    sumcheck_scale,
    sumcheck_stages,
)
from proofml.benchmarks.meter import machine
from proofml.benchmarks.process import load_average
from proofml.circuits import kernels

F = TypeVar("F", bound=Callable[..., Any])

COMPARED = ("mlp", "lenet")
STAGED = ("mlp", "lenet", "cnn-264k", "dense-1m", "vgg-15m")
PAGE, PICTURE = "benchmarks.md", "scale.png"


def _say(text: str) -> None:
    click.echo(text, err=True)


def _common(command: F) -> F:
    for option in (
        click.option(
            "--docs",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder whose benchmarks.md gets the tables.",
        ),
        click.option(
            "--results",
            type=click.Path(path_type=Path, file_okay=False),
            default=Path("build/benchmarks"),
            show_default=True,
            help="Folder for the results as JSON.",
        ),
        click.option("--repeat", type=click.IntRange(1), default=15, show_default=True),
    ):
        command = option(command)
    return command


def _keep(folder: Path, name: str, found: Sequence[Mapping[str, Any]], load: float) -> None:
    """Results with the machine, the day and the load, so that tables can be written later."""
    folder.mkdir(parents=True, exist_ok=True)
    about = (
        f"Measured on {machine()}, {kernels.level()} kernels with {_threads()}, on "
        f"{date.today().isoformat()}; load at the beginning {load:.1f}."
    )
    text = json.dumps({"about": about, "results": found}, indent=1)
    (folder / f"{name}.json").write_text(text + "\n")


def _threads() -> str:
    count = kernels.threads() if kernels.available() else 1
    return "1 thread" if count == 1 else f"{count} threads"


def _read(folder: Path, name: str) -> tuple[str, list[dict[str, Any]]]:
    path = folder / f"{name}.json"
    if not path.exists():
        return "", []
    found = json.loads(path.read_text())
    return found["about"], found["results"]


#: Name of a table in the page -> the results that it needs, and how it is written.
TABLES: dict[str, tuple[str, Callable[[Sequence[Mapping[str, Any]]], str]]] = {
    "compare": ("compare", sumcheck_compare.table),
    "rows": ("compare", sumcheck_compare.rows_table),
    "scale": ("scale", sumcheck_scale.table),
    "exponents": ("scale", sumcheck_scale.exponents),
    "stages": ("stages", sumcheck_stages.table),
    "rates": ("stages", sumcheck_stages.rates_table),
}


def _publish(kind: str, results: Path, docs: Path | None) -> None:
    """Print the tables of one kind of results; write them into the page, and the picture."""
    for name, (needs, write) in TABLES.items():
        about, found = _read(results, needs)
        if needs != kind or not found:
            continue
        text = f"{write(found)}\n{about}\n"
        click.echo(text)
        if docs is not None:
            page = docs / PAGE
            page.write_text(replace_table(page.read_text(), name, text))
    if docs is None or kind == "stages":
        return
    _, sizes = _read(results, "scale")
    if not sizes:
        return
    if not sumcheck_plot.available():
        _say("no picture: matplotlib is not installed (pip install matplotlib)")
        return
    sumcheck_plot.plot(sizes, _read(results, "compare")[1], docs / PICTURE)


def replace_table(page: str, name: str, text: str) -> str:
    """What stands between `<!-- table: NAME -->` and `<!-- end -->` becomes `text`."""
    pattern = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    changed, count = pattern.subn(lambda found: f"{found[1]}{text}{found[2]}", page)
    if count != 1:
        raise click.ClickException(f"expected one table {name} in the page, found {count}")
    return changed


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Benchmarks of the native prover."""


_model_choice = click.Choice(sorted(models.BUILDERS))


@main.command("compare")
@_common
@click.option("--model", "names", type=_model_choice, multiple=True, default=COMPARED)
@click.option("--ezkl-repeat", type=click.IntRange(1), default=3, show_default=True)
@click.option("--commands", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--rows",
    type=(str, click.IntRange(1, 26)),
    multiple=True,
    metavar="MODEL K",
    help="Rows of EZKL's circuit, 2^K, instead of a search for the fastest.",
)
@click.option(
    "--least",
    type=(str, click.IntRange(1, 26)),
    multiple=True,
    metavar="MODEL K",
    help="Where the search begins [7].",
)
def compare_command(
    repeat: int,
    results: Path,
    docs: Path | None,
    names: Sequence[str],
    ezkl_repeat: int,
    commands: int,
    rows: Sequence[tuple[str, int]],
    least: Sequence[tuple[str, int]],
) -> None:
    """The same float model and input, EZKL and native, on this machine."""
    load, known, begin = load_average(), dict(rows), dict(least)
    found = [
        sumcheck_compare.compare(
            name,
            say=_say,
            repeat=repeat,
            ezkl_repeat=ezkl_repeat,
            commands=commands,
            rows=known.get(name),
            least=begin.get(name, 7),
        )
        for name in names
    ]
    _keep(results, "compare", found, load)
    _publish("compare", results, docs)


@main.command("scale")
@_common
@click.option("--model", "names", type=_model_choice, multiple=True, help="Only these.")
@click.option("--most", type=click.IntRange(1), help="Leave out models with more parameters.")
def scale_command(
    repeat: int, results: Path, docs: Path | None, names: Sequence[str], most: int | None
) -> None:
    """Time, size and memory from 10^4 to 10^7 parameters."""
    load = load_average()
    found = sumcheck_scale.scale(say=_say, repeat=repeat, names=names, most=most)
    if not found:
        raise click.UsageError("no model of the series is left")
    _keep(results, "scale", found, load)
    _publish("scale", results, docs)


@main.command("stages")
@_common
@click.option("--model", "names", type=_model_choice, multiple=True, default=STAGED)
def stages_command(repeat: int, results: Path, docs: Path | None, names: Sequence[str]) -> None:
    """Each stage of a proof against the bare rates of the kernels."""
    load = load_average()
    found = [sumcheck_stages.stages(name, say=_say, repeat=repeat) for name in names]
    _keep(results, "stages", found, load)
    _publish("stages", results, docs)


@main.command("all")
@_common
@click.pass_context
def all_command(context: click.Context, repeat: int, results: Path, docs: Path | None) -> None:
    """Everything, one after the other, with the default models."""
    for command in (compare_command, scale_command, stages_command):
        context.invoke(command, repeat=repeat, results=results, docs=docs)


@main.command("write")
@_common
def write_command(repeat: int, results: Path, docs: Path | None) -> None:
    """The tables and the picture again, from the results of earlier runs."""
    for kind in ("compare", "scale", "stages"):
        _publish(kind, results, docs)


@main.command("profile")
@click.argument("name", type=_model_choice)
@click.option("--lines", type=click.IntRange(1), default=30, show_default=True)
def profile_command(name: str, lines: int) -> None:
    """Where Python spends the time of one proof."""
    click.echo(sumcheck_stages.profile(name, say=_say, lines=lines))


if __name__ == "__main__":
    main()
