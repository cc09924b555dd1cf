"""Trees as comparisons, paths and leaves compute what onnxruntime does."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto

from proofml.errors import UnsupportedModel
from proofml.fhe.concrete import trees
from tests.fhe.concrete import models

ort = pytest.importorskip("onnxruntime")

KINDS: list[dict[str, Any]] = [
    {},
    {"post": "SOFTMAX"},
    {"post": "LOGISTIC"},
    {"post": "LOGISTIC", "single": True},
    {"post": "LOGISTIC", "single": True, "base": [0.3]},
    {"columns": 4, "post": "SOFTMAX", "base": [0.1, 0.2, 0.3, -1.0]},
    {"classifier": False},
    {"classifier": False, "columns": 1, "aggregate": "AVERAGE"},
    {"classifier": False, "columns": 3, "base": [1.0, 2.0, 3.0]},
    {"depth": 5, "count": 4},
    {"depth": 4, "repeat": True},
    {"depth": 1, "count": 1},
    *({"mode": mode} for mode in trees.MODES),
]


def _node(data: bytes) -> NodeProto:
    node: NodeProto = onnx.load_model_from_string(data).graph.node[0]
    return node


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_as_onnxruntime(kind: dict[str, Any]) -> None:
    data = models.trees(**kind)
    ensemble = trees.read(_node(data), "test")
    random = np.random.default_rng(3)
    rows = random.normal(size=(200, 4)).astype(np.float32)
    # Rows that lie on thresholds: there the comparisons differ.
    for feature in range(4):
        mine = ensemble.thresholds[ensemble.features == feature]
        if mine.size:
            rows[:100, feature] = random.choice(mine, size=100)
    session = ort.InferenceSession(data)
    want = np.concatenate([session.run(["y"], {"x": row[None]})[0] for row in rows])
    bits = trees.compare(rows, ensemble.features, ensemble.thresholds, ensemble.modes)
    got = trees.finish(trees.float_scores(ensemble, bits), ensemble.post, ensemble.columns)
    np.testing.assert_allclose(got, want.reshape(got.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_assignment_reaches_one_leaf(kind: dict[str, Any]) -> None:
    ensemble = trees.read(_node(models.trees(**kind)), "test")
    bits = np.random.default_rng(5).integers(0, 2, size=(500, len(ensemble.features)))
    paths = ensemble.paths.astype(np.int64)
    reached = bits @ paths.T == np.maximum(paths, 0).sum(axis=1)
    for tree in range(int(ensemble.trees.max()) + 1):
        assert (reached[:, ensemble.trees == tree].sum(axis=1) == 1).all()


def test_a_question_counts_once() -> None:
    ensemble = trees.read(_node(models.trees(depth=4, repeat=True)), "test")
    assert np.abs(ensemble.paths).max() == 1
    assert ensemble.depth <= 2  # two thresholds of one feature


def _broken(**changes: Any) -> NodeProto:
    node = _node(models.trees(classifier=False))
    for attribute in list(node.attribute):
        if attribute.name in changes:
            node.attribute.remove(attribute)
    node.attribute.extend(
        onnx.helper.make_attribute(key, value) for key, value in changes.items() if value != ""
    )
    return node


@pytest.mark.parametrize(
    "changes",
    [
        {"aggregate_function": "MAX"},
        {"post_transform": "PROBIT"},
        {"nodes_treeids": [0]},
        {"nodes_treeids": ""},
        {"nodes_modes": ["BRANCH_MEMBER"] * 21},
        {"nodes_truenodeids": [1] * 21},
        {"nodes_truenodeids": [0] * 21},
        {"nodes_falsenodeids": [99] * 21},
        {"nodes_featureids": [-1] * 21},
        {"nodes_values": [float("nan")] * 21},
        {"nodes_nodeids": [0] * 21},
        {"target_ids": [9] * 24},
        {"target_weights": [1.0]},
        {"n_targets": 0},
        {"n_targets": -3},
        {"nodes_modes": ["LEAF"] * 21},
    ],
    ids=str,
)
def test_broken_ensembles(changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModel):
        trees.read(_broken(**changes), "test")
