"""What becomes of a model: the wrapped graph, the operators that are taken, honest obstacles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from proofml.api import prove
from proofml.backend import Request
from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.model import Model
from proofml.statement import Visibility
from proofml.zkml.ezkl.backend import EzklBackend
from proofml.zkml.ezkl.operators import SUPPORTED
from proofml.zkml.ezkl.wrap import (
    STATEMENT_INPUT,
    STATEMENT_OUTPUT,
    WORDS,
    statement_words,
    wrap,
)

from .models import FLOAT, OPTIONS, X, constant, graph, one
from .workshop import Workshop

ROOT = Path(__file__).resolve().parents[2]
SHAPES = {"x": (1, 4)}


def reasons(model: Model, request: Request | None = None) -> tuple[str, ...]:
    return EzklBackend().supports(model, request or Request()).reasons


# -- the wrapped graph ----------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32))
def test_words_are_the_digest(digest: bytes) -> None:
    words = statement_words(digest.hex())
    assert len(words) == WORDS
    assert b"".join(word.to_bytes(2, "big") for word in words) == digest


@pytest.mark.parametrize("visibility", ["public", "hashed", "private"])
def test_wrapped_graph(workshop: Workshop, visibility: str) -> None:
    """The words come last; they leave by an output where no instance shows them."""
    data = wrap(workshop.model, SHAPES, visibility)
    assert data == wrap(workshop.load(workshop.model.canonical), SHAPES, visibility)
    graph_ = ModelProto.FromString(data).graph
    assert [value.name for value in graph_.input] == ["x", STATEMENT_INPUT]
    outputs = [value.name for value in graph_.output]
    assert outputs == (["y"] if visibility == "public" else ["y", STATEMENT_OUTPUT])
    assert graph_.input[1].type.tensor_type.elem_type == TensorProto.INT64


@pytest.mark.parametrize("name", [STATEMENT_INPUT, STATEMENT_OUTPUT])
def test_reserved_names(workshop: Workshop, name: str) -> None:
    """A model with a tensor of that name could feed on the Statement's digest."""
    nodes = [
        helper.make_node("Relu", ["x"], [name]),
        helper.make_node("Neg", [name], ["y"]),
    ]
    model = workshop.load(graph(nodes, {"x": (FLOAT, [1, 4])}, {"y": (FLOAT, [1, 4])}))
    with pytest.raises(UnsupportedModel, match=STATEMENT_INPUT):
        wrap(model, SHAPES, "public")


@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_default_strides_are_spelled(workshop: Workshop, op: str) -> None:
    """EZKL refuses a node that leaves them out."""
    weights = [constant("w", np.ones((1, 1, 2, 2)))] if op == "Conv" else []
    inputs = ["x", "w"] if op == "Conv" else ["x"]
    node = helper.make_node(op, inputs, ["y"], kernel_shape=[2, 2])
    data = graph([node], {"x": (FLOAT, [1, 1, 3, 3])}, {"y": (FLOAT, [1, 1, 2, 2])}, weights)
    model = workshop.load(data)
    wrapped = ModelProto.FromString(wrap(model, {"x": (1, 1, 3, 3)}, "public"))
    (strides,) = [a.ints for a in wrapped.graph.node[0].attribute if a.name == "strides"]
    assert list(strides) == [1, 1]
    x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    assert workshop.forger(model, inputs={"x": x}).settings()


# -- obstacles ------------------------------------------------------------------------------------


def test_examples() -> None:
    """The digits pass; their 8-bit form is named by operator."""
    digits = ROOT / "examples" / "digits"
    assert reasons(Model.load(digits / "digits_mlp.onnx")) == ()
    assert reasons(Model.load(digits / "digits_cnn.onnx")) == ()
    named = reasons(Model.load(digits / "digits_cnn_int8.onnx"))
    assert named[:2] == ("operator QuantizeLinear", "operator DequantizeLinear")


