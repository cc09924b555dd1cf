"""`proofml watch`: run again what is claimed on a ledger, and dispute what is false."""

from __future__ import annotations

from typing import Any

import click

from proofml.cli.daemons import daemon_options, running
from proofml.cli.ledger_options import acting


@click.command("watch")
@acting
@daemon_options
@click.option(
    "--ask/--no-ask",
    default=True,
    show_default=True,
    help="Request inputs on the ledger that no proof has.",
)
@click.option(
    "--most-fee", type=click.IntRange(0), help="For all requests about one claim together."
)
@click.option(
    "--least-bond",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Leave claims alone that stake less: no policy of yours accepts them.",
)
@click.option(
    "--most-bond",
    type=click.IntRange(1),
    help="Leave claims alone for which a challenge stakes more.",
)
@click.option(
    "--least-clock",
    type=click.IntRange(0),
    help="Leave claims alone that give a side less time for a dispute, in seconds; by default what "
    "a policy demands that says nothing of it.",
)
@click.option(
    "--least-extension",
    type=click.IntRange(0),
    help="Leave claims alone that give less time for a move, in seconds; by default what such a "
    "policy demands.",
)
@click.option(
    "--most-clock",
    type=click.IntRange(1),
    default=7 * 24 * 3600,
    show_default=True,
    help="Leave claims alone that give a side more time for a dispute, in seconds: so long your "
    "bond is held.",
)
@click.option("--finalise", is_flag=True, help="Make true claims of others final as well.")
def command(
    ask: bool,
    most_fee: int | None,
    least_bond: int,
    most_bond: int | None,
    least_clock: int | None,
    least_extension: int | None,
    most_clock: int,
    finalise: bool,
    **options: Any,
) -> None:
    """Watch a ledger: execute each new claim about a MODEL, and challenge the false ones.

    PROOFS are files of proofs or folders that hold some, in which inputs are looked for. What
    happens is logged on standard error, one JSON object a line. A watcher that was killed goes on
    where it was when it is started again.

    Whoever cannot answer in time loses what he staked: leave alone what gives no time, or asks for
    more than you can lose. The default policy of `verify` refuses claims of such clocks.
    """
    from proofml.optimistic.policy import BLOCK_SECONDS, Pace
    from proofml.optimistic.watch import Watcher

    pace = Pace() if options["ledger"] else Pace(options["confirmations"], BLOCK_SECONDS)
    if least_extension is None:
        least_extension = pace.extension
    if least_clock is None:
        least_clock = pace.clock(least_extension)
    with running("watch", options) as (given, run):
        run(
            Watcher(
                ask=ask,
                most_fee=most_fee,
                least_bond=least_bond,
                most_bond=most_bond,
                least_clock=least_clock,
                least_extension=least_extension,
                most_clock=most_clock,
                finalise=finalise,
                **given,
            )
        )
