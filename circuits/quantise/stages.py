"""Stages that run in a worker: the float model on calibration inputs, any model on many inputs.

`proofml.runtime.run_model` starts a worker for each inference; these open one session, with the
same settings, for all inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from proofml.errors import UnsupportedModel, printable
from proofml.runtime_stages import open_session, translate
from proofml.tensors import MAX_TENSOR_BYTES, Array
from proofml.worker.job import Job


def run_many(job: Job) -> dict[str, Any]:
    """Run `model.onnx` on every sample; write `out.npz`, output O of sample S as `S.O`.

    Args of the job: `name`; `inputs` and `outputs`, names; `samples`, their number.
    """
    left = MAX_TENSOR_BYTES
    found: dict[str, Any] = {}
    for index, outputs in enumerate(_runs(job, job.args["outputs"])):
        for position, array in enumerate(outputs):
            left -= array.nbytes
            if left < 0:
                raise UnsupportedModel(
                    f"{job.args['name']}: the outputs of {index + 1} samples are larger than "
                    f"{MAX_TENSOR_BYTES} bytes; give fewer"
                )
            found[f"{index}.{position}"] = array
    np.savez(job.folder / "out.npz", **found)
    return {}


def observe(job: Job) -> dict[str, Any]:
    """Extremes and, with `bins`, histograms of sets of values; writes `seen.npz`.

    Args of the job: as `run_many`, and `sets`, a list of lists of values; `bins`.
    Arrays written: `low`, `high` float64 [sets], `counts` int64 [sets, bins].
    """
    sets: list[list[str]] = job.args["sets"]
    owner = {name: index for index, names in enumerate(sets) for name in names}
    names = list(owner)
    low = np.full(len(sets), np.inf)
    high = np.full(len(sets), -np.inf)
    for sample, outputs in enumerate(_runs(job, names)):
        for name, array in zip(names, outputs, strict=True):
            if not np.isfinite(array).all():
                raise UnsupportedModel(
                    f"{job.args['name']}: {printable(name)!r} takes infinite values or NaN on "
                    f"calibration sample {sample}"
                )
            if array.size:
                at = owner[name]
                low[at] = min(low[at], float(array.min()))
                high[at] = max(high[at], float(array.max()))
    low, high = (np.where(np.isfinite(value), value, 0.0) for value in (low, high))
    bins = int(job.args["bins"])
    counts = np.zeros((len(sets), bins), np.int64)
    if bins:
        for outputs in _runs(job, names):
            for name, array in zip(names, outputs, strict=True):
                at = owner[name]
                counts[at] += _histogram(array, low[at], high[at], bins)
    np.savez(job.folder / "seen.npz", low=low, high=high, counts=counts)
    return {}


def _histogram(array: Array, low: float, high: float, bins: int) -> Array:
    if not high > low:
        return np.zeros(bins, np.int64)
    at = (array.astype(np.float64).reshape(-1) - low) * (bins / (high - low))
    return np.bincount(np.clip(at.astype(np.int64), 0, bins - 1), minlength=bins)


def _runs(job: Job, outputs: list[str]) -> Iterator[list[Array]]:
    """The values `outputs` for one sample after another; inputs are handed through."""
    name, inputs = job.args["name"], job.args["inputs"]
    job.progress("load model")
    session = open_session(job.folder / "model.onnx", name)
    samples = int(job.args["samples"])
    # onnxruntime refuses to give back an input, and takes an empty list for all outputs.
    made = [key for key in outputs if key not in inputs] or job.args["outputs"][:1]
    with np.load(job.folder / "in.npz", allow_pickle=False) as given:
        for index in range(samples):
            job.progress("onnxruntime", index / samples)
            feeds = {key: given[f"{index}.{place}"] for place, key in enumerate(inputs)}
            try:
                values = session.run(made, feeds)
            except Exception as error:
                raise translate(error, f"{name}: onnxruntime failed") from error
            found = {**feeds, **dict(zip(made, values, strict=True))}
            yield [found[key] for key in outputs]
