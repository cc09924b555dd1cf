"""A ledger, a small float model, a claimant, a watcher and a verifier, in a time of their own."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proofml.api import prove, verify
from proofml.backend import Context, Request
from proofml.expectation import Expectation
from proofml.model import Model
from proofml.optimistic.accounts import Account
from proofml.optimistic.agent import Agent
from proofml.optimistic.claim import Terms
from proofml.optimistic.floating.bounds import Basis, Bounds
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.floating.plan import Plan, Ref
from proofml.optimistic.floating.publish import publish
from proofml.optimistic.floating.record import BOUNDS, FloatRecord
from proofml.optimistic.floating.trace import RECORD, FloatTrace, file_name
from proofml.optimistic.library import Library
from proofml.optimistic.record import CLAIM, ClaimRecord
from proofml.optimistic.reporting import Log
from proofml.optimistic.respond import Responder
from proofml.optimistic.sqlite_ledger import SqliteLedger
from proofml.optimistic.watch import Watcher
from proofml.policy import Policy
from proofml.proof import Blob, Proof
from proofml.statement import Statement, TensorClaim, Visibility
from proofml.store import Store
from proofml.tensors import Array, tensor_digest
from proofml.verdict import Verdict

from . import parts

MONEY = 100_000
NONCE = bytes(range(8))
THEORETICAL = Bounds(Basis.THEORETICAL)
STAKES: Mapping[str, Any] = {
    "k_log": 4, "bond": 1000, "challenge_bond": 100, "burn": 1000, "window": 3600, "clock": 600,
    "extension": 120, "answer": 300, "data_fee": 1,
}  # fmt: skip


@dataclass
class Court:
    """Everything that a float claim needs.

    Attributes:
        time: of the ledger; nothing but tests moves it.
    """

    folder: Path
    time: int
    log: io.StringIO = field(default_factory=io.StringIO)
    _ledgers: dict[str, SqliteLedger] = field(default_factory=dict)

    @cached_property
    def model(self) -> Model:
        proto, _ = parts.small_network()
        path = self.folder / "model.onnx"
        onnx.save(proto, path)
        return Model.load(path)

    @cached_property
    def inputs(self) -> dict[str, Array]:
        return parts.small_network()[1]

    @cached_property
    def plan(self) -> Plan:
        return parts.plan_for(self.model.proto, self.inputs)

    @cached_property
    def context(self) -> Context:
        return Context(Store(self.folder / "store"))

    # ------------------------------------------------------------ players
    @property
    def path(self) -> Path:
        return self.folder / "ledger.db"

    def key(self, name: str) -> Path:
        path = self.folder / f"{name}.pem"
        if not path.exists():
            key = Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"\0")[:32])
            path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            path.chmod(0o600)
        return path

    def ledger(self, name: str) -> SqliteLedger:
        if name not in self._ledgers:
            key = Account.load(self.key(name))
            found = SqliteLedger(self.path, (key,), create=True, clock=lambda: float(self.time))
            self._ledgers[name] = found
            if not found.balance(key.name):
                found.deposit(MONEY, key.name)
        return self._ledgers[name]

    def account(self, name: str) -> str:
        return Account.load(self.key(name)).name

    def agent(self, kind: type[Agent], name: str, **options: Any) -> Any:
        library = Library([self.model], self.context)
        return kind(self.ledger(name), self.account(name), library, Log(self.log), **options)

    def watcher(self, **options: Any) -> Watcher:
        return self.agent(Watcher, "watcher", **options)  # type: ignore[no-any-return]

    def responder(self) -> Responder:
        return self.agent(Responder, "claimant")  # type: ignore[no-any-return]

    def settle(self, *agents: Agent, steps: int = 40) -> None:
        """Steps until nobody does anything."""
        for _ in range(steps):
            done = [agent.step() for agent in agents]
            if not any(done):
                return
        raise AssertionError(f"still busy: {self.log.getvalue()[-2000:]}")

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in lines if line.get("event") == event]

    def close(self) -> None:
        for ledger in self._ledgers.values():
            ledger.close()

    # ------------------------------------------------------------ honest
    def prove(self, **options: str) -> Proof:
        self.ledger("claimant")
        given = {
            "ledger": str(self.path), "key": str(self.key("claimant")), "arithmetic": "float",
            **options,
        }  # fmt: skip
        return prove(
            self.model,
            self.inputs,
            backend="optimistic",
            request=Request(nonce=NONCE, options=given),
            context=self.context,
        )

    def policy(self, *allowed: str, **section: Any) -> Policy:
        table = {"ledger": str(self.path), "least_window": 600, **section}
        return Policy(sections={"optimistic": table}).allow(["ledger:local", *allowed])

    def judge(self, proof: Proof, policy: Policy, **expect: Any) -> Verdict:
        known = {"model": self.model, "inputs": self.inputs, "nonce": NONCE, **expect}
        return verify(proof, Expectation(**known), policy, context=self.context)

    # ------------------------------------------------------------ whatever somebody claims
    def honest(self) -> FloatTrace:
        return parts.trace_for(self.plan, parts.run(self.plan, self.inputs))

    def post(
        self,
        trace: FloatTrace,
        name: str = "attacker",
        bounds: Bounds = THEORETICAL,
        outputs: tuple[bytes, ...] | None = None,
        leave_out: tuple[str, ...] = (),
        root: bytes | None = None,
        **terms: Any,
    ) -> tuple[int, Proof]:
        """Publish a trace and post it; the claim's number, and the proof that is shown around."""
        header = FloatHeader.of(trace.plan, bounds)
        results = [trace.array(ref) for ref in trace.plan.ports]
        statement = Statement(
            self.model.claim,
            _claims(dict(self.inputs)),
            _claims(dict(zip(trace.plan.outputs, results, strict=True))),
            FloatRecord.of(header, bounds).computation(),
            NONCE,
        )
        made = Terms(
            statement=bytes.fromhex(statement.digest),
            program=header.root,
            inputs=tuple(tensor.digest for tensor in trace.inputs),
            outputs=outputs or tuple(trace.tensor(ref).digest for ref in trace.plan.ports),
            trace=trace.root if root is None else root,
            **{**STAKES, **terms},
        )
        ledger = self.ledger(name)
        self.publish(trace, ledger.traces, leave_out)
        number = ledger.post(made, header.to_bytes(), self.account(name))
        where = {"kind": "sqlite", "name": ledger.name.hex()}
        blobs = {
            CLAIM: Blob(ClaimRecord(where, number, made).to_bytes(), "application/json"),
            BOUNDS: Blob(_json(bounds), "application/json"),
        }
        tensors = {f"input.{i}": array for i, array in enumerate(self.inputs.values())}
        tensors |= {f"output.{i}": array for i, array in enumerate(results)}
        return number, Proof.build(statement, "optimistic", 1, blobs, tensors)

    def publish(self, trace: FloatTrace, traces: Path, leave_out: tuple[str, ...] = ()) -> None:
        draft = self.folder / "draft"
        draft.mkdir()
        for ref, array in trace.arrays.items():
            array.tofile(draft / file_name(ref))
        (draft / RECORD).write_bytes(_json(trace))
        for name in leave_out:
            (draft / name).unlink()
        if (draft / RECORD).exists():
            publish(draft, traces, trace.root)
        shutil.rmtree(draft)


def _json(value: Any) -> bytes:
    from proofml.canonical import dumps

    return dumps(value.to_json())


def _claims(tensors: Mapping[str, Array]) -> tuple[TensorClaim, ...]:
    return tuple(
        TensorClaim(name, array.dtype.name, array.shape, Visibility.PUBLIC, tensor_digest(array))
        for name, array in tensors.items()
    )


def moved(trace: FloatTrace, ref: Ref, by: float) -> FloatTrace:
    """The trace with the first element of a tensor moved; what follows is left as it was."""
    arrays = {key: np.array(array) for key, array in trace.arrays.items()}
    arrays[ref].reshape(-1)[0] += np.float32(by)
    return parts.trace_for(trace.plan, arrays)
