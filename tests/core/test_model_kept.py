"""What `Model.load` keeps of a file: found by its bytes alone, and only while it is whole."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from proofml.canonical import sha256
from proofml.errors import BackendFailed, UnsupportedModel
from proofml.graph import kept
from proofml.model import Model
from proofml.store import Store

FLOATS = (2, 3)


def value(name: str) -> Any:
    return helper.make_tensor_value_info(name, 1, FLOATS)


def layer(*operators: str, scale: float = 1) -> ModelProto:
    """x W, then the operators."""
    weight = np.arange(9, dtype=np.float32).reshape(3, 3) * np.float32(scale)
    names = ["h", *(f"v{i}" for i in range(len(operators) - 1)), "y"]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"])]
    for operator, before, after in zip(operators, names, names[1:], strict=False):
        nodes.append(helper.make_node(operator, [before], [after]))
    graph = helper.make_graph(
        nodes, "g", [value("x")], [value("y")], [numpy_helper.from_array(weight, "w")]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


DATA = layer("Relu").SerializeToString()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A call stops all workers from starting."""
    return lambda: monkeypatch.setattr(sys, "executable", "/missing/python")


def objects(store: Store) -> dict[str, Path]:
    """The artifacts of the one model that is kept."""
    (entry,) = store.entries()
    return {name: store.object_path(a.sha256) for name, a in entry.artifacts.items()}


def test_the_second_time(store: Store, tmp_path: Path, no_worker: Any) -> None:
    first = Model.load(DATA, store=store)
    no_worker()
    again = Model.load(DATA, store=store)
    assert again == first
    assert again.operators == first.operators == {"MatMul": 1, "Relu": 1}
    assert again.digest == sha256(again.canonical) == first.digest
    assert again.parameters == 9
    (tmp_path / "other.onnx").write_bytes(DATA)
    named = Model.load(tmp_path / "other.onnx", store=store)
    assert (named.name, named.file_digest) == ("other.onnx", sha256(DATA))
    assert named.canonical == first.canonical
    assert not list((store.root / "work").iterdir())


def test_what_else_is_there_is_as_before(store: Store, no_worker: Any) -> None:
    """Open dimensions, unknown shapes and the note go through the cache as they are."""
    proto = layer("Relu")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "n"
    data = proto.SerializeToString()
    first = Model.load(data, store=store)
    no_worker()
    again = Model.load(data, store=store)
    assert again.inputs[0].shape == (None, 3)
    assert (again.inputs, again.outputs, again.shapes) == (
        first.inputs,
        first.outputs,
        first.shapes,
    )


def test_other_bytes_are_another_model(store: Store, tmp_path: Path) -> None:
    """Also under the same name, and where the same function comes out."""
    path = tmp_path / "m.onnx"
    digests = set()
    for proto in (layer("Relu"), layer("Neg"), layer("Relu", scale=2)):
        path.write_bytes(proto.SerializeToString())
        loaded = Model.load(path, store=store)
        assert loaded.file_digest == sha256(path.read_bytes())
        assert loaded.canonical == Model.load(path.read_bytes(), store=store).canonical
        digests.add(loaded.digest)
    assert len(digests) == 3
    proto = layer("Relu")
    proto.producer_name = "somebody"
    other, first = (Model.load(data, store=store) for data in (proto.SerializeToString(), DATA))
    assert other.digest == first.digest
    assert other.file_digest != first.file_digest


