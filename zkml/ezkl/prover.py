"""Proving with EZKL: settings, reference string, keys, witness, Statement, proof.

The Statement names the outputs, and the circuit's input names the Statement: so the witness is
made twice, first with empty words to learn the outputs (and hashes), then with the digest's words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proofml.backend import Context, Evidence, Request
from proofml.canonical import JSON
from proofml.errors import BackendFailed, BackendUnavailable, UnsupportedModel, UsageError
from proofml.model import Model
from proofml.proof import Blob
from proofml.runtime import run_model, runtime_version
from proofml.statement import Commitment, Computation, Statement, TensorClaim, Visibility
from proofml.store import file_sha256
from proofml.tensors import Array, dtype_name, tensor_digest
from proofml.zkml.ezkl import field
from proofml.zkml.ezkl.calibrate import find_settings
from proofml.zkml.ezkl.circuit import (
    Keys,
    Shape,
    ezkl_version,
    input_json,
    make_keys,
    stage,
)
from proofml.zkml.ezkl.evidence import ProofBlob
from proofml.zkml.ezkl.fidelity import Fidelity, measure
from proofml.zkml.ezkl.instances import SCHEME
from proofml.zkml.ezkl.params import KIND, Options
from proofml.zkml.ezkl.settings import Settings
from proofml.zkml.ezkl.srs import Srs, find_ceremony, generate
from proofml.zkml.ezkl.wrap import statement_words


def shape_of(model: Model, inputs: Mapping[str, Array], request: Request) -> Shape:
    return Shape(
        model,
        {name: array.shape for name, array in inputs.items()},
        request.input_visibility.value,
        request.output_visibility.value,
        request.parameters,
    )


def choose_srs(options: Options, logrows: int, context: Context) -> Srs:
    """The reference string to prove with; a development one only where it was asked for.

    Raises:
        UsageError: no ceremony string of that size was imported.
    """
    if options.srs == "local-dev":
        return generate(context.store, logrows, progress=context.progress, limits=context.limits)
    found = find_ceremony(context.store, logrows)
    if found is None:
        raise UsageError(
            f"a circuit of 2^{logrows} rows needs a reference string and none is imported; get "
            f"the public one for k = {logrows} and `proofml srs import FILE`, or prove for "
            "development with --set srs=local-dev (verifiers must then --allow srs:local-dev)"
        )
    return found


def setup(
    model: Model, inputs: Mapping[str, Array], request: Request, context: Context
) -> tuple[Shape, Settings, Srs, Keys]:
    """Everything that does not depend on the proof at hand, from the cache where it is there."""
    if ezkl_version() is None:
        raise BackendUnavailable("ezkl is not installed; pip install 'proofml[ezkl]'")
    options = Options.read(request.options)
    shape = shape_of(model, inputs, request)
    settings = find_settings(shape, inputs, request, options, context)
    srs = choose_srs(options, settings.logrows, context)
    return shape, settings, srs, make_keys(shape, settings, srs, context, proving=True)


def prove(
    model: Model, inputs: Mapping[str, Array], request: Request, context: Context
) -> Evidence:
    """One proof.

    Raises:
        UsageError, UnsupportedModel, BackendUnavailable, WorkerFailed;
        BackendFailed: the outputs are further from onnxruntime's than `request.max_error`, or
            EZKL made a proof that does not verify.
    """
    shape, settings, srs, keys = setup(model, inputs, request, context)
    _check_range(inputs, settings)
    with context.store.scratch() as folder:
        (folder / "data.json").write_bytes(input_json(shape, inputs))
        found = stage(
            "witness",
            {"circuit": str(keys.circuit)},
            folder,
            limits=context.limits,
            progress=context.progress,
        )
    _check_lookups(found, settings)
    outputs = _outputs(model, found, settings, shape)
    fidelity = _fidelity(model, inputs, outputs, request, context)
    statement = _statement(shape, settings, srs, keys, inputs, outputs, found, request)
    blob = _prove(shape, settings, srs, keys, inputs, statement, context)
    blobs = {
        "settings": Blob(settings.data, "application/json"),
        "verifying-key": Blob(keys.vk.read_bytes()),
        "proof": Blob(blob.pack()),
    }
    if not srs.is_ceremony:
        blobs["srs"] = Blob(path=srs.path)
    tensors = {f"input.{i}": array for i, array in enumerate(inputs.values())}
    tensors |= {f"output.{i}": array for i, array in enumerate(outputs.values())}
    notes = {"rows": f"2^{settings.logrows}", "settings": settings.digest}
    hints = {"quantisation:prover-chosen", f"srs:{srs.origin}"}
    if request.parameters == "private":
        hints.add("model:weights-hidden")
    return Evidence(
        statement,
        blobs,
        tensors,
        notes | ({} if fidelity is None else fidelity),
        frozenset(hints),
    )


def _check_range(inputs: Mapping[str, Array], settings: Settings) -> None:
    for (name, array), scale in zip(inputs.items(), settings.input_scales, strict=False):
        try:
            values = field.quantise(array, scale)
        except ValueError as error:
            raise UsageError(f"input {name!r}: {error}") from error
        if any(abs(value) >= settings.range_limit for value in values):
            raise UsageError(
                f"input {name!r}: expected magnitudes below "
                f"{settings.range_limit / 2.0**scale:g} at scale {scale}; scale the input, or "
                "--set decomp-legs to one more"
            )


def _check_lookups(found: Mapping[str, Any], settings: Settings) -> None:
    """EZKL's prover never ends on a witness that leaves the lookup tables, so refuse it here."""
    low, high = settings.run_args["lookup_range"]
    least, most = (int(value) for value in found["lookup_range"])
    if settings.has_lookups and not (low <= least and most <= high):
        raise UsageError(
            f"this input drives a table lookup to {least}..{most}, the settings were calibrated "
            f"for {low}..{high}; calibrate on inputs like it (--calibration FILE), or "
            "--set lookup-margin=4"
        )


