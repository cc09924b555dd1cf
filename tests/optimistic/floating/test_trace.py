"""Commitment and publication: roots, leaves, wiring, and what a reader does with hostile bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.canonical import dumps
from proofml.errors import UsageError, VerificationError
from proofml.optimistic.floating.bounds import Basis, Bounds
from proofml.optimistic.floating.check import Judge, miswired
from proofml.optimistic.floating.digests import bind, chunk_roots, tensor_digests, tree_of
from proofml.optimistic.floating.expose import pieces
from proofml.optimistic.floating.finding import Verdict
from proofml.optimistic.floating.plan import Plan
from proofml.optimistic.floating.settings import Settings
from proofml.optimistic.floating.stages import Engine, Singles, record
from proofml.optimistic.floating.trace import (
    RECORD,
    FloatTrace,
    Leaf,
    Recorder,
    file_name,
    read_trace,
    trace_of_arrays,
)
from proofml.optimistic.merkle import leaf_hash, root_of, tree_of_leaves
from proofml.optimistic.wire import WireError
from proofml.tensors import Array

from .parts import made_by, plan_for, run, small_network, trace_for

THEORY = Bounds(Basis.THEORETICAL)


@pytest.fixture(scope="module", params=[False, True], ids=["single", "grouped"])
def plan(request: pytest.FixtureRequest) -> Plan:
    model, inputs = small_network()
    return plan_for(model, inputs, grouped=request.param)


def inputs() -> dict[str, Array]:
    return small_network()[1]


def published(plan: Plan, folder: Path) -> FloatTrace:
    """As the stage does it."""
    recorder = Recorder(plan, folder)
    record(Engine(plan, Settings(), piece_bytes=4096), [inputs()["x"]], recorder)
    return recorder.finish()


# -- digests ------------------------------------------------------------------------------------


def test_digest_of_a_tensor() -> None:
    """By hand: chunks of 1024 bytes, a tree, then type and dims."""
    array = np.arange(300, dtype=np.float32).reshape(3, 100)
    data = array.tobytes()
    leaves = [hashlib.sha256(b"\0" + part).digest() for part in (data[:1024], data[1024:])]
    root = hashlib.sha256(b"\1" + b"".join(leaves)).digest()
    head = bytes([3, 10, 2]) + (3).to_bytes(4, "big") + (100).to_bytes(4, "big")
    assert chunk_roots([array]) == [root]
    assert tensor_digests([array]) == [hashlib.sha256(head + root).digest()]
    assert bind("float32", (3, 100), root) == tensor_digests([array])[0]
    tree = tree_of(array)
    assert root_of(data[1024:], 1, 2, tree.path(1)) == tree.root == root


def test_digests_tell_apart() -> None:
    array = np.arange(6, dtype=np.float32)
    others = [array.reshape(2, 3), array.view(np.int32), array[:5], array.astype(np.float64),
              np.empty((0, 3), np.float32), np.empty((3, 0), np.float32)]  # fmt: skip
    digests = tensor_digests([array, *others])
    assert len(set(digests)) == len(digests)
    assert tensor_digests([array.astype(">f4"), np.asfortranarray(array.reshape(2, 3))]) == [
        digests[0], digests[1],
    ]  # fmt: skip
    assert chunk_roots([others[-1]]) == [leaf_hash(b"")]


@given(st.integers(0, 2**32 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=4),
       st.lists(st.binary(min_size=32, max_size=32), max_size=4))  # fmt: skip
def test_leaves_read_back(index: int, reads: list[bytes], makes: list[bytes]) -> None:
    leaf = Leaf(index, tuple(reads), tuple(makes))
    assert Leaf.read(leaf.to_bytes()) == leaf
    for broken in (leaf.to_bytes() + b"\0", leaf.to_bytes()[:-1]):
        with pytest.raises(WireError):
            Leaf.read(broken)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_leaf_or_refused(data: bytes) -> None:
    try:
        leaf = Leaf.read(data)
    except WireError:
        return
    assert leaf.to_bytes() == data


# -- traces -------------------------------------------------------------------------------------


def test_the_root_is_over_all_operators(plan: Plan, tmp_path: Path) -> None:
    values = run(plan, inputs())
    trace = trace_for(plan, values)
    assert trace.root == tree_of_leaves([leaf.to_bytes() for leaf in trace.leaves]).root
    assert trace.root == published(plan, tmp_path).root
    for ref in values:
        for bits in (1, 1 << 30):
            changed = {key: array.copy() for key, array in values.items()}
            changed[ref].view(np.uint32).flat[-1] ^= np.uint32(bits)
            assert trace_for(plan, changed).root != trace.root


def test_leaves_carry_the_wiring(plan: Plan) -> None:
    trace = trace_for(plan, run(plan, inputs()))
    for operator, leaf in zip(plan.operators, trace.leaves, strict=True):
        assert leaf.inputs == tuple(trace.tensor(ref).digest for ref in operator.inputs)
        assert leaf.outputs == tuple(tensor.digest for tensor in trace.outputs[operator.index])
    assert trace.results()[0].shape == (1, 10)


def test_pieces_free_what_they_no_longer_need(plan: Plan) -> None:
    cut = pieces(plan, 4096)
    assert len(cut) > 1
    assert [piece.first for piece in cut[1:]] == [piece.last for piece in cut[:-1]]
    made = {ref for piece in cut for ref in piece.makes}
    freed = [ref for piece in cut for ref in piece.frees]
    assert len(freed) == len(set(freed))
    assert made - set(freed) == set(plan.ports)
    whole = pieces(plan, 1 << 40)
    assert len(whole) == 1
    assert whole[0].reads == (("x", plan.operators[0].inputs[0]),)


def test_published_and_read(plan: Plan, tmp_path: Path) -> None:
    trace = published(plan, tmp_path)
    found = read_trace(plan, tmp_path)
    assert found.root == trace.root
    assert found.to_json() == trace.to_json()
    memory = trace_for(plan, run(plan, inputs()))
    for ref in memory.arrays:
        assert found.array(ref).tobytes() == memory.arrays[ref].tobytes()
        assert (tmp_path / file_name(ref)).read_bytes() == memory.arrays[ref].tobytes()


def test_withheld_data(plan: Plan, tmp_path: Path) -> None:
    """Missing, cut, or other bytes than were committed: the operators that need them say so."""
    published(plan, tmp_path)
    trace = read_trace(plan, tmp_path)
    judge = Judge(plan, Singles().evaluate)
    path = tmp_path / file_name(made_by(1))
    data = bytearray(path.read_bytes())

    def verdicts() -> list[Verdict]:
        found = [judge.operator(trace, operator.index, THEORY) for operator in plan.operators]
        return [finding.verdict for finding in found]

    touched = [operator.index == 1 or made_by(1) in operator.inputs for operator in plan.operators]
    expected = [Verdict.WITHHELD if touch else Verdict.INSIDE for touch in touched]
    assert verdicts() == [Verdict.INSIDE] * len(expected)
    data[5] ^= 1
    path.write_bytes(data)
    assert verdicts() == expected
    path.write_bytes(data[:-1])
    assert verdicts() == expected
    path.unlink()
    assert verdicts() == expected
    with pytest.raises(VerificationError, match=r"float\.1.*not published"):
        trace.array(made_by(1))


def test_rewired_operators(plan: Plan) -> None:
    """The leaf of one operator names another tensor than its producer made."""
    trace = trace_for(plan, run(plan, inputs()))
    judge = Judge(plan, Singles().evaluate)
    index = len(plan.operators) - 1
    leaves = list(trace.leaves)
    leaves[index] = dataclasses.replace(leaves[index], inputs=(trace.leaves[0].outputs[0],))
    rewired = dataclasses.replace(trace, leaves=tuple(leaves))
    assert rewired.root != trace.root
    finding = judge.operator(rewired, index, THEORY)
    assert finding.verdict is Verdict.MISWIRED
    assert "operand 0 is from operator" in finding.detail
    assert all(judge.operator(rewired, i, THEORY).inside for i in range(index))
    # A weight that is not the model's, and one operand too few.
    first = trace.leaves[0]
    for reads in ((first.inputs[0], bytes(32), *first.inputs[2:]), first.inputs[:-1]):
        leaves = [dataclasses.replace(first, inputs=reads), *trace.leaves[1:]]
        assert miswired(dataclasses.replace(trace, leaves=tuple(leaves)), 0)
    assert miswired(trace, 0) is None


def test_a_trace_of_another_program(tmp_path: Path) -> None:
    model, arrays = small_network()
    single, grouped = plan_for(model, arrays), plan_for(model, arrays, grouped=True)
    published(single, tmp_path)
    with pytest.raises(VerificationError, match=r"float\.0.*another program"):
        read_trace(grouped, tmp_path)


def test_hostile_records(plan: Plan, tmp_path: Path) -> None:
    published(plan, tmp_path)
    record_path = tmp_path / RECORD
    good = json.loads(record_path.read_bytes())

    def refused(change: dict[str, object], words: str) -> None:
        record_path.write_bytes(dumps({**good, **change}))
        with pytest.raises(VerificationError, match=words) as caught:
            read_trace(plan, tmp_path)
        assert caught.value.check == "float.0"

    refused({"root": "00" * 32}, "root")
    refused({"version": 2}, "version")
    refused({"operators": good["operators"][:-1]}, "one tensor for each")
    refused({"inputs": []}, "one tensor for each")
    refused({"more": 1}, "more")
    first = good["operators"][0]
    output = first["outputs"][0]
    for bad in (
        {**output, "shape": [1 << 31, 1 << 31]},
        {**output, "shape": [-1]},
        {**output, "dtype": "bfloat16"},
        {**output, "digest": "zz"},
    ):
        operators = [{**first, "outputs": [bad]}, *good["operators"][1:]]
        refused({"operators": operators}, "operators")
    record_path.unlink()
    with pytest.raises(VerificationError, match="No such file"):
        read_trace(plan, tmp_path)


@given(st.binary(max_size=300))
def test_any_bytes_are_no_trace(data: bytes) -> None:
    import tempfile

    model, arrays = small_network()
    plan = _PLANS.setdefault("single", plan_for(model, arrays))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / RECORD).write_bytes(data)
        with pytest.raises(VerificationError):
            read_trace(plan, Path(folder))


_PLANS: dict[str, Plan] = {}


def test_misshapen_outputs(plan: Plan) -> None:
    values = run(plan, inputs())
    judge = Judge(plan, Singles().evaluate)
    last = len(plan.operators) - 1
    for lie in (
        values[made_by(last)].reshape(10),
        values[made_by(last)].astype(np.float64),
        values[made_by(last)][:, :9],
    ):
        trace = trace_for(plan, {**values, made_by(last): lie})
        finding = judge.operator(trace, last, THEORY)
        assert finding.verdict is Verdict.MISSHAPEN
        assert str(lie.dtype) in finding.detail


def test_only_numbers_are_recorded(plan: Plan) -> None:
    values = run(plan, inputs())
    bad = {**values, made_by(0): np.zeros(2, np.complex64)}
    with pytest.raises(UsageError, match="complex64"):
        trace_of_arrays(plan, [inputs()["x"]], bad)
