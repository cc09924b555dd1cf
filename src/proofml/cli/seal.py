"""`proofml seal`: inputs that the prover cannot read."""

from __future__ import annotations

from pathlib import Path

import click

from proofml.cli.common import (
    force_option,
    json_option,
    print_json,
    progress_bar,
    progress_option,
    read_tensors,
    shell,
)
from proofml.cli.files import read_file
from proofml.cli.judging import allow_option, policy_option, rules
from proofml.cli.sealing import places, save

MAX_RECIPIENT_BYTES = 64 << 20


@click.command("seal")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("input", type=str)
@click.option("-b", "--backend", required=True, help="Backend by name; it proves later.")
@click.option(
    "--to",
    "recipient",
    type=click.Path(path_type=Path),
    help="Whom to seal to, for backends that have somebody: an enclave's session file.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Sealed file [INPUT + .sealed]."
)
@click.option(
    "--secret", type=click.Path(path_type=Path), help="Secret file, to keep [INPUT + .secret]."
)
@click.option("--passphrase-file", type=click.Path(path_type=Path), help="Encrypt the secret file.")
@policy_option
@allow_option
@force_option
@json_option
@progress_option
def command(
    model: Path,
    input: str,
    backend: str,
    recipient: Path | None,
    output: Path | None,
    secret: Path | None,
    passphrase_file: Path | None,
    policy: Path | None,
    allow: tuple[str, ...],
    force: bool,
    as_json: bool,
    no_progress: bool,
) -> None:
    """Seal INPUT for a proof with MODEL, so that the prover cannot read it.

    Two files: the sealed one goes to the prover, the secret one stays here and opens the outputs.
    A recipient's evidence is verified under the policy before anything is sealed to it.
    """
    from proofml.api import seal
    from proofml.backend import Context
    from proofml.keys import read_passphrase
    from proofml.model import Model
    from proofml.store import Store

    target, kept = places(model, input, output, secret, force=force)
    passphrase = read_passphrase(passphrase_file)
    loaded = Model.load(model)
    with progress_bar(no_progress) as progress:
        sealed, made = seal(
            loaded,
            read_tensors(input, loaded),
            backend=backend,
            recipient=None
            if recipient is None
            else read_file(recipient, MAX_RECIPIENT_BYTES, "--to"),
            policy=rules(policy, allow),
            context=Context(Store.default(), progress),
        )
    save(sealed, target, made, kept, passphrase=passphrase, force=force)
    next_command = shell("proofml", "prove", model, "--sealed", target)
    if as_json:
        print_json(
            {
                "sealed": str(target),
                "secret": str(kept),
                "backend": sealed.backend,
                "size": target.stat().st_size,
                "sealed_sha256": sealed.digest,
                "prove": next_command,
            }
        )
        return
    click.echo(f"{target}: {target.stat().st_size} bytes for the prover, sealed for {backend}")
    click.echo(f"{kept}: stays with you; it opens the outputs")
    click.echo(f"the prover goes on with:\n  {next_command}")
