"""Tables that are written into pages of the documentation, between two markers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click


def replace_table(page: str, name: str, text: str) -> str:
    """What stands between `<!-- table: NAME -->` and `<!-- end -->` becomes `text`."""
    pattern = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    changed, count = pattern.subn(lambda found: f"{found[1]}{text}{found[2]}", page)
    if count != 1:
        raise click.ClickException(f"expected one table {name} in the page, found {count}")
    return changed


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
