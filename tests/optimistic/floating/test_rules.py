"""Every operator with a bound: onnxruntime is inside, onnx's reference agrees, lies are outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from proofml.errors import UnsupportedModel
from proofml.optimistic.floating.bounds import Basis, Bounds
from proofml.optimistic.floating.check import Judge
from proofml.optimistic.floating.finding import Verdict
from proofml.optimistic.floating.rules import RULES, Kind
from proofml.optimistic.floating.running import Running
from proofml.optimistic.floating.settings import Settings
from proofml.optimistic.floating.stages import Singles
from proofml.tensors import Array

from .parts import made_by, model_of, node, plan_for, run, trace_for

THEORY = Bounds(Basis.THEORETICAL)


@dataclass
class Case:
    """An operator with operands; `oracle` is False where onnx's reference has none or is wrong."""

    op: str
    inputs: list[Array]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 17
    oracle: bool = True
    constant: frozenset[int] = frozenset()
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.op


RNG = np.random.default_rng(11)


def n(*shape: int, scale: float = 1.0) -> Array:
    return (RNG.normal(size=shape) * scale).astype(np.float32)


def p(*shape: int) -> Array:
    return (np.abs(RNG.normal(size=shape)) + 0.1).astype(np.float32)


def i(*values: int) -> Array:
    return np.array(values, np.int64)


def unary(op: str, make: Callable[..., Array] = n, opset: int = 17, **attributes: Any) -> Case:
    return Case(op, [make(3, 50)], attributes, opset=opset)


