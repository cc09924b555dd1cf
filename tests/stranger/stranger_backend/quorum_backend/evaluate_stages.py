"""The stage that runs a graph; the worker takes modules only whose name ends in `stages`."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from proofml.worker import Job


def evaluate(job: Job) -> dict[str, Any]:
    """Run `model.onnx` on `in.npz`, write `out.npz`."""
    job.progress("evaluate")
    graph = onnx.load(job.folder / "model.onnx").graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    with np.load(job.folder / "in.npz", allow_pickle=False) as inputs:
        values.update(inputs)
    for node in graph.node:
        values[node.output[0]] = _OPERATORS[node.op_type](node, [values[n] for n in node.input])
    np.savez(job.folder / "out.npz", **{value.name: values[value.name] for value in graph.output})
    return {}


def _gemm(node: onnx.NodeProto, arguments: list[Any]) -> Any:
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    left, right, *bias = arguments
    left = left.T if given.get("transA") else left
    right = right.T if given.get("transB") else right
    product = np.float32(given.get("alpha", 1.0)) * (left @ right)
    return product + np.float32(given.get("beta", 1.0)) * bias[0] if bias else product


def _relu(node: onnx.NodeProto, arguments: list[Any]) -> Any:
    return np.maximum(arguments[0], np.float32(0))


_OPERATORS = {"Gemm": _gemm, "Relu": _relu}
