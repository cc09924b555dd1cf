"""The trace from onnxruntime is the executor's, root by root, or onnxruntime is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from proofml.circuits.compiled import Compiled
from proofml.circuits.onnx import compile_model
from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.model import Model
from proofml.optimistic import pieces, stages
from proofml.optimistic.runtime_trace import RuntimeMachine
from proofml.optimistic.trace import Machine
from proofml.runtime_stages import open_session
from proofml.store import Store
from proofml.tensors import Array

from ..circuits.agreement import session
from ..circuits.models import Net, load
from ..circuits.random_graphs import random_graph


def made(model: Model) -> tuple[Machine, Compiled]:
    compiled = compile_model(model)
    return Machine.of(compiled.graph, compiled.weights, compiled.names), compiled


def exact(seed: int) -> tuple[Net, ModelProto, Model, RuntimeMachine] | None:
    net, proto = random_graph(seed)
    model = load(proto)
    machine, compiled = made(model)
    try:
        return net, proto, model, RuntimeMachine.of(machine, model, compiled)
    except UnsupportedModel:
        assert compiled.graph.classes["D"] or net.dtype == "int8"
        return None


def in_this_process(
    runtime: RuntimeMachine, feeds: dict[str, Array], folder: Path
) -> tuple[dict[str, str], dict[str, Array]]:
    opened, described = [], []
    for index, piece in enumerate(runtime.pieces):
        path = folder / f"piece.{index}.onnx"
        path.write_bytes(piece.model.SerializeToString())
        opened.append(open_session(path, "model", shared=index % 2 == 0))
        described.append(runtime.piece_arguments(index))
    values = dict(feeds)
    roots, seconds = stages.execute(opened, described, values, "model")
    assert seconds.keys() == {"run", "hash", "whole"}
    return roots, values


def test_random_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Cut wherever they can be."""
    monkeypatch.setattr(pieces, "LEAST", 1)
    models = cuts = roots = 0
    for seed in range(60):
        found = exact(seed)
        if found is None:
            continue
        net, proto, model, runtime = found
        feeds = net.feeds(extreme=seed % 2 == 1)
        expected = runtime.machine.run(runtime.machine.encode(feeds))
        hashed, values = in_this_process(runtime, feeds, tmp_path)
        for number, root in hashed.items():
            leaf = expected.leaves[int(number)]
            assert bytes.fromhex(root) == leaf.output, (seed, number)
        assert {int(number) for number in hashed} == set(runtime.shown)
        for value, array in zip(model.outputs, session(proto).run(None, dict(feeds)), strict=True):
            np.testing.assert_array_equal(values[value.name], array)
        assert values.keys() >= {tensor.name for tensor in runtime.read.values()}
        models += 1
        cuts += len(runtime.pieces) - 1
        roots += len(hashed)
    assert models >= 15
    assert cuts >= 15
    assert roots >= 60


def test_a_whole_run_in_a_worker() -> None:
    """With tensors that onnxruntime does not show, if there are any."""
    hidden = 0
    for seed in range(200):
        found = exact(seed)
        if found is None or (seed > 10 and not found[3].hidden):
            continue
        net, _, _, runtime = found
        feeds = net.feeds()
        trace, seconds = runtime.run(feeds, Store.default(), check=True)
        own = runtime.machine.run(runtime.machine.encode(feeds))
        assert trace.leaves == own.leaves
        assert (trace.root, trace.output_roots) == (own.root, own.output_roots)
        for one, two in zip(trace.outputs, own.outputs, strict=True):
            np.testing.assert_array_equal(one, two)
        assert trace.committed(0).root == own.leaves[0].output
        assert 0 < seconds.run <= seconds.whole
        hidden += bool(runtime.hidden)
        if hidden == 2:
            return
    pytest.fail("no model hides a tensor")


def small() -> tuple[Net, Model]:
    net = Net(np.random.default_rng(0), dtype="uint8", weights="int8", qdq=True)
    x = net.conv(net.input((1, 2, 8, 8)), 4, (3, 3))
    return net, load(net.model([net.conv(x, 3, (1, 1))], True))


def test_what_onnxruntime_computes_otherwise_is_refused() -> None:
    _, model = small()
    machine, compiled = made(model)
    assert RuntimeMachine.of(machine, model, compiled).hidden == ()
    doubtful = Compiled(
        compiled.graph.__class__(
            compiled.graph.nodes,
            compiled.graph.inputs,
            compiled.graph.outputs,
            {**compiled.graph.classes, "D": ("some node",)},
        ),
        compiled.weights,
        compiled.origins,
        compiled.names,
        compiled.codes,
    )
    with pytest.raises(UnsupportedModel, match=r"1 operators are not onnxruntime's .*'some node'"):
        RuntimeMachine.of(machine, model, doubtful)
    signed = Net(np.random.default_rng(0), dtype="int8", weights="int8", qdq=True)
    other = load(signed.model([signed.conv(signed.input((1, 2, 8, 8)), 4, (3, 3))], True))
    with pytest.raises(UnsupportedModel, match="expected codes of uint8"):
        RuntimeMachine.of(made(other)[0], other, made(other)[1])
    runtime = RuntimeMachine.of(machine, model, compiled)
    with pytest.raises(UsageError, match="is missing"):
        runtime.run({}, Store.default())


def test_a_model_with_other_weights_is_noticed() -> None:
    """The runtime executes one model, the program is another one's."""
    net, model = small()
    machine, compiled = made(model)
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    weight = next(
        t
        for t in proto.graph.initializer
        if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4
    )
    array = onnx.numpy_helper.to_array(weight).copy()
    array.flat[0] = -array.flat[0] - 1
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    runtime = RuntimeMachine.of(machine, load(proto), compiled)
    feeds = net.feeds()
    trace, _ = runtime.run(feeds, Store.default())
    with pytest.raises(BackendFailed, match=r"operator \d+ \(.*\): onnxruntime makes another"):
        runtime.compare(trace)
    with pytest.raises(BackendFailed, match="not deterministic"):
        trace.committed(1)


def test_codes_of_another_form_are_refused() -> None:
    for wrong in (np.zeros(3, np.uint8), np.zeros(4, np.int8)):
        with pytest.raises(UnsupportedModel, match="tensor 'x': expected 4 codes of uint8"):
            stages._hashed([(0, "x", 0, 4)], {"x": wrong}, "model")
    roots, _ = stages._hashed([(7, "x", 255, 4)], {"x": np.arange(4, dtype=np.uint8)}, "model")
    same, _ = stages._hashed([(7, "x", 0, 4)], {"x": np.arange(1, 5, dtype=np.uint8)}, "model")
    assert roots == same


def test_pieces_run_every_node_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LEAST", 1)
    found = exact(4) or exact(5) or exact(6)
    assert found is not None
    _, _, model, runtime = found
    seen = [node.output[0] for piece in runtime.pieces for node in piece.model.graph.node]
    assert {node.output[0] for node in model.proto.graph.node} == set(seen)
    made_by = [
        name
        for piece in runtime.pieces
        for node in piece.model.graph.node
        for name in node.output
        if any(i in piece.inputs for i in node.input)
    ]
    assert len(made_by) == len(set(made_by))
    known = {spec.name for spec in model.inputs}
    for piece in runtime.pieces:
        assert set(piece.inputs) <= known
        known |= set(piece.outputs)
        known -= set(piece.free)
    assert {spec.name for spec in model.outputs} <= known
