"""`proofml open`: read the outputs of an accepted proof over sealed inputs."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proofml.cli.common import force_option, json_option, print_json
from proofml.cli.files import write_file
from proofml.cli.judging import judge, judging_options
from proofml.errors import UsageError

if TYPE_CHECKING:
    from proofml.tensors import Array

_SUFFIXES = (".npz", ".npy", ".json")


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
    "-o",
    "--to",
    "target",
    type=click.Path(path_type=Path),
    help="Outputs, as .npz, .npy or .json [PROOF + .outputs.npz].",
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
    """Verify PROOF as `verify` does and, where it is accepted, write its outputs.

    Nothing is decrypted for a proof that is not accepted. Exit code: that of the verdict.
    """
    from proofml.api import open
    from proofml.cli.render import print_verdict
    from proofml.errors import VerificationError
    from proofml.keys import read_passphrase
    from proofml.proof import Proof
    from proofml.sealed import Secret

    place = target or proof.with_suffix(".outputs.npz")
    if place.suffix not in _SUFFIXES:
        raise UsageError(f"{place}: expected a name that ends in {', '.join(_SUFFIXES)}")
    if place.exists() and not force:
        raise UsageError(f"{place}: exists; give another name (-o) or --force")
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
        click.echo("nothing was decrypted: the proof is not accepted", err=True)
        return verdict.exit_code
    outputs = open(parsed, kept, verdict)
    write_file(place, _encoded(place, outputs), 0o600)  # its owner's alone
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


def _encoded(path: Path, outputs: Mapping[str, Array]) -> bytes:
    """As the name's suffix says; every form is one that `--input` reads."""
    from proofml.tensors import to_npy

    if path.suffix == ".json":
        named = {name: array.tolist() for name, array in outputs.items()}
        try:
            return (json.dumps(named, allow_nan=False) + "\n").encode("utf-8")
        except ValueError as error:
            raise UsageError(f"{path}: JSON has no infinities and no NaN; use .npz") from error
    if path.suffix == ".npy":
        if len(outputs) != 1:
            raise UsageError(f"{path}: a .npy holds one output, there are {len(outputs)}; use .npz")
        return to_npy(next(iter(outputs.values())))
    # Not by `numpy.savez`, for which some names of tensors are names of its own arguments.
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in outputs.items():
            archive.writestr(f"{name}.npy", to_npy(array))
    return buffer.getvalue()
