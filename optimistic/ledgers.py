"""Opening ledgers: the one that a policy pins, or the one that a player names.

Nothing here is taken from a proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from proofml.canonical import JSON
from proofml.errors import UsageError
from proofml.optimistic import ledger as ledger_
from proofml.optimistic.accounts import Account
from proofml.optimistic.policy import ChainPin, OptimisticPolicy
from proofml.optimistic.sqlite_ledger import CHECK, SqliteLedger


class OpenLedger(ledger_.Ledger, Protocol):
    """A ledger that was opened, and what it is."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Opened:
    """A ledger with its name in proofs.

    Attributes:
        identity: as in `record.ClaimRecord`.
        account: for which it can act; None where it is only read.
        local: whether it is a file, whose bonds are bookkeeping.
    """

    ledger: OpenLedger
    identity: dict[str, JSON]
    account: str | None
    local: bool

    def close(self) -> None:
        self.ledger.close()

    def words(self, chain: ChainPin | None) -> str:
        """What a verdict says of it, with what of a contract was pinned."""
        if chain is None:
            return f"embedded, name {self.identity['name']}"
        code = f"code {chain.code_sha256} pinned" if chain.code_sha256 else "this package's code"
        return (
            f"contract {chain.contract} on chain {chain.chain_id}, {code}, seen "
            f"{chain.confirmations} blocks ago; its node is trusted to tell which chain there is"
        )

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def sender(self) -> str:
        """The account; raises `UsageError` where there is none."""
        if self.account is None:
            raise UsageError("ledger: opened to be read; acting takes the key of an account")
        return self.account


def open_file(
    path: Path, key: Account | None = None, *, create: bool = False, check: str = CHECK
) -> Opened:
    """An embedded ledger; without a key it is only read.

    Raises:
        UsageError: no such file.
        VerificationError: no ledger, or not by its rules (number `check`).
    """
    keys = () if key is None else (key,)
    found = SqliteLedger(path, keys, create=create, read_only=key is None, check=check)
    identity: dict[str, JSON] = {"kind": "sqlite", "name": found.name.hex()}
    return Opened(found, identity, None if key is None else key.name, True)


def open_chain(
    pin: ChainPin, keys: Sequence[Path] = (), passphrase: str | None = None, *, check: str = CHECK
) -> Opened:
    """A contract on a chain; without keys it is only read.

    Raises:
        UsageError, BackendUnavailable: no node answers, or no library to ask it.
        VerificationError: another chain, or another contract (number `check`).
    """
    # Its libraries are large, and an embedded ledger needs none of them.
    from proofml.optimistic import evm_ledger

    found = evm_ledger.open_chain(pin, keys=keys, passphrase=passphrase, check=check)
    return Opened(found, dict(found.identity), found.account, False)


def open_pinned(policy: OptimisticPolicy, check: str) -> Opened | None:
    """The ledger that a verifier's policy names, to be read; None where it names none."""
    if policy.chain is not None:
        return open_chain(policy.chain, check=check)
    return None if policy.ledger is None else open_file(policy.ledger, check=check)