def test_trees(workshop: Workshop) -> None:
    """tract has no tree ensembles."""
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_values=[0.5, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[1.0, -1.0],
    )
    proto = ModelProto.FromString(graph([node], {"x": (FLOAT, [1, 4])}, {"y": (FLOAT, [1, 1])}))
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    named = reasons(workshop.load(proto.SerializeToString(deterministic=True)))
    assert any("TreeEnsembleRegressor" in reason for reason in named)


@pytest.mark.parametrize("op", ["Mod", "Mish", "IsNaN", "Det", "LRN", "Trilu", "BitShift"])
def test_operator_is_named(op: str) -> None:
    assert op not in SUPPORTED


def test_dilations(workshop: Workshop) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], dilations=[2, 2], kernel_shape=[2, 2])
    data = graph(
        [node],
        {"x": (FLOAT, [1, 1, 4, 4])},
        {"y": (FLOAT, [1, 1, 2, 2])},
        [constant("w", np.ones((1, 1, 2, 2)))],
    )
    assert reasons(workshop.load(data)) == ("operator Conv with dilations other than 1",)


def test_many_obstacles_are_counted(workshop: Workshop) -> None:
    unknown = ("Mish", "Trilu", "Gelu", "LpNormalization", "LRN", "MeanVarianceNormalization")
    nodes, last = [], "x"
    for op in unknown:
        attributes = {"size": 1} if op == "LRN" else {}
        nodes.append(helper.make_node(op, [last], [f"v{op}"], **attributes))
        last = f"v{op}"
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    shape = [1, 2, 2, 2]
    data = graph(nodes, {"x": (FLOAT, shape)}, {"y": (FLOAT, shape)}, opset=20)
    found = reasons(workshop.load(data))
    assert found[:-1] == tuple(f"operator {op}" for op in unknown[:5])
    assert found[-1] == "and 1 obstacles more"


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT32, TensorProto.FLOAT16])
@pytest.mark.parametrize("visibility", [Visibility.HASHED, Visibility.PRIVATE])
def test_hidden_input_of_a_narrow_type(
    workshop: Workshop, kind: int, visibility: Visibility
) -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=FLOAT)
    model = workshop.load(graph([node], {"x": (kind, [1, 4])}, {"y": (FLOAT, [1, 4])}))
    assert reasons(model) == ()
    (reason,) = reasons(model, Request(input_visibility=visibility))
    assert "hidden input 'x'" in reason


def test_requests(workshop: Workshop) -> None:
    private = Visibility.PRIVATE
    (reason,) = reasons(workshop.model, Request(private, private))
    assert "nothing to bind" in reason
    (reason,) = reasons(workshop.model, Request(options={"scales": "99"}))
    assert "--set scales=99" in reason


# -- honest provers that cannot -------------------------------------------------------------------


def test_input_beyond_the_range(workshop: Workshop) -> None:
    """Calibrated on one input, given a far larger one."""
    request = Request(calibration=[X], options=OPTIONS)
    for value, error in ((2.0**22, "magnitudes below"), (np.nan, "fixed-point form")):
        inputs = {"x": np.full((1, 4), value, np.float32)}
        with pytest.raises(UsageError, match=error):
            prove(workshop.model, inputs, backend="ezkl", request=request, context=workshop.prover)


def test_input_beyond_the_tables(workshop: Workshop) -> None:
    """EZKL's prover would never end on it."""
    model = workshop.load(one("Sigmoid"))
    request = Request(calibration=[X], options=OPTIONS)
    inputs = {"x": np.full((1, 4), 1000.0, np.float32)}
    with pytest.raises(UsageError, match="lookup-margin"):
        prove(model, inputs, backend="ezkl", request=request, context=workshop.prover)


def test_max_error(workshop: Workshop) -> None:
    inputs = {"x": np.full((1, 4), 0.3, np.float32)}
    request = Request(max_error=0.0, calibration=[X], options=OPTIONS)
    with pytest.raises(BackendFailed, match="--max-error"):
        prove(workshop.model, inputs, backend="ezkl", request=request, context=workshop.prover)
    loose = replace(request, max_error=1.0)
    assert prove(workshop.model, inputs, backend="ezkl", request=loose, context=workshop.prover)
