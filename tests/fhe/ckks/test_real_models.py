"""Models that were trained: logistic regression, perceptrons and a convolutional network.

Exported without PyTorch: by skl2onnx, and as they lie in examples/digits. Accuracy under real
encryption is compared with that of the float model in onnxruntime.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from proofml.backend import Context
from proofml.canonical import sha256
from proofml.export import export_sklearn
from proofml.fhe.ckks import server
from proofml.fhe.ckks.scheme import CkksScheme
from proofml.model import Model
from proofml.store import Store
from proofml.tensors import Array

from .models import reference

pytest.importorskip("tenseal")

ROOT = Path(__file__).resolve().parents[3]
DIGITS = ROOT / "examples" / "digits"


@dataclass(frozen=True)
class Case:
    """A model, its calibration inputs, and test inputs with their labels.

    Attributes:
        data: of the ONNX file, its batch free.
        options: for the compiler.
        error: largest difference of the outputs from the float model's that is accepted.
    """

    data: bytes
    calibration: Array
    inputs: Array
    labels: Array
    options: dict[str, str]
    error: float

    def model(self, store: Store) -> Model:
        return Model.load(self.data, store=store)


def freed(path: Path) -> bytes:
    """The file with a free batch."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    data: bytes = model.SerializeToString()
    return data


def trained(estimator: Any, inputs: Array, labels: Array, folder: Path) -> bytes:
    estimator.fit(inputs, labels)
    return freed(export_sklearn(estimator, inputs.shape[1], folder / "model.onnx"))


@cache
def _digits() -> tuple[Array, Array, Array]:
    """Training pixels, held-out pixels and labels, as examples/digits splits them."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = (data.images / 16).astype(np.float32)[:, None]
    train, heldout, _, labels = train_test_split(
        images, data.target, test_size=0.25, random_state=0, stratify=data.target
    )
    return train, heldout, labels


def logistic(folder: Path) -> Case:
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_breast_cancer(return_X_y=True)
    x = x.astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    data = trained(model, x[:300], y[:300], folder)
    return Case(data, x[:300], x[300:500], y[300:500], {}, 1e-3)


def perceptron(folder: Path) -> Case:
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order]
    model = MLPClassifier((32,), activation="tanh", max_iter=300, alpha=0.01, random_state=0)
    data = trained(model, x[:1200], y[:1200], folder)
    return Case(data, x[:1200], x[1500:1700], y[1500:1700], {}, 0.1)


def rectified(folder: Path) -> Case:
    """The perceptron of examples/digits, with ReLU."""
    train, heldout, labels = _digits()
    return Case(
        freed(DIGITS / "digits_mlp.onnx"),
        train.reshape(-1, 64),
        heldout[:200].reshape(-1, 64),
        labels[:200],
        {},
        1.5,
    )


def convolutional(folder: Path) -> Case:
    """That of examples/digits: two convolutions with ReLU."""
    train, heldout, labels = _digits()
    return Case(
        freed(DIGITS / "digits_cnn.onnx"), train, heldout[:200], labels[:200], {"degree": "8"}, 1.5
    )


CASES = {
    "logistic": logistic,
    "perceptron": perceptron,
    "rectified": rectified,
    "convolutional": convolutional,
}
each = pytest.mark.parametrize("name", CASES)


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    pytest.importorskip("skl2onnx")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of estimators that have not converged
        return {name: make(tmp_path_factory.mktemp(name)) for name, make in CASES.items()}


def compare(case: Case, count: int, scheme: CkksScheme, context: Context) -> None:
    """Real encryption of `count` test inputs, against the float model and the simulation."""
    model = case.model(context.store)
    name = model.inputs[0].name
    circuit = scheme.compile(model, [{name: case.calibration}], case.options, context)
    assert circuit.security_bits >= 128
    scheme.check_circuit(circuit, model, context)
    inputs = {name: case.inputs[:count]}
    secret, evaluation = scheme.keygen(circuit, context)
    given = scheme.encrypt(circuit, secret, inputs, context)
    made = scheme.run(circuit, evaluation, given, context)
    (found,) = scheme.decrypt(circuit, secret, made, context).values()
    (simulated,) = scheme.simulate(circuit, inputs, context).values()
    (wanted,) = reference(model, inputs).values()
    assert found.shape == wanted.shape
    assert np.max(np.abs(found - simulated)) <= float(circuit.report["noise"])  # type: ignore[arg-type]
    assert np.max(np.abs(found - wanted)) <= case.error
    labels = case.labels[:count]
    right = [float(np.mean(one.argmax(axis=1) == labels)) for one in (found, wanted)]
    if count >= 200:
        assert right[1] >= 0.9
        assert right[0] >= right[1] - 0.01, f"encrypted {right[0]}, float {right[1]}"


@each
def test_five_inferences(
    name: str, cases: dict[str, Case], scheme: CkksScheme, context: Context
) -> None:
    compare(cases[name], 5, scheme, context)


@pytest.mark.slow
@each
def test_accuracy_of_two_hundred(
    name: str, cases: dict[str, Case], scheme: CkksScheme, context: Context
) -> None:
    compare(cases[name], 200, scheme, context)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic", "rectified"])
def test_fifty_runs_under_load(
    name: str, cases: dict[str, Case], scheme: CkksScheme, context: Context
) -> None:
    """Fresh processes while all cores are busy: one digest."""
    case = cases[name]
    model = case.model(context.store)
    port = model.inputs[0].name
    circuit = scheme.compile(model, [{port: case.calibration}], case.options, context)
    secret, evaluation = scheme.keygen(circuit, context)
    given = scheme.encrypt(circuit, secret, {port: case.inputs[:3]}, context)
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: sum(range(10**6))"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        time.sleep(0.5)
        digests = {
            sha256(b"".join(server.run(circuit, evaluation, given, context))) for _ in range(50)
        }
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert len(digests) == 1
