"""Compares a compiled circuit with onnxruntime, integer kernels on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto

from proofml.circuits import ranges, structure
from proofml.circuits.codec import decode_output, encode_input
from proofml.circuits.compiled import Compiled
from proofml.circuits.execute import Executor
from proofml.circuits.onnx import compile_model

from .models import load


@dataclass(frozen=True)
class Agreement:
    """How many values of the outputs were compared, and how many differ."""

    compiled: Compiled
    wrong: int
    total: int


def session(proto: ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def compare(
    proto: ModelProto,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    overrides: Mapping[str, Mapping[int, int]] | None = None,
) -> Agreement:
    """Both on the same inputs; the circuit passes every check that a verifier makes."""
    compiled = compile_model(load(proto), overrides=overrides)
    graph = compiled.graph
    structure.validate(graph)
    ranges.check(graph, compiled.weights)
    executor, runtime = Executor(graph, compiled.weights), session(proto)
    wrong = total = 0
    for feed in feeds:
        values = executor.run({p.value: encode_input(p, feed[p.name]) for p in graph.inputs})
        for port, expected in zip(graph.outputs, runtime.run(None, dict(feed)), strict=True):
            found = decode_output(port, values[port.value])
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
            wrong += int((found != expected).sum())
            total += expected.size
    return Agreement(compiled, wrong, total)
