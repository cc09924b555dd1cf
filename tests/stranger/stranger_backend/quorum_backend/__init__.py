"""A backend outside of proofml: a majority of named members ran the model and signed the result.

A verifier who trusts that more than half of the members are honest names them in its policy:

    [backends.quorum]
    members = ["ed25519:...", "ed25519:...", "ed25519:..."]

Each member runs the model itself and signs the Statement's digest, and with it the model, every
tensor and the nonce. It takes graphs of Gemm and Relu, which it runs with NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from proofml.backend import Context, Evidence, Probe, Request, Support, Trial
from proofml.guarantee import Guarantee, Integrity
from proofml.tensors import Array

if TYPE_CHECKING:
    from proofml.model import Model

OPERATORS = frozenset({"Gemm", "Relu"})
OPTIONS = frozenset({"members"})


class QuorumBackend:
    """Registered through the entry point in pyproject.toml, as the built-in ones are."""

    name = "quorum"
    version = 1
    summary = "a majority of the members that the policy names ran the model"
    integrity = frozenset({Integrity.HONEST_MAJORITY})
    checks: Mapping[str, str] = {
        "quorum.1": "computation: NumPy's float32 evaluation, and nothing else",
        "quorum.2": "evidence: one section of receipts in canonical form",
        "quorum.3": "interface: the model is named and every tensor is public",
        "quorum.4": "receipts: each is a member's signature over the Statement's digest",
        "quorum.5": "majority: more than half of the members signed",
    }
    assumptions: Mapping[str, str] = {}
    hides: frozenset[str] = frozenset()
    cost = 5

    def probe(self) -> Probe:
        return Probe(True, "NumPy")

    def supports(self, model: Model, request: Request) -> Support:
        reasons = [
            f"quorum has no operator {name}" for name in sorted(set(model.operators) - OPERATORS)
        ]
        reasons += [f"quorum has no option {key}" for key in sorted(set(request.options) - OPTIONS)]
        if "members" not in request.options:
            reasons.append("quorum needs the members' keys: --set members=FILE:FILE:FILE")
        return Support(not reasons, tuple(reasons))

    def setup(self, model: Model, request: Request, context: Context) -> Mapping[str, Path]:
        return {}

    def prove(
        self, model: Model, inputs: Mapping[str, Array], request: Request, context: Context
    ) -> Evidence:
        from quorum_backend.prover import prove

        return prove(model, inputs, request, context)

    def verify(self, trial: Trial) -> Guarantee:
        from quorum_backend.verifier import verify

        return verify(trial)
