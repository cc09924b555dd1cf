"""What float claims cost and what they keep out: `python -m proofml.benchmarks.optimistic_float`.

    alarms      honest runs in all execution configurations, judged under the three bases
    detection   the smallest change of one element that is seen, by kind of operator
    drift       every operator at the edge of its bound, towards another output
    cost        commitment over plain execution; hashing and lost fusion apart; memory

Each prints a table in Markdown and, with `--output`, writes everything as JSON. `tables` makes the
tables of `docs/optimistic/floating.md` of such files, which may each hold some of the models:

    python -m proofml.benchmarks.optimistic_float tables alarms FILE... --docs docs/optimistic
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from proofml.benchmarks.meter import machine
from proofml.benchmarks.optimistic_float_models import CASES, Case
from proofml.benchmarks.optimistic_float_tables import TABLES
from proofml.benchmarks.tables import replace_table
from proofml.model import Model
from proofml.optimistic.floating.plan import plan_of
from proofml.optimistic.floating.work import in_worker
from proofml.store import Store
from proofml.worker import Limits

#: As in `optimistic_float_machines`, which imports onnxruntime.
BATCH = 3
CPU = ("one thread", "two threads", "no optimisation", "parallel", "no prepacking", "batch")
MODULE = "proofml.benchmarks.optimistic_float_stages"
_DAY = 86_400.0


def measure(
    stage: str,
    case: Case,
    args: dict[str, Any],
    *,
    grouped: bool,
    shape: tuple[int, ...] | None = None,
) -> dict[str, Any]:
    """One stage on one model, in a worker."""
    store = Store.default()
    model = Model.load(case.file, store=store)
    name, shape = model.inputs[0].name, shape or case.shape
    plan = plan_of(model, {name: shape}, store, grouped=grouped)
    wide = plan_of(model, {name: (BATCH * shape[0], *shape[1:])}, store, grouped=grouped)
    with store.scratch() as folder:
        (folder / "wide").mkdir()
        plan.write(folder)
        wide.write(folder / "wide")
        (folder / "model.onnx").write_bytes(model.canonical)
        np.save(folder / "in.0.npy", case.make(0, shape))
        found: dict[str, Any] = in_worker(
            stage,
            {"model": case.name, **args},
            folder,
            module=MODULE,
            limits=Limits(seconds=_DAY),
            progress=_show,
        )
    return found


def _show(stage: str, fraction: float | None, rss: int | None) -> None:
    if fraction is not None:
        click.echo(f"\r{stage}: {fraction:4.0%}   ", err=True, nl=False)


def _finish(what: str, found: dict[str, Any], output: Path | None) -> None:
    click.echo("", err=True)
    click.echo(TABLES[what](found))
    if output is not None:
        output.write_text(json.dumps(found, indent=1))


@click.group()
def main() -> None:
    """Float claims: false alarms, detection, drift, cost."""


def _options(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--output", type=click.Path(path_type=Path), help="Everything as JSON."),
        click.option("--grouped/--single", default=False, help="Elementwise operators in groups."),
        click.option("--model", "models", multiple=True, type=click.Choice(tuple(CASES))),
    ):
        function = option(function)
    return function


def _calibration(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--margin", default=1.5, show_default=True, help="Allowed over seen."),
        click.option("--calibration", default=20, show_default=True, help="Inputs a machine."),
        click.option(
            "--calibrate-on", multiple=True, default=CPU, help="Machines; all of onnxruntime's."
        ),
    ):
        function = option(function)
    return function


@main.command()
@_options
@_calibration
@click.option("--machine", "machines", multiple=True, default=CPU, help="Judged; default all.")
@click.option("--runs", default=85, show_default=True, help="Inputs for each machine and model.")
def alarms(
    models: Sequence[str],
    grouped: bool,
    output: Path | None,
    calibrate_on: Sequence[str],
    calibration: int,
    margin: float,
    machines: Sequence[str],
    runs: int,
) -> None:
    """Honest runs, judged: none of them may be refused."""
    args = {"machines": list(machines), "calibrate_on": list(calibrate_on), "runs": runs,
            "calibration": calibration, "margin": margin}  # fmt: skip
    found = {
        name: measure("alarms", CASES[name], args, grouped=grouped) for name in models or CASES
    }
    _finish("alarms", found, output)


@main.command()
@_options
@_calibration
@click.option("--elements", default=3, show_default=True, help="Tried of each operator.")
def detection(
    models: Sequence[str],
    grouped: bool,
    output: Path | None,
    calibrate_on: Sequence[str],
    calibration: int,
    margin: float,
    elements: int,
) -> None:
    """The smallest change that is seen, in units in the last place and in worst cases."""
    args = {"calibrate_on": list(calibrate_on), "calibration": calibration, "margin": margin,
            "elements": elements}  # fmt: skip
    found = {
        name: measure("detection", CASES[name], args, grouped=grouped) for name in models or CASES
    }
    _finish("detection", found, output)


@main.command()
@_options
@_calibration
@click.option("--inputs", default=10, show_default=True)
@click.option("--rounds", default=4, show_default=True)
def drift(
    models: Sequence[str],
    grouped: bool,
    output: Path | None,
    calibrate_on: Sequence[str],
    calibration: int,
    margin: float,
    inputs: int,
    rounds: int,
) -> None:
    """How far an attacker moves the nearest decision while every operator stays inside."""
    args = {"calibrate_on": list(calibrate_on), "calibration": calibration, "margin": margin,
            "inputs": inputs, "rounds": rounds}  # fmt: skip
    found = {name: measure("drift", CASES[name], args, grouped=grouped) for name in models or CASES}
    _finish("drift", found, output)


@main.command()
@_options
@click.option("--threads", default=1, show_default=True)
@click.option("--repeat", default=10, show_default=True)
@click.option("--large/--small", default=True, help="Inputs that take 100 ms and more.")
def cost(
    models: Sequence[str],
    grouped: bool,
    output: Path | None,
    threads: int,
    repeat: int,
    large: bool,
) -> None:
    """Commitment over plain execution of the same model."""
    found: dict[str, Any] = {}
    for name in models or CASES:
        case = CASES[name]
        shape = LARGE[name] if large else case.shape
        args = {"threads": threads, "repeat": repeat}
        result = measure("cost", case, {**args, "mode": "all"}, grouped=grouped, shape=shape)
        peaks = {
            mode: measure("cost", case, {**args, "repeat": 2, "mode": mode}, grouped=grouped,
                          shape=shape)["peak"]
            for mode in ("plain", "overlapped")
        }  # fmt: skip
        found[f"{name}, grouped" if grouped else name] = {
            **result,
            "peaks": peaks,
            "shape": list(shape),
        }
    _finish("cost", found, output)


@main.command()
@click.argument("what", type=click.Choice(tuple(TABLES)))
@click.argument("files", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option(
    "--docs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder whose floating.md gets the table.",
)
def tables(what: str, files: Sequence[Path], docs: Path | None) -> None:
    """A table of what other commands wrote with --output."""
    found: dict[str, Any] = {}
    for file in files:
        found.update(json.loads(file.read_text()))
    text = TABLES[what](dict(sorted(found.items())))
    text += f"\n\nMeasured on {machine()}.\n"
    if docs is not None:
        page = docs / "floating.md"
        page.write_text(replace_table(page.read_text("utf-8"), f"float {what}", text), "utf-8")
    click.echo(text)


#: Inputs of real work: a page, a batch of lines, a batch of files.
LARGE: dict[str, tuple[int, ...]] = {
    "classifier": (32, 3, 48, 192),
    "recogniser": (6, 3, 48, 320),
    "detector": (1, 3, 960, 960),
    "magika": (32, 2048),
}


if __name__ == "__main__":
    main()
