"""Tree ensembles as arrays: comparisons, paths and leaves.

The owner compares features with thresholds in the clear (the model is public), so a comparison is
one encrypted bit, and exact. Each leaf then has one number, how many comparisons on its path went
its way; the leaf whose number is the length of its path is the one that the tree reaches. Whatever
the bits are, a tree reaches exactly one leaf: two paths part at a comparison that they answer
differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from proofml.errors import UnsupportedModel
from proofml.tensors import Array

#: Comparison of a node -> its code in a circuit. NaN never reaches one.
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
POST_TRANSFORMS = ("NONE", "LOGISTIC", "SOFTMAX")
MAX_DEPTH = 63
MAX_NODES = 1 << 16
_LEAF = "LEAF"


@dataclass(frozen=True)
class Ensemble:
    """A tree ensemble.

    Attributes:
        features int64[P], thresholds float32[P], modes uint8[P]: the comparisons, each once.
        paths int8[L, P]: +1 where the path to leaf l takes the comparison's true branch, -1 the
            false one (times how often), 0 where the comparison is not on it.
        trees int64[L]: the tree of each leaf, counted without trees of one leaf.
        weights float64[L, C]: what the leaf adds to each score.
        base float64[C]: what every score begins with.
        post: what is applied to the scores, of `POST_TRANSFORMS`.
        columns: number of columns that the operator returns.
        divisor: by which scores are divided.
    """

    features: Array
    thresholds: Array
    modes: Array
    paths: Array
    trees: Array
    weights: Array
    base: Array
    post: str
    columns: int
    divisor: int

    @property
    def depth(self) -> int:
        """Comparisons on the longest path."""
        return int(np.abs(self.paths).sum(axis=1, dtype=np.int64).max(initial=0))


def read(node: NodeProto, name: str) -> Ensemble:
    """The ensemble of an ai.onnx.ml node, every index of it checked.

    Raises:
        UnsupportedModel: an aggregation, a comparison or a form not known, or broken arrays.
    """
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    where = f"{name}: {node.op_type}"
    classifier = node.op_type == "TreeEnsembleClassifier"
    kind = "class" if classifier else "target"
    aggregate = _text(found, "aggregate_function", "SUM")
    post = _text(found, "post_transform", "NONE")
    if aggregate not in ("SUM", "AVERAGE") or post not in POST_TRANSFORMS:
        raise UnsupportedModel(
            f"{where}: expected the sum or average of trees and a transform of "
            f"{', '.join(POST_TRANSFORMS)}; got {aggregate}, {post}"
        )
    columns = (
        len(found.get("classlabels_int64s") or found.get("classlabels_strings") or ())
        if classifier
        else int(found.get("n_targets", 1))
    )
    try:
        nodes = _nodes(found)
        leaves = _weights(found, kind)
    except (KeyError, ValueError, IndexError) as error:
        raise UnsupportedModel(f"{where}: its arrays do not fit: {error!r}") from error
    if not 1 <= columns <= MAX_NODES or len(nodes) > MAX_NODES:
        raise UnsupportedModel(f"{where}: {columns} columns, {len(nodes)} nodes; too many or none")
    return _assemble(nodes, leaves, found, where, classifier, columns, post, aggregate)


def _text(found: Mapping[str, Any], key: str, default: str) -> str:
    value = found.get(key, default)
    return value.decode("ascii", errors="replace") if isinstance(value, bytes) else str(value)


def _numbers(found: Mapping[str, Any], key: str) -> Array:
    """A list of floats, or the tensor of doubles that may stand for it."""
    from onnx import numpy_helper

    tensor = found.get(f"{key}_as_tensor")
    if tensor is not None:
        return np.asarray(numpy_helper.to_array(tensor), dtype=np.float64)
    return np.asarray(found.get(key, ()), dtype=np.float64)


@dataclass(frozen=True)
class _Node:
    feature: int
    threshold: float
    mode: str
    true: int
    false: int


def _nodes(found: Mapping[str, Any]) -> dict[tuple[int, int], _Node]:
    names = ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids", "modes")
    columns = [found[f"nodes_{name}"] for name in names]
    values = _numbers(found, "nodes_values")
    if len({len(column) for column in columns} | {len(values)}) != 1:
        raise ValueError("lists of nodes of different lengths")
    nodes = {}
    for tree, node, feature, true, false, mode, value in zip(*columns, values, strict=True):
        key = (int(tree), int(node))
        if key in nodes:
            raise ValueError(f"node {key} twice")
        nodes[key] = _Node(int(feature), float(value), mode.decode("ascii"), int(true), int(false))
    return nodes


def _weights(found: Mapping[str, Any], kind: str) -> dict[tuple[int, int], list[tuple[int, float]]]:
    weights = _numbers(found, f"{kind}_weights")
    leaves: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for tree, node, index, weight in zip(
        found[f"{kind}_treeids"],
        found[f"{kind}_nodeids"],
        found[f"{kind}_ids"],
        weights,
        strict=True,
    ):
        leaves.setdefault((int(tree), int(node)), []).append((int(index), float(weight)))
    return leaves


def _assemble(
    nodes: dict[tuple[int, int], _Node],
    leaves: dict[tuple[int, int], list[tuple[int, float]]],
    found: Mapping[str, Any],
    where: str,
    classifier: bool,
    columns: int,
    post: str,
    aggregate: str,
) -> Ensemble:
    keys = sorted(
        {
            (node.feature, node.threshold, MODES.index(node.mode))
            for node in nodes.values()
            if node.mode in MODES
        }
    )
    strange = {node.mode for node in nodes.values()} - {*MODES, _LEAF}
    if strange or not all(np.isfinite(key[1]) and key[0] >= 0 for key in keys):
        raise UnsupportedModel(f"{where}: comparisons {', '.join(sorted(strange))} or not finite")
    position = {key: index for index, key in enumerate(keys)}
    ids = {index for entries in leaves.values() for index, _ in entries}
    # A classifier of two classes may score one of them only; the rest is in the transform.
    single = classifier and columns == 2 and len(ids) == 1
    width = 1 if single else columns
    base = np.zeros(width)
    given = _numbers(found, "base_values")
    if given.size:
        base = np.resize(given, width) if given.size >= width else np.zeros(width) + given[0]
    paths, members, weights = [], [], []
    count = 0
    roots = sorted({tree for tree, _ in nodes})
    for tree in roots:
        found_leaves = list(_walk(nodes, tree, position, where))
        for leaf, path in found_leaves:
            row = np.zeros(width)
            for index, weight in leaves.get((tree, leaf), ()):
                if not single and not 0 <= index < columns:
                    raise UnsupportedModel(f"{where}: a leaf of class {index}, of {columns}")
                row[0 if single else index] += weight
            if len(found_leaves) == 1:
                base = base + row
                continue
            line = np.zeros(len(keys), dtype=np.int8)
            for comparison, side in path:
                line[comparison] += side
            paths.append(line)
            members.append(count)
            weights.append(row)
        count += len(found_leaves) > 1
    if not paths:
        raise UnsupportedModel(f"{where}: no tree of it compares anything")
    return Ensemble(
        np.array([key[0] for key in keys], dtype=np.int64),
        np.array([key[1] for key in keys], dtype=np.float32),
        np.array([key[2] for key in keys], dtype=np.uint8),
        np.stack(paths),
        np.array(members, dtype=np.int64),
        np.stack(weights),
        base,
        post,
        columns,
        len(roots) if aggregate == "AVERAGE" else 1,
    )


def _walk(
    nodes: dict[tuple[int, int], _Node],
    tree: int,
    position: dict[tuple[int, float, int], int],
    where: str,
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Leaves of a tree that can be reached, with the comparisons on their paths, (number, side).

    A comparison counts once on a path, and a path that wants both its answers leads nowhere.
    """
    children = {
        child
        for (owner, _), node in nodes.items()
        if owner == tree and node.mode != _LEAF
        for child in (node.true, node.false)
    }
    roots = [node for owner, node in nodes if owner == tree and node not in children]
    if len(roots) != 1:
        raise UnsupportedModel(f"{where}: tree {tree} has {len(roots)} roots, expected one")
    pending: list[tuple[int, list[tuple[int, int]]]] = [(roots[0], [])]
    seen = 0
    while pending:
        at, path = pending.pop()
        node = nodes.get((tree, at))
        seen += 1
        if node is None or len(path) > MAX_DEPTH or seen > len(nodes):
            raise UnsupportedModel(f"{where}: tree {tree} is no tree, or deeper than {MAX_DEPTH}")
        if node.mode == _LEAF:
            yield at, path
            continue
        comparison = position[node.feature, node.threshold, MODES.index(node.mode)]
        known = dict(path).get(comparison)
        for child, side in ((node.false, -1), (node.true, 1)):
            if known is None:
                pending.append((child, [*path, (comparison, side)]))
            elif known == side:
                pending.append((child, path))


