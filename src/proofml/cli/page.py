"""Lines for people on standard output: styled on a terminal, plain elsewhere."""

from __future__ import annotations

import os

import click


def line(text: str = "") -> None:
    """Print; styles are dropped where nobody sees them, or NO_COLOR says so."""
    coloured = None  # as the stream is
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") in ("dumb", "unknown"):
        coloured = False
    elif os.environ.get("FORCE_COLOR"):
        coloured = True
    click.echo(text, color=coloured)


def bold(text: str, colour: str | None = None) -> str:
    return click.style(text, bold=True, fg=colour)


def dim(text: str) -> str:
    return click.style(text, dim=True) if text else ""
