"""What is proven is what onnxruntime computes: its outputs, in proofs that the verifier accepts.

The public outputs that the verifier is given here are onnxruntime's own; the executor's are never
compared. A proof for them verifies only if the circuit's function gives exactly these values.
For every operator and for random graphs, extreme inputs, ties and saturation included; graphs
with nodes of class D (defined here) are counted apart. `-m slow` proves more than 200 random
graphs and more than a million values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from proofml.benchmarks.models import Builder
from proofml.circuits.codec import encode_input, encode_output
from proofml.circuits.graph import Graph, Ints
from proofml.circuits.onnx import compile_model
from proofml.circuits.quantise import QuantisationConfig, apply, calibrate
from proofml.errors import VerificationError
from proofml.model import Model
from proofml.store import Store
from proofml.zkml.sumcheck.keys import commit_model
from proofml.zkml.sumcheck.layout import arrange
from proofml.zkml.sumcheck.params import Params, choose
from proofml.zkml.sumcheck.prover import prove_circuit
from proofml.zkml.sumcheck.verifier import verify_proof

from ..circuits.agreement import session
from ..circuits.models import Net, load
from ..circuits.random_graphs import random_graph
from ..circuits.test_onnx_operators import CASES, FORMS

STATEMENT = bytes(range(32))
DIGITS = Path(__file__).parents[2] / "examples" / "digits"
Feed = Mapping[str, NDArray[Any]]


@dataclass
class Count:
    """Values in accepted proofs, proofs, and whether a node of class D was among them."""

    values: int = 0
    proofs: int = 0
    defined_here: bool = False


def proven(proto: ModelProto, feeds: Sequence[Feed], *, full: bool = False) -> Count:
    """Prove each run; accept it only with onnxruntime's outputs as the public ones."""
    compiled = compile_model(load(proto))
    graph = compiled.graph
    key = commit_model(graph, compiled.weights, params=None if full else cheap(graph))
    runtime = session(proto)
    result = Count(defined_here=bool(graph.classes["D"]))
    for feed in feeds:
        values = key.executor.run({p.value: encode_input(p, feed[p.name]) for p in graph.inputs})
        proof = prove_circuit(key, values, STATEMENT)
        public: dict[int, Ints] = {p.value: encode_input(p, feed[p.name]) for p in graph.inputs}
        expected = runtime.run(None, dict(feed))
        for port, array in zip(graph.outputs, expected, strict=True):
            public[port.value] = encode_output(port, array)
        verify_proof(key.circuit, STATEMENT, public, proof)
        result.values += sum(array.size for array in expected)
        result.proofs += 1
    return result


def cheap(graph: Graph) -> Params:
    """Few queries: what is proven is the same function."""
    layout = arrange(graph)
    usual = choose({name: stack.log for name, stack in layout.trees.items()})
    return Params(usual.mu, usual.folds, usual.rate, queries=4, grind=0)


def nets(name: str, qdq: bool, count: int) -> Iterator[tuple[Net, ModelProto]]:
    """The operator's models, as its own test builds them."""
    build, _, _ = CASES[name]
    for index in range(count):
        dtype = ("uint8", "int8")[index % 2]
        net = Net(
            np.random.default_rng(index),
            dtype=dtype,
            weights="int8" if dtype == "int8" or index % 4 == 0 else "uint8",
            binary=index % 3 == 0,
            channels=index % 5 == 0,
            qdq=qdq,
        )
        made = build(net)
        yield net, made if isinstance(made, ModelProto) else net.model([made], qdq)


@pytest.mark.parametrize(("name", "qdq"), FORMS, ids=str)
def test_every_operator(name: str, qdq: bool) -> None:
    for net, proto in nets(name, qdq, 2):
        assert proven(proto, [net.feeds(extreme=True)]).proofs == 1


def test_random_graphs() -> None:
    found = many(range(12), 1)
    assert found.values > 5_000


@pytest.mark.slow
def test_two_hundred_random_graphs_and_a_million_values() -> None:
    found = many(range(1000, 1300), 4)
    print(f"{found.values} values of onnxruntime in {found.proofs} accepted proofs")
    assert found.proofs >= 4 * 200
    assert found.values >= 10**6


def many(seeds: range, runs: int) -> Count:
    """Random graphs without class D."""
    total = Count()
    for seed in seeds:
        net, proto = random_graph(seed)
        found = proven(proto, [net.feeds(extreme=index % 2 == 1) for index in range(runs)])
        if not found.defined_here:
            total.values += found.values
            total.proofs += found.proofs
    return total


def test_full_parameters_on_a_random_graph() -> None:
    net, proto = random_graph(3)
    assert proven(proto, [net.feeds()], full=True).proofs == 1


def test_another_value_is_not_proven() -> None:
    """The comparison can fail: one unit in one output is refused."""
    net, proto = random_graph(0)
    compiled = compile_model(load(proto))
    graph = compiled.graph
    key = commit_model(graph, compiled.weights)
    feed = net.feeds()
    public = {p.value: encode_input(p, feed[p.name]) for p in graph.inputs}
    values = key.executor.run(public)
    for port in graph.outputs:
        public[port.value] = values[port.value].copy()
    public[graph.outputs[0].value].reshape(-1)[0] ^= 1
    with pytest.raises(VerificationError):
        verify_proof(key.circuit, STATEMENT, public, prove_circuit(key, values, STATEMENT))


def test_digits_network_quantised_by_onnxruntime() -> None:
    """A torch export that onnxruntime's own `quantize_static` made integer (examples/digits)."""
    proto = onnx.load(DIGITS / "digits_cnn_int8.onnx")
    with np.load(DIGITS / "digits_heldout.npz") as data:
        images = data["images"][:20].astype(np.float32) / np.float32(16)
    found = proven(proto, [{"image": image[None]} for image in images], full=True)
    assert found.values == 200
    assert not found.defined_here


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_lenet_5_quantised_here(pool: str, tmp_path: Path) -> None:
    """61,706 parameters; class E throughout with maxima, D at the average pools."""
    builder = Builder("lenet", (1, 28, 28))
    builder.conv(6, 5, 2).pool(pool).conv(16, 5, 0).pool(pool)
    proto = builder.dense(120).dense(84).dense(10, relu=False).model()
    rng = np.random.default_rng(0)
    store = Store(tmp_path)
    model = Model.load(proto.SerializeToString(), store=store)
    name = model.inputs[0].name
    shape = (1, 1, 28, 28)
    samples = [{name: rng.random(shape).astype(np.float32)} for _ in range(8)]
    record = calibrate(model, samples, QuantisationConfig(), store)
    quantised = onnx.load_model_from_string(apply(model, record))
    feeds = [{name: rng.random(shape).astype(np.float32)} for _ in range(10)]
    found = proven(quantised, feeds, full=True)
    assert found.values == 100
    assert found.defined_here == (pool == "AveragePool")
