"""A model made ready: what is folded, what is dropped, what is grouped, what is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from proofml.errors import UnsupportedModel
from proofml.optimistic.floating.bounds import Basis, Bounds
from proofml.optimistic.floating.check import Judge
from proofml.optimistic.floating.plan import Plan, Ref
from proofml.optimistic.floating.rules import Kind
from proofml.optimistic.floating.stages import Singles
from proofml.optimistic.program import Source
from proofml.tensors import Array

from .parts import made_by, model_of, node, plan_for, run, small_network, trace_for

THEORY = Bounds(Basis.THEORETICAL)


def ops(plan: Plan) -> list[str]:
    return [operator.op for operator in plan.operators]


def everything_inside(plan: Plan, inputs: dict[str, Array]) -> dict[Ref, Array]:
    values = run(plan, inputs)
    judge, trace = Judge(plan, Singles().evaluate), trace_for(plan, values)
    for operator in plan.operators:
        finding = judge.operator(trace, operator.index, THEORY)
        assert finding.inside, finding
    return values


def x(*shape: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(2).normal(size=shape).astype(np.float32)}


def test_shape_arithmetic_is_folded() -> None:
    """Shape, Slice, Cast, Mul of integers, Concat: gone; what they decide stays a constant."""
    weights = {
        "start": np.array([0], np.int64), "end": np.array([1], np.int64),
        "rest": np.array([-1], np.int64), "two": np.array([2.0], np.float32),
    }  # fmt: skip
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Slice", ["s", "start", "end"], ["n"]),
        node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["f", "two"], ["g"]),
        node("Cast", ["g"], ["m"], to=TensorProto.INT64),
        node("Concat", ["m", "rest"], ["shape"], axis=0),
        node("Reshape", ["x", "shape"], ["y"]),
    ]
    inputs = x(3, 4)
    plan = plan_for(model_of(nodes, inputs, ["y"], weights), inputs)
    assert ops(plan) == ["Reshape"]
    assert plan.operators[0].kind is Kind.EXACT
    assert dict(zip(plan.weight_names, plan.weights, strict=True))["shape"].tolist() == [6, -1]
    assert everything_inside(plan, inputs)[made_by(0)].shape == (6, 2)


def test_floats_of_constants_stay() -> None:
    """exp of a constant may differ between machines: it is an operator like any other."""
    weights = {"w": np.array([0.3, 0.7], np.float32), "v": np.array([2, 3], np.float32)}
    nodes = [
        node("Add", ["w", "v"], ["sum"]),  # correctly rounded: folded
        node("Exp", ["sum"], ["e"]),
        node("Mul", ["x", "e"], ["y"]),
    ]
    inputs = x(3, 2)
    plan = plan_for(model_of(nodes, inputs, ["y"], weights), inputs)
    assert ops(plan) == ["Exp", "Mul"]
    assert plan.operators[0].inputs == (Ref(Source.WEIGHT, 0),)
    assert plan.weights[0].tolist() == (weights["w"] + weights["v"]).tolist()
    everything_inside(plan, inputs)


def test_what_nobody_reads_is_dropped() -> None:
    nodes = [
        node("Relu", ["x"], ["y"]),
        node("Exp", ["x"], ["unread"]),
        node("MaxPool", ["y"], ["z", "places"], kernel_shape=[2]),
        node("Split", ["y"], ["left", "right"], axis=2),
    ]
    inputs = x(1, 2, 8)
    plan = plan_for(model_of(nodes, inputs, ["z", "right"]), inputs)
    assert ops(plan) == ["Relu", "MaxPool", "Split"]
    assert plan.operators[1].outputs == ("z",)
    assert [operator.outputs for operator in plan.operators[2:]] == [("left", "right")]
    assert plan.ports == (made_by(1), made_by(2, 1))
    everything_inside(plan, inputs)


def test_outputs_that_are_inputs_or_constants() -> None:
    weights = {"w": np.ones(2, np.float32)}
    nodes = [node("Shape", ["x"], ["s"]), node("Relu", ["x"], ["y"])]
    inputs = x(3, 2)
    kinds = {"y": TensorProto.FLOAT, "x": TensorProto.FLOAT, "s": TensorProto.INT64}
    plan = plan_for(model_of(nodes, inputs, kinds, weights), inputs)
    sources = [port.source for port in plan.ports]
    assert sources == [Source.OPERATOR, Source.INPUT, Source.WEIGHT]
    trace = trace_for(plan, run(plan, inputs))
    assert [array.tolist() for array in trace.results()][1:] == [inputs["x"].tolist(), [3, 2]]


def test_shapes_that_data_decides() -> None:
    """NonZero's output has as many columns as there are hits; what follows is judged as ever."""
    nodes = [
        node("NonZero", ["x"], ["places"]),
        node("Shape", ["places"], ["shape"]),
        node("Cast", ["shape"], ["floats"], to=TensorProto.FLOAT),
        node("Sqrt", ["floats"], ["y"]),
    ]
    inputs: dict[str, Array] = {"x": np.array([[0, 2, 0], [1, 0, 3]], np.float32)}
    for grouped in (False, True):
        plan = plan_for(model_of(nodes, inputs, ["y"]), inputs, grouped=grouped)
        assert ops(plan) == ["NonZero", "Shape", "Cast", "Sqrt"]
        assert plan.operators[0].types[0].shape is None
        values = everything_inside(plan, inputs)
        assert values[made_by(3)].tolist() == np.sqrt(np.array([2, 3], np.float32)).tolist()


