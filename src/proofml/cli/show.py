"""`proofml show`: what a file claims; nothing here is a verdict."""

from __future__ import annotations

from pathlib import Path

import click

from proofml.cli.common import force_option, json_option, print_json
from proofml.errors import UsageError
from proofml.proof import Proof
from proofml.statement import Visibility


@click.command("show")
@click.argument("proof", type=click.Path(path_type=Path))
@click.option("--extract", metavar="NAME", help="Write one section (input.0, output.0, ...).")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Where --extract writes [NAME]."
)
@click.option("--values/--no-values", default=True, help="Show the public tensors' values.")
@force_option
@json_option
def command(
    proof: Path, extract: str | None, output: Path | None, values: bool, force: bool, as_json: bool
) -> None:
    """Show what PROOF claims. Only `verify` tells whether to believe it.

    A file that is broken or contradicts itself ends with exit code 1.
    """
    from proofml.cli.page import bold, line
    from proofml.cli.render import print_statement

    read = Proof.read(proof)
    if extract is not None:
        _extract(read, extract, output or Path(extract), force)
        return
    if as_json:
        print_json(
            {
                "proof": str(proof),
                "backend": read.backend,
                "backend_version": read.backend_version,
                "statement": read.statement.to_json(),
                "statement_sha256": read.statement.digest,
                "signers": list(read.signers),
                "evidence": [entry.to_json() for entry in read.entries],
                "notes": dict(read.notes),
            }
        )
        return
    line(bold("claimed, not verified"))
    shown = {
        role: read.tensor(role)
        for role, claim in read.statement.tensors()
        if claim.visibility is Visibility.PUBLIC
    }
    print_statement(read.statement, shown if values else None)
    line(f"  statement    {read.statement.digest}")
    line(f"  backend      {read.backend} {read.backend_version}")
    line(f"  signed by    {', '.join(read.signers) or 'nobody'}")
    for entry in read.entries:
        place = f" in {entry.beside_name} beside the proof" if entry.beside else ""
        line(f"  evidence     {entry.name}  {entry.size} bytes{place}")
    for key, value in read.notes.items():
        line(f"  prover says  {key}: {value}")


def _extract(proof: Proof, name: str, target: Path, force: bool) -> None:
    body = proof.sections.get(name)
    if body is None:
        known = ", ".join(proof.sections) or "none"
        raise UsageError(f"--extract {name}: no such section; expected one of {known}")
    if target.exists() and not force:
        raise UsageError(f"{target}: exists; give another name (-o) or --force")
    target.write_bytes(body)
    click.echo(str(target))
