"""What the homomorphic backends are; every role's module is imported when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from proofml.backend import Context, Evidence, Probe, Request, Support, Trial
from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.fhe.about import ASSUMPTIONS, CKKS, CONCRETE, INTEGRITY, VERSION
from proofml.fhe.checks import Numbers
from proofml.guarantee import Guarantee, Integrity
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.tensors import Array

if TYPE_CHECKING:
    from proofml.model import Model


class _FheBackend:
    """A run on ciphertexts that anybody with the evaluation keys can do again."""

    version = VERSION
    integrity: frozenset[Integrity] = INTEGRITY
    assumptions: Mapping[str, str] = ASSUMPTIONS
    hides: frozenset[str] = frozenset({"input", "output"})
    #: The server cannot encrypt in its client's place.
    sealed_only = True
    #: By far the dearest way to compute.
    cost = 60

    def __init__(self, name: str, summary: str) -> None:
        self.name = name
        self.summary = summary
        self.checks: Mapping[str, str] = Numbers(name).titles()

    def probe(self) -> Probe:
        from proofml.fhe.engine import engine

        return engine(self.name).probe()

    def supports(self, model: Model, request: Request) -> Support:
        """As far as the graph shows it; depth and width show when the circuit is compiled."""
        from proofml.fhe.engine import engine
        from proofml.fhe.options import Options

        try:
            Options.read(request, self.name)
            reasons = engine(self.name).obstacles(model)
        except (UsageError, UnsupportedModel) as error:
            reasons = (str(error),)
        return Support(not reasons, reasons)

    def setup(self, model: Model, request: Request, context: Context) -> Mapping[str, Path]:
        """The circuit, and a policy that pins it."""
        from proofml.fhe.backend_prover import setup

        try:
            return setup(model, request, context, self.name)
        except OSError as error:
            raise BackendFailed(f"setting up {self.name}: {error}") from error

    def prove(
        self, model: Model, inputs: Mapping[str, Array], request: Request, context: Context
    ) -> Evidence:
        raise UsageError(
            f"{self.name} proves over sealed inputs: seal them first (`proofml fhe seal`, or "
            "proofml.seal), and prove with --sealed"
        )

    def prove_sealed(
        self, model: Model, message: bytes, request: Request, context: Context
    ) -> Evidence:
        from proofml.fhe.backend_prover import prove_sealed

        try:
            return prove_sealed(model, message, request, context, self.name)
        except OSError as error:
            raise BackendFailed(f"proving with {self.name}: {error}") from error

    def seal(
        self,
        model: Model,
        inputs: Mapping[str, Array],
        recipient: bytes | None,
        policy: Policy,
        context: Context,
    ) -> tuple[bytes, bytes]:
        """To a circuit, or under a key file."""
        from proofml.fhe.backend_owner import seal

        return seal(model, inputs, recipient, policy, context, self.name)

    def open(self, proof: Proof, secret: bytes) -> Mapping[str, Array]:
        """The outputs, for the owner of the secret."""
        from proofml.fhe.backend_owner import open_proof

        return open_proof(proof, secret, self.name)

    def verify(self, trial: Trial) -> Guarantee:
        from proofml.fhe.backend_verifier import verify

        return verify(trial, self.name)


class CkksBackend(_FheBackend):
    """Approximate numbers, many at once (TenSEAL)."""

    def __init__(self) -> None:
        super().__init__(CKKS, "runs on ciphertexts of real numbers (CKKS), run again to verify")


class ConcreteBackend(_FheBackend):
    """Exact integers with lookups (Concrete ML)."""

    def __init__(self) -> None:
        super().__init__(CONCRETE, "runs on ciphertexts of integers (TFHE), run again to verify")
