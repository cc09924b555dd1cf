"""`proofml fhe`: commands of the homomorphic backends, for the owner of the inputs."""

from __future__ import annotations

from pathlib import Path

import click

from proofml.canonical import sha256
from proofml.cli import open as opening
from proofml.cli.common import (
    force_option,
    json_option,
    limits,
    memory_option,
    print_json,
    progress_bar,
    progress_option,
    read_tensors,
    shell,
    time_option,
)
from proofml.cli.fhe_circuit import compile_, environment
from proofml.cli.files import read_file, write_file
from proofml.cli.judging import allow_option, policy_option, rules
from proofml.cli.sealing import places, save
from proofml.errors import UsageError

passphrase_option = click.option(
    "--passphrase-file", type=click.Path(path_type=Path), help="Passphrase of the key file."
)


@click.group("fhe")
def command() -> None:
    """Homomorphic encryption: compile circuits, make keys, seal inputs, open outputs."""


command.add_command(compile_)
command.add_command(environment)
command.add_command(opening.command)


@command.command()
@click.argument("circuit", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="Key file, to keep [CIRCUIT + .key].")
@click.option(
    "--evaluation",
    type=click.Path(path_type=Path),
    help="Evaluation keys, for everybody [CIRCUIT + .evaluation].",
)
@click.option(
    "--policy-file",
    type=click.Path(path_type=Path),
    help="Policy that pins circuit and keys [CIRCUIT + .policy.toml].",
)
@click.option("--passphrase-file", type=click.Path(path_type=Path), help="Encrypt the key file.")
@memory_option
@time_option
@force_option
@json_option
@progress_option
def keygen(
    circuit: Path,
    key: Path | None,
    evaluation: Path | None,
    policy_file: Path | None,
    passphrase_file: Path | None,
    memory_limit: int | None,
    time_limit: float | None,
    force: bool,
    as_json: bool,
    no_progress: bool,
) -> None:
    """Make keys for CIRCUIT, which `proofml fhe compile` wrote.

    The key file (mode 0600) stays here: it encrypts inputs and decrypts outputs. The evaluation
    keys go to the server and to whoever shall verify; they decrypt nothing.
    """
    from proofml.backend import Context
    from proofml.fhe import files
    from proofml.fhe.backend_owner import keygen as make
    from proofml.fhe.backend_prover import policy_text
    from proofml.fhe.key_files import save_key
    from proofml.fhe.schemes import scheme_of
    from proofml.keys import read_passphrase
    from proofml.store import Store

    places = [
        key or circuit.with_suffix(".key"),
        evaluation or circuit.with_suffix(".evaluation"),
        policy_file or circuit.with_suffix(".policy.toml"),
    ]
    if len({place.resolve() for place in (circuit, *places)}) != 4:
        raise UsageError("circuit, key, evaluation keys and policy need four names")
    if places[0].exists():
        raise UsageError(f"{places[0]}: exists; a key is never written over, choose another")
    for place in places[1:]:
        if place.exists() and not force:
            raise UsageError(f"{place}: exists; give another name or --force")
    passphrase = read_passphrase(passphrase_file)
    data = read_file(circuit, files.MAX_CIRCUIT_BYTES)
    backend = scheme_of(data, str(circuit))
    with progress_bar(no_progress) as progress:
        context = Context(Store.default(), progress, limits(memory_limit, time_limit))
        made, public = make(backend, data, context)
    save_key(made, places[0], passphrase=passphrase)
    write_file(places[1], public)
    digest = sha256(data)
    write_file(places[2], policy_text(backend, digest, made.evaluation).encode("utf-8"))
    if as_json:
        print_json(
            {
                "backend": backend,
                "circuit_sha256": digest,
                "key": str(places[0]),
                "evaluation": str(places[1]),
                "evaluation_sha256": made.evaluation,
                "evaluation_size": len(public),
                "policy": str(places[2]),
            }
        )
        return
    click.echo(f"{places[0]}: stays with you; it encrypts inputs and opens outputs")
    click.echo(f"{places[1]}: {len(public)} bytes for the server and for verifiers")
    click.echo(f"{places[2]}: policy that pins this circuit and these keys")


@command.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("input", type=str)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    required=True,
    help="Key file that `proofml fhe keygen` wrote.",
)
@passphrase_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Sealed file [INPUT + .sealed]."
)
@click.option(
    "--secret", type=click.Path(path_type=Path), help="Secret file, to keep [INPUT + .secret]."
)
@policy_option
@allow_option
@memory_option
@time_option
@force_option
@json_option
@progress_option
def seal(
    model: Path,
    input: str,
    key: Path,
    passphrase_file: Path | None,
    output: Path | None,
    secret: Path | None,
    policy: Path | None,
    allow: tuple[str, ...],
    memory_limit: int | None,
    time_limit: float | None,
    force: bool,
    as_json: bool,
    no_progress: bool,
) -> None:
    """Encrypt INPUT for a proof with MODEL, under a key that is used again and again.

    The sealed file goes to the server, which has the evaluation keys; the secret file stays here
    and opens the outputs. It is under the passphrase of the key file where that has one.
    """
    from proofml.backend import Context
    from proofml.fhe.backend_owner import seal_with
    from proofml.fhe.key_files import load_key
    from proofml.keys import read_passphrase
    from proofml.model import Model
    from proofml.sealed import Sealed, Secret
    from proofml.store import Store

    target, kept = places(model, input, output, secret, force=force)
    passphrase = read_passphrase(passphrase_file)
    found = load_key(key, passphrase=passphrase)
    loaded = Model.load(model)
    arrays = loaded.check_inputs(read_tensors(input, loaded))
    with progress_bar(no_progress) as progress:
        context = Context(Store.default(), progress, limits(memory_limit, time_limit))
        message, ticket = seal_with(loaded, arrays, found, rules(policy, allow), context)
    sealed = Sealed(found.scheme, loaded.digest, message)
    made = Secret(found.scheme, loaded.digest, sealed.digest, ticket)
    save(sealed, target, made, kept, passphrase=passphrase, force=force)
    next_command = shell("proofml", "prove", model, "--sealed", target, "--set", "evaluation=FILE")
    if as_json:
        print_json(
            {
                "sealed": str(target),
                "secret": str(kept),
                "backend": sealed.backend,
                "size": target.stat().st_size,
                "sealed_sha256": sealed.digest,
                "evaluation_sha256": found.evaluation,
                "prove": next_command,
            }
        )
        return
    click.echo(f"{target}: {target.stat().st_size} bytes for the server, under {found.evaluation}")
    click.echo(f"{kept}: stays with you; it opens the outputs")
    click.echo(f"the server goes on with:\n  {next_command}")
