"""`Model.load`: what comes out of a good file, and how a bad one ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from proofml import model as module
from proofml.canonical import sha256
from proofml.errors import BackendFailed, ProofmlError, UnsupportedModel, UsageError
from proofml.model import Model
from proofml.runtime import run_model
from proofml.store import Store
from proofml.worker import Limits

FLOATS = (2, 3)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def value(name: str, shape: Sequence[int | str | None] | None = FLOATS, kind: int = 1) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes: Sequence[NodeProto], weights: Sequence[TensorProto] = (), **rest: Any) -> Any:
    graph = helper.make_graph(
        list(nodes),
        "g",
        rest.pop("inputs", [value("x")]),
        rest.pop("outputs", [value("y")]),
        list(weights),
    )
    opsets = [helper.make_opsetid("", rest.pop("opset", 17)), *rest.pop("opsets", [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **rest)


def layer() -> ModelProto:
    weight = numpy_helper.from_array(np.arange(9, dtype=np.float32).reshape(3, 3), "w")
    return model(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        [weight],
    )


def test_load(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "layer.onnx"
    onnx.save(layer(), str(path))
    loaded = Model.load(path, store=store)
    assert loaded.name == "layer.onnx"
    assert loaded.file_digest == sha256(path.read_bytes())
    assert loaded.digest == sha256(loaded.canonical)
    assert [str(spec) for spec in loaded.inputs] == ["float32[2, 3]"]
    assert [spec.name for spec in loaded.outputs] == ["y"]
    assert loaded.shapes["h"] == (TensorProto.FLOAT, (2, 3))
    assert loaded.operators == {"MatMul": 1, "Relu": 1}
    assert loaded.parameters == 9
    assert loaded.note == ""
    again = Model.load(path.read_bytes(), store=store)
    assert (again.digest, again.file_digest) == (loaded.digest, loaded.file_digest)
    assert again.architecture_digest == loaded.architecture_digest != loaded.digest
    assert not list((store.root / "work").iterdir())


def test_canonical_file_loads_to_itself(store: Store) -> None:
    loaded = Model.load(layer().SerializeToString(), store=store)
    again = Model.load(loaded.canonical, store=store)
    assert again.canonical == loaded.canonical
    assert again.file_digest == again.digest


def test_external_data(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inline = Model.load(layer().SerializeToString(), store=store)
    onnx.save(
        layer(),
        str(tmp_path / "big.onnx"),
        save_as_external_data=True,
        location="big.bin",
        size_threshold=0,
    )
    outside = Model.load(tmp_path / "big.onnx", store=store)
    assert outside.canonical == inline.canonical
    assert outside.file_digest != inline.file_digest
    monkeypatch.chdir(tmp_path)
    assert Model.load("big.onnx", store=store).digest == inline.digest
    with pytest.raises(UnsupportedModel, match="load the model from its path"):
        Model.load((tmp_path / "big.onnx").read_bytes(), store=store)
    (tmp_path / "big.bin").write_bytes(bytes(35))
    with pytest.raises(UnsupportedModel, match=r"big\.onnx: .*the file has 35"):
        Model.load(tmp_path / "big.onnx", store=store)


def test_parameters_wherever_they_are(store: Store) -> None:
    """Initialisers, constants and quantised weights count; shapes and scalars do not."""
    tensor = numpy_helper.from_array(np.ones((3, 5), np.float32))
    quantised = numpy_helper.from_array(np.ones(7, np.int8), "q")
    target = numpy_helper.from_array(np.array([2, 3]), "shape")
    half = numpy_helper.from_array(np.array(0.5, np.float32), "half")
    nodes = [
        helper.make_node("Constant", [], ["c"], value=tensor),
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("Mul", ["r", "half"], ["y"]),
    ]
    loaded = Model.load(model(nodes, [quantised, target, half]).SerializeToString(), store=store)
    assert loaded.parameters == 15 + 7


def test_operators_in_sub_graphs_and_functions(store: Store) -> None:
    inner = helper.make_graph([helper.make_node("Neg", ["x"], ["n"])], "b", [], [value("n")])
    function = helper.make_function(
        "local",
        "twice",
        ["i"],
        ["o"],
        [helper.make_node("Add", ["i", "i"], ["o"])],
        [helper.make_opsetid("", 17)],
    )
    proto = model(
        [
            helper.make_node("If", ["c"], ["b"], then_branch=inner, else_branch=inner),
            helper.make_node("twice", ["b"], ["y"], domain="local"),
        ],
        inputs=[value("x"), value("c", (), TensorProto.BOOL)],
        functions=[function],
        opsets=[helper.make_opsetid("local", 1)],
    )
    loaded = Model.load(proto.SerializeToString(), store=store)
    assert loaded.operators == {"If": 1, "Neg": 2, "local:twice": 1, "Add": 1}


# -- files that are not there, or no files ------------------------------------------------------


def test_paths_that_cannot_be_read(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("missing.onnx", "pipe", ".", "a" * 3000, "a\0b"):
        with pytest.raises(UsageError):
            Model.load(tmp_path / path, store=store)
    with pytest.raises(UsageError, match="no such file"):
        Model.load("/dev/zero", store=store)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(layer().SerializeToString())
    path.chmod(0)
    with pytest.raises(UsageError, match="Permission denied"):
        Model.load(path, store=store)


def test_larger_than_protobuf_can_hold(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # of which nothing is on the disk
    with pytest.raises(UnsupportedModel, match="larger than 2147483647 bytes"):
        Model.load(path, store=store)


def test_not_onnx(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(UnsupportedModel, match=r"m\.onnx: not an ONNX file"):
        Model.load(path, store=store)
    with pytest.raises(UnsupportedModel, match="not an ONNX file"):
        Model.load(b"", store=store)


# -- interfaces -------------------------------------------------------------------------------


def sequence() -> Any:
    return helper.make_tensor_sequence_value_info("x", 1, FLOATS)


def optional() -> Any:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(1, FLOATS))
    return helper.make_value_info("x", kind)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (value("x", FLOATS, TensorProto.STRING), "input 'x' is STRING; expected a tensor of"),
        (value("x", FLOATS, TensorProto.BFLOAT16), "input 'x' is BFLOAT16"),
        (value("x", FLOATS, TensorProto.COMPLEX64), "input 'x' is COMPLEX64"),
        (value("x", FLOATS, 99), "input 'x' is type 99"),
        (sequence(), "input 'x' is sequence_type"),
        (optional(), "input 'x' is optional_type"),
        (onnx.ValueInfoProto(name="x"), "input 'x' is of no type"),
        (value("x", None), "input 'x' declares no shape"),
        (value("x", [1] * 33), "rank 33"),
        (value("x" * 513), "its name is longer than 512"),
    ],
)
def test_inputs_that_no_statement_can_hold(store: Store, entry: Any, words: str) -> None:
    proto = model([helper.make_node("Identity", [entry.name], ["y"])], inputs=[entry])
    with pytest.raises(UnsupportedModel, match=words):
        Model.load(proto.SerializeToString(), store=store)


def test_too_many_inputs(store: Store) -> None:
    inputs = [value(f"x{index}") for index in range(1025)]
    proto = model([helper.make_node("Neg", ["x0"], ["y"])], inputs=inputs)
    with pytest.raises(UnsupportedModel, match="1025 inputs; at most 1024"):
        Model.load(proto.SerializeToString(), store=store)


def test_open_dimensions(store: Store) -> None:
    """-1, a name and nothing at all mean the same: any size."""
    shape = (-1, "n", None, 0)
    proto = model(
        [helper.make_node("Neg", ["x"], ["y"])],
        inputs=[value("x", shape)],
        outputs=[value("y", shape)],
    )
    loaded = Model.load(proto.SerializeToString(), store=store)
    assert loaded.inputs[0].shape == (None, None, None, 0)
    checked = loaded.check_inputs({"x": np.zeros((4, 5, 6, 0), np.float32)})
    assert run_model(loaded, checked, store)["y"].shape == (4, 5, 6, 0)


# -- what onnx's checker finds ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (model([helper.make_node("Relu", ["x", "x"], ["y"])]), "input"),
        (model([helper.make_node("Relu", ["x"], ["y"], alpha=1)]), "alpha"),
        (model([helper.make_node("NoSuchThing", ["x"], ["y"])]), "NoSuchThing"),
        (model([helper.make_node("Own", ["x"], ["y"], domain="acme")]), "acme"),
        (model([helper.make_node("\x1b[31m", ["x"], ["y"])]), r"\\x1b"),
    ],
)
def test_broken_nodes(store: Store, proto: ModelProto, words: str) -> None:
    with pytest.raises(UnsupportedModel, match=words) as caught:
        Model.load(proto.SerializeToString(), store=store)
    assert "\x1b" not in str(caught.value)


def test_ir_version_of_the_future(store: Store) -> None:
    proto = layer()
    proto.ir_version = 10**6
    with pytest.raises(UnsupportedModel, match="ir_version"):
        Model.load(proto.SerializeToString(), store=store)


def test_unknown_domain(store: Store) -> None:
    """A domain with an import may be somebody's extension: loaded, and left to the runtime."""
    proto = model(
        [helper.make_node("Own", ["x"], ["y"], domain="acme")],
        opsets=[helper.make_opsetid("acme", 1)],
    )
    loaded = Model.load(proto.SerializeToString(), store=store)
    assert loaded.operators == {"acme:Own": 1}
    with pytest.raises(UnsupportedModel, match="acme:Own"):
        run_model(loaded, {"x": np.zeros(FLOATS, np.float32)}, store)


