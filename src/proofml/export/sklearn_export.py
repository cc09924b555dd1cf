"""scikit-learn estimators: checked here, and converted by skl2onnx unless they are trees."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx

from proofml.errors import UsageError
from proofml.export.arguments import (
    Output,
    Trees,
    check_choice,
    check_opset,
    file_target,
    first_line,
    load,
)
from proofml.export.onnx_file import (
    atomic_write,
    cut_at_activation,
    finish,
    keep_output,
    rename_output,
    set_shape,
)
from proofml.export.trees import convert_trees, is_tree_model, predict

_ML_OPSET = 3
_TREE_OPS = ("TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor")
#: ai.onnx.ml operators that skl2onnx can spell with standard operators instead.
_AVOIDED_OPS = {"LinearClassifier", "LinearRegressor", "Normalizer", "Scaler"}


def export_sklearn(
    estimator: Any,
    n_features: int,
    path: str | Path,
    *,
    trees: Trees = "auto",
    output: Output = "probabilities",
    input_name: str = "features",
    opset: int = 17,
) -> Path:
    """Write a fitted classifier or regressor (or a pipeline that ends in one) as an ONNX file.

    The file has one input, float32 [1, n_features], and one output, float32:

    - a classifier: `probabilities` [1, n_classes], as `predict_proba`; or with
      `output="decision"` the `decision` [1, n_classes] or [1, 1] from before the final softmax
      or sigmoid, which spares a prover that function. It is `decision_function` up to a constant
      that all classes share.
    - a regressor: `prediction` [1, n_targets], as `predict`.

    No label comes out: it is the argmax of the row, or the sign of a single decision.

    Args:
        estimator: a fitted scikit-learn estimator.
        n_features: number of columns that it was fitted on.
        path: file to write; its folder must exist.
        trees: `tensor` writes decision trees, forests and boosted trees as gathers and
            comparisons (through hummingbird-ml), so that provers without a TreeEnsemble operator
            can take them; `onnx-ml` keeps the TreeEnsemble operators (through skl2onnx). `auto`
            is `tensor`. Estimators without trees are not touched by it.
        output: what a classifier returns; regressors ignore it.
        input_name: name of the input.
        opset: newest standard operator set that the file may use, 13 to 18.

    Returns:
        `path`.

    Raises:
        UsageError: a wrong argument, or an estimator that the converter does not know.
        BackendUnavailable: a package that this estimator needs is not installed.
    """
    where = "export_sklearn"
    target = file_target(path, where)
    check_opset(opset, where)
    check_choice("trees", trees, get_args(Trees), where)
    check_choice("output", output, get_args(Output), where)
    if not isinstance(n_features, int) or isinstance(n_features, bool) or n_features < 1:
        raise UsageError(f"{where}: n_features: expected a positive int, got {n_features!r}")
    sklearn_base = load("sklearn.base", where)
    classifier = bool(sklearn_base.is_classifier(estimator))
    if not classifier and not sklearn_base.is_regressor(estimator):
        raise UsageError(
            f"{where}: estimator: expected a classifier or a regressor, "
            f"got {type(estimator).__name__}; end the pipeline with one"
        )
    fitted = getattr(estimator, "n_features_in_", None)
    if fitted is None:
        raise UsageError(
            f"{where}: estimator: expected a fitted one, got {type(estimator).__name__} without "
            "n_features_in_; call its fit first"
        )
    if fitted != n_features:
        raise UsageError(
            f"{where}: n_features: expected {fitted}, the number of columns that "
            f"{type(estimator).__name__} was fitted on, got {n_features}"
        )
    width = _width(estimator, n_features, classifier, where)
    if trees != "onnx-ml" and is_tree_model(estimator):
        model = convert_trees(estimator, n_features, classifier, input_name, opset, where)
    else:
        model = _convert_plain(estimator, n_features, classifier, input_name, opset, where)
        kept = sorted({node.op_type for node in model.graph.node} & set(_TREE_OPS))
        if kept and trees != "onnx-ml":
            raise UsageError(
                f"{where}: estimator: {type(estimator).__name__} contains trees that have no "
                f"tensor form and became {', '.join(kept)}; pass trees='onnx-ml' to keep them, "
                "which only backends that execute the model accept"
            )
    set_shape(model.graph.output[0], (1, width))  # skl2onnx declares one target where many are
    if classifier and output == "decision":
        cut_at_activation(model, type(estimator).__name__, where)
    atomic_write(target, finish(model, where))
    return target


def _width(estimator: Any, n_features: int, classifier: bool, where: str) -> int:
    """Number of columns that the estimator returns for one row."""
    if classifier and not hasattr(estimator, "predict_proba"):
        raise UsageError(
            f"{where}: estimator: expected a classifier with predict_proba, "
            f"got {type(estimator).__name__}; wrap it in CalibratedClassifierCV or fit a "
            "probabilistic one"
        )
    result = predict(estimator, np.zeros((1, n_features), dtype=np.float32), classifier)
    if not isinstance(result, np.ndarray):
        raise UsageError(
            f"{where}: estimator: expected a classifier with one target, "
            f"got {type(estimator).__name__} fitted on several; fit one classifier per target"
        )
    return int(result.size)


def _convert_plain(
    estimator: Any, n_features: int, classifier: bool, input_name: str, opset: int, where: str
) -> onnx.ModelProto:
    """Convert through skl2onnx, with standard operators where it can."""
    skl2onnx = load("skl2onnx", where)
    types = load("skl2onnx.common.data_types", where)

    def convert(avoided: set[str]) -> onnx.ModelProto:
        model: onnx.ModelProto = skl2onnx.convert_sklearn(
            estimator,
            name="proofml",  # a random one otherwise
            initial_types=[(input_name, types.FloatTensorType([1, n_features]))],
            target_opset={"": opset, "ai.onnx.ml": _ML_OPSET},
            options={id(estimator): {"zipmap": False}} if classifier else None,
            black_op=avoided,
        )
        return model

    try:
        try:
            model = convert(_AVOIDED_OPS)
        except (RuntimeError, NotImplementedError):
            # Not every estimator has a converter without them.
            model = convert(set())
    except Exception as error:
        raise UsageError(
            f"{where}: estimator: skl2onnx cannot convert {type(estimator).__name__}: "
            f"{first_line(error)}"
        ) from error
    keep_output(model, model.graph.output[-1].name)
    rename_output(model, "probabilities" if classifier else "prediction")
    return model
