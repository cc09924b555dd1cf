"""Tree models of scikit-learn as tensor operators, through hummingbird-ml and PyTorch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from proofml.errors import UsageError
from proofml.export.arguments import Array, first_line, load
from proofml.export.onnx_file import keep_output, rename_output
from proofml.export.torch_export import trace

#: Base classes of tree models, by name so that no package has to be imported to ask.
_TREE_CLASSES = {
    "BaseDecisionTree",
    "BaseForest",
    "BaseGradientBoosting",
    "BaseHistGradientBoosting",
}


def is_tree_model(estimator: Any) -> bool:
    """Whether the estimator, or the last step of a pipeline, is a tree or an ensemble of trees."""
    return any(base.__name__ in _TREE_CLASSES for base in type(_last_step(estimator)).__mro__)


def convert_trees(
    estimator: Any, n_features: int, classifier: bool, input_name: str, opset: int, where: str
) -> onnx.ModelProto:
    """Convert a tree model through hummingbird-ml: it becomes Gather, LessOrEqual and Add."""
    torch = load("torch", where)
    hummingbird = load("hummingbird.ml", where)
    name = type(estimator).__name__
    rounded = copy.deepcopy(estimator)
    for _, thresholds in _thresholds(rounded):
        thresholds[...] = _round_down(thresholds)
    if classifier:  # hummingbird refuses labels that are not whole numbers, and none comes out
        last = _last_step(rounded)
        last.classes_ = np.arange(len(last.classes_))
    example = {input_name: np.zeros((1, n_features), dtype=np.float32)}
    with warnings.catch_warnings():
        # hummingbird makes constants while it is traced, which is safe: they are constants.
        warnings.simplefilter("ignore")
        try:
            module = _tree_module(hummingbird, rounded)
        except Exception as error:
            raise UsageError(
                f"{where}: estimator: hummingbird-ml cannot convert {name}: "
                f"{first_line(error)}; trees='onnx-ml' converts with skl2onnx"
            ) from error
        rows = _probe_rows(rounded, n_features)
        results = module(torch.from_numpy(rows))
        got = (results[1] if classifier else results).numpy().reshape(len(rows), -1)
        want = np.reshape(predict(estimator, rows, classifier), (len(rows), -1))
        # hummingbird reads private attributes that change between versions of scikit-learn.
        if got.shape != want.shape or not np.allclose(got, want, rtol=1e-4, atol=1e-5):
            raise UsageError(
                f"{where}: estimator: hummingbird-ml converts this version of {name} wrongly: "
                "expected its predictions, got others; trees='onnx-ml' converts with skl2onnx"
            )
        model = onnx.load_model_from_string(trace(torch, module, example, None, opset, where))
    # A classifier returns its integer label in front of its probabilities.
    keep_output(model, model.graph.output[-1].name)
    rename_output(model, "probabilities" if classifier else "prediction")
    return model


def predict(estimator: Any, rows: Array, classifier: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an estimator fitted on named columns asks for names
        return estimator.predict_proba(rows) if classifier else estimator.predict(rows)


def _tree_module(hummingbird: Any, estimator: Any) -> Any:
    """The estimator as a PyTorch module, in the form that provers evaluate rightly and cheaply.

    The form hummingbird prefers for shallow trees compares path counts with Equal, whose result
    EZKL 23 leaves at the scale of its operands: wrong by 2**scale, with no error. Its other forms
    decide with LessOrEqual, and take a sixth of the rows.
    """
    module = hummingbird.convert(estimator, "torch").model
    if not any(type(part).__name__.startswith("GEMM") for part in module.modules()):
        return module
    try:
        config = {"tree_implementation": "perf_tree_trav"}
        return hummingbird.convert(estimator, "torch", extra_config=config).model
    except ValueError:  # it cannot lay out a tree of one comparison that way
        config = {"tree_implementation": "tree_trav"}
        return hummingbird.convert(estimator, "torch", extra_config=config).model


def _last_step(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    return steps[-1][1] if steps else estimator


def _thresholds(estimator: Any) -> Iterator[tuple[Array, Array]]:
    """The features and the thresholds, writable, of each tree of a scikit-learn model."""
    last = _last_step(estimator)
    for members in getattr(last, "_predictors", ()):  # histogram-based boosting
        for tree in members:
            yield tree.nodes["feature_idx"], tree.nodes["num_threshold"]
    for tree in np.ravel(getattr(last, "estimators_", [last])):
        if hasattr(tree, "tree_"):
            yield tree.tree_.feature, tree.tree_.threshold


def _round_down(thresholds: Array) -> Array:
    """The largest float32 at or below each float64 threshold, as float64.

    `x <= t` for a float32 x is the same as `x <= round_down(t)`; the nearest float32 may lie
    above t and send an x between the two the wrong way.
    """
    nearest = thresholds.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest > thresholds, below, nearest).astype(np.float64)


def _probe_rows(estimator: Any, n_features: int, count: int = 256) -> Array:
    """Rows float32 [count, n_features] that lie on, or just above, thresholds of the trees."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(count, n_features)).astype(np.float32)
    if _last_step(estimator) is not estimator:
        return rows  # the steps before move the thresholds
    pairs = list(_thresholds(estimator))
    if not pairs:
        return rows
    features = np.concatenate([pair[0] for pair in pairs])
    thresholds = np.concatenate([pair[1] for pair in pairs])
    for feature in range(n_features):
        known = thresholds[(features == feature) & np.isfinite(thresholds)].astype(np.float32)
        if known.size:
            known = np.concatenate([known, np.nextafter(known, np.float32(np.inf))])
            rows[:, feature] = random.choice(known, size=count)
    return rows
