"""Fixed shapes, what is computed of them, and a Softmax that is cut off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from proofml.circuits.onnx import compile_model
from proofml.circuits.quantise import (
    QuantisationConfig,
    QuantisationRecord,
    apply,
    calibrate,
    measure_fidelity,
)
from proofml.circuits.quantise.constants import MAX_SMALL
from proofml.circuits.quantise.prepare import prepare
from proofml.errors import UnsupportedModel, UsageError
from proofml.model import Model
from proofml.store import Store

from ..circuits.agreement import compare
from .builder import Builder
from .test_apply import made_up
from .workshop import Workshop

OPEN: list[Any] = ["n", 4, "h", "w"]
FIXED = {"x": (2, 4, 6, 8)}
CUT = QuantisationConfig(cut_softmax=True)


def ints(b: Builder, *values: int) -> str:
    return b.const(values, np.int64)


def finished(b: Builder, *outputs: str) -> bytes:
    """As `Builder.finish`, which cannot say shapes that onnx does not infer."""
    graph = helper.make_graph(
        b.nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, b.shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["?", "?"])
            for name in outputs or (b.h,)
        ],
        [numpy_helper.from_array(value, name) for name, value in b.constants.items()],
    )
    opsets = [helper.make_opsetid("", b.opset)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


def paddle(b: Builder) -> None:
    """Shape, Cast, Slice, Cast, Concat: how a batch is kept by Paddle's exporter."""
    x = b.op("GlobalAveragePool")
    whole = b.op("Cast", b.op("Shape", x), to=TensorProto.INT32)
    batch = b.op("Slice", whole, *(b.const([n], np.int32) for n in (0, 1, 0, 1)))
    batch = b.op("Cast", batch, to=TensorProto.INT64)
    rest = b.op("Cast", b.const([4], np.int32), to=TensorProto.INT64)
    b.op("Reshape", x, b.op("Concat", batch, rest, axis=-1))


def pytorch(b: Builder) -> None:
    """Shape, Gather, Unsqueeze, Concat, with a Mul between."""
    whole = b.op("Shape", "x")
    parts = [b.op("Gather", whole, b.const(i, np.int64), axis=0) for i in range(4)]
    area = b.op("Mul", parts[2], parts[3])
    rows = b.op("Unsqueeze", parts[0], ints(b, 0))
    columns = b.op("Unsqueeze", b.op("Mul", area, parts[1]), ints(b, 0))
    b.op("Reshape", "x", b.op("Concat", rows, columns, axis=0))


def expanded(b: Builder) -> None:
    """ConstantOfShape, Equal, Where: how PyTorch writes a shape with -1 in it."""
    half = b.op("Sub", b.op("Div", b.op("Size", "x"), ints(b, 2)), ints(b, 0))
    wanted = b.op("Concat", half, b.op("Add", ints(b, -2), ints(b, 1)), axis=0)
    one = b.op("ConstantOfShape", b.op("Shape", wanted), value=_one())
    minus = b.op("Mul", one, ints(b, -1))
    shape = b.op("Where", b.op("Equal", wanted, minus), b.op("Add", one, one), wanted)
    b.op("Reshape", "x", b.op("Squeeze", b.op("Unsqueeze", shape, ints(b, 0)), ints(b, 0)))


def twice(b: Builder) -> None:
    """The shape that the second part looks at is known only once the first one is folded."""
    paddle(b)
    y = b.h
    whole = b.op("Cast", b.op("Shape", y), to=TensorProto.INT32)
    turned = b.op("Slice", whole, *(b.const([n], np.int32) for n in (-1, -9, 0, -1)))
    b.op("Reshape", y, b.op("Cast", turned, to=TensorProto.INT64))


def _one() -> TensorProto:
    return numpy_helper.from_array(np.array([1], np.int64), "one")


