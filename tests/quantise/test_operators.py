"""Each operator, quantised, stays near the float one; all of them in a few models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from proofml.circuits.quantise import QuantisationConfig
from proofml.circuits.quantise.islands import MAX_NODES
from proofml.circuits.quantise.prepare import prepare
from proofml.model import Model

from .builder import Builder
from .workshop import Workshop

#: Share of the output's range: two roundings to 8 bits and one of the weights, with room.
TOLERANCE = 0.02


def ints(b: Builder, *values: int) -> str:
    return b.const(values, np.int64)


def add_common(b: Builder) -> dict[str, str]:
    """Operators that are written alike in all operator sets; x is [1, 4, 8, 8]."""
    made: dict[str, str] = {}

    def put(label: str, kind: str, *inputs: str, **attributes: Any) -> str:
        made[label] = b.op(kind, *(inputs or ("x",)), **attributes)
        return made[label]

    def conv(label: str, *dims: int, **attributes: Any) -> str:
        bias = b.const(b.rng.standard_normal(dims[0]))
        return put(label, "Conv", "x", b.weight(*dims), bias, **attributes)

    conv("conv", 6, 4, 3, 3)
    conv("conv_stride_pad", 6, 4, 3, 3, strides=[2, 2], pads=[1, 0, 1, 2])
    conv("conv_dilated", 6, 4, 3, 3, dilations=[2, 2])
    conv("conv_groups", 6, 2, 3, 3, group=2)
    conv("conv_depthwise", 8, 1, 3, 3, group=4)
    conv("conv_same", 6, 4, 3, 3, auto_pad="SAME_UPPER")
    pre = conv("conv_relu_in", 6, 4, 1, 1)
    put("relu", "Relu", pre)
    flat = b.op("Reshape", "x", ints(b, 4, 64))
    line = b.op("Reshape", "x", ints(b, 1, 4, 64))
    put("conv1d", "Conv", line, b.weight(3, 4, 5), strides=[2], pads=[2, 2])
    row = b.const(b.rng.standard_normal(5))
    put("gemm", "Gemm", flat, b.weight(64, 5), row, alpha=0.5, beta=2.0)
    put("gemm_transposed", "Gemm", flat, b.weight(5, 64), row, transB=1)
    put("gemm_without_bias", "Gemm", flat, b.weight(5, 64), transB=1)
    put("matmul", "MatMul", flat, b.weight(64, 5))
    put("matmul_rank3", "MatMul", line, b.weight(64, 5))
    moved = b.op("Transpose", b.weight(5, 64), perm=[1, 0])
    put("matmul_add", "Add", b.op("MatMul", line, moved), row)
    normal = b.op("Conv", "x", b.weight(6, 4, 3, 3))
    b.h = normal
    made["batch_norm"] = b.norm(6)
    b.op("Gemm", flat, b.weight(64, 5))
    made["batch_norm_gemm"] = b.norm(5)
    scaled = b.op("Mul", b.op("Conv", "x", b.weight(6, 4, 1, 1)), b.weight(6, 1, 1))
    put("scale_and_shift", "Add", scaled, b.weight(1, 6, 1, 1))
    for label, kind, more in (
        ("relu_of_input", "Relu", {}),
        ("leaky_relu", "LeakyRelu", {"alpha": 0.2}),
        ("sigmoid", "Sigmoid", {}),
        ("tanh", "Tanh", {}),
        ("hard_sigmoid", "HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("exp", "Exp", {}),
        ("erf", "Erf", {}),
        ("identity", "Identity", {}),
        ("global_average_pool", "GlobalAveragePool", {}),
        ("flatten", "Flatten", {"axis": 2}),
        ("transpose", "Transpose", {"perm": [0, 2, 3, 1]}),
    ):
        put(label, kind, **more)
    put("sqrt", "Sqrt", b.op("Add", b.op("Sigmoid", "x"), b.const(0.5)))
    put("clip", "Clip", "x", b.const(-0.5), b.const(1.25))
    put("clip_open", "Clip", "x", "", b.const(0.75))
    put("clip_off_zero", "Clip", "x", b.const(0.5), b.const(2.0))
    put("add_input", "Add", "x", made["tanh"])
    put("add_constant", "Add", b.weight(4, 1, 1), "x")
    put("sub_constant", "Sub", "x", b.weight(8))
    put("mul_input", "Mul", "x", made["sigmoid"])
    put("mul_constant", "Mul", "x", b.const(-3.5))
    put("div_constant", "Div", "x", b.const(2.5))
    put("square", "Mul", "x", "x")
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    put("max_pool", "MaxPool", **window)
    put("average_pool", "AveragePool", **window)
    put("average_pool_counting", "AveragePool", count_include_pad=1, **window)
    put("pad", "Pad", "x", ints(b, 0, 0, 1, 2, 0, 0, 0, 1))
    put("pad_value", "Pad", "x", ints(b, 0, 0, 1, 2, 0, 0, 0, 1), b.const(5.0))
    put("pad_reflect", "Pad", "x", ints(b, 0, 0, 1, 2, 0, 0, 0, 1), mode="reflect")
    put("concat", "Concat", "x", made["tanh"], axis=1)
    put("concat_constant", "Concat", "x", b.weight(1, 2, 8, 8), axis=1)
    put("slice", "Slice", "x", ints(b, 1), ints(b, 8), ints(b, 3), ints(b, 2))
    empty = b.const([])
    put("resize", "Resize", "x", empty, b.const([1, 1, 3, 2]), mode="nearest")
    put("resize_sizes", "Resize", "x", empty, empty, ints(b, 1, 4, 8, 16), mode="nearest")
    spread = {"strides": [2, 2], "pads": [1, 1, 0, 1]}
    put("transposed", "ConvTranspose", "x", b.weight(4, 3, 3, 3), b.weight(3), **spread)
    put("transposed_norm", "Mul", b.h, b.weight(1, 3, 1, 1))
    put("expand", "Expand", "x", ints(b, 3, 4, 8, 8))
    put("reshape", "Reshape", "x", ints(b, 0, -1, 4))
    put("reduce_nothing_left", "Mul", b.op("Dropout", "x"), b.const(1.5))
    return made


def model(opset: int) -> tuple[bytes, dict[str, str]]:
    b = Builder([1, 4, 8, 8], opset=opset)
    made = add_common(b)
    axes: tuple[tuple[str, list[int], int], ...] = (
        ("spatial", [2, 3], 0),
        ("spatial_kept", [-1, -2], 1),
        ("channels", [1], 0),
        ("ends", [0, 3], 1),
    )
    for kind in ("ReduceMean", "ReduceSum"):
        as_input = opset >= (18 if kind == "ReduceMean" else 13)
        for label, values, keep in axes:
            inputs = ("x", ints(b, *values)) if as_input else ("x",)
            more = {} if as_input else {"axes": values}
            made[f"{kind}_{label}"] = b.op(kind, *inputs, keepdims=keep, **more)
        made[f"{kind}_all"] = b.op(kind, "x")
    if opset >= 13:
        made["unsqueeze"] = b.op("Unsqueeze", "x", ints(b, 0, 3))
        made["squeeze"] = b.op("Squeeze", made["ReduceMean_spatial_kept"], ints(b, 2, 3))
        made["split"] = b.op("Split", "x", ints(b, 1, 3), outputs=2, axis=1)
        made["split_second"] = f"{made['split']}_1"
    else:
        made["unsqueeze"] = b.op("Unsqueeze", "x", axes=[0, 3])
        made["squeeze"] = b.op("Squeeze", made["ReduceMean_spatial_kept"], axes=[2, 3])
        made["split"] = b.op("Split", "x", outputs=2, axis=1, split=[1, 3])
        made["split_second"] = f"{made['split']}_1"
    if 13 <= opset < 18:
        made["split_equal"] = b.op("Split", "x", outputs=2, axis=1)
    if opset >= 14:
        made["hard_swish"] = b.op("HardSwish", "x")
    if opset >= 20:
        made["gelu"] = b.op("Gelu", "x")
        made["gelu_tanh"] = b.op("Gelu", "x", approximate="tanh")
    x = "x"
    erf = b.op("Erf", b.op("Mul", b.const(0.70710678), x))
    plus = b.op("Add", b.const(1), erf)
    made["gelu_halved"] = b.op("Mul", b.op("Mul", b.const(0.5), x), plus)
    half = b.op("Mul", b.op("Add", b.op("Erf", b.op("Div", x, b.const(1.41421354))), b.const(1)), x)
    made["gelu_written_out"] = b.op("Mul", half, b.const([0.5]))
    return b.finish(*made.values()), made


@pytest.mark.parametrize("opset", [12, 17, 20])
def test_near_the_float_model(workshop: Workshop, opset: int) -> None:
    data, made = model(opset)
    outcome = workshop.run(data)
    shares = {
        label: output.max_error / output.scale
        for label, output in zip(made, outcome.report.outputs, strict=True)
    }
    assert {label: share for label, share in shares.items() if not share <= TOLERANCE} == {}
    kinds = {node.op_type for node in outcome.quantised.proto.graph.node}
    assert not kinds & {"BatchNormalization", "Dropout", "ReduceMean", "ReduceSum", "Sub", "Div"}
    assert "Erf" in kinds  # the one that stands alone
    assert outcome.model.operators["Erf"] == 3
    assert outcome.quantised.operators["Erf"] == 1
    assert outcome.quantised.operators["Gelu"] == (4 if opset == 20 else 2)


def swish(b: Builder, x: str) -> str:
    return b.op("Mul", x, b.op("Sigmoid", x))


def hard_swish(b: Builder, x: str) -> str:
    clipped = b.op("Clip", b.op("Add", x, b.const(3)), b.const(0), b.const(6))
    return b.op("Div", b.op("Mul", x, clipped), b.const(6))


def squared_tanh(b: Builder, x: str) -> str:
    y = b.op("Tanh", x)
    return b.op("Mul", y, y)


def one_minus(b: Builder, x: str) -> str:
    return b.op("Sub", b.const(1), b.op("Sigmoid", x))


def bell(b: Builder, x: str) -> str:
    return b.op("Exp", b.op("Neg", b.op("Mul", x, x)))


def two_readers(b: Builder, x: str) -> str:
    y = b.op("Tanh", x)
    return b.op("Add", b.op("Add", y, b.op("Sigmoid", y)), x)


def other_source(b: Builder, x: str) -> str:
    return b.op("Mul", x, b.op("Sigmoid", b.op("Conv", "x", b.weight(4, 3, 3, 3))))


def shifted(b: Builder, x: str) -> str:
    return b.op("Add", x, b.weight(4, 1, 1))


FUNCTIONS: dict[Callable[[Builder, str], str], list[list[str]]] = {
    swish: [["Sigmoid", "Mul"]],
    hard_swish: [["Add", "Clip", "Mul", "Mul"]],
    squared_tanh: [["Tanh", "Mul"]],
    one_minus: [["Sigmoid", "Sub"]],
    bell: [["Neg", "Exp"]],
    two_readers: [["Sigmoid", "Add"]],
    other_source: [],
    shifted: [],
}


def test_functions_of_one_value_become_islands(workshop: Workshop) -> None:
    b = Builder([1, 3, 8, 8])
    outputs = []
    for function in FUNCTIONS:
        b.h = "x"
        function(b, b.op("MaxPool", b.conv(3, 4), kernel_shape=[1, 1]))
        outputs.append(b.op("Relu"))
    data = b.finish(*outputs)
    graph = prepare(Model.load(data))
    found = [[inner.op for inner in node.body] for node in graph.nodes if node.op == "Island"]
    assert found == [island for islands in FUNCTIONS.values() for island in islands]
    outcome = workshop.run(data)
    assert outcome.quantised.operators["Relu"] == 0
    for output in outcome.report.outputs:
        assert output.max_error <= 3 * TOLERANCE * output.scale


def test_long_chains_are_cut() -> None:
    b = Builder([1, 4])
    for _ in range(3 * MAX_NODES):
        b.op("Mul", b.op("Tanh"), b.const(2.0))
    graph = prepare(Model.load(b.finish()))
    assert [len(node.body) for node in graph.nodes] == [MAX_NODES] * 6


@pytest.mark.parametrize("per_channel", [False, True])
def test_int8_and_other_methods(workshop: Workshop, per_channel: bool) -> None:
    data, made = model(17)
    config = QuantisationConfig(
        method="mse" if per_channel else "percentile",
        percentile=999_990,
        per_channel=per_channel,
        activations="int8",
    )
    outcome = workshop.run(data, config)
    shares = {
        label: output.mean_error / output.scale
        for label, output in zip(made, outcome.report.outputs, strict=True)
    }
    assert {label: share for label, share in shares.items() if not share <= TOLERANCE} == {}


@pytest.mark.parametrize("dtype", [onnx.TensorProto.UINT8, onnx.TensorProto.INT8])
def test_8_bit_input_is_taken_as_it_is(workshop: Workshop, dtype: int) -> None:
    b = Builder([1, 1, 8, 8])
    b.op("Cast", to=onnx.TensorProto.FLOAT)
    b.op("Div", b.h, b.const(255.0))
    b.conv(1, 4)
    b.op("Relu")
    b.op("ArgMax", axis=1, keepdims=0)
    data = b.finish(dtype=onnx.TensorProto.INT64, input_type=dtype)
    kind = "uint8" if dtype == onnx.TensorProto.UINT8 else "int8"
    outcome = workshop.run(data, QuantisationConfig(activations=kind))
    assert outcome.quantised.inputs == outcome.model.inputs
    assert "x" not in outcome.record.activations
    assert outcome.quantised.operators["Cast"] == 0
    (output,) = outcome.report.outputs
    assert output.top1 is not None
    assert output.top1 > 0.95
