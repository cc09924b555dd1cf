"""What the optimistic backend is; proving and verifying are imported when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from proofml.backend import Context, Evidence, Probe, Request, Support, Trial
from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.guarantee import Guarantee
from proofml.optimistic.about import ASSUMPTIONS, FLOAT_KIND, INTEGRITY, NAME, VERSION
from proofml.optimistic.checks import CHECKS
from proofml.tensors import Array

if TYPE_CHECKING:
    from proofml.model import Model


class OptimisticBackend:
    """A bonded claim on a ledger, which anybody can refute by running the model."""

    name = NAME
    version = VERSION
    summary = "bonded claim that anybody can refute: disputes end in one multiplication"
    integrity = INTEGRITY
    checks: Mapping[str, str] = CHECKS
    assumptions: Mapping[str, str] = ASSUMPTIONS
    hides: frozenset[str] = frozenset()
    #: After re-execution (5) and trusted hardware (20): a claim takes a ledger, and time.
    cost = 30

    def probe(self) -> Probe:
        from proofml.circuits import kernels

        if kernels.available():
            return Probe(True, f"C kernels, {kernels.level()}; ledgers: SQLite, or a chain")
        return Probe(True, "hashing in Python: the C kernels are not built (a C compiler does it)")

    def supports(self, model: Model, request: Request) -> Support:
        """Quantised models by operator; float ones where quantising them here can work."""
        from proofml.circuits.source import is_quantised, obstacles
        from proofml.optimistic.options import Options, is_float

        try:
            floating = is_float(request)
            options = Options.read(request, quantised=floating or is_quantised(model))
        except (UsageError, UnsupportedModel) as error:
            return Support(False, (str(error),))
        if floating:
            from proofml.optimistic.floating.obstacles import CHAINS
            from proofml.optimistic.floating.obstacles import obstacles as named

            reasons = named(model) if options.chain is None else (CHAINS,)
            return Support(not reasons, reasons)
        reasons = obstacles(model, options.quantisation, NAME)
        return Support(not reasons, reasons)

    def setup(self, model: Model, request: Request, context: Context) -> Mapping[str, Path]:
        """The program's interface and a policy that pins it."""
        from proofml.optimistic import backend_prover
        from proofml.optimistic.options import is_float

        setup = backend_prover.setup
        if is_float(request):
            from proofml.optimistic.floating import prover

            setup = prover.setup
        try:
            return setup(model, request, context)
        except OSError as error:
            raise BackendFailed(f"setting up optimistic: {error}") from error

    def prove(
        self, model: Model, inputs: Mapping[str, Array], request: Request, context: Context
    ) -> Evidence:
        from proofml.optimistic import backend_prover
        from proofml.optimistic.options import is_float

        prove = backend_prover.prove
        if is_float(request):
            from proofml.optimistic.floating import prover

            prove = prover.prove
        try:
            return prove(model, inputs, request, context)
        except OSError as error:
            raise BackendFailed(f"proving with optimistic: {error}") from error

    def verify(self, trial: Trial) -> Guarantee:
        if trial.proof.statement.computation.kind == FLOAT_KIND:
            from proofml.optimistic.floating import verifier

            return verifier.verify(trial)
        from proofml.optimistic.backend_verifier import verify

        return verify(trial)
