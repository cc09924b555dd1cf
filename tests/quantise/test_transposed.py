"""ConvTranspose as Conv and movement: the same float function, and integer kernels afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from proofml.circuits.onnx import compile_model
from proofml.circuits.quantise import QuantisationConfig
from proofml.circuits.quantise.plan import make_plan
from proofml.circuits.quantise.prepare import prepare
from proofml.circuits.quantise.transposed import _MAX_EXTENT
from proofml.errors import UnsupportedModel
from proofml.model import Model
from proofml.tensors import Array

from ..circuits.agreement import compare, session
from .builder import Builder
from .test_fusion import floats_left, optimised
from .workshop import Workshop

#: Spatial dims of the input, kernel, attributes.
CASES: dict[str, tuple[list[int], list[int], dict[str, Any]]] = {
    "doubling": ([5, 6], [2, 2], {"strides": [2, 2]}),
    "overlapping": ([5, 6], [3, 4], {"strides": [2, 3]}),
    "gaps": ([5, 6], [2, 1], {"strides": [3, 2]}),
    "plain": ([5, 6], [3, 2], {}),
    "pads": ([5, 6], [4, 4], {"strides": [2, 2], "pads": [1, 0, 2, 3]}),
    "pads-plain": ([5, 6], [3, 3], {"pads": [1, 1, 1, 1]}),
    "output-padding": ([5, 6], [3, 3], {"strides": [2, 2], "output_padding": [1, 1]}),
    "output-padding-beyond": ([3, 3], [2, 2], {"strides": [2, 2], "output_padding": [1, 0]}),
    "dilated": ([4, 5], [3, 2], {"strides": [2, 1], "dilations": [2, 3], "pads": [1, 1, 0, 1]}),
    "groups": ([4, 5], [3, 3], {"strides": [2, 2], "group": 2, "pads": [1, 1, 1, 1]}),
    "depthwise": ([4, 5], [2, 2], {"strides": [2, 2], "group": 4}),
    "valid": ([4, 5], [3, 3], {"strides": [2, 1], "auto_pad": "VALID"}),
    "line": ([9], [5], {"strides": [3], "pads": [2, 1]}),
    "one-cell": ([1, 1], [2, 3], {"strides": [2, 3]}),
}


def built(name: str, *, norm: bool = False, act: str = "") -> bytes:
    spatial, kernel, more = CASES[name]
    b = Builder([2, 4, *spatial])
    each = 3 if more.get("group", 1) < 4 else 1
    made = each * more.get("group", 1)
    b.op("ConvTranspose", "x", b.weight(4, each, *kernel), b.weight(made), **more)
    if norm:
        b.op("Mul", b.h, b.weight(made, *[1] * len(spatial)))
        b.norm(made)
    if act:
        b.op(act)
    return b.finish()


def answers(data: bytes, x: Array) -> Array:
    (y,) = session(onnx.ModelProto.FromString(data)).run(None, {"x": x})
    result: Array = y
    return result


@pytest.mark.parametrize("norm", [False, True], ids=["bare", "norm"])
@pytest.mark.parametrize("name", CASES)
def test_same_float_function(name: str, norm: bool) -> None:
    data = built(name, norm=norm)
    model = Model.load(data)
    graph = prepare(model)
    kinds = {node.op for node in graph.nodes}
    assert "ConvTranspose" not in kinds
    assert kinds <= {"Conv", "Reshape", "Transpose", "Slice"}
    assert [node.op for node in graph.nodes].count("Conv") == 1
    x = np.random.default_rng(3).standard_normal((2, 4, *CASES[name][0])).astype(np.float32)
    want, have = answers(data, x), answers(graph.to_proto().SerializeToString(), x)
    assert have.shape == want.shape
    assert want.shape == model.outputs[0].shape
    assert np.abs(have - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("name", CASES)
def test_integers_equal_onnxruntime(workshop: Workshop, tmp_path: Path, name: str) -> None:
    config = QuantisationConfig(per_channel=len(name) % 2 == 0)
    outcome = workshop.run(built(name, norm=True), config)
    (output,) = outcome.report.outputs
    assert output.max_error <= 0.05 * output.scale
    assert not floats_left(optimised(outcome.data, tmp_path))
    feeds = workshop.samples(outcome.model, 2)
    wide = [{key: value * np.float32(9) for key, value in feed.items()} for feed in feeds]
    found = compare(outcome.quantised.proto, [*feeds, *wide])
    assert found.wrong == 0
    assert not found.compiled.graph.classes["D"]
    assert found.compiled.graph.classes["E"]


def test_a_relu_behind_it_is_done_by_the_codes(workshop: Workshop) -> None:
    outcome = workshop.run(built("pads", norm=True, act="Relu"))
    assert outcome.quantised.operators["Relu"] == 0
    plan = make_plan(prepare(outcome.model))
    assert [values for name, values in plan.observed.items() if name != "x"] == [("v3",)]
    params = next(p for name, p in outcome.record.activations.items() if name != "x")
    assert params.zero_point == 0


def test_the_importer_does_not_take_it() -> None:
    model = Model.load(built("plain"))
    with pytest.raises(UnsupportedModel, match=r"operator ConvTranspose \(1 nodes\)"):
        compile_model(model)


def wrong(kernel: list[int], spatial: list[Any] | None = None, **more: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        b = Builder([1, 4, *(spatial or [5, 6])])
        b.op("ConvTranspose", "x", b.weight(4, 2, *kernel), **more)
        return b.finish()

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (wrong([2, 2], auto_pad="SAME_UPPER", strides=[2, 2]), "auto_pad or output_shape"),
        (wrong([2, 2], output_shape=[11, 12], strides=[2, 2]), "auto_pad or output_shape"),
        (wrong([2, 2], ["h", 6], strides=[2, 2]), "expected a fixed shape of its input 'x'"),
        (wrong([1, 1, 1], [3, 4, 5]), "expected one or two dimensions"),
        (wrong([1, 1], strides=[_MAX_EXTENT + 1, 1]), f".*expected at most {_MAX_EXTENT} cells"),
        (wrong([2, 2], strides=[2, 2], pads=[9, 0, 9, 0]), "a kernel over 2 cells.*, and a result"),
    ],
)
def test_refusals(make: Callable[[], bytes], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=rf"node 0 \(ConvTranspose\): {message}"):
        prepare(Model.load(make()))


def test_many_weights_are_refused() -> None:
    b = Builder([1, 64, 5, 6])
    b.op("ConvTranspose", "x", b.weight(64, 64, 1, 1), strides=[256, 256])
    with pytest.raises(UnsupportedModel, match=r"\(ConvTranspose\): 268435456 weights"):
        prepare(Model.load(b.finish()))
