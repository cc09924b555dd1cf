"""What cannot be quantised is refused by name, before onnxruntime is asked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import proofml.circuits.quantise.calibration as calibration
from proofml.circuits.quantise import QuantisationConfig, calibrate
from proofml.circuits.quantise.prepare import prepare
from proofml.errors import BackendUnavailable, UnsupportedModel, UsageError
from proofml.model import Model
from proofml.store import Store

from .builder import Builder, lenet

X = {"x": np.zeros((1, 4, 8, 8), np.float32)}


def simple(kind: str, **attributes: object) -> Callable[[Builder], None]:
    return lambda b: (b.op(kind, **attributes), None)[1]


def norm_first(b: Builder) -> None:
    b.norm(4)


def norm_after_branch(b: Builder) -> None:
    b.conv(4, 4, pads=[1, 1, 1, 1])
    before = b.h
    b.norm(4)
    b.op("Add", b.h, before)


def two_activations(b: Builder) -> None:
    b.op("MatMul", "x", "x")


def constant_left(b: Builder) -> None:
    b.op("MatMul", b.weight(8, 8), "x")


def divided_by(b: Builder) -> None:
    b.op("Div", b.const(1.0), "x")


def bad_weights(b: Builder) -> None:
    b.op("Conv", "x", b.const(np.full((2, 4, 3, 3), np.nan)))


def transposed(b: Builder) -> None:
    b.op("Flatten")
    b.op("Gemm", b.h, b.weight(1, 5), transA=1)


def computed_shape(b: Builder) -> None:
    b.op("Reshape", "x", b.op("ArgMax", "x"))


def halved(b: Builder) -> None:
    b.op("Resize", "x", "", b.const([1, 1, 0.5, 1]), mode="nearest")


def resized_by_a_value(b: Builder) -> None:
    b.op("Resize", "x", "", b.op("Relu", "x"), mode="nearest")


def training(b: Builder) -> None:
    b.op("Dropout", "x", b.const(0.5), b.const(True, np.bool_))


def indices(b: Builder) -> None:
    b.op("MaxPool", "x", outputs=2, kernel_shape=[2, 2])


def constants_only(b: Builder) -> None:
    c = b.const([1.0])
    b.op("Add", b.op("Add", c, c), "x")


def index_used(b: Builder) -> None:
    b.op("ArgMax", axis=1)
    b.op("Cast", to=TensorProto.FLOAT)


def three_dimensions(b: Builder) -> None:
    b.op("Unsqueeze", "x", b.const([0], np.int64))
    b.op("Conv", b.h, b.weight(2, 1, 3, 3, 3))


def contradiction(b: Builder) -> None:
    wrong = b.op("Reshape", b.weight(4, 4), b.const([3, 5], np.int64))
    b.op("MatMul", "x", wrong)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (simple("Softmax"), r"node 0 \(Softmax\): cut the model before it"),
        (simple("Ceil"), r"node 0 \(Ceil\)\. Operators that can: Abs, Add, ArgMax, AveragePool"),
        (norm_first, r"\(BatchNormalization\): it can only be folded"),
        (norm_after_branch, r"\(BatchNormalization\): it can only be folded"),
        (two_activations, r"\(MatMul\): .*expected.* constant"),
        (constant_left, r"\(MatMul\): .*expected"),
        (divided_by, r"\(Div\): only by a constant"),
        (bad_weights, r"\(Conv\): its input 'c0': expected finite numbers"),
        (transposed, r"\(Gemm\): transA is not supported"),
        (computed_shape, r"\(Reshape\): expected its input 'v0' to be a constant"),
        (simple("Resize", mode="linear"), r"\(Resize\): mode 'linear'; expected 'nearest'"),
        (halved, r"\(Resize\): axis 2 grows 0.5 times; expected a whole number"),
        (resized_by_a_value, r"\(Resize\): expected its input 'v0' to be a constant"),
        (training, r"\(Dropout\): it is in training mode"),
        (indices, r"\(MaxPool\): only its first output"),
        (constants_only, r"\(Add\): all its inputs are constants"),
        (index_used, r"\(Cast\): expected it to make float32 of a uint8 or int8 input"),
        (three_dimensions, r"\(Conv\): expected a convolution of one or two dimensions"),
        (contradiction, "contradictory operands"),
    ],
)
def test_by_name(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    build: Callable[[Builder], None],
    message: str,
) -> None:
    monkeypatch.setattr(calibration, "run", lambda *a, **k: pytest.fail("something was run"))
    b = Builder([1, 4, 8, 8])
    build(b)
    kind = TensorProto.FLOAT
    proto = helper.make_model(
        helper.make_graph(
            b.nodes,
            "g",
            [helper.make_tensor_value_info("x", kind, b.shape)],
            [helper.make_tensor_value_info(b.h, kind, [None] * 4)],
            [onnx.numpy_helper.from_array(value, name) for name, value in b.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    model = Model.load(proto.SerializeToString())
    with pytest.raises(UnsupportedModel, match=message) as caught:
        calibrate(model, [X], QuantisationConfig(), store)
    assert str(caught.value).startswith("model: ")


def test_other_input_types(store: Store) -> None:
    b = Builder([1, 4])
    b.op("Relu")
    model = Model.load(b.finish(dtype=TensorProto.DOUBLE, input_type=TensorProto.DOUBLE))
    with pytest.raises(UnsupportedModel, match="expected float32, uint8 or int8, got DOUBLE"):
        prepare(model)


def test_mixed_signedness(store: Store) -> None:
    b = Builder([1, 4, 8, 8])
    b.op("Cast", to=TensorProto.FLOAT)
    b.conv(4, 2)
    model = Model.load(b.finish(input_type=TensorProto.INT8))
    sample = {"x": np.zeros((1, 4, 8, 8), np.int8)}
    with pytest.raises(UnsupportedModel, match="quantise activations to int8"):
        calibrate(model, [sample], QuantisationConfig(), store)


def test_samples(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.load(lenet())
    with pytest.raises(UsageError, match="at least one calibration sample"):
        calibrate(model, [], QuantisationConfig(), store)
    with pytest.raises(UsageError, match="input 'x': expected"):
        calibrate(model, [X], QuantisationConfig(), store)
    infinite = {"x": np.full((1, 1, 28, 28), np.inf, np.float32)}
    with pytest.raises(UnsupportedModel, match="infinite values or NaN on calibration sample 0"):
        calibrate(model, [infinite], QuantisationConfig(), store)
    monkeypatch.setattr(calibration, "runtime_version", lambda: None)
    with pytest.raises(BackendUnavailable, match=r"proofml\[reexec\]"):
        calibrate(model, [{"x": np.zeros((1, 1, 28, 28), np.float32)}], QuantisationConfig(), store)
