"""Invariant: a run ends in outputs that a proof can hold, or in an error, within its limits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from proofml import runtime
from proofml.errors import BackendUnavailable, ProofmlError, UnsupportedModel
from proofml.model import Model
from proofml.runtime import RUN_LIMITS, run_model
from proofml.store import Store
from proofml.worker import Limits, WorkerFailed

X = np.ones(1, np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def value(name: str, shape: Sequence[int | None] = (1,), kind: int = 1) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def integers(name: str, *numbers: int) -> TensorProto:
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


def model(nodes: Sequence[NodeProto], weights: Sequence[TensorProto], output: Any) -> ModelProto:
    graph = helper.make_graph(list(nodes), "g", [value("x")], [output], list(weights))
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def run(proto: ModelProto, store: Store, limits: Limits = RUN_LIMITS) -> dict[str, Any]:
    loaded = Model.load(proto.SerializeToString(), store=store)
    return run_model(loaded, loaded.check_inputs({"x": X}), store, limits=limits)


def test_outputs_in_graph_order(store: Store) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["b"]), helper.make_node("Abs", ["b"], ["a"])]
    proto = model(nodes, [], value("b"))
    proto.graph.output.append(value("a"))
    got = run(proto, store)
    assert list(got) == ["b", "a"]
    assert (got["b"][0], got["a"][0]) == (-1, 1)


EXPAND = model(
    [helper.make_node("Expand", ["x", "s"], ["y"])],
    [integers("s", 1 << 20, 1 << 20)],
    value("y", (None, None)),
)
FILL = model(
    [helper.make_node("ConstantOfShape", ["s"], ["f"]), helper.make_node("Add", ["x", "f"], ["y"])],
    [integers("s", 1 << 20, 1 << 20)],
    value("y", (None, None)),
)
TILE = model(
    [helper.make_node("Tile", ["x", "s"], ["y"])], [integers("s", 1 << 40)], value("y", (None,))
)
PAD = model(
    [helper.make_node("Pad", ["x", "s"], ["y"])], [integers("s", 1 << 40, 0)], value("y", (None,))
)
RANGE = model(
    [
        helper.make_node("Range", ["from", "to", "step"], ["r"]),
        helper.make_node("Cast", ["r"], ["c"], to=1),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ],
    [
        numpy_helper.from_array(np.array(number), name)
        for name, number in (("from", 0), ("to", 1 << 62), ("step", 1))
    ],
    value("y", (None,)),
)


@pytest.mark.parametrize(
    "proto", [EXPAND, FILL, TILE, PAD, RANGE], ids=lambda p: p.graph.node[0].op_type
)
def test_sizes_that_no_machine_has(store: Store, proto: ModelProto) -> None:
    """A file of a hundred bytes asks for terabytes."""
    assert len(proto.SerializeToString()) < 300
    started = time.monotonic()
    with pytest.raises(ProofmlError, match=r"memory|exceeds|overflow|takes more than"):
        run(proto, store)
    assert time.monotonic() - started < 60


def test_growth_in_a_loop(store: Store) -> None:
    """Each turn doubles the tensor; the memory limit ends it."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["again"]),
            helper.make_node("Concat", ["v", "v"], ["w"], axis=0),
        ],
        "body",
        [value("i", (), 7), value("go", (), 9), value("v", (None,))],
        [value("again", (), 9), value("w", (None,))],
    )
    turns = numpy_helper.from_array(np.array(1 << 40), "n")
    proto = model(
        [helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)], [turns], value("y", (None,))
    )
    with pytest.raises(WorkerFailed) as caught:
        run(proto, store, Limits(memory=1 << 29, seconds=60))
    assert caught.value.kind == "memory"


def test_endless_loop(store: Store) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["again"]),
            helper.make_node("Neg", ["v"], ["w"]),
        ],
        "body",
        [value("i", (), 7), value("go", (), 9), value("v")],
        [value("again", (), 9), value("w")],
    )
    turns = numpy_helper.from_array(np.array(1 << 62), "n")
    proto = model([helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)], [turns], value("y"))
    with pytest.raises(WorkerFailed) as caught:
        run(proto, store, Limits(memory=1 << 30, seconds=3))
    assert caught.value.kind == "timeout"


def test_output_larger_than_a_proof_holds(store: Store) -> None:
    zero = helper.make_tensor("value", TensorProto.UINT8, [1], [0])
    proto = model(
        [helper.make_node("ConstantOfShape", ["s"], ["y"], value=zero)],
        [integers("s", 1, (1 << 30) + 1)],
        value("y", (None, None), TensorProto.UINT8),
    )
    with pytest.raises(UnsupportedModel, match=r"output 'y'.*1073741824 bytes for all outputs"):
        run(proto, store)


def test_output_of_another_shape_than_declared(store: Store) -> None:
    """onnxruntime only warns; a Statement made of it could never be verified."""
    one = helper.make_node("Concat", ["x", "x"], ["m"], axis=0)
    # Through an operator whose shape nobody can infer.
    nodes = [one, helper.make_node("NonZero", ["m"], ["n"]), helper.make_node("Neg", ["n"], ["y"])]
    proto = model(nodes, [], value("y", (1, 1), TensorProto.INT64))
    with pytest.raises(UnsupportedModel, match=r"declared as int64\[1, 1\], got int64\[1, 2\]"):
        run(proto, store)


def test_division_by_zero(store: Store) -> None:
    """An integer division by zero may kill onnxruntime; it must not kill the host."""
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=7),
        helper.make_node("Sub", ["i", "i"], ["z"]),
        helper.make_node("Div", ["i", "z"], ["y"]),
    ]
    try:
        run(model(nodes, [], value("y", (1,), TensorProto.INT64)), store)
    except ProofmlError as error:
        assert "onnxruntime" in str(error)  # noqa: PT017 - either end is right


def test_without_onnxruntime(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "runtime_version", lambda: None)
    with pytest.raises(BackendUnavailable, match=r"proofml\[reexec\]"):
        run(EXPAND, store)
