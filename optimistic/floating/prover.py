"""Proving by a float claim: run the model, publish its trace, and post the claim.

Before anything is staked, the run is checked as a challenger would check it: a machine that rounds
otherwise than IEEE 754 allows (TensorFloat-32, Winograd's convolutions, a broken kernel) loses no
bond, but hears of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from proofml.backend import Context, Evidence, Request
from proofml.canonical import CanonicalError, dumps, loads
from proofml.circuits.inference import check_error
from proofml.errors import BackendFailed, UnsupportedModel, UsageError, printable
from proofml.fields import FieldError
from proofml.model import Model
from proofml.optimistic.about import NAME
from proofml.optimistic.claim import Terms
from proofml.optimistic.floating.bounds import Basis, Bounds
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.floating.claimable import check_claimable
from proofml.optimistic.floating.dispute import longest
from proofml.optimistic.floating.gather import requests_of
from proofml.optimistic.floating.obstacles import CHAINS
from proofml.optimistic.floating.plan import Plan, plan_of
from proofml.optimistic.floating.point import first_outside
from proofml.optimistic.floating.publish import publish
from proofml.optimistic.floating.record import BOUNDS, MAX_BOUNDS_BYTES, FloatRecord, assumption
from proofml.optimistic.floating.trace import FloatTrace, run_trace
from proofml.optimistic.floating.work import in_worker
from proofml.optimistic.ledgers import Opened
from proofml.optimistic.options import Options
from proofml.optimistic.policy import usual_hints
from proofml.optimistic.record import CLAIM, ClaimRecord
from proofml.optimistic.sqlite_ledger import SqliteLedger
from proofml.optimistic.wire import WireError
from proofml.proof import Blob
from proofml.statement import Statement, TensorClaim, Visibility
from proofml.tensors import Array, dtype_name, tensor_digest

#: Execution configurations in which a calibration runs, as arguments of `settings.Settings`.
CONFIGURATIONS: Mapping[str, Mapping[str, str | int | bool]] = {
    "one thread": {},
    "two threads": {"threads": 2},
    "no optimisation": {"optimization": "none"},
    "parallel": {"threads": 2, "optimization": "basic", "parallel": True},
    "no prepacking": {"optimization": "extended", "prepacking": False},
}
#: Names of `--set bounds`, beside a file.
THEORETICAL, CALIBRATED = Basis.THEORETICAL.value, Basis.CALIBRATED.value


def setup(model: Model, request: Request, context: Context) -> dict[str, Path]:
    """Calibrate on samples, once for many claims; the file that `--set bounds=FILE` takes.

    Raises:
        UsageError: no samples, or samples of several dims.
        UnsupportedModel, BackendUnavailable, WorkerFailed.
    """
    Options.read(request, quantised=True)
    samples = [model.check_inputs(sample) for sample in request.calibration]
    if not samples:
        raise UsageError(
            "setting up float claims calibrates their bounds: expected samples (--calibration "
            "FILE); theoretical bounds need no setup"
        )
    shapes = {name: array.shape for name, array in samples[0].items()}
    plan = _plan(model, shapes, request, context)
    bounds = calibrated(plan, samples, context)
    with context.store.scratch() as folder:
        path = folder / BOUNDS
        path.write_bytes(dumps(bounds.to_json()))
        recipe = {"kind": f"{NAME} float bounds", "bounds": bounds.digest}
        label = f"{NAME} float bounds of {printable(model.name)}"
        return context.store.put(recipe, {f"{BOUNDS}.json": path}, label=label)


def prove(
    model: Model, inputs: Mapping[str, Array], request: Request, context: Context
) -> Evidence:
    """Claim one inference of a float model on an embedded ledger.

    Raises:
        UsageError: an option, or a bond that the account does not have.
        UnsupportedModel: an operator without a bound, or one that cannot be disputed; by name.
        BackendFailed: this machine's own run is outside of the bounds, or further from
            onnxruntime's than `request.max_error`.
        BackendUnavailable, WorkerFailed.
    """
    options = Options.read(request, quantised=True)
    if request.options.get("trace") == "deferred":
        raise UsageError("--set trace=deferred: a float claim's trace is published, not made again")
    if options.chain is not None:
        raise UsageError(CHAINS)
    opened = options.open()
    with opened:
        return _prove(model, inputs, request, options, opened, context)


def _prove(
    model: Model,
    inputs: Mapping[str, Array],
    request: Request,
    options: Options,
    opened: Opened,
    context: Context,
) -> Evidence:
    assert isinstance(opened.ledger, SqliteLedger)  # `prove` refused all others
    store = context.store
    shapes = {name: array.shape for name, array in inputs.items()}
    plan = _plan(model, shapes, request, context)
    samples = [model.check_inputs(sample) for sample in request.calibration]
    bounds = bounds_of(plan, request.options.get("bounds", THEORETICAL), samples, context)
    try:
        header = FloatHeader.of(plan, bounds)
    except WireError as error:
        raise UnsupportedModel(f"{model.name}: no ledger takes its header: {error}") from error
    with store.scratch() as folder:
        trace = run_trace(plan, inputs, folder, limits=context.limits, progress=context.progress)
        outputs = {
            name: array.copy() for name, array in zip(plan.outputs, trace.results(), strict=True)
        }
        if request.max_error is not None:
            check_error(model, inputs, outputs, request.max_error, context)
        fault = first_outside(trace, header.bounds, store, edge=0.0, limits=context.limits)
        if fault is not None:
            raise BackendFailed(
                f"this machine's run is outside of the claim's bounds: {fault.label}: "
                f"{fault.detail}; nothing was posted"
            )
        statement = Statement(
            model=model.claim,
            inputs=_claims(inputs),
            outputs=_claims(outputs),
            computation=FloatRecord.of(header, bounds, grouped=_grouped(request)).computation(),
            nonce=request.nonce,
        )
        terms = _terms(statement, header, trace, options)
        place = publish(folder, opened.ledger.traces, trace.root)
    context.progress("post the claim", None, None)
    number = opened.ledger.post(terms, header.to_bytes(), opened.sender)
    if not terms.window:
        opened.ledger.finalise(number, opened.sender)
    blobs = {
        CLAIM: Blob(ClaimRecord(opened.identity, number, terms).to_bytes(), "application/json"),
        BOUNDS: Blob(dumps(bounds.to_json()), "application/json"),
    }
    tensors = {f"input.{i}": array for i, array in enumerate(inputs.values())}
    tensors |= {f"output.{i}": array for i, array in enumerate(outputs.values())}
    notes = {
        "claim": f"{number}, by {opened.sender}",
        "program": terms.program.hex(),
        "bounds": f"{bounds.basis.value}, {bounds.digest}",
        "trace": f"{trace.root.hex()}, published in {place}",
        "final": f"after {terms.window} s, or at most {terms.window + longest(terms)} s if it is "
        "disputed",
    }
    hints = usual_hints(terms, requests_of(plan), local=opened.local)
    return Evidence(statement, blobs, tensors, notes, hints | {assumption(bounds.basis)})


def _plan(
    model: Model, shapes: Mapping[str, tuple[int, ...]], request: Request, context: Context
) -> Plan:
    """The plan that is claimed.

    Raises:
        UnsupportedModel: an operator without a bound, or one that cannot be disputed; by name.
    """
    plan = plan_of(
        model,
        shapes,
        context.store,
        grouped=_grouped(request),
        limits=context.limits,
        progress=context.progress,
    )
    check_claimable(plan)
    return plan


def _grouped(request: Request) -> bool:
    given = request.options.get("grouped", "no")
    if given not in ("yes", "no"):
        raise UsageError(f"--set grouped={given}: expected yes or no")
    return given == "yes"


def bounds_of(plan: Plan, given: str, samples: list[dict[str, Array]], context: Context) -> Bounds:
    """The bounds of a claim: theoretical, calibrated on samples, or those of a file.

    Raises:
        UsageError: no samples to calibrate on, or a file with other bounds.
    """
    if given == THEORETICAL:
        return Bounds(Basis.THEORETICAL)
    if given == CALIBRATED:
        return calibrated(plan, samples, context)
    path = Path(given)
    try:
        with path.open("rb") as file:
            found = Bounds.read(loads(file.read(MAX_BOUNDS_BYTES + 1), max_bytes=MAX_BOUNDS_BYTES))
    except OSError as error:
        raise UsageError(
            f"--set bounds={given}: expected {THEORETICAL}, {CALIBRATED} or a file: "
            f"{error.strerror}"
        ) from error
    except (FieldError, CanonicalError) as error:
        raise UsageError(f"--set bounds={given}: {error}") from error
    if found.basis is not Basis.THEORETICAL and found.program != plan.root.hex():
        raise UsageError(
            f"--set bounds={given}: expected bounds for program {plan.root.hex()}, got "
            f"{found.program}: other dims, or another model"
        )
    return found


def calibrated(plan: Plan, samples: list[dict[str, Array]], context: Context) -> Bounds:
    """Bounds by honest runs of samples in all configurations, in a worker.

    Raises:
        UsageError: no samples, or of other dims than the plan's.
    """
    if not samples:
        raise UsageError("bounds=calibrated: expected samples (--calibration FILE)")
    with context.store.scratch() as folder:
        plan.write(folder)
        for number, sample in enumerate(samples):
            for index, (name, kind) in enumerate(zip(plan.inputs, plan.input_types, strict=True)):
                array = sample[name]
                if array.shape != kind.shape:
                    raise UsageError(
                        f"calibration sample {number}: input {name!r}: expected dims "
                        f"{list(kind.shape or ())}, as claimed; got {list(array.shape)}"
                    )
                np.save(folder / f"in.{number}.{index}.npy", array)
        args = {
            "samples": len(samples),
            "settings": {name: dict(values) for name, values in CONFIGURATIONS.items()},
        }
        found = in_worker(
            "calibrate", args, folder, limits=context.limits, progress=context.progress
        )
    return Bounds.read(found)


def _claims(tensors: Mapping[str, Array]) -> tuple[TensorClaim, ...]:
    claims = []
    for name, array in tensors.items():
        dtype = dtype_name(array)
        assert dtype is not None  # of a plan's types
        claims.append(
            TensorClaim(name, dtype, array.shape, Visibility.PUBLIC, tensor_digest(array))
        )
    return tuple(claims)


def _terms(statement: Statement, header: FloatHeader, trace: FloatTrace, options: Options) -> Terms:
    stakes, plan = options.stakes, trace.plan
    return Terms(
        statement=bytes.fromhex(statement.digest),
        program=header.root,
        inputs=tuple(tensor.digest for tensor in trace.inputs),
        outputs=tuple(trace.tensor(ref).digest for ref in plan.ports),
        trace=trace.root,
        k_log=stakes.k_log,
        bond=stakes.bond,
        challenge_bond=stakes.challenge_bond,
        burn=stakes.burn,
        window=stakes.window,
        clock=stakes.clock,
        extension=stakes.extension,
        answer=stakes.answer,
        data_fee=stakes.data_fee,
        uri=stakes.uri,
    )
