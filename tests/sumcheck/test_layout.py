"""Where everything lies: blocks disjoint and aligned, and every cell that matters under a root."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from proofml.circuits.field import ext5
from proofml.circuits.functions import Table
from proofml.circuits.graph import (
    Affine,
    ArgMax,
    Bind,
    Contraction,
    Input,
    Maximum,
    Reshape,
    Step,
    Weight,
)
from proofml.circuits.tables import TableError
from proofml.fields import FieldError
from proofml.zkml.sumcheck import count as count_module
from proofml.zkml.sumcheck import layout as layout_module
from proofml.zkml.sumcheck.columns import fill, place
from proofml.zkml.sumcheck.count import TooManyClaims, count
from proofml.zkml.sumcheck.layout import (
    MODEL,
    PORTS,
    SALT_CELLS,
    WITNESS,
    Block,
    NotProvable,
    Stack,
    Visibility,
    arrange,
    ceil_log2,
)

from .graphs import CASES, Builder


@pytest.mark.parametrize("name", CASES)
def test_blocks_are_aligned_and_disjoint(name: str) -> None:
    layout = CASES[name]().layout
    for stack in (*layout.trees.values(), layout.leaves):
        used = np.zeros(1 << stack.log, int)
        for block in stack.blocks.values():
            offset = stack.offsets[block.name]
            assert offset % (1 << block.size) == 0
            used[offset : offset + (1 << block.size)] += 1
        assert used.max(initial=0) <= 1
        assert stack.log <= 1 or used.sum() > 1 << (stack.log - 1)


@pytest.mark.parametrize("name", CASES)
def test_every_number_has_a_place(name: str) -> None:
    """Inputs, weights, steps and maxima lie in one tree, or are public."""
    layout = CASES[name]().layout
    shown = {port.value for port in layout.graph.outputs}
    for number, node in enumerate(layout.graph.nodes):
        if isinstance(node, Weight):
            wanted = {MODEL}
        elif isinstance(node, Input):
            wanted = set() if layout.visibility.inputs else {PORTS}
        elif isinstance(node, Maximum):
            wanted = {WITNESS}
        elif isinstance(node, Step):
            alone = number in shown and not layout.graph.consumers[number]
            wanted = {WITNESS}
            if number in shown and not layout.visibility.outputs:
                wanted = {PORTS}
            elif alone:
                wanted = set()
        else:
            wanted = set()
            assert isinstance(node, ArgMax) == (number in layout.public)
        found = {layout.column[number][0]} if number in layout.column else set()
        assert found == wanted, node
        assert (number in layout.public) == (not wanted and isinstance(node, Input | Step | ArgMax))
        if found:
            tree, block = layout.column[number]
            assert layout.trees[tree].blocks[block].shape == node.shape
    for index, lookup in enumerate(layout.lookups):
        assert (f"r{index}" in layout.leaves.blocks) == (lookup.windows >= 0)
        assert (f"d{lookup.node}" in layout.trees[WITNESS].blocks) == (lookup.windows >= 0)
    for index, table in enumerate(layout.plan.tables):
        assert layout.trees[WITNESS].blocks[f"m{index}"].shape == (table.rows,)
        assert layout.leaves.blocks[f"t{index}"].shape == (table.rows,)
    for index, port in enumerate(layout.graph.outputs):
        bound = port.value not in layout.public or isinstance(layout.graph.nodes[port.value], Input)
        assert (index in layout.bound_outputs) == (bound and layout.visibility.outputs)


def test_ports_come_with_salt() -> None:
    layout = CASES["committed"]().layout
    assert layout.trees[PORTS].blocks["salt"].shape == (SALT_CELLS,)
    assert list(layout.trees) == [WITNESS, MODEL, PORTS]
    assert PORTS not in CASES["mlp"]().layout.trees
    assert list(CASES["tiny"]().layout.trees) == [WITNESS]


def test_logs() -> None:
    assert [ceil_log2(n) for n in (1, 2, 3, 4, 5, 8, 9)] == [0, 1, 2, 2, 3, 3, 4]
    block = Block("b", (3, 1, 5))
    assert block.logs == (2, 0, 3)
    assert block.size == 5


def test_trap_14_the_last_axis_has_the_lowest_coordinates() -> None:
    z = [ext5.from_int(i) for i in range(6)]
    assert Block("b", (3, 1, 5)).split(z) == [(z[3], z[4]), (), (z[0], z[1], z[2])]


def test_stacks() -> None:
    stack = Stack.of([Block("a", (2,)), Block("b", (5,)), Block("c", (2,)), Block("d", (1,))])
    assert stack.offsets == {"b": 0, "a": 8, "c": 10, "d": 12}
    assert stack.log == 4
    assert list(stack.blocks) == ["a", "b", "c", "d"]
    assert Stack.of([Block("a", (2,))], 3).log == 3
    assert Stack.of([Block("a", (1,))]).log == 0


def test_filling() -> None:
    stack = Stack.of([Block("a", (2, 3)), Block("b", (2,))])
    cells = fill(stack, {"a": np.arange(6).reshape(2, 3) - 1, "b": np.array([7, 8])}, 4)
    assert cells.tolist() == [2013265920, 0, 1, 0, 2, 3, 4, 0, 7, 8] + [0] * 6
    target = np.zeros(4, np.int64)
    place(target, Block("c", (3,)), 0, np.array([1, 2, 3]))
    assert target.tolist() == [1, 2, 3, 0]


@pytest.mark.parametrize(
    ("left", "right", "sums"),
    [
        ((Bind(out=0), Bind(sum=0)), (Bind(out=0), Bind(sum=0)), (4,)),
        ((Bind(out=0, sum=0), Bind(sum=1)), (Bind(out=0, sum=0), Bind(sum=1)), (3, 4)),
        ((Bind(out=0, sum=0), Bind(sum=1)), (Bind(out=0), Bind(sum=1)), (3, 4)),
    ],
)
def test_an_axis_that_both_operands_have_is_a_group(
    left: tuple[Bind, ...], right: tuple[Bind, ...], sums: tuple[int, ...]
) -> None:
    """The weights of an axis bound on both sides would be counted twice: no such graph exists."""
    b = Builder()
    x, y = b.input(3, 4), b.input(3, 4)
    b.nodes.append(Affine((3,), (), (Contraction(x, y, sums, left, right),), -256, 256))
    b.output(2)
    with pytest.raises(FieldError):
        b.case()
    b.nodes[2] = Affine((3,), (), (Contraction(x, y, (3, 4), *GROUP),), -224, 256)
    b.case()


GROUP = ((Bind(out=0, sum=0), Bind(sum=1)), (Bind(sum=0), Bind(sum=1)))


def test_trap_08_fewer_lookups_than_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 << layout_module.MAX_LEAVES_LOG < 2013265921
    graph = CASES["mlp"]().graph
    log = arrange(graph).leaves.log
    monkeypatch.setattr(layout_module, "MAX_LEAVES_LOG", log)
    arrange(graph)
    monkeypatch.setattr(layout_module, "MAX_LEAVES_LOG", log - 1)
    with pytest.raises(TableError, match="lookups"):
        arrange(graph)


def test_more_claims_than_anybody_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = CASES["several"]().layout
    claims = count(layout).claims
    monkeypatch.setattr(count_module, "MAX_CLAIMS", claims)
    assert count(layout).claims == claims
    monkeypatch.setattr(count_module, "MAX_CLAIMS", claims - 1)
    with pytest.raises(TooManyClaims, match=f"{claims} claims"):
        count(layout)


def test_as_many_claims_of_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    b = Builder()
    b.input(2)
    b.output(b.affine((2,), b.term(b.weight(2)), b.term(b.weight(2))))
    layout = b.case().layout
    monkeypatch.setattr(count_module, "MAX_CLAIMS", 2)
    assert count(layout).claims == 2
    monkeypatch.setattr(count_module, "MAX_CLAIMS", 1)
    with pytest.raises(TooManyClaims, match="value 3: more than 1"):
        count(layout)


def test_a_lookup_about_another_node() -> None:
    """A plan has none; a claim that is not counted would be missing in the bits."""
    layout = CASES["mlp"]().layout
    other = next(i for i, n in enumerate(layout.graph.nodes) if isinstance(n, Affine))
    lookups = (replace(layout.lookups[0], node=other), *layout.lookups[1:])
    with pytest.raises(AssertionError):
        count(replace(layout, plan=replace(layout.plan, lookups=lookups)))


def test_expressions_that_multiply() -> None:
    """Each value twice the one before: 2^40 claims are refused without being listed."""
    b = Builder()
    h = b.functions(b.input(2, low=0, high=0), [Table(0, (0,))])
    for _ in range(40):
        h = b.affine((2,), b.term(h), b.term(h))
    b.output(b.functions(h, [Table(0, (0,))]))
    with pytest.raises(TooManyClaims, match="more than"):
        count(b.case().layout)


@pytest.mark.parametrize("inputs", [True, False])
@pytest.mark.parametrize(
    ("name", "output", "kind"),
    [
        ("linear", "y0", Affine),
        ("reshapes", "y2", Reshape),
        ("pools", "y0", Maximum),
        ("argmaxes", "y0", ArgMax),
        ("committed", "y1", Input),
    ],
)
def test_a_hidden_output_needs_a_column(name: str, output: str, kind: type, inputs: bool) -> None:
    """Only the results of lookups have one, and inputs that are hidden themselves."""
    graph = CASES[name]().graph
    shown = Visibility(inputs=inputs)
    assert arrange(graph, shown).graph is graph
    port = next(port for port in graph.outputs if port.name == output)
    assert type(graph.nodes[port.value]) is kind
    hidden = Visibility(inputs=inputs, outputs=False)
    if kind is Input and not inputs:
        assert arrange(graph, hidden).column[port.value][0] == PORTS
        return
    with pytest.raises(NotProvable, match=f"output '{output}' cannot be committed"):
        arrange(graph, hidden)


def test_hidden_results_of_lookups() -> None:
    """Also those that other nodes read."""
    for name in ("tiny", "mlp", "conv", "views", "channels", "steps"):
        layout = arrange(CASES[name]().graph, Visibility(outputs=False))
        assert layout.bound_outputs == ()
        for port in layout.graph.outputs:
            assert layout.column[port.value][0] == PORTS
            assert port.value not in layout.public


def test_visibility_moves_columns_only() -> None:
    case = CASES["mlp"]()
    public, hidden = arrange(case.graph), arrange(case.graph, Visibility(inputs=False))
    assert set(hidden.column) - set(public.column) == {p.value for p in case.graph.inputs}
    assert len(hidden.lookups) == len(public.lookups) + 1