def test_empty_tensors() -> None:
    weights = {"from": np.array([2], np.int64), "to": np.array([2], np.int64)}
    nodes = [
        node("Slice", ["x", "from", "to"], ["none"]),
        node("Exp", ["none"], ["e"]),
        node("Concat", ["e", "x"], ["y"], axis=0),
    ]
    inputs = x(3, 2)
    plan = plan_for(model_of(nodes, inputs, ["y"], weights), inputs)
    values = everything_inside(plan, inputs)
    assert values[made_by(1)].shape == (0, 2)
    judge = Judge(plan, Singles().evaluate)
    finding = judge.operator(trace_for(plan, values), 1, THEORY)
    assert (finding.elements, finding.element) == (0, None)


def test_functions_are_inlined() -> None:
    body = [node("Add", ["a", "a"], ["b"]), node("Relu", ["b"], ["c"])]
    opsets = [helper.make_opsetid("", 17)]
    inner = helper.make_function("local", "Twice", ["a"], ["c"], body, opsets)
    inputs = x(3, 2)
    model = model_of([helper.make_node("Twice", ["x"], ["y"], domain="local")], inputs, ["y"])
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.append(inner)
    plan = plan_for(model, inputs)
    assert ops(plan) == ["Add", "Relu"]
    everything_inside(plan, inputs)


def test_groups() -> None:
    model, inputs = small_network()
    plan = plan_for(model, inputs, grouped=True)
    assert ops(plan) == [
        "Conv+BatchNormalization+Add+Clip+Mul+Div", "MaxPool", "GlobalAveragePool", "Reshape",
        "MatMul", "Softmax",
    ]  # fmt: skip
    single = plan_for(model, inputs)
    assert plan.root != single.root
    values = everything_inside(plan, inputs)
    whole = everything_inside(single, inputs)
    np.testing.assert_allclose(values[made_by(5)], whole[made_by(10)], rtol=1e-5)
    # The same model prepared again is the same program; other weights or shapes are another one.
    assert plan_for(model, inputs, grouped=True).root == plan.root
    wider: dict[str, Array] = {"x": np.zeros((1, 3, 14, 14), np.float32)}
    other, _ = small_network()
    other.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 14
    other.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 14
    assert plan_for(other, wider, grouped=True).root != plan.root
    changed = onnx.ModelProto.FromString(model.SerializeToString())
    weight = numpy_helper.to_array(changed.graph.initializer[0]).copy()
    weight.flat[0] += 1
    changed.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    assert plan_for(changed, inputs, grouped=True).root != plan.root


@pytest.mark.parametrize(
    ("nodes", "outputs", "groups"),
    [
        # Read by two groups, or an output itself: it stays visible.
        ([node("Exp", ["x"], ["a"]), node("Relu", ["a"], ["b"]), node("Neg", ["a"], ["c"])],
         ["b", "c"], ["Exp", "Relu", "Neg"]),
        ([node("Exp", ["x"], ["a"]), node("Relu", ["a"], ["b"])], ["a", "b"], ["Exp", "Relu"]),
        # Both readers are in one group.
        ([node("Exp", ["x"], ["a"]), node("Relu", ["a"], ["b"]), node("Mul", ["a", "b"], ["c"])],
         ["c"], ["Exp+Relu+Mul"]),
        # Two contractions do not go together, and what follows joins one of them.
        ([node("MatMul", ["x", "w"], ["a"]), node("MatMul", ["x", "w"], ["b"]),
          node("Add", ["a", "b"], ["c"])], ["c"], ["MatMul", "MatMul+Add"]),
        # A reduction reads the whole tensor: nothing is hidden before it.
        ([node("Exp", ["x"], ["a"]), node("ReduceSum", ["a"], ["b"]), node("Sqrt", ["b"], ["c"])],
         ["c"], ["Exp", "ReduceSum", "Sqrt"]),
        # What computes integers is judged to the bit, so on its own.
        ([node("Exp", ["x"], ["a"]), node("Greater", ["a", "x"], ["b"]),
          node("Cast", ["b"], ["c"], to=TensorProto.FLOAT), node("Mul", ["c", "a"], ["d"])],
         ["d"], ["Exp", "Greater", "Cast", "Mul"]),
    ],
)  # fmt: skip
def test_what_joins_a_group(
    nodes: list[onnx.NodeProto], outputs: list[str], groups: list[str]
) -> None:
    inputs = x(4, 4)
    weights = {"w": np.eye(4, dtype=np.float32)}
    plan = plan_for(model_of(nodes, inputs, outputs, weights), inputs, grouped=True)
    assert ops(plan) == groups
    everything_inside(plan, inputs)


