"""Write docs/cli.md and docs/checks.md from the code; --check only tells if they are current."""

from __future__ import annotations

import argparse
import inspect
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import click

from proofml.backend import GROUP, get_backend
from proofml.checks import CORE_CHECKS
from proofml.cli import ENV_PREFIX, group
from proofml.guarantee import CORE_ASSUMPTIONS
from proofml.policy import DEFAULT_ASSUMPTIONS

DOCS = Path(__file__).resolve().parent.parent / "docs"
HEADER = "<!-- Written by `make docs`; change the code instead. -->\n"


def cell(text: str) -> str:
    """Text that can stand in a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(cell, row)) + " |" for row in rows)]) + "\n"


# -- command line ---------------------------------------------------------------------------


def commands(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command below `command`, in the order in which help shows them."""
    if not isinstance(command, click.Group):
        yield context.command_path, command, context
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        below = click.Context(child, info_name=name, parent=context)
        if isinstance(child, click.Group):
            yield below.command_path, child, below
        yield from commands(child, below)


def kind(parameter: click.Parameter) -> str:
    """What an option takes."""
    if isinstance(parameter, click.Option) and (parameter.is_flag or parameter.count):
        return ""
    if parameter.metavar is not None:
        return parameter.metavar
    if isinstance(parameter.type, click.Choice):
        return "|".join(str(choice) for choice in parameter.type.choices)
    return parameter.type.name.upper()


def option_row(option: click.Option) -> tuple[str, str]:
    names = ", ".join([*option.opts, *option.secondary_opts])
    text = f"`{names}{' ' + kind(option) if kind(option) else ''}`"
    notes = [option.help or ""]
    if option.multiple:
        notes.append("Can be repeated.")
    if option.required:
        notes.append("Required.")
    if isinstance(option.default, (str, int, float)) and not isinstance(option.default, bool):
        notes.append(f"Default: {option.default}.")
    return text, " ".join(note for note in notes if note)


def prose(text: str | None) -> str:
    """Help as Markdown; a paragraph that click leaves alone (marked by a backspace) as a block."""
    parts = []
    for part in inspect.cleandoc(text or "").split("\n\n"):
        raw = part.removeprefix("\b\n")
        parts.append(part if raw == part else f"```text\n{textwrap.dedent(raw)}\n```")
    return "\n\n".join(parts)


def render_command(path: str, command: click.Command, context: click.Context) -> str:
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    parts = [f"## {path}\n", f"```text\n{usage}\n```\n", prose(command.help) + "\n"]
    if isinstance(command, click.Group):
        names = ", ".join(f"`{name}`" for name in command.list_commands(context))
        parts.append(f"Commands: {names}.\n")
    else:
        options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
        if options:
            parts.append(table(("option", "meaning"), [option_row(o) for o in options]))
    return "\n".join(parts)


def render_cli() -> str:
    context = click.Context(group, info_name="proofml", **group.context_settings)
    head = (
        f"{HEADER}\n# Command line\n\n{prose(group.help)}\n\n"
        f"For example `{ENV_PREFIX}_VERIFY_POLICY=policy.toml` stands for `proofml verify --policy "
        "policy.toml`. `-h` or `--help` after any command prints its help. `-` reads an input from "
        "standard input.\n"
    )
    return "\n".join([head, *(render_command(*found) for found in commands(group, context))])


# -- checks ---------------------------------------------------------------------------------


def numbered(titles: Mapping[str, str]) -> str:
    return table(("number", "check"), [(f"`{n}`", title) for n, title in titles.items()])


def assumed(names: Mapping[str, str]) -> str:
    rows = [
        (f"`{name}`", meaning, "yes" if name in DEFAULT_ASSUMPTIONS else "no")
        for name, meaning in sorted(names.items())
    ]
    return table(("assumption", "meaning", "default policy allows it"), rows)


def render_checks() -> str:
    parts = [
        f"{HEADER}\n# Checks and assumptions\n",
        "Each check has one number for ever: in the code, in an error, in the verdict and here.\n",
        "## Core\n",
        numbered(CORE_CHECKS),
        assumed(CORE_ASSUMPTIONS),
    ]
    built_in = (e.name for e in entry_points(group=GROUP) if e.value.startswith("proofml."))
    for name in sorted(set(built_in)):
        backend = get_backend(name)
        kinds = ", ".join(sorted(backend.integrity))
        hides = ", ".join(sorted(backend.hides)) or "nothing"
        commits = ", ".join(sorted(getattr(backend, "commits", ())))
        hides += f". Can commit to, without hiding: {commits}" if commits else ""
        parts += [
            f"## {name}\n",
            f"Backend: {backend.summary}. Integrity: {kinds}. Can hide: "
            f"{hides}. Evidence format: version {backend.version}.\n",
            numbered(backend.checks),
        ]
        if backend.assumptions:
            parts.append(assumed(backend.assumptions))
    return "\n".join(parts)


PAGES = {"cli.md": render_cli, "checks.md": render_checks}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if not current")
    check = parser.parse_args().check
    stale = []
    for name, render in PAGES.items():
        path, text = DOCS / name, render()
        if path.is_file() and path.read_text("utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"docs/{name}\n")
    if stale and check:
        sys.stderr.write(f"not current: {', '.join(stale)}; run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