WAYS: dict[Callable[[Builder], None], tuple[int, ...]] = {
    paddle: (2, 4),
    pytorch: (2, 192),
    expanded: (192, 2),
    twice: (4, 2),
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_shapes_decide_is_computed(workshop: Workshop, way: Callable[..., None]) -> None:
    b = Builder(OPEN)
    b.op("Relu")
    way(b)
    model = Model.load(finished(b))
    with pytest.raises(UnsupportedModel, match=r"\((Shape|Size)\): .*--shape NAME=1,3,48,192"):
        prepare(model)
    config = QuantisationConfig(shapes=FIXED)
    graph = prepare(model, config)
    assert {node.op for node in graph.nodes} <= {"Relu", "GlobalAveragePool", "Reshape"}
    assert graph.shapes[b.h] == WAYS[way]
    x = np.random.default_rng(1).standard_normal(FIXED["x"]).astype(np.float32)
    outcome = workshop.run(finished(b), config, [{"x": x}])
    assert outcome.quantised.inputs[0].shape == FIXED["x"]
    assert outcome.quantised.outputs[0].shape == WAYS[way]
    assert outcome.record.config.shapes == FIXED
    found = compare(outcome.quantised.proto, [{"x": x}, {"x": x * np.float32(3)}])
    assert found.wrong == 0


def test_shapes_that_are_known_need_no_option() -> None:
    b = Builder([2, 4, 6, 8])
    pytorch(b)
    graph = prepare(Model.load(b.finish()))
    assert [node.op for node in graph.nodes] == ["Reshape"]


def test_part_of_a_shape() -> None:
    b = Builder([2, 4, 6, 8])
    rows = b.op("Shape", "x", start=0, end=1)
    rest = b.op("Shape", "x", start=-2)
    b.op("Reshape", "x", b.op("Concat", rows, ints(b, 4), rest, axis=0))
    graph = prepare(Model.load(b.finish()))
    (node,) = graph.nodes
    assert graph.constants[node.inputs[1]].tolist() == [2, 4, 6, 8]


def unchecked(b: Builder) -> Model:
    """As `Model.load` makes it, without onnx's checker, which refuses some models itself."""
    data = finished(b)
    return Model("m", data, "0" * 64, (), (), {"x": (1, tuple(b.shape))})


def test_long_constants_are_left_alone() -> None:
    b = Builder([4])
    b.op("Reshape", "x", b.op("Add", ints(b, *range(MAX_SMALL + 1)), ints(b, 1)))
    with pytest.raises(UnsupportedModel, match=r"\(Add\): its input 'c0': expected float32"):
        prepare(unchecked(b))


@pytest.mark.parametrize(
    ("kind", "operands", "message"),
    [
        ("Div", ([4], [0]), "a shape divided by zero"),
        ("Gather", ([4], [3]), "contradictory operands"),
        ("Slice", ([4], [0], [1], [2]), "axis 2 of a tensor of rank 1"),
        ("Slice", ([4], [0], [1], [0], [0]), "contradictory operands"),
        ("Concat", ([4], [[1]]), "contradictory operands"),
        ("ConstantOfShape", ([-4],), "contradictory operands"),
    ],
)
def test_contradictions(kind: str, operands: tuple[Any, ...], message: str) -> None:
    b = Builder([4])
    more: dict[str, Any] = {"axis": 0} if kind in ("Concat", "Gather") else {}
    if kind == "ConstantOfShape":
        more["value"] = _one()
    b.op("Reshape", "x", b.op(kind, *(ints(b, *n) for n in operands), **more))
    with pytest.raises(UnsupportedModel, match=message):
        prepare(unchecked(b))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"y": (1,)}, "no input 'y'"),
        ({"x": (2, 5, 6, 8)}, r"input 'x': expected float32\[\?, 4, \?, \?\]"),
        ({"x": (2, 4, 6)}, "input 'x': expected"),
    ],
)
def test_shapes_that_do_not_fit(store: Store, shapes: Any, message: str) -> None:
    b = Builder(OPEN)
    b.op("Relu")
    model = Model.load(b.finish())
    x = {"x": np.zeros((2, 4, 6, 8), np.float32)}
    with pytest.raises(UsageError, match=message):
        calibrate(model, [x], QuantisationConfig(shapes=shapes), store)
    with pytest.raises(UsageError, match=message):
        apply(model, QuantisationRecord(model.digest, QuantisationConfig(shapes=shapes), 1, {}))


def test_samples_have_the_fixed_shape(store: Store) -> None:
    b = Builder(OPEN)
    b.op("Relu")
    model = Model.load(b.finish())
    good, bad = (np.zeros((n, 4, 6, 8), np.float32) for n in (2, 3))
    with pytest.raises(UsageError, match=r"sample 1: input 'x': expected the shape \[2, 4, 6, 8\]"):
        calibrate(model, [{"x": good}, {"x": bad}], QuantisationConfig(shapes=FIXED), store)


def test_dims_of_a_config() -> None:
    with pytest.raises(UsageError, match="shape of 'x': expected dims of 1 and more"):
        QuantisationConfig(shapes={"x": (0, 3)})


def test_same_bytes_without_onnxruntime(tmp_path: Path) -> None:
    b = Builder(OPEN)
    b.op("Relu")
    paddle(b)
    (tmp_path / "m.onnx").write_bytes(finished(b))
    model = Model.load(tmp_path / "m.onnx")
    record = made_up(model, QuantisationConfig(shapes=FIXED))
    (tmp_path / "r.json").write_bytes(record.to_bytes())
    code = (
        "import sys\n"
        "from proofml.model import Model\n"
        "from proofml.circuits.quantise.qdq import apply\n"
        "from proofml.circuits.quantise.record import QuantisationRecord\n"
        "record = QuantisationRecord.from_bytes(open('r.json', 'rb').read())\n"
        "data = apply(Model.load('m.onnx'), record)\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "sys.stdout.buffer.write(data)\n"
    )
    again = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True
    )
    assert again.stdout == apply(model, record)
    assert Model.load(again.stdout).canonical == again.stdout


