"""Runs a model with onnxruntime in a worker: the yardstick for every backend.

One thread, the CPU provider and the default graph optimisations: on one machine and version the
result is the same to the bit from run to run. Another machine or version may round otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np

from proofml.canonical import JSON
from proofml.errors import BackendUnavailable
from proofml.tensors import Array
from proofml.worker import Limits, Progress, run, silent

if TYPE_CHECKING:
    from proofml.model import Model
    from proofml.store import Store

RUN_LIMITS = Limits(memory=16 << 30, seconds=600)
SETTINGS: Mapping[str, JSON] = {
    "provider": "CPUExecutionProvider",
    "optimization": "all",
    "threads": 1,
}


def runtime_version() -> str | None:
    """The installed onnxruntime, without importing it; None where there is none."""
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def run_model(
    model: Model,
    inputs: Mapping[str, Array],
    store: Store,
    *,
    limits: Limits = RUN_LIMITS,
    progress: Progress = silent,
) -> dict[str, Array]:
    """Outputs of `model` on checked `inputs`, name -> array, in graph order.

    Raises:
        BackendUnavailable: onnxruntime is not installed.
        UnsupportedModel: onnxruntime refuses the model.
        WorkerFailed: it crashed or ran out of memory or time.
    """
    if runtime_version() is None:
        raise BackendUnavailable("onnxruntime is not installed; pip install 'proofml[reexec]'")
    with store.scratch() as folder:
        (folder / "model.onnx").write_bytes(model.canonical)
        for index, array in enumerate(inputs.values()):
            np.save(folder / f"in.{index}.npy", array)
        names = [spec.name for spec in model.outputs]
        run(
            "proofml.runtime_stages:run_model",
            {"name": model.name, "inputs": list(inputs), "outputs": names},
            folder,
            stage="onnxruntime",
            limits=limits,
            progress=progress,
        )
        return {
            name: np.load(folder / f"out.{index}.npy", allow_pickle=False)
            for index, name in enumerate(names)
        }
