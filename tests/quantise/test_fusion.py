"""onnxruntime runs what is made with integer kernels, and these compute what the QDQ graph says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from proofml.circuits.quantise import QuantisationConfig, apply, calibrate
from proofml.model import Model
from proofml.store import Store

from .builder import ZOO
from .workshop import Workshop

ort = pytest.importorskip("onnxruntime")

#: Float operators that may be left: functions of one code that onnxruntime has no kernel for.
TABLES = {"HardSigmoid", "Mul", "Gelu"}
MOVES = {"Transpose", "Flatten", "Reshape", "NhwcMaxPool", "MaxPool", "Resize", "Slice"}


def optimised(data: bytes, folder: Path, **entries: str) -> list[str]:
    """Operators of the graph that onnxruntime makes of the model."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    for key, value in entries.items():
        options.add_session_config_entry(f"session.{key}", value)
    ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(folder / "optimised.onnx").graph
    return [node.op_type for node in graph.node]


def answer(data: bytes, inputs: Any, *, optimise: bool) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))


def floats_left(kinds: list[str]) -> set[str]:
    integer = {kind for kind in kinds if kind.startswith("QLinear")} | {"QGemm"}
    return set(kinds) - integer - MOVES - {"QuantizeLinear", "DequantizeLinear"}


@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
@pytest.mark.parametrize("name", ZOO)
def test_zoo(workshop: Workshop, tmp_path: Path, name: str, per_channel: bool) -> None:
    source = ZOO[name]()
    model = Model.load(source)
    samples = workshop.samples(model)
    record = calibrate(model, samples, QuantisationConfig(per_channel=per_channel), workshop.store)
    data = apply(model, record)
    kinds = optimised(data, tmp_path)
    assert floats_left(kinds) <= (TABLES if name in ("separable_hardswish", "gelu") else set())
    convolutions = model.operators["Conv"] + model.operators["ConvTranspose"]
    assert kinds.count("QLinearConv") == convolutions
    linear = model.operators["Gemm"] + model.operators["MatMul"]
    assert kinds.count("QGemm") + kinds.count("QLinearMatMul") == linear
    assert kinds.count("QLinearAveragePool") == model.operators["AveragePool"]
    for sample in samples[:4]:
        for left, right in zip(
            answer(data, sample, optimise=True), answer(data, sample, optimise=False), strict=True
        ):
            # In float32 a sum that lies on a tie may round to the other side.
            assert np.mean(left != right) <= 0.02


def test_digits(store: Store, digits: Path, tmp_path: Path) -> None:
    with np.load(digits / "calibration.npz") as file:
        images = file["image"]
    for name, key, dims, wanted in (
        ("digits_cnn", "image", (1, 1, 8, 8), {"QLinearConv": 2, "QGemm": 1}),
        ("digits_mlp", "features", (1, 64), {"QGemm": 2}),
    ):
        model = Model.load(digits / f"{name}.onnx")
        samples = [{key: image.reshape(dims)} for image in images]
        for activations in ("uint8", "int8"):
            config = QuantisationConfig(activations=activations)
            data = apply(model, calibrate(model, samples, config, store))
            kinds = optimised(data, tmp_path)
            assert not floats_left(kinds)
            assert {kind: kinds.count(kind) for kind in wanted} == wanted


def test_int8_with_branches_needs_a_session_option(workshop: Workshop, tmp_path: Path) -> None:
    """On x86 onnxruntime makes int8 pairs uint8 ones, but not where a value has two readers."""
    outcome = workshop.run(ZOO["residual"](), QuantisationConfig(activations="int8"))
    kinds = optimised(outcome.data, tmp_path, qdqisint8allowed="1")
    assert not floats_left(kinds)
    assert kinds.count("QLinearConv") == 3
