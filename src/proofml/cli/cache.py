"""`proofml cache`: what lies there, whether it is whole, and how to make room."""

from __future__ import annotations

import time

import click

from proofml.cli.common import json_option, print_json
from proofml.errors import EXIT_FAILED
from proofml.store import Store


@click.group("cache")
def command() -> None:
    """Look after the cache of keys, circuits and reference strings ($PROOFML_CACHE)."""


@command.command("ls")
@json_option
def list_(as_json: bool) -> None:
    """List what is cached, the most recently used first."""
    store = Store.default()
    entries = store.entries()
    if as_json:
        print_json(
            {
                "root": str(store.root),
                "entries": [
                    {
                        "recipe": entry.digest,
                        "label": entry.label,
                        "used": int(entry.used),
                        "artifacts": {n: a.to_json() for n, a in entry.artifacts.items()},
                    }
                    for entry in entries
                ],
            }
        )
        return
    click.echo(f"{store.root}")
    for entry in entries:
        age = (time.time() - entry.used) / 86400
        click.echo(
            f"{entry.digest[:12]}  {entry.size / 1e6:>10.1f} MB  {age:>6.1f} d  {entry.label}"
            f"  ({', '.join(entry.artifacts)})"
        )
    click.echo(f"{len(entries)} entries, {sum(entry.size for entry in entries) / 1e6:.1f} MB")


@command.command()
@click.option(
    "--older-than", type=float, default=0.0, metavar="DAYS", help="Only what lay unused so long."
)
@click.option("--keep", multiple=True, metavar="RECIPE", help="Recipe (or its start) to keep.")
@json_option
def prune(older_than: float, keep: tuple[str, ...], as_json: bool) -> None:
    """Remove what lay unused; reference strings that were imported go too."""
    store = Store.default()
    kept = frozenset(
        entry.digest
        for entry in store.entries()
        if any(entry.digest.startswith(start) for start in keep)
    )
    freed = store.prune(older_than=older_than * 86400, keep=kept)
    if as_json:
        print_json({"freed": freed})
    else:
        click.echo(f"freed {freed / 1e6:.1f} MB")


@command.command()
@json_option
def verify(as_json: bool) -> int:
    """Hash everything that is cached; exit code 5 where something is damaged."""
    damaged = Store.default().damaged()
    if as_json:
        print_json(
            {"damaged": [{"recipe": entry.digest, "artifact": name} for entry, name in damaged]}
        )
    else:
        for entry, name in damaged:
            click.echo(f"damaged: {entry.digest[:12]} {entry.label}: {name}")
        click.echo("damaged entries are made again when they are needed" if damaged else "intact")
    return EXIT_FAILED if damaged else 0
