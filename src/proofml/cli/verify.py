"""`proofml verify`: the verdict, and an exit code that means something."""

from __future__ import annotations

from pathlib import Path

import click

from proofml.cli.common import (
    json_option,
    limits,
    memory_option,
    parse_nonce,
    print_json,
    progress_bar,
    progress_option,
    read_tensors,
    time_option,
)


@click.command("verify")
@click.argument("proof", type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), help="Your own copy of the model.")
@click.option("--model-sha256", help="Canonical (or architecture) digest, instead of a file.")
@click.option("--input", "input_", help="The input you expect (.npz, .npy, .json or -).")
@click.option("--output", help="The output you expect (.npz, .npy, .json or -).")
@click.option("--nonce", help="The challenge you gave, hexadecimal.")
@click.option(
    "--salt-file",
    type=click.Path(path_type=Path),
    help="Salt of a commitment, to compare hashed tensors with those that you expect.",
)
@click.option("--policy", type=click.Path(path_type=Path), help="Policy file (TOML).")
@click.option("--allow", multiple=True, metavar="ASSUMPTION", help="Accept an assumption by name.")
@memory_option
@time_option
@json_option
@progress_option
def command(
    proof: Path,
    model: Path | None,
    model_sha256: str | None,
    input_: str | None,
    output: str | None,
    nonce: str | None,
    salt_file: Path | None,
    policy: Path | None,
    allow: tuple[str, ...],
    memory_limit: int | None,
    time_limit: float | None,
    as_json: bool,
    no_progress: bool,
) -> int:
    """Verify PROOF (a .pml file) and print the verdict.

    What you do not pin (model, input, output, nonce) comes back as an assumption; the default
    policy refuses an unpinned model. Exit code: 0 accepted, 1 invalid, 3 refused or pending.
    """
    from proofml.api import verify
    from proofml.backend import Context
    from proofml.cli.render import print_verdict
    from proofml.expectation import Expectation
    from proofml.model import Model
    from proofml.policy import Policy
    from proofml.salts import read_salt
    from proofml.store import Store

    rules = (Policy() if policy is None else Policy.load(policy)).allow(allow)
    loaded = None if model is None else Model.load(model)
    expect = Expectation(
        model=loaded,
        model_sha256=model_sha256,
        inputs=None if input_ is None else read_tensors(input_, loaded),
        outputs=None if output is None else read_tensors(output, loaded, role="output"),
        nonce=parse_nonce(nonce),
        salt=None if salt_file is None else read_salt(salt_file),
    )
    with progress_bar(no_progress) as progress:
        context = Context(Store.default(), progress, limits(memory_limit, time_limit))
        verdict = verify(proof, expect, rules, context=context)
    if as_json:
        print_json({"proof": str(proof), "policy": rules.to_json(), **verdict.to_json()})
    else:
        print_verdict(verdict, proof)
    return verdict.exit_code
