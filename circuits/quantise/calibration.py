"""Calibration: run the float model on inputs of its user and choose scales and zero points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proofml.circuits.quantise.plan import check_dtypes, make_plan
from proofml.circuits.quantise.prepare import prepare
from proofml.circuits.quantise.ranges import Seen, choose
from proofml.circuits.quantise.record import QuantisationConfig, QuantisationRecord
from proofml.errors import BackendUnavailable, UsageError, printable
from proofml.model import Model
from proofml.runtime import RUN_LIMITS, runtime_version
from proofml.store import Store
from proofml.tensors import Array
from proofml.worker import Limits, Progress, run, silent

#: Of the histograms that the methods other than minmax look at.
BINS = 2048
#: Of a worker's files: sums of sets * bins, with room to spare.
_FILE_BYTES = 4 << 30


def calibrate(
    model: Model,
    samples: Sequence[Mapping[str, Array]],
    config: QuantisationConfig,
    store: Store,
    *,
    limits: Limits = RUN_LIMITS,
    progress: Progress = silent,
) -> QuantisationRecord:
    """Observe the values of `model` on `samples` and choose their parameters.

    Args:
        model: float32.
        samples: inputs by name, one mapping for each inference.
        config: how to choose.
        store: where scratch files go.

    Raises:
        UnsupportedModel: what cannot be quantised, by name, before anything is run; or values
            that are not finite.
        UsageError: no samples, or inputs or shapes that the model does not take.
        BackendUnavailable: onnxruntime is not installed.
        WorkerFailed: it crashed or ran out of memory or time.
    """
    graph = prepare(model, config)
    plan = make_plan(graph)
    check_dtypes(graph, plan, config.activations)
    if not samples:
        raise UsageError(f"{model.name}: expected at least one calibration sample, got none")
    checked = [model.check_inputs(sample) for sample in samples]
    _check_shapes(model, checked, config)
    sets = [list(values) for values in plan.observed.values()]
    inputs = {spec.name for spec in model.inputs}
    shown = [name for names in sets for name in names if name not in inputs]
    with store.scratch() as folder:
        proto = graph.to_proto(shown)
        (folder / "model.onnx").write_bytes(proto.SerializeToString(deterministic=True))
        bins = 0 if config.method == "minmax" else BINS
        args = {"sets": sets, "bins": bins, "outputs": graph.output_names}
        work("observe", model, checked, folder, args, limits, progress)
        with np.load(folder / "seen.npz", allow_pickle=False) as seen:
            low, high, counts = seen["low"], seen["high"], seen["counts"]
    found = {
        name: choose(Seen(float(low[i]), float(high[i]), counts[i]), config)
        for i, name in enumerate(plan.observed)
    }
    return QuantisationRecord(model.digest, config, len(samples), found)


def _check_shapes(
    model: Model, samples: Sequence[Mapping[str, Array]], config: QuantisationConfig
) -> None:
    """Raises `UsageError` where a sample has another shape than the one that is fixed."""
    for index, sample in enumerate(samples):
        for name, dims in config.shapes.items():
            if sample[name].shape != tuple(dims):
                raise UsageError(
                    f"{model.name}: calibration sample {index}: input {printable(name)!r}: "
                    f"expected the shape {list(dims)} that is fixed, got "
                    f"{list(sample[name].shape)}"
                )


def work(
    stage: str,
    model: Model,
    samples: Sequence[Mapping[str, Array]],
    folder: Path,
    args: Mapping[str, object],
    limits: Limits,
    progress: Progress,
) -> None:
    """Run a stage of this package on `model.onnx` in `folder` and checked samples."""
    if runtime_version() is None:
        raise BackendUnavailable("onnxruntime is not installed; pip install 'proofml[reexec]'")
    names = [spec.name for spec in model.inputs]
    arrays: dict[str, Any] = {
        f"{index}.{place}": sample[name]
        for index, sample in enumerate(samples)
        for place, name in enumerate(names)
    }
    np.savez(folder / "in.npz", **arrays)
    run(
        f"proofml.circuits.quantise.stages:{stage}",
        {"name": model.name, "inputs": names, "samples": len(samples), **args},
        folder,
        stage="onnxruntime",
        limits=limits,
        progress=progress,
        file_bytes=_FILE_BYTES,
    )
