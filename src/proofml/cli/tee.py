"""`proofml tee`: commands of the trusted-hardware backend."""

from __future__ import annotations

import json
import secrets
import sys
import time
from contextlib import closing
from pathlib import Path

import click

from proofml.canonical import JSON
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
    time_option,
)
from proofml.cli.files import write_file
from proofml.cli.tee_inspect import inspect
from proofml.cli.tee_reference import reference_values
from proofml.errors import UsageError


@click.group("tee")
def command() -> None:
    """Trusted hardware: look into evidence, list roots, derive measurements, serve an enclave."""


command.add_command(inspect)
command.add_command(reference_values)

socket_option = click.option(
    "--socket", type=click.Path(path_type=Path), required=True, help="Unix socket of the server."
)


@command.command()
@click.option(
    "--policy", type=click.Path(path_type=Path), help="Policy file that may name roots of its own."
)
@json_option
def roots(policy: Path | None, as_json: bool) -> None:
    """List the roots that evidence may end in: the vendors', the policy's, simulated ones.

    Simulated ones are those of this cache and those that the policy names. What they sign carries
    tee-root:simulated.
    """
    from proofml.policy import Policy
    from proofml.store import Store
    from proofml.tee.known_simulators import roots_of
    from proofml.tee.policy import TeePolicy
    from proofml.tee.roots import Roots

    rules = TeePolicy.read(Policy() if policy is None else Policy.load(policy))
    rows = [
        _root(one.platform, one.kind, one.sha256, one.name, one.product)
        for one in Roots.vendor().anchors
    ]
    rows += [_root("any", "custom", one, "of the policy") for one in sorted(rules.roots)]
    here = roots_of(Store.default())
    rows += [
        _root(platform, "simulated", one, "simulator of this cache")
        for platform, one in here.items()
    ]
    named = sorted(rules.simulated_roots - set(here.values()))
    rows += [_root("any", "simulated", one, "of the policy") for one in named]
    if as_json:
        print_json({"roots": rows})
        return
    for row in rows:
        click.echo(f"{row['platform']:<8} {row['kind']:<10} {row['sha256']}  {row['name']}")


def _root(platform: str, kind: str, sha256: str, name: str, product: str = "") -> dict[str, JSON]:
    return {
        "platform": platform,
        "kind": kind,
        "sha256": sha256,
        "name": name,
        "product": product,
    }


@command.command()
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    required=True,
    help="File of issued and used nonces (SQLite) that the policy names; made if it is not there.",
)
@click.option(
    "--lifetime",
    type=click.IntRange(1),
    metavar="SECONDS",
    help="How long it can be used [600].",
)
@json_option
def nonce(store: Path, lifetime: int | None, as_json: bool) -> None:
    """Issue a nonce for one proof: 32 random bytes, to be given to the prover.

    A policy with `nonces` naming the same file accepts it once, and no other that was not issued.
    """
    from proofml.tee.nonces import LIFETIME, Nonces

    seconds = LIFETIME if lifetime is None else lifetime
    now = int(time.time())
    made = Nonces(store, lifetime=seconds).issue(now)
    if as_json:
        print_json({"nonce": made.hex(), "issued": now, "expires": now + seconds})
    else:
        click.echo(made.hex())


