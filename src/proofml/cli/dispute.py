"""`proofml dispute`: what is disputed on a ledger, and how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from proofml.canonical import JSON
from proofml.cli.common import json_option, print_json
from proofml.cli.ledger_options import ledger_options, open_ledger
from proofml.errors import UsageError

if TYPE_CHECKING:
    from proofml.optimistic.book import ClaimState
    from proofml.optimistic.game import DisputeState


@click.group("dispute")
def command() -> None:
    """Look at disputes about claims on a ledger."""


@command.command("list")
@ledger_options
@click.option("--claim", type=click.IntRange(1), help="Only those about this claim.")
@click.option("--running", is_flag=True, help="Only those that are not over.")
@json_option
def list_(claim: int | None, running: bool, as_json: bool, **options: Any) -> None:
    """List disputes: who disputes what, who owes the next move, and until when."""
    from proofml.cli.dispute_page import print_list
    from proofml.optimistic.game import Status
    from proofml.optimistic.history import disputes

    with open_ledger(**options) as opened:
        ledger = opened.ledger
        now = ledger.now()
        found: dict[int, tuple[ClaimState, DisputeState]] = {}
        for number, listed in disputes(ledger).items():
            state = ledger.dispute(number)
            if claim in (None, listed.claim) and (not running or state.status is Status.RUNNING):
                found[number] = ledger.claim(listed.claim), state
    if as_json:
        print_json(
            {
                "now": now,
                "disputes": [
                    {"number": number, **summary(state, now)}
                    for number, (_, state) in found.items()
                ],
            }
        )
        return
    print_list(found, now)


@command.command()
@click.argument("number", type=click.IntRange(1))
@ledger_options
@json_option
def show(number: int, as_json: bool, **options: Any) -> None:
    """Draw dispute NUMBER: its rounds, what was revealed, clocks, who owes the next move."""
    from proofml.cli.dispute_page import print_dispute
    from proofml.optimistic.history import disputes, rounds

    with open_ledger(**options) as opened:
        ledger = opened.ledger
        listed = disputes(ledger, number).get(number)
        if listed is None:
            raise UsageError(
                f"no dispute {number} on this ledger; `proofml dispute list` shows them"
            )
        state, now = ledger.dispute(number), ledger.now()
        claim = ledger.claim(state.claim)
        played = rounds(claim, state, listed.played)
    if as_json:
        print_json(
            {
                "number": number,
                "now": now,
                **summary(state, now),
                "position": state.to_json()["position"],
                "claim_state": claim.to_json(),
                "bond": str(claim.terms.bond),
                "challenge_bond": str(claim.terms.challenge_bond),
                "burn": claim.terms.burn,
                "rounds": [round_.to_json() for round_ in played],
            }
        )
        return
    print_dispute(number, claim, state, played, now)


def summary(state: DisputeState, now: int) -> dict[str, JSON]:
    """A dispute without its position."""
    from proofml.optimistic.game import Status

    running = state.status is Status.RUNNING
    return {
        "claim": state.claim,
        "claimant": state.claimant,
        "challenger": state.challenger,
        "opened": state.opened,
        "status": state.status.name,
        "phase": state.position.phase.name,
        "moves": state.moves,
        "why": state.why,
        "turn": state.clock.turn.name if running else None,
        "owes": [kind.__name__ for kind in state.position.awaits] if running else [],
        "deadline": state.clock.deadline if running else None,
        "left": max(state.clock.deadline - now, 0) if running else None,
        "clocks": {"CLAIMANT": state.clock.left[0], "CHALLENGER": state.clock.left[1]},
    }