# -- bombs ------------------------------------------------------------------------------------


def test_shape_bomb(store: Store) -> None:
    """A shape, doubled forty times: shape inference wants to hold 2^40 numbers."""
    nodes = [helper.make_node("Shape", ["x"], ["s0"])]
    for index in range(40):
        names = [f"s{index}"] * 2
        nodes.append(helper.make_node("Concat", names, [f"s{index + 1}"], axis=0))
    proto = model(nodes, outputs=[value("s40", (None,), TensorProto.INT64)])
    with pytest.raises(UnsupportedModel, match="inferring its shapes"):
        Model.load(proto.SerializeToString(), store=store)


def test_parser_bomb(store: Store) -> None:
    """Ten million nodes of two bytes each would be a gigabyte of messages."""
    body = b"\x0a\x00" * 10_000_000
    data = b"\x08\x08\x42\x04\x0a\x00\x10\x11" + b"\x3a\x80\xda\xc4\x09" + body
    with pytest.raises(UnsupportedModel, match=r"[Pp]arsing|more than 200000 nodes"):
        Model.load(data, store=store)


def test_worker_limits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_LIMITS", Limits(memory=8 << 30, seconds=0.001))
    with pytest.raises(UnsupportedModel, match=r"reading it takes longer than 0\.001 s"):
        Model.load(layer().SerializeToString(), store=store)


