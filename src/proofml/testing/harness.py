"""One honest proof of a case, and everything needed to judge what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import onnx

from proofml.api import prove, seal, verify
from proofml.backend import Backend, Context, get_backend
from proofml.expectation import Expectation
from proofml.keys import SigningKey
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.sealed import Sealed
from proofml.statement import Visibility
from proofml.store import Store
from proofml.tensors import Array
from proofml.testing.attacker import Attacker
from proofml.testing.case import Case
from proofml.verdict import Verdict
from proofml.worker.limits import Progress, silent

NONCE = bytes(range(16))


@dataclass(frozen=True)
class Facts:
    """What a verifier may know: of the honest run, or what a liar made him believe."""

    model: Model
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    nonce: bytes
    salt: bytes | None = None

    def expectation(self) -> Expectation:
        """Insists on all of it."""
        return Expectation(
            model=self.model,
            inputs=self.inputs,
            outputs=self.outputs,
            nonce=self.nonce,
            salt=self.salt,
        )


class Harness:
    """Made once a class. The prover's cache and the verifier's are different folders.

    Attributes:
        proof: the honest proof, made under `NONCE` and signed by `signer`.
        data: its bytes.
        hints: what its prover says that verifiers will have to allow.
        folder: where proofs are judged; evidence beside the honest proof lies there.
    """

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self.folder = folder
        self.prover = Store(folder / "prover")
        self.verifier = Store(folder / "verifier")
        self.backend: Backend = get_backend(case.backend)
        self.model = self._load(case.model)
        self.other_model = self._load(case.other_model)
        self.signer = SigningKey.generate()
        self.honest = folder / "honest.pml"
        made = self.prove(self.prover)
        made.write(self.honest)
        self.hints = made.hints
        self.proof = Proof.read(self.honest)
        self.data = self.honest.read_bytes()

    def _load(self, data: bytes) -> Model:
        return Model.load(data, store=self.prover)

    def prove(self, store: Store, progress: Progress = silent) -> Proof:
        """An honest proof, made with `store`."""
        return prove(
            self.model,
            self._given,
            backend=self.case.backend,
            request=self.case.request,
            nonce=NONCE,
            signers=[self.signer],
            context=Context(store, progress),
        )

    @cached_property
    def _given(self) -> Mapping[str, Array] | Sealed:
        """The case's inputs as the prover gets them."""
        if not self.case.only_sealed:
            return self.case.inputs
        assert self.case.sealing is not None
        with self.case.sealing(self.model, self.prover) as run:
            sealed, _ = seal(
                self.model,
                self.case.inputs,
                backend=self.case.backend,
                recipient=run.recipient,
                policy=run.policy,
                context=Context(self.prover),
            )
        return sealed

    @cached_property
    def facts(self) -> Facts:
        """Everything about the honest run that a verifier could compare."""
        statement = self.proof.statement
        hidden = {c.name for c in statement.inputs if c.visibility is Visibility.PRIVATE}
        return Facts(
            self.model,
            {name: array for name, array in self.case.inputs.items() if name not in hidden},
            {
                claim.name: self.proof.tensor(f"output.{index}")
                for index, claim in enumerate(statement.outputs)
                if claim.visibility is Visibility.PUBLIC
            },
            NONCE,
            self.case.salt,
        )

    @cached_property
    def model_in_other_file(self) -> Model:
        """The model in a file of other bytes with the same canonical graph."""
        proto = onnx.load_model_from_string(self.case.model)
        proto.producer_name = "another producer"
        return self._load(proto.SerializeToString(deterministic=True))

    @property
    def evidence(self) -> list[str]:
        """Names of the backend's own pieces of evidence, inline and beside."""
        roles = {role for role, _ in self.proof.statement.tensors()}
        return [entry.name for entry in self.proof.entries if entry.name not in roles]

    def attacker(self) -> Attacker:
        return Attacker.of(self.data)

    def forged(self, lie: Callable[[Attacker, Harness], None]) -> bytes:
        """The honest proof with a lie in it, all digests recomputed, signed by the attacker."""
        attacker = self.attacker()
        lie(attacker, self)
        return attacker.forge()

    # -- judging --------------------------------------------------------------------------

    def judge(
        self,
        data: bytes,
        expect: Expectation | None = None,
        policy: Policy | None = None,
        *,
        store: Store | None = None,
    ) -> Verdict:
        """The verdict on a file of these bytes; by default of the verifier who pins all."""
        path = self.folder / "judged.pml"
        path.write_bytes(data)
        return verify(
            path,
            self.facts.expectation() if expect is None else expect,
            self.case.policy if policy is None else policy,
            context=Context(self.verifier if store is None else store),
        )

    def loose(self) -> Expectation:
        """The least with which this backend can verify."""
        return Expectation(model=self.model) if self.case.verify_needs_model else Expectation()

    def policy(self, **changes: object) -> Policy:
        """The case's policy with some of its fields changed."""
        return replace(self.case.policy, **changes)  # type: ignore[arg-type]
