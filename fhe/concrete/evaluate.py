"""Head and tail of a circuit on rows, by onnxruntime in a worker."""

from __future__ import annotations

import numpy as np

from proofml.backend import Context
from proofml.errors import BackendUnavailable
from proofml.runtime import RUN_LIMITS, runtime_version
from proofml.tensors import MAX_TENSOR_BYTES, Array
from proofml.worker import run

_STAGE = "proofml.fhe.concrete.graph_stages:evaluate"


def apply(part: bytes, rows: Array, name: str, context: Context) -> Array:
    """Results [n, ...] of an ONNX graph of one input and output on rows [n, ...]; itself if none.

    Raises:
        UnsupportedModel: onnxruntime refuses it.
        WorkerFailed: as `proofml.worker.run`.
    """
    if not part:
        return rows
    need_runtime()
    with context.store.scratch() as folder:
        (folder / "model.onnx").write_bytes(part)
        np.save(folder / "rows.npy", rows)
        run(
            _STAGE,
            {"name": name},
            folder,
            stage="onnxruntime",
            limits=context.limits.or_else(RUN_LIMITS),
            progress=context.progress,
            file_bytes=MAX_TENSOR_BYTES,
        )
        results: Array = np.load(folder / "results.npy", allow_pickle=False)
        return results


def need_runtime() -> None:
    """Raises `BackendUnavailable` where onnxruntime is not installed."""
    if runtime_version() is None:
        raise BackendUnavailable("onnxruntime is not installed; pip install 'proofml[reexec]'")
