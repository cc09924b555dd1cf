"""A prover, whoever lies, and a verifier who knows model, input and nonce."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from proofml.api import prove, verify
from proofml.backend import Context, Request
from proofml.circuits.codec import decode_output
from proofml.expectation import Expectation
from proofml.optimistic.claim import Terms
from proofml.optimistic.record import CLAIM, ClaimRecord
from proofml.optimistic.trace import Trace
from proofml.policy import Policy
from proofml.proof import Blob, Proof
from proofml.statement import Statement
from proofml.store import Store
from proofml.tensors import Array
from proofml.verdict import Status, Verdict

from .arena import Arena, statement_of
from .liars import Lie, header_bytes, terms_of

NONCE = bytes(range(8))
LOCAL = ["ledger:local"]


class Court(Arena):
    """An arena with a prover and a verifier, who knows the model, the input and the nonce."""

    def prove(self, image: int = 0, **options: str) -> Proof:
        self.ledger("claimant")
        given = {"ledger": str(self.path), "key": str(self.key("claimant")), **options}
        request = Request(nonce=NONCE, options=given)
        return prove(
            self.model,
            self.feeds(image),
            backend="optimistic",
            request=request,
            context=self.context,
        )

    def finalise(self, number: int = 1) -> None:
        ledger = self.ledger("claimant")
        self.time = ledger.claim(number).closes
        ledger.finalise(number, self.account("claimant"))

    def policy(self, **section: Any) -> Policy:
        table = {"ledger": str(self.path), "least_window": 600, **section}
        return Policy(sections={"optimistic": table}).allow(LOCAL)

    def judge(self, proof: Proof | bytes, policy: Policy | None = None, **expect: Any) -> Verdict:
        known = {"model": self.model, "inputs": self.feeds(), "nonce": NONCE, **expect}
        context = Context(Store(self.folder / "verifier"))
        return verify(proof, Expectation(**known), policy or self.policy(), context=context)

    def outputs(self, trace: Trace) -> dict[str, Array]:
        return {
            port.name: decode_output(port, values)
            for port, values in zip(self.machine.graph.outputs, trace.outputs, strict=True)
        }

    def statement(self, trace: Trace, image: int = 0) -> Statement:
        made = statement_of(self.model, self.machine, self.feeds(image), self.outputs(trace))
        return replace(made, nonce=NONCE)

    def proof_of(
        self,
        statement: Statement,
        trace: Trace,
        number: int,
        terms: Terms,
        image: int = 0,
        identity: Mapping[str, Any] | None = None,
    ) -> Proof:
        """Whatever the attacker says, in a file without a fault."""
        where = identity or {"kind": "sqlite", "name": self.ledger("claimant").name.hex()}
        outputs = self.outputs(trace)
        tensors = {f"input.{i}": array for i, array in enumerate(self.feeds(image).values())}
        tensors |= {f"output.{i}": array for i, array in enumerate(outputs.values())}
        blobs = {CLAIM: Blob(ClaimRecord(where, number, terms).to_bytes(), "application/json")}
        return Proof.build(statement, "optimistic", 1, blobs, tensors)

    def claimed(self, lie: Lie, name: str = "attacker", **changes: Any) -> tuple[int, Proof]:
        """A false claim, posted, with the proof that its poster shows around."""
        statement = self.statement(lie.trace)
        terms = terms_of(lie.trace, bytes.fromhex(statement.digest), **{**lie.terms, **changes})
        ledger = self.ledger(name)
        number = ledger.post(terms, header_bytes(self.machine), self.account(name))
        proof = self.proof_of(statement, lie.trace, number, terms)
        (self.folder / "proofs" / f"{number}.pml").write_bytes(proof.to_bytes())
        return number, proof


def refused_by(verdict: Verdict, number: str) -> None:
    assert verdict.status is Status.INVALID, verdict.reasons
    assert verdict.error is not None
    assert verdict.error.check == number, str(verdict.error)
