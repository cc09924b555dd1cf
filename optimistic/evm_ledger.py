"""A ledger that is a contract on a chain: opening it by its pins, and putting a new one there.

Each pin (chain, contract, code, confirmations) is refused by an error that names it. Nothing of
this is taken from a proof.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from proofml.errors import BackendFailed, BackendUnavailable, UsageError, VerificationError
from proofml.optimistic.policy import ChainPin
from proofml.optimistic.sqlite_ledger import CHECK

# web3 is imported where a chain is opened: who has another ledger does without it.
if TYPE_CHECKING:
    from proofml.optimistic.evm_chain import Chain
    from proofml.optimistic.evm_client import EvmLedger
    from proofml.optimistic.evm_send import Spending


def open_chain(
    pin: ChainPin,
    *,
    keys: Sequence[Path] = (),
    passphrase: str | None = None,
    check: str = CHECK,
    spending: Spending | None = None,
) -> EvmLedger:
    """The contract that is pinned; without keys it is only read.

    Args:
        check: number of the check that a node's bad answers, or another contract, fail.

    Raises:
        UsageError: no such address or key.
        BackendUnavailable: no library, or no node answers.
        VerificationError: another chain, no contract, or another contract's code.
    """
    try:
        from proofml.optimistic import evm_keys
        from proofml.optimistic.evm_abi import artefact
        from proofml.optimistic.evm_chain import Chain
        from proofml.optimistic.evm_client import EvmLedger
        from proofml.optimistic.evm_rpc import Node
        from proofml.optimistic.evm_send import Sender
    except ImportError as error:
        raise missing(error) from error
    accounts = [evm_keys.load(path, passphrase) for path in keys]
    node = Node(pin.rpc, None if accounts else check)
    chain = Chain(node, artefact(), pin.contract, pin.confirmations)
    try:
        check_pins(chain, pin, check)
    except BaseException:
        node.close()
        raise
    sender = Sender(chain, accounts, pin.chain_id, spending) if accounts else None
    account = evm_keys.name_of(accounts[0]) if accounts else None
    return EvmLedger(chain, pin.chain_id, sender, account, check)


def missing(error: ImportError) -> BackendUnavailable:
    return BackendUnavailable(
        f"{error.name or 'web3'} is not installed, and ledgers on a chain need it; "
        "pip install 'proofml[evm]'"
    )


def check_pins(chain: Chain, pin: ChainPin, check: str) -> None:
    """That the node's chain and the contract are the pinned ones.

    Raises:
        VerificationError: whichever pin does not hold, by the number `check`.
        BackendUnavailable: no node answers.
    """

    def refuse(what: str, expected: object, got: object) -> VerificationError:
        return VerificationError(check, f"ledger: {what}", expected=expected, got=got)

    try:
        found = chain.chain_id()
    except BackendFailed as error:
        raise BackendUnavailable(
            f"{error}; is the address right, and does a node run there?"
        ) from error
    if found != pin.chain_id:
        raise refuse("the node's chain", pin.chain_id, found)
    latest = chain.latest().number
    if latest < pin.confirmations:
        raise refuse("blocks of the chain, for so many confirmations", pin.confirmations, latest)
    code = chain.read(chain.code)
    if not code:
        raise refuse(f"contract {pin.contract}", "code at this address", "none")
    digest, expected = _sha256(code), pin.code_sha256 or chain.artefact.code_sha256
    if digest != expected:
        raise refuse(
            f"code of contract {pin.contract} (code_sha256; without it, this package's own)",
            expected,
            digest,
        )


def deploy(
    rpc: str,
    chain_id: int,
    key: Path,
    passphrase: str | None = None,
    *,
    confirmations: int = 0,
    spending: Spending | None = None,
) -> ChainPin:
    """Put a new contract of this package's code on a chain; what pins it.

    Raises:
        UsageError: no such address or key, or another chain.
        IllegalMove: FUNDS.
        BackendUnavailable, BackendFailed: as of `open_chain`, and where it is not mined.
    """
    try:
        from proofml.optimistic import evm_keys
        from proofml.optimistic.evm_abi import artefact
        from proofml.optimistic.evm_chain import Chain
        from proofml.optimistic.evm_rpc import Node
        from proofml.optimistic.evm_send import Sender
    except ImportError as error:
        raise missing(error) from error
    account, compiled = evm_keys.load(key, passphrase), artefact()
    node = Node(rpc)
    try:
        chain = Chain(node, compiled, "0x" + bytes(20).hex(), confirmations)
        found = chain.chain_id()
        if found != chain_id:
            raise UsageError(f"{node.faults.node}: expected chain {chain_id}, got {found}")
        sender = Sender(chain, [account], chain_id, spending)
        contract = sender.deploy(evm_keys.name_of(account), compiled.deployment()).contract
        if contract is None:
            raise node.faults.bad("deployment", expected="a contract's address", got=None)
        chain.contract = contract
        code = chain.read(chain.code)
        if code != compiled.runtime:
            raise node.faults.bad(
                f"contract {contract}: code", expected=compiled.code_sha256, got=_sha256(code)
            )
    finally:
        node.close()
    return ChainPin(rpc, chain_id, contract, compiled.code_sha256, confirmations)


def _sha256(code: bytes) -> str:
    return hashlib.sha256(code).hexdigest()
