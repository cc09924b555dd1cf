"""The stage that imports onnxruntime; runs in a worker only."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from proofml.errors import UnsupportedModel, printable
from proofml.processor import sums_exactly
from proofml.tensors import MAX_RANK, MAX_TENSOR_BYTES, dtype_name
from proofml.worker.job import Job

#: Key of sessions that avoid products of uint8 by int8.
EXACT = "session.x64quantprecision"
#: What onnxruntime says instead of raising MemoryError.
_OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory")


def run_model(job: Job) -> dict[str, Any]:
    """Run `model.onnx` on `in.N.npy`, write `out.N.npy`."""
    import onnxruntime as ort

    name = job.args["name"]
    job.progress("load model")
    session = open_session(job.folder / "model.onnx", name)
    feeds = {
        key: np.load(job.folder / f"in.{index}.npy", allow_pickle=False)
        for index, key in enumerate(job.args["inputs"])
    }
    job.progress("onnxruntime")
    try:
        outputs = session.run(job.args["outputs"], feeds)
    except Exception as error:
        raise translate(error, f"{name}: onnxruntime failed") from error
    left = MAX_TENSOR_BYTES
    for index, array in enumerate(outputs):
        where = f"{name}: output {job.args['outputs'][index]!r}"
        if not isinstance(array, np.ndarray) or dtype_name(array) is None:
            raise UnsupportedModel(f"{where} is not a tensor of numbers")
        left -= array.nbytes
        if left < 0 or array.ndim > MAX_RANK:
            raise UnsupportedModel(
                f"{where}: {array.dtype}{list(array.shape)}; expected at most rank {MAX_RANK} and "
                f"{MAX_TENSOR_BYTES} bytes for all outputs together"
            )
        np.save(job.folder / f"out.{index}.npy", array)
    return {"version": ort.__version__}


def open_session(path: Path, name: str, *, shared: bool = False) -> Any:
    """An `InferenceSession` with the settings of `proofml.runtime`: one thread, on the CPU.

    Args:
        shared: take tensors from one pool for all such sessions of this process: what one frees
            another one uses, instead of new pages.

    Raises:
        UnsupportedModel: onnxruntime refuses the model.
        MemoryError: it takes too much memory.
    """
    import onnxruntime as ort

    ort.disable_telemetry_events()  # it would write below the user's home
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    if shared:
        _register_pool()
        options.add_session_config_entry("session.use_env_allocators", "1")
    widen = not sums_exactly()
    if widen:  # constant weights become uint8, whose products are added exactly
        options.add_session_config_entry(EXACT, "1")
    try:
        return _session(path, options)
    except Exception as error:
        if widen:  # it cannot where two weights share their zero point
            options.add_session_config_entry(EXACT, "0")
            try:
                return _session(path, options)
            except Exception as again:
                raise translate(again, f"{name}: onnxruntime refuses it") from again
        raise translate(error, f"{name}: onnxruntime refuses it") from error


def _session(path: Path, options: Any) -> Any:
    import onnxruntime as ort

    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@functools.cache
def _register_pool() -> None:
    import onnxruntime as ort

    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(memory, None)


def translate(error: Exception, what: str) -> Exception:
    """onnxruntime's error as ours: it ran out of memory, or it does not take the model."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY):
        return MemoryError(what)
    return UnsupportedModel(f"{what}: {printable(text)}")