def test_a_circuit_has_the_shapes_of_the_quantised_file(store: Store) -> None:
    """Also where the caller only knows the float model, whose dims are open."""
    b = Builder(OPEN)
    b.op("Relu")
    paddle(b)
    model = Model.load(finished(b))
    made = Model.load(apply(model, made_up(model, QuantisationConfig(shapes=FIXED))))
    for source in (made, _with_the_bytes_of(model, made)):
        assert compile_model(source, FIXED).graph.inputs[0].shape == FIXED["x"]
        with pytest.raises(UsageError, match=r"input 'x': expected float32\[2, 4, 6, 8\]"):
            compile_model(source, {"x": (1, 4, 6, 8)})


def _with_the_bytes_of(model: Model, made: Model) -> Model:
    return Model(
        model.name, made.canonical, made.file_digest, model.inputs, model.outputs, shapes={}
    )


# -- Softmax ------------------------------------------------------------------------------------


def classifier(kind: str = "Softmax", *, copied: bool = False, used: bool = False) -> Builder:
    b = Builder([3, 4, 5, 5])
    b.conv(4, 2)
    b.op("Flatten")
    b.gemm(18, 6)
    b.op(kind, axis=1)
    if copied:
        b.op("Identity")
    if used:
        b.op("Relu")
    return b


@pytest.mark.parametrize("copied", [False, True], ids=["plain", "copied"])
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
def test_cut_off(workshop: Workshop, kind: str, copied: bool) -> None:
    data = classifier(kind, copied=copied).finish()
    with pytest.raises(UnsupportedModel, match=rf"\({kind}\): cut the model .*--cut-softmax"):
        prepare(Model.load(data))
    outcome = workshop.run(data, CUT)
    (output,) = outcome.quantised.outputs
    assert (output.name, output.shape) == ("v2", (3, 6))
    assert kind not in outcome.quantised.operators
    assert outcome.record.to_json()["config"]["cut_softmax"] is True  # type: ignore[index, call-overload]
    (report,) = outcome.report.outputs
    assert report.name == "v2"
    assert report.top1 is not None
    assert report.top1 >= 0.9
    assert report.scale > 1  # of logits: probabilities lie in [0, 1]
    found = compare(outcome.quantised.proto, workshop.samples(outcome.model, 2))
    assert found.wrong == 0


def test_other_outputs_stay(workshop: Workshop) -> None:
    b = classifier()
    outcome = workshop.run(b.finish("v0", "v3", "v1"), CUT)
    assert [spec.name for spec in outcome.quantised.outputs] == ["v0", "v2", "v1"]
    assert [output.name for output in outcome.report.outputs] == ["v0", "v2", "v1"]


def test_an_output_twice_is_one() -> None:
    model = Model.load(classifier().finish("v2", "v3"))
    graph = prepare(model, CUT)
    assert graph.output_names == ["v2"]


@pytest.mark.parametrize(
    "build",
    [lambda: classifier(used=True), lambda: _plain(), lambda: _of_input()],
    ids=["inside", "none", "of the input"],
)
def test_nothing_to_cut(build: Callable[[], Builder]) -> None:
    with pytest.raises(UnsupportedModel, match=r"cut_softmax: expected an output .*got v\d"):
        prepare(Model.load(build().finish()), CUT)


def _plain() -> Builder:
    b = Builder([3, 4])
    b.gemm(4, 2)
    return b


def _of_input() -> Builder:
    b = Builder([3, 4])
    b.op("Softmax")
    return b


def test_one_that_is_read_inside_is_refused_all_the_same() -> None:
    b = classifier()
    b.op("Relu")
    with pytest.raises(UnsupportedModel, match=r"\(Softmax\)"):
        prepare(Model.load(b.finish("v3", "v4")), CUT)


def test_fidelity_names_what_it_cannot_compare(workshop: Workshop) -> None:
    model = Model.load(_plain().finish())
    other = Model.load(classifier().finish())
    samples = workshop.samples(other, 1)
    with pytest.raises(UsageError, match="expected outputs that model computes, got v3"):
        measure_fidelity(model, other, samples, workshop.store)


def test_a_circuit_of_the_float_model_is_refused() -> None:
    """The name of a probability does not stand for what a cut model gives out."""
    model = Model.load(classifier().finish())
    made = Model.load(apply(model, made_up(model, CUT)))
    with pytest.raises(UnsupportedModel, match="expected an output 'v3', got none: a Softmax"):
        compile_model(_with_the_bytes_of(model, made))
