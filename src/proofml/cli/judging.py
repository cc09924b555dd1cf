"""What commands that judge a proof share: options that say what is expected, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from proofml.cli.common import (
    limits,
    memory_option,
    parse_nonce,
    progress_bar,
    progress_option,
    read_tensors,
    time_option,
)
from proofml.errors import BackendUnavailable

if TYPE_CHECKING:
    from proofml.policy import Policy
    from proofml.proof import Proof
    from proofml.verdict import Verdict

P = ParamSpec("P")
T = TypeVar("T")

policy_option = click.option(
    "--policy", type=click.Path(path_type=Path), help="Policy file (TOML)."
)
allow_option = click.option(
    "--allow", multiple=True, metavar="ASSUMPTION", help="Accept an assumption by name."
)


def judging_options(command: Callable[P, T]) -> Callable[P, T]:
    """What a verifier knows and insists on; the command takes them as keywords for `judge`."""
    for option in reversed(
        (
            click.option(
                "--model", type=click.Path(path_type=Path), help="Your copy of the model."
            ),
            click.option("--model-sha256", help="Canonical (or architecture) digest, not a file."),
            click.option("--input", help="The input you expect (.npz, .npy, .json or -)."),
            click.option("--output", help="The output you expect (.npz, .npy, .json or -)."),
            click.option("--nonce", help="The challenge you gave, hexadecimal."),
            click.option(
                "--salt-file",
                type=click.Path(path_type=Path),
                help="Salt of a commitment, to compare hashed tensors with those that you expect.",
            ),
            policy_option,
            allow_option,
            click.option(
                "--ledger",
                type=click.Path(path_type=Path),
                help="The embedded ledger on which an optimistic claim has to be; pins it as "
                "backends.optimistic.ledger of a policy does.",
            ),
            memory_option,
            time_option,
            progress_option,
        )
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Judged:
    """A verdict, with the policy under which it came about."""

    verdict: Verdict
    policy: Policy


def rules(policy: Path | None, allow: tuple[str, ...], ledger: Path | None = None) -> Policy:
    """The policy of the options."""
    from proofml.policy import Policy

    chosen = (Policy() if policy is None else Policy.load(policy)).allow(allow)
    if ledger is None:
        return chosen
    # Paths in a policy are taken from its own folder.
    table = {**chosen.sections.get("optimistic", {}), "ledger": str(ledger.absolute())}
    return replace(chosen, sections={**chosen.sections, "optimistic": table})


def judge(
    proof: Path | Proof,
    *,
    model: Path | None,
    model_sha256: str | None,
    input: str | None,
    output: str | None,
    nonce: str | None,
    salt_file: Path | None,
    policy: Path | None,
    allow: tuple[str, ...],
    ledger: Path | None,
    memory_limit: int | None,
    time_limit: float | None,
    no_progress: bool,
) -> Judged:
    """Judge a proof as the options say."""
    from proofml.api import verify
    from proofml.backend import Context
    from proofml.expectation import Expectation
    from proofml.model import Model
    from proofml.salts import read_salt
    from proofml.store import Store
    from proofml.verdict import Status

    chosen = rules(policy, allow, ledger)
    loaded = None if model is None else Model.load(model)
    expect = Expectation(
        model=loaded,
        model_sha256=model_sha256,
        inputs=None if input is None else read_tensors(input, loaded),
        outputs=None if output is None else read_tensors(output, loaded, role="output"),
        nonce=parse_nonce(nonce),
        salt=None if salt_file is None else read_salt(salt_file),
    )
    with progress_bar(no_progress) as progress:
        context = Context(Store.default(), progress, limits(memory_limit, time_limit))
        verdict = verify(proof, expect, chosen, context=context)
    if verdict.status is Status.REFUSED:
        for words in _misspelt(allow):
            click.echo(words, err=True)
    return Judged(verdict, chosen)


def _misspelt(allow: tuple[str, ...]) -> list[str]:
    """Of `--allow`: names that no backend here has. Their makers are loaded to find that out."""
    from proofml.backend import backend_names, get_backend
    from proofml.guarantee import CORE_ASSUMPTIONS

    known = set(CORE_ASSUMPTIONS)
    for name in backend_names():
        with suppress(BackendUnavailable):
            known |= set(get_backend(name).assumptions)
    found = []
    for name in sorted(set(allow) - known):
        near = get_close_matches(name, sorted(known), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        found.append(f"note: --allow {name}: no backend here assumes that{hint}")
    return found
