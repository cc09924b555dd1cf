"""Options that name a ledger and an account on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from proofml.errors import UsageError

if TYPE_CHECKING:
    from proofml.optimistic.ledgers import Opened
    from proofml.optimistic.policy import ChainPin

P = ParamSpec("P")
T = TypeVar("T")

key_options = (
    click.option(
        "--key",
        type=click.Path(path_type=Path),
        required=True,
        help="Key of your account (`proofml keys generate`).",
    ),
    click.option(
        "--passphrase-file", type=click.Path(path_type=Path), help="Passphrase of the key."
    ),
)


def ledger_options(command: Callable[P, T]) -> Callable[P, T]:
    """A file or a contract; the command takes them as keywords for `open_ledger`."""
    for option in reversed(
        (
            click.option("--ledger", type=click.Path(path_type=Path), help="File of a ledger."),
            click.option("--rpc", help="Instead: URL of a node of a chain."),
            click.option("--chain-id", type=click.IntRange(1), help="Of that chain."),
            click.option("--contract", help="Address of the contract, 0x and 40 digits."),
            click.option(
                "--code-sha256",
                metavar="DIGEST",
                help="SHA-256 of the contract's code, if it is not this release's.",
            ),
            click.option(
                "--confirmations",
                type=click.IntRange(0),
                default=0,
                show_default=True,
                help="Blocks above one that counts.",
            ),
        )
    ):
        command = option(command)
    return command


def acting(command: Callable[P, T]) -> Callable[P, T]:
    """As `ledger_options`, with the key of an account."""
    for option in reversed(key_options):
        command = option(command)
    return ledger_options(command)


def open_ledger(
    *,
    ledger: Path | None,
    rpc: str | None,
    chain_id: int | None,
    contract: str | None,
    code_sha256: str | None,
    confirmations: int,
    key: Path | None = None,
    passphrase_file: Path | None = None,
) -> Opened:
    """The ledger of the options; to be read, where there is no key."""
    from proofml.keys import read_passphrase
    from proofml.optimistic.accounts import Account
    from proofml.optimistic.ledgers import open_chain, open_file

    passphrase = read_passphrase(passphrase_file)
    if ledger is not None:
        if rpc or chain_id or contract or code_sha256:
            raise UsageError("--ledger and --rpc: expected one of them")
        account = None if key is None else Account.load(key, passphrase=passphrase)
        return open_file(ledger, account)
    return open_chain(
        _chain(rpc, chain_id, contract, code_sha256, confirmations),
        [key] if key else (),
        passphrase,
    )


def _chain(
    rpc: str | None, chain_id: int | None, contract: str | None, code: str | None, depth: int
) -> ChainPin:
    from proofml.fields import FieldError, sha256_item
    from proofml.optimistic.policy import ChainPin
    from proofml.optimistic.record import read_address

    if rpc is None or chain_id is None or contract is None:
        raise UsageError(
            "expected --ledger FILE (`proofml ledger init` makes one), or --rpc, --chain-id and "
            "--contract"
        )
    try:
        digest = None if code is None else sha256_item(code, "code-sha256")
        return ChainPin(rpc, chain_id, read_address(contract.lower(), "contract"), digest, depth)
    except FieldError as error:
        raise UsageError(f"--{error}") from error