CASES: list[Case] = [
    *(Case(op, [n(4, 1, 5), p(3, 5)]) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
    Case("Sum", [n(4, 5), n(5), n(4, 1)]),
    Case("Mean", [n(4, 5), n(5), n(4, 1)]),
    Case("Pow", [p(4, 5), n(4, 5)]),
    Case("Pow", [n(4, 5), np.array(2, np.float32)], name="square"),
    Case("Pow", [n(4, 5), np.array(3, np.float32)], name="cube"),
    Case("Clip", [n(4, 5), np.array(-0.5, np.float32), np.array(0.5, np.float32)]),
    *(unary(op) for op in ("Abs", "Neg", "Relu", "Identity", "Exp", "Sin", "Cos", "Tanh", "Erf",
                           "Sigmoid", "Softplus", "Softsign", "Atan", "Asinh", "Sinh", "Cosh",
                           "HardSigmoid", "HardSwish", "LeakyRelu", "Elu", "Selu", "Celu")),
    *(unary(op, p) for op in ("Sqrt", "Log", "Reciprocal")),
    *(unary(op, lambda *s: np.clip(n(*s, scale=0.4), -1, 1)) for op in ("Asin", "Acos", "Tan")),
    unary("Atanh", lambda *s: np.clip(n(*s, scale=0.3), -0.9, 0.9)),
    unary("Acosh", lambda *s: p(*s) + np.float32(1)),
    unary("Elu", alpha=0.3),
    unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    unary("Gelu", opset=20),
    unary("Gelu", opset=20, approximate="tanh"),
    unary("Mish", opset=18),
    unary("Swish", opset=24),
    Case("PRelu", [n(2, 3, 4), n(3, 1)]),
    Case("DequantizeLinear", [RNG.integers(0, 255, (3, 4)).astype(np.uint8),
                              np.array(0.02, np.float32), np.array(7, np.uint8)],
         opset=19),
    Case("DequantizeLinear", [RNG.integers(-9, 9, (3, 4)).astype(np.int8), p(4),
                              np.zeros(4, np.int8)], {"axis": 1}, opset=19,
         name="dequantise by axis"),
    Case("MatMul", [n(2, 7, 33), n(33, 5)]),
    Case("MatMul", [n(33), n(33, 5)], name="matmul of a vector"),
    Case("Gemm", [n(7, 33), n(5, 33), n(5)], {"transB": 1}),
    Case("Gemm", [n(33, 7), n(33, 5), n(7, 1)], {"transA": 1, "alpha": 0.5, "beta": 1.7}),
    Case("Einsum", [n(2, 3, 5), n(2, 5, 4)], {"equation": "bij,bjk->bik"}),
    Case("Einsum", [n(3, 5), n(5)], {"equation": "ij,j"}, name="einsum without arrow"),
    Case("Conv", [n(2, 4, 9, 8), n(6, 4, 3, 3), n(6)], {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    Case("Conv", [n(1, 6, 9, 9), n(6, 1, 3, 3)], {"group": 6, "dilations": [2, 2]},
         name="depthwise"),
    Case("Conv", [n(1, 4, 9, 9), n(6, 2, 2, 3)], {"group": 2, "auto_pad": "SAME_LOWER"},
         name="grouped conv"),
    Case("Conv", [n(1, 4, 20), n(3, 4, 5)], {"auto_pad": "SAME_UPPER", "strides": [3]},
         name="conv 1d"),
    Case("ConvTranspose", [n(1, 4, 5, 6), n(4, 3, 3, 2), n(3)],
         {"strides": [2, 2], "pads": [1, 0, 1, 1], "output_padding": [1, 0]}),
    Case("ConvTranspose", [n(1, 4, 5), n(4, 2, 3)], {"group": 2, "dilations": [2]},
         oracle=False, name="grouped transpose"),
    Case("ConvTranspose", [n(1, 2, 4, 4), n(2, 3, 3, 3)],
         {"strides": [2, 2], "output_shape": [8, 8]}, oracle=False, name="transpose to a shape"),
    Case("ReduceSum", [n(3, 4, 50), i(-1)], {"keepdims": 0}),
    Case("ReduceSum", [n(3, 4)], {"noop_with_empty_axes": 1}, name="sum over no axes"),
    Case("ReduceSum", [n(3, 4)], name="sum over all axes"),
    *(Case(op, [n(3, 4, 20)], {"axes": [0, 2]}) for op in (
        "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceMax",
        "ReduceMin", "ReduceProd")),
    Case("ReduceLogSum", [p(3, 20)], {"axes": [1]}),
    Case("ReduceMean", [n(3, 4, 20), i(1)], opset=18, name="mean with axes as a tensor"),
    Case("CumSum", [n(3, 40), np.array(1, np.int64)]),
    Case("CumSum", [n(3, 40), np.array(1, np.int64)], {"exclusive": 1, "reverse": 1},
         name="cumulated backwards"),
    Case("BatchNormalization", [n(2, 5, 7), n(5), n(5), n(5), p(5)], {"epsilon": 1e-3}),
    Case("LayerNormalization", [n(3, 4, 60), n(60), n(60)]),
    Case("LayerNormalization", [n(3, 4, 60) + np.float32(1), n(4, 60)], {"axis": 1},
         name="layer norm of two axes"),
    Case("RMSNormalization", [n(3, 60), n(60)], opset=23),
    Case("InstanceNormalization", [n(2, 3, 8, 8), n(3), n(3)]),
    Case("GroupNormalization", [n(2, 6, 8), n(6), n(6)], {"num_groups": 3}, opset=21),
    Case("LpNormalization", [n(3, 20)], {"axis": 1}),
    Case("LpNormalization", [n(3, 20)], {"axis": 0, "p": 1}, oracle=False, name="L1 norm"),
    Case("LRN", [n(7, 7, 5, 3)], {"size": 3, "alpha": 0.01, "bias": 1.5}),
    Case("Softmax", [n(3, 4, 30, scale=5)]),
    Case("Softmax", [n(3, 4, 30)], {"axis": 1}, name="softmax of an inner axis"),
    Case("Softmax", [n(3, 4, 5)], {"axis": 1}, opset=11, oracle=False, name="old softmax"),
    Case("LogSoftmax", [n(3, 30, scale=5)]),
    Case("GlobalAveragePool", [n(2, 3, 9, 9)]),
    Case("AveragePool", [n(1, 2, 9, 9)], {"kernel_shape": [3, 3], "strides": [2, 2],
                                          "pads": [1, 1, 1, 1]}),
    Case("AveragePool", [n(1, 2, 9, 9)], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1],
                                          "count_include_pad": 1}, name="average with padding"),
    Case("AveragePool", [n(1, 2, 10)], {"kernel_shape": [3], "strides": [2], "ceil_mode": 1},
         opset=19, oracle=False, name="average, ceiled"),
    *(Case("Resize", [n(1, 2, 5, 6), np.array([], np.float32),
                      np.array([1, 1, 2, 1.5], np.float32)],
           {"mode": "linear", "coordinate_transformation_mode": mode}, name=f"resize {mode}",
           oracle=mode != "pytorch_half_pixel", constant=frozenset({1, 2}))
      for mode in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")),
    Case("Resize", [n(1, 2, 5, 6), np.array([], np.float32), np.array([], np.float32),
                    i(1, 2, 3, 11)], {"mode": "linear"}, name="resize to sizes",
         constant=frozenset({1, 2, 3})),
    Case("Attention", [n(2, 3, 5, 8), n(2, 3, 7, 8), n(2, 3, 7, 8)], opset=23),
    Case("Attention", [n(2, 5, 24), n(2, 7, 24), n(2, 7, 24), n(5, 7)],
         {"q_num_heads": 3, "kv_num_heads": 3}, opset=23, name="attention with a mask"),
    Case("Attention", [n(1, 4, 5, 8), n(1, 2, 5, 8), n(1, 2, 5, 8)], {"is_causal": 1}, opset=23,
         name="causal grouped attention"),
]  # fmt: skip
each = pytest.mark.parametrize("case", CASES, ids=str)


def build(case: Case) -> tuple[Any, dict[str, Array]]:
    operands = {f"x{k}": array for k, array in enumerate(case.inputs)}
    weights = {name: a for k, (name, a) in enumerate(operands.items()) if k in case.constant}
    inputs = {name: a for name, a in operands.items() if name not in weights}
    outputs = [f"y{k}" for k in range(case.outputs)]
    made = node(case.op, list(operands), outputs, **case.attributes)
    return model_of([made], inputs, outputs, weights, case.opset), inputs


def test_every_rule_has_a_case() -> None:
    assert set(RULES) == {case.op for case in CASES}


@each
def test_onnxruntime_is_inside(case: Case) -> None:
    model, inputs = build(case)
    plan = plan_for(model, inputs)
    assert plan.operators[0].kind is Kind.BOUNDED
    judge = Judge(plan, Singles().evaluate)
    for level in ("all", "none"):
        values = run(plan, inputs, Settings(optimization=level))
        finding = judge.operator(trace_for(plan, values), 0, THEORY)
        assert finding.inside, finding
        assert finding.unbounded == 0
        assert finding.elements == values[made_by(0)].size


@each
def test_a_lie_is_outside(case: Case) -> None:
    """Each of some elements moved by twice its worst case and an ulp, up or down."""
    model, inputs = build(case)
    plan = plan_for(model, inputs)
    judge = Judge(plan, Singles().evaluate)
    values = run(plan, inputs)
    operands = [values[ref] if ref in values else plan.weights[ref.index]
                for ref in plan.operators[0].inputs]  # fmt: skip
    (expected, *_) = judge.expected(plan.operators[0], operands)
    assert isinstance(expected, Running)
    honest = values[made_by(0)]
    worst = expected.error_array()
    # No bound is wider than a few thousand units of the largest element around.
    assert worst.max() <= 5000 * 2.0**-24 * max(1.0, float(np.abs(expected.value).max()))
    for flat in np.random.default_rng(5).integers(honest.size, size=4):
        at = tuple(map(int, np.unravel_index(flat, honest.shape)))
        for sign in (1, -1):
            lie = honest.copy()
            lie[at] = np.nextafter(np.float32(honest[at] + sign * 2.1 * worst[at]),
                                   np.float32(sign * np.inf))  # fmt: skip
            finding = judge.operator(trace_for(plan, {**values, made_by(0): lie}), 0, THEORY)
            assert finding.verdict is Verdict.OUTSIDE
            assert finding.element == at
            alone = judge.operator(trace_for(plan, {**values, made_by(0): lie}), 0, THEORY, at)
            assert alone.verdict is Verdict.OUTSIDE
            assert alone.margin == finding.margin > 1


@pytest.mark.parametrize("case", [case for case in CASES if case.oracle], ids=str)
def test_the_reference_is_that_of_onnx(case: Case) -> None:
    """onnx's reference implementation in float64 is somebody else's reading of the standard."""
    model, inputs = build(case)
    plan = plan_for(model, inputs)
    judge = Judge(plan, Singles().evaluate)
    operands = [inputs[name] if name in inputs else plan.weights[plan.weight_names.index(name)]
                for name in plan.operators[0].names]  # fmt: skip
    (expected, *_) = judge.expected(plan.operators[0], operands)
    assert isinstance(expected, Running)
    wide = [
        array.astype(np.float64) if array.dtype == np.float32 and array.size else array
        for array in case.inputs
    ]
    if case.op in ("Resize", "DequantizeLinear"):
        wide = case.inputs  # scales are float32
    widened, given = build(Case(case.op, wide, case.attributes, case.outputs, case.opset))
    oracle = ReferenceEvaluator(widened).run(None, given)[0]
    tolerance = 1e-6 if wide is case.inputs else 3e-9 if "alpha" in case.attributes else 1e-10
    if case.op in ("Selu", "Elu", "LeakyRelu", "HardSigmoid", "LpNormalization", "LRN", "Gelu",
                   "BatchNormalization", "LayerNormalization", "InstanceNormalization", "Gemm",
                   "GroupNormalization", "RMSNormalization", "HardSwish", "Attention",
                   "Mish", "Celu", "Swish", "Erf"):  # fmt: skip
        tolerance = max(tolerance, 1e-7)  # attributes are float32, or onnx casts to it
    np.testing.assert_allclose(expected.value, oracle, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "opset", "words"),
    [
        ("Resize", [n(1, 1, 4, 4), np.array([], np.float32), np.array([1, 1, 2, 2], np.float32)],
         {"mode": "cubic"}, 17, "nearest and linear"),
        ("Resize", [n(1, 1, 4, 4), np.array([], np.float32), np.array([1, 1, 2, 2], np.float32)],
         {"mode": "linear", "antialias": 1}, 18, "antialias"),
        ("BatchNormalization", [n(2, 5, 7), n(5), n(5), n(5), p(5)], {"training_mode": 1}, 17,
         "training mode"),
        ("Attention", [n(1, 2, 5, 8), n(1, 2, 5, 8), n(1, 2, 5, 8)], {"softcap": 2.0}, 23,
         "softcap"),
        ("Mod", [n(4), p(4)], {}, 17, "fmod"),
        ("Einsum", [n(3, 3)], {"equation": "...i->...i"}, 17, "ellipsis"),
        ("Einsum", [n(3, 3)], {"equation": "ijk->ij"}, 17, "onnx cannot infer"),
        ("DequantizeLinear", [RNG.integers(-9, 9, (4, 4)).astype(np.int8), p(2, 4)],
         {"axis": 0, "block_size": 2}, 21, "blocks"),
    ],
)  # fmt: skip
def test_what_a_rule_refuses(
    op: str, inputs: list[Array], attributes: dict[str, Any], opset: int, words: str
) -> None:
    constant = frozenset(k for k, a in enumerate(inputs) if op == "Resize" and k)
    model, given = build(Case(op, inputs, attributes, opset=opset, constant=constant))
    with pytest.raises(UnsupportedModel, match=words) as caught:
        plan_for(model, given)
    assert op in str(caught.value)


def test_float16_and_float64() -> None:
    for dtype in (np.float16, np.float64):
        inputs: dict[str, Array] = {"x": n(4, 30).astype(dtype)}
        weights = {"w": n(30, 6, scale=0.1).astype(dtype)}
        kind = {np.float16: 10, np.float64: 11}[dtype]
        model = model_of([node("MatMul", ["x", "w"], ["y"])], inputs, {"y": kind}, weights)
        plan = plan_for(model, inputs)
        judge = Judge(plan, Singles().evaluate)
        values = run(plan, inputs)
        assert judge.operator(trace_for(plan, values), 0, THEORY).inside
        lie = values[made_by(0)].copy()
        lie[1, 2] *= dtype(1.5)
        refused = judge.operator(trace_for(plan, {**values, made_by(0): lie}), 0, THEORY)
        assert refused.element == (1, 2)
        assert refused.verdict is Verdict.OUTSIDE
