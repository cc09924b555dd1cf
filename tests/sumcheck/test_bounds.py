"""What a verifier does not begin to work on, and verifying keys that are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from proofml.canonical import dumps, loads
from proofml.circuits.functions import Table
from proofml.errors import BackendFailed, VerificationError
from proofml.fields import FieldError
from proofml.worker.limits import Limits
from proofml.zkml.sumcheck import bounds, merkle
from proofml.zkml.sumcheck.bounds import check_bits, check_memory, check_parameters, most_bytes
from proofml.zkml.sumcheck.circuit import Circuit, read_circuit
from proofml.zkml.sumcheck.layout import Block, Layout, Stack
from proofml.zkml.sumcheck.params import Params
from proofml.zkml.sumcheck.soundness import Report, Term

from .graphs import CASES, Builder
from .malicious import Lie, Trial


def layout_of(x: int, w: int | None = None) -> Layout:
    """A layout whose trees have this size; nothing else of it is looked at."""
    trees = {"X": x} | ({} if w is None else {"W": w})
    stacks = {name: Stack.of([Block("b", (1 << log,))]) for name, log in trees.items()}
    return replace(CASES["tiny"]().layout, trees=stacks)


@pytest.mark.parametrize(
    ("x", "good", "bad"),
    [
        (9, Params(9, (), 3), Params(10, (), 3)),
        (9, Params(0, (), 3), None),
        (9, Params(5, (), 4), Params(5, (), 5)),
        (9, Params(5, (), 1), Params(5, (), 0)),
        # A row of at most 2^12 numbers.
        (20, Params(8, (), 3), Params(7, (), 3)),
        (12, Params(0, (), 3), None),
        (13, Params(1, (), 3), Params(0, (), 3)),
        # A domain of 2^18 is always taken; for larger trees four times the usual one.
        (16, Params(14, (4,), 4), Params(15, (4,), 4)),
        (16, Params(16, (4,), 2), Params(16, (4,), 3)),
        (24, Params(19, (7,), 3), Params(20, (8,), 3)),
        # A final vector of at most 2^12 elements, and at least one.
        (9, Params(9, (5, 4), 3), None),
        (14, Params(13, (1,), 3), Params(13, (), 3)),
        (14, Params(14, (2,), 3), Params(14, (1,), 3)),
    ],
)
def test_parameters_in_proportion(x: int, good: Params, bad: Params | None) -> None:
    check_parameters(good, layout_of(x))
    if bad is not None:
        with pytest.raises(VerificationError) as error:
            check_parameters(bad, layout_of(x))
        assert error.value.check == "sumcheck.3"


def test_the_largest_tree_counts() -> None:
    for layout in (layout_of(5, 14), layout_of(14, 5)):
        check_parameters(Params(14, (2,), 3), layout)
        with pytest.raises(VerificationError):
            check_parameters(Params(15, (3,), 3), layout)


def test_bits_below_which_nothing_is_a_proof() -> None:
    check_bits(Report((Term("a", 80.0, 1, "own", "here"),)))
    with pytest.raises(VerificationError) as error:
        check_bits(Report((Term("a", 79.99, 1, "own", "here"),)))
    assert error.value.check == "sumcheck.3"
    assert bounds.MIN_BITS == 80


def test_memory_for_the_code_word_of_the_weights() -> None:
    """2^13 rows of 2^2 numbers of 4 bytes, and two digests for each."""
    layout, params = layout_of(3, 12), Params(10, (), 3)
    needed = (1 << 13) * (16 + 64)
    check_memory(params, layout, Limits(memory=needed))
    for tree, word in (("W", "weights"), ("X", "committed tensors")):
        own = needed if tree == "W" else (1 << 13) * (4 + 64)
        check_memory(params, layout, Limits(memory=own), tree)
        with pytest.raises(BackendFailed, match=word):
            check_memory(params, layout, Limits(memory=own - 1), tree)
    check_memory(params, layout_of(3), Limits(memory=1))
    check_memory(params, layout, Limits())
    with pytest.raises(BackendFailed, match="weights takes about 8704 MiB"):
        check_memory(Params(24, (), 3), layout_of(3, 24), Limits())
    assert bounds.MEMORY == 4 << 30


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("queries", [1, 40])
def test_no_honest_proof_is_longer(name: str, queries: int) -> None:
    """And with one query, in a tree of one column each, nothing is shared: the bound is met."""
    run = Trial.of(name)
    params = replace(run.key.circuit.params, queries=queries)
    run = Trial.of(name, params=params)
    proof = run.prove(Lie())
    most = most_bytes(run.key.circuit)
    assert len(proof) <= most
    if queries == 1:
        # Claims and challenges are counted exactly; see `count`.
        assert len(proof) == most


def test_a_verifying_key_is_read_strictly() -> None:
    circuit = Trial.of("committed").key.circuit
    value = loads(circuit.bytes)
    assert isinstance(value, dict)
    assert read_circuit(circuit.bytes).digest == circuit.digest
    shown = {"inputs": False, "outputs": True}
    for change in (
        {"version": 0},
        {"version": 2},
        {"more": 1},
        {"model_root": None},
        {"model_root": "00"},
        {"visibility": {**shown, "more": True}},
        {"visibility": {"inputs": False}},
        {"visibility": {**shown, "inputs": 0}},
        # An output that has no column of its own, hidden: the layout refuses.
        {"visibility": {"inputs": True, "outputs": False}},
        {"parameters": None},
        {"graph": None},
    ):
        with pytest.raises(FieldError):
            read_circuit(dumps(value | change))
    for data in (b"", b"{", b"[]", circuit.bytes + b" ", circuit.bytes[:-1]):
        with pytest.raises(FieldError):
            read_circuit(data)


def test_a_verifying_key_with_too_many_claims() -> None:
    b = Builder()
    h = b.functions(b.input(2, low=0, high=0), [Table(0, (0,))])
    for _ in range(40):
        h = b.affine((2,), b.term(h), b.term(h))
    b.output(b.functions(h, [Table(0, (0,))]))
    circuit = Circuit(b.case().graph, Params(4, ()), None)
    with pytest.raises(FieldError, match="within bounds"):
        read_circuit(circuit.bytes)


@pytest.mark.parametrize("count", [0, 3, 5, 6, 7])
def test_trees_have_a_power_of_two_of_rows(count: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        merkle.build("X", [b""] * count)


def test_roots_are_those_of_the_definition() -> None:
    from hashlib import sha256

    def leaf(i: int) -> bytes:
        return sha256(b"\x10\x02F0" + bytes([i])).digest()

    def node(a: bytes, b: bytes) -> bytes:
        return sha256(b"\x11" + a + b).digest()

    rows = [bytes([i]) for i in range(4)]
    wanted = node(node(leaf(0), leaf(1)), node(leaf(2), leaf(3)))
    nodes = merkle.build("F0", rows)
    assert nodes.shape == (8, 32)
    assert nodes.dtype == np.uint8
    assert merkle.root(nodes) == wanted
    assert merkle.root(merkle.build("F0", rows[:1])) == leaf(0)
    assert merkle.open_multi(nodes, [1, 1]) == leaf(0) + node(leaf(2), leaf(3))
    assert merkle.open_multi(nodes, [0, 3]) == leaf(1) + leaf(2)
    assert merkle.open_multi(nodes, [0, 1, 2, 3]) == b""
    assert merkle.open_multi(nodes, []) == b""