def compare(rows: Array, features: Array, thresholds: Array, modes: Array) -> Array:
    """Bits int64[n, P] of float32 rows [n, F], each comparison as onnxruntime makes it."""
    left = rows[:, features]
    results = [
        left <= thresholds,
        left < thresholds,
        left >= thresholds,
        left > thresholds,
        left == thresholds,
        left != thresholds,
    ]
    return np.asarray(np.choose(modes, results), dtype=np.int64)


def finish(scores: Array, post: str, columns: int) -> Array:
    """What the operator returns for float64 scores [n, C]: float32 [n, columns].

    Two columns of one score: the second class's, and its complement (its negation where neither a
    transform nor weights make it a probability, which no exporter writes and nothing here takes).
    """
    if post == "SOFTMAX":
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores = scores / scores.sum(axis=1, keepdims=True)
    elif post == "LOGISTIC":
        scores = 1 / (1 + np.exp(-scores))
    if scores.shape[1] == 1 and columns == 2:
        scores = np.concatenate([1 - scores, scores], axis=1)
    return np.asarray(scores, dtype=np.float32)


def float_scores(ensemble: Ensemble, bits: Array) -> Array:
    """Scores float64[n, C] of comparison bits [n, P], with unrounded leaves."""
    paths = ensemble.paths.astype(np.int64)
    wanted = np.maximum(paths, 0).sum(axis=1)
    reached = bits @ paths.T == wanted
    scores: Array = (ensemble.base + reached @ ensemble.weights) / ensemble.divisor
    return scores
