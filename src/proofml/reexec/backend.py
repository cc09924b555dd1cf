"""What the re-execution backend is; proving and verifying are imported when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from proofml.backend import Context, Evidence, Probe, Request, Support, Trial
from proofml.guarantee import Guarantee, Integrity
from proofml.runtime import runtime_version
from proofml.tensors import Array

if TYPE_CHECKING:
    from proofml.model import Model

KIND = "onnxruntime"


class ReexecBackend:
    """Re-execution by onnxruntime on the verifier's own machine."""

    name = "reexec"
    version = 1
    summary = "the verifier runs the model with onnxruntime and compares"
    integrity = frozenset({Integrity.RE_EXECUTION})
    checks: Mapping[str, str] = {
        "reexec.1": "computation: onnxruntime on the CPU, recorded as this version records it",
        "reexec.2": "evidence: nothing besides the public tensors",
        "reexec.3": "interface: every input and output is public",
        "reexec.4": "outputs: this machine's own run gives the stated ones",
    }
    assumptions: Mapping[str, str] = {
        "nonce:unauthenticated": "a nonce in an unsigned re-execution can be set by anybody",
        "runtime:other-version": "the onnxruntime that is named is not the one that ran here",
    }
    hides: frozenset[str] = frozenset()
    #: After what proves as cheaply (0): a claim that each verifier runs again shows less.
    cost = 5

    def probe(self) -> Probe:
        version = runtime_version()
        if version is None:
            return Probe(False, "onnxruntime is not installed; pip install 'proofml[reexec]'")
        return Probe(True, f"onnxruntime {version}")

    def supports(self, model: Model, request: Request) -> Support:
        """Every model that onnxruntime takes; only a run can tell more."""
        if request.options:
            unknown = ", ".join(request.options)
            return Support(False, (f"reexec has no options, got {unknown}",))
        if request.max_error is not None:
            return Support(False, ("reexec makes no approximation; --max-error is for others",))
        return Support(True)

    def setup(self, model: Model, request: Request, context: Context) -> Mapping[str, Path]:
        return {}

    def prove(
        self, model: Model, inputs: Mapping[str, Array], request: Request, context: Context
    ) -> Evidence:
        from proofml.reexec.prover import prove

        return prove(model, inputs, request, context)

    def verify(self, trial: Trial) -> Guarantee:
        from proofml.reexec.verifier import verify

        return verify(trial)
