"""`proofml prove`: every stage that is missing, then one `.pml` file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proofml.cli.common import (
    force_option,
    json_option,
    limits,
    memory_option,
    parse_nonce,
    parse_pairs,
    print_json,
    progress_bar,
    progress_option,
    read_samples,
    read_tensors,
    shell,
    time_option,
    visibility_options,
)

if TYPE_CHECKING:
    from proofml.backend import Request


@click.command("prove")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("input", type=str, required=False)
@click.option(
    "--sealed",
    type=click.Path(path_type=Path),
    help="Prove over inputs that `proofml seal` sealed, instead of INPUT.",
)
@click.option("-b", "--backend", help="Backend by name; the cheapest that can if left out.")
@click.option(
    "--integrity", multiple=True, help="Without -b: kinds of integrity of which one is wanted."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Proof file [INPUT or MODEL + .pml]."
)
@click.option("--nonce", help="The verifier's challenge, hexadecimal, 1 to 64 bytes.")
@visibility_options
@click.option(
    "--max-error", type=float, help="Refuse a proof whose outputs are further from onnxruntime's."
)
@click.option(
    "--calibration",
    type=click.Path(),
    multiple=True,
    help="Inputs to tune the backend on, one or many along the first axis; INPUT if left out.",
)
@click.option("--platform", help="For -b tee: tdx, sgx, sev-snp or nitro.")
@click.option("--session", is_flag=True, help="For -b tee: one quote at start, then receipts.")
@click.option(
    "--socket", type=click.Path(path_type=Path), help="For -b tee: ask a running `tee serve`."
)
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="Backend's option.")
@click.option(
    "--sign", type=click.Path(path_type=Path), multiple=True, help="Ed25519 key to sign with."
)
@click.option("--passphrase-file", type=click.Path(path_type=Path), help="Passphrase of the key.")
@memory_option
@time_option
@force_option
@json_option
@progress_option
def command(
    model: Path,
    input: str | None,
    sealed: Path | None,
    backend: str | None,
    integrity: tuple[str, ...],
    output: Path | None,
    nonce: str | None,
    input_visibility: str,
    output_visibility: str,
    parameters: str,
    max_error: float | None,
    calibration: tuple[str, ...],
    platform: str | None,
    session: bool,
    socket: Path | None,
    options: tuple[str, ...],
    sign: tuple[Path, ...],
    passphrase_file: Path | None,
    memory_limit: int | None,
    time_limit: float | None,
    force: bool,
    as_json: bool,
    no_progress: bool,
) -> None:
    """Prove the inference of MODEL (an ONNX file) on INPUT and write a .pml file.

    INPUT is .npz, .npy, .json (name -> nested list) or - for standard input. --platform,
    --session and --socket are short for --set platform=, mode=session and server=.
    """
    from proofml.api import prove
    from proofml.backend import Context, Request
    from proofml.cli.keys import load_key
    from proofml.errors import UsageError
    from proofml.guarantee import Integrity
    from proofml.model import Model
    from proofml.policy import DEFAULT_ASSUMPTIONS
    from proofml.sealed import Sealed
    from proofml.statement import Visibility
    from proofml.store import Store

    if input is None and sealed is None:
        raise UsageError("Missing argument INPUT (or --sealed FILE)")
    if input is not None and sealed is not None:
        raise UsageError(f"--sealed {sealed}: the inputs are in there; leave out {input}")
    named = sealed or (model if input in (None, "-") else Path(str(input)))
    target = output or Path(named.stem + ".pml")
    if target.exists() and not force:
        raise UsageError(f"{target}: exists; give another name (-o) or --force")
    if not os.access(target.parent, os.W_OK):  # before a backend posts what cannot be taken back
        raise UsageError(f"{target}: cannot be written: no folder of yours; make it first")
    try:
        kinds = frozenset(Integrity(kind) for kind in integrity) or None
    except ValueError as error:
        raise UsageError(f"--integrity: {error}; known: {', '.join(Integrity)}") from error
    loaded = Model.load(model)
    request = Request(
        input_visibility=Visibility(input_visibility),
        output_visibility=Visibility(output_visibility),
        parameters=parameters,
        nonce=parse_nonce(nonce),
        max_error=max_error,
        calibration=[one for path in calibration for one in read_samples(path, loaded)],
        options=parse_pairs(_options(options, platform, session, socket), "--set"),
    )
    keys = [load_key(path, passphrase_file) for path in sign]
    with progress_bar(no_progress) as progress:
        proof = prove(
            loaded,
            read_tensors(str(input), loaded) if sealed is None else Sealed.load(sealed),
            backend=backend,
            integrity=kinds,
            request=request,
            signers=keys,
            context=Context(Store.default(), progress, limits(memory_limit, time_limit)),
        )
    proof.write(target, force=force)
    words: list[str | Path] = ["proofml", "verify", target, "--model", model]
    words += _known(input or "-", request)
    if nonce is not None:
        words += ["--nonce", nonce]
    if "ledger" in request.options:
        words += ["--ledger", request.options["ledger"]]
    for name in sorted(proof.hints - DEFAULT_ASSUMPTIONS):
        words += ["--allow", name]
    next_command = shell(*words)
    if as_json:
        print_json(
            {
                "proof": str(target),
                "backend": proof.backend,
                "statement_sha256": proof.statement.digest,
                "size": target.stat().st_size,
                "notes": dict(proof.notes),
                "verify": next_command,
            }
        )
        return
    click.echo(f"{target}: {target.stat().st_size} bytes, proven with {proof.backend}")
    for key, value in proof.notes.items():
        click.echo(f"  {key}: {value}")
    click.echo(f"verify it with:\n  {next_command}")


def _options(
    options: tuple[str, ...], platform: str | None, session: bool, socket: Path | None
) -> list[str]:
    """The long options of one backend in the form in which every backend has its own."""
    found = list(options)
    if platform is not None:
        found.append(f"platform={platform}")
    if session:
        found.append("mode=session")
    if socket is not None:
        found.append(f"server={socket}")
    return found


def _known(source: str, request: Request) -> list[str | Path]:
    """What the prover's user can have compared: the input, and what else a commitment takes."""
    from proofml.statement import Visibility

    if source == "-" or request.input_visibility is Visibility.PRIVATE:
        return []
    words: list[str | Path] = ["--input", source]
    salt, output = request.options.get("salt-file"), request.options.get("output-file")
    if salt is None:
        return words
    if request.output_visibility is Visibility.PUBLIC:
        return [*words, "--salt-file", salt]
    if output is not None:
        return [*words, "--output", output, "--salt-file", salt]
    # One root for both, and the output is nowhere: a hashed input cannot be compared either.
    return words if request.input_visibility is Visibility.PUBLIC else []
