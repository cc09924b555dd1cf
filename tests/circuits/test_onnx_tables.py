"""Unary functions: the reference against known values, and onnxruntime's own roundings."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from proofml.circuits.functions import Pair, Table, bits_of, fused, read_function
from proofml.circuits.graph import Step
from proofml.circuits.onnx import compile_model
from proofml.circuits.onnx.overrides import table_overrides
from proofml.circuits.unary import OPERATORS, VARIABLE, Expression, constant, evaluate
from proofml.errors import UnsupportedModel
from proofml.fields import FieldError
from proofml.store import Store

from .agreement import compare
from .models import Net, Tensor, load

X = np.array([-30, -9.5, -2, -0.75, -1e-12, 0, 1e-3, 0.5, 1, 3.25, 9, 30], np.float32)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("exp", math.exp),
        ("erf", math.erf),
        ("tanh", math.tanh),
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("gelu", lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2))),
        ("sqrt", lambda x: math.sqrt(x) if x >= 0 else math.nan),
    ],
)
def test_functions_are_correct_to_half_an_ulp(name: str, function: object) -> None:
    found = evaluate(Expression(name, (VARIABLE,)), X)
    exact = np.array([function(float(x)) for x in X])  # type: ignore[operator]
    ulp = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    valid = ~np.isnan(exact)
    assert (np.isnan(found) == ~valid).all()
    assert (np.abs(found[valid] - exact[valid]) <= 0.5001 * ulp[valid]).all()


def test_unknown_functions_are_refused() -> None:
    with pytest.raises(ValueError, match="no function 'cosine'"):
        evaluate(Expression("cosine", (VARIABLE,)), X)


def test_expressions_round_after_each_operator() -> None:
    third = np.float32(1 / 3)
    tree = Expression("add", (Expression("mul", (VARIABLE, constant(1 / 3))), constant(0.1)))
    assert (evaluate(tree, X) == X * third + np.float32(0.1)).all()
    assert set(OPERATORS) >= {"clip", "leaky", "hard_sigmoid", "gelu_tanh"}


def test_overrides_make_tables_equal_to_the_runtime(tmp_path: Path) -> None:
    net = Net(np.random.default_rng(5))
    x = net.input((256,), 0.03)
    first = net.unary("Sigmoid", x, 1 / 256)
    value = net.float(x)
    value = net.node("Mul", [value, net.node("Tanh", [value])])
    second = net.quantise(value, (256,), net.scale(0.02), net.zero())
    proto = net.model([first, second])
    overrides = table_overrides(load(proto), Store(tmp_path))
    assert compare(proto, [net.feeds(), net.feeds(True)], overrides).wrong == 0


def test_an_override_far_from_a_tie_is_refused() -> None:
    net = Net(np.random.default_rng(5))
    made: Tensor = net.unary("Sigmoid", net.input((4,), 0.03), 1 / 256)
    model = load(net.model([made]))
    name = made.name
    with pytest.raises(UnsupportedModel, match=r"at most 0\.5039"):
        compile_model(model, overrides={name: {0: 255, 1: 0}})
    with pytest.raises(UnsupportedModel, match="no codes"):
        compile_model(model, overrides={name: {300: 1}})


def test_an_override_next_to_a_tie_is_taken() -> None:
    net = Net(np.random.default_rng(5))
    net.inputs.append(("x", TensorProto.UINT8, (4,)))
    x = Tensor("x", (4,), np.float32(0.5), 0, "uint8")
    made = net.quantise(net.node("Relu", [net.float(x)]), (4,), np.float32(1), 0)
    model = load(net.model([made]))
    for overrides, expected in (({}, (0, 0, 1, 2)), ({1: 1, 3: 1}, (0, 1, 1, 1))):
        graph = compile_model(model, overrides={made.name: overrides}).graph
        step = next(node for node in graph.nodes if isinstance(node, Step))
        assert isinstance(step.functions[0], Table)
        assert step.functions[0].values[:4] == expected


def test_fused_multiply_add_rounds_once() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(-255, 256, 2000).astype(np.float32)
    b = np.float32(rng.uniform(0.001, 3))
    c = (rng.standard_normal(2000) * 10.0 ** rng.integers(-12, 6, 2000)).astype(np.float32)
    from fractions import Fraction

    for x, z, y in zip(a, c, fused(a, b, c), strict=True):
        exact = Fraction(float(x)) * Fraction(float(b)) + Fraction(float(z))
        low, high = np.nextafter(y, np.float32(-np.inf)), np.nextafter(y, np.float32(np.inf))
        distance = abs(exact - Fraction(float(y)))
        assert distance <= abs(exact - Fraction(float(low)))
        assert distance <= abs(exact - Fraction(float(high)))


def test_pairs_read_what_they_write() -> None:
    scale = (bits_of(0.02), 7)
    pair = Pair("add", "left", 0, scale, scale, scale, -7, 248)
    assert read_function(pair.to_json(), "f") == pair
    for key, value in (("form", "half"), ("base", -3), ("left", [0, 0]), ("operator", "sub")):
        with pytest.raises(FieldError):
            read_function({**pair.to_json(), key: value}, "f")
    with pytest.raises(FieldError):
        read_function({**pair.to_json(), "operator": "mul"}, "f")
