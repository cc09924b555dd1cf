"""What `inspect` says of a model: costs by hand, unknowns by name, backends by their own word."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import proofml.inspect as module
from proofml.backend import Probe, Request, Support
from proofml.cli.inspect import command
from proofml.errors import BackendUnavailable, UnsupportedModel, UsageError
from proofml.graph.cost import Tally
from proofml.inspect import Inspection, inspect
from proofml.model import Model
from proofml.statement import Visibility
from proofml.store import Store


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("PROOFML_CACHE", str(tmp_path / "cache"))
    return Store.default()


def value(name: str, shape: Sequence[int | str | None], kind: int = 1) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name: str, *dims: int, dtype: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.ones(dims, dtype), name)


def model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[Any],
    output: Any,
    weights: Sequence[TensorProto] = (),
    **rest: Any,
) -> ModelProto:
    graph = helper.make_graph(list(nodes), "g", list(inputs), [output], list(weights))
    opsets = [helper.make_opsetid("", 17), *rest.pop("opsets", [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **rest)


def look(proto: ModelProto, **rest: Any) -> Inspection:
    return inspect(Model.load(proto.SerializeToString()), **rest)


def one(op: str, inputs: dict[str, Any], output: Any, kind: int = 1, **attributes: Any) -> Tally:
    """Multiply-accumulates of one node; arrays are weights, tuples are inputs."""
    domain = attributes.pop("domain", "")
    node = helper.make_node(op, list(inputs), ["y"], domain=domain, **attributes)
    weights = [
        numpy_helper.from_array(array, name)
        for name, array in inputs.items()
        if isinstance(array, np.ndarray)
    ]
    values = [
        value(name, shape, kind) for name, shape in inputs.items() if isinstance(shape, tuple)
    ]
    opsets = [helper.make_opsetid(domain, 1)] if domain else []
    return look(model([node], values, output, weights, opsets=opsets)).macs


def ones(*dims: int, dtype: type = np.float32) -> Any:
    return np.ones(dims, dtype)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "expected"),
    [
        ("Conv", {"x": (1, 3, 8, 8), "w": ones(4, 3, 3, 3)}, {}, 4 * 6 * 6 * 3 * 9),
        (
            "Conv",
            {"x": (1, 3, 8, 8), "w": ones(4, 3, 3, 3)},
            {"pads": [1] * 4, "strides": [2, 2]},
            4 * 4 * 4 * 3 * 9,
        ),
        ("Conv", {"x": (2, 6, 8, 8), "w": ones(6, 1, 3, 3)}, {"group": 6}, 2 * 6 * 36 * 9),
        ("Conv", {"x": (1, 2, 10), "w": ones(5, 2, 3)}, {}, 5 * 8 * 2 * 3),
        ("Conv", {"x": (1, 1, 4, 4, 4), "w": ones(1, 1, 2, 2, 2)}, {}, 27 * 8),
        ("ConvTranspose", {"x": (1, 3, 4, 4), "w": ones(3, 2, 2, 2)}, {}, 3 * 16 * 2 * 4),
        (
            "ConvTranspose",
            {"x": (1, 4, 5), "w": ones(4, 1, 3)},
            {"group": 4, "strides": [2]},
            4 * 5 * 3,
        ),
        ("Gemm", {"x": (2, 3), "w": ones(3, 5), "b": ones(5)}, {}, 2 * 3 * 5),
        ("Gemm", {"x": (3, 2), "w": ones(5, 3)}, {"transA": 1, "transB": 1}, 2 * 3 * 5),
        ("MatMul", {"x": (2, 3), "w": ones(3, 5)}, {}, 30),
        ("MatMul", {"x": (7, 2, 3), "w": ones(3, 5)}, {}, 7 * 30),
        ("MatMul", {"x": (4, 1, 2, 3), "w": (6, 3, 5)}, {}, 4 * 6 * 30),
        ("MatMul", {"x": (3,), "w": (3,)}, {}, 3),
        ("MatMul", {"x": (3,), "w": (4, 3, 5)}, {}, 4 * 15),
        ("Einsum", {"x": (2, 3), "w": ones(3, 5)}, {"equation": "ij, jk -> ik"}, 30),
        ("Einsum", {"x": (2, 4, 3), "w": (2, 5, 3)}, {"equation": "bqd,bkd->bqk"}, 2 * 4 * 5 * 3),
        (
            "LSTM",
            {"x": (7, 2, 3), "w": ones(1, 20, 3), "r": ones(1, 20, 5)},
            {"hidden_size": 5},
            7 * 2 * 20 * 8,
        ),
        (
            "GRU",
            {"x": (7, 1, 3), "w": ones(2, 15, 3), "r": ones(2, 15, 5)},
            {"hidden_size": 5, "direction": "bidirectional"},
            7 * 2 * 15 * 8,
        ),
        ("Relu", {"x": (2, 3)}, {}, 0),
        (
            "LinearRegressor",
            {"x": (2, 3)},
            {"domain": "ai.onnx.ml", "coefficients": [1.0] * 3},
            6,
        ),
    ],
)
def test_multiply_accumulates(
    op: str, inputs: dict[str, Any], attributes: dict[str, Any], expected: int
) -> None:
    ranks = {"LSTM": 4, "GRU": 4, "Conv": len(inputs["x"]), "ConvTranspose": len(inputs["x"])}
    shapes = {"Gemm": 2, "Relu": 2, "LinearRegressor": 2, **ranks}
    rank = shapes.get(op)
    if rank is None:
        sample = [
            np.zeros(shape) if isinstance(shape, tuple) else shape for shape in inputs.values()
        ]
        equation = attributes.get("equation", "").replace(" ", "")
        rank = (np.einsum(equation, *sample) if equation else np.matmul(*sample)).ndim
    assert one(op, inputs, value("y", [None] * rank), **attributes) == Tally(expected)


def test_integer_forms() -> None:
    weights = ones(4, 3, 3, 3, dtype=np.uint8)
    conv = one(
        "ConvInteger",
        {"x": (1, 3, 8, 8), "w": weights},
        value("y", [None] * 4, 6),
        TensorProto.UINT8,
    )
    assert conv == Tally(4 * 36 * 27)
    product = one(
        "MatMulInteger",
        {"x": (2, 3), "w": ones(3, 5, dtype=np.uint8)},
        value("y", (2, 5), TensorProto.INT32),
        TensorProto.UINT8,
    )
    assert product == Tally(30)
    zero, scale = np.array(0, np.uint8), np.array(1, np.float32)
    linear = one(
        "QLinearMatMul",
        {
            "x": (2, 3),
            "xs": scale,
            "xz": zero,
            "w": ones(3, 5, dtype=np.uint8),
            "ws": scale,
            "wz": zero,
            "ys": scale,
            "yz": zero,
        },
        value("y", (2, 5), TensorProto.UINT8),
        TensorProto.UINT8,
    )
    assert linear == Tally(30)
    conv = one(
        "QLinearConv",
        {
            "x": (1, 3, 8, 8),
            "xs": scale,
            "xz": zero,
            "w": weights,
            "ws": scale,
            "wz": zero,
            "ys": scale,
            "yz": zero,
        },
        value("y", [None] * 4, TensorProto.UINT8),
        TensorProto.UINT8,
    )
    assert conv == Tally(4 * 36 * 27)


def test_unknown_is_named_and_never_zero() -> None:
    """An open shape, a known one, and an operator that nobody can see into."""
    proto = model(
        [
            helper.make_node("MatMul", ["a", "w"], ["open"]),
            helper.make_node("MatMul", ["b", "w"], ["closed"]),
            helper.make_node("Own", ["closed"], ["y"], domain="acme"),
        ],
        [value("a", ("n", 3)), value("b", (2, 3))],
        value("y", (None, 5)),
        [weight("w", 3, 5)],
        opsets=[helper.make_opsetid("acme", 1)],
    )
    found = look(proto)
    assert found.macs == Tally(30, ("MatMul -> open", "acme:Own -> y"))
    assert found.macs.total is None
    fixed = look(proto, shapes={"a": (4, 3)})
    assert fixed.macs == Tally(90, ("acme:Own -> y",))
    assert fixed.shapes == {"a": (4, 3)}


def test_einsum_with_an_ellipsis_is_unknown() -> None:
    tally = one(
        "Einsum", {"x": (2, 3), "w": ones(3, 5)}, value("y", (2, 5)), equation="...j,jk->...k"
    )
    assert tally == Tally(0, ("Einsum -> y",))


def test_products_inside_of_something_are_unknown() -> None:
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"])], "b", [], [value("m", (2, 3))]
    )
    plain = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["n"])], "b", [], [value("n", (2, 3))]
    )
    function = helper.make_function(
        "local",
        "dense",
        ["i", "k"],
        ["o"],
        [helper.make_node("MatMul", ["i", "k"], ["o"])],
        [helper.make_opsetid("", 17)],
    )
    proto = model(
        [
            helper.make_node("If", ["c"], ["p"], then_branch=plain, else_branch=plain),
            helper.make_node("If", ["c"], ["q"], then_branch=plain, else_branch=inner),
            helper.make_node("dense", ["q", "w"], ["y"], domain="local"),
        ],
        [value("x", (2, 3)), value("c", (), TensorProto.BOOL)],
        value("y", (2, 3)),
        [weight("w", 3, 3)],
        functions=[function],
        opsets=[helper.make_opsetid("local", 1)],
    )
    assert look(proto).macs == Tally(0, ("If -> q", "local:dense -> y"))


def test_activations() -> None:
    proto = model(
        [
            helper.make_node("Constant", [], ["k"], value_float=1.0),
            helper.make_node("Add", ["x", "k"], ["a"]),
            helper.make_node("Greater", ["a", "k"], ["b"]),
            helper.make_node("Cast", ["b"], ["y"], to=TensorProto.DOUBLE),
        ],
        [value("x", ("n", 3))],
        value("y", ("n", 3), TensorProto.DOUBLE),
    )
    assert look(proto).activations == Tally(0, ("Add -> a", "Greater -> b", "Cast -> y"))
    assert look(proto, shapes={"x": (2, 3)}).activations == Tally(6 * (4 + 1 + 8))


def layer() -> ModelProto:
    return model(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        [value("x", (2, 3))],
        value("y", (2, 5)),
        [weight("w", 3, 5)],
    )


def test_digests_and_versions() -> None:
    loaded = Model.load(layer().SerializeToString())
    found = inspect(loaded)
    assert (found.digest, found.file_digest) == (loaded.digest, loaded.file_digest)
    assert found.architecture_digest == loaded.architecture_digest
    assert (found.opsets, found.ir_version) == ({"": 17}, 8)
    assert (found.size, found.parameters) == (len(loaded.canonical), 15)
    assert found.operators == {"MatMul": 1, "Relu": 1}
    assert found.inputs == loaded.inputs


def test_shape_that_does_not_fit() -> None:
    with pytest.raises(UsageError, match="expected float32"):
        look(layer(), shapes={"x": (2, 4)})


class Picky:
    """A backend without packages that cannot hide and knows no Relu."""

    name = "picky"
    hides: frozenset[str] = frozenset()
    available = True

    def probe(self) -> Probe:
        return Probe(self.available, "picky 1")

    def supports(self, model: Model, request: Request) -> Support:
        return Support(False, ("operator Relu",))


class Mute(Picky):
    name = "mute"
    available = False

    def supports(self, model: Model, request: Request) -> Support:
        raise UnsupportedModel("not without my packages")


def test_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"mute": Mute(), "picky": Picky()}

    def get(name: str) -> Any:
        if name not in known:
            raise BackendUnavailable("backend gone: pip install it")
        return known[name]

    monkeypatch.setattr(module, "backend_names", lambda: ("gone", "mute", "picky"))
    monkeypatch.setattr(module, "get_backend", get)
    gone, mute, picky = look(layer(), request=Request(input_visibility=Visibility.PRIVATE)).backends
    assert (gone.available, gone.supported) == (False, None)
    assert "pip install it" in gone.detail
    assert (mute.available, mute.supported, mute.reasons) == (
        False,
        None,
        ("not without my packages",),
    )
    assert (picky.available, picky.supported) == (True, False)
    assert picky.reasons == ("cannot hide input", "operator Relu")


def test_reexec_takes_it() -> None:
    report = next(report for report in look(layer()).backends if report.name == "reexec")
    assert (report.available, report.supported, report.reasons) == (True, True, ())


# -- command line -------------------------------------------------------------------------------


def call(path: Path, *words: str) -> Any:
    return CliRunner().invoke(command, [str(path), *words])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "layer.onnx"
    file.write_bytes(layer().SerializeToString())
    return file


def test_json(path: Path) -> None:
    result = call(path, "--json")
    assert result.exit_code == 0
    got = json.loads(result.stdout)
    loaded = Model.load(path)
    assert got["canonical_sha256"] == loaded.digest
    assert got["macs"] == {"total": 30, "known": 30, "unknown": []}
    assert got["activation_bytes"]["total"] == 2 * 5 * 4 * 2
    assert got["inputs"] == [{"name": "x", "dtype": "float32", "shape": [2, 3]}]
    assert {report["name"] for report in got["backends"]} >= {"reexec"}
    assert got["shape_inference"] is None


def test_text_holds_whole_digests_on_one_line(path: Path) -> None:
    result = call(path)
    assert result.exit_code == 0
    loaded = Model.load(path)
    lines = result.stdout.splitlines()
    for digest in (loaded.digest, loaded.file_digest, loaded.architecture_digest):
        assert any(line.endswith(digest) for line in lines)
    assert any("MACs" in line and line.endswith("30") for line in lines)
    assert all(len(line) <= 80 for line in lines)


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    name = "\x1b[2J[bold]x[/]\u202e"
    proto = model([helper.make_node("Relu", [name], ["y"])], [value(name, (2,))], value("y", (2,)))
    file = tmp_path / "m.onnx"
    file.write_bytes(proto.SerializeToString())
    result = call(file)
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    assert "[bold]x[/]" in result.stdout


@pytest.mark.parametrize(
    "shape", ["x", "x=1,-2", "x=a", "x=1,,2", "x=²", "=1", "x=" + ",".join("1" * 40)]
)
def test_bad_shape_option(path: Path, shape: str) -> None:
    result = call(path, "--shape", shape)
    assert isinstance(result.exception, UsageError)


def test_open_dimensions_are_explained(tmp_path: Path) -> None:
    proto = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", ("n", 3))],
        value("y", ("n", 5)),
        [weight("w", 3, 5)],
    )
    file = tmp_path / "m.onnx"
    file.write_bytes(proto.SerializeToString())
    assert "--shape NAME=" in call(file).stdout
    fixed = call(file, "--shape", "x=2,3").stdout
    assert "--shape NAME=" not in fixed
    assert "MACs         30" in fixed
