"""Runs a model with onnxruntime in a worker: the yardstick for every backend.

One thread, the CPU provider and the default graph optimisations: on one machine and version the
result is the same to the bit from run to run. Another machine or version may round otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np

from proofml.canonical import JSON
from proofml.errors import BackendUnavailable, UnsupportedModel
from proofml.tensors import MAX_TENSOR_BYTES, Array, dtype_name
from proofml.worker import Limits, Progress, run, silent

if TYPE_CHECKING:
    from proofml.model import Model
    from proofml.store import Store


def _memory() -> int:
    """16 GiB, or three quarters of a smaller machine: the worker must go before the host does."""
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 16 << 30
    return min(16 << 30, machine * 3 // 4)


RUN_LIMITS = Limits(memory=_memory(), seconds=600)
_HEADER_BYTES = 1 << 12  # of a .npy file, with room to spare
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
        UnsupportedModel: onnxruntime refuses the model, or the model makes something else than
            it declares, or more than a proof can hold.
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
            file_bytes=MAX_TENSOR_BYTES + _HEADER_BYTES,
        )
        outputs = {}
        for index, spec in enumerate(model.outputs):
            array = np.load(folder / f"out.{index}.npy", allow_pickle=False)
            # onnxruntime only warns; a verifier compares a Statement with what is declared.
            if dtype_name(array) != spec.dtype or not spec.admits(array.shape):
                raise UnsupportedModel(
                    f"{model.name}: output {spec.name!r}: declared as {spec}, "
                    f"got {array.dtype}{list(array.shape)}; declare it as it is"
                )
            outputs[spec.name] = array
        return outputs
