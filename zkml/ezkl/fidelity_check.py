"""Check ezkl.17: how far the proven outputs are from onnxruntime's, measured by the verifier."""

from __future__ import annotations

import math

from proofml.backend import Trial
from proofml.errors import ProofmlError
from proofml.runtime import run_model, runtime_version
from proofml.statement import Visibility
from proofml.tensors import Array
from proofml.zkml.ezkl.derivation import blame
from proofml.zkml.ezkl.fidelity import measure
from proofml.zkml.ezkl.policy import EzklPolicy


def check_fidelity(trial: Trial, policy: EzklPolicy) -> tuple[dict[str, str], list[str]]:
    """(17) The distance from onnxruntime, measured here where model, input and output are known."""
    proof, checks, model = trial.proof, trial.checks, trial.expect.model
    inputs = _known(trial, "input")
    outputs = _known(trial, "output")
    obstacle = (
        "no model is at hand"
        if model is None
        else "the weights are hidden"
        if proof.statement.model.weights_hidden and "model" in checks.open_commitments
        else "inputs or outputs are not known"
        if inputs is None or outputs is None
        else "onnxruntime is not installed"
        if runtime_version() is None
        else ""
    )
    if obstacle or model is None or inputs is None or outputs is None:
        checks.skipped("ezkl.17", obstacle)
        wanted = (
            []
            if policy.max_error is None
            else [f"backends.ezkl.max_error is set and the distance cannot be measured: {obstacle}"]
        )
        return {}, wanted
    try:
        reference = run_model(model, inputs, trial.context.store, progress=trial.context.progress)
    except ProofmlError as error:
        blame("ezkl.17", "onnxruntime does not run this input", error, checks)
    fidelity = measure(outputs, reference)
    if not math.isfinite(fidelity.max_error):
        # Fixed point has neither: EZKL's square root of -4 is 0.
        checks.failed("ezkl.17", "an output is NaN or infinite in onnxruntime or in the Statement")
    checks.passed("ezkl.17", f"largest difference {fidelity.max_error:g}")
    objections = []
    if policy.max_error is not None and fidelity.max_error > policy.max_error:
        objections.append(
            f"the outputs differ from onnxruntime's by {fidelity.max_error:g}, "
            f"backends.ezkl.max_error is {policy.max_error:g}"
        )
    return fidelity.notes(), objections


def _known(trial: Trial, role: str) -> dict[str, Array] | None:
    """Values of all inputs (or outputs): public ones, or expected ones whose hash was checked."""
    statement, expect = trial.proof.statement, trial.expect
    claims = statement.inputs if role == "input" else statement.outputs
    wanted = (expect.inputs if role == "input" else expect.outputs) or {}
    result: dict[str, Array] = {}
    for index, claim in enumerate(claims):
        if claim.visibility is Visibility.PUBLIC:
            result[claim.name] = trial.proof.tensor(f"{role}.{index}")
        elif claim.visibility is Visibility.HASHED and claim.name in wanted:
            result[claim.name] = wanted[claim.name]
        else:
            return None
    return result
