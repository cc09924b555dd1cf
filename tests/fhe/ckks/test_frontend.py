"""Operators as affine forms: against onnxruntime, over attributes; and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from proofml.errors import UnsupportedModel
from proofml.fhe.ckks.frontend import read_network
from proofml.fhe.ckks.network import Linear, Network, Product
from proofml.model import Model
from proofml.store import Store
from proofml.tensors import Array

from .models import Builder, reference


def computed(model: Model, network: Network, inputs: dict[str, Array]) -> dict[str, Array]:
    """The network's outputs for a batch of 1."""
    vectors = [inputs[spec.name].reshape(1, -1).astype(np.float64) for spec in model.inputs]
    values = network.evaluate(vectors)
    tensors = {
        r.name: values[r.value][0][r.index].reshape(r.shape).astype(np.float32)
        for r in network.results
    }
    return network.tail.run(tensors)


def check(model: Model, *, final: str = "client") -> Network:
    """Compares with onnxruntime on random inputs."""
    network = read_network(model, final=final)
    rng = np.random.default_rng(3)
    inputs = {
        spec.name: rng.standard_normal([dim or 1 for dim in spec.shape or ()]).astype(np.float32)
        for spec in model.inputs
    }
    wanted, found = reference(model, inputs), computed(model, network, inputs)
    assert list(found) == [spec.name for spec in model.outputs]
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=2e-4, atol=2e-5)
    return network


