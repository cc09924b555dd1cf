"""Choosing the settings of a circuit: scales, table ranges, and as few rows as can be.

EZKL's calibration chooses scales, lookup ranges and the least logrows for one way of decomposing
integers into digits, which every comparison pays for: few large digits cost a large table, many
small ones cost rows. Two ways with the same range of 28 bits are tried and the one with fewer rows
wins. Where a value does not fit (EZKL says so by a bare synthesis error) the next longer
decomposition is tried.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from proofml.backend import Context, Request
from proofml.canonical import sha256
from proofml.errors import UnsupportedModel
from proofml.fields import FieldError
from proofml.tensors import Array
from proofml.worker import WorkerFailed
from proofml.zkml.ezkl.circuit import Shape, derive_settings, input_json, python_run_args, stage
from proofml.zkml.ezkl.operators import size_obstacle
from proofml.zkml.ezkl.params import MAX_RANGE_BITS, Options
from proofml.zkml.ezkl.settings import Settings

#: (base, digits): both hold integers of 28 bits.
DECOMPOSITIONS = ((128, 4), (16384, 2))
MORE_DIGITS = 2


def find_settings(
    shape: Shape, inputs: Mapping[str, Array], request: Request, options: Options, context: Context
) -> Settings:
    """Calibrate (or find in the cache) the settings of a circuit.

    Raises:
        UnsupportedModel: EZKL cannot take the model, or it needs more rows than allowed.
    """
    samples = list(request.calibration) or [dict(inputs)]
    blobs = [input_json(shape, shape.model.check_inputs(sample)) for sample in samples]
    recipe = shape.recipe("ezkl-settings") | {
        "options": options.to_json(),
        "data": [sha256(blob) for blob in blobs],
    }
    found = context.store.find(recipe)
    if found is not None:
        return Settings.read(found["settings"].read_bytes())
    _check_size(shape, options, context)
    run_args = _best(shape, blobs, options, context)
    try:
        settings = Settings.read(derive_settings(shape, run_args, context))
    except FieldError as error:
        raise UnsupportedModel(
            f"{shape.model.name}: EZKL's settings for it are outside of what verifiers accept: "
            f"{error}"
        ) from error
    with context.store.scratch() as folder:
        (folder / "settings").write_bytes(settings.data)
        label = f"ezkl settings {shape.model.name} k={settings.logrows}"
        context.store.put(recipe, {"settings": folder / "settings"}, label=label)
    return settings


def _check_size(shape: Shape, options: Options, context: Context) -> None:
    """Refuse at once what EZKL would refuse after hours or gigabytes."""
    inferred, _ = shape.model.infer(shape.input_shapes, store=context.store)
    reason = size_obstacle(replace(shape.model, shapes=inferred), options)
    if reason:
        raise UnsupportedModel(
            f"{shape.model.name}: {reason}; try smaller inputs or a smaller model"
        )


def _best(shape: Shape, blobs: list[bytes], options: Options, context: Context) -> dict[str, Any]:
    """Run arguments with the fewest rows over the decompositions that work."""
    asked = (options.decomp_base, options.decomp_legs)
    candidates = DECOMPOSITIONS if options.decomp_base == 0 else (asked,)
    samples = [json.loads(blob)["input_data"] for blob in blobs]
    data = [list(chain.from_iterable(columns)) for columns in zip(*samples, strict=True)]
    errors: list[WorkerFailed] = []
    for more in range(MORE_DIGITS + 1):
        found = []
        for base, digits in candidates:
            if base ** (digits + more) > 1 << MAX_RANGE_BITS:
                continue
            try:
                found.append(_calibrate(shape, data, (base, digits + more), options, context))
            except WorkerFailed as error:
                if error.kind not in ("exception", "panic"):
                    raise
                errors.append(error)
        if found:
            chosen = min(found, key=lambda run_args: run_args["logrows"])
            if options.logrows:
                chosen["logrows"] = options.logrows
            return chosen
    raise UnsupportedModel(
        f"{shape.model.name}: EZKL cannot make a circuit of it: {errors[0] if errors else 'no'}; "
        "try smaller scales (--set scales=6) or more rows (--set max-logrows=22)"
    )


def _calibrate(
    shape: Shape,
    data: list[Any],
    decomposition: tuple[int, int],
    options: Options,
    context: Context,
) -> dict[str, Any]:
    """The run arguments that EZKL's calibration chooses for one decomposition."""
    start: dict[str, Any] = {
        "input_scale": options.scales[0],
        "param_scale": options.scales[0],
        "scale_rebase_multiplier": 1,
        "logrows": options.max_logrows,
        "num_inner_cols": options.inner_columns,
        "decomp_base": decomposition[0],
        "decomp_legs": decomposition[1],
        "lookup_range": [-32768, 32768],
    }
    with context.store.scratch() as folder:
        (folder / "model.onnx").write_bytes(shape.wrapped())
        (folder / "data.json").write_text(json.dumps({"input_data": data}))
        stage(
            "calibrate",
            {
                "run_args": python_run_args(shape, start),
                "target": options.target,
                "lookup_margin": options.lookup_margin,
                "scales": list(options.scales),
                "max_logrows": options.max_logrows,
            },
            folder,
            limits=context.limits,
            progress=context.progress,
        )
        return dict(json.loads((folder / "settings.json").read_bytes())["run_args"])
