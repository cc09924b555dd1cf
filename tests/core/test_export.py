"""Exported files compute what the trained model computes, and are the same bytes each time."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from proofml.errors import BackendUnavailable, UsageError
from proofml.export import export_sklearn, export_torch
from proofml.export.arguments import Trees
from proofml.export.onnx_file import keep_output

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(path: Path, **inputs: Any) -> list[Any]:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    results: list[Any] = session.run(None, inputs)
    return results


def rows(path: Path, features: Any) -> Any:
    """Outputs [n, k] of the file for each row of float32 [n, f]."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"features": row[None]})[0] for row in features])


def shapes(path: Path) -> dict[str, list[int]]:
    graph = onnx.load(path).graph
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


# --- PyTorch ---------------------------------------------------------------------------------


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def small_cnn(torch: Any) -> Any:
    torch.manual_seed(0)
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(27, 4),
    )
    module[1].running_mean.uniform_(-1, 1)
    module[1].running_var.uniform_(0.5, 2)
    return module


def two_headed(torch: Any) -> Any:
    class TwoHeaded(torch.nn.Module):  # type: ignore[misc]
        def forward(self, left: Any, right: Any) -> Any:
            return left - right, (left * right).reshape(left.shape[0], -1)

    return TwoHeaded()


def test_a_torch_module_becomes_the_same_function(torch: Any, tmp_path: Path) -> None:
    module = small_cnn(torch)
    image = np.random.default_rng(0).normal(size=(1, 1, 8, 8)).astype(np.float32)
    path = export_torch(module, {"image": image}, tmp_path / "m.onnx", output_names=["logits"])
    other = np.random.default_rng(1).normal(size=(1, 1, 8, 8)).astype(np.float32)
    with torch.no_grad():
        want = module.eval()(torch.from_numpy(other)).numpy()
    np.testing.assert_allclose(run(path, image=other)[0], want, rtol=1e-5, atol=1e-5)
    assert shapes(path) == {"image": [1, 1, 8, 8], "logits": [1, 4]}
    # Evaluation mode: nothing random or statistical is left.
    assert operators(path) == {"Conv", "Relu", "Flatten", "Gemm"}


def test_the_file_tells_nothing_but_the_model(torch: Any, tmp_path: Path) -> None:
    image = np.zeros((1, 1, 8, 8), np.float32)
    first = export_torch(small_cnn(torch), [image], tmp_path / "a.onnx")
    second = export_torch(small_cnn(torch), [image], str(tmp_path / "b.onnx"))
    assert first.read_bytes() == second.read_bytes()
    model = onnx.load(first)
    assert (model.producer_name, model.producer_version, model.doc_string) == ("", "", "")
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 17)]
    assert shapes(first) == {"input": [1, 1, 8, 8], "output": [1, 4]}
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_the_modes_of_the_module_stay(torch: Any, tmp_path: Path) -> None:
    module = small_cnn(torch).train()
    module[1].eval()
    export_torch(module, [np.zeros((1, 1, 8, 8), np.float32)], tmp_path / "m.onnx")
    assert module.training
    assert module[0].training
    assert not module[1].training


def test_several_inputs_go_by_name(torch: Any, tmp_path: Path) -> None:
    left, right = np.full((1, 2), 5, np.float32), np.full((1, 2), 3, np.float32)
    path = export_torch(two_headed(torch), {"right": right, "left": left}, tmp_path / "m.onnx")
    assert [value.name for value in onnx.load(path).graph.input] == ["left", "right"]
    difference, product = run(path, left=left, right=right)
    assert difference.tolist() == [[2, 2]]
    assert product.tolist() == [[15, 15]]
    assert shapes(path)["output_1"] == [1, 2]


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ({"left": 1, "other": 1}, {}, "all names or none"),
        ({"right": 1}, {}, "the first 1 parameters"),
        ({}, {}, "at least one array, got none"),
        ([np.zeros((2, 2), np.float32)] * 2, {}, r"expected shape \[1, \.\.\.\], got \[2, 2\]"),
        ([np.float32(1)] * 2, {}, "expected a numpy.ndarray"),
        ([np.zeros((1, 2), object)] * 2, {}, "got object"),
        ("image", {}, "got str"),
        ({1: 1, 2: 1}, {}, "names that are str"),
        (None, {"output_names": ["one"]}, "expected 2, one per output of the module, got 1"),
        (None, {"output_names": ["left", "b"]}, "distinct names that no input has"),
        (None, {"opset": 99}, "expected 13 to 18, got 99"),
        (None, {"opset": "17"}, "expected an int"),
    ],
)
def test_wrong_arguments_of_export_torch(
    torch: Any, tmp_path: Path, inputs: Any, options: dict[str, Any], message: str
) -> None:
    array = np.zeros((1, 2), np.float32)
    if inputs is None:
        inputs = {"left": array, "right": array}
    if isinstance(inputs, dict):
        inputs = dict.fromkeys(inputs, array)
    with pytest.raises(UsageError, match=message):
        export_torch(two_headed(torch), inputs, tmp_path / "m.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_only_modules_are_taken(torch: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a torch\.nn\.Module, got function"):
        export_torch(lambda x: x, [np.zeros((1, 2), np.float32)], tmp_path / "m.onnx")


