"""Each operator of the importer, alone: onnxruntime's values, and the stated class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from .agreement import compare
from .models import LIMITS, MICROSOFT, Net, Tensor

Build = Callable[[Net], "Tensor | ModelProto"]
F32 = np.float32
#: Operands of Resize that are left out, as operator sets before 13 want them.
NO_REGION = np.zeros(0, F32)


def integers(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def functional(operator: str, scale: float, **attributes: Any) -> Build:
    return lambda net: net.unary(operator, net.input((300,), 0.03), scale, **attributes)


def moved(
    operator: str, shape: tuple[int, ...], result: tuple[int, ...], *inputs: Any, **more: Any
) -> Build:
    def build(net: Net) -> Tensor:
        names = [net.constant(np.asarray(array)) for array in inputs]
        return net.moved(operator, net.input(shape), names, result, **more)

    return build


def pooled(operator: str, result: tuple[int, ...], **attributes: Any) -> Build:
    def build(net: Net) -> Tensor:
        x = net.input((2, 3, 9, 10))
        value = net.node(operator, [net.float(x)], **attributes)
        if operator == "MaxPool":
            return net.quantise(value, result, x.scale, x.zero)
        return net.quantise(value, result, net.scale(0.015), net.zero())

    return build


def reduced(operator: str, keep: int) -> Build:
    def build(net: Net) -> Tensor:
        value = net.float(net.input((3, 4, 5, 30)))
        if operator == "ReduceSum":
            value = net.node(operator, [value, net.constant(integers(1, -1))], keepdims=keep)
        else:
            value = net.node(operator, [value], axes=[1, -1], keepdims=keep)
        scale = net.scale(0.01 if operator == "ReduceMean" else 0.5)
        return net.quantise(value, (3, 1, 5, 1) if keep else (3, 5), scale, net.zero())

    return build


def gelu(net: Net) -> Tensor:
    """As PyTorch exports it: x * (1 + erf(x / sqrt 2)) * 0.5."""
    value = net.float(net.input((4, 75), 0.03))
    root, one, half = (net.constant(np.array(c, F32)) for c in (np.sqrt(2), 1, 0.5))
    inner = net.node("Add", [net.node("Erf", [net.node("Div", [value, root])]), one])
    value = net.node("Mul", [net.node("Mul", [value, inner]), half])
    return net.quantise(value, (4, 75), net.scale(0.02), net.zero())


def silu(net: Net) -> Tensor:
    value = net.float(net.input((4, 75), 0.03))
    value = net.node("Mul", [value, net.node("Sigmoid", [value])])
    return net.quantise(value, (4, 75), net.scale(0.02), net.zero())


def joined(net: Net) -> Tensor:
    parts = [net.input((2, 3, 4)), net.input((2, 5, 4), 0.03), net.input((2, 1, 4), 0.01)]
    value = net.node("Concat", [net.float(x) for x in parts], axis=-2)
    return net.quantise(value, (2, 9, 4), net.scale(0.03), net.zero())


def split(net: Net) -> ModelProto:
    x = net.input((2, 7, 3))
    names = [net.name("part") for _ in range(3)]
    sizes = net.constant(integers(2, 1, 4))
    net.nodes.append(helper.make_node("Split", [net.float(x), sizes], names, axis=1))
    parts = zip(names, (2, 1, 4), strict=True)
    return net.model([net.quantise(name, (2, n, 3), x.scale, x.zero) for name, n in parts])


def arg_max(keep: int) -> Build:
    def build(net: Net) -> ModelProto:
        name = net.node("ArgMax", [net.float(net.input((3, 9, 4)))], axis=1, keepdims=keep)
        shape = [3, 1, 4] if keep else [3, 4]
        return net.proto([helper.make_tensor_value_info(name, TensorProto.INT64, shape)])

    return build


def matmul_integer(net: Net) -> ModelProto:
    x = net.input((3, 9), codes=True)
    weights = net.rng.integers(-128, 128, (9, 4)).astype(np.int8)
    zero = net.constant(np.array(x.zero, net.dtype))
    name = net.node("MatMulInteger", [x.name, net.constant(weights), zero])
    return net.proto([helper.make_tensor_value_info(name, TensorProto.INT32, [3, 4])])


def conv_integer(net: Net) -> ModelProto:
    x = net.input((2, 3, 9, 7), codes=True)
    weights = net.constant(net.rng.integers(0, 256, (4, 3, 3, 2)).astype(np.uint8))
    zeros = [net.constant(np.array(x.zero, net.dtype)), net.constant(np.array(77, np.uint8))]
    name = net.node("ConvInteger", [x.name, weights, *zeros], pads=[1, 0, 1, 1])
    return net.proto([helper.make_tensor_value_info(name, TensorProto.INT32, [2, 4, 9, 7])])


def rescaled(bias: bool) -> Build:
    """MatMulInteger, Cast, Mul, Add, QuantizeLinear."""

    def build(net: Net) -> Tensor:
        x = net.input((3, 90), codes=True)
        weights = net.constant(net.rng.integers(-128, 128, (90, 400)).astype(np.int8))
        zero = net.constant(np.array(x.zero, net.dtype))
        value = net.node("Cast", [net.node("MatMulInteger", [x.name, weights, zero])], to=1)
        value = net.node("Mul", [value, net.constant(np.array(net.scale(0.001)))])
        if bias:
            added = net.constant(net.rng.standard_normal(400).astype(F32))
            value = net.node("Add", [value, added])
        return net.quantise(value, (3, 400), net.scale(0.7), net.zero())

    return build


def matmul_add(net: Net) -> Tensor:
    """A float bias behind MatMul: the runtime makes a Gemm with an int32 bias of it."""
    x = net.input((2, 20, 64))
    codes, scale, zero = net.weight((64, 50), 1)
    weights = net.dequantised(codes, scale, zero, 1)
    bias = net.rng.standard_normal(50) * 500 * x.scale * scale
    value = net.node("MatMul", [net.float(x), weights])
    value = net.node("Add", [value, net.constant(bias.astype(F32))])
    return net.quantise(value, (2, 20, 50), net.out_scale(x, 64, scale), net.zero())


def conv_pool(net: Net) -> Tensor:
    """Relu and MaxPool between a Conv and its QuantizeLinear."""
    x = net.input((2, 8, 14, 14))
    codes, scale, zero = net.weight((16, 8, 3, 3), 0)
    value = net.node("Conv", [net.float(x), net.dequantised(codes, scale, zero, 0)])
    value = net.node("MaxPool", [net.node("Relu", [value])], kernel_shape=[2, 2], strides=[2, 2])
    return net.quantise(value, (2, 16, 6, 6), net.out_scale(x, 72, scale), net.zero(low=True))


def two(operator: str, left: tuple[int, ...], right: tuple[int, ...], act: str = "") -> Build:
    return lambda net: net.pair(operator, net.input(left), net.input(right, 0.03), act=act)


#: Name -> builder, the class of its last node for uint8, whether it has a QOperator form.
CASES: dict[str, tuple[Build, str, bool]] = {
    "gemm": (lambda n: n.gemm(n.input((7, 33)), 11), "E", True),
    "gemm-alpha": (lambda n: n.gemm(n.input((7, 33)), 11, alpha=0.37), "E", True),
    "gemm-relu": (lambda n: n.gemm(n.input((7, 33)), 11, act="Relu"), "E", False),
    "gemm-clip": (lambda n: n.gemm(n.input((7, 33)), 11, act="Clip"), "E", False),
    "matmul": (lambda n: n.matmul(n.input((2, 5, 33)), 11), "E", True),
    "matmul-codes": (lambda n: n.matmul(n.input((2, 5, 33), codes=True), 11), "E", False),
    "matmul-add": (matmul_add, "E", False),
    "product": (lambda n: n.product(n.input((2, 3, 5, 8)), n.input((2, 3, 8, 6))), "E", True),
    "product-broadcast": (
        lambda n: n.product(n.input((2, 1, 5, 8)), n.input((3, 8, 6))),
        "E",
        True,
    ),
    "product-vector": (lambda n: n.product(n.input((4, 5, 8)), n.input((8,))), "E", False),
    "conv": (
        lambda n: n.conv(n.input((2, 3, 9, 8)), 6, (3, 3), pads=[1, 1, 1, 1], strides=[2, 1]),
        "E",
        True,
    ),
    "conv-dilated": (
        lambda n: n.conv(n.input((1, 3, 11, 8)), 6, (3, 2), dilations=[2, 3], pads=[2, 0, 1, 1]),
        "E",
        True,
    ),
    "conv-1d": (lambda n: n.conv(n.input((2, 4, 19)), 6, (5,), pads=[2, 1]), "E", True),
    "conv-groups": (lambda n: n.conv(n.input((2, 4, 9, 8)), 6, (3, 3), group=2), "E", True),
    "conv-depthwise": (
        lambda n: n.conv(n.input((2, 6, 9, 8)), 6, (3, 3), group=6, pads=[1, 1, 1, 1]),
        "E",
        True,
    ),
    "conv-same": (
        lambda n: n.conv(n.input((1, 3, 9, 8)), 6, (4, 2), auto_pad="SAME_LOWER", strides=[2, 3]),
        "E",
        True,
    ),
    "conv-relu": (lambda n: n.conv(n.input((2, 3, 9, 8)), 6, (3, 3), act="Relu"), "E", False),
    "conv-relu-pool": (conv_pool, "E", False),
    "add": (two("Add", (40, 50), (40, 50)), "T", True),
    "add-right": (two("Add", (4, 6, 50), (6, 1)), "T", True),
    "add-left": (two("Add", (6, 1), (4, 6, 50)), "T", True),
    "add-rows": (two("Add", (4, 6, 50), (50,)), "T", True),
    "add-relu": (two("Add", (40, 50), (40, 50), "Relu"), "T", False),
    "mul": (two("Mul", (40, 50), (40, 50)), "T", True),
    "mul-right": (two("Mul", (4, 6, 50), (6, 1)), "T", True),
    "concat": (joined, "T", False),
    "sigmoid": (functional("Sigmoid", 1 / 256), "T", False),
    "tanh": (functional("Tanh", 1 / 128), "T", False),
    "exp": (functional("Exp", 0.1), "T", False),
    "erf": (functional("Erf", 1 / 128), "T", False),
    "leaky": (functional("LeakyRelu", 0.03, alpha=0.13), "T", False),
    "hard-sigmoid": (functional("HardSigmoid", 1 / 256, alpha=0.21, beta=0.4), "T", False),
    "hard-swish": (functional("HardSwish", 0.02), "T", False),
    "relu": (functional("Relu", 0.02), "T", False),
    "gelu": (gelu, "T", False),
    "silu": (silu, "T", False),
    "maxpool": (
        pooled("MaxPool", (2, 3, 5, 10), kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1]),
        "E",
        False,
    ),
    "maxpool-ceil": (
        pooled(
            "MaxPool",
            (2, 3, 5, 4),
            kernel_shape=[3, 2],
            strides=[2, 2],
            dilations=[2, 3],
            ceil_mode=1,
            pads=[1, 0, 1, 1],
        ),
        "E",
        False,
    ),
    "averagepool": (
        pooled("AveragePool", (2, 3, 4, 4), kernel_shape=[3, 3], strides=[2, 2]),
        "D",
        False,
    ),
    "averagepool-pads": (
        pooled(
            "AveragePool", (2, 3, 5, 10), kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1]
        ),
        "D",
        False,
    ),
    "globalaveragepool": (pooled("GlobalAveragePool", (2, 3, 1, 1)), "E", False),
    "reducemean": (reduced("ReduceMean", 0), "D", False),
    "reducesum": (reduced("ReduceSum", 1), "D", False),
    "reshape": (moved("Reshape", (2, 3, 4, 5), (2, 30, 2), integers(0, -1, 2)), "E", False),
    "transpose": (moved("Transpose", (2, 3, 4, 5), (5, 2, 4, 3), perm=[3, 0, 2, 1]), "E", False),
    "flatten": (moved("Flatten", (2, 3, 4, 5), (6, 20), axis=2), "E", False),
    "squeeze": (moved("Squeeze", (3, 1, 5), (3, 5), integers(1)), "E", False),
    "unsqueeze": (moved("Unsqueeze", (3, 5), (3, 1, 5, 1), integers(1, -1)), "E", False),
    "expand": (moved("Expand", (3, 1, 5), (2, 3, 4, 5), integers(2, 3, 4, 5)), "E", False),
    "slice": (
        moved(
            "Slice",
            (2, 3, 4, 5),
            (2, 3, 2, 2),
            integers(3, 0),
            integers(-100, 4),
            integers(-1, 2),
            integers(-2, 3),
        ),
        "E",
        False,
    ),
    "pad": (
        moved("Pad", (2, 3, 4, 5), (2, 4, 5, 8), integers(0, 1, 2, 0, 0, 0, -1, 3)),
        "E",
        False,
    ),
    "pad-value": (
        moved(
            "Pad", (2, 3, 4, 5), (2, 4, 7, 8), integers(0, 1, 2, 0, 0, 0, 1, 3), np.array(0.37, F32)
        ),
        "E",
        False,
    ),
    "pad-reflect": (
        moved("Pad", (2, 3, 4, 5), (2, 4, 7, 8), integers(0, 1, 2, 0, 0, 0, 1, 3), mode="reflect"),
        "E",
        False,
    ),
    "resize": (
        moved(
            "Resize",
            (2, 3, 4, 5),
            (2, 3, 8, 15),
            NO_REGION,
            np.array([1, 1, 2, 3], F32),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        "E",
        False,
    ),
    "resize-sizes": (
        moved(
            "Resize",
            (3, 4, 5),
            (3, 12, 5),
            NO_REGION,
            NO_REGION,
            integers(3, 12, 5),
            mode="nearest",
        ),
        "E",
        False,
    ),
    "split": (split, "E", False),
    "argmax": (arg_max(0), "E", False),
    "argmax-keep": (arg_max(1), "E", False),
    "matmulinteger": (matmul_integer, "E", False),
    "convinteger": (conv_integer, "E", False),
    "matmulinteger-cast": (rescaled(False), "E", False),
    "matmulinteger-bias": (rescaled(True), "E", False),
}
FORMS = [(name, True) for name in CASES] + [(n, False) for n, c in CASES.items() if c[2]]


@pytest.mark.parametrize(("name", "qdq"), FORMS, ids=lambda v: str(v))
def test_operator(name: str, qdq: bool) -> None:
    build, kind, _ = CASES[name]
    for index in range(8):
        dtype = ("uint8", "int8")[index % 2]
        weights = "int8" if dtype == "int8" or index % 4 == 0 else "uint8"
        net = Net(
            np.random.default_rng(index),
            dtype=dtype,
            weights=weights,
            binary=index % 3 == 0,
            channels=index % 5 == 0,
            qdq=qdq,
        )
        made = build(net)
        proto = made if isinstance(made, ModelProto) else net.model([made], index % 4 < 2 and qdq)
        found = compare(proto, [net.feeds(), net.feeds(extreme=True)])
        classes = found.compiled.graph.classes
        # Class D has its own test; on these inputs it agrees as well.
        assert found.wrong == 0, f"{name} {index}: {found.wrong} of {found.total}"
        if dtype == "uint8" and not net.binary:
            assert classes[kind], (name, classes)
            assert bool(classes["D"]) == (kind == "D"), (name, classes)


@pytest.mark.parametrize(
    ("operator", "scale", "more"),
    [("QLinearSigmoid", 1 / 256, {}), ("QLinearLeakyRelu", 0.02, {"alpha": 0.2})],
)
def test_table_operators(operator: str, scale: float, more: dict[str, Any]) -> None:
    for index in range(8):
        net = Net(np.random.default_rng(index), dtype=("uint8", "int8")[index % 2], qdq=False)
        made = net.qlinear_unary(operator, net.input((300,), 0.03), scale, **more)
        assert compare(net.model([made]), [net.feeds(), net.feeds(True)]).wrong == 0


def test_qlinear_concat_takes_parts_with_their_own_scales() -> None:
    net = Net(np.random.default_rng(3), qdq=False)
    parts = [net.input((2, 3, 4)), net.input((2, 5, 4), 0.03)]
    scale, zero = net.scale(0.03), net.zero()
    names = net.parameters(scale, zero)
    for part in parts:
        names += [part.name, *net.parameters(part.scale, part.zero)]
    made = net.node("QLinearConcat", names, domain=MICROSOFT, axis=1)
    proto = net.model([Tensor(made, (2, 8, 4), scale, zero, "uint8")])
    found = compare(proto, [net.feeds(), net.feeds(True)])
    assert found.wrong == 0
    assert found.compiled.graph.classes["T"]


def test_a_relu_that_the_zero_point_does_not_cover_is_class_d() -> None:
    """The runtime computes it in float then: hardly ever another code."""
    wrong = total = 0
    for seed in range(6):
        net = Net(np.random.default_rng(seed), binary=False)
        x = net.input((2, 8, 14, 14))
        codes, scale, zero = net.weight((16, 8, 3, 3), 0)
        value = net.node("Conv", [net.float(x), net.dequantised(codes, scale, zero, 0)])
        middle = sum(LIMITS["uint8"]) // 2
        out = net.out_scale(x, 72, scale)
        made = net.quantise(net.node("Relu", [value]), (2, 16, 12, 12), out, middle)
        found = compare(net.model([made]), [net.feeds(), net.feeds(True)])
        assert found.compiled.graph.classes["D"]
        wrong, total = wrong + found.wrong, total + found.total
    assert wrong <= total * 1e-4
