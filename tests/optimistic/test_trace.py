"""Runs with their commitments: what is kept, what is computed again, how much memory it takes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.circuits.execute import Executor
from proofml.errors import BackendFailed, UsageError
from proofml.optimistic.commit import commit_tensor, leaves_of, tensor_root, trace_tree
from proofml.optimistic.folding import apply_rule
from proofml.optimistic.program import Source
from proofml.optimistic.trace import Machine, Trace

from ..circuits.oracle import Builder, random_graph
from ..sumcheck.graphs import CASES, Case
from .test_lower import some_outputs


def machine_of(b: Builder, seed: int) -> Machine:
    return Machine.of(some_outputs(b, np.random.default_rng(seed)), b.weights)


def inputs_of(machine: Machine, feed: dict[int, np.ndarray]) -> list[np.ndarray]:
    return [feed[port.value] for port in machine.graph.inputs]


def checked(machine: Machine, trace: Trace) -> None:
    """Every root against a run that keeps all."""
    feed = {p.value: x for p, x in zip(machine.graph.inputs, trace.inputs, strict=True)}
    values = machine.executor.run(feed)
    operators = machine.program.operators
    roots = [
        tensor_root(operator.cells, values[value])
        for operator, value in zip(operators, machine.tables.values, strict=True)
    ]
    inputs = [
        tensor_root(port.cells, x)
        for port, x in zip(machine.program.inputs, trace.inputs, strict=True)
    ]
    assert trace.leaves == leaves_of(machine.program, inputs, roots)
    assert trace.root == trace_tree(trace.leaves).root
    assert len(trace.output_roots) == len(machine.graph.outputs)
    for port, made, root, array in zip(
        machine.graph.outputs,
        machine.program.outputs,
        trace.output_roots,
        trace.outputs,
        strict=True,
    ):
        np.testing.assert_array_equal(array, values[port.value])
        assert root == tensor_root(made.cells, array)
    for number, value in enumerate(machine.tables.values):
        np.testing.assert_array_equal(trace.tensor(number), values[value])


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_any_graph(seed: int, keep: bool) -> None:
    b = random_graph(seed)
    machine = machine_of(b, seed)
    trace = machine.run(inputs_of(machine, b.feed()), keep=keep)
    checked(machine, trace)


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_streams(seed: int) -> None:
    """Each value once, in order, as `run` computes it, whatever is wanted and given."""
    b, rng = random_graph(seed), np.random.default_rng(seed)
    graph = some_outputs(b, rng)
    executor, feed = Executor(graph, b.weights), b.feed()
    values = executor.run(feed)

    def agree(found: list[tuple[int, np.ndarray]], wanted: list[int]) -> None:
        assert [value for value, _ in found] == wanted
        for value, array in found:
            np.testing.assert_array_equal(array, values[value])
            assert array.shape == graph.shape(value)

    agree(list(executor.stream(feed)), list(range(len(values))))
    some = sorted({int(v) for v in rng.integers(0, len(values), 3)})
    agree(list(executor.stream(feed, wanted=some)), some)
    known = {int(v): values[v] for v in rng.integers(0, len(values), 2)}
    agree(list(executor.stream(feed, wanted=some, given=known)), some)
    everything = dict(enumerate(values))
    agree(list(executor.stream({}, wanted=some, given=everything)), some)


def case_run(name: str, keep: bool = False) -> tuple[Case, Trace]:
    case = CASES[name]()
    machine = Machine.of(case.graph, case.weights)
    return case, machine.run(inputs_of(machine, case.inputs()), keep=keep)


@pytest.mark.parametrize("name", CASES)
def test_states_end_in_the_cell(name: str) -> None:
    _, trace = case_run(name)
    for number, operator in enumerate(trace.program.operators):
        tensor = trace.tensor(number).reshape(-1)
        table = operator.output.table
        records = None if table is None else trace.machine.tables.records(table)
        for cell in (0, tensor.size - 1):
            state = int(trace.states(number, cell)[-1])
            assert apply_rule(operator, cell, state, records) == tensor[cell]


def test_operands_are_what_the_leaf_says() -> None:
    for name in ("several", "argmaxes", "conv"):
        _, trace = case_run(name)
        seen = set()
        for leaf, operator in zip(trace.leaves, trace.program.operators, strict=True):
            for number, operand in enumerate(operator.operands):
                assert trace.operand(leaf.index, number).root == leaf.inputs[number]
                seen.add(operand.source)
        assert seen >= {Source.INPUT}


def test_what_is_given_is_not_computed() -> None:
    """A changed tensor goes on through what reads it, and nowhere else."""
    _, honest = case_run("mlp", keep=True)
    machine = honest.machine
    changed = honest.tensor(0)
    changed[0, 0] += 1 if changed[0, 0] < machine.program.operators[0].cells.high else -1
    trace = machine.run(honest.inputs, given={0: changed})
    assert trace.leaves[0].inputs == honest.leaves[0].inputs
    assert trace.leaves[0].output == tensor_root(machine.program.operators[0].cells, changed)
    assert trace.leaves[1].inputs[0] == trace.leaves[0].output
    np.testing.assert_array_equal(trace.tensor(0), changed)
    trace.forget()
    assert trace.committed(1).root == trace.leaves[1].output


def test_a_second_run_must_agree() -> None:
    _, trace = case_run("conv")
    assert not trace._kept
    first = trace.committed(0)
    assert trace.committed(0) is first
    trace.forget()
    trace.leaves = (trace.leaves[0].__class__(0, trace.leaves[0].inputs, bytes(32)),)
    with pytest.raises(BackendFailed, match="not deterministic"):
        trace.committed(0)


def test_wrong_inputs() -> None:
    case = CASES["mlp"]()
    machine = Machine.of(case.graph, case.weights)
    good = inputs_of(machine, case.inputs())
    for wrong, message in (
        ([], "expected 1 inputs, got 0"),
        ([good[0][:1]], "expected int64"),
        ([good[0] + 100], "expected -13 to 20"),
    ):
        with pytest.raises(UsageError, match=message):
            machine.run(wrong)
    with pytest.raises(UsageError, match="'x0' is missing"):
        machine.encode({})
    with pytest.raises(UsageError, match="expected dtype int8"):
        machine.encode({"x0": np.zeros((3, 6))})
    np.testing.assert_array_equal(machine.encode({"x0": good[0].astype(np.int8)})[0], good[0])


def test_memory_of_a_run() -> None:
    """A chain of large tensors: a trace takes little more than the largest two of them."""
    b = Builder(np.random.default_rng(0))
    x = b.input((1, 4, 64, 64))
    for _ in range(12):
        x = b.requant(b.conv(x, 4, 3, pad=1))
    machine = Machine.of(b.graph(), b.weights)
    inputs = inputs_of(machine, b.feed())

    def peak(action: object) -> int:
        tracemalloc.start()
        try:
            action()  # type: ignore[operator]
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    feed = {port.value: array for port, array in zip(machine.graph.inputs, inputs, strict=True)}
    kept = peak(lambda: machine.executor.run(feed))
    plain = peak(lambda: [None for _ in machine.executor.stream(feed)])
    traced = peak(lambda: machine.run(inputs))
    assert traced < 2 * plain
    assert traced < kept / 2


def test_trees_are_kept_only_on_demand() -> None:
    _, kept = case_run("conv", keep=True)
    assert set(kept._kept) == set(range(len(kept.leaves)))
    for number, operator in enumerate(kept.program.operators):
        made = commit_tensor(operator.cells, kept.tensor(number))
        assert made.root == kept.leaves[number].output
        assert made.opening(0) == kept.committed(number).opening(0)
