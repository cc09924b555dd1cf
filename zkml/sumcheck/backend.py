"""What the native backend is; proving and verifying are imported when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from proofml.backend import Context, Evidence, Probe, Request, Support, Trial
from proofml.errors import BackendFailed
from proofml.guarantee import Guarantee
from proofml.tensors import Array
from proofml.zkml.sumcheck.about import ASSUMPTIONS, INTEGRITY, NAME, VERSION
from proofml.zkml.sumcheck.checks import CHECKS

if TYPE_CHECKING:
    from proofml.model import Model


class SumcheckBackend:
    """Sumchecks and hashes over the model's integers: transparent, nothing to set up in secret."""

    name = NAME
    version = VERSION
    summary = "proof of the 8-bit integer model by sumchecks and SHA-256 (native, no setup)"
    integrity = INTEGRITY
    checks: Mapping[str, str] = CHECKS
    assumptions: Mapping[str, str] = ASSUMPTIONS
    hides: frozenset[str] = frozenset()
    #: What `supports` asks `--set hiding=none` for.
    commits: frozenset[str] = frozenset({"input", "output"})
    #: Before re-execution (5): where it takes the model, a proof in milliseconds shows more.
    cost = 0

    def probe(self) -> Probe:
        from proofml.circuits import kernels

        if kernels.available():
            return Probe(True, f"C kernels, {kernels.level()}")
        return Probe(
            True, "NumPy only, slow: the C kernels are not built (a C compiler builds them)"
        )

    def supports(self, model: Model, request: Request) -> Support:
        """Quantised models by operator; float ones where quantising them here can work."""
        from proofml.zkml.sumcheck.compile import obstacles

        reasons = obstacles(model, request)
        return Support(not reasons, reasons)

    def setup(self, model: Model, request: Request, context: Context) -> Mapping[str, Path]:
        """The verifying key and a policy that pins it; the proving key stays in the cache."""
        from proofml.zkml.sumcheck.backend_prover import setup

        try:
            return setup(model, request, context)
        except OSError as error:
            raise BackendFailed(f"setting up sumcheck: {error}") from error

    def prove(
        self, model: Model, inputs: Mapping[str, Array], request: Request, context: Context
    ) -> Evidence:
        from proofml.zkml.sumcheck.backend_prover import prove

        try:
            return prove(model, inputs, request, context)
        except OSError as error:
            raise BackendFailed(f"proving with sumcheck: {error}") from error

    def verify(self, trial: Trial) -> Guarantee:
        from proofml.zkml.sumcheck.backend_verifier import verify

        return verify(trial)