CONVOLUTIONS: list[dict[str, Any]] = [
    {},
    {"strides": [2, 2]},
    {"strides": [3, 2], "pads": [1, 0, 2, 1]},
    {"dilations": [2, 1], "pads": [2, 1, 2, 1]},
    {"group": 2},
    {"group": 4, "pads": [1, 1, 1, 1], "strides": [2, 1]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    {"auto_pad": "VALID", "strides": [2, 3]},
]


@pytest.mark.parametrize("attributes", CONVOLUTIONS, ids=str)
def test_convolutions(attributes: dict[str, Any], store: Store) -> None:
    b = Builder([1, 4, 9, 8])
    b.conv(4, 8, **attributes)
    assert len(check(b.model(store)).steps) == 1


def test_convolution_along_one_axis(store: Store) -> None:
    b = Builder([1, 2, 11])
    b.op("Conv", b.last, b.draw(3, 2, 4), strides=[2], pads=[1, 2])
    check(b.model(store))


POOLS: list[dict[str, Any]] = [
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [2, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
]


@pytest.mark.parametrize("attributes", POOLS, ids=str)
def test_average_pools(attributes: dict[str, Any], store: Store) -> None:
    b = Builder([1, 3, 8, 7])
    b.op("AveragePool", **attributes)
    check(b.model(store))


def test_affine_operators_make_one_matrix(store: Store) -> None:
    """Convolution, normalisation, pooling, reshape and product between two activations."""
    b = Builder([1, 2, 8, 8])
    b.conv(2, 4, pads=[1, 1, 1, 1])
    b.norm(4)
    b.op("Mul", b.last, b.const(np.linspace(0.5, 1.5, 4).reshape(1, 4, 1, 1)))
    b.op("Relu")
    b.op("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    b.op("GlobalAveragePool")
    b.op("Flatten")
    b.gemm(4, 3)
    b.op("Div", b.last, b.const([2.0, 4.0, -1.0]))
    network = check(b.model(store))
    assert [type(step).__name__ for step in network.steps] == ["Linear", "Activation", "Linear"]


def unary(op: str, **attributes: Any) -> Callable[[Builder], None]:
    def add(b: Builder) -> None:
        b.op(op, **attributes)
        b.gemm(6, 2)

    return add


def power(n: float) -> Callable[[Builder], None]:
    def add(b: Builder) -> None:
        b.op("Pow", b.last, b.const(n))
        b.gemm(6, 2)

    return add


FUNCTIONS = {
    "Relu": unary("Relu"),
    "Sigmoid": unary("Sigmoid"),
    "Tanh": unary("Tanh"),
    "Gelu": unary("Gelu"),
    "Gelu tanh": unary("Gelu", approximate="tanh"),
    "Softplus": unary("Softplus"),
    "Erf": unary("Erf"),
    "HardSwish": unary("HardSwish"),
    "Pow 1": power(1),
    "Pow 2": power(2),
    "Pow 3": power(3),
    "Pow 7": power(7),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, store: Store) -> None:
    b = Builder([1, 6], opset=20)
    FUNCTIONS[name](b)
    check(b.model(store))


def test_gelu_as_exporters_write_it(store: Store) -> None:
    b = Builder([1, 6])
    x = b.gemm(6, 6)
    b.op("Div", x, b.const(np.sqrt(2)))
    b.op("Erf")
    b.op("Add", b.last, b.const(1))
    b.op("Mul", x, b.last)
    b.op("Mul", b.last, b.const(0.5))
    b.gemm(6, 2)
    network = check(b.model(store))
    assert [type(step).__name__ for step in network.steps] == ["Linear", "Activation", "Linear"]


def test_products_of_values(store: Store) -> None:
    b = Builder([1, 6])
    left, right = b.gemm(6, 6), b.op("Gemm", "x", b.draw(6, 6), b.draw(6))
    b.op("Mul", left, right)
    b.op("Mul", b.last, b.last)
    b.op("Mul", b.last, "x")
    b.gemm(6, 2)
    network = check(b.model(store))
    assert sum(isinstance(step, Product) for step in network.steps) == 3


def test_products_with_other_orders_and_broadcasting(store: Store) -> None:
    b = Builder([1, 3, 4])
    moved = b.op("Transpose", "x", perm=[0, 2, 1])
    b.op("Reshape", moved, b.const([1, 3, 4], np.int64))
    product = b.op("Mul", b.last, "x")
    means = b.op("ReduceMean", "x", axes=[2], keepdims=1)
    b.op("Mul", product, means)
    check(b.model(store))


def test_sums(store: Store) -> None:
    b = Builder([1, 6])
    first = b.gemm(6, 6)
    skip = b.op("Tanh")
    b.gemm(6, 6)
    b.op("Add", b.last, skip)
    b.op("Sub", b.const([1.0]), b.last)
    b.op("Neg")
    b.op("Sub", b.last, first)
    b.op("Tanh")
    b.gemm(6, 2)
    network = check(b.model(store))
    assert max(len(step.parts) for step in network.steps if isinstance(step, Linear)) == 2


def test_movements(store: Store) -> None:
    b = Builder([1, 4, 6])
    b.op("Unsqueeze", b.last, b.const([1], np.int64))
    b.op("Squeeze", b.last, b.const([1], np.int64))
    b.op("Slice", b.last, b.const([0, 5], np.int64), b.const([3, -7], np.int64),
         b.const([1, 2], np.int64), b.const([1, -2], np.int64))  # fmt: skip
    b.op("Pad", b.last, b.const([0, 1, 0, 0, 0, 2], np.int64))
    b.op("Concat", b.last, b.const(np.ones((1, 4, 2))), b.last, axis=2)
    b.op("Flatten")
    b.gemm(48, 3)
    check(b.model(store))


def test_reductions(store: Store) -> None:
    for op, keep in (("ReduceMean", 0), ("ReduceSum", 1)):
        b = Builder([1, 4, 6])
        if op == "ReduceSum":
            b.op(op, b.last, b.const([-1], np.int64), keepdims=keep)
        else:
            b.op(op, axes=[1, 2], keepdims=keep)
        check(b.model(store))


def test_several_inputs_and_outputs(store: Store) -> None:
    b = Builder([1, 4])
    y = b.input("y", [1, 3])
    left = b.gemm(4, 5)
    right = b.op("Gemm", y, b.draw(3, 5), b.draw(5))
    total = b.op("Add", left, right)
    b.op("Tanh")
    last = b.gemm(5, 2)
    network = check(b.model(store, total, last))
    assert [r.name for r in network.results] == [total, last]


def test_free_batch(store: Store) -> None:
    b = Builder(["n", 3, 4])
    shape = b.op("Shape")
    rows = b.op("Slice", shape, b.const([0], np.int64), b.const([1], np.int64))
    dims = b.op("Concat", rows, b.const([-1], np.int64), axis=0)
    b.op("Reshape", "x", dims)
    b.gemm(12, 5)
    b.op("Relu")
    b.gemm(5, 2)
    check(b.model(store))


TAILS: dict[str, Callable[[Builder], None]] = {
    "softmax": lambda b: [b.op("Softmax", axis=1), b.op("Identity")],  # type: ignore[dict-item,return-value]
    "argmax": lambda b: b.op("ArgMax", axis=1, keepdims=0),  # type: ignore[dict-item,return-value]
    "sigmoid": lambda b: b.op("Sigmoid"),  # type: ignore[dict-item,return-value]
    "normalised": lambda b: [  # type: ignore[dict-item,return-value]
        b.op("Sigmoid"),
        b.op("Div", b.last, b.op("ReduceSum", b.op("Abs"), b.const([1], np.int64))),
    ],
    "relu": lambda b: b.op("Relu"),  # type: ignore[dict-item,return-value]
    "logs": lambda b: b.op("LogSoftmax", axis=-1),  # type: ignore[dict-item,return-value]
}


@pytest.mark.parametrize("name", TAILS)
def test_last_steps_are_left_to_the_client(name: str, store: Store) -> None:
    b = Builder([1, 6])
    b.gemm(6, 3)
    TAILS[name](b)
    network = check(b.model(store))
    assert [type(step) for step in network.steps] == [Linear]
    assert network.tail.nodes


def test_last_activation_on_the_server(store: Store) -> None:
    b = Builder([1, 6])
    b.gemm(6, 3)
    b.op("Sigmoid")
    network = check(b.model(store), final="server")
    assert not network.tail.nodes
    assert len(network.activations) == 1


def bad_unknown(b: Builder) -> None:
    b.op("MaxPool", kernel_shape=[2, 2])


def bad_control(b: Builder) -> None:
    b.op("Where", b.const([True], np.bool_), b.last, b.last)


def bad_weights(b: Builder) -> None:
    b.op("Flatten")
    b.op("MatMul", b.last, b.op("Transpose", b.last))


def bad_nan(b: Builder) -> None:
    b.op("Mul", b.last, b.const(np.nan))


def bad_zero(b: Builder) -> None:
    b.op("Div", b.last, b.const(0.0))


def bad_division(b: Builder) -> None:
    b.op("Div", b.last, b.last)


def bad_power(b: Builder) -> None:
    b.op("Pow", b.last, b.const(0.5))


def bad_cast(b: Builder) -> None:
    b.op("Cast", to=TensorProto.INT64)


def bad_wide(b: Builder) -> None:
    b.op("Flatten")
    b.op("MatMul", b.last, b.const(np.ones((32, 20000))))
    b.op("Relu")
    b.op("MatMul", b.last, b.const(np.ones((20000, 2))))


def bad_constant(b: Builder) -> None:
    b.op("Mul", b.last, b.const(0.0))
    b.op("Relu")
    b.op("Flatten")
    b.gemm(32, 2)


def bad_pads(b: Builder) -> None:
    b.op("Pad", b.last, b.const([0, 0, 1, 0, 0, 0, 0, 0], np.int64), b.const(1.0))


def bad_middle(b: Builder) -> None:
    b.op("Softmax", axis=1)
    b.op("Flatten")
    b.gemm(32, 2)


BAD = {
    "unknown": (bad_unknown, "MaxPool cannot be computed on CKKS ciphertexts"),
    "control": (bad_control, "Where cannot be computed"),
    "weights": (bad_weights, "depends on the inputs"),
    "nan": (bad_nan, "not finite"),
    "zero": (bad_zero, "divides by zero"),
    "division": (bad_division, "depends on the inputs"),
    "power": (bad_power, "a whole number from 1 to 8"),
    "cast": (bad_cast, "only a Cast to float32"),
    "wide": (bad_wide, "too wide: needs 20000 slots"),
    "constant": (bad_constant, "depends on no input"),
    "pads": (bad_pads, "only padding with a constant 0"),
    "middle": (bad_middle, "Softmax"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_by_name(name: str, store: Store) -> None:
    add, words = BAD[name]
    b = Builder([1, 2, 4, 4])
    add(b)
    with pytest.raises(UnsupportedModel, match=words):
        read_network(b.model(store))


def test_refused_interfaces(store: Store) -> None:
    for shape, words in (
        ([2, 4], "batch"),
        (["n", "m"], "fixed other axes"),
        ([1, 20000], "too wide"),
    ):
        b = Builder(shape)
        b.op("Relu")
        b.op("Mul", b.last, b.last)
        with pytest.raises(UnsupportedModel, match=words):
            read_network(b.model(store))
