"""The stage that imports onnxruntime; runs in a worker only."""

from __future__ import annotations

from typing import Any

import numpy as np

from proofml.errors import UnsupportedModel
from proofml.worker.job import Job


def run_model(job: Job) -> dict[str, Any]:
    """Run `model.onnx` on `in.N.npy`, write `out.N.npy`."""
    import onnxruntime as ort

    name = job.args["name"]
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    job.progress("load model")
    try:
        session = ort.InferenceSession(
            str(job.folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise UnsupportedModel(f"{name}: onnxruntime refuses it: {str(error)[:400]}") from error
    feeds = {
        key: np.load(job.folder / f"in.{index}.npy", allow_pickle=False)
        for index, key in enumerate(job.args["inputs"])
    }
    job.progress("onnxruntime")
    try:
        outputs = session.run(job.args["outputs"], feeds)
    except Exception as error:
        raise UnsupportedModel(f"{name}: onnxruntime failed: {str(error)[:400]}") from error
    for index, array in enumerate(outputs):
        if not isinstance(array, np.ndarray) or array.dtype.hasobject:
            raise UnsupportedModel(
                f"{name}: output {job.args['outputs'][index]!r} is not a tensor of numbers"
            )
        np.save(job.folder / f"out.{index}.npy", array)
    return {"version": ort.__version__}