def _outputs(
    model: Model, found: Mapping[str, Any], settings: Settings, shape: Shape
) -> dict[str, Array]:
    outputs: dict[str, Array] = {}
    for index, spec in enumerate(model.outputs):
        values = [field.decode(bytes.fromhex(element)) for element in found["outputs"][index]]
        claimed = _output_shape(model, index, shape, len(values))
        try:
            outputs[spec.name] = field.dequantise(
                values, settings.output_scales[index], spec.dtype, claimed
            )
        except (ValueError, IndexError) as error:
            raise BackendFailed(
                f"output {spec.name!r}: EZKL's result does not fit {spec}: {error}", stage="witness"
            ) from error
    return outputs


def _output_shape(model: Model, index: int, shape: Shape, count: int) -> tuple[int, ...]:
    """The declared shape with its free dimensions set; EZKL only says how many values there are."""
    spec = model.outputs[index]
    free = [] if spec.shape is None else [i for i, d in enumerate(spec.shape) if d is None]
    if spec.shape is None or len(free) > 1:
        raise UnsupportedModel(
            f"{model.name}: output {spec.name!r} is {spec}; a circuit needs at most one free "
            "dimension in an output, export the model with fixed shapes"
        )
    known = 1
    for dim in spec.shape:
        known *= 1 if dim is None else dim
    filled = count // known if known else 0
    return tuple(filled if dim is None else dim for dim in spec.shape)


