"""The native prover's benchmarks: against EZKL, by size of the model, by stage.

    python -m proofml.benchmarks.sumcheck compare   the same float model and input, EZKL and native
    python -m proofml.benchmarks.sumcheck scale     from 10^4 to 10^7 parameters
    python -m proofml.benchmarks.sumcheck stages    each stage against bare rates of the kernels
    python -m proofml.benchmarks.sumcheck all       all of them, one after the other
    python -m proofml.benchmarks.sumcheck write     the tables again, from earlier results
    python -m proofml.benchmarks.sumcheck profile   where Python spends its time in one proof

Results go to build/benchmarks as JSON; `--docs docs/sumcheck` writes the tables and the picture of
docs/sumcheck/benchmarks.md anew. Run it on a machine that does nothing else: how quiet it was
stands below each table.
"""

from __future__ import annotations

import json
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
from proofml.benchmarks.process import others
from proofml.benchmarks.tables import replace_table
from proofml.circuits import kernels

F = TypeVar("F", bound=Callable[..., Any])

COMPARED = ("mlp", "lenet")
#: Threads that want to run, besides this one.
QUIET = 0.5
STAGED = ("mlp", "lenet", "cnn-264k", "dense-1m", "vgg-15m")
PAGE, PICTURE = "benchmarks.md", "scale.png"
CAPTION = "Seconds to prove one inference against the number of parameters"


def _say(text: str) -> None:
    click.echo(text, err=True)


def _begin() -> float:
    """What else wants to run before a measurement; says so where nothing can be measured."""
    load = others()
    if load > QUIET:
        _say(
            f"{load:.1f} other threads want to run and distort this. The best of many short runs "
            "suffers less than a long one, so that comparisons are unfair to EZKL as well"
        )
    return load


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


def _keep(folder: Path, kind: str, found: Mapping[str, Any], load: float) -> None:
    """Add a result to those of its kind, in place of an earlier one for the same model."""
    folder.mkdir(parents=True, exist_ok=True)
    about = (
        f"{machine()}, {kernels.level()} kernels with {_threads()}, {date.today().isoformat()}, "
        f"{load:.1f} other threads wanting to run before it"
    )
    kept = [one for one in _read(folder, kind) if one["name"] != found["name"]]
    order = list(models.BUILDERS)
    kept = sorted([*kept, {**found, "about": about}], key=lambda one: order.index(one["name"]))
    (folder / f"{kind}.json").write_text(json.dumps(kept, indent=1) + "\n")


def _about(found: Sequence[Mapping[str, Any]]) -> str:
    """On what machine, when, and how quiet, the results were measured."""
    names: dict[str, list[str]] = {}
    for one in found:
        names.setdefault(one["about"], []).append(one["name"])
    lines = [f"- {', '.join(those)}: {about}" for about, those in names.items()]
    return "Measured on\n\n" + "\n".join(lines) + "\n"


def _threads() -> str:
    count = kernels.threads() if kernels.available() else 1
    return "1 thread" if count == 1 else f"{count} threads"


def _read(folder: Path, kind: str) -> list[dict[str, Any]]:
    path = folder / f"{kind}.json"
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return found


#: Name of a table in the page -> the results that it needs, and how it is written.
TABLES: dict[str, tuple[str, Callable[[Sequence[Mapping[str, Any]]], str]]] = {
    "compare": ("compare", sumcheck_compare.table),
    "rows": ("compare", sumcheck_compare.rows_table),
    "scale": ("scale", sumcheck_scale.table),
    "exponents": ("scale", sumcheck_scale.exponents),
    "stages": ("stages", sumcheck_stages.table),
    "rates": ("stages", sumcheck_stages.rates_table),
}

#: Tables below which stands where their results were measured.
LED = frozenset({"compare", "scale", "stages"})


def _publish(kind: str, results: Path, docs: Path | None) -> None:
    """Print the tables of one kind of results; write them into the page, and the picture."""
    if docs is not None and kind != "stages":
        _draw(results, docs)
    for name, (needs, write) in TABLES.items():
        found = _read(results, needs)
        if needs != kind or not found:
            continue
        text = f"{write(found)}\n{_about(found)}" if name in LED else write(found)
        click.echo(text)
        if docs is not None:
            if name == "exponents" and (docs / PICTURE).exists():
                text += f"\n![{CAPTION}]({PICTURE})\n"
            page = docs / PAGE
            page.write_text(replace_table(page.read_text(), name, text))


def _draw(results: Path, docs: Path) -> None:
    sizes = _read(results, "scale")
    if not sizes:
        return
    if not sumcheck_plot.available():
        _say("no picture: matplotlib is not installed (pip install matplotlib)")
        return
    sumcheck_plot.plot(sizes, _read(results, "compare"), docs / PICTURE)


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
    help="Where the search begins.",
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
    known, begin = dict(rows), dict(least)
    for name in names:
        load = _begin()
        found = sumcheck_compare.compare(
            name,
            say=_say,
            repeat=repeat,
            ezkl_repeat=ezkl_repeat,
            commands=commands,
            rows=known.get(name),
            least=begin.get(name),
        )
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
    _begin()
    for found in sumcheck_scale.scale(say=_say, repeat=repeat, names=names, most=most):
        _keep(results, "scale", found, found["load"])
    _publish("scale", results, docs)


@main.command("stages")
@_common
@click.option("--model", "names", type=_model_choice, multiple=True, default=STAGED)
def stages_command(repeat: int, results: Path, docs: Path | None, names: Sequence[str]) -> None:
    """Each stage of a proof against the bare rates of the kernels."""
    for name in names:
        load = _begin()
        found = sumcheck_stages.stages(name, say=_say, repeat=repeat)
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
