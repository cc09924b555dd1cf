"""`proofml srs`: structured reference strings of the EZKL backend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from proofml.canonical import JSON
from proofml.cli.common import json_option, print_json, progress_bar, progress_option
from proofml.store import Store

if TYPE_CHECKING:
    from proofml.zkml.ezkl.srs import Srs


@click.group("srs")
def command() -> None:
    """List, import or generate structured reference strings.

    A string that one party generated lets that party prove anything: proofs that rest on it
    carry srs:local-dev for ever. Nothing is downloaded: fetch the public ceremony's file yourself
    and import it, its digest is checked.
    """


def _row(srs: Srs) -> dict[str, JSON]:
    return {"k": srs.k, "origin": srs.origin, "sha256": srs.sha256, "path": str(srs.path)}


@command.command("list")
@click.option("--ceremony", is_flag=True, help="Show the digests that import accepts.")
@json_option
def list_(ceremony: bool, as_json: bool) -> None:
    """List the strings in the cache."""
    from proofml.zkml.ezkl.srs import CEREMONY, known

    if ceremony:
        if as_json:
            print_json({"ceremony": {str(k): digest for k, digest in CEREMONY.items()}})
        else:
            for k, digest in CEREMONY.items():
                click.echo(f"k = {k:<3} sha256 {digest}")
        return
    found = known(Store.default())
    if as_json:
        print_json({"srs": [_row(srs) for srs in found]})
        return
    for srs in found:
        click.echo(f"k = {srs.k:<3} {srs.origin:<10} sha256 {srs.sha256}")
    if not found:
        click.echo("none; import the public one, or `proofml srs generate K` for development")


@command.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def import_(path: Path, as_json: bool) -> None:
    """Import a file of the public ceremony; refused if its digest is another."""
    from proofml.zkml.ezkl.srs import import_file

    srs = import_file(Store.default(), path)
    if as_json:
        print_json(_row(srs))
    else:
        click.echo(f"imported k = {srs.k}, sha256 {srs.sha256}")


@command.command()
@click.argument("k", type=click.IntRange(1, 26))
@json_option
@progress_option
def generate(k: int, as_json: bool, no_progress: bool) -> None:
    """Generate a development string of 2^K points (10 s at 15, minutes at 20)."""
    from proofml.zkml.ezkl.srs import generate as make

    with progress_bar(no_progress) as progress:
        srs = make(Store.default(), k, progress=progress)
    if as_json:
        print_json(_row(srs))
    else:
        click.echo(f"k = {srs.k}, {srs.origin}, sha256 {srs.sha256}")
        click.echo("proofs that rest on it carry srs:local-dev, which verifiers must allow by name")
