"""Honest and dishonest proofs: whatever a prover can do who has all the code and states all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from proofml.api import prove, verify
from proofml.backend import Context, Request
from proofml.circuits.codec import decode_output, encode_input
from proofml.expectation import Expectation
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Blob, Proof
from proofml.statement import Computation, Statement
from proofml.store import Store
from proofml.tensors import Array
from proofml.testing import Attacker
from proofml.verdict import Status, Verdict
from proofml.zkml.sumcheck.compile import Source
from proofml.zkml.sumcheck.interface import PROOF, QUANTISATION, claims_of
from proofml.zkml.sumcheck.keys import ProvingKey, commit_model, commit_ports
from proofml.zkml.sumcheck.layout import PORTS
from proofml.zkml.sumcheck.params import Params
from proofml.zkml.sumcheck.prover import prove_circuit
from proofml.zkml.sumcheck.record import computation

NONCE = bytes(range(8))
SALT = np.arange(8, dtype=np.int64) + 7


@dataclass
class Workshop:
    """A prover's and a verifier's machine."""

    folder: Path

    def __post_init__(self) -> None:
        self.prover = Context(Store(self.folder / "prover"))
        self.verifier = Context(Store(self.folder / "verifier"))

    def load(self, data: bytes) -> Model:
        return Model.load(data, store=self.prover.store)

    def prove(self, model: Model, inputs: Mapping[str, Array], **request: Any) -> Proof:
        asked = Request(nonce=NONCE, **request)
        return prove(model, inputs, backend="sumcheck", request=asked, context=self.prover)

    def judge(
        self,
        proof: Proof | bytes,
        model: Model | None,
        policy: Policy | None = None,
        **expect: Any,
    ) -> Verdict:
        """The verdict of one who holds the model and gave the nonce."""
        wanted = Expectation(**{"model": model, "nonce": NONCE, **expect})
        return verify(proof, wanted, policy, context=self.verifier)


@dataclass
class Forger:
    """Proves one circuit and states whatever he likes; each lie is in the transcript as well.

    Attributes:
        model: what the Statement names.
        key: of the circuit that is really proven.
        record: what he sends as the quantisation record, with its digest in the Statement.
        committed: name -> what lies in the tree of committed tensors, instead of the input.
        root: what he states as that tree's root.
    """

    model: Model
    key: ProvingKey
    record: tuple[bytes, str] | None = None
    change: Callable[[Statement], Statement] = lambda statement: statement
    detail: Mapping[str, Any] | None = None
    tensors: Mapping[str, Array] | None = None
    committed: Mapping[str, Array] | None = None
    root: bytes | None = None

    @classmethod
    def of(cls, source: Source, params: Params | None = None) -> Forger:
        compiled = source.compile()
        key = commit_model(
            compiled.graph, compiled.weights, visibility=source.visibility, params=params
        )
        record = source.quantisation
        sent = None if record is None else (record.to_bytes(), record.digest)
        return cls(source.model, key, sent)

    def proof(self, inputs: Mapping[str, Array]) -> Proof:
        circuit = self.key.circuit
        graph = circuit.graph
        codes = {port.value: encode_input(port, inputs[port.name]) for port in graph.inputs}
        values = list(self.key.executor.run(codes))
        outputs = {port.name: decode_output(port, values[port.value]) for port in graph.outputs}
        inputs = {name: (self.tensors or {}).get(name, array) for name, array in inputs.items()}
        outputs = {name: (self.tensors or {}).get(name, array) for name, array in outputs.items()}
        stated = computation(circuit, None if self.record is None else self.record[1])
        if self.detail is not None:
            stated = Computation(stated.kind, {**stated.detail, **self.detail})
        ports, root, shown = None, None, circuit.visibility
        if PORTS in circuit.layout.trees:
            other = {
                port.value: encode_input(port, self.committed[port.name])
                for port in (graph.inputs if self.committed else ())
            }
            ports = commit_ports(circuit, {**dict(enumerate(values)), **other}, salt=SALT)
            root = self.root or ports.nodes[1].tobytes()
        statement = self.change(
            Statement(
                self.model.claim,
                claims_of(inputs, None if shown.inputs else root),
                claims_of(outputs, None if shown.outputs else root),
                stated,
                NONCE,
            )
        )
        body = prove_circuit(self.key, values, bytes.fromhex(statement.digest), ports=ports)
        blobs = {PROOF: Blob(body)}
        if self.record is not None:
            blobs[QUANTISATION] = Blob(self.record[0], "application/json")
        tensors = {f"input.{i}": array for i, array in enumerate(inputs.values())}
        tensors |= {f"output.{i}": array for i, array in enumerate(outputs.values())}
        return Proof.build(statement, "sumcheck", 1, blobs, tensors)


def refused_by(verdict: Verdict, *numbers: str) -> None:
    assert verdict.status is Status.INVALID, verdict.status
    assert verdict.error is not None
    assert verdict.error.check in numbers, str(verdict.error)


def weaker(params: Params, **changes: Any) -> Params:
    return replace(params, **changes)


def attacker(proof: Proof) -> Attacker:
    return Attacker.of(proof.to_bytes())
