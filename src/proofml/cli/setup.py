"""`proofml setup`: settings, reference strings and keys, before the first proof."""

from __future__ import annotations

import shutil
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
    visibility_options,
)
from proofml.errors import UsageError


@click.command("setup")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-b", "--backend", required=True, help="Backend by name.")
@click.option("--calibration", multiple=True, help="Inputs to tune the backend on.")
@visibility_options
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="Backend's option.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder that takes copies, by name."
)
@memory_option
@time_option
@force_option
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
    output: Path | None,
    memory_limit: int | None,
    time_limit: float | None,
    force: bool,
    as_json: bool,
    no_progress: bool,
) -> None:
    """Make (or find in the cache) what proving MODEL needs, and list it.

    With -o FOLDER, copies: what a verifier can use is among them, a verifying key for example.
    """
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
    if output is not None:
        found = _copies(found, output, force)
    rows: dict[str, dict[str, JSON]] = {
        name: {"path": str(path), "size": path.stat().st_size, "sha256": file_sha256(path)}
        for name, path in found.items()
    }
    if as_json:
        print_json({"backend": chosen.name, "artifacts": rows})
        return
    for name, row in rows.items():
        click.echo(f"{name:<19} {row['size']:>12} bytes  sha256 {row['sha256']}")
        if output is not None:
            click.echo(f"{'':<19} {row['path']}")
    if not rows:
        click.echo(f"{chosen.name} needs no setup")


def _copies(artifacts: Mapping[str, Path], folder: Path, force: bool) -> dict[str, Path]:
    """Each artifact under its name in `folder`; nothing is overwritten without `force`."""
    targets = {name: folder / name for name in artifacts}
    for target in targets.values():
        if target.exists() and not force:
            raise UsageError(f"{target}: exists; give another folder or --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in artifacts.items():
            partial = folder / f".{name}.part"
            shutil.copyfile(path, partial)
            partial.replace(targets[name])
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error
    return targets
