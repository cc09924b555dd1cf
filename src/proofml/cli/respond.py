"""`proofml respond`: stand by one's own claims on a ledger."""

from __future__ import annotations

from typing import Any

import click

from proofml.cli.daemons import daemon_options, running
from proofml.cli.ledger_options import acting


@click.command("respond")
@acting
@daemon_options
@click.option(
    "--finalise/--no-finalise",
    default=True,
    show_default=True,
    help="Make claims final once nobody can challenge them any more.",
)
def command(finalise: bool, **options: Any) -> None:
    """Answer disputes and requests for data about your claims, made with `prove -b optimistic`.

    PROOFS are the files that `prove` wrote, or folders that hold them. A claim that nobody answers
    for is lost, true or not. A daemon that was killed goes on where it was when it is started
    again.
    """
    from proofml.optimistic.respond import Responder

    with running("respond", options) as (given, run):
        run(Responder(finalise=finalise, **given))