def test_a_module_that_cannot_run_says_why(torch: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="PyTorch could not export Linear: RuntimeError"):
        export_torch(torch.nn.Linear(3, 1), [np.zeros((1, 2), np.float32)], tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["absent/m.onnx", ""])
def test_the_path_must_be_a_file_in_a_folder(torch: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="path: expected a file"):
        export_torch(torch.nn.ReLU(), [np.zeros((1, 2), np.float32)], tmp_path / name)


# --- scikit-learn ----------------------------------------------------------------------------


def table(classes: int, *, seed: int = 0) -> tuple[Any, Any]:
    """Features float32 [120, 5], coarse so that values meet thresholds, and labels [120]."""
    random = np.random.default_rng(seed)
    features = np.round(random.normal(size=(120, 5)), 1).astype(np.float32)
    score = features[:, 0] + features[:, 1] * features[:, 2]
    return features, np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))


@pytest.fixture
def sklearn() -> Any:
    pytest.importorskip("skl2onnx")
    return pytest.importorskip("sklearn")


@pytest.fixture
def hummingbird(sklearn: Any) -> Any:
    pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("hummingbird.ml")


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_regression(sklearn: Any, tmp_path: Path, classes: int) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = table(classes)
    for estimator in (LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression())):
        estimator.fit(features, labels)
        path = export_sklearn(estimator, 5, tmp_path / "m.onnx")
        want = estimator.predict_proba(features)
        np.testing.assert_allclose(rows(path, features), want, rtol=1e-4, atol=1e-5)
        assert shapes(path) == {"features": [1, 5], "probabilities": [1, classes]}
        # Standard operators only, and no integer label.
        assert {item.domain for item in onnx.load(path).opset_import} == {""}
        again = export_sklearn(estimator, 5, tmp_path / "again.onnx")
        assert path.read_bytes() == again.read_bytes()