def branch(*nodes: onnx.NodeProto, output: str) -> onnx.GraphProto:
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(list(nodes), "branch", [], [value])


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("If", ["flag"], ["y"], then_branch=branch(node("Relu", ["x"], ["a"]), output="a"),
               else_branch=branch(node("Neg", ["x"], ["b"]), output="b"))],
         "operator If -> y: control flow"),
        ([node("SequenceConstruct", ["x", "x"], ["s"]),
          node("ConcatFromSequence", ["s"], ["y"], axis=0)],
         "operator SequenceConstruct -> s: sequences"),
        ([node("SplitToSequence", ["x"], ["s"]), node("ConcatFromSequence", ["s"], ["y"], axis=0)],
         "operator SplitToSequence -> s: sequences"),
        ([node("Optional", ["x"], ["o"]), node("OptionalGetElement", ["o"], ["y"])],
         "operator Optional -> o: optional"),
        ([node("RandomNormalLike", ["x"], ["y"])], "operator RandomNormalLike -> y: .* random"),
        ([node("LSTM", ["x", "w", "w"], ["y"], hidden_size=4)], "operator LSTM -> y: recurrent"),
        ([node("Multinomial", ["x"], ["y"])], "operator Multinomial -> y: .* random"),
        ([node("QuantizeLinear", ["x", "one"], ["q"]),
          node("DequantizeLinear", ["q", "one"], ["y"])],
         "operator QuantizeLinear -> q: .* exact game"),
        ([node("Det", ["x"], ["y"])], "operator Det -> y: has no error bound"),
        ([node("Cast", ["x"], ["h"], to=TensorProto.BFLOAT16),
          node("Cast", ["h"], ["y"], to=TensorProto.FLOAT)],
         "operator Cast -> h: .*'h' is a tensor of BFLOAT16"),
        ([node("Cast", ["x"], ["h"], to=TensorProto.STRING),
          node("Cast", ["h"], ["y"], to=TensorProto.FLOAT)],
         "operator Cast -> h: .* tensor of STRING"),
        ([helper.make_node("FusedConv", ["x", "w"], ["y"], domain="com.microsoft")],
         "operator com.microsoft:FusedConv -> y: only operators of the default domain"),
        ([node("Range", ["one", "one", "one"], ["r"]), node("Add", ["x", "r"], ["y"])],
         "operator Range -> r: a range of floats"),
        ([node("ScatterElements", ["x", "at", "x"], ["y"], reduction="add")],
         "operator ScatterElements -> y: a reduction of floats"),
        ([node("MatMul", ["x", "bad"], ["y"])], "operator MatMul -> y: onnx cannot infer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_refused_by_name(nodes: list[onnx.NodeProto], words: str) -> None:
    inputs: dict[str, Array] = {**x(4, 4), "flag": np.array(True)}
    weights: dict[str, Array] = {
        "w": np.eye(4, dtype=np.float32), "one": np.array(1, np.float32),
        "at": np.zeros((4, 4), np.int64), "bad": np.ones((3, 3), np.float32),
    }  # fmt: skip
    opset = 18
    model = model_of(nodes, inputs, ["y"], weights, opset)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(UnsupportedModel, match=words):
        plan_for(model, inputs)


def test_inputs_that_are_no_numbers() -> None:
    def declared(value: Any) -> onnx.ModelProto:
        model = model_of([node("Relu", ["x"], ["y"])], x(2), ["y"])
        model.graph.input[0].type.CopyFrom(value)
        return model

    text = helper.make_tensor_type_proto(TensorProto.STRING, [2])
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [2]))
    for value, words in ((text, "a tensor of STRING"), (sequence, "sequence")):
        with pytest.raises(UnsupportedModel, match=rf"input 'x': {words}.*tensor of numbers"):
            plan_for(declared(value), x(2))
    model = model_of([node("Relu", ["x"], ["y"])], x(2), ["y"])
    words = helper.make_tensor("w", TensorProto.STRING, [1], [b"a"])
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=words))
    with pytest.raises(UnsupportedModel, match="STRING is not supported"):
        plan_for(model, x(2))


def test_a_branch_that_is_constant_is_refused_too() -> None:
    """Nobody guesses which branch an exporter meant: the message says what to do."""
    nodes = [
        node("If", ["yes"], ["y"], then_branch=branch(node("Relu", ["x"], ["a"]), output="a"),
             else_branch=branch(node("Neg", ["x"], ["b"]), output="b")),
    ]  # fmt: skip
    model = model_of(nodes, x(2), ["y"], {"yes": np.array(True)})
    with pytest.raises(UnsupportedModel, match="export the branch that is taken"):
        plan_for(model, x(2))
