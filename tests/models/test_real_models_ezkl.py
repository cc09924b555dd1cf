"""What EZKL says of models that people use: the operator or the resource that stops it, at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from proofml.backend import Request, get_backend
from proofml.errors import EXIT_USAGE
from proofml.inspect import inspect
from proofml.model import Model

from .test_real_models import MAGIKA, folder_of

OCR = "models"
CASES = {
    "magika": ("magika", f"{MAGIKA}/model.onnx", "bytes", (1, 2048), np.int32, "operator Equal"),
    "classifier": (
        "rapidocr_onnxruntime",
        f"{OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "x",
        (1, 3, 48, 192),
        np.float32,
        "multiply-accumulates",
    ),
    "recogniser": (
        "rapidocr_onnxruntime",
        f"{OCR}/ch_PP-OCRv4_rec_infer.onnx",
        "x",
        (1, 3, 48, 160),
        np.float32,
        "multiply-accumulates",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_obstacle_is_named(case: str, tmp_path: Path) -> None:
    package, file, name, shape, dtype, obstacle = CASES[case]
    path = folder_of(package) / file
    report = next(
        backend
        for backend in inspect(Model.load(path), shapes={name: shape}).backends
        if backend.name == "ezkl"
    )
    assert report.supported is False
    assert any(obstacle in reason for reason in report.reasons)

    inputs = tmp_path / "input.npz"
    np.savez(inputs, **{name: np.zeros(shape, dtype)})
    run = subprocess.run(
        [sys.executable, "-c", "from proofml.cli import main; main()", "prove", str(path),
         str(inputs), "-b", "ezkl", "--set", "srs=local-dev", "-o", str(tmp_path / "p.pml")],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == EXIT_USAGE
    assert obstacle in run.stderr
    assert "Traceback" not in run.stderr


def test_quantised_digits_are_refused_by_operator() -> None:
    """EZKL takes 8-bit QuantizeLinear for the identity: a proof of another function."""
    path = Path(__file__).parents[2] / "examples/digits/digits_cnn_int8.onnx"
    support = get_backend("ezkl").supports(Model.load(path), Request())
    assert support.reasons[:2] == ("operator QuantizeLinear", "operator DequantizeLinear")
