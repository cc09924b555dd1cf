"""`proofml ledger`: embedded ledgers and accounts on ledgers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proofml.canonical import JSON
from proofml.cli.common import json_option, print_json
from proofml.cli.ledger_options import acting, key_options, ledger_options, open_ledger
from proofml.errors import UsageError

if TYPE_CHECKING:
    from proofml.optimistic.ledgers import Opened
    from proofml.optimistic.sqlite_ledger import SqliteLedger

_AMOUNT = click.IntRange(1, (1 << 128) - 1)


@click.group("ledger")
def command() -> None:
    """Make and audit embedded ledgers; money of accounts on ledgers."""


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def init(path: Path, as_json: bool) -> None:
    """Make an embedded ledger at PATH and print its name, as a policy pins it.

    Its bonds are bookkeeping: everybody books what he likes for himself (`ledger deposit`), and
    verdicts say ledger:local.
    """
    from proofml.optimistic.sqlite_ledger import SqliteLedger

    if path.exists():
        raise UsageError(f"{path}: exists; give another name")
    with SqliteLedger(path, create=True) as ledger:
        name = ledger.name.hex()
    if as_json:
        print_json({"path": str(path), "name": name})
    else:
        click.echo(name)


@command.command()
@key_options[0]
@key_options[1]
@click.option("--chain", is_flag=True, help="Of a chain: 64 hexadecimal digits, or a keystore.")
@click.option("--generate", is_flag=True, help="Make the key; with --chain.")
@json_option
def account(
    key: Path, passphrase_file: Path | None, chain: bool, generate: bool, as_json: bool
) -> None:
    """Print the account of a key.

    Keys of embedded ledgers are made by `proofml keys generate`.
    """
    from proofml.keys import read_passphrase

    passphrase = read_passphrase(passphrase_file)
    if generate and not chain:
        raise UsageError("--generate: with --chain; `proofml keys generate` makes other keys")
    name = _chain_account(key, passphrase, generate) if chain else _account(key, passphrase)
    if as_json:
        print_json({"key": str(key), "account": name})
    else:
        click.echo(name)


def _account(key: Path, passphrase: str | None) -> str:
    from proofml.optimistic.accounts import Account

    return Account.load(key, passphrase=passphrase).name


def _chain_account(key: Path, passphrase: str | None, generate: bool) -> str:
    from proofml.optimistic.evm_ledger import missing

    try:
        from proofml.optimistic import evm_keys
    except ImportError as error:
        raise missing(error) from error
    made = (evm_keys.generate if generate else evm_keys.load)(key, passphrase)
    return evm_keys.name_of(made)


@command.command()
@click.option("--rpc", required=True, help="URL of a node of the chain.")
@click.option("--chain-id", type=click.IntRange(1), required=True, help="Of the chain.")
@click.option(
    "--confirmations",
    type=click.IntRange(0),
    default=12,
    show_default=True,
    help="Blocks above one that counts.",
)
@key_options[0]
@key_options[1]
@json_option
def deploy(
    rpc: str,
    chain_id: int,
    confirmations: int,
    key: Path,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Put a ledger's contract on a chain, and print the table of a policy that pins it."""
    from proofml.keys import read_passphrase
    from proofml.optimistic.evm_ledger import deploy as put

    pin = put(rpc, chain_id, key, read_passphrase(passphrase_file), confirmations=confirmations)
    values: dict[str, JSON] = {
        "rpc": pin.rpc,
        "chain_id": pin.chain_id,
        "contract": pin.contract,
        "code_sha256": pin.code_sha256,
        "confirmations": pin.confirmations,
    }
    if as_json:
        print_json(values)
        return
    click.echo("# [backends.optimistic] needs least_bond as well: the bond, in wei, that is enough")
    click.echo("[backends.optimistic.chain]")
    for name, value in values.items():
        click.echo(f"{name} = {json.dumps(value)}")


@command.command()
@click.argument("amount", type=_AMOUNT)
@acting
@json_option
def deposit(amount: int, as_json: bool, **options: Any) -> None:
    """Book AMOUNT for your account on an embedded ledger.

    Contracts hold what is sent along with a claim or a challenge; nothing is deposited there.
    """
    with open_ledger(**options) as opened:
        _embedded(opened).deposit(amount, opened.sender)
        _show(opened, opened.sender, as_json)


@command.command()
@acting
@json_option
def withdraw(as_json: bool, **options: Any) -> None:
    """Take out all of your account's balance, and print how much that was."""
    with open_ledger(**options) as opened:
        amount = opened.ledger.withdraw(opened.sender)
    if as_json:
        print_json({"account": opened.sender, "withdrawn": str(amount)})
    else:
        click.echo(str(amount))


@command.command()
@click.argument("account")
@ledger_options
@json_option
def balance(account: str, as_json: bool, **options: Any) -> None:
    """Print what ACCOUNT can withdraw, or stake on an embedded ledger."""
    with open_ledger(**options) as opened:
        _show(opened, account, as_json)


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def audit(path: Path, as_json: bool) -> None:
    """Replay an embedded ledger from its first event: signatures, hashes, rules, every state.

    A ledger that breaks one of them ends with exit code 1. Whoever keeps the hash of the last event
    sees later whether the end of the ledger was cut off.
    """
    from proofml.optimistic.sqlite_ledger import SqliteLedger

    with SqliteLedger(path, read_only=True) as ledger:
        found = ledger.audit()
        money = ledger.money()
    values: dict[str, JSON] = {
        "path": str(path),
        "name": found.ledger.hex(),
        "events": found.events,
        "head": found.head.hex(),
        "money": money.to_json(),
    }
    if as_json:
        print_json(values)
        return
    click.echo(f"{path}: {found.events} events, all by the rules")
    click.echo(f"  name  {found.ledger.hex()}")
    click.echo(f"  head  {found.head.hex()}")
    for key, amount in money.to_json().items():
        click.echo(f"  {key:<10} {amount}")


def _embedded(opened: Opened) -> SqliteLedger:
    from proofml.optimistic.sqlite_ledger import SqliteLedger

    if not isinstance(opened.ledger, SqliteLedger):
        raise UsageError("deposit: only embedded ledgers (--ledger FILE) book money")
    return opened.ledger


def _show(opened: Opened, account: str, as_json: bool) -> None:
    amount = opened.ledger.balance(account)
    if as_json:
        print_json({"account": account, "balance": str(amount)})
    else:
        click.echo(str(amount))
