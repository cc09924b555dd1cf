"""Programs against the executor: every cell follows from its descriptor, whatever the operator."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from proofml.benchmarks.models import BUILDERS
from proofml.circuits.axes import AxisMap
from proofml.circuits.codec import encode_input
from proofml.circuits.functions import Steps
from proofml.circuits.graph import (
    ONES,
    Affine,
    Bind,
    Contraction,
    Graph,
    Maximum,
    Reshape,
    Step,
    Term,
    View,
    Weight,
)
from proofml.circuits.onnx import compile_model
from proofml.circuits.quantise import QuantisationConfig, apply, calibrate
from proofml.errors import UnsupportedModel
from proofml.model import Model
from proofml.optimistic import rows, views
from proofml.optimistic.commit import program_root
from proofml.optimistic.encoding import read_operator
from proofml.optimistic.lower import lower
from proofml.optimistic.program import Fold, Rule, Source
from proofml.store import Store

from ..circuits.models import Net, load
from ..circuits.oracle import Builder, random_graph
from ..circuits.random_graphs import random_graph as random_model
from ..circuits.test_onnx_operators import CASES, FORMS
from ..sumcheck.graphs import CASES as GRAPHS
from .conftest import Run

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def agree(run: Run, rng: np.random.Generator, most: int = 40) -> int:
    """Random cells of every operator, the first and last among them; how many."""
    seen = 0
    for number, operator in enumerate(run.program.operators):
        wanted = run.operator(number).reshape(-1)
        assert operator.cells.count == wanted.size
        assert operator.cells.low <= int(wanted.min())
        assert int(wanted.max()) <= operator.cells.high
        cells = {0, wanted.size - 1, *(int(n) for n in rng.integers(0, wanted.size, most))}
        if wanted.size <= most:
            cells = set(range(wanted.size))
        for cell in cells:
            assert run.cell(number, cell) == wanted[cell], (number, operator, cell)
        seen += len(cells)
        assert read_operator(run.tables.descriptors[number], number, operator.name) == operator
    return seen


def some_outputs(b: Builder, rng: np.random.Generator) -> Graph:
    """The graph with a few of its values as outputs."""
    count = len(b.nodes)
    return b.graph(*sorted({count - 1, *(int(v) for v in rng.integers(0, count, 2))}))


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1))
def test_any_graph(seed: int) -> None:
    b, rng = random_graph(seed), np.random.default_rng(seed)
    graph = some_outputs(b, rng)
    run = Run.of(graph, b.weights, b.feed())
    agree(run, rng)
    for port, made in zip(graph.outputs, run.program.outputs, strict=True):
        wanted = run.values[port.value]
        if made.source is Source.OPERATOR:
            np.testing.assert_array_equal(
                run.operator(made.index).reshape(wanted.shape), wanted, port.name
            )
        else:
            assert graph.inputs[made.index].value <= port.value


@pytest.mark.parametrize("name", GRAPHS)
def test_every_kind_of_node(name: str) -> None:
    case = GRAPHS[name]()
    for seed in (0, 1):
        run = Run.of(case.graph, case.weights, case.inputs(seed))
        assert agree(run, np.random.default_rng(seed))


def compiled_run(model: Model, feed: dict[str, np.ndarray]) -> Run:
    compiled = compile_model(model)
    inputs = {p.value: encode_input(p, feed[p.name]) for p in compiled.graph.inputs}
    return Run.of(compiled.graph, compiled.weights, inputs)


@pytest.mark.parametrize(("name", "qdq"), FORMS, ids=str)
def test_every_operator_of_onnx(name: str, qdq: bool) -> None:
    for dtype in ("uint8", "int8"):
        net = Net(
            np.random.default_rng(5), dtype=dtype, weights="int8", channels=dtype == "int8", qdq=qdq
        )
        made = CASES[name][0](net)
        proto = made if isinstance(made, ModelProto) else net.model([made], qdq)
        assert agree(compiled_run(load(proto), net.feeds(extreme=dtype == "int8")), net.rng, 10)


def test_random_models() -> None:
    seen = 0
    for seed in range(40):
        net, proto = random_model(seed)
        seen += agree(compiled_run(load(proto), net.feeds(extreme=seed % 2 == 1)), net.rng, 12)
    assert seen > 2_500


def test_digits() -> None:
    model = Model.load(DIGITS / "digits_cnn_int8.onnx")
    feed = dict(np.load(DIGITS / "digit.npz"))
    run = compiled_run(model, feed)
    agree(run, np.random.default_rng(0))
    folds = Counter(operator.fold for operator in run.program.operators)
    rules = Counter(operator.output.rule for operator in run.program.operators)
    assert folds[Fold.SUM] > 3
    assert rules[Rule.REQUANT] > 2


def test_lenet() -> None:
    """Quantised here: convolutions, means, dense layers."""
    model = Model.load(BUILDERS["lenet"]().SerializeToString())
    feed = {"input": np.random.default_rng(1).random((1, 1, 28, 28)).astype(np.float32)}
    record = calibrate(model, [feed], QuantisationConfig(), Store.default())
    run = compiled_run(Model.load(apply(model, record)), feed)
    assert agree(run, np.random.default_rng(0)) > 200
    assert max(operator.summands for operator in run.program.operators) > 400


def test_the_program_is_a_function_of_graph_and_weights() -> None:
    """Twice the same root, whatever the names; another one for another weight."""
    model = Model.load(DIGITS / "digits_cnn_int8.onnx")
    one, two = compile_model(model), compile_model(model)
    root = program_root(lower(one.graph, one.weights)[0])
    assert program_root(lower(two.graph, two.weights, two.names)[0]) == root
    value, numbers = next(iter(one.weights.items()))
    changed = numbers.copy()
    changed.flat[0] += 1 if changed.flat[0] < 0 else -1
    assert program_root(lower(one.graph, {**one.weights, value: changed})[0]) != root


def test_sums_that_leave_an_int32_on_the_way() -> None:
    """A large constant that another one takes back; and products whose sum cancels."""
    whole = View((1,), ())
    b = Builder(np.random.default_rng(0))
    x = b.input((1,))
    big = 1 << 30
    terms = [Term(1, x, View.identity((1,)))]
    for sign in (1, 1, -1, -1):
        terms.append(Term(sign * (1 << 20), ONES, View((1,), ((-1, AxisMap.total(1 << 9)),))))
    b.add(Affine((1,), tuple(terms)))
    with pytest.raises(UnsupportedModel, match="partial sums up to 2147483776"):
        lower(b.graph(), b.weights)
    b = Builder(np.random.default_rng(0))
    x = b.input((1,))
    b.add(Affine((1,), (Term(1, x, View.identity((1,))), Term(big - 200, ONES, whole))))
    run = Run.of(b.graph(), b.weights, b.feed())
    agree(run, np.random.default_rng(0))
    b = Builder(np.random.default_rng(0))
    x = b.input((1, 2), (1 << 20) - 1, 1 << 20)
    w = b.add(Weight("w", (2, 1), -1500, 1500))
    b.weights[w] = np.array([[1500], [-1500]])
    binds = (Bind(out=0), Bind(sum=0)), (Bind(sum=0), Bind(out=1))
    b.add(Affine((1, 1), (), (Contraction(x, w, (2,), *binds),)))
    run = Run.of(b.graph(), b.weights, b.feed())
    agree(run, np.random.default_rng(0))
    b.weights[w] = np.array([[3000], [-3000]])
    b.nodes[w] = Weight("w", (2, 1), -3000, 3000)
    with pytest.raises(UnsupportedModel, match="value 2: partial sums up to 3145728000"):
        lower(b.graph(), b.weights)


def test_descriptors_that_are_too_long() -> None:
    b = Builder(np.random.default_rng(0))
    x = b.input((2, 2, 2, 2))
    term = Term(1, x, View.identity((2, 2, 2, 2)))
    b.add(Affine((2, 2, 2, 2), (term,) * 600))
    with pytest.raises(UnsupportedModel, match="the sum: descriptor: expected at most 65535"):
        lower(b.graph(), b.weights, {1: "the sum"})


def test_tables_with_too_many_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a rule's intervals, of a sum's view and of a view that a maximum takes in; by name."""
    for module in (rows, views):
        monkeypatch.setattr(module, "MAX_RECORDS", 6)
    short, long = (Steps(tuple(range(n)), tuple(range(n + 1))) for n in (2, 6))
    for functions, channel in (((long,), ()), ((short, replace(short, values=(1, 2, 4))), (1,))):
        b = Builder(np.random.default_rng(0))
        x = b.input((1, len(functions)))
        b.add(Step(x, (1, len(functions)), functions, channel))
        if channel:
            lower(b.graph(), b.weights)  # 3 + 3
            monkeypatch.setattr(rows, "MAX_RECORDS", 5)
        with pytest.raises(UnsupportedModel, match="the step: a table of intervals: expected"):
            lower(b.graph(), b.weights, {1: "the step"})
    order = (5, 0, 7, 1, 3, 2, 6)
    scattered = AxisMap.of(7, 8, ((to, at, 1) for to, at in enumerate(order)))
    view = View((7,), ((0, scattered),))
    b = Builder(np.random.default_rng(0))
    x = b.input((8,))
    b.add(Affine((7,), (Term(1, x, view),)))
    with pytest.raises(UnsupportedModel, match="the sum: a view of 7 x 1 records"):
        lower(b.graph(), b.weights, {1: "the sum"})
    b = Builder(np.random.default_rng(0))
    x, y = b.input((8,)), b.input((7,))
    moved = b.add(Affine((7,), (Term(1, x, view),)))
    b.add(Maximum(moved, y, (7,)))
    with pytest.raises(UnsupportedModel, match="the maximum: a view of 7 x 1 records"):
        lower(b.graph(), b.weights, {3: "the maximum"})


def test_constants_and_passed_inputs() -> None:
    """An output that is a constant has an operator; an input only where there is no other."""
    b = Builder(np.random.default_rng(0))
    x, w = b.input((3,)), b.weight((2, 2))
    graph = b.graph(x, w, b.add(Reshape(x, (1, 3))))
    run = Run.of(graph, b.weights, b.feed())
    kinds = [port.source for port in run.program.outputs]
    assert kinds == [Source.INPUT, Source.OPERATOR, Source.INPUT]
    assert agree(run, b.rng) == 4
    alone = b.graph(x)
    program, _ = lower(alone, b.weights)
    assert [port.source for port in program.outputs] == [Source.OPERATOR]