def test_worker_that_cannot_start(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the model's fault, and not called so."""
    monkeypatch.setattr(sys, "executable", "/missing/python")
    with pytest.raises(BackendFailed, match="cannot start a worker"):
        Model.load(layer().SerializeToString(), store=store)


def test_many_nodes(store: Store) -> None:
    """A hundred thousand are no attack; they load in seconds."""
    count = 100_000
    proto = model(
        [helper.make_node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)],
        inputs=[value("v0")],
        outputs=[value(f"v{count}")],
    )
    loaded = Model.load(proto.SerializeToString(), store=store)
    assert loaded.operators == {"Neg": count}
    assert loaded.shapes["v500"] == (TensorProto.FLOAT, FLOATS)


# -- what runtimes make of the canonical form -----------------------------------------------


def same_as_original(proto: ModelProto, inputs: dict[str, Any], store: Store) -> dict[str, Any]:
    """Run the file and its canonical form; they must agree to the bit."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in proto.graph.output]
    expected = dict(zip(names, session.run(names, inputs), strict=True))
    loaded = Model.load(proto.SerializeToString(), store=store)
    got = run_model(loaded, loaded.check_inputs(inputs), store)
    assert list(got) == names
    for name in names:
        assert got[name].dtype == expected[name].dtype
        assert got[name].tobytes() == expected[name].tobytes()
    return got


X = np.random.default_rng(3).normal(size=FLOATS).astype(np.float32)


def cast_of(kind: int, raw: bytes, count: int) -> ModelProto:
    """A constant of an exotic type, made float and added."""
    tensor = TensorProto(name="w", data_type=kind, dims=[count], raw_data=raw)
    return model(
        [helper.make_node("Cast", ["w"], ["f"], to=1), helper.make_node("Add", ["x", "f"], ["y"])],
        [tensor],
        opset=21,
    )


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        (TensorProto.FLOAT16, b"\0\x3c\0\x40\0\xc0", [1, 2, -2]),
        (TensorProto.BFLOAT16, b"\x80\x3f\x00\x40\x00\xc0", [1, 2, -2]),
        (TensorProto.FLOAT8E4M3FN, b"\x38\x40\xc0", [1, 2, -2]),
        (TensorProto.INT4, b"\x21\x0e", [1, 2, -2]),
        (TensorProto.UINT4, b"\x21\x0e", [1, 2, 14]),
        (TensorProto.DOUBLE, np.array([1.0, 2, -2]).tobytes(), [1, 2, -2]),
        (TensorProto.UINT64, np.array([1, 2, 14], np.uint64).tobytes(), [1, 2, 14]),
    ],
)
def test_types_of_weights(store: Store, kind: int, raw: bytes, expected: list[float]) -> None:
    proto = cast_of(kind, raw, 3)
    proto.ir_version = 10
    got = same_as_original(proto, {"x": np.zeros(FLOATS, np.float32)}, store)
    assert got["y"][0].tolist() == expected


def test_zero_size_and_unicode(store: Store) -> None:
    empty = numpy_helper.from_array(np.zeros((0, 3), np.float32), "leer ∅")
    proto = model(
        [helper.make_node("Concat", ["größe 🙂", "leer ∅"], ["выход"], axis=0)],
        [empty],
        inputs=[value("größe 🙂")],
        outputs=[value("выход")],
    )
    got = same_as_original(proto, {"größe 🙂": X}, store)
    assert got["выход"].tobytes() == X.tobytes()


def test_control_flow_and_sequences(store: Store) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["again"]),
            # The loop's own value hides the graph's input of the same name.
            helper.make_node("Mul", ["x", "k"], ["next"]),
        ],
        "body",
        [value("i", (), 7), value("go", (), 9), value("x")],
        [value("again", (), 9), value("next")],
    )
    branch = helper.make_graph(
        [
            helper.make_node("SequenceConstruct", ["l", "x"], ["s"]),
            helper.make_node("ConcatFromSequence", ["s"], ["out"], axis=0),
        ],
        "branch",
        [],
        [value("out", (None, 3))],
    )
    proto = model(
        [
            helper.make_node("Loop", ["n", "", "x"], ["l"], body=body),
            helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
        ],
        [
            numpy_helper.from_array(np.array(3), "n"),
            numpy_helper.from_array(np.array(2, np.float32), "k"),
        ],
        inputs=[value("x"), value("c", (), TensorProto.BOOL)],
        outputs=[value("y", (4, 3))],
    )
    got = same_as_original(proto, {"x": X, "c": np.array(True)}, store)
    assert np.array_equal(got["y"], np.concatenate([X * 8, X]))


def test_functions(store: Store) -> None:
    leaky = helper.make_function(
        "local",
        "leaky",
        ["i"],
        ["o"],
        [NodeProto(op_type="LeakyRelu", input=["i"], output=["o"])],
        [helper.make_opsetid("", 17)],
        ["slope"],
    )
    leaky.node[0].attribute.add(name="alpha", ref_attr_name="slope", type=1)
    proto = model(
        [helper.make_node("leaky", ["x"], ["y"], domain="local", slope=0.25)],
        functions=[leaky],
        opsets=[helper.make_opsetid("local", 1)],
    )
    got = same_as_original(proto, {"x": X}, store)
    assert np.array_equal(got["y"], np.where(X < 0, X * np.float32(0.25), X))


def test_old_file_with_weights_as_inputs(store: Store) -> None:
    proto = layer()
    proto.ir_version = 3
    proto.opset_import[0].version = 11
    proto.graph.input.append(value("w", (3, 3)))
    loaded = Model.load(proto.SerializeToString(), store=store)
    assert [spec.name for spec in loaded.inputs] == ["x"]
    same_as_original(proto, {"x": X}, store)


# -- inputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "got none"),
        ({"x": X, "z": X}, "got x, z"),
        ({1: X}, "got 1"),
        (X, "got <class 'numpy.ndarray'>"),
        ({"x": X.astype(np.float64)}, r"expected float32\[2, 3\], got float64\[2, 3\]"),
        ({"x": X[0]}, r"got float32\[3\]"),
        ({"x": "text"}, "input 'x'"),
        ({"x": [[1.0], [2.0, 3.0]]}, "input 'x' is no array"),
        ({"x": np.array([[object()] * 3] * 2)}, "got object"),
    ],
)
def test_wrong_inputs(store: Store, inputs: Any, words: str) -> None:
    loaded = Model.load(layer().SerializeToString(), store=store)
    with pytest.raises(UsageError, match=words):
        loaded.check_inputs(inputs)


def test_inputs_in_other_layouts(store: Store) -> None:
    """Byte order and strides are not the caller's worry."""
    loaded = Model.load(layer().SerializeToString(), store=store)
    plain = loaded.check_inputs({"x": X})["x"]
    for other in (X.astype(">f4"), np.asfortranarray(X), X[::-1][::-1]):
        got = loaded.check_inputs({"x": other})["x"]
        assert got.flags.c_contiguous
        assert got.dtype == np.dtype("<f4")
        assert got.tobytes() == plain.tobytes()


def test_infer_with_fixed_inputs(store: Store) -> None:
    proto = model(
        [helper.make_node("Neg", ["x"], ["h"]), helper.make_node("Neg", ["h"], ["y"])],
        inputs=[value("x", (None, 3))],
        outputs=[value("y", (None, 3))],
    )
    loaded = Model.load(proto.SerializeToString(), store=store)
    assert loaded.shapes["h"] == (1, (None, 3))
    assert loaded.infer({"x": (5, 3)}, store=store)[0]["h"] == (1, (5, 3))
    for shapes in ({"q": (1,)}, {"x": (5, 4)}, {"x": (5,)}, {"x": (-1, 3)}):
        with pytest.raises(UsageError):
            loaded.infer(shapes, store=store)


# -- fuzz: any bytes -> a model, or an error of ours --------------------------------------------

GOOD = layer().SerializeToString()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4))
def test_mutated_file(store: Store, changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for place, byte in changes:
        data[place] = byte
    try:
        loaded = Model.load(bytes(data), store=store)
    except ProofmlError as error:
        assert isinstance(error, UnsupportedModel)  # noqa: PT017 - either end is right
    else:
        assert loaded.file_digest == sha256(bytes(data))
