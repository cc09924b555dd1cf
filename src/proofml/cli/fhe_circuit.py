"""`proofml fhe compile` and `environment`: circuits, and the interpreter that Concrete needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from proofml.canonical import JSON
from proofml.cli.common import (
    force_option,
    json_option,
    limits,
    memory_option,
    parse_pairs,
    print_json,
    progress_bar,
    progress_option,
    read_samples,
    time_option,
)
from proofml.cli.files import write_file
from proofml.errors import UsageError


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-b",
    "--backend",
    type=click.Choice(["ckks", "concrete"]),
    required=True,
    help="ckks: real numbers, many at once; concrete: integers, trees too.",
)
@click.option(
    "--calibration",
    type=click.Path(),
    multiple=True,
    required=True,
    help="Inputs as the model will see them, one or many along the first axis; repeatable.",
)
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="Compiler's option.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Circuit file [MODEL + .circuit]."
)
@memory_option
@time_option
@force_option
@json_option
@progress_option
def compile_(
    model: Path,
    backend: str,
    calibration: tuple[str, ...],
    options: tuple[str, ...],
    output: Path | None,
    memory_limit: int | None,
    time_limit: float | None,
    force: bool,
    as_json: bool,
    no_progress: bool,
) -> None:
    """Compile MODEL into a circuit on ciphertexts, and tell accuracy against cost.

    A circuit is public, and so is what it was calibrated on: a circuit of concrete holds the
    samples themselves. What is too deep or too wide is refused here, before any key is made.
    """
    from proofml.backend import Context, Request
    from proofml.fhe.engine import engine
    from proofml.model import Model
    from proofml.router import route
    from proofml.store import Store

    target = output or model.with_suffix(".circuit")
    if target.exists() and not force:
        raise UsageError(f"{target}: exists; give another name (-o) or --force")
    loaded = Model.load(model)
    request = Request(
        calibration=[one for path in calibration for one in read_samples(path, loaded)],
        options=parse_pairs(options, "--set"),
    )
    chosen = route(loaded, request, name=backend)
    with progress_bar(no_progress) as progress:
        context = Context(Store.default(), progress, limits(memory_limit, time_limit))
        data = chosen.setup(loaded, request, context)["circuit"].read_bytes()
    write_file(target, data)
    circuit = engine(backend).read_circuit(data)
    if as_json:
        print_json(
            {
                "circuit": str(target),
                "backend": backend,
                "sha256": circuit.digest,
                "size": len(data),
                "security_bits": circuit.security_bits,
                "report": circuit.report,
            }
        )
        return
    click.echo(f"{target}: {len(data)} bytes, sha256 {circuit.digest}")
    click.echo(f"  security: {circuit.security_bits} bits")
    for name, value in circuit.report.items():
        for line in _lines(name, value):
            click.echo(f"  {line}")


def _lines(name: str, value: JSON) -> list[str]:
    """A report's entry: numbers in one line, tables row by row."""
    if isinstance(value, Mapping):
        return [f"{name}: " + ", ".join(f"{key} {one}" for key, one in value.items())]
    if isinstance(value, (list, tuple)):
        return [line for one in value for line in _lines(f"{name}, tried", one)]
    return [f"{name}: {value}"]


@click.command("environment")
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["run", "compile"]),
    default="run",
    show_default=True,
    help="run: keys, runs, verifying pinned circuits; compile: also circuits (PyTorch, large).",
)
@json_option
@progress_option
def environment(purpose: str, as_json: bool, no_progress: bool) -> None:
    """Make, in the cache, the Python environment that the backend concrete needs, by pip.

    Its packages are under licences of their own: Concrete and Concrete ML are BSD-3-Clause-Clear,
    which grants no patents.
    """
    from proofml.fhe.concrete.environment import make
    from proofml.store import Store

    with progress_bar(no_progress) as progress:
        found = make(
            Store.default(), "compile" if purpose == "compile" else "run", progress=progress
        )
    if as_json:
        print_json({"python": str(found.python), "purpose": purpose})
    else:
        click.echo(str(found.python))
