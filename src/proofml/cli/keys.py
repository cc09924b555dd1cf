"""`proofml keys`: provers' signing keys."""

from __future__ import annotations

from pathlib import Path

import click

from proofml.cli.common import json_option, print_json
from proofml.keys import SigningKey, read_passphrase


def load_key(path: Path, passphrase_file: Path | None) -> SigningKey:
    return SigningKey.load(path, passphrase=read_passphrase(passphrase_file))


@click.group("keys")
def command() -> None:
    """Make and show provers' Ed25519 signing keys."""


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--passphrase-file", type=click.Path(path_type=Path), help="Protect the key with this."
)
@json_option
def generate(path: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Make a new private key at PATH (mode 0600) and print its public name."""
    key = SigningKey.generate()
    key.save(path, passphrase=read_passphrase(passphrase_file))
    _print(path, key, as_json)


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--passphrase-file", type=click.Path(path_type=Path), help="Passphrase of the key.")
@json_option
def show(path: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Print the public name of the key at PATH, as a policy pins it."""
    _print(path, load_key(path, passphrase_file), as_json)


def _print(path: Path, key: SigningKey, as_json: bool) -> None:
    if as_json:
        print_json({"path": str(path), "public": key.public})
    else:
        click.echo(key.public)
