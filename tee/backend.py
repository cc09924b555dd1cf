"""What the trusted-hardware backend is; proving and verifying are imported when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from proofml.backend import Context, Evidence, Probe, Request, Support, Trial
from proofml.errors import BackendFailed, UsageError
from proofml.guarantee import Guarantee
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.runtime import runtime_version
from proofml.tee.about import ASSUMPTIONS, INTEGRITY, NAME, VERSION
from proofml.tee.checks import CHECKS
from proofml.tensors import Array

if TYPE_CHECKING:
    from proofml.model import Model

#: Import name -> distribution, of what verifying takes.
_PACKAGES: Mapping[str, str] = {
    "dcap_qvl": "dcap-qvl",
    "cbor2": "cbor2",
    "cwt": "cwt",
}


class TeeBackend:
    """Quotes of TDX, SGX, SEV-SNP or Nitro over an inference, or over a key that signs many."""

    name = NAME
    version = VERSION
    summary = "trusted hardware vouches for the code that ran the model (TDX, SGX, SEV-SNP, Nitro)"
    integrity = INTEGRITY
    checks: Mapping[str, str] = CHECKS
    assumptions: Mapping[str, str] = ASSUMPTIONS
    #: Of sealed inputs and their outputs; see `supports`.
    hides: frozenset[str] = frozenset({"input", "output"})
    #: After re-execution (5), which needs nobody's hardware.
    cost = 20

    def probe(self) -> Probe:
        missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
        version = runtime_version()
        if version is None:
            missing.append("onnxruntime")
        if missing:
            return Probe(False, f"{', '.join(missing)}: not installed; pip install 'proofml[tee]'")
        from proofml.tee.quotes import here

        found = ", ".join(here())
        what = f"hardware: {found}" if found else "no hardware here, simulated roots"
        return Probe(True, f"{what}; onnxruntime {version}")

    def supports(self, model: Model, request: Request) -> Support:
        """Every model that onnxruntime takes; inputs in the open, or sealed."""
        from proofml.tee.options import Options

        try:
            Options.read(request)
        except UsageError as error:
            return Support(False, (str(error),))
        return Support(True)

    def setup(self, model: Model, request: Request, context: Context) -> Mapping[str, Path]:
        """Reference values of this installation's enclave, and a policy that demands them."""
        from proofml.tee.backend_prover import setup

        try:
            return setup(model, request, context)
        except OSError as error:
            raise BackendFailed(f"setting up tee: {error}") from error

    def prove(
        self, model: Model, inputs: Mapping[str, Array], request: Request, context: Context
    ) -> Evidence:
        from proofml.tee.backend_prover import prove

        try:
            return prove(model, inputs, request, context)
        except OSError as error:
            raise BackendFailed(f"proving with tee: {error}") from error

    def prove_sealed(
        self, model: Model, message: bytes, request: Request, context: Context
    ) -> Evidence:
        """In the running enclave to which the inputs were sealed (`--set server=SOCKET`)."""
        from proofml.tee.backend_prover import prove

        try:
            return prove(model, message, request, context)
        except OSError as error:
            raise BackendFailed(f"proving with tee: {error}") from error

    def seal(
        self,
        model: Model,
        inputs: Mapping[str, Array],
        recipient: bytes | None,
        policy: Policy,
        context: Context,
    ) -> tuple[bytes, bytes]:
        """To the session whose file is the recipient, verified under the policy first."""
        from proofml.tee.backend_owner import seal

        return seal(model, inputs, recipient, policy, context)

    def open(self, proof: Proof, secret: bytes) -> Mapping[str, Array]:
        """The outputs, for the owner of the secret."""
        from proofml.tee.backend_owner import open_proof

        return open_proof(proof, secret)

    def verify(self, trial: Trial) -> Guarantee:
        from proofml.tee.backend_verifier import verify

        return verify(trial)
