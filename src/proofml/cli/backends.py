"""`proofml backends`: who is registered, and who can run here."""

from __future__ import annotations

import click

from proofml.backend import backend_names, get_backend
from proofml.canonical import JSON
from proofml.cli.common import json_option, print_json
from proofml.errors import BackendUnavailable


@click.command("backends")
@json_option
def command(as_json: bool) -> None:
    """List the registered backends and whether they can run here."""
    rows: list[dict[str, JSON]] = []
    for name in backend_names():
        try:
            backend = get_backend(name)
            probe = backend.probe()
        except BackendUnavailable as error:
            rows.append({"name": name, "available": False, "detail": str(error)})
            continue
        rows.append(
            {
                "name": name,
                "version": backend.version,
                "summary": backend.summary,
                "integrity": sorted(backend.integrity),
                "hides": sorted(backend.hides),
                "available": probe.available,
                "detail": probe.detail,
            }
        )
    if as_json:
        print_json({"backends": rows})
        return
    for row in rows:
        state = "ready" if row["available"] else "unavailable"
        click.echo(f"{row['name']:<12} {state:<12} {row.get('summary', '')}")
        click.echo(f"{'':<12} {'':<12} {row['detail']}")