def test_regression_with_several_targets(sklearn: Any, tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression

    features, labels = table(3)
    targets = np.stack([labels, features[:, 0]], axis=1)
    for estimator in (LinearRegression(), RandomForestRegressor(3, max_depth=3, random_state=0)):
        estimator.fit(features, targets)
        path = export_sklearn(
            estimator, 5, tmp_path / "m.onnx", trees="onnx-ml", input_name="features"
        )
        assert shapes(path)["prediction"] == [1, 2]
        np.testing.assert_allclose(
            rows(path, features), estimator.predict(features), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "name", ["GradientBoostingClassifier", "RandomForestClassifier", "DecisionTreeClassifier"]
)
def test_trees_as_tensors(hummingbird: Any, tmp_path: Path, name: str, classes: int) -> None:
    from sklearn import ensemble, tree

    make = getattr(ensemble, name, None) or getattr(tree, name)
    size = {} if name == "DecisionTreeClassifier" else {"n_estimators": 7}
    # Shallow, medium and deep trees take three different forms in hummingbird-ml.
    for depth in (3, 6, None):
        features, labels = table(classes, seed=depth or 1)
        estimator = make(max_depth=depth, random_state=0, **size).fit(features, labels)
        path = export_sklearn(estimator, 5, tmp_path / "m.onnx", trees="tensor")
        assert not any("TreeEnsemble" in item for item in operators(path))
        assert shapes(path) == {"features": [1, 5], "probabilities": [1, classes]}
        want = estimator.predict_proba(features)
        np.testing.assert_allclose(rows(path, features), want, rtol=1e-4, atol=1e-5)
        if depth == 3:
            assert "Equal" not in operators(path)  # EZKL evaluates it wrongly
        again = export_sklearn(estimator, 5, tmp_path / "again.onnx")
        assert path.read_bytes() == again.read_bytes()


def test_tree_models_keep_their_operators_on_request(sklearn: Any, tmp_path: Path) -> None:
    from sklearn.ensemble import GradientBoostingClassifier

    features, labels = table(2)
    estimator = GradientBoostingClassifier(n_estimators=3, random_state=0).fit(features, labels)
    path = export_sklearn(estimator, 5, tmp_path / "m.onnx", trees="onnx-ml")
    assert "TreeEnsembleClassifier" in operators(path)
    want = estimator.predict_proba(features)
    np.testing.assert_allclose(rows(path, features), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_decisions_of_boosted_trees(hummingbird: Any, tmp_path: Path, classes: int) -> None:
    from sklearn.ensemble import GradientBoostingClassifier

    features, labels = table(classes)
    estimator = GradientBoostingClassifier(n_estimators=4, random_state=0).fit(features, labels)
    path = export_sklearn(estimator, 5, tmp_path / "m.onnx", output="decision")
    assert not operators(path) & {"Sigmoid", "Softmax"}
    assert shapes(path)["decision"] == [1, 1 if classes == 2 else 3]
    got, want = rows(path, features), estimator.decision_function(features).reshape(120, -1)
    if classes > 2:  # equal up to a constant that the classes share
        got, want = got - got[:, :1], want - want[:, :1]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_value_between_a_threshold_and_its_float32_goes_the_right_way(
    hummingbird: Any, tmp_path: Path
) -> None:
    from sklearn.tree import DecisionTreeClassifier

    # Half-way between 1 and the third float32 above it lies a tie, which rounds to the second.
    features = np.array([[1], [1 + 3 * 2**-23]], np.float32)
    estimator = DecisionTreeClassifier(random_state=0).fit(features, ["left", "right"])
    threshold = estimator.tree_.threshold[0]
    between = np.array([[threshold]], np.float32)
    assert between[0, 0] > threshold  # rounded to the nearest float32 it would go left
    path = export_sklearn(estimator, 1, tmp_path / "m.onnx")
    assert rows(path, between).tolist() == estimator.predict_proba(between).tolist() == [[0, 1]]
    assert estimator.tree_.threshold[0] == threshold
    assert estimator.classes_.tolist() == ["left", "right"]


def test_a_wrong_conversion_is_not_written(
    hummingbird: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.ensemble import RandomForestClassifier

    features, labels = table(2)
    estimator = RandomForestClassifier(3, random_state=0).fit(features, labels)
    other = RandomForestClassifier(3, random_state=1).fit(features, labels)
    convert = hummingbird.convert
    monkeypatch.setattr(hummingbird, "convert", lambda _, *args, **kw: convert(other, *args, **kw))
    with pytest.raises(UsageError, match="converts this version of RandomForestClassifier wrong"):
        export_sklearn(estimator, 5, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_estimators_outside_the_range(sklearn: Any, tmp_path: Path) -> None:
    from sklearn.ensemble import AdaBoostClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    features, labels = table(2)
    fitted = LogisticRegression().fit(features, labels)
    path = tmp_path / "m.onnx"
    cases: list[tuple[Any, Any, dict[str, Any], str]] = [
        (StandardScaler().fit(features), 5, {}, "expected a classifier or a regressor"),
        (LogisticRegression(), 5, {}, "call its fit first"),
        (fitted, 4, {}, "expected 5, the number of columns"),
        (fitted, 0, {}, "expected a positive int, got 0"),
        (fitted, 5, {"trees": "gemm"}, "expected one of auto, onnx-ml, tensor, got 'gemm'"),
        (fitted, 5, {"output": "label"}, "expected one of probabilities, decision"),
        (LinearSVC().fit(features, labels), 5, {}, "a classifier with predict_proba"),
        (AdaBoostClassifier(n_estimators=2).fit(features, labels), 5, {}, "trees='onnx-ml'"),
    ]
    for estimator, n_features, options, message in cases:
        with pytest.raises(UsageError, match=message):
            export_sklearn(estimator, n_features, path, **options)
    assert not path.exists()


def test_forests_have_no_decision(hummingbird: Any, tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier

    features, labels = table(2)
    estimator = RandomForestClassifier(2, random_state=0).fit(features, labels)
    with pytest.raises(UsageError, match="neither a sigmoid nor a softmax"):
        export_sklearn(estimator, 5, tmp_path / "m.onnx", output="decision")


# --- missing packages, ONNX ------------------------------------------------------------------


def test_without_pytorch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendUnavailable, match=r"torch.*pip install 'proofml\[torch\]'"):
        export_torch(object(), [np.zeros((1, 2), np.float32)], tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("missing", "package"),
    [
        ("sklearn.base", "scikit-learn"),
        ("skl2onnx", "skl2onnx"),
        ("hummingbird.ml", "hummingbird-ml"),
    ],
)
def test_without_a_converter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str, package: str
) -> None:
    pytest.importorskip("sklearn")
    if missing == "hummingbird.ml":
        pytest.importorskip("torch")
    from sklearn.tree import DecisionTreeClassifier

    features, labels = table(2)
    estimator = DecisionTreeClassifier().fit(features, labels)
    monkeypatch.setitem(sys.modules, missing, None)
    trees: Trees = "onnx-ml" if missing == "skl2onnx" else "tensor"
    with pytest.raises(BackendUnavailable, match=rf"{package}.*pip install 'proofml\[torch\]'"):
        export_sklearn(estimator, 5, tmp_path / "m.onnx", trees=trees)


def test_pruning_keeps_what_the_output_needs() -> None:
    make = onnx.helper.make_tensor_value_info
    weights = [
        onnx.numpy_helper.from_array(np.ones((1, 2), np.float32), name) for name in ("w", "unused")
    ]
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Add", ["x", "w"], ["y"]),
            onnx.helper.make_node("Add", ["y", "unused"], ["z"]),
        ],
        "g",
        [make("x", onnx.TensorProto.FLOAT, [1, 2])],
        [make(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("z", "y")],
        weights,
    )
    model = onnx.helper.make_model(graph)
    keep_output(model, "y")
    assert [node.output[0] for node in model.graph.node] == ["y"]
    assert [item.name for item in model.graph.initializer] == ["w"]
    assert [item.name for item in model.graph.output] == ["y"]


# --- the committed examples ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("digits_cnn.onnx", "image", (1, 1, 8, 8)),
        ("digits_cnn_int8.onnx", "image", (1, 1, 8, 8)),
        ("digits_mlp.onnx", "features", (1, 64)),
    ],
)
def test_the_digit_models_read_held_out_digits(name: str, key: str, shape: tuple[int, ...]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = EXAMPLES / "digits"
    heldout = np.load(folder / "digits_heldout.npz")
    images = heldout["images"].astype(np.float32) / 16
    session = onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
    guesses = [session.run(None, {key: image.reshape(shape)})[0].argmax() for image in images]
    assert np.mean(np.array(guesses) == heldout["labels"]) >= 0.97


def test_the_tree_model_reads_held_out_records() -> None:
    folder = EXAMPLES / "trees"
    heldout = np.load(folder / "trees_heldout.npz")
    decisions = rows(folder / "trees_gbt.onnx", heldout["features"])
    assert np.mean((decisions[:, 0] > 0) == heldout["labels"]) >= 0.93
    # Exact comparisons in fixed point with 7 fractional bits rest on this grid.
    assert np.array_equal(heldout["features"] * 64, np.round(heldout["features"] * 64))


@pytest.mark.parametrize(
    ("file", "key", "shape"),
    [
        ("digits/digit.npz", "image", (1, 1, 8, 8)),
        ("digits/digit_features.npz", "features", (1, 64)),
        ("digits/calibration.npz", "image", (20, 1, 8, 8)),
        ("trees/trees_input.npz", "features", (1, 30)),
        ("trees/trees_calibration.npz", "features", (20, 30)),
    ],
)
def test_the_example_inputs_fit(file: str, key: str, shape: tuple[int, ...]) -> None:
    with np.load(EXAMPLES / file) as content:
        assert content.files == [key]
        assert content[key].dtype == np.float32
        assert content[key].shape == shape