@pytest.mark.parametrize("part", ["canonical", "facts"])
@pytest.mark.parametrize("damage", [b"", b"{}", None, "flip"])
def test_damage_is_a_miss(store: Store, part: str, damage: Any) -> None:
    first = Model.load(DATA, store=store)
    path = objects(store)[part]
    body = bytearray(path.read_bytes())
    if damage is None:
        path.unlink()
    elif damage == "flip":
        body[len(body) // 2] ^= 1
        path.write_bytes(body)
    else:
        path.write_bytes(damage)
    assert kept.find(store, sha256(DATA)) is None
    assert Model.load(DATA, store=store) == first
    assert store.damaged() == ()
    assert kept.find(store, sha256(DATA)) is not None


@pytest.mark.parametrize(
    "facts",
    [b"", b"[]", b"{}", b"\xff", b'{"inputs":1,"outputs":[],"operators":{},"shapes":{},"note":""}',
     b'{"inputs":[],"outputs":[],"operators":5,"shapes":{},"note":""}',
     b'{"inputs":[],"outputs":[],"operators":{},"shapes":[],"note":""}'],
)  # fmt: skip
def test_what_other_code_wrote_is_a_miss(store: Store, facts: bytes) -> None:
    """Whole by its digest, and not what this version writes under that number."""
    first = Model.load(DATA, store=store)
    recipe = kept._recipe(sha256(DATA), onnx.__version__)
    with store.scratch() as folder:
        (folder / "canonical").write_bytes(first.canonical)
        (folder / "facts").write_bytes(facts)
        names = ("canonical", "facts")
        store.put(recipe, {name: folder / name for name in names}, label="another version's")
    assert kept.find(store, sha256(DATA)) is None
    assert Model.load(DATA, store=store) == first


@pytest.mark.parametrize("name", ["__version__", "FORMAT", "_onnx_version"])
def test_other_versions_check_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    Model.load(DATA, store=store)
    other: Any = {"__version__": "9", "FORMAT": 9, "_onnx_version": lambda: "9"}[name]
    monkeypatch.setattr(kept, name, other)
    assert kept.find(store, sha256(DATA)) is None
    Model.load(DATA, store=store)
    # Under an onnx that the worker does not have, nothing is kept at all.
    assert len(store.entries()) == (1 if name == "_onnx_version" else 2)


def test_external_data_is_never_kept(store: Store, tmp_path: Path) -> None:
    """The file stays as it is while its data changes."""
    path = tmp_path / "big.onnx"
    onnx.save(
        layer("Relu"),
        str(path),
        save_as_external_data=True,
        location="big.bin",
        size_threshold=0,
    )
    first = Model.load(path, store=store)
    assert store.entries() == ()
    data = bytearray((tmp_path / "big.bin").read_bytes())
    data[-1] ^= 1
    (tmp_path / "big.bin").write_bytes(data)
    second = Model.load(path, store=store)
    assert second.file_digest == first.file_digest
    assert second.digest != first.digest
    (tmp_path / "big.bin").unlink()
    with pytest.raises(UnsupportedModel, match="cannot be read"):
        Model.load(path, store=store)
    with pytest.raises(UnsupportedModel, match="load the model from its path"):
        Model.load(path.read_bytes(), store=store)


def test_refusals_are_not_kept(store: Store) -> None:
    for _ in range(2):
        with pytest.raises(UnsupportedModel, match="NoSuchThing"):
            Model.load(layer("NoSuchThing").SerializeToString(), store=store)
    assert store.entries() == ()


def test_a_file_that_changes_while_it_is_loaded(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was checked is kept by the bytes that were checked, not by those looked at before."""
    path = tmp_path / "m.onnx"
    path.write_bytes(DATA)
    changed = layer("Neg").SerializeToString()
    digest = kept.file_digest

    def late(source: Path | bytes) -> str | None:
        found = digest(source)
        path.write_bytes(changed)
        return found

    monkeypatch.setattr(kept, "file_digest", late)
    loaded = Model.load(path, store=store)
    assert loaded.file_digest == sha256(changed)
    assert loaded.operators == {"MatMul": 1, "Neg": 1}
    assert kept.find(store, sha256(DATA)) is None
    assert kept.find(store, sha256(changed)) is not None


def test_no_room_to_keep_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was checked is loaded, whether or not the cache takes it."""

    def full(*args: Any, **rest: Any) -> Any:
        raise BackendFailed("cache: No space left on device")

    monkeypatch.setattr(Store, "put", full)
    assert Model.load(DATA, store=store).operators == {"MatMul": 1, "Relu": 1}


def test_a_copy_counts_its_own_operators(store: Store) -> None:
    loaded = Model.load(DATA, store=store)
    other = Model.load(layer("Neg", "Neg").SerializeToString(), store=store)
    assert replace(loaded, canonical=other.canonical).operators == {"MatMul": 1, "Neg": 2}


def test_the_label(store: Store) -> None:
    Model.load(DATA, store=store)
    (entry,) = store.entries()
    assert entry.label == "checked model model"
    facts = json.loads(objects(store)["facts"].read_bytes())
    assert set(facts) == {"inputs", "outputs", "operators", "note", "shapes"}
