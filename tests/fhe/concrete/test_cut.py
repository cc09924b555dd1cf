"""A model is the sum of its parts, and what cannot be cut or encrypted is refused by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from proofml.backend import Context
from proofml.errors import UnsupportedModel
from proofml.fhe.concrete import candidates
from proofml.fhe.concrete.candidates import Cut
from proofml.fhe.concrete.evaluate import apply
from proofml.model import Model
from tests.fhe.concrete import models

pytest.importorskip("onnxruntime")


def _cut(data: bytes, shape: tuple[int, ...], context: Context, folder: Path) -> Cut:
    model = Model.load(data, store=context.store)
    rows = np.stack([sample["x"] for sample in models.samples(shape)])
    return Cut(model, rows, folder, context)


def _kinds(data: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(data).graph.node] if data else []


def test_head_and_tail(context: Context, tmp_path: Path) -> None:
    cut = _cut(models.logistic(), (1, 4), context, tmp_path)
    assert cut.kind == "network"
    assert _kinds(cut.head) == ["Sub", "Div"]
    assert _kinds((tmp_path / "body.onnx").read_bytes()) == ["MatMul", "Add"]
    assert _kinds(cut.tail) == ["Softmax"]


@pytest.mark.parametrize("opset", [11, 13, 14, 17, 21])
def test_operator_sets(context: Context, tmp_path: Path, opset: int) -> None:
    cut = _cut(models.mlp(opset=opset), (1, 4), context, tmp_path)
    body = onnx.load(tmp_path / "body.onnx")
    assert body.opset_import[0].version == 14
    assert not cut.head
    assert not cut.tail
    assert [node.name for node in body.graph.node] == ["Gemm_0", "Relu_1", "Gemm_2"]


def test_convolution_is_spelt_out(context: Context, tmp_path: Path) -> None:
    _cut(models.cnn(), (1, 1, 5, 5), context, tmp_path)
    body = onnx.load(tmp_path / "body.onnx")
    names = {attribute.name for attribute in body.graph.node[0].attribute}
    assert names == {"dilations", "group", "kernel_shape", "pads", "strides"}


def test_trees(context: Context, tmp_path: Path) -> None:
    cut = _cut(models.trees(post="SOFTMAX"), (1, 4), context, tmp_path)
    assert cut.kind == "trees"
    assert not cut.tail


W = {"w": models._weights(0, 4, 2), "w2": models._weights(1, 4, 2)}


def _node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs, outputs, **attributes)


def test_a_second_path_keeps_the_whole(context: Context, tmp_path: Path) -> None:
    nodes = [
        _node("Relu", ["x"], ["r"]),
        _node("MatMul", ["r", "w"], ["a"]),
        _node("MatMul", ["x", "w2"], ["b"]),
        _node("Add", ["a", "b"], ["y"]),
    ]
    cut = _cut(models.build(nodes, W, (1, 4), (1, 2)), (1, 4), context, tmp_path)
    assert not cut.head  # `r` is not all that the weights see
    assert len(_kinds((tmp_path / "body.onnx").read_bytes())) == 4


def test_copies_go(context: Context, tmp_path: Path) -> None:
    nodes = [
        _node("Identity", ["x"], ["i"]),
        _node("Cast", ["i"], ["c"], to=TensorProto.FLOAT),
        _node("MatMul", ["c", "w"], ["m"]),
        _node("Identity", ["m"], ["y"]),
    ]
    cut = _cut(models.build(nodes, W, (1, 4), (1, 2)), (1, 4), context, tmp_path)
    assert _kinds((tmp_path / "body.onnx").read_bytes()) == ["MatMul"]
    assert not cut.head
    assert not cut.tail


@pytest.mark.parametrize(
    ("data", "shape", "words"),
    [
        (models.build([_node("Relu", ["x"], ["y"])], {}, (1, 4), (1, 4)), (1, 4), "weights"),
        (models.build([_node("MatMul", ["x", "w"], ["y"])], W, (4,), (2,)), (4,), "first axis"),
        (
            models.build([_node("MatMul", ["x", "w"], ["y"])], W, (3, 4), (3, 2)),
            (3, 4),
            "one inference",
        ),
    ],
)
def test_refusals(
    context: Context, tmp_path: Path, data: bytes, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        _cut(data, shape, context, tmp_path)


def test_parts_that_differ_are_refused(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison itself: a stage whose body was changed behind its back."""
    root = Path(__file__).resolve().parents[3]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*filter(None, sys.path), str(root)]))
    monkeypatch.setattr(candidates, "_SPLIT", "tests.fhe.concrete.lying_stages:split")
    with pytest.raises(UnsupportedModel, match="do not compute what it does"):
        _cut(models.mlp(), (1, 4), context, tmp_path)


def _external() -> bytes:
    model = onnx.load_model_from_string(models.logistic())
    tensor = model.graph.initializer[0]
    data = numpy_helper.to_array(tensor).tobytes()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="rows.npy")
    tensor.external_data.add(key="length", value=str(len(data)))
    return bytes(model.SerializeToString())


def _constant_outside() -> bytes:
    model = onnx.load_model_from_string(_external())
    tensor = model.graph.initializer.pop(0)
    model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    return bytes(model.SerializeToString())


def _own_function() -> bytes:
    model = onnx.load_model_from_string(models.logistic())
    model.functions.append(
        helper.make_function(
            "own",
            "Twice",
            ["a"],
            ["b"],
            [helper.make_node("Add", ["a", "a"], ["b"])],
            model.opset_import,
        )
    )
    return bytes(model.SerializeToString())


def _other_domain() -> bytes:
    model = onnx.load_model_from_string(models.logistic())
    model.graph.node[0].domain = "com.microsoft"
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (_external(), "another file"),
        (_constant_outside(), "another file"),
        (_own_function(), "functions of its own"),
        (_other_domain(), "domain com.microsoft"),
    ],
    ids=["tensor", "attribute", "function", "domain"],
)
def test_parts_of_strangers_are_complete_in_themselves(
    context: Context, data: bytes, words: str
) -> None:
    """Head and tail come with a circuit; the owner of the inputs runs them."""
    with pytest.raises(UnsupportedModel, match=words):
        apply(data, np.zeros((2, 1, 4), np.float32), "part", context)
