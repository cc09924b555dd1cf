"""Verifying by re-execution: checks reexec.1 to reexec.4, in order.

Policy table `[backends.reexec]`:
    tolerance   number, largest accepted absolute difference of an output; the default 0 demands
                equality to the bit
"""

from __future__ import annotations

import math

import numpy as np

from proofml.backend import Trial
from proofml.canonical import dumps, real
from proofml.errors import UnsupportedModel, UsageError, VerificationError
from proofml.fields import FieldError, Fields
from proofml.guarantee import Guarantee, Integrity
from proofml.runtime import RUN_LIMITS, SETTINGS, run_model, runtime_version
from proofml.statement import Visibility
from proofml.tensors import Array, same_bits
from proofml.worker import WorkerFailed

MAX_TOLERANCE = 1e30


def _tolerance(trial: Trial) -> float:
    fields = trial.policy.section("reexec")
    try:
        value = fields.number("tolerance", 0.0, MAX_TOLERANCE, default=0)
        fields.done()
    except FieldError as error:
        raise UsageError(f"{trial.policy.source}: {error}; see docs/policy.md") from error
    return value


def verify(trial: Trial) -> Guarantee:
    """Run the model that the verifier holds on the stated inputs, and compare.

    Raises:
        UsageError: the verifier holds no model.
        VerificationError: reexec.1 to reexec.4.
    """
    checks, proof, statement = trial.checks, trial.proof, trial.proof.statement
    tolerance = _tolerance(trial)
    # (1) The record is complete and says what this version would say.
    fields = Fields(statement.computation.detail, "computation.detail")
    checks.equal(
        "reexec.1", "kind of computation", expected="onnxruntime", got=statement.computation.kind
    )
    try:
        made_by = fields.string("version", longest=64)
        for key, value in SETTINGS.items():
            # As JSON: Python alone takes true for 1.
            found = dumps(fields.raw(key)).decode()
            checks.equal(
                "reexec.1", f"computation {key}", expected=dumps(value).decode(), got=found
            )
        fields.done()
    except FieldError as error:
        raise VerificationError("reexec.1", str(error)) from error
    if statement.model.weights_hidden:
        checks.failed("reexec.1", "model", expected="named by digest", got="architecture only")
    own = runtime_version()
    if made_by == own:
        checks.passed("reexec.1", f"onnxruntime {own}")
    else:
        checks.assumed("reexec.1", "runtime:other-version", f"stated {made_by}, run here {own}")
    # (2) Nothing rides along.
    roles = {role for role, _ in statement.tensors()}
    extra = sorted(entry.name for entry in proof.entries if entry.name not in roles)
    if extra:
        checks.failed("reexec.2", "evidence", expected="public tensors only", got=", ".join(extra))
    checks.passed("reexec.2")
    # (3) There is something to compare with.
    hidden = [
        claim.name for _, claim in statement.tensors() if claim.visibility is not Visibility.PUBLIC
    ]
    if hidden:
        checks.failed("reexec.3", "tensors", expected="public", got=", ".join(hidden))
    model = trial.expect.model
    if model is None:
        raise UsageError("verifying by re-execution runs the model; give it (--model FILE)")
    inputs = {claim.name: proof.tensor(f"input.{i}") for i, claim in enumerate(statement.inputs)}
    checks.passed("reexec.3")
    # (4) The run.
    try:
        outputs = run_model(
            model,
            inputs,
            trial.context.store,
            limits=trial.context.limits.or_else(RUN_LIMITS),
            progress=trial.context.progress,
        )
    except (UnsupportedModel, WorkerFailed) as error:
        if isinstance(error, WorkerFailed) and error.is_machines_fault:
            raise
        raise VerificationError(
            "reexec.4", f"the model does not run on these inputs: {error}"
        ) from error
    worst = 0.0
    for index, claim in enumerate(statement.outputs):
        stated = proof.tensor(f"output.{index}")
        got = outputs[claim.name]
        distance = _distance(stated, got)
        if distance > tolerance:
            checks.failed(
                "reexec.4",
                f"output {claim.name!r} (stated by onnxruntime {made_by}, run here with {own}; "
                "other machines and versions may round otherwise: backends.reexec.tolerance)",
                expected=f"a difference of at most {tolerance:g}",
                got=f"{distance:g}",
            )
        worst = max(worst, distance)
    checks.passed("reexec.4", "equal to the bit" if worst == 0 else f"largest difference {worst:g}")
    assumptions = set()
    signed = bool(trial.policy.signers & set(proof.signers))
    if statement.nonce is not None and trial.expect.nonce is not None and not signed:
        assumptions.add("nonce:unauthenticated")
    return Guarantee(
        integrity=frozenset({Integrity.RE_EXECUTION}),
        assumptions=frozenset(assumptions),
        notes={"tolerance": real(tolerance), "largest difference": real(worst)},
    )


def _distance(stated: Array, got: Array) -> float:
    """Largest absolute difference; 0 only for equal bits, infinite for other shapes or NaN."""
    if same_bits(stated, got):
        return 0.0
    if stated.dtype != got.dtype or stated.shape != got.shape:
        return math.inf
    with np.errstate(all="ignore"):
        gap = np.abs(stated.astype(np.float64) - got.astype(np.float64))
    worst = float(np.where(stated == got, 0.0, gap).max(initial=0.0))
    # Equal values with other bits (-0.0, NaN payloads, integers beyond 2^53) are not equal here.
    return math.inf if math.isnan(worst) else max(worst, math.ulp(0.0))
