"""Disputes for people: a table of rounds, and a bar for what is still disputed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from proofml.errors import printable
from proofml.optimistic.book import ClaimState
from proofml.optimistic.clock import Side
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.history import Round, Span, span_of

_BAR = 24
_COLOURS = {
    Status.RUNNING: "yellow",
    Status.WON_BY_CLAIMANT: "green",
    Status.WON_BY_CHALLENGER: "red",
    Status.CANCELLED: "dim",
}
_SIDES = {Side.CLAIMANT: "cyan", Side.CHALLENGER: "magenta"}


def _console() -> Console:
    """Standard output; as wide as its longest line where it is no terminal."""
    console = Console(no_color=bool(os.environ.get("NO_COLOR")) or None, highlight=False)
    if not console.is_terminal:
        console = Console(width=140, no_color=True, highlight=False)
    return console


def print_list(found: Mapping[int, tuple[ClaimState, DisputeState]], now: int) -> None:
    if not found:
        _console().print("no disputes")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("dispute", "claim", "status", "phase", "disputed", "moves", "next"):
        table.add_column(name)
    for number, (claim, state) in found.items():
        running = state.status is Status.RUNNING
        table.add_row(
            str(number),
            str(state.claim),
            Text(_status(state), _COLOURS[state.status]),
            state.position.phase.name.lower(),
            str(span_of(state.position, claim.header.count)),
            str(state.moves),
            Text(_owed(state, now) if running else printable(state.why)),
        )
    _console().print(table)


def print_dispute(
    number: int, claim: ClaimState, state: DisputeState, rounds: Sequence[Round], now: int
) -> None:
    """The whole game."""
    console = _console()
    title = Text.assemble(
        (f"dispute {number} about claim {state.claim}  ", "bold"),
        (_status(state), f"bold {_COLOURS[state.status]}"),
    )
    console.print(Panel(_sides(claim, state, now), title=title, title_align="left"))
    console.print(_rounds(claim, state, rounds))
    if state.status is Status.RUNNING:
        here = span_of(state.position, claim.header.count)
        console.print(Text.assemble(("disputed  ", "bold"), _bar(here), f"  {here}"))
        console.print(Text.assemble(("next      ", "bold"), _owed(state, now)))
    else:
        console.print(
            Text.assemble(
                ("ended     ", "bold"),
                (_status(state), _COLOURS[state.status]),
                f": {printable(state.why)}",
            )
        )


def _status(state: DisputeState) -> str:
    return state.status.name.lower().replace("_", " ")


def _sides(claim: ClaimState, state: DisputeState, now: int) -> Group:
    terms = claim.terms
    table = Table(box=None, pad_edge=False, show_header=False)
    for side, stake in ((Side.CLAIMANT, terms.bond), (Side.CHALLENGER, terms.challenge_bond)):
        running = state.status is Status.RUNNING and state.clock.turn is side
        left = state.clock.left[side]
        if running:
            left = max(state.clock.deadline - now, 0)
        table.add_row(
            Text("▶" if running else " ", "yellow"),
            Text(side.name.lower(), _SIDES[side]),
            Text(printable(state.account(side))),
            f"stakes {stake}",
            f"clock {_seconds(left)}",
        )
    lines = Text(
        f"claim {claim.status.name.lower()}, program {claim.terms.program.hex()[:16]}..., "
        f"opened {_at(state.opened)}, {1 << terms.k_log} ways a round, "
        f"burn {terms.burn / 100:g}%"
    )
    return Group(table, lines)


def _rounds(claim: ClaimState, state: DisputeState, rounds: Sequence[Round]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("round", justify="right")
    for name in ("time", "side", "move", "disputed", "", "shown"):
        table.add_column(name)
    for found in rounds:
        table.add_row(
            str(found.number),
            f"+{_seconds(found.time - state.opened)}",
            Text(found.side.name.lower(), _SIDES[found.side]),
            type(found.move).__name__,
            _bar(found.span),
            str(found.span),
            Text(found.words, overflow="ellipsis", no_wrap=True),
        )
    return table


def _bar(span: Span) -> Text:
    """The disputed part of the whole; at least one mark wide."""
    first = min(span.first * _BAR // span.count, _BAR - 1)
    last = max(-(-span.last * _BAR // span.count), first + 1)
    return Text.assemble(
        ("·" * first, "dim"), ("█" * (last - first), "yellow"), ("·" * (_BAR - last), "dim")
    )


def _owed(state: DisputeState, now: int) -> str:
    kinds = " or ".join(kind.__name__ for kind in state.position.awaits)
    side = state.clock.turn.name.lower()
    left = state.clock.deadline - now
    if left < 0:
        return f"{side} owed {kinds} until {_at(state.clock.deadline)}: anybody can end it"
    return f"{side} owes {kinds} within {_seconds(left)}"


def _seconds(count: int) -> str:
    minutes, seconds = divmod(count, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def _at(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
