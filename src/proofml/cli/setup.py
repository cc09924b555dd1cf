"""`proofml setup`: settings, reference strings and keys, before the first proof."""

from __future__ import annotations

from pathlib import Path

import click

from proofml.canonical import JSON
from proofml.cli.common import (
    json_option,
    limits,
    memory_option,
    parse_pairs,
    print_json,
    progress_bar,
    progress_option,
    read_samples,
    time_option,
    visibility_options,
)


@click.command("setup")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-b", "--backend", required=True, help="Backend by name.")
@click.option("--calibration", multiple=True, help="Inputs to tune the backend on.")
@visibility_options
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="Backend's option.")
@memory_option
@time_option
@json_option
@progress_option
def command(
    model: Path,
    backend: str,
    calibration: tuple[str, ...],
    input_visibility: str,
    output_visibility: str,
    parameters: str,
    options: tuple[str, ...],
    memory_limit: int | None,
    time_limit: float | None,
    as_json: bool,
    no_progress: bool,
) -> None:
    """Make (or find in the cache) what proving MODEL needs, and print where it lies."""
    from proofml.backend import Context, Request
    from proofml.model import Model
    from proofml.router import route
    from proofml.statement import Visibility
    from proofml.store import Store, file_sha256

    loaded = Model.load(model)
    request = Request(
        input_visibility=Visibility(input_visibility),
        output_visibility=Visibility(output_visibility),
        parameters=parameters,
        calibration=[one for path in calibration for one in read_samples(path, loaded)],
        options=parse_pairs(options, "--set"),
    )
    chosen = route(loaded, request, name=backend)
    with progress_bar(no_progress) as progress:
        context = Context(Store.default(), progress, limits(memory_limit, time_limit))
        found = chosen.setup(loaded, request, context)
    rows: dict[str, dict[str, JSON]] = {
        name: {"path": str(path), "size": path.stat().st_size, "sha256": file_sha256(path)}
        for name, path in found.items()
    }
    if as_json:
        print_json({"backend": chosen.name, "artifacts": rows})
        return
    for name, row in rows.items():
        click.echo(f"{name:<14} {row['size']:>12} bytes  sha256 {row['sha256']}")
    if not rows:
        click.echo(f"{chosen.name} needs no setup")
