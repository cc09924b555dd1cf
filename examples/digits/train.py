"""Train the digit models of this folder and write them, with their data, next to this file.

    python examples/digits/train.py [--out FOLDER] [--lenet FILE]

Needs `proofml[torch]` and onnxruntime. The data are the 1797 grey 8x8 digits that ship with
scikit-learn, a quarter of them held out. Every seed is fixed and training runs on one thread, so
a second run on the same machine and package versions writes the same bytes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from proofml.export import export_torch

Array = NDArray[Any]

HERE = Path(__file__).parent
SEED = 0
#: The images hold whole numbers from 0 to 16.
FULL_SCALE = 16
CALIBRATION_IMAGES = 20


class Digits(NamedTuple):
    """Images uint8 [n, 1, 8, 8] of values 0..16 and labels uint8 [n]."""

    train_images: Array
    train_labels: Array
    heldout_images: Array
    heldout_labels: Array


def load() -> Digits:
    """The split that every model of this folder is trained and scored on."""
    data = load_digits()
    images = data.images.astype(np.uint8)[:, None]
    labels = data.target.astype(np.uint8)
    parts = train_test_split(images, labels, test_size=0.25, random_state=SEED, stratify=labels)
    return Digits(parts[0], parts[2], parts[1], parts[3])


def scaled(images: Array) -> Array:
    """Float32 pixels in 0..1; exact, since the full scale is a power of two."""
    return images.astype(np.float32) / np.float32(FULL_SCALE)


def cnn() -> Any:
    """Image [1, 8, 8]: two convolutions of stride 2 and one linear layer, 1210 parameters.

    Strides take the place of pooling: a prover pays for each comparison.
    """
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 12, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48, 10),
    )


def mlp() -> Any:
    """Pixels [64]: one hidden layer of 32, 2410 parameters."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def lenet() -> Any:
    """Image [1, 28, 28]: LeNet-5 with ReLU and average pooling, 61706 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def fit(make: Callable[[], Any], inputs: Array, labels: Array, *, epochs: int, rate: float) -> Any:
    """Train `make()` on float32 inputs [n, ...] and return it in evaluation mode."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    module = make()
    # Smoothed labels and weight decay keep the logits small, and with them the rounding error of
    # fixed-point provers.
    loss = nn.CrossEntropyLoss(label_smoothing=0.05)
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    x = torch.from_numpy(inputs)
    y = torch.from_numpy(labels.astype(np.int64))
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            loss(module(x[batch]), y[batch]).backward()
            optimizer.step()
        schedule.step()
    return module.eval()


def accuracy(path: Path, inputs: Array, labels: Array) -> float:
    """Share of float32 inputs [n, ...] that the ONNX file, run one by one, puts in their class."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    guesses = [int(session.run(None, {name: row[None]})[0].argmax()) for row in inputs]
    return float(np.mean(np.array(guesses) == labels))


class _Rows(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the quantizer one image [1, 1, 8, 8] at a time."""

    def __init__(self, inputs: Array) -> None:
        self._rows: Iterator[Array] = iter(inputs)

    def get_next(self) -> dict[str, Array] | None:
        row = next(self._rows, None)
        return None if row is None else {"image": row[None]}


def quantize(source: Path, target: Path, inputs: Array) -> None:
    """Write the int8 form of the float model at `source`; `inputs` float32 [n, 1, 8, 8]."""
    quantize_static(
        source,
        target,
        _Rows(inputs),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        # Signed on both sides: unsigned by signed products saturate on older x86 processors, and
        # the same file would then give other answers elsewhere. Symmetric: all zero points are 0.
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
    )
    model = onnx.load(target)
    for field in ("producer_name", "producer_version", "doc_string", "metadata_props"):
        model.ClearField(field)
    model.graph.ClearField("value_info")
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString(deterministic=True))


def train_lenet(path: Path | str, *, epochs: int = 12) -> float:
    """Train LeNet-5 on the digits, enlarged to 28x28, and write it to `path`.

    The file takes `image` float32 [1, 1, 28, 28] and returns `logits` [1, 10]. It is meant for
    benchmarks and is not kept in the repository.

    Returns:
        The accuracy on the held-out digits.
    """
    digits = load()
    train, heldout = enlarged(digits.train_images), enlarged(digits.heldout_images)
    module = fit(lenet, train, digits.train_labels, epochs=epochs, rate=2e-3)
    export_torch(module, {"image": train[:1]}, path, output_names=["logits"])
    return accuracy(Path(path), heldout, digits.heldout_labels)


def enlarged(images: Array) -> Array:
    """Pixels in 0..1 of images [n, 1, 8, 8], interpolated to float32 [n, 1, 28, 28]."""
    result = nn.functional.interpolate(
        torch.from_numpy(scaled(images)), size=(28, 28), mode="bilinear", align_corners=False
    )
    array: Array = result.numpy()
    return array


def write_all(out: Path) -> dict[str, float]:
    """Write every file of this folder to `out`; returns the held-out accuracy by file name."""
    digits = load()
    train, heldout = scaled(digits.train_images), scaled(digits.heldout_images)
    scores: dict[str, float] = {}

    path = out / "digits_cnn.onnx"
    module = fit(cnn, train, digits.train_labels, epochs=80, rate=5e-3)
    export_torch(module, {"image": train[:1]}, path, output_names=["logits"])
    scores[path.name] = accuracy(path, heldout, digits.heldout_labels)

    int8 = out / "digits_cnn_int8.onnx"
    quantize(path, int8, train[:200])
    scores[int8.name] = accuracy(int8, heldout, digits.heldout_labels)

    path = out / "digits_mlp.onnx"
    flat = train.reshape(-1, 64)
    module = fit(mlp, flat, digits.train_labels, epochs=80, rate=5e-3)
    export_torch(module, {"features": flat[:1]}, path, output_names=["logits"])
    scores[path.name] = accuracy(path, heldout.reshape(-1, 64), digits.heldout_labels)

    np.savez_compressed(out / "digit.npz", image=heldout[:1])
    np.savez_compressed(out / "digit_features.npz", features=heldout[:1].reshape(1, 64))
    np.savez_compressed(out / "calibration.npz", image=train[:CALIBRATION_IMAGES])
    np.savez_compressed(
        out / "digits_heldout.npz", images=digits.heldout_images, labels=digits.heldout_labels
    )
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the digit models of this folder.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    parser.add_argument("--lenet", type=Path, help="write only LeNet-5, to this file")
    options = parser.parse_args()
    if options.lenet:
        print(f"{options.lenet.name}: held-out accuracy {train_lenet(options.lenet):.4f}")
        return
    # All or nothing: the models and their data belong together.
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        scores = write_all(Path(folder))
        for path in sorted(Path(folder).iterdir()):
            path.replace(options.out / path.name)
    for name, score in scores.items():
        print(f"{name}: held-out accuracy {score:.4f}")


if __name__ == "__main__":
    main()
