"""Train the boosted trees of this folder and write them, with their data, next to this file.

    python examples/trees/trees.py [--out FOLDER]

Needs `proofml[torch]` and onnxruntime. The data are the 569 breast-cancer records that ship with
scikit-learn, a quarter of them held out. Every seed is fixed: a second run on the same machine
and package versions writes the same bytes.

A comparison is the one operation that rounding turns upside down, so the features are rounded
before training: standardised, then to multiples of 1/64. A threshold lies half-way between two
values of a feature, hence on a multiple of 1/128, and a fixed-point prover with 7 or more
fractional bits compares exactly what scikit-learn compares.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.model_selection import train_test_split

from proofml.export import export_sklearn

Array = NDArray[Any]

HERE = Path(__file__).parent
SEED = 0
GRID = 64


class Records(NamedTuple):
    """Features float32 [n, 30], multiples of 1/64, and labels uint8 [n] (1 is benign)."""

    train_features: Array
    train_labels: Array
    heldout_features: Array
    heldout_labels: Array


def load() -> Records:
    """The split that the model is trained and scored on."""
    features, labels = load_breast_cancer(return_X_y=True)
    train, heldout, train_labels, heldout_labels = train_test_split(
        features, labels, test_size=0.25, random_state=SEED, stratify=labels
    )
    mean, deviation = train.mean(axis=0), train.std(axis=0)

    def rounded(rows: Array) -> Array:
        grid: Array = np.round((rows - mean) / deviation * GRID) / GRID
        return grid.astype(np.float32)

    return Records(
        rounded(train),
        train_labels.astype(np.uint8),
        rounded(heldout),
        heldout_labels.astype(np.uint8),
    )


def fit(records: Records) -> Any:
    """Ten trees of depth 3."""
    model = GradientBoostingClassifier(
        n_estimators=10, max_depth=3, learning_rate=0.5, random_state=SEED
    )
    return model.fit(records.train_features, records.train_labels)


def accuracy(path: Path, records: Records) -> float:
    """Share of the held-out rows that the ONNX file, run one by one, puts in their class."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    guesses = [
        session.run(None, {"features": row[None]})[0].item() > 0 for row in records.heldout_features
    ]
    return float(np.mean(np.array(guesses) == records.heldout_labels))


def write_all(out: Path) -> float:
    """Write every file of this folder to `out`; returns the held-out accuracy."""
    records = load()
    path = out / "trees_gbt.onnx"
    # The score from before the sigmoid: EZKL proves a sigmoid with a table, which only reaches as
    # far as the calibration data did.
    model = fit(records)
    width = records.train_features.shape[1]
    export_sklearn(model, width, path, trees="tensor", output="decision")
    np.savez_compressed(out / "trees_input.npz", features=records.heldout_features[:1])
    np.savez_compressed(out / "trees_calibration.npz", features=records.train_features[:20])
    np.savez_compressed(
        out / "trees_heldout.npz",
        features=records.heldout_features,
        labels=records.heldout_labels,
    )
    return accuracy(path, records)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the boosted trees of this folder.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    options = parser.parse_args()
    # All or nothing: the model and its data belong together.
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        score = write_all(Path(folder))
        for path in sorted(Path(folder).iterdir()):
            path.replace(options.out / path.name)
    print(f"trees_gbt.onnx: held-out accuracy {score:.4f}")


if __name__ == "__main__":
    main()
