"""The benchmark of the EZKL backend runs, and what it prints is a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from proofml.benchmarks.ezkl import HEADER, main, measure

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_row_is_measured(tmp_path: Path) -> None:
    digits = EXAMPLES / "digits"
    pair = f"{digits / 'digits_mlp.onnx'}={digits / 'digit_features.npz'}"
    table = tmp_path / "table.md"
    result = CliRunner().invoke(main, [pair, "--output", str(table)])
    assert result.exit_code == 0, result.output
    text = table.read_text()
    assert text.startswith(HEADER)
    (row,) = [line for line in text.splitlines() if line.startswith("| digits_mlp")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == HEADER.splitlines()[0].count("|") - 1
    assert cells[1:3] == ["2,410", "2^12"]
    assert cells[-1] == "same"


def lenet(path: Path) -> None:
    """LeNet-5's shapes (61,706 parameters) with random weights: a prover does not mind."""
    generator = np.random.default_rng(5)
    shapes = {
        "c1": (6, 1, 5, 5), "c2": (16, 6, 5, 5), "f1": (120, 400), "f2": (84, 120), "f3": (10, 84),
    }  # fmt: skip
    weights = []
    for name, shape in shapes.items():
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        weight = generator.normal(0, scale, shape).astype(np.float32)
        bias = generator.normal(0, 0.05, shape[0]).astype(np.float32)
        weights += [numpy_helper.from_array(weight, name)]
        weights += [numpy_helper.from_array(bias, f"{name}_bias")]

    def layer(kind: str, source: str, name: str, target: str, **attributes: object) -> list[object]:
        node = helper.make_node(kind, [source, name, f"{name}_bias"], [f"{name}_out"], **attributes)
        return [node, helper.make_node("Relu", [f"{name}_out"], [target])]

    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        *layer("Conv", "image", "c1", "r1", pads=[2, 2, 2, 2], strides=[1, 1]),
        helper.make_node("AveragePool", ["r1"], ["p1"], **pool),
        *layer("Conv", "p1", "c2", "r2", strides=[1, 1]),
        helper.make_node("AveragePool", ["r2"], ["p2"], **pool),
        helper.make_node("Flatten", ["p2"], ["flat"]),
        *layer("Gemm", "flat", "f1", "r3", transB=1),
        *layer("Gemm", "r3", "f2", "r4", transB=1),
        helper.make_node("Gemm", ["r4", "f3", "f3_bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "lenet",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


@pytest.mark.slow
def test_lenet_is_proven_and_verified(tmp_path: Path) -> None:
    """Some 4 GiB of memory and several minutes."""
    model, inputs = tmp_path / "lenet.onnx", tmp_path / "image.npz"
    lenet(model)
    image = np.random.default_rng(6).random((1, 1, 28, 28)).astype(np.float32)
    np.savez(inputs, image=image)
    row = measure(model, inputs, {"logrows": "17"}, None)
    assert row.parameters == 61_706
    assert float(row.max_error) < 0.5
