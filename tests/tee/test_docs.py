"""The pages on trusted hardware: commands parse, tables name what the code has, links lead on."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from proofml.cli import group
from proofml.tee.about import ASSUMPTIONS
from proofml.tee.checks import CHECKS
from proofml.tee.options import KNOWN
from proofml.tee.registers import LEVELS, REGISTERS, SVNS

from . import attacks_on_binding, attacks_on_evidence
from .attacks import ATTACKS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = (DOCS / "tee" / "README.md", DOCS / "tee" / "checks.md")
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def rows(page: Path, heading: str = "") -> list[list[str]]:
    """Cells of every table row below a heading."""
    text = page.read_text("utf-8")
    text = text.split(f"## {heading}\n")[1].split("\n## ")[0] if heading else text.split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


COMMANDS = [
    words
    for info, text in FENCE.findall(PAGES[0].read_text("utf-8"))
    if info == "sh"
    for line in text.replace("\\\n", " ").splitlines()
    if (words := shlex.split(line))[:1] == ["proofml"]
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_parse(words: list[str]) -> None:
    command = group.get_command(click.Context(group), words[1])
    assert command is not None
    command.make_context(words[1], words[2:])


def test_every_option_is_in_the_table() -> None:
    assert len(COMMANDS) >= 5
    named = [row[0].strip("`") for row in rows(PAGES[0], "In short") if row[0].startswith("`")]
    assert named == list(KNOWN)


def test_every_number_has_a_row_with_its_attacks() -> None:
    assert {attacks_on_binding, attacks_on_evidence}  # they fill the list
    stated = {
        row[0].strip("`"): set(re.findall(r"`([^`]+)`", row[2]))
        for row in rows(PAGES[1])
        if row[0].startswith("`tee.")
    }
    assert list(stated) == list(CHECKS)
    for number, names in stated.items():
        assert names == {
            attack.name
            for attack in ATTACKS
            for mode in attack.modes
            if attack.stopped_by(mode) == number
        }, number


def test_every_assumption_has_a_row() -> None:
    stated = {row[1].strip("`") for row in rows(PAGES[1], "What stays open")[1:]}
    assert stated == set(ASSUMPTIONS)


def test_names_of_the_policy_are_on_its_page() -> None:
    page = (DOCS / "policy.md").read_text("utf-8").split("## [backends.tee]")[1].split("\n## ")[0]
    named = set(re.findall(r"`([a-z0-9_-]+)`", page))
    ranges = {f"rtmr{n}" for n in range(4)} | {f"pcr{n}" for n in range(32)}
    ranges |= {f"tee_tcb_svn{n}" for n in range(16)}
    for registers in REGISTERS.values():
        assert set(registers) <= named | ranges
    for versions in SVNS.values():
        plain = {re.sub("^(reported|committed|launch)_", "", name) for name in versions}
        assert plain <= named | ranges
    for levels in LEVELS.values():
        assert set(levels) <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if "://" not in target:
            assert (page.parent / target.split("#")[0]).exists(), target
