"""Descriptors, headers and leaves: any bytes are one of them, in one way, or an error."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.optimistic import encoding
from proofml.optimistic.commit import (
    BadLeaf,
    TraceLeaf,
    header_of,
    leaves_of,
    program_root,
    read_leaf,
    trace_tree,
)
from proofml.optimistic.encoding import BadDescriptor, descriptor, read_header, read_operator
from proofml.optimistic.lower import lower
from proofml.optimistic.program import (
    Axis,
    Cells,
    Fold,
    Operand,
    Operator,
    Output,
    Part,
    Program,
    Rule,
    Source,
    Table,
)
from proofml.optimistic.wire import WireError

from ..circuits.oracle import random_graph, random_outputs
from ..sumcheck.graphs import CASES


@cache
def programs() -> tuple[Program, ...]:
    found = [lower(case().graph, case().weights)[0] for case in CASES.values()]
    for seed in range(40):
        b = random_graph(seed)
        found.append(lower(random_outputs(b), b.weights)[0])
    return tuple(found)


@cache
def operators() -> tuple[tuple[int, Operator], ...]:
    return tuple(pair for program in programs() for pair in enumerate(program.operators))


def test_round_trips() -> None:
    for number, operator in operators():
        data = descriptor(operator)
        assert read_operator(data, number) == replace(operator, name="")
        assert read_operator(data, name=operator.name) == operator
    for program in programs():
        header = header_of(program)
        assert read_header(header.to_bytes()) == header
        assert header.root == program_root(program)


def test_all_kinds_are_among_them() -> None:
    found = [operator for _, operator in operators()]
    assert {operator.fold for operator in found} == set(Fold)
    assert {operator.output.rule for operator in found} == set(Rule)
    parts = [part for operator in found for part in operator.parts]
    sides = [side for part in parts for side in (part.left, part.right) if side is not None]
    assert {side.source for side in sides} == set(Source)
    axes = [axis for side in sides for axis in side.axes]
    assert any(axis.table for axis in axes)
    assert any(axis.offset < 0 and axis.out >= 0 and axis.sum >= 0 for axis in axes)


def test_roots_depend_on_everything() -> None:
    program = next(p for p in programs() if len(p.operators) > 2 and p.inputs)
    port = program.outputs[0]
    others = [
        replace(program, root=bytes(32)),
        replace(program, operators=program.operators[:-1]),
        replace(program, inputs=()),
        replace(program, outputs=(*program.outputs, port)),
        replace(program, outputs=(replace(port, index=port.index ^ 1),)),
        replace(program, outputs=(replace(port, cells=Cells.of(port.cells.shape, -1, 0)),)),
    ]
    roots = {program_root(other) for other in (program, *others)}
    assert len(roots) == 1 + len(others)
    named = replace(program, outputs=(replace(port, name="other"), *program.outputs[1:]))
    assert program_root(named) == program_root(program)


changes = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3)


def mutated(data: bytes, places: list[tuple[float, int]], cut: float) -> bytes:
    result = bytearray(data)
    for place, byte in places:
        result[int(place * (len(data) - 1))] = byte
    return bytes(result[: int(cut * len(result))])


@given(st.integers(0, 10_000), changes, st.one_of(st.just(1.0), st.floats(0, 1)))
def test_any_descriptor(which: int, places: list[tuple[float, int]], cut: float) -> None:
    """An operator of which these are the only bytes, or BadDescriptor."""
    number, operator = operators()[which % len(operators())]
    data = mutated(descriptor(operator), places, cut)
    try:
        found = read_operator(data, number)
    except BadDescriptor:
        assert data != descriptor(operator)
    else:
        assert descriptor(found) == data


@given(st.integers(0, 10_000), changes, st.one_of(st.just(1.0), st.floats(0, 1)))
def test_any_header(which: int, places: list[tuple[float, int]], cut: float) -> None:
    header = header_of(programs()[which % len(programs())])
    data = mutated(header.to_bytes(), places, cut)
    try:
        found = read_header(data)
    except BadDescriptor:
        assert data != header.to_bytes()
    else:
        assert found.to_bytes() == data


@given(st.binary(max_size=200))
def test_any_leaf(data: bytes) -> None:
    try:
        leaf = read_leaf(data)
    except BadLeaf:
        assert len(data) < 38 or len(data) != 38 + 32 * int.from_bytes(data[4:6], "big")
    else:
        assert leaf.to_bytes() == data


def test_leaves_are_wired() -> None:
    for program in programs()[:15]:
        inputs = [bytes([1, i]) * 16 for i in range(len(program.inputs))]
        outputs = [bytes([2, i]) * 16 for i in range(len(program.operators))]
        leaves = leaves_of(program, inputs, outputs)
        for leaf, operator in zip(leaves, program.operators, strict=True):
            assert read_leaf(leaf.to_bytes()) == leaf
            assert leaf.output == outputs[leaf.index]
            assert len(leaf.inputs) == len(operator.operands)
            for root, operand in zip(leaf.inputs, operator.operands, strict=True):
                kind = {Source.INPUT: inputs, Source.OPERATOR: outputs}.get(operand.source)
                assert root == (operand.root if kind is None else kind[operand.index])
        assert trace_tree(leaves).count == len(leaves)


def simple() -> Operator:
    """`y[i, c] = requant_c(sum over k of w[i, k] * w[i, k])`."""
    cells = Cells.of((2, 5), -9, 9)
    operand = Operand(
        Source.WEIGHT, 0, cells, (Axis(2, 0, stride=1), Axis(5, sum=0, dilation=1)), b"r" * 32
    )
    part = Part(1, (5,), operand, operand)
    return Operator(
        Fold.SUM, cells, (part,), Output(Rule.REQUANT, (1,), Table(b"t" * 32, 5, 12)), "x"
    )


def spoilt() -> dict[str, Operator]:
    """One rule broken in each."""
    good = simple()
    part, output = good.parts[0], good.output
    left = part.left
    table = output.table
    assert table is not None

    def with_part(**more: object) -> Operator:
        return replace(good, parts=(replace(part, **more),))  # type: ignore[arg-type]

    def with_left(**more: object) -> Operator:
        return with_part(left=replace(left, **more))

    def with_axis(**more: object) -> Operator:
        return with_left(axes=(left.axes[0], replace(left.axes[1], **more)))  # type: ignore[arg-type]

    def with_cells(*cells: object) -> Operator:
        return replace(good, cells=Cells(*cells))  # type: ignore[arg-type]

    def with_output(**more: object) -> Operator:
        return replace(good, output=replace(output, **more))  # type: ignore[arg-type]

    axis_table = Table(b"a" * 32, 5, 8)
    return {
        "expected at least one": replace(good, parts=()),
        "width: expected": with_cells((2, 5), 2, -9, 9),
        "expected an int32 range": with_cells((2, 5), 4, -9, 1 << 31),
        "shape: expected": with_cells((1,) * 9, 1, -9, 9),
        "expected at most 67108864 cells": with_cells((1 << 13, 1 << 14), 1, -9, 9),
        "coefficient: expected": with_part(coefficient=1 << 31),
        "sums: expected": with_part(sums=(1,) * 9),
        "expected one part with one sum": replace(
            good,
            fold=Fold.ARGMAX,
            parts=(replace(part, right=None), replace(part, right=None)),
            output=Output(),
        ),
        "expected coefficient 1 and one operand": replace(good, fold=Fold.MAXIMUM),
        "ones: expected": with_left(source=Source.ONES),
        "expected a root of": with_left(root=b"r"),
        "where it is a weight's": with_left(source=Source.INPUT),
        "expected axes of the lengths": with_left(axes=left.axes[:1]),
        "index: expected": with_left(index=1 << 32),
        "axis and a sum that exist": with_axis(sum=1),
        "axis and a sum that exist, got Axis(length=5, out=2": with_axis(out=2),
        "step 0 where there is no axis": with_axis(stride=3),
        "int32 steps": with_axis(offset=1 << 31),
        "no steps beside a table": with_axis(table=axis_table),
        "5 records of 8 bytes": with_axis(dilation=0, table=replace(axis_table, count=6)),
        "a root, and records": with_axis(dilation=0, table=replace(axis_table, root=b"")),
        "expected ascending axes": with_output(channel=(1, 0)),
        "expected axes below 2": with_output(channel=(2,)),
        "no table and no channels": with_output(rule=Rule.RELU),
        "a table of 12-byte records": with_output(table=replace(table, size=16)),
        "a table of 16-byte records": with_output(rule=Rule.INTERVALS),
        "records of 5 channels, got 6": with_output(table=replace(table, count=6)),
        "records of 5 channels, got 4": with_output(
            rule=Rule.INTERVALS, table=replace(table, size=16, count=4)
        ),
    }


@pytest.mark.parametrize("message", spoilt())
def test_rules(message: str) -> None:
    encoding.check(simple())
    with pytest.raises(WireError) as caught:
        descriptor(spoilt()[message])
    assert message in str(caught.value)


def test_only_earlier_operators_are_read() -> None:
    number, operator = next(
        (number, operator)
        for number, operator in operators()
        if any(operand.source is Source.OPERATOR for operand in operator.operands)
    )
    data = descriptor(operator)
    last = max(o.index for o in operator.operands if o.source is Source.OPERATOR)
    assert read_operator(data, last + 1) == read_operator(data, number) == read_operator(data)
    for wrong in (last, 0):
        with pytest.raises(BadDescriptor, match=f"an operator before {wrong}, got"):
            read_operator(data, wrong)


def test_too_long() -> None:
    good = simple()
    with pytest.raises(WireError, match="at most 65535 bytes"):
        descriptor(replace(good, parts=good.parts * 400))
    with pytest.raises(WireError, match="at most 65535 bytes"):
        TraceLeaf(0, (bytes(32),) * 2047, bytes(32)).to_bytes()
    with pytest.raises(BadDescriptor, match="version: expected 1, got 2"):
        read_operator(b"\x02" + descriptor(good)[1:])
    with pytest.raises(BadDescriptor, match="fold: expected 0 to 2, got 3"):
        read_operator(b"\x01\x03" + descriptor(good)[2:])
