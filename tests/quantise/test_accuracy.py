"""The digit models lose at most one point of accuracy on images that calibration did not see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from proofml.circuits.quantise import QuantisationConfig, apply, calibrate
from proofml.circuits.quantise.fidelity import measure_fidelity, run_samples
from proofml.errors import UsageError
from proofml.model import Model
from proofml.store import Store
from proofml.tensors import Array

#: As examples/digits/README.md has it; `test_float_accuracy` checks that.
FLOAT_ACCURACY = {"digits_cnn": 0.9822, "digits_mlp": 0.98}
MODELS = [("digits_cnn", "image", (1, 1, 8, 8)), ("digits_mlp", "features", (1, 64))]


def heldout(digits: Path, key: str, dims: tuple[int, ...]) -> tuple[list[dict[str, Array]], Array]:
    with np.load(digits / "digits_heldout.npz") as file:
        pixels = file["images"].astype(np.float32) / np.float32(16)
        return [{key: image.reshape(dims)} for image in pixels], file["labels"]


@pytest.mark.parametrize(("name", "key", "dims"), MODELS)
def test_float_accuracy(
    digits: Path, store: Store, name: str, key: str, dims: tuple[int, ...]
) -> None:
    samples, labels = heldout(digits, key, dims)
    outputs = run_samples(Model.load(digits / f"{name}.onnx"), samples, store)
    guesses = np.array([int(output["logits"].argmax()) for output in outputs])
    assert float(np.mean(guesses == labels)) == pytest.approx(FLOAT_ACCURACY[name], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "key", "dims", "config"),
    [
        (*MODELS[0], QuantisationConfig()),
        (*MODELS[0], QuantisationConfig(method="mse", per_channel=True)),
        (*MODELS[1], QuantisationConfig()),
        (*MODELS[1], QuantisationConfig(method="percentile", activations="int8")),
    ],
    ids=["cnn", "cnn-mse", "mlp", "mlp-int8"],
)
def test_digits(
    digits: Path,
    store: Store,
    name: str,
    key: str,
    dims: tuple[int, ...],
    config: QuantisationConfig,
) -> None:
    model = Model.load(digits / f"{name}.onnx")
    with np.load(digits / "calibration.npz") as file:
        samples = [{key: image.reshape(dims)} for image in file["image"]]
    others, labels = heldout(digits, key, dims)
    quantised = Model.load(apply(model, calibrate(model, samples, config, store)))
    outputs = run_samples(quantised, others, store)
    guesses = np.array([int(output["logits"].argmax()) for output in outputs])
    assert float(np.mean(guesses == labels)) >= FLOAT_ACCURACY[name] - 0.01
    report = measure_fidelity(model, quantised, others[:50], store)
    (output,) = report.outputs
    assert output.top1 is not None
    assert output.top1 >= 0.98
    assert output.mean_error < 0.01 * output.scale
    assert "top-1 agreement" in str(report)
    assert report.to_json()["samples"] == 50


def test_fidelity_wants_samples_and_the_same_outputs(digits: Path, store: Store) -> None:
    cnn, mlp = (Model.load(digits / f"digits_{name}.onnx") for name in ("cnn", "mlp"))
    with pytest.raises(UsageError, match="at least one held-out sample"):
        measure_fidelity(cnn, mlp, [], store)