@command.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--platform",
    type=click.Choice(["tdx", "sgx", "sev-snp", "nitro"]),
    help="Whose quotes; the machine's own if left out, else a simulated tdx.",
)
@socket_option
@click.option(
    "--session-file",
    type=click.Path(path_type=Path),
    help="File for clients, who seal to the enclave and check its receipts [SOCKET + .session].",
)
@click.option("--challenge", help="A verifier's, hexadecimal, 1 to 64 bytes; the quote binds it.")
@click.option(
    "--algorithm",
    type=click.Choice(["ed25519", "secp256k1"]),
    default="ed25519",
    help="Of receipts; the second is for contracts.",
)
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="As of prove -b tee.")
@memory_option
@time_option
@json_option
@progress_option
def serve(
    model: Path,
    platform: str | None,
    socket: Path,
    session_file: Path | None,
    challenge: str | None,
    algorithm: str,
    options: tuple[str, ...],
    memory_limit: int | None,
    time_limit: float | None,
    as_json: bool,
    no_progress: bool,
) -> None:
    """Run MODEL in an isolated process and prove inferences for whoever may open the socket.

    One quote when it starts binds its keys; each inference then costs a signed receipt. The
    socket's mode is 0600. It runs until SIGTERM or SIGINT; its keys and its chain of receipts end
    with it.
    """
    from proofml.backend import Context, Request
    from proofml.model import Model
    from proofml.store import Store
    from proofml.tee.binding import Mode
    from proofml.tee.enclave.host import Host
    from proofml.tee.enclave.server import Server, stopped_by_signals
    from proofml.tee.options import Options
    from proofml.tee.quotes import open_quoter

    asked = parse_pairs(options, "--set")
    named = {"platform": platform, "challenge": challenge, "receipts": algorithm}
    asked |= {"mode": "session", **{k: v for k, v in named.items() if v is not None}}
    chosen = Options.read(Request(options=asked))
    if chosen.server is not None:
        raise UsageError("--set server: this is the server; leave it out")
    loaded = Model.load(model)
    store = Store.default()
    target = session_file or socket.with_name(socket.name + ".session")
    quoter, choice = open_quoter(chosen, store)
    with progress_bar(no_progress) as progress:
        host = Host.start(
            loaded,
            platform=choice.platform,
            quoter=quoter,
            mode=Mode.SESSION,
            algorithm=chosen.receipts,
            challenge=chosen.challenge,
            context=Context(store, progress, limits(memory_limit, time_limit)),
        )
    # In this order: where another server is running, its session file stays as it is.
    with host, closing(Server(host, socket)) as server, stopped_by_signals(server):
        host.session.save(target)
        value: dict[str, JSON] = {
            "socket": str(socket),
            "session_file": str(target),
            "session": host.session.record().digest,
            "platform": host.platform,
            "simulated": choice.simulated,
            "model": loaded.digest,
            "not_isolated": list(host.missing_isolation),
        }
        _announce(value, as_json)  # whoever reads it may stop the server at once
        server.run()


def _announce(value: dict[str, JSON], as_json: bool) -> None:
    """One line or a few, at once: whoever started the server waits for them."""
    if as_json:
        click.echo(json.dumps(value, sort_keys=True))
    else:
        kind = "a simulated root, no hardware" if value["simulated"] else "hardware"
        click.echo(f"{value['socket']}: serving {value['model']}, {value['platform']}, {kind}")
        click.echo(f"{value['session_file']}: for clients, session {value['session']}")
        missing = value["not_isolated"]
        if isinstance(missing, list) and missing:
            click.echo(f"not isolated: {', '.join(map(str, missing))}")
    sys.stdout.flush()


@command.command()
@socket_option
@click.option("--nonce", "challenge", help="Hexadecimal, 1 to 64 bytes [32 random ones].")
@click.option(
    "--session-file",
    type=click.Path(path_type=Path),
    help="Of the session that you know; the checkpoint has to be its.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File that a policy can name under checkpoints [standard output].",
)
@force_option
def checkpoint(
    socket: Path,
    challenge: str | None,
    session_file: Path | None,
    output: Path | None,
    force: bool,
) -> None:
    """Have the server sign how many receipts it has issued, and the last one's hash.

    Whoever holds it notices later when receipts before it are missing or others were put in their
    place. Its signature is checked against the key in the session file, or else in the server's own
    word.
    """
    from proofml.tee.enclave.client import Client
    from proofml.tee.receipts import ReceiptKey, check_checkpoint
    from proofml.tee.session_file import SessionFile

    if output is not None and output.exists() and not force:
        raise UsageError(f"{output}: exists; give another name (-o) or --force")
    asked = parse_nonce(challenge) or secrets.token_bytes(32)
    with Client(socket) as client:
        data = client.checkpoint(asked)
        session = (
            client.session if session_file is None else SessionFile.load(session_file)
        ).record()
    signed = check_checkpoint(data, ReceiptKey.of(session), asked)
    if output is None:
        click.echo(data, nl=False)
        return
    write_file(output, data)
    click.echo(f"{output}: {signed.record.counter} receipts of session {session.digest}")
