"""A contract on a node, and accounts that have it open, for tests of the ledger on a chain."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from proofml.optimistic import evm_keys, evm_ledger
from proofml.optimistic.clock import Side
from proofml.optimistic.evm_client import EvmLedger
from proofml.optimistic.evm_send import Spending
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.policy import ChainPin

from .anvil import CHAIN_ID, Anvil
from .claims import Run
from .players import Challenger, Claimant, Griefer

QUICK = Spending(poll=0.05, patience=60)


@dataclass
class Bench:
    """A new contract; accounts are made when they are first named, and are rich.

    Attributes:
        pin: of the contract.
    """

    node: Anvil
    folder: Path
    stack: ExitStack
    pin: ChainPin = field(init=False)
    _open: dict[str, EvmLedger] = field(default_factory=dict)

    def __post_init__(self) -> None:
        key = self.key("deployer")
        self.pin = evm_ledger.deploy(self.node.url, CHAIN_ID, key, spending=QUICK)

    def key(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            self.node.fund(evm_keys.name_of(evm_keys.generate(path)))
        return path

    def account(self, name: str) -> str:
        return evm_keys.name_of(evm_keys.load(self.key(name)))

    def ledger(self, name: str) -> EvmLedger:
        """As this account has it open."""
        if name not in self._open:
            self._open[name] = self.open(name)
        return self._open[name]

    def open(
        self, *names: str, spending: Spending = QUICK, check: str = "optimistic.11", **pins: Any
    ) -> EvmLedger:
        """Opened anew; without names only to be read."""
        keys = [self.key(name) for name in names]
        pin = replace(self.pin, **pins)
        found = evm_ledger.open_chain(pin, keys=keys, spending=spending, check=check)
        self.stack.callback(found.close)
        return found

    # ------------------------------------------------------------ what accounts do
    def post(self, run: Run, name: str = "claimant", **terms: Any) -> int:
        terms = {"window": 10**6, "clock": 10**5, "extension": 10**4, **terms}
        return self.ledger(name).post(run.terms(**terms), run.header, self.account(name))

    def challenge(self, claim: int, name: str = "challenger") -> int:
        return self.ledger(name).challenge(claim, self.account(name))

    def play(
        self, dispute: int, claimant: Claimant, challenger: Challenger | Griefer, most: int = 100
    ) -> DisputeState:
        """Moves until the dispute ends, or so many."""
        for _ in range(most):
            state = self.ledger("claimant").dispute(dispute)
            if state.status is not Status.RUNNING:
                return state
            terms = self.ledger("claimant").claim(state.claim).terms
            mine = state.clock.turn is Side.CLAIMANT
            move = (claimant if mine else challenger).move(terms, state)
            name = "claimant" if mine else "challenger"
            self.ledger(name).move(dispute, move, self.account(name))
        return self.ledger("claimant").dispute(dispute)


@contextmanager
def bench(node: Anvil) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        yield Bench(node, Path(folder), stack)
