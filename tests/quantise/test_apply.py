"""`apply` is pure: same bytes on every run; and what it writes is what the formulas say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from proofml.circuits.quantise import QuantisationConfig, QuantisationRecord, apply
from proofml.circuits.quantise.plan import make_plan
from proofml.circuits.quantise.prepare import prepare
from proofml.circuits.quantise.ranges import Seen, choose, params_for
from proofml.circuits.quantise.record import Params
from proofml.circuits.quantise.weights import quantise_weights
from proofml.errors import UnsupportedModel
from proofml.model import Model
from proofml.tensors import Array

from .builder import Builder, residual, separable

NONE = np.zeros(0, np.int64)


def made_up(model: Model, config: QuantisationConfig | None = None) -> QuantisationRecord:
    """A record without calibration."""
    config = config or QuantisationConfig()
    names = make_plan(prepare(model, config)).observed
    params = params_for(0.0, 4.0, config.activations)
    return QuantisationRecord(model.digest, config, 1, dict.fromkeys(names, params))


def parts(data: bytes) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    graph = onnx.ModelProto.FromString(data).graph
    return list(graph.node), {t.name: numpy_helper.to_array(t) for t in graph.initializer}


def test_same_bytes_in_another_process(tmp_path: Path) -> None:
    model = Model.load(residual())
    record = made_up(model, QuantisationConfig(per_channel=True))
    data = apply(model, record)
    assert apply(model, record) == data
    (tmp_path / "m.onnx").write_bytes(residual())
    (tmp_path / "r.json").write_bytes(record.to_bytes())
    code = (
        "import sys\n"
        "from proofml.model import Model\n"
        "from proofml.circuits.quantise.qdq import apply\n"
        "from proofml.circuits.quantise.record import QuantisationRecord\n"
        "record = QuantisationRecord.from_bytes(open('r.json', 'rb').read())\n"
        "data = apply(Model.load('m.onnx'), record)\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "sys.stdout.buffer.write(data)\n"
    )
    again = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True
    )
    assert again.stdout == data


def test_bytes_are_canonical() -> None:
    model = Model.load(separable())
    data = apply(model, made_up(model))
    assert Model.load(data).canonical == data


def test_weights_and_biases() -> None:
    b = Builder([1, 2, 5, 5])
    b.conv(2, 3)
    model = Model.load(b.finish())
    record = made_up(model, QuantisationConfig(per_channel=True))
    nodes, constants = parts(apply(model, record))
    conv = next(node for node in nodes if node.op_type == "Conv")
    dequantised = {node.output[0]: node for node in nodes if node.op_type == "DequantizeLinear"}
    weight, bias = (dequantised[name] for name in conv.input[1:])
    scale = np.abs(b.constants["c0"]).max(axis=(1, 2, 3)) / np.float32(127)
    codes, got, zero = (constants[name] for name in weight.input)
    assert codes.dtype == np.int8
    assert np.array_equal(got, scale)
    assert not zero.any()
    assert np.array_equal(codes, np.rint(b.constants["c0"] / scale.reshape(3, 1, 1, 1)))
    codes, got, zero = (constants[name] for name in bias.input)
    assert codes.dtype == np.int32
    assert np.array_equal(got, scale * record.activations["x"].scale)
    assert np.array_equal(codes, np.rint(b.constants["c1"] / got.astype(np.float64)))
    assert not zero.any()


def test_relu_that_saturation_does_is_left_out() -> None:
    b = Builder([1, 2, 5, 5])
    b.conv(2, 3)
    b.op("MaxPool", kernel_shape=[2, 2])
    b.op("Relu")
    b.op("Clip", b.h, "", b.const(6))
    model = Model.load(b.finish())
    graph = prepare(model)
    assert make_plan(graph).observed == {"v0": ("v3",), "x": ("x",)}
    record = made_up(model)
    nodes, _ = parts(apply(model, record))
    assert [n.op_type for n in nodes if "Linear" not in n.op_type] == ["Conv", "MaxPool"]
    assert nodes[-1].output[0] == "v3"
    shifted = {name: Params(p.scale_bits, 3, p.dtype) for name, p in record.activations.items()}
    nodes, _ = parts(apply(model, QuantisationRecord(model.digest, record.config, 1, shifted)))
    assert [n.op_type for n in nodes if "Linear" not in n.op_type][-1:] == ["Relu"]


def test_relu_whose_input_is_read_elsewhere_is_observed_before() -> None:
    b = Builder([1, 2, 5, 5])
    before = b.conv(2, 2)
    b.op("Relu")
    b.op("Add", b.h, before)
    plan = make_plan(prepare(Model.load(b.finish())))
    assert plan.observed == {"v0": ("v0", "v1"), "v2": ("v2",), "x": ("x",)}


def test_zero_weights_and_dead_channels() -> None:
    weight = np.zeros((3, 2), np.float32)
    scale = np.float32(0.02)
    made = quantise_weights(weight, np.float32([1, 0, -2]), None, scale, "node")
    assert not made.weight.any()
    assert float(made.weight_scale) == 1.0
    weight[1] = [0.5, -1.0]
    weight[2] = 1e-42
    made = quantise_weights(weight, np.float32([1, 0, -2]), 0, scale, "node")
    assert made.weight[1].tolist() == [64, -127]
    assert made.bias is not None
    back = made.bias * made.bias_scale
    assert np.abs(back - [1, 0, -2]).max() < 1e-6


def test_bias_beyond_int32_is_refused() -> None:
    weight = np.full((2, 2), 1e-6, np.float32)
    with pytest.raises(UnsupportedModel, match=r"node 3 \(Gemm\): its bias 1000 needs"):
        quantise_weights(weight, np.float32([1, 1e3]), None, np.float32(0.01), "node 3 (Gemm)")
    with pytest.raises(UnsupportedModel, match="no normal float32"):
        quantise_weights(weight, None, None, np.float32(2**-120), "node")


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_ranges(dtype: str) -> None:
    low = 0 if dtype == "uint8" else -128
    for bottom, top, zero in ((0, 5, 0), (-1, 3, 64), (-5, 0, 255), (2, 5, 0), (-64, 191, 64)):
        params = params_for(bottom, top, dtype)
        assert params.zero_point == low + zero
        assert params.scale == np.float32((max(top, 0) - min(bottom, 0)) / 255)
    assert params_for(0, 0, dtype) == Params(0x3F800000, low, dtype)
    assert params_for(0, 1e-40, dtype) == Params(0x3F800000, low, dtype)
    assert np.isfinite(params_for(-3e38, 3e38, dtype).scale)


def test_percentile_and_mse_ignore_an_outlier() -> None:
    counts = np.zeros(1000, np.int64)
    counts[:10] = 100_000
    counts[-1] = 1
    seen = Seen(0.0, 100.0, counts)
    wide = choose(seen, QuantisationConfig())
    cut = choose(seen, QuantisationConfig("percentile", 999_900))
    assert float(wide.scale) == pytest.approx(100 / 255)
    assert float(cut.scale) == pytest.approx(1 / 255, rel=0.01)
    best = choose(seen, QuantisationConfig("mse"))
    assert best.scale < wide.scale
    assert choose(Seen(0.0, 1.0, NONE), QuantisationConfig("mse")) == params_for(0, 1, "uint8")