def _fidelity(
    model: Model,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    request: Request,
    context: Context,
) -> dict[str, str] | None:
    """The prover's own measurement; refuses where it is worse than the request allows."""
    if runtime_version() is None:
        if request.max_error is not None:
            raise BackendUnavailable("--max-error needs onnxruntime; pip install 'proofml[reexec]'")
        return None
    reference = run_model(model, inputs, context.store, progress=context.progress)
    fidelity: Fidelity = measure(outputs, reference)
    if not math.isfinite(fidelity.max_error):
        raise BackendFailed(
            "onnxruntime's outputs for this input are NaN or infinite; a circuit has finite ones "
            "only, and no verifier takes them for the model's",
            stage="witness",
        )
    if request.max_error is not None and fidelity.max_error > request.max_error:
        raise BackendFailed(
            f"the fixed-point outputs differ from onnxruntime's by {fidelity.max_error:g}, "
            f"--max-error is {request.max_error:g}; use larger scales (--set scales=10) or "
            "--set target=accuracy",
            stage="witness",
        )
    return fidelity.notes()


def _claim(name: str, array: Array, visibility: Visibility, commitment: str | None) -> TensorClaim:
    dtype = dtype_name(array)
    assert dtype is not None  # checked against the model's own dtypes
    return TensorClaim(
        name,
        dtype,
        array.shape,
        visibility,
        tensor_digest(array) if visibility is Visibility.PUBLIC else None,
        Commitment(SCHEME, commitment)
        if visibility is Visibility.HASHED and commitment is not None
        else None,
    )


def _statement(
    shape: Shape,
    settings: Settings,
    srs: Srs,
    keys: Keys,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    found: Mapping[str, Any],
    request: Request,
) -> Statement:
    def claims(
        tensors: Mapping[str, Array], visibility: Visibility, hashes: list[str] | None
    ) -> tuple[TensorClaim, ...]:
        known = hashes or []
        return tuple(
            _claim(name, array, visibility, known[i] if i < len(known) else None)
            for i, (name, array) in enumerate(tensors.items())
        )

    hashes = found["hashes"]
    detail: dict[str, JSON] = {
        "ezkl": ezkl_version(),
        "settings_sha256": settings.digest,
        "verifying_key_sha256": file_sha256(keys.vk),
        "srs_sha256": srs.sha256,
        "srs_k": srs.k,
        "parameters": shape.parameters,
        "parameters_commitment": hashes["params"][0] if shape.parameters == "hashed" else None,
    }
    model = shape.model
    return Statement(
        model=model.claim if shape.parameters == "fixed" else model.architecture_claim,
        inputs=claims(inputs, request.input_visibility, hashes["inputs"]),
        outputs=claims(outputs, request.output_visibility, hashes["outputs"]),
        computation=Computation(KIND, detail),
        nonce=request.nonce,
    )


def _prove(
    shape: Shape,
    settings: Settings,
    srs: Srs,
    keys: Keys,
    inputs: Mapping[str, Array],
    statement: Statement,
    context: Context,
) -> ProofBlob:
    """Prove, and verify at once: EZKL can write a proof of a circuit that is not satisfied."""
    with context.store.scratch() as folder:
        (folder / "data.json").write_bytes(
            input_json(shape, inputs, statement_words(statement.digest))
        )
        _link(settings, keys, folder)
        arguments = {"circuit": str(keys.circuit), "pk": str(keys.pk), "srs": str(srs.path)}
        stage("prove", arguments, folder, limits=context.limits, progress=context.progress)
        blob = ProofBlob.from_ezkl(json.loads((folder / "proof.json").read_bytes()))
        (folder / "shorter.json").write_text("{}")
        verdict = stage(
            "verify",
            {"srs": str(srs.path)},
            folder,
            limits=context.limits,
            progress=context.progress,
        )
    if not verdict["accepted"]:
        raise BackendFailed(
            f"EZKL made a proof that it refuses itself: {verdict['reason']}; the circuit is not "
            "satisfied by this input under these settings",
            stage="prove",
        )
    return blob


def _link(settings: Settings, keys: Keys, folder: Path) -> None:
    (folder / "settings.json").write_bytes(settings.data)
    (folder / "vk").write_bytes(keys.vk.read_bytes())
