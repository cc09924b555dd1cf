"""Invariant: how a model is stored does not change its digest; what it computes does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from proofml.canonical import sha256
from proofml.graph.canonicalise import canonicalise, parse
from proofml.graph.walk import strip_learnt

#: Digests of `golden()`. They are part of every proof: a change here breaks archived proofs.
GOLDEN = "d7516cfcd7e33f3cb5d46f8c871c9ca3278a0f92e1e0f104e0136a312fd7b87c"
GOLDEN_ARCHITECTURE = "9fe211e36b1b1dc516ccb9dbe9227c9720e50643e70134b6baaa85718dc8c488"


def canonical(model: ModelProto, folder: Path | None = None) -> bytes:
    data: bytes = canonicalise(
        parse(model.SerializeToString(), "m"), "m", folder
    ).SerializeToString(deterministic=True)
    return data


def digest(model: ModelProto, folder: Path | None = None) -> str:
    return sha256(canonical(model, folder))


def value(name: str, shape: Sequence[int | str | None] | None = (1, 4), kind: int = 1) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes: Sequence[NodeProto], weights: Sequence[TensorProto] = (), **rest: Any) -> Any:
    graph = helper.make_graph(
        list(nodes), "g", rest.pop("inputs", [value("x")]), rest.pop("outputs", [value("y")])
    )
    graph.initializer.extend(weights)
    opsets = [helper.make_opsetid("", rest.pop("opset", 17))]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **rest)


def perceptron() -> ModelProto:
    """Two layers, with an attribute of each plain type and a constant tensor."""
    random = np.random.default_rng(7)
    weights = [
        numpy_helper.from_array(random.normal(size=(4, 3)).astype(np.float32), "w1"),
        numpy_helper.from_array(random.normal(size=(3,)).astype(np.float32), "b1"),
        numpy_helper.from_array(random.normal(size=(3, 4)).astype(np.float32), "w2"),
    ]
    half = numpy_helper.from_array(np.array([0.5], np.float32), "half")
    return model(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], "first", alpha=0.75, transA=0),
            helper.make_node("LeakyRelu", ["h"], ["r"], alpha=0.125),
            helper.make_node("MatMul", ["r", "w2"], ["z"]),
            helper.make_node("Constant", [], ["c"], value=half),
            helper.make_node("Mul", ["z", "c"], ["y"]),
        ],
        weights,
    )


def golden() -> ModelProto:
    """One file that uses each thing with a canonical form; written out by hand, field by field."""
    proto = ModelProto(ir_version=8, producer_name="hand", doc_string="dropped")
    proto.opset_import.add(domain="ai.onnx.ml", version=3)
    proto.opset_import.add(domain="ai.onnx", version=17)
    proto.opset_import.add(domain="local", version=1)
    graph = proto.graph
    graph.name = "dropped"
    for name, dims in (("x", (1, None)), ("w", (2, 2)), ("c", ())):
        entry = graph.input.add(name=name)
        tensor = entry.type.tensor_type
        tensor.elem_type = TensorProto.BOOL if name == "c" else TensorProto.FLOAT
        tensor.shape.SetInParent()
        for dim in dims:
            tensor.shape.dim.add(dim_value=-1 if dim is None else dim)
    graph.initializer.add(name="w", dims=[2, 2], data_type=1, float_data=[1.5, -0.0, 3.0, -4.25])
    graph.initializer.add(name="idx", dims=[2], data_type=7, int64_data=[-1, 2])
    graph.initializer.add(name="flag", dims=[1], data_type=9, int32_data=[1])
    graph.initializer.add(name="half", dims=[1], data_type=10, int32_data=[0x3C00])
    graph.initializer.add(name="nibbles", dims=[3], data_type=22, int32_data=[0x21, 0xF3])
    graph.initializer.add(name="größe", dims=[0, 5], data_type=11)
    graph.initializer.add(name="words", dims=[2], data_type=8, string_data=[b"a", b"\xff"])
    node = graph.node.add(
        op_type="twice", domain="local", name="dropped", input=["x"], output=["t"]
    )
    node = graph.node.add(op_type="Gemm", input=["t", "w"], output=["m"])
    node.attribute.add(name="transB", type=AttributeProto.INT, i=1)
    node.attribute.add(name="alpha", type=AttributeProto.FLOAT, f=0.1)
    node = graph.node.add(op_type="If", input=["c"], output=["y"])
    for branch, op in (("then_branch", "Neg"), ("else_branch", "Relu")):
        inner = node.attribute.add(name=branch, type=AttributeProto.GRAPH).g
        inner.name = branch
        inner.node.add(op_type=op, input=["m"], output=[branch])
        inner.output.add(name=branch)
    graph.output.add(name="y").type.CopyFrom(graph.input[0].type)
    function = proto.functions.add(name="twice", domain="local", input=["a"], output=["b"])
    function.node.add(op_type="Add", input=["a", "a"], output=["b"])
    function.opset_import.add(domain="", version=17)
    return proto


def test_golden_digest() -> None:
    """Whatever version of onnx and protobuf runs here."""
    assert digest(golden()) == GOLDEN
    bare = canonicalise(golden(), "m", None)
    strip_learnt(bare)
    assert sha256(bare.SerializeToString(deterministic=True)) == GOLDEN_ARCHITECTURE


def test_canonical_bytes_are_a_fixed_point() -> None:
    for proto in (perceptron(), golden()):
        once = canonical(proto)
        assert canonical(ModelProto.FromString(once)) == once


def test_source_is_not_changed() -> None:
    proto = golden()
    before = proto.SerializeToString()
    canonicalise(proto, "m", None)
    assert proto.SerializeToString() == before


def test_save_and_load_keep_the_digest(tmp_path: Path) -> None:
    proto = perceptron()
    onnx.save(proto, str(tmp_path / "inline.onnx"))
    onnx.save(
        copy.deepcopy(proto),
        str(tmp_path / "outside.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    outside = parse((tmp_path / "outside.onnx").read_bytes(), "m")
    assert not any(tensor.raw_data for tensor in outside.graph.initializer)
    assert digest(onnx.load(str(tmp_path / "inline.onnx"))) == digest(proto)
    assert digest(onnx.load(str(tmp_path / "outside.onnx"))) == digest(proto)
    assert digest(outside, tmp_path) == digest(proto)


def typed(proto: ModelProto) -> None:
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor).ravel()
        tensor.ClearField("raw_data")
        tensor.float_data.extend(values.tolist())


def described(proto: ModelProto) -> None:
    proto.producer_name, proto.producer_version, proto.doc_string = "p", "1", "d"
    proto.domain, proto.model_version = "org", 5
    proto.metadata_props.add(key="k", value="v")
    proto.graph.doc_string = proto.graph.node[0].doc_string = proto.graph.input[0].doc_string = "d"
    proto.graph.name, proto.graph.node[0].name = "n", "n"
    proto.graph.input[0].type.denotation = "IMAGE"
    proto.graph.input[0].type.tensor_type.shape.dim[0].denotation = "BATCH"
    proto.graph.initializer[0].doc_string = "d"
    proto.graph.node[0].attribute[0].doc_string = "d"
    proto.graph.node[0].metadata_props.add(key="k", value="v")
    proto.graph.value_info.append(value("h", (1, 3)))
    proto.graph.quantization_annotation.add(tensor_name="h")


def renamed_constant(proto: ModelProto) -> None:
    proto.graph.node[3].attribute[0].t.name = "other"


def shuffled(proto: ModelProto) -> None:
    for items in (proto.graph.initializer, proto.graph.node[0].attribute):
        backwards = [copy.deepcopy(item) for item in reversed(items)]
        del items[:]
        items.extend(backwards)


def listed_as_inputs(proto: ModelProto) -> None:
    for tensor in reversed(proto.graph.initializer):
        proto.graph.input.insert(0, value(tensor.name, tensor.dims))


def spelled_domain(proto: ModelProto) -> None:
    proto.opset_import[0].domain = "ai.onnx"
    proto.graph.node[0].domain = "ai.onnx"


def opsets_twice(proto: ModelProto) -> None:
    proto.opset_import.add(domain="ai.onnx", version=17)


@pytest.mark.parametrize(
    "change",
    [
        typed,
        described,
        renamed_constant,
        shuffled,
        listed_as_inputs,
        spelled_domain,
        opsets_twice,
    ],
)
def test_storage_does_not_change_the_digest(change: Callable[[ModelProto], None]) -> None:
    proto = perceptron()
    change(proto)
    assert proto.SerializeToString() != perceptron().SerializeToString()
    assert digest(proto) == digest(perceptron())


def test_initialisers_as_inputs_of_old_files() -> None:
    proto = perceptron()
    listed_as_inputs(proto)
    proto.ir_version = 3
    new = perceptron()
    new.ir_version = 4
    assert digest(proto) == digest(new)


def weight(proto: ModelProto) -> None:
    data = bytearray(proto.graph.initializer[0].raw_data)
    data[0] ^= 1
    proto.graph.initializer[0].raw_data = bytes(data)


def attribute(proto: ModelProto) -> None:
    proto.graph.node[0].attribute[0].f = 0.76


def operator(proto: ModelProto) -> None:
    proto.graph.node[4].op_type = "Div"


def operands(proto: ModelProto) -> None:
    proto.graph.node[4].input[:] = ["c", "z"]


def opset(proto: ModelProto) -> None:
    proto.opset_import[0].version = 18


def shape(proto: ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def input_name(proto: ModelProto) -> None:
    proto.graph.input[0].name = proto.graph.node[0].input[0] = "image"


@pytest.mark.parametrize(
    "change", [weight, attribute, operator, operands, opset, shape, input_name]
)
def test_meaning_changes_the_digest(change: Callable[[ModelProto], None]) -> None:
    proto = perceptron()
    change(proto)
    assert digest(proto) != digest(perceptron())


@pytest.mark.parametrize("version", [11, 12, 13, 15, 18, 21])
def test_opsets(version: int) -> None:
    proto = perceptron()
    proto.opset_import[0].version = version
    assert canonicalise(proto, "m", None).opset_import[0].version == version


TYPED: list[tuple[int, str, list[Any], bytes]] = [
    (TensorProto.FLOAT, "float_data", [1.0, -0.0], b"\0\0\x80\x3f\0\0\0\x80"),
    (TensorProto.DOUBLE, "double_data", [1.0], b"\0\0\0\0\0\0\xf0\x3f"),
    (TensorProto.COMPLEX64, "float_data", [1.0, 2.0], b"\0\0\x80\x3f\0\0\0\x40"),
    (TensorProto.INT64, "int64_data", [-2], b"\xfe" + b"\xff" * 7),
    (TensorProto.UINT64, "uint64_data", [2**64 - 1], b"\xff" * 8),
    (TensorProto.UINT32, "uint64_data", [2**32 - 1], b"\xff" * 4),
    (TensorProto.INT32, "int32_data", [-2], b"\xfe\xff\xff\xff"),
    (TensorProto.INT16, "int32_data", [-2], b"\xfe\xff"),
    (TensorProto.INT8, "int32_data", [-128, 127], b"\x80\x7f"),
    (TensorProto.UINT8, "int32_data", [255], b"\xff"),
    (TensorProto.UINT16, "int32_data", [65535], b"\xff\xff"),
    (TensorProto.BOOL, "int32_data", [0, 1], b"\0\1"),
    (TensorProto.FLOAT16, "int32_data", [0x3C00, 0xFC00], b"\0\x3c\0\xfc"),
    (TensorProto.BFLOAT16, "int32_data", [0x3F80], b"\x80\x3f"),
    (TensorProto.FLOAT8E4M3FN, "int32_data", [0x38, 0xB8], b"\x38\xb8"),
    (TensorProto.UINT4, "int32_data", [0x21, 0x03], b"\x21\x03"),
    (TensorProto.INT4, "int32_data", [0xF1], b"\xf1"),
]


def dims_of(kind: int, data: bytes) -> list[int]:
    if kind in (TensorProto.UINT4, TensorProto.INT4):
        return [2 * len(data)]
    return [len(data) * 8 // {11: 64, 14: 64, 7: 64, 13: 64, 16: 16, 17: 8}.get(kind, size(kind))]


def size(kind: int) -> int:
    return int(np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize) * 8


@pytest.mark.parametrize(("kind", "field", "entries", "data"), TYPED)
def test_typed_fields_equal_raw_data(kind: int, field: str, entries: Any, data: bytes) -> None:
    stored = TensorProto(name="w", data_type=kind, dims=dims_of(kind, data))
    raw = copy.deepcopy(stored)
    getattr(stored, field).extend(entries)
    raw.raw_data = data
    node = helper.make_node("Relu", ["x"], ["y"])
    got = canonicalise(model([node], [stored]), "m", None)
    assert got.graph.initializer[0].raw_data == data
    assert got == canonicalise(model([node], [raw]), "m", None)


def test_signalling_nan_keeps_its_bits() -> None:
    """Through a Python float its quiet bit would be set."""
    bits = b"\x01\x00\x80\x7f"
    # Field 4 of TensorProto, packed: the only way to write such a number into a typed field.
    stored = TensorProto.FromString(
        TensorProto(name="w", data_type=1, dims=[1]).SerializeToString() + b"\x22\x04" + bits
    )
    node = helper.make_node("Relu", ["x"], ["y"])
    got = canonicalise(model([node], [stored]), "m", None)
    assert got.graph.initializer[0].raw_data == bits


def test_padding_of_packed_elements_is_zeroed() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    digests = {
        digest(model([node], [TensorProto(name="w", data_type=22, dims=[3], raw_data=data)]))
        for data in (b"\x21\x03", b"\x21\xf3")
    }
    assert len(digests) == 1


def test_dimensions() -> None:
    """Negative and nameless dimensions are open; zero and named ones stay."""
    node = helper.make_node("Relu", ["x"], ["y"])
    proto = model([node], inputs=[value("x", (-1, 0, "n", ""))], outputs=[value("y", None)])
    dims = canonicalise(proto, "m", None).graph.input[0].type.tensor_type.shape.dim
    assert [dim.WhichOneof("value") for dim in dims] == [None, "dim_value", "dim_param", None]


def test_nothing_is_folded_or_dropped() -> None:
    one = numpy_helper.from_array(np.ones(4, np.float32), "unused")
    proto = model(
        [
            helper.make_node("Identity", ["x"], ["a"]),
            helper.make_node("Neg", ["a"], ["b"]),
            helper.make_node("Neg", ["b"], ["y"]),
        ],
        [one],
    )
    got = canonicalise(proto, "m", None).graph
    assert [node.op_type for node in got.node] == ["Identity", "Neg", "Neg"]
    assert [tensor.name for tensor in got.initializer] == ["unused"]


def test_default_of_an_absent_scalar_is_written() -> None:
    absent, zero = perceptron(), perceptron()
    absent.graph.node[0].attribute[1].ClearField("i")
    assert not absent.graph.node[0].attribute[1].HasField("i")
    assert zero.graph.node[0].attribute[1].i == 0
    assert digest(absent) == digest(zero)


def test_function_overloads_stay_apart() -> None:
    """Two functions of one name differ by overload; a node says which one it calls."""
    functions = []
    for overload, op in (("a", "Neg"), ("b", "Relu")):
        function = helper.make_function(
            "local",
            "f",
            ["i"],
            ["o"],
            [helper.make_node(op, ["i"], ["o"])],
            [helper.make_opsetid("", 17)],
        )
        function.overload = overload
        functions.append(function)
    node = helper.make_node("f", ["x"], ["y"], domain="local")
    node.overload = "a"
    proto = model([node], functions=functions)
    other = copy.deepcopy(proto)
    other.graph.node[0].overload = "b"
    assert digest(proto) != digest(other)
    backwards = model([node], functions=functions[::-1])
    assert digest(proto) == digest(backwards)


def architecture(proto: ModelProto) -> bytes:
    bare = canonicalise(proto, "m", None)
    strip_learnt(bare)
    data: bytes = bare.SerializeToString(deterministic=True)
    return data


def test_architecture_holds_no_learnt_number() -> None:
    """In initialisers, constants, sub-graphs, functions and the operators of ai.onnx.ml alike."""

    def build(seed: int) -> ModelProto:
        random = np.random.default_rng(seed)
        floats = random.normal(size=3).astype(np.float32)
        tensor = numpy_helper.from_array(floats, "t")
        small = numpy_helper.from_array((floats * 50).astype(np.int8), "q")
        inner = helper.make_graph(
            [helper.make_node("Constant", [], ["k"], value=tensor)],
            "inner",
            [],
            [value("k", None)],
            [numpy_helper.from_array(floats, "inner_weight")],
        )
        function = helper.make_function(
            "local",
            "f",
            ["i"],
            ["o"],
            [
                helper.make_node("Constant", [], ["k"], value=tensor),
                helper.make_node("Add", ["i", "k"], ["o"]),
            ],
            [helper.make_opsetid("", 17)],
        )
        return model(
            [
                helper.make_node("Constant", [], ["c"], value_floats=floats.tolist()),
                helper.make_node("Constant", [], ["s"], value_float=float(floats[0])),
                helper.make_node(
                    "LinearRegressor",
                    ["x"],
                    ["l"],
                    domain="ai.onnx.ml",
                    coefficients=floats.tolist(),
                ),
                helper.make_node("If", ["b"], ["y"], then_branch=inner, else_branch=inner),
            ],
            [small],
            inputs=[value("x"), value("b", (), TensorProto.BOOL)],
            functions=[function],
        )

    assert canonical(build(1)) != canonical(build(2))
    assert architecture(build(1)) == architecture(build(2))


def test_architecture_keeps_shapes_and_indices() -> None:
    target = numpy_helper.from_array(np.array([4, 1]), "shape")
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    other = numpy_helper.from_array(np.array([2, 2]), "shape")
    outputs = [value("y", None)]
    assert architecture(model([node], [target], outputs=outputs)) != architecture(
        model([node], [other], outputs=outputs)
    )
