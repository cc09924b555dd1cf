"""The prover: docs/sumcheck/protocol.md, whose sections are named here.

It mirrors the verifier message by message. Nothing is hidden: no message is masked. Not audited.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.field import ext5
from proofml.circuits.field.babybear import Array
from proofml.circuits.field.ext5 import Element
from proofml.circuits.graph import ArgMax, Input, Ints
from proofml.circuits.kernels.claims import Claim as Opened
from proofml.circuits.kernels.claims import Tree
from proofml.circuits.tables import Lookup
from proofml.zkml.sumcheck import engine, proving
from proofml.zkml.sumcheck.argmax import argmax_parts
from proofml.zkml.sumcheck.claims import Claim
from proofml.zkml.sumcheck.columns import Columns, columns_of, fill, place
from proofml.zkml.sumcheck.keys import ProvingKey
from proofml.zkml.sumcheck.layout import MODEL, PORTS, WITNESS, Block, Layout
from proofml.zkml.sumcheck.operands import operand_vector
from proofml.zkml.sumcheck.reduction import (
    Constant,
    OnColumn,
    OnContraction,
    OnPublic,
    Part,
    Sums,
    argument_parts,
    operand_weight,
    reduce_claim,
    sum_factors,
)
from proofml.zkml.sumcheck.transcript import Transcript
from proofml.zkml.sumcheck.weights import Weight, at_point, inner

#: Called with the name of each stage when it begins.
Stage = Callable[[str], None]


@dataclass
class _Instance:
    """One contraction of the batched sumcheck, with the vectors of its operands."""

    part: OnContraction
    left: Array
    right: Array


@dataclass
class _Run:
    key: ProvingKey
    columns: Columns
    transcript: Transcript
    out: list[bytes] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    instances: list[_Instance] = field(default_factory=list)

    @property
    def layout(self) -> Layout:
        return self.key.circuit.layout

    def send(self, tag: str, data: bytes) -> None:
        self.transcript.absorb(tag, data)
        self.out.append(data)

    def element(self, tag: str, value: Element) -> None:
        self.send(tag, np.array(value, "<u4").tobytes())

    def column(self, tag: str, tree: str, block: str, weight: Weight) -> None:
        numbers = self.key.weights[block] if tree == MODEL else self.columns.blocks[block]
        value = inner(weight, numbers)
        self.claims.append(Claim(tree, block, weight, value))
        self.element(tag, value)

    def part(self, tag: str, part: Part) -> None:
        match part:
            case OnColumn():
                tree, block = self.layout.column[part.value]
                self.column(tag, tree, block, part.weight)
            case OnContraction():
                contraction, sums = part.contraction, Sums(part.contraction.sums)
                left, right = (
                    operand_vector(self.value_of(value), axes, sums, part.weight)
                    for value, axes in (
                        (contraction.left, contraction.left_axes),
                        (contraction.right, contraction.right_axes),
                    )
                )
                self.instances.append(_Instance(part, left, right))
                self.element(tag, engine.inner_ext(left, right))
            case Constant() | OnPublic():
                pass

    def value_of(self, value: int) -> Ints:
        """All cells of a value; weights in the narrow type in which they are kept."""
        return self.key.weights.get(f"y{value}", self.columns.values[value])


def prove_circuit(
    key: ProvingKey,
    values: list[Ints],
    statement: bytes,
    *,
    ports: Tree | None = None,
    columns: Columns | None = None,
    stage: Stage = lambda name: None,
) -> bytes:
    """A proof that the circuit's public values are those in `values`.

    Args:
        key: from `keys.commit_model`.
        values: all values of the graph, from `key.executor.run`.
        statement: the Statement's digest, 32 bytes.
        ports: tree of committed inputs and outputs, from `keys.commit_ports`.
        columns: what to commit instead of the honest columns; for tests of the verifier.
        stage: told the name of each stage when it begins.
    """
    layout, params = key.circuit.layout, key.circuit.params
    stage("commit")
    columns = columns_of(layout, values) if columns is None else columns
    run = _Run(key, columns, Transcript(statement))
    witness = proving.commit(
        WITNESS, fill(layout.trees[WITNESS], columns.blocks, params.mu), params.mu, params.rate
    )
    trees = {WITNESS: witness, MODEL: key.tree, PORTS: ports}
    run.send("X root", witness.nodes[1].tobytes())
    alpha, beta = run.transcript.challenge("alpha"), run.transcript.challenge("beta")
    stage("lookups")
    _lookups(run, alpha, beta)
    stage("contractions")
    _outputs(run)
    _contractions(run)
    stage("opening")
    powers = ext5.powers(run.transcript.challenge("open eta"), len(run.claims))
    order = list(layout.trees)
    opened = [
        _opened(layout, order, claim, power)
        for claim, power in zip(run.claims, powers, strict=True)
    ]
    run.out.append(
        proving.open_prove(
            [tree for name in order if (tree := trees[name]) is not None],
            opened,
            params.mu,
            params.rate,
            params.folds,
            params.queries,
            params.grind,
            run.transcript.state,
        )
    )
    return b"".join(run.out)


def _lookups(run: _Run, alpha: Element, beta: Element) -> None:
    """Section 5."""
    layout = run.layout
    ids, c1, c2, num = _leaves(layout, run.columns)
    messages, z = proving.logup_prove(ids, c1, c2, num, alpha, beta, run.transcript.state)
    run.out.append(messages)
    for index, lookup in enumerate(layout.lookups):
        block = layout.leaves.blocks[f"s{index}"]
        weight = at_point(block.split(z[: block.size]), block.shape)
        _lookup(run, lookup, weight)
        if lookup.windows >= 0:
            run.column("leaf d", WITNESS, f"d{lookup.node}", weight)
    for index in range(len(layout.plan.tables)):
        block = layout.leaves.blocks[f"t{index}"]
        run.column("leaf m", WITNESS, f"m{index}", at_point([z[: block.size]], block.shape))


def _lookup(run: _Run, lookup: Lookup, weight: Weight) -> None:
    layout = run.layout
    node = layout.graph.nodes[lookup.node]
    match node:
        case Input():
            for part in reduce_claim(layout, lookup.node, weight):
                run.part("leaf y", part)
        case ArgMax():
            stated = run.columns.values[lookup.node]
            for part in argmax_parts(layout, lookup.node, stated, weight):
                run.part("leaf a", part)
        case _:
            if lookup.node not in layout.public:
                tree, block = layout.column[lookup.node]
                run.column("leaf y", tree, block, weight)
            for part in argument_parts(layout, lookup.node, weight):
                run.part("leaf a", part)


def _leaves(layout: Layout, columns: Columns) -> list[NDArray[np.int32]]:
    """ids, c1, c2 and numerators of all leaves, int32 each; id 0 where there is no leaf."""
    stack = layout.leaves
    columns_of_leaves = [np.zeros(1 << stack.log, np.int32) for _ in range(4)]

    def put(name: str, *parts: Ints | int) -> None:
        for target, values in zip(columns_of_leaves, parts, strict=True):
            place(target, stack.blocks[name], stack.offsets[name], values)

    for index, (lookup, (first, argument)) in enumerate(
        zip(layout.lookups, columns.lookups, strict=True)
    ):
        shape = stack.blocks[f"s{index}"].shape
        dims = [n if axis in lookup.channel else 1 for axis, n in enumerate(shape)]
        if lookup.windows >= 0:
            d = columns.blocks[f"d{lookup.node}"]
            windows = layout.plan.windows[lookup.windows]
            range_id = layout.plan.tables[windows.table].first_id
            put(f"r{index}", range_id, d, 0, 1)
            argument = argument - d
        put(f"s{index}", lookup.ids.reshape(dims), first, argument, 1)
    for index, table in enumerate(layout.plan.tables):
        put(f"t{index}", table.id_of, table.c1, table.c2, -columns.blocks[f"m{index}"])
    return columns_of_leaves


def _outputs(run: _Run) -> None:
    """Section 6."""
    layout = run.layout
    for index in layout.bound_outputs:
        port = layout.graph.outputs[index]
        shape = layout.graph.shape(port.value)
        block = Block("output", shape)
        point = [run.transcript.challenge("output point") for _ in range(block.size)]
        for part in reduce_claim(layout, port.value, at_point(block.split(point), shape)):
            run.part("output", part)


def _contractions(run: _Run) -> None:
    """Section 7."""
    if not run.instances:
        return
    instances = run.instances
    run.instances = []
    powers = ext5.powers(run.transcript.challenge("contraction eta"), len(instances))
    sums = [Sums(instance.part.contraction.sums) for instance in instances]
    messages, point = proving.product_prove(
        "contraction round",
        max(s.rounds for s in sums),
        [s.rounds for s in sums],
        powers,
        np.concatenate([i.left for i in instances]).astype(np.uint32),
        np.concatenate([i.right for i in instances]).astype(np.uint32),
        run.transcript.state,
    )
    run.out.append(messages)
    layout = run.layout
    for instance, own in zip(instances, sums, strict=True):
        contraction, out = instance.part.contraction, instance.part.weight
        factors = sum_factors(own, point[: own.rounds])
        for value, axes in (
            (contraction.left, contraction.left_axes),
            (contraction.right, contraction.right_axes),
        ):
            weight = operand_weight(axes, layout.graph.shape(value), out, factors)
            for part in reduce_claim(layout, value, weight):
                run.part("contraction operand", part)


def _opened(layout: Layout, order: list[str], claim: Claim, power: Element) -> Opened:
    """A claim in the form of the kernels: axes from the lowest bits upwards."""
    stack = layout.trees[claim.tree]
    block = stack.blocks[claim.block]
    logs: list[int] = []
    axes: list[np.ndarray] = []
    axis = 0
    for factor in claim.weight:
        rank = len(factor.shape)
        own = block.logs[axis : axis + rank]
        values = factor.values
        if rank > 1:
            padded = np.zeros([*(1 << log for log in own), ext5.DEGREE], np.uint64)
            padded[tuple(slice(0, n) for n in factor.shape)] = values.reshape(
                *factor.shape, ext5.DEGREE
            )
            values = padded.reshape(-1, ext5.DEGREE)
        logs.insert(0, sum(own))
        axes.insert(0, np.ascontiguousarray(values, np.uint32))
        axis += rank
    return Opened(
        order.index(claim.tree), stack.offsets[claim.block], tuple(logs), tuple(axes), power
    )
