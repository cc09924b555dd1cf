"""Lies in single messages, each forged so that the check in front of it passes.

A liar can make any one check pass: it is affine in the last thing that he sent before it. The lie
then moves to the next check, and in the end to the opening, where nothing is left to send.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from proofml.circuits.field import ext5
from proofml.circuits.field.babybear import P
from proofml.circuits.graph import Affine, Maximum, Step
from proofml.zkml.sumcheck.columns import columns_of, place
from proofml.zkml.sumcheck.layout import ceil_log2
from proofml.zkml.sumcheck.params import Params
from proofml.zkml.sumcheck.reduction import OnColumn, OnContraction, argument_parts
from proofml.zkml.sumcheck.weights import AtPoint

from .graphs import CASES
from .malicious import (
    Lie,
    Segment,
    Trial,
    bump,
    copied,
    first_refusal,
    forge,
    put,
    rerun,
    solve,
    witness,
)

Get = Callable[[str], Trial]
ELEMENT = 20


def places(run: Trial, tag: str) -> list[Segment]:
    return [segment for segment in run.log if segment.tag == tag]


class Chain:
    """A lie that is pushed on from check to check by forging what was sent before each."""

    def __init__(self, run: Trial, **witness: object) -> None:
        self.run, self.witness = run, witness
        self.wanted: dict[tuple[str, int, int], tuple[int, ...]] = {}
        self.proof = self._prove()

    def _prove(self) -> bytes:
        def message(tag: str, number: int, data: bytes) -> bytes:
            for (own, which, at), element in self.wanted.items():
                if own == tag and which == number:
                    data = put(data, ELEMENT * at, element)  # type: ignore[arg-type]
            return data

        return self.run.prove(Lie(message=message), **self.witness)  # type: ignore[arg-type]

    @property
    def refused(self) -> str:
        found = first_refusal(self.run, self.proof)
        assert found is not None
        assert self.run.refused(self.proof) == found.check
        return found.check

    def force(self, check: str, tag: str, number: int = -1, at: int = 0) -> None:
        """Choose element `at` of a message so that the check passes."""
        assert self.refused == check
        segments = places(self.run, tag)
        number %= len(segments)
        element = solve(self.run, self.proof, segments[number].start + ELEMENT * at, check)
        self.wanted[tag, number, at] = element
        self.proof = self._prove()


DEEP = Params(6, (3, 3), 2, 8, 2)


def sum_message(run: Trial) -> int:
    """Which "leaf a" message is the first claim on a contraction; terms come before it."""
    sent = 0
    for lookup in run.layout.lookups:
        node = run.case.graph.nodes[lookup.node]
        if not isinstance(node, Step | Maximum):
            continue
        weight = tuple(AtPoint((ext5.ONE,) * ceil_log2(n), n) for n in node.shape)
        for part in argument_parts(run.layout, lookup.node, weight):
            if isinstance(part, OnContraction):
                return sent
            sent += isinstance(part, OnColumn)
    raise AssertionError("no contraction")


@pytest.mark.parametrize("side", ["numerators", "denominators"])
def test_a_lie_from_the_first_check_to_the_last(side: str) -> None:
    """A committed result off by one, and every check after it forged to pass, one by one.

    With nothing left of the final vector but one element, all sumchecks can be made to end well;
    what cannot be made is a code word.
    """
    run = Trial.of("mlp", params=DEEP)
    number = run.layout.lookups[0].node
    low, high = run.key.executor._ranges[number]
    other = bump(run.values[number], low, high)
    assert other is not None
    values = rerun(run, {number: other})
    run.public = run.public_of(values)
    chain = Chain(run, columns=witness(run, values), values=values)
    chain.force("sumcheck.9", "logup root", at=0)
    for layer in range(1, run.layout.leaves.log):
        chain.force("sumcheck.10", "logup evals", layer - 1, at=0 if side == "numerators" else 2)
    if side == "numerators":
        chain.force("sumcheck.11", "leaf m")
    else:
        chain.force("sumcheck.12", "leaf a", sum_message(run))
        chain.force("sumcheck.14", "contraction operand")
    chain.force("sumcheck.15", "final")
    assert chain.refused == "sumcheck.22"


@pytest.mark.parametrize("name", ["mlp", "conv", "attention", "grouped", "committed"])
def test_an_accumulator_that_is_not_the_sum(name: str, trial: Get) -> None:
    """As in `reference.py`, "acc" and "acc_forced": wrong sums, their results right."""
    run = Trial.of(name, params=DEEP)
    number = next(
        lookup.node
        for lookup in run.layout.lookups
        if isinstance(run.case.graph.nodes[lookup.node], Step)
        and isinstance(a := run.case.graph.nodes[run.case.graph.nodes[lookup.node].value], Affine)
        and a.contractions
    )
    node = run.case.graph.nodes[number]
    assert isinstance(node, Step)
    low, high = run.key.executor._ranges[node.value]
    wrong = run.values[node.value].copy()
    wrong.reshape(-1)[0] += 1000 if wrong.reshape(-1)[0] + 1000 <= high else -1000
    wrong = np.clip(wrong, low, high)
    after = rerun(run, {node.value: wrong})
    run.public = run.public_of(after)
    columns = witness(run, after)
    chain = Chain(run, columns=columns, values=after)
    # What the prover sends for the sum is the sum: leaves and claims differ.
    assert chain.refused == "sumcheck.12"
    chain.force("sumcheck.12", "leaf a", sum_message(run))
    if chain.refused == "sumcheck.13":
        chain.force("sumcheck.13", "output")
    chain.force("sumcheck.14", "contraction operand")
    chain.force("sumcheck.15", "final")
    assert chain.refused == "sumcheck.22"


def test_a_bound_output_forged(trial: Get) -> None:
    run = Trial.of("linear", params=Params(3, (3,), 2, 8, 2))
    number = run.case.graph.outputs[0].value
    run.public[number] = run.public[number] + 1
    chain = Chain(run)
    chain.force("sumcheck.13", "output", -1)
    chain.force("sumcheck.14", "contraction operand")
    chain.force("sumcheck.15", "final")
    assert chain.refused == "sumcheck.22"


# -- every message of every kind ----------------------------------------------------------------


#: Which check refuses a message that was changed when it was sent, the rest following from it.
WANTED = {
    "X root": {"sumcheck.17"},
    "logup root": {"sumcheck.9"},
    "logup round": {"sumcheck.10"},
    "logup evals": {"sumcheck.10"},
    "leaf y": {"sumcheck.12"},
    "leaf d": {"sumcheck.12"},
    "leaf a": {"sumcheck.12"},
    "leaf m": {"sumcheck.11"},
    "output": {"sumcheck.13"},
    "contraction round": {"sumcheck.14"},
    "contraction operand": {"sumcheck.14"},
    "open round": {"sumcheck.15"},
    "open select": {"sumcheck.15"},
    "fold 0 root": {"sumcheck.20"},
    "fold 1 root": {"sumcheck.20"},
    "final": {"sumcheck.15"},
    "nonce": {"sumcheck.16"},
}


@functools.cache
def _messages() -> list[tuple[str, str, int]]:
    """(case, tag, number) of the first and last message of each tag of some cases."""
    found = []
    for name in ("tiny", "committed", "attention", "several", "argmaxes"):
        run = Trial.of(name)
        run.prove(Lie())
        tags = [s.tag for s in run.log if s.absorbed]
        for tag in dict.fromkeys(tags):
            found += [(name, tag, n) for n in sorted({0, tags.count(tag) - 1})]
    return found


def _changed(tag: str, data: bytes) -> bytes:
    if "root" in tag and tag != "logup root":
        return bytes([data[0] ^ 1]) + data[1:]
    if tag == "nonce":
        return (int.from_bytes(data, "little") + 1).to_bytes(8, "little")
    first = int.from_bytes(data[:4], "little")
    return ((first + 1) % P).to_bytes(4, "little") + data[4:]


@pytest.mark.parametrize(("name", "tag", "number"), _messages())
def test_a_message_changed_when_it_is_sent(name: str, tag: str, number: int, trial: Get) -> None:
    run = Trial.on(trial(name).case, trial(name).key)

    def message(own: str, which: int, data: bytes) -> bytes:
        return _changed(tag, data) if (own, which) == (tag, number) else data

    proof = run.prove(Lie(message=message))
    found = run.refused(proof) if tag != "nonce" else _nonce(run, proof)
    assert found in WANTED[tag]


def _nonce(run: Trial, proof: bytes) -> str:
    """Another nonce is right once in 2^grind: then it is accepted, and so it should be."""
    refusal = first_refusal(run, proof)
    return "sumcheck.16" if refusal is None else refusal.check


def test_every_kind_of_message_is_there() -> None:
    assert {tag for _, tag, _ in _messages()} == set(WANTED)


# -- the lookups' root ----------------------------------------------------------------------------


def test_trap_08_zero_over_zero(trial: Get) -> None:
    """All of the root zero: the numerator is, and the denominator."""
    run = Trial.on(trial("mlp").case, trial("mlp").key)
    for zeros in ((0, 1, 2, 3), (2, 3), (2, 0), (3, 1)):

        def message(tag: str, _: int, data: bytes, zeros: tuple[int, ...] = zeros) -> bytes:
            if tag == "logup root":
                for at in zeros:
                    data = put(data, ELEMENT * at, ext5.ZERO)
            return data

        assert run.refused(run.prove(Lie(message=message))) == "sumcheck.9"


def test_trap_08_no_numerators(trial: Get) -> None:
    """0/q + 0/q, every layer forged: no lookup at all, until the numerators."""
    run = Trial.of("pools")
    number = next(i for i, n in enumerate(run.case.graph.nodes) if isinstance(n, Step))
    wrong = bump(run.values[number], *run.key.executor._ranges[number])
    assert wrong is not None
    values = rerun(run, {number: wrong})
    run.public = run.public_of(values)

    def leaves(_: object, found: tuple[np.ndarray, ...]) -> None:
        found[3][:] = 0

    proof = run.prove(Lie(leaves=leaves), columns=witness(run, values), values=values)
    assert run.refused(proof) == "sumcheck.11"


def test_padding_leaves_cannot_carry_fractions(trial: Get) -> None:
    """Correction 6: leaves of no tensor and no table are 0/1, by a selector of the verifier."""
    run = trial("mlp")
    stack = run.layout.leaves
    wrong = copied(columns_of(run.layout, run.values))
    wrong.blocks["m0"][0] += 1
    used = np.zeros(1 << stack.log, bool)
    for block in stack.blocks.values():
        place(used, block, stack.offsets[block.name], True)
    free = int(np.flatnonzero(~used)[0])
    table = run.layout.plan.tables[0]

    def leaves(_: object, found: tuple[np.ndarray, ...]) -> None:
        found[0][free], found[1][free] = table.id_of[0], table.c1[0]
        found[2][free], found[3][free] = table.c2[0], 1

    # A leaf in the padding pays for the false multiplicity.
    proof = run.prove(Lie(leaves=leaves), columns=wrong)
    assert run.refused(proof) == "sumcheck.11"


def test_a_denominator_in_the_padding(trial: Get) -> None:
    """The same with numerator 0: the sum is right, the selector is not."""
    run = trial("mlp")
    stack = run.layout.leaves
    used = np.zeros(1 << stack.log, bool)
    for block in stack.blocks.values():
        place(used, block, stack.offsets[block.name], True)
    free = int(np.flatnonzero(~used)[-1])

    def leaves(_: object, found: tuple[np.ndarray, ...]) -> None:
        found[0][free] = 1

    assert run.refused(run.prove(Lie(leaves=leaves))) == "sumcheck.12"


# -- contractions ----------------------------------------------------------------------------------


def test_operand_claims_swapped(trial: Get) -> None:
    """Within a product nothing but the opening tells them apart; across products the sum does."""
    run = Trial.on(trial("attention").case, trial("attention").key)
    proof = run.prove(Lie())
    operands = places(run, "contraction operand")
    pieces = [proof[s.start : s.start + s.size] for s in operands]

    def swapped(a: int, b: int) -> bytes:
        def message(tag: str, number: int, data: bytes) -> bytes:
            if tag == "contraction operand" and number in (a, b):
                return pieces[a + b - number]
            return data

        return run.prove(Lie(message=message))

    last = len(pieces) - 1
    assert run.refused(swapped(last - 1, last)) == "sumcheck.15"
    assert run.refused(swapped(0, last)) == "sumcheck.14"


@pytest.mark.parametrize("name", ["conv", "grouped"])
def test_trap_11_a_convolution_whose_padding_is_not_zero(name: str, trial: Get) -> None:
    """The accumulators of a convolution that is padded with ones."""
    run = Trial.on(trial(name).case, trial(name).key)
    graph = run.case.graph
    number, node = next(
        (i, n) for i, n in enumerate(graph.nodes) if isinstance(n, Affine) and n.contractions
    )
    contraction = node.contractions[0]
    x, w = run.values[contraction.left], run.values[contraction.right]
    extra = np.zeros(node.shape, np.int64)
    for out in np.ndindex(*node.shape):
        for s in np.ndindex(*contraction.sums):
            inside = True
            for bind, length in zip(contraction.left_axes, x.shape, strict=True):
                if bind.window is not None:
                    stride, dilation, offset = bind.window
                    at = out[bind.out] * stride + s[bind.sum] * dilation + offset
                    inside &= 0 <= at < length
            grouped = all(
                b.window is not None or b.out < 0 or b.sum < 0 or out[b.out] == s[b.sum]
                for b in contraction.left_axes + contraction.right_axes
            )
            if not inside and grouped:
                extra[out] += w[
                    tuple(s[b.sum] if b.sum >= 0 else out[b.out] for b in contraction.right_axes)
                ]
    low, high = run.key.executor._ranges[number]
    wrong = np.clip(run.values[number] + extra, low, high)
    assert (wrong != run.values[number]).any()
    values = rerun(run, {number: wrong})
    run.public = run.public_of(values)
    chain = Chain(run, columns=witness(run, values), values=values)
    assert chain.refused == "sumcheck.12"
    chain.force("sumcheck.12", "leaf a", sum_message(run))
    assert chain.refused == "sumcheck.14"


def test_forge_replaces_one_message(trial: Get) -> None:
    run = Trial.on(trial("tiny").case, trial("tiny").key)
    proof = run.prove(forge(run, {"leaf m": (0, ext5.ONE)}))
    assert run.refused(proof) == "sumcheck.11"
    assert CASES["tiny"]().layout.leaves.log == 3
