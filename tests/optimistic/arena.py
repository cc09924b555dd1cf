"""A ledger with accounts, a model, and daemons on it, in this process and a time of its own."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proofml.backend import Context
from proofml.circuits.graph import Ints
from proofml.circuits.source import Source
from proofml.model import Model
from proofml.optimistic.accounts import Account
from proofml.optimistic.agent import Agent
from proofml.optimistic.claim import Terms
from proofml.optimistic.commit import program_root
from proofml.optimistic.compile import machine_of
from proofml.optimistic.follow import Followed
from proofml.optimistic.library import Library
from proofml.optimistic.players import Player
from proofml.optimistic.record import CLAIM, ClaimRecord, classes_of, computation
from proofml.optimistic.reporting import Log
from proofml.optimistic.respond import Responder
from proofml.optimistic.sqlite_ledger import SqliteLedger
from proofml.optimistic.trace import Machine, Trace
from proofml.optimistic.watch import Watcher
from proofml.proof import Blob, Proof
from proofml.statement import Statement, TensorClaim, Visibility
from proofml.store import Store
from proofml.tensors import Array, dtype_name, tensor_digest

from .liars import DIGITS, Griefer, Liar, Lie, header_bytes, terms_of

MONEY = 100_000


def seed_of(name: str) -> bytes:
    return name.encode().ljust(32, b"\0")[:32]


def statement_of(
    model: Model, machine: Machine, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
) -> Statement:
    def claims(tensors: Mapping[str, Array]) -> tuple[TensorClaim, ...]:
        return tuple(
            TensorClaim(
                name,
                str(dtype_name(array)),
                array.shape,
                Visibility.PUBLIC,
                tensor_digest(array),
            )
            for name, array in tensors.items()
        )

    return Statement(
        model.claim,
        claims(inputs),
        claims(outputs),
        computation(program_root(machine.program), classes_of(machine.graph), None),
    )


@dataclass
class Arena:
    """Everything that a claim needs.

    Attributes:
        time: of the ledger; nothing but tests moves it.
        file: the model; the inputs are those beside it (`.npz`), or images of digits.
    """

    folder: Path
    time: int = 1_700_000_000
    file: Path = DIGITS / "digits_cnn_int8.onnx"
    ledgers: dict[str, SqliteLedger] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "proofs").mkdir(parents=True, exist_ok=True)
        self.context = Context(Store.default())

    @property
    def path(self) -> Path:
        return self.folder / "ledger.db"

    def account(self, name: str) -> str:
        return Account.of_seed(seed_of(name)).name

    def key(self, name: str) -> Path:
        """The account's key in a file, for who opens the ledger himself."""
        path = self.folder / f"{name}.pem"
        if not path.exists():
            key = Ed25519PrivateKey.from_private_bytes(seed_of(name))
            path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return path

    def ledger(self, name: str, money: int = MONEY) -> SqliteLedger:
        """The ledger as the account `name` has it open; with money, the first time."""
        if name not in self.ledgers:
            account = Account.of_seed(seed_of(name))
            opened = SqliteLedger(self.path, [account], create=True, clock=lambda: self.time)
            if money:
                opened.deposit(money, account.name)
            self.ledgers[name] = opened
        return self.ledgers[name]

    def close(self) -> None:
        for ledger in self.ledgers.values():
            ledger.close()
        self.ledgers.clear()

    # ------------------------------------------------------------ the model
    @cached_property
    def model(self) -> Model:
        return Model.load(self.file, store=self.context.store)

    @cached_property
    def source(self) -> Source:
        return Source(self.model, {name: x.shape for name, x in self.feeds().items()})

    @cached_property
    def machine(self) -> Machine:
        return machine_of(self.source, self.context)

    def feeds(self, number: int = 0) -> dict[str, Array]:
        """The model's inputs of this number."""
        beside = self.file.with_suffix(".npz")
        if beside.exists():
            with np.load(beside) as file:
                return dict(file)
        with np.load(DIGITS / "digits_heldout.npz") as file:
            return {"image": (file["images"][number].astype(np.float32) / 16)[None]}

    def inputs(self, number: int = 0) -> tuple[Ints, ...]:
        return self.machine.encode(self.feeds(number))

    # ------------------------------------------------------------ claims
    def post(
        self,
        name: str,
        trace: Trace,
        /,
        image: int = 0,
        *,
        publish: bool = True,
        **changes: Any,
    ) -> int:
        """A claim of the account `name`, and (`publish`) a proof about it in the folder."""
        inputs = self.feeds(image)
        outputs = {
            port.name: np.zeros(port.shape, np.float32) for port in self.machine.graph.outputs
        }
        statement = statement_of(self.model, self.machine, inputs, outputs)
        terms = terms_of(trace, bytes.fromhex(statement.digest), **changes)
        ledger = self.ledger(name)
        number = ledger.post(terms, header_bytes(trace.machine), self.account(name))
        if publish:
            self.publish(f"{number}", statement, inputs, outputs, number, terms)
        return number

    def publish(
        self,
        name: str,
        statement: Statement,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        number: int,
        terms: Terms,
    ) -> Path:
        record = ClaimRecord({"kind": "sqlite", "name": "00" * 32}, number, terms)
        tensors = {f"input.{i}": array for i, array in enumerate(inputs.values())}
        tensors |= {f"output.{i}": array for i, array in enumerate(outputs.values())}
        proof = Proof.build(statement, "optimistic", 1, {CLAIM: Blob(record.to_bytes())}, tensors)
        path = self.folder / "proofs" / f"{name}.pml"
        path.write_bytes(proof.to_bytes())
        return path

    # ------------------------------------------------------------ daemons
    def library(self, **changes: Any) -> Library:
        return Library([self.model], self.context, places=[self.folder / "proofs"], **changes)

    def agent(self, kind: type[Agent], name: str, **more: Any) -> Any:
        log = io.StringIO()
        found = kind(
            self.ledger(name),
            self.account(name),
            more.pop("library", None) or self.library(),
            Log(log),
            **more,
        )
        found.lines = log
        return found

    def watcher(self, name: str = "watcher", **more: Any) -> Watcher:
        found = self.agent(Watcher, name, **more)
        assert isinstance(found, Watcher)
        return found

    def responder(self, name: str = "claimant", **more: Any) -> Responder:
        found = self.agent(Responder, name, **more)
        assert isinstance(found, Responder)
        return found

    def play(self, *agents: Agent, most: int = 400, until: Callable[[], bool] | None = None) -> int:
        """Steps in turn, a second each, until nobody has anything to do; how many."""
        for step in range(most):
            done = [agent.step() for agent in agents]
            if until is not None and until():
                return step
            if not any(done):
                return step
            self.time += 1
        raise AssertionError("still going on")

    def audit(self) -> None:
        """All by the rules, and no money made or lost."""
        ledger = next(iter(self.ledgers.values()))
        ledger.audit()
        money = ledger.money()
        accounts = sum(ledger.balance(self.account(name)) for name in self.ledgers)
        assert accounts + money.held + money.burnt == money.deposited - money.withdrawn


def logged(agent: Agent) -> list[dict[str, Any]]:
    return [json.loads(line) for line in agent.lines.getvalue().splitlines()]  # type: ignore[attr-defined]


def events(agent: Agent) -> list[str]:
    return [line["event"] for line in logged(agent)]


# ---------------------------------------------------------------- daemons that lie
@dataclass
class LyingResponder(Responder):
    """Stands by false claims with the traces that they were made from."""

    lies: dict[int, Lie] = field(default_factory=dict)
    style: str = "early"

    def player(self, followed: Followed) -> Player | None:
        lie = self.lies.get(followed.number)
        if lie is None:
            return super().player(followed)
        return Liar(lie.trace, random.Random(followed.number), self.style)


@dataclass
class GriefingWatcher(Watcher):
    """Challenges whatever is claimed."""

    trace: Trace | None = None
    seed: int = 0

    def attend(self, followed: Followed, now: int) -> bool:
        if now < followed.claim.closes and not followed.disputes:
            return self._challenge(followed, now)
        return False

    def player(self, followed: Followed) -> Player | None:
        assert self.trace is not None
        return Griefer(self.trace, random.Random(self.seed))
