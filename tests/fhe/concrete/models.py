"""Small ONNX models of every kind, made without a training library."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]


def build(
    nodes: list[NodeProto],
    constants: dict[str, Array],
    shape: tuple[int | str, ...],
    result: tuple[int | str, ...] | None,
    *,
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
) -> bytes:
    """A graph from `x` to `y`, serialised."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    model: ModelProto = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 8
    data: bytes = model.SerializeToString()
    return data


def _weights(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(0, 0.7, shape).astype(np.float32)


def logistic(features: int = 4, classes: int = 3) -> bytes:
    """Standardised features, one Gemm, Softmax: a head, a body and a tail."""
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "spread"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["y"], axis=1),
    ]
    constants = {
        "mean": np.linspace(-1, 1, features, dtype=np.float32),
        "spread": np.linspace(0.5, 2, features, dtype=np.float32),
        "w": _weights(0, features, classes),
        "b": _weights(1, classes),
    }
    return build(nodes, constants, (1, features), (1, classes))


def mlp(features: int = 4, hidden: int = 3, classes: int = 2, *, opset: int = 17) -> bytes:
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "w1", "b1"], ["y"]),
    ]
    constants = {
        "w0": _weights(2, features, hidden),
        "b0": _weights(3, hidden),
        "w1": _weights(4, hidden, classes),
        "b1": _weights(5, classes),
    }
    return build(nodes, constants, (1, features), (1, classes), opset=opset)


def wide(features: int = 512) -> bytes:
    """Two layers whose sums cannot be looked up at eight bits."""
    return mlp(features, 4, 2)


def cnn() -> bytes:
    nodes = [
        helper.make_node("Conv", ["x", "k", "c"], ["h"], strides=[2, 2]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"]),
    ]
    constants = {
        "k": _weights(6, 2, 1, 3, 3),
        "c": _weights(7, 2),
        "w": _weights(8, 8, 2),
        "b": _weights(9, 2),
    }
    return build(nodes, constants, (1, 1, 5, 5), (1, 2))


def trees(
    *,
    classifier: bool = True,
    post: str = "NONE",
    depth: int = 2,
    count: int = 3,
    features: int = 4,
    columns: int = 2,
    single: bool = False,
    mode: str = "BRANCH_LEQ",
    aggregate: str = "SUM",
    base: list[float] | None = None,
    repeat: bool = False,
) -> bytes:
    """Random complete trees; with `repeat` a path asks the same question more than once."""
    random = np.random.default_rng(depth * 100 + count)
    table: dict[str, list[Any]] = {
        name: []
        for name in ("treeids", "nodeids", "featureids", "values", "modes", "true", "false")
    }
    leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    thresholds = np.round(random.normal(size=(features, 2)), 2)
    for tree in range(count):
        inner = 2**depth - 1
        for node in range(2 * inner + 1):
            leaf = node >= inner
            feature = 0 if repeat else int(random.integers(features))
            table["treeids"].append(tree)
            table["nodeids"].append(node)
            table["featureids"].append(0 if leaf else feature)
            table["values"].append(0.0 if leaf else float(thresholds[feature][node % 2]))
            table["modes"].append("LEAF" if leaf else mode)
            table["true"].append(0 if leaf else 2 * node + 1)
            table["false"].append(0 if leaf else 2 * node + 2)
            if leaf:
                for index in [0] if single else range(columns):
                    leaves["treeids"].append(tree)
                    leaves["nodeids"].append(node)
                    leaves["ids"].append(index)
                    leaves["weights"].append(float(random.normal()))
    kind = "class" if classifier else "target"
    attributes: dict[str, Any] = {
        "nodes_treeids": table["treeids"],
        "nodes_nodeids": table["nodeids"],
        "nodes_featureids": table["featureids"],
        "nodes_values": table["values"],
        "nodes_modes": table["modes"],
        "nodes_truenodeids": table["true"],
        "nodes_falsenodeids": table["false"],
        f"{kind}_treeids": leaves["treeids"],
        f"{kind}_nodeids": leaves["nodeids"],
        f"{kind}_ids": leaves["ids"],
        f"{kind}_weights": leaves["weights"],
        "post_transform": post,
    }
    if base is not None:
        attributes["base_values"] = base
    if classifier:
        attributes["classlabels_int64s"] = list(range(columns))
        node = helper.make_node(
            "TreeEnsembleClassifier", ["x"], ["label", "y"], domain="ai.onnx.ml", **attributes
        )
    else:
        attributes |= {"n_targets": columns, "aggregate_function": aggregate}
        node = helper.make_node(
            "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **attributes
        )
    return build([node], {}, (1, features), (1, columns))


def samples(shape: tuple[int, ...], count: int = 24, seed: int = 0) -> list[dict[str, Array]]:
    rows = np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)
    return [{"x": row} for row in rows]
