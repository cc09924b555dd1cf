"""What provers over integer graphs share: a record for a float model, running, judging the result.

For provers only; a verifier is given the record, and never runs anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from proofml import __version__
from proofml.backend import Context
from proofml.canonical import JSON
from proofml.circuits.codec import decode_output, encode_input
from proofml.circuits.graph import Graph, Ints
from proofml.circuits.recent import Recent
from proofml.errors import BackendFailed, UsageError, printable
from proofml.fields import FieldError
from proofml.model import Model
from proofml.runtime import RUN_LIMITS, run_model
from proofml.tensors import Array, tensor_digest

if TYPE_CHECKING:
    from proofml.circuits.quantise.record import QuantisationConfig, QuantisationRecord

RECORDS: Recent[QuantisationRecord] = Recent(8)


def calibrated(
    model: Model,
    samples: Sequence[Mapping[str, Array]],
    config: QuantisationConfig,
    context: Context,
) -> QuantisationRecord:
    """The record of these samples; onnxruntime runs only where the cache has none."""
    from proofml.circuits.quantise import QuantisationRecord

    recipe: dict[str, JSON] = {
        "kind": "quantisation record",
        "proofml": __version__,
        "model": model.digest,
        "config": config.to_json(),
        "samples": [[tensor_digest(array) for array in sample.values()] for sample in samples],
    }

    def make() -> QuantisationRecord:
        found = context.store.read(recipe)
        if found is not None:
            try:
                return QuantisationRecord.from_bytes(found["record"])
            except (FieldError, KeyError):
                pass  # written by another version of this code under the same number
        from proofml.circuits.quantise import calibrate

        limits = context.limits.or_else(RUN_LIMITS)
        record = calibrate(
            model, samples, config, context.store, limits=limits, progress=context.progress
        )
        with context.store.scratch() as folder:
            (folder / "record").write_bytes(record.to_bytes())
            label = f"quantisation record of {printable(model.name)}"
            context.store.put(recipe, {"record": folder / "record"}, label=label)
        return record

    return RECORDS.get(context.store, recipe, make)


def input_codes(graph: Graph, inputs: Mapping[str, Array]) -> dict[int, Ints]:
    """Value number -> centred codes of each input.

    Raises:
        UsageError: a tensor without codes (NaN).
    """
    try:
        return {port.value: encode_input(port, inputs[port.name]) for port in graph.inputs}
    except ValueError as error:
        raise UsageError(f"{error}; a proof is about codes") from error


def output_tensors(graph: Graph, values: Mapping[int, Ints]) -> dict[str, Array]:
    """The outputs as the model's user knows them.

    Raises:
        BackendFailed: the graph made what no output can be.
    """
    try:
        return {port.name: decode_output(port, values[port.value]) for port in graph.outputs}
    except ValueError as error:
        raise BackendFailed(
            f"{error}: the circuit made what no output can be", stage="run"
        ) from error


def check_error(
    model: Model,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    most: float,
    context: Context,
) -> None:
    """The distance from what onnxruntime makes of the model that the user gave.

    Raises:
        BackendFailed: an output is further from it than `most`.
    """
    limits = context.limits.or_else(RUN_LIMITS)
    reference = run_model(model, inputs, context.store, limits=limits, progress=context.progress)
    for name, array in outputs.items():
        with np.errstate(all="ignore"):
            gap = np.abs(array.astype(np.float64) - reference[name].astype(np.float64))
        worst = float(gap.max(initial=0.0))
        if not worst <= most:
            raise BackendFailed(
                f"output {name!r} differs from onnxruntime's by {worst:g}, --max-error is {most:g};"
                " calibrate on inputs like it (--calibration FILE), or prove a model that is "
                "quantised already",
                stage="run",
            )
