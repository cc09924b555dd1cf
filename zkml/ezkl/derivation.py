"""Deriving a circuit again from the verifier's own model: checks ezkl.11 to ezkl.13.

A failure inside the derivation (a panic, an abort) on a prover's settings is the proof's fault; a
lack of memory, time or disk, or a kill from outside, is this machine's.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np

from proofml.backend import Context, Trial
from proofml.canonical import sha256
from proofml.checks import Checks
from proofml.errors import ProofmlError
from proofml.model import Model
from proofml.statement import TensorClaim, Visibility
from proofml.worker import WorkerFailed
from proofml.zkml.ezkl.circuit import (
    Shape,
    commitment_of_parameters,
    derive_settings,
    ezkl_version,
    make_keys,
)
from proofml.zkml.ezkl.instances import PARAMETER_CHECK, visibility_of
from proofml.zkml.ezkl.operators import foreign_operators
from proofml.zkml.ezkl.record import Record
from proofml.zkml.ezkl.settings import Settings
from proofml.zkml.ezkl.srs import Srs
from proofml.zkml.ezkl.wrap import WORDS


def check_shapes(trial: Trial, settings: Settings) -> None:
    """Part of (12): the visible tensors have the shapes that the settings give to instances.

    ONNX may leave dimensions of an output open; EZKL's file, derived again or pinned, does not.
    It writes a scalar as a vector of one.
    """
    statement = trial.proof.statement
    words = [(1, WORDS)]
    inputs = [claim.shape or (1,) for claim in statement.inputs if claim.sha256 is not None]
    outputs = [claim.shape or (1,) for claim in statement.outputs if claim.sha256 is not None]
    if visibility_of(statement.inputs) is Visibility.PUBLIC:
        inputs += words
    elif visibility_of(statement.outputs) is Visibility.PUBLIC:
        outputs += words
    trial.checks.equal(
        "ezkl.12",
        "shapes of the visible tensors, the Statement's words among them",
        expected=settings.instance_shapes,
        got=(*inputs, *outputs),
    )


def _check_hidden_shapes(trial: Trial, model: Model) -> None:
    """Part of (12): no instance tells the shape of a hidden output, so the model must."""
    statement, checks = trial.proof.statement, trial.checks
    claims = zip(statement.outputs, model.outputs, strict=True)  # core.14
    open_ones = [
        claim
        for claim, spec in claims
        if claim.sha256 is None and (spec.shape is None or None in spec.shape)
    ]
    if not open_ones:
        return
    shapes, _ = model.infer(
        {claim.name: claim.shape for claim in statement.inputs}, store=trial.context.store
    )
    for claim in open_ones:
        found = shapes.get(claim.name, (0, None))[1]
        checks.equal("ezkl.12", f"shape of {claim.name}", expected=found, got=claim.shape)


def derive(trial: Trial, record: Record, settings: Settings, srs: Srs, vk: bytes) -> None:
    """(11) hashed parameters, (12) settings and (13) key, all from the verifier's own model."""
    model, checks, statement = trial.expect.model, trial.checks, trial.proof.statement
    assert model is not None  # the caller saw to it
    shape = Shape(
        model,
        {claim.name: claim.shape for claim in statement.inputs},
        visibility_of(statement.inputs).value,
        visibility_of(statement.outputs).value,
        record.parameters,
    )
    reasons = foreign_operators(model)
    if reasons:
        checks.failed(
            "ezkl.12", "EZKL computes this model otherwise than ONNX", got="; ".join(reasons)
        )
    try:
        derived = derive_settings(shape, settings.run_args, trial.context)
    except ProofmlError as error:
        blame("ezkl.12", "EZKL refuses these settings for this model", error, checks)
    if derived != settings.data:
        checks.failed(
            "ezkl.12",
            "settings derived again from the model and the run arguments",
            expected=sha256(derived),
            got=settings.digest,
        )
    check_shapes(trial, settings)
    _check_hidden_shapes(trial, model)
    checks.passed("ezkl.12", "derived from the model")
    proving = record.parameters == "hashed"  # its commitment needs the compiled circuit
    try:
        keys = make_keys(shape, settings, srs, trial.context, proving=proving)
    except ProofmlError as error:
        blame("ezkl.13", "EZKL makes no key from the model and these settings", error, checks)
    own = keys.vk.read_bytes()
    checks.equal(
        "ezkl.13",
        f"verifying key derived again (made with ezkl {record.ezkl}, here {ezkl_version()})",
        expected=sha256(own),
        got=sha256(vk),
    )
    checks.passed("ezkl.13", "derived from the model")
    if record.commitment is not None and keys.circuit is not None:
        commitment = _commitment_of(shape, statement.inputs, keys.circuit, trial.context)
        checks.equal(
            PARAMETER_CHECK,
            "commitment to the parameters of the expected model",
            expected=commitment.hex(),
            got=record.commitment.hex(),
        )
        checks.open_commitments.discard("model")


def _commitment_of(
    shape: Shape, claims: tuple[TensorClaim, ...], circuit: Path, context: Context
) -> bytes:
    """The commitment does not depend on the input, but some inputs have no witness (1 / 0)."""
    for value in (0, 1):
        inputs = {
            claim.name: np.full(claim.shape, value, np.dtype(claim.dtype)) for claim in claims
        }
        try:
            return commitment_of_parameters(shape, inputs, circuit, context)
        except WorkerFailed as error:
            if error.is_machines_fault or value:
                raise
    raise AssertionError("unreachable")


def blame(number: str, message: str, error: ProofmlError, checks: Checks) -> NoReturn:
    """The proof's fault, unless this machine lacked a resource."""
    if isinstance(error, WorkerFailed) and error.is_machines_fault:
        raise error
    checks.failed(number, message, expected="a circuit", got=str(error)[:300])
