"""Models with data for the benchmarks of homomorphic encryption, fitted here, the same every time.

Logistic regression and boosted trees on breast-cancer data, a multilayer perceptron and a small
convolutional network on 8 x 8 digits: the sets that come with scikit-learn, nothing is downloaded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from proofml.tensors import Array

CALIBRATION, TEST = 300, 200
_OPSET = 17
#: Of the convolutional network: filters of WINDOW x WINDOW in steps of STRIDE.
FILTERS, WINDOW, STRIDE = 6, 3, 2
_EPOCHS, _BATCH, _RATE = 40, 32, 3e-3


@dataclass(frozen=True)
class Case:
    """A fitted model of one input: float32 rows [n, 1, ...] and labels [n].

    Attributes:
        onnx: the model's file, its batch fixed at 1.
        calibration: of the rows that it was fitted on.
        rows, labels: that it never saw.
    """

    onnx: bytes
    calibration: Array
    rows: Array
    labels: Array


def batched(data: bytes) -> bytes:
    """The same graph with its batch left free, so that one ciphertext may hold many inferences."""
    model = onnx.load_model_from_string(data)
    del model.graph.value_info[:]
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_param = "n"
    freed: bytes = model.SerializeToString(deterministic=True)
    return freed


def _split(rows: Any, labels: Any) -> tuple[Array, Array, Array, Array]:
    from sklearn.model_selection import train_test_split

    parts: list[Any] = train_test_split(
        np.asarray(rows, np.float32), np.asarray(labels), test_size=TEST, random_state=0
    )
    train, test, known, unknown = parts
    return train, known, test, unknown


def _export(estimator: Any, features: int, **options: Any) -> bytes:
    from proofml.export import export_sklearn

    with tempfile.TemporaryDirectory() as folder:
        return export_sklearn(estimator, features, Path(folder) / "m.onnx", **options).read_bytes()


def _cancer(estimator: Any, **options: Any) -> Case:
    from sklearn.datasets import load_breast_cancer
    from sklearn.preprocessing import StandardScaler

    data: Any = load_breast_cancer(return_X_y=True)
    train, known, test, labels = _split(*data)
    scaler = StandardScaler().fit(train)
    train, test = (np.asarray(scaler.transform(part), np.float32) for part in (train, test))
    exported = _export(estimator.fit(train, known), train.shape[1], **options)
    return Case(exported, train[:CALIBRATION, None], test[:, None], labels)


def logistic() -> Case:
    from sklearn.linear_model import LogisticRegression

    return _cancer(LogisticRegression(max_iter=1000))


def boosted() -> Case:
    from sklearn.ensemble import GradientBoostingClassifier

    estimator = GradientBoostingClassifier(n_estimators=10, max_depth=3, random_state=0)
    return _cancer(estimator, trees="onnx-ml")


def _digits() -> tuple[Array, Array, Array, Array]:
    from sklearn.datasets import load_digits

    data: Any = load_digits(return_X_y=True)
    rows, labels = data
    return _split(rows / 16, labels)


def mlp() -> Case:
    from sklearn.neural_network import MLPClassifier

    train, known, test, labels = _digits()
    estimator = MLPClassifier((32,), max_iter=400, random_state=0).fit(train, known)
    data = _export(estimator, 64, output="decision")
    return Case(data, train[:CALIBRATION, None], test[:, None], labels)


def cnn() -> Case:
    train, known, test, labels = _digits()
    weights = fit_convolutional(train, known)
    nodes = [
        helper.make_node("Conv", ["image", "filters", "c"], ["h"], strides=[STRIDE, STRIDE]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "matrix", "b"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in weights.items()],
    )
    opsets = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    shaped = [part.reshape(-1, 1, 1, 8, 8) for part in (train[:CALIBRATION], test)]
    return Case(model.SerializeToString(), shaped[0], shaped[1], labels)


def fit_convolutional(rows: Array, labels: Array, epochs: int = _EPOCHS) -> dict[str, Array]:
    """Filters, matrix and biases of convolution, Relu and a last layer, for cross-entropy.

    Plain NumPy: Adam (Kingma and Ba, ICLR 2015) in float64, seeded. Weight decay keeps values
    before the Relu small, which is kind to few bits and to polynomials alike.
    """
    rng = np.random.default_rng(0)
    windows = _windows(rows)
    places = windows.shape[1]
    known: dict[str, Array] = {
        "filters": rng.normal(0, 0.3, (FILTERS, 1, WINDOW, WINDOW)),
        "c": np.zeros(FILTERS),
        "matrix": rng.normal(0, 0.1, (FILTERS * places, 10)),
        "b": np.zeros(10),
    }
    first = {name: np.zeros_like(value) for name, value in known.items()}
    second = {name: np.zeros_like(value) for name, value in known.items()}
    step = 0
    for _ in range(epochs):
        order = rng.permutation(len(rows))
        for start in range(0, len(rows), _BATCH):
            chosen = order[start : start + _BATCH]
            step += 1
            for name, gradient in _gradients(known, windows[chosen], labels[chosen]).items():
                gradient = gradient + 1e-3 * known[name]
                first[name] += 0.1 * (gradient - first[name])
                second[name] += 0.001 * (gradient**2 - second[name])
                mean = first[name] / (1 - 0.9**step)
                spread = np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8
                known[name] = known[name] - _RATE * mean / spread
    return known


def _windows(rows: Array) -> Array:
    """[n, 64] -> what each place of a filter sees, [n, places, WINDOW * WINDOW]."""
    images = rows.reshape(-1, 8, 8).astype(np.float64)
    found = np.lib.stride_tricks.sliding_window_view(images, (WINDOW, WINDOW), axis=(1, 2))
    found = found[:, ::STRIDE, ::STRIDE]
    return np.ascontiguousarray(found).reshape(len(images), -1, WINDOW * WINDOW)


def _gradients(known: Mapping[str, Array], windows: Array, labels: Array) -> dict[str, Array]:
    count, places, _ = windows.shape
    filters = known["filters"].reshape(FILTERS, -1)
    before = windows @ filters.T + known["c"]  # [n, places, filters]
    flat = np.maximum(before, 0).transpose(0, 2, 1).reshape(count, -1)  # channel by channel
    scores = flat @ known["matrix"] + known["b"]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    wrong = powers / powers.sum(axis=1, keepdims=True)
    wrong[np.arange(count), labels] -= 1
    wrong /= count
    back = (wrong @ known["matrix"].T).reshape(count, FILTERS, places).transpose(0, 2, 1)
    back = back * (before > 0)
    return {
        "filters": np.einsum("npf,npw->fw", back, windows).reshape(known["filters"].shape),
        "c": back.sum(axis=(0, 1)),
        "matrix": flat.T @ wrong,
        "b": wrong.sum(axis=0),
    }


CASES: Mapping[str, Callable[[], Case]] = MappingProxyType(
    {"logistic": logistic, "boosted": boosted, "mlp": mlp, "cnn": cnn}
)
#: What CKKS cannot compute: comparisons.
CKKS_CASES = ("logistic", "mlp", "cnn")
