"""Resize to the nearest cell: onnxruntime's own choice of cells, and what is refused."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from proofml.circuits.axes import MAX_AXIS
from proofml.circuits.nearest import COORDINATES, ROUNDINGS, check_mode, factors, nearest
from proofml.circuits.onnx import compile_model
from proofml.errors import UnsupportedModel

from .agreement import compare, session
from .models import Net, Tensor, load


def resized(length: int, factor: int, coordinates: str, rounding: str) -> list[int]:
    """The cells that onnxruntime takes, from a Resize of their numbers."""
    node = helper.make_node(
        "Resize",
        ["x", "", "scales"],
        ["y"],
        mode="nearest",
        coordinate_transformation_mode=coordinates,
        nearest_mode=rounding,
    )
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, length])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, length * factor])],
        [numpy_helper.from_array(np.array([1, factor], np.float32), "scales")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (y,) = session(proto).run(None, {"x": np.arange(length, dtype=np.float32)[None]})
    return [int(cell) for cell in y[0]]


@pytest.mark.parametrize(("coordinates", "rounding"), list(product(COORDINATES, ROUNDINGS)))
def test_same_cells_as_onnxruntime(coordinates: str, rounding: str) -> None:
    for length, factor in product((1, 2, 7, 33), (1, 2, 3, 4, 5, 8, 10)):
        found = nearest(length, factor, coordinates, rounding)
        assert found == resized(length, factor, coordinates, rounding), (length, factor)


def test_a_long_axis() -> None:
    for factor in (3, 7):
        found = nearest(9001, factor, "half_pixel", "round_prefer_floor")
        assert found == resized(9001, factor, "half_pixel", "round_prefer_floor")


def test_factors() -> None:
    assert factors([None, 3, 5], [1.0, 1.0, 4.0], None, None) == [1, 1, 4]
    assert factors([2, 3, 5], None, [2, 9, 5], None) == [1, 3, 1]
    assert factors([2, 3, 5], None, [10], [-1]) == [1, 1, 2]
    assert factors([2, 3, 5], [2.0, 3.0], None, [2, 0]) == [3, 1, 2]


@pytest.mark.parametrize(
    ("shape", "scales", "sizes", "axes", "message"),
    [
        ([2, 3], None, None, None, "either scales or sizes"),
        ([2, 3], [1.0, 1.0], [2, 3], None, "either scales or sizes"),
        ([2, 3], [1.0], None, None, "1 numbers for the axes"),
        ([2, 3], [1.0, 2.0], None, [1, -1], "2 numbers for the axes"),
        ([2, 3], [1.0], None, [2], "1 numbers for the axes"),
        ([2, 3], [1.0], None, [-3], "1 numbers for the axes"),
        ([2, 3], [1.0, 1.5], None, None, r"axis 1 grows 1\.5 times"),
        ([2, 3], [1.0, 0.5], None, None, r"axis 1 grows 0\.5 times"),
        ([2, 3], [0.0, 1.0], None, None, "axis 0 grows 0 times"),
        ([2, 3], [-2.0, 1.0], None, None, "axis 0 grows -2 times"),
        ([2, 3], None, [2, 4], None, r"axis 1 grows 1\.33333 times"),
        ([2, 3], None, [2, 0], None, "axis 1 grows 0 times"),
        ([2, None], None, [2, 4], None, "axis 1 of its input is open"),
        ([2, 3], None, [2, 3 * MAX_AXIS], None, "at most"),
    ],
)
def test_factors_that_are_refused(
    shape: Any, scales: Any, sizes: Any, axes: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        factors(shape, scales, sizes, axes)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"mode": "linear"}, "mode 'linear'; expected 'nearest'"),
        ({"coordinate_transformation_mode": "align_corners"}, "expected asymmetric, half_pixel"),
        ({"nearest_mode": "simple"}, "expected floor, ceil"),
        ({"antialias": 1}, "antialias 1; expected 0"),
        ({"keep_aspect_ratio_policy": "not_larger"}, "expected 'stretch'"),
    ],
)
def test_modes_that_are_refused(attributes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_mode(attributes)


def model(scales: NDArray[Any], **attributes: Any) -> ModelProto:
    net = Net(np.random.default_rng(1))
    x = net.input((1, 2, 3, 4))
    names = [net.float(x), net.constant(np.zeros(0, np.float32)), net.constant(scales)]
    value = net.node("Resize", names, **attributes)
    return net.model([net.quantise(value, (1, 2, 6, 4), x.scale, x.zero)])


def test_the_importer_names_the_node() -> None:
    two = np.array([1, 1, 2, 1], np.float32)
    assert compile_model(load(model(two, mode="nearest"))).graph.outputs[0].shape == (1, 2, 6, 4)
    for scales, attributes, message in (
        (two, {"mode": "linear"}, "mode 'linear'"),
        (two * np.float32(np.nan), {"mode": "nearest"}, "finite float32"),
        (two * np.float32(0.75), {"mode": "nearest"}, "axis 0 grows"),
        (two * np.float32(1 << 14), {"mode": "nearest"}, "cells at most"),
    ):
        with pytest.raises(UnsupportedModel, match=rf"node 'resize_\d+' \(Resize\): .*{message}"):
            compile_model(load(model(scales, **attributes)))


def test_a_conv_behind_it_without_codes_between_is_class_d() -> None:
    """The runtime computes that Conv in float: no kernel is claimed for it."""
    net = Net(np.random.default_rng(4), binary=True)
    x = net.input((1, 2, 3, 4))
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    value = net.node("Resize", [net.float(x), "", scales], mode="nearest")
    codes, scale, zero = net.weight((3, 2, 1, 1), 0)
    value = net.node("Conv", [value, net.dequantised(codes, scale, zero, 0)])
    made = net.quantise(value, (1, 3, 6, 8), net.out_scale(x, 2, scale), net.zero())
    found = compare(net.model([made]), [net.feeds()])
    assert found.compiled.graph.classes["D"]


def test_codes_are_resized_as_they_are() -> None:
    net = Net(np.random.default_rng(2))
    x = net.input((1, 2, 3, 4))
    scales = net.constant(np.array([1, 1, 3, 2], np.float32))
    name = net.node("Resize", [x.name, net.constant(np.zeros(0, np.float32)), scales])
    made = Tensor(name, (1, 2, 9, 8), x.scale, x.zero, x.dtype)
    found = compare(net.model([made]), [net.feeds(), net.feeds(True)])
    assert found.wrong == 0
    assert found.compiled.graph.classes["E"]
