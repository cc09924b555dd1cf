"""The pages show what the program does: commands parse or run, output and links are real."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from proofml.cli import group
from proofml.optimistic.policy import OptimisticPolicy
from proofml.policy import DEFAULT_ASSUMPTIONS, Policy
from proofml.tee.policy import TeePolicy
from proofml.zkml.ezkl.policy import EzklPolicy
from proofml.zkml.sumcheck.policy import SumcheckPolicy

ROOT = Path(__file__).resolve().parents[2]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


PAGES = (
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "optimistic").glob("*.md")),
)
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
SEPARATORS = {"|", "||", "&&", ";", ">", ">>", "<", "&"}
MODEL = "examples/digits/digits_cnn.onnx"
PROVE = f"proofml prove {MODEL} examples/digits/digit.npz -b reexec -o digit.pml"


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    source = page.read_text("utf-8")
    for match in FENCE.finditer(source):
        yield Block(page, source[: match.start()].count("\n") + 1, match[1].strip(), match[2])


ALL = [block for page in PAGES for block in blocks(page)]


def proofml_commands(script: str) -> Iterator[list[str]]:
    """Arguments of every `proofml` in a shell script."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in SEPARATORS:
                words.append(word)
                continue
            if words[:1] == ["proofml"]:
                yield words[1:]
            words = []


SHELL = [block for block in ALL if block.info.split(" ")[0] in {"sh", "console"}]
COMMANDS = [(block, words) for block in SHELL for words in proofml_commands(block.text)]


@pytest.mark.parametrize(("block", "words"), COMMANDS, ids=str)
def test_commands_parse(
    block: Block, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with the checkout's examples, and one for proofs: some paths have to exist."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "proofs").mkdir()
    monkeypatch.chdir(tmp_path)
    command: click.Command = group
    context = click.Context(group, info_name="proofml")
    while isinstance(command, click.Group):
        assert words, f"{block}: a command is missing"
        name, *words = words
        child = command.get_command(context, name)
        assert child is not None, f"{block}: no command {name}"
        command, context = child, click.Context(child, info_name=name, parent=context)
    command.make_context(command.name, list(words), parent=context.parent)


def test_commands_are_found() -> None:
    assert len(COMMANDS) >= 3


def skeleton(text: str) -> list[str]:
    """Lines without what differs from run to run: digests, numbers, width."""
    text = re.sub(r"[0-9a-f]{16,}", "HEX", text)
    text = re.sub(r"\d+(\.\d+)*(e-?\d+)?", "N", text)
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def matches(shown: list[str], real: list[str]) -> bool:
    """Whether `real` is what is shown, where a line `...` stands for any lines."""
    pattern = "\n".join(r"[\s\S]*" if line == "..." else re.escape(line) for line in shown)
    return re.fullmatch(pattern, "\n".join(real)) is not None


@pytest.mark.parametrize(
    "page", [p for p in PAGES if "```sh run" in p.read_text("utf-8")], ids=relative
)
def test_marked_blocks_run(
    page: Path, shell: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    if page.name != "README.md":
        assert shell(PROVE).returncode == 0
    output: str | None = None
    for block in blocks(page):
        if block.info == "sh run":
            if "-b ezkl" in block.text:
                pytest.importorskip("ezkl")
            done = shell(block.text)
            assert done.returncode == 0, f"{block}: {done.stdout}\n{done.stderr}"
            output = done.stdout
        elif block.info == "text output":
            assert output is not None, f"{block}: output of nothing"
            assert matches(skeleton(block.text), skeleton(output)), f"{block}: got\n{output}"


def test_options_come_from_the_environment(
    shell: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = shell("PROOFML_VERIFY_POLICY=missing.toml proofml verify digit.pml")
    assert done.returncode == 2
    assert "missing.toml" in done.stderr


def test_every_key_of_a_verdict_is_on_the_page(
    shell: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = shell(f"{PROVE} >&2; proofml verify digit.pml --model {MODEL} --json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    page = (ROOT / "docs" / "verdict.md").read_text("utf-8")
    for key in (*value, *value["guarantee"], *value["checks"][0]):
        assert f"`{key}`" in page, key


PYTHON = [block for block in ALL if block.info == "python"]


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_blocks_run(block: Block, tmp_path: Path, environment: Mapping[str, str]) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", block.text],
        cwd=tmp_path,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{block}: {done.stderr}"
    assert done.stdout.strip(), f"{block}: printed nothing"


POLICIES = [block for block in ALL if block.info == "toml" and block.text.startswith("version")]


@pytest.mark.parametrize("block", POLICIES, ids=str)
def test_policies_are_read(block: Block) -> None:
    policy = Policy.from_mapping(tomllib.loads(block.text), source=str(block))
    EzklPolicy.read(policy)
    SumcheckPolicy.read(policy)
    OptimisticPolicy.read(policy)
    TeePolicy.read(policy)
    for name in policy.sections:
        assert name in {"ezkl", "optimistic", "reexec", "sumcheck", "tee"}


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("policy*.toml")), ids=relative)
def test_example_policies_are_read(path: Path) -> None:
    EzklPolicy.read(Policy.load(path))
    SumcheckPolicy.read(Policy.load(path))


def test_default_assumptions_are_those_on_the_page() -> None:
    page = (ROOT / "docs" / "policy.md").read_text("utf-8")
    after = page.split("<!-- default assumptions -->")[1]
    listed = re.match(r"\s*((?:- `[^`]+`\n)+)", after)
    assert listed is not None
    assert set(re.findall(r"`([^`]+)`", listed[1])) == DEFAULT_ASSUMPTIONS


def test_every_policy_key_is_on_the_page() -> None:
    """A reader names all the keys that it knows when it meets one that it does not."""
    page = (ROOT / "docs" / "policy.md").read_text("utf-8")
    folders = {"ezkl": "zkml/ezkl", "sumcheck": "zkml/sumcheck", "tee": "tee"}
    for name, path in {**folders, "optimistic": "optimistic"}.items():
        text = (ROOT / path / "policy.py").read_text("utf-8")
        section = page.split(f"## [backends.{name}]")[1].split("\n## ")[0]
        for key in re.findall(r'(?:fields\.\w+|amount)\("(\w+)"', text):
            assert f"`{key}`" in section, key
    text = (ROOT / "src" / "proofml" / "policy.py").read_text("utf-8")
    for key in re.findall(r'accept\.\w+\("(\w+)"', text):
        assert f"`accept.{key}`" in page, key


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    source = FENCE.sub("", page.read_text("utf-8"))
    for target in LINK.findall(source):
        if "://" in target:
            continue
        assert (page.parent / target.split("#")[0]).exists(), f"{page.name}: {target}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 200
