"""`proofml open`: read the outputs of an accepted proof over sealed inputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from proofml.cli.common import force_option, json_option, print_json
from proofml.cli.judging import judge, judging_options


@click.command("open")
@click.argument("proof", type=click.Path(path_type=Path))
@click.option(
    "--secret",
    type=click.Path(path_type=Path),
    required=True,
    help="Secret file that `proofml seal` wrote.",
)
@click.option(
    "--passphrase-file", type=click.Path(path_type=Path), help="Passphrase of the secret."
)
@click.option(
    "--to", "target", type=click.Path(path_type=Path), help="Outputs as .npz [PROOF + .npz]."
)
@judging_options
@force_option
@json_option
def command(
    proof: Path,
    secret: Path,
    passphrase_file: Path | None,
    target: Path | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Verify PROOF and, where it is accepted, write its outputs as .npz.

    Nothing is decrypted for a proof that is not accepted. Exit code as of `verify`.
    """
    from proofml.api import open
    from proofml.cli.keys import read_passphrase
    from proofml.cli.render import print_verdict
    from proofml.errors import UsageError, VerificationError
    from proofml.proof import Proof
    from proofml.sealed import Secret

    place = target or proof.with_suffix(".npz")
    if place.exists() and not force:
        raise UsageError(f"{place}: exists; give another name (--to) or --force")
    kept = Secret.load(secret, passphrase=read_passphrase(passphrase_file))
    try:
        parsed = Proof.read(proof)
    except VerificationError:
        parsed = None  # the verdict says why
    found = judge(proof if parsed is None else parsed, **options)
    verdict = found.verdict
    if parsed is None or not verdict:
        if as_json:
            print_json({"proof": str(proof), "policy": found.policy.to_json(), **verdict.to_json()})
        else:
            print_verdict(verdict, proof)
        return verdict.exit_code
    outputs = open(parsed, kept, verdict)
    _save(place, outputs)
    if as_json:
        print_json(
            {
                "proof": str(proof),
                "outputs": str(place),
                "names": sorted(outputs),
                **verdict.to_json(),
            }
        )
    else:
        print_verdict(verdict, proof)
        click.echo(f"{place}: {', '.join(outputs)}")
    return verdict.exit_code


def _save(path: Path, outputs: dict[str, Any]) -> None:
    """Readable by the owner alone, whole or not at all."""
    import numpy as np

    from proofml.errors import UsageError

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            np.savez(file, **outputs)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
