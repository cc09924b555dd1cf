"""What the EZKL backend is; proving and verifying are imported when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from proofml.backend import Context, Evidence, Probe, Request, Support, Trial
from proofml.errors import BackendFailed, UsageError
from proofml.guarantee import Guarantee, Integrity
from proofml.tensors import Array

if TYPE_CHECKING:
    from proofml.model import Model


class EzklBackend:
    """zk-SNARKs by EZKL: halo2, KZG over BN254, a fixed-point version of the model."""

    name = "ezkl"
    version = 1
    summary = "zk-SNARK of the model's fixed-point version (EZKL, halo2-KZG over BN254)"
    integrity = frozenset({Integrity.CRYPTOGRAPHIC})
    checks: Mapping[str, str] = {
        "ezkl.1": "computation: a complete record that agrees with the model's claim",
        "ezkl.2": "interface: one visibility a role, and exactly the evidence that is read",
        "ezkl.3": "settings: strict schema, whitelisted run arguments, the policy's bounds",
        "ezkl.4": "settings: the digest that the Statement names",
        "ezkl.5": "settings: the visibilities that the Statement names",
        "ezkl.6": "reference string: the ceremony's, pinned, or allowed for development",
        "ezkl.7": "proof: exact length, canonical field elements",
        "ezkl.8": "instances: the Statement's digest",
        "ezkl.9": "instances: the inputs, quantised here, or their hashes",
        "ezkl.10": "instances: the outputs, or their hashes",
        "ezkl.11": "parameters: their commitment is the stated one, and the model's",
        "ezkl.12": "settings: derived again from the model, or pinned",
        "ezkl.13": "verifying key: derived again from the model, or pinned",
        "ezkl.14": "verifying key: the digest that the Statement names",
        "ezkl.15": "proof: halo2's verifier accepts",
        "ezkl.16": "proof: no byte that halo2 does not read",
        "ezkl.17": "fidelity: distance from onnxruntime, measured here",
    }
    assumptions: Mapping[str, str] = {
        "srs:ceremony": "one participant of the public ceremony forgot their secret",
        "srs:pinned": "whoever made the reference string that the policy pins forgot the secret",
        "srs:local-dev": "the maker of this development string can prove anything",
        "interface:unpinned": "names and types of the tensors are the prover's word: only the "
        "circuit is pinned, no model is at hand",
        "quantisation:prover-chosen": "the prover chose the fixed-point version of the model",
    }
    hides = frozenset({"input", "output", "parameters"})
    cost = 50

    def probe(self) -> Probe:
        from proofml.zkml.ezkl.circuit import ezkl_version

        version = ezkl_version()
        if version is None:
            return Probe(False, "ezkl is not installed; pip install 'proofml[ezkl]'")
        if not version.startswith("23.0."):
            return Probe(False, f"ezkl {version}; expected 23.0.x, pip install 'proofml[ezkl]'")
        return Probe(True, f"ezkl {version}")

    def supports(self, model: Model, request: Request) -> Support:
        from proofml.zkml.ezkl.operators import obstacles

        reasons = obstacles(model, request)
        return Support(not reasons, reasons)

    def setup(self, model: Model, request: Request, context: Context) -> Mapping[str, Path]:
        """Settings, string and keys for a calibration sample in `request.calibration`."""
        from proofml.zkml.ezkl.prover import setup

        if not request.calibration:
            raise UsageError("setting up EZKL needs an input to calibrate on (--calibration FILE)")
        inputs = model.check_inputs(request.calibration[0])
        _, _, srs, keys = setup(model, inputs, request, context)
        found = {"srs": srs.path, "verifying-key": keys.vk}
        if keys.pk is not None:
            found["proving-key"] = keys.pk
        return found

    def prove(
        self, model: Model, inputs: Mapping[str, Array], request: Request, context: Context
    ) -> Evidence:
        from proofml.zkml.ezkl.prover import prove

        try:
            return prove(model, inputs, request, context)
        except OSError as error:  # of this process, not of a worker: a full disk, most often
            raise BackendFailed(f"proving with ezkl: {error}") from error

    def verify(self, trial: Trial) -> Guarantee:
        from proofml.zkml.ezkl.verifier import verify

        return verify(trial)
