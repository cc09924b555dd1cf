"""Invariant: any bytes -> canonicalised, or `UnsupportedModel` that says where and why."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto

from proofml.errors import UnsupportedModel
from proofml.graph import canonicalise as module
from proofml.graph import external as storage
from proofml.graph.canonicalise import MAX_DEPTH, MAX_NODES, canonicalise, parse

Change = Callable[[ModelProto], Any]


def small() -> ModelProto:
    """x -> Add(x, w) -> If(c: Neg, Relu) -> twice (a function) -> y."""
    proto = ModelProto(ir_version=8)
    proto.opset_import.add(domain="", version=17)
    proto.opset_import.add(domain="local", version=1)
    graph = proto.graph
    for name, kind in (("x", 1), ("c", 9)):
        tensor = graph.input.add(name=name).type.tensor_type
        tensor.elem_type = kind
        tensor.shape.SetInParent()
        if name == "x":
            tensor.shape.dim.add(dim_value=2)
    graph.initializer.add(name="w", dims=[2], data_type=1, raw_data=bytes(8))
    graph.node.add(op_type="Add", input=["x", "w"], output=["a"])
    node = graph.node.add(op_type="If", input=["c"], output=["b"])
    for branch, op in (("then_branch", "Neg"), ("else_branch", "Relu")):
        inner = node.attribute.add(name=branch, type=AttributeProto.GRAPH).g
        inner.node.add(op_type=op, input=["a"], output=[branch])
        inner.output.add(name=branch)
    graph.node.add(op_type="twice", domain="local", input=["b"], output=["y"])
    graph.output.add(name="y").type.CopyFrom(graph.input[0].type)
    function = proto.functions.add(name="twice", domain="local", input=["i"], output=["o"])
    function.node.add(op_type="Add", input=["i", "i"], output=["o"])
    function.opset_import.add(domain="", version=17)
    return proto


def weight(proto: ModelProto) -> TensorProto:
    return proto.graph.initializer[0]


def refill(proto: ModelProto, field: str, values: Any) -> None:
    weight(proto).ClearField("raw_data")
    getattr(weight(proto), field).extend(values)


def as_type(proto: ModelProto, kind: int, field: str, values: list[int]) -> None:
    weight(proto).data_type = kind
    refill(proto, field, values)


def external(proto: ModelProto, **entries: str) -> None:
    weight(proto).ClearField("raw_data")
    weight(proto).data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        weight(proto).external_data.add(key=key, value=value)


def nested(proto: ModelProto, depth: int) -> None:
    graph = proto.graph.node[1].attribute[0].g
    for level in range(depth):
        node = graph.node.add(op_type="If", input=["c"], output=[f"n{level}"])
        graph = node.attribute.add(name="then_branch", type=AttributeProto.GRAPH).g


def doubling(proto: ModelProto, levels: int) -> None:
    """Functions of which each calls the next one twice."""
    for level in range(levels):
        function = proto.functions.add(name=f"f{level}", domain="local", input=["i"], output=["o"])
        function.opset_import.add(domain="local", version=1)
        function.node.add(op_type=f"f{level + 1}", domain="local", input=["i"], output=["m"])
        function.node.add(op_type=f"f{level + 1}", domain="local", input=["m"], output=["o"])
    last = proto.functions.add(name=f"f{levels}", domain="local", input=["i"], output=["o"])
    last.node.add(op_type="Neg", input=["i"], output=["o"])
    proto.graph.node[2].op_type = "f0"


def loop_of_functions(proto: ModelProto) -> None:
    for name, other in (("f", "g"), ("g", "f")):
        function = proto.functions.add(name=name, domain="local", input=["i"], output=["o"])
        function.node.add(op_type=other, domain="local", input=["i"], output=["o"])


def second_function(proto: ModelProto) -> None:
    proto.functions.add().CopyFrom(proto.functions[0])


def deep_calls(proto: ModelProto) -> None:
    for level in range(100):
        function = proto.functions.add(name=f"f{level}", domain="local", input=["i"], output=["o"])
        op = {"op_type": f"f{level + 1}", "domain": "local"} if level < 99 else {"op_type": "Neg"}
        function.node.add(input=["i"], output=["o"], **op)


def sub_input_with_weight(proto: ModelProto) -> None:
    graph = proto.graph.node[1].attribute[0].g
    graph.input.add(name="k")
    graph.initializer.add(name="k", data_type=1, dims=[0])


def extra_value(proto: ModelProto) -> None:
    proto.graph.node[1].attribute[0].f = 1.0


def strings(proto: ModelProto, dims: list[int], count: int) -> None:
    weight(proto).data_type = TensorProto.STRING
    weight(proto).dims[:] = dims
    refill(proto, "string_data", [b"s"] * count)


def add(items: Any, **fields: Any) -> None:
    items.add(**fields)


BROKEN: dict[str, tuple[str, Change]] = {
    "cycle": ("a cycle", lambda m: m.graph.node[0].input.append("y")),
    "own output": ("a cycle", lambda m: m.graph.node[0].input.append("a")),
    "unknown name": ("nothing makes", lambda m: m.graph.node[0].input.append("q")),
    "two outputs of a name": (
        "defined twice",
        lambda m: add(m.graph.node, op_type="Neg", input=["x"], output=["a"]),
    ),
    "two inputs of a name": ("defined twice", lambda m: add(m.graph.input, name="x")),
    "two weights of a name": (
        "two initialisers of one name",
        lambda m: m.graph.initializer.add().CopyFrom(weight(m)),
    ),
    "node output like the input": (
        "defined twice",
        lambda m: m.graph.node[0].output.append("x"),
    ),
    "sub-graph hides a value": (
        "defined twice",
        lambda m: m.graph.node[1].attribute[0].g.node[0].output.append("x"),
    ),
    "output listed twice": (
        "listed twice",
        lambda m: m.graph.output.add().CopyFrom(m.graph.output[0]),
    ),
    "output of nothing": ("made by no node", lambda m: add(m.graph.output, name="q")),
    "output of a function of nothing": (
        "made by no node",
        lambda m: m.functions[0].output.append("q"),
    ),
    "no output": ("no output", lambda m: m.graph.ClearField("output")),
    "weight without a name": ("without a name", lambda m: weight(m).ClearField("name")),
    "input without a name": ("without a name", lambda m: add(m.graph.input)),
    "sub-graph's input is a weight": ("initialiser too", sub_input_with_weight),
    "dims that claim too much": (
        "claim 8000000000000 bytes",
        lambda m: weight(m).dims.extend([10**12]),
    ),
    "negative dims": ("impossible dims", lambda m: weight(m).dims.extend([-1])),
    "two negative dims": ("impossible dims", lambda m: weight(m).dims.extend([-1, -1])),
    "a hundred dims": ("impossible dims", lambda m: weight(m).dims.extend([1] * 100)),
    "too little data": (
        "needs 12 bytes of data, the file holds 8",
        lambda m: weight(m).dims.__setitem__(0, 3),
    ),
    "too much data": (
        "needs 4 bytes of data, the file holds 8",
        lambda m: weight(m).dims.__setitem__(0, 1),
    ),
    "no data": ("holds 0", lambda m: weight(m).ClearField("raw_data")),
    "unknown element type": (
        "unknown element type 99",
        lambda m: setattr(weight(m), "data_type", 99),
    ),
    "no element type": ("unknown element type 0", lambda m: weight(m).ClearField("data_type")),
    "two storages": (
        "data in raw_data and in float_data",
        lambda m: weight(m).float_data.extend([1, 2]),
    ),
    "storage of another type": (
        "expected float_data",
        lambda m: refill(m, "int32_data", [1, 2]),
    ),
    "int8 of 300": ("outside INT8", lambda m: as_type(m, 3, "int32_data", [300, 0])),
    "float16 below zero": ("outside FLOAT16", lambda m: as_type(m, 10, "int32_data", [-1, 0])),
    "uint32 of 2^32": ("outside UINT32", lambda m: as_type(m, 12, "uint64_data", [2**32, 0])),
    "typed boolean of 2": ("neither 0 nor 1", lambda m: as_type(m, 9, "int32_data", [2, 0])),
    "raw boolean of 2": (
        "neither 0 nor 1",
        lambda m: weight(m).MergeFrom(TensorProto(data_type=9, raw_data=b"\0\2")),
    ),
    "strings short": ("expected 2 strings", lambda m: strings(m, [2], 1)),
    "strings of negative dims": ("impossible dims", lambda m: strings(m, [-1, -1], 1)),
    "segment": ("segmented", lambda m: setattr(weight(m).segment, "begin", 0)),
    "external data without a folder": (
        "load the model from its path",
        lambda m: external(m, location="w.bin"),
    ),
    "attribute twice": (
        "'then_branch' twice",
        lambda m: m.graph.node[1].attribute.add().CopyFrom(m.graph.node[1].attribute[0]),
    ),
    "attribute of two values": ("expected its value in g", extra_value),
    "attribute of no type": (
        "known type",
        lambda m: m.graph.node[1].attribute[0].ClearField("type"),
    ),
    "sparse attribute": (
        "known type",
        lambda m: add(m.graph.node[0].attribute, name="s", type=AttributeProto.SPARSE_TENSOR),
    ),
    "attribute that refers to nothing": (
        "refers to a function's attribute",
        lambda m: add(m.graph.node[0].attribute, name="s", type=1, ref_attr_name="r"),
    ),
    "sparse initialiser": ("sparse", lambda m: add(m.graph.sparse_initializer)),
    "training graph": ("training", lambda m: add(m.training_info)),
    "opset 10": (
        "opset 10; expected 11 to",
        lambda m: setattr(m.opset_import[0], "version", 10),
    ),
    "opset of the future": (
        "expected 11 to",
        lambda m: setattr(m.opset_import[0], "version", 10**6),
    ),
    "two opsets": ("two versions", lambda m: add(m.opset_import, domain="ai.onnx", version=13)),
    "a function's opset": (
        "opset 3",
        lambda m: setattr(m.functions[0].opset_import[0], "version", 3),
    ),
    "sub-graphs too deep": ("nested deeper", lambda m: nested(m, MAX_DEPTH + 1)),
    "functions that double": ("once its functions are inlined", lambda m: doubling(m, 40)),
    "function that calls itself": (
        "calls itself",
        lambda m: add(m.functions[0].node, op_type="twice", domain="local"),
    ),
    "functions in a circle": ("calls itself", loop_of_functions),
    "functions too deep": ("nest deeper than 64", deep_calls),
    "function twice": ("defined twice", second_function),
    "function that replaces Add": (
        "replaces operators",
        lambda m: setattr(m.functions[0], "domain", "ai.onnx"),
    ),
    "function's attribute twice": (
        "an attribute twice",
        lambda m: m.functions[0].attribute.extend(["p", "p"]),
    ),
    "terminal escapes in a name": (
        r"reads '\\x1b\[2J'",
        lambda m: m.graph.node[0].input.append("\x1b[2J"),
    ),
    "a name of a megabyte": (
        r"reads 'aaaa*'\.\.\.",
        lambda m: m.graph.node[0].input.append("a" * 2**20),
    ),
}


def test_the_model_that_is_broken_below_is_good() -> None:
    assert len(canonicalise(small(), "m", None).graph.node) == 3


@pytest.mark.parametrize(("words", "change"), BROKEN.values(), ids=BROKEN)
def test_broken(words: str, change: Change) -> None:
    proto = small()
    change(proto)
    with pytest.raises(UnsupportedModel, match=words) as caught:
        canonicalise(parse(proto.SerializeToString(), "m"), "m", None)
    assert str(caught.value).startswith("m: ")
    assert len(str(caught.value)) < 600


def many_nodes(proto: ModelProto, count: int) -> None:
    node = proto.graph.node[0]
    del proto.graph.node[:]
    for index in range(count):
        proto.graph.node.add(op_type="Neg", input=[node.input[0]], output=[f"v{index}"])
    proto.graph.output[0].name = "v0"


def test_too_many_nodes() -> None:
    proto = small()
    many_nodes(proto, MAX_NODES + 1)
    with pytest.raises(UnsupportedModel, match="more than 200000 nodes"):
        canonicalise(proto, "m", None)


@pytest.mark.parametrize("bound", ["MAX_PARTS", "MAX_ELEMENTS"])
def test_too_many_parts(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(module, bound, 12)
    with pytest.raises(UnsupportedModel, match=r"parts or .* list elements"):
        canonicalise(small(), "m", None)


def test_many_sub_graphs_do_not_cost_the_square() -> None:
    """20 000 sub-graphs inside 20 000 names: copying the names each time took minutes."""
    proto = small()
    many_nodes(proto, 20_000)
    for index in range(20_000):
        node = proto.graph.node.add(op_type="If", input=["c"], output=[f"o{index}"])
        inner = node.attribute.add(name="then_branch", type=AttributeProto.GRAPH).g
        inner.node.add(op_type="Neg", input=["v19999"], output=["inner"])
        inner.output.add(name="inner")
    started = time.monotonic()
    canonicalise(proto, "m", None)
    assert time.monotonic() - started < 20


# -- bytes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"not a model at all",
        b"PK\x03\x04",
        b"\x08\x08",  # an IR version and nothing else
        b"\x0a" * 200_000,
        ModelProto(ir_version=8).SerializeToString(),
    ],
)
def test_not_onnx(data: bytes) -> None:
    with pytest.raises(UnsupportedModel, match="m: not an ONNX file"):
        parse(data, "m")


def test_recursion_of_protobuf() -> None:
    """Graphs inside attributes inside nodes, a thousand deep, written without protobuf."""
    graph = b""
    for _ in range(1000):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # AttributeProto.g, NodeProto.attribute, node
            graph = tag + varint(len(graph)) + graph
    data = b"\x08\x08\x42\x04\x0a\x00\x10\x11" + b"\x3a" + varint(len(graph)) + graph
    with pytest.raises(UnsupportedModel, match="not an ONNX file"):
        parse(data, "m")


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def test_names_that_are_not_utf8() -> None:
    data = small().SerializeToString().replace(b"else_branch", b"\xff\xfe_branch\xff"[:11])
    with pytest.raises(UnsupportedModel):
        canonicalise(parse(data, "m"), "m", None)


def attempt(data: bytes) -> None:
    try:
        proto = canonicalise(parse(data, "m"), "m", None)
    except UnsupportedModel:
        return
    once = proto.SerializeToString(deterministic=True)
    again = canonicalise(ModelProto.FromString(once), "m", None)
    assert again.SerializeToString(deterministic=True) == once


GOOD = small().SerializeToString()


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=6))
def test_flipped_bytes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for place, byte in changes:
        data[place] = byte
    attempt(bytes(data))


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.integers(0, len(GOOD)))
def test_cut_and_repeated_bytes(first: int, last: int, place: int) -> None:
    attempt(GOOD[:first])
    attempt(GOOD[:place] + GOOD[min(first, last) : max(first, last)] + GOOD[place:])


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    attempt(data)


# -- external data --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside.bin").write_bytes(bytes(8))
    inside = tmp_path / "model"
    (inside / "sub").mkdir(parents=True)
    (inside / "w.bin").write_bytes(bytes(range(16)))
    (inside / "sub" / "w.bin").write_bytes(bytes(8))
    (inside / "link.bin").symlink_to("../outside.bin")
    (inside / "inner.bin").symlink_to("w.bin")
    (inside / "loop.bin").symlink_to("loop.bin")
    os.mkfifo(inside / "pipe.bin")
    return inside


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"location": "../outside.bin"}, "not inside the model's folder"),
        ({"location": "sub/../../outside.bin"}, "not inside the model's folder"),
        ({"location": "link.bin"}, "not inside the model's folder"),
        ({"location": "/etc/passwd"}, "not inside the model's folder"),
        ({"location": "{folder}/w.bin"}, "not inside the model's folder"),
        ({"location": ""}, "not inside the model's folder"),
        ({}, "not inside the model's folder"),
        ({"location": "."}, "not a plain file"),
        ({"location": "sub"}, "not a plain file"),
        ({"location": "pipe.bin"}, "not a plain file"),
        ({"location": "loop.bin"}, "cannot be read"),
        ({"location": "missing.bin"}, "No such file"),
        ({"location": "a\0b"}, "cannot be read"),
        ({"location": "a" * 5000}, "File name too long"),
        ({"location": "sub\\w.bin"}, "expected a path with /"),
        ({"location": "w.bin", "length": "9"}, "expected 8 bytes, the entry says 9"),
        ({"location": "w.bin", "length": "-1"}, "expected digits, got '-1'"),
        ({"location": "w.bin", "length": "x" * 10**6}, "expected digits, got"),
        ({"location": "w.bin", "length": "9" * 10**6}, "expected digits, got"),
        ({"location": "w.bin", "offset": "9"}, "expected 8 bytes at 9, the file has 16"),
        ({"location": "w.bin", "offset": "-8"}, "expected digits"),
        ({"location": "w.bin", "offset": "1_0"}, "expected digits"),
        ({"location": "w.bin", "offset": "²"}, "expected digits"),
        ({"location": "w.bin", "offset": "9" * 18}, "the file has 16"),
    ],
)
def test_hostile_external_data(folder: Path, entries: dict[str, str], words: str) -> None:
    proto = small()
    external(proto, **{key: text.replace("{folder}", str(folder)) for key, text in entries.items()})
    with pytest.raises(UnsupportedModel, match=words):
        canonicalise(proto, "m", folder)


@pytest.mark.parametrize(
    ("entries", "data"),
    [
        ({"location": "w.bin"}, bytes(range(8))),
        ({"location": "w.bin", "offset": "8", "length": "8"}, bytes(range(8, 16))),
        ({"location": "inner.bin"}, bytes(range(8))),
        ({"location": "sub/w.bin"}, bytes(8)),
        ({"location": "sub/../w.bin"}, bytes(range(8))),
        ({"location": "w.bin", "checksum": "ignored"}, bytes(range(8))),
    ],
)
def test_good_external_data(folder: Path, entries: dict[str, str], data: bytes) -> None:
    proto = small()
    external(proto, **entries)
    assert canonicalise(proto, "m", folder).graph.initializer[0].raw_data == data


def test_external_data_and_raw_data(folder: Path) -> None:
    proto = small()
    external(proto, location="w.bin")
    weight(proto).raw_data = bytes(8)
    with pytest.raises(UnsupportedModel, match="in an external file"):
        canonicalise(proto, "m", folder)


def test_many_tensors_of_one_large_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum is bounded before anything is read."""
    monkeypatch.setattr(storage, "MAX_MODEL_BYTES", 1 << 20)
    with (folder / "large.bin").open("wb") as file:
        file.truncate(1 << 30)
    proto = small()
    for index in range(3):
        tensor = proto.graph.initializer.add(name=f"w{index}", data_type=2, dims=[400_000])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="large.bin")
    with pytest.raises(UnsupportedModel, match="'w2': up to it, the tensors hold 1200008 bytes"):
        canonicalise(proto, "m", folder)
