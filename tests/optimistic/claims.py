"""Runs of small programs as they are claimed: honestly, and with every kind of lie."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from proofml.optimistic.claim import Terms
from proofml.optimistic.commit import TraceLeaf, header_of
from proofml.optimistic.merkle import Tree, tree_of_leaves
from proofml.optimistic.program import CHUNK, Source

from .tiny import Tensor, Tiny, Values, inputs_of, tiny, truth_of

#: What the games are played for; tests replace what they are about.
TERMS: dict[str, Any] = {
    "k_log": 2,
    "bond": 1000,
    "challenge_bond": 300,
    "burn": 1000,
    "window": 500,
    "clock": 60,
    "extension": 10,
    "answer": 20,
    "data_fee": 7,
    "uri": "file:///inputs",
}


@dataclass
class Run:
    """What a claimant holds: tensors, leaves and trees; all of it consistent if he is honest.

    Attributes:
        values: outputs of the operators.
        leaves: bytes of the trace's leaves.
        outputs: roots that the claim states.
    """

    tiny: Tiny
    inputs: tuple[Tensor, ...]
    given: tuple[Values, ...]
    values: list[Values]
    tensors: list[Tensor]
    leaves: list[bytes]
    trace: Tree
    outputs: tuple[bytes, ...]
    root: bytes

    @classmethod
    def of(
        cls,
        model: Tiny,
        given: Sequence[Values],
        values: Sequence[Values],
        *,
        tensors: dict[int, Tensor] | None = None,
        leaves: dict[int, Callable[[TraceLeaf], bytes]] | None = None,
        inputs: dict[int, Tensor] | None = None,
    ) -> Run:
        """A run with these tensors; some tensors and leaves replaced."""
        ins = tuple(
            (inputs or {}).get(i) or Tensor.of(port.cells, numbers)
            for i, (port, numbers) in enumerate(zip(model.program.inputs, given, strict=True))
        )
        made = [
            (tensors or {}).get(i) or Tensor.of(operator.cells, numbers)
            for i, (operator, numbers) in enumerate(
                zip(model.program.operators, values, strict=True)
            )
        ]
        found = []
        for i, operator in enumerate(model.program.operators):
            roots = tuple(
                operand.root
                if operand.source is Source.WEIGHT
                else (ins if operand.source is Source.INPUT else made)[operand.index].root
                for operand in operator.operands
            )
            leaf = TraceLeaf(i, roots, made[i].root)
            found.append((leaves or {}).get(i, TraceLeaf.to_bytes)(leaf))
        trace = tree_of_leaves(found)
        outputs = tuple(
            (ins if port.source is Source.INPUT else made)[port.index].root
            for port in model.program.outputs
        )
        return cls(model, ins, tuple(given), list(values), made, found, trace, outputs, trace.root)

    def terms(self, **changes: Any) -> Terms:
        fields: dict[str, Any] = {
            "statement": bytes(range(32)),
            "program": header_of(self.tiny.program).root,
            "inputs": tuple(tensor.root for tensor in self.inputs),
            "outputs": self.outputs,
            "trace": self.root,
            **TERMS,
            **changes,
        }
        return Terms(**fields)

    @property
    def header(self) -> bytes:
        return header_of(self.tiny.program).to_bytes()


@cache
def honest(name: str) -> Run:
    return Run.of(tiny(name), inputs_of(name), truth_of(name))


# ---------------------------------------------------------------- lies
def _other(rng: random.Random, model: Tiny, number: int, value: int) -> int:
    """Another value that the cell could have."""
    cells = model.program.operators[number].cells
    span = cells.high - cells.low
    near = [value + d for d in (-1, 1) if cells.low <= value + d <= cells.high]
    return rng.choice([*near, cells.low + (value - cells.low + rng.randint(1, span)) % (span + 1)])


def _operator(rng: random.Random, model: Tiny) -> int:
    return rng.randrange(len(model.program.operators))


def cell(rng: random.Random, name: str) -> Run:
    """One cell changed, and everything after it computed from that."""
    return _changed(rng, name, recompute=True)


def cell_alone(rng: random.Random, name: str) -> Run:
    """One cell changed, and nothing else."""
    return _changed(rng, name, recompute=False)


def _changed(rng: random.Random, name: str, *, recompute: bool) -> Run:
    model, given = tiny(name), inputs_of(name)
    values = [list(each) for each in truth_of(name)]
    number = _operator(rng, model)
    at = rng.randrange(len(values[number]))
    values[number][at] = _other(rng, model, number, values[number][at])
    if recompute:
        for later in range(number + 1, len(values)):
            operator = model.program.operators[later]
            low, high = operator.cells.low, operator.cells.high
            made = model.output(operator, given, values[:later])
            values[later] = [min(max(v, low), high) for v in made]
    return Run.of(model, given, values)


def several(rng: random.Random, name: str) -> Run:
    """Cells changed in many places."""
    model = tiny(name)
    values = [list(each) for each in truth_of(name)]
    for number in range(len(values)):
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(values[number]))
            values[number][at] = _other(rng, model, number, values[number][at])
    at = rng.randrange(len(values[-1]))
    values[-1][at] = _other(rng, model, len(values) - 1, truth_of(name)[-1][at])
    return Run.of(model, inputs_of(name), values)


def beyond(rng: random.Random, name: str) -> Run:
    """A cell whose bytes are beyond its range."""
    model = tiny(name)
    number = _operator(rng, model)
    operator = model.program.operators[number]
    cells = operator.cells
    data = bytearray(honest(name).tensors[number].data)
    at = rng.randrange(cells.count) * cells.width
    raw = rng.randrange(cells.high - cells.low + 1, 1 << 8 * cells.width)
    data[at : at + cells.width] = raw.to_bytes(cells.width, "big")
    return _with(name, tensors={number: Tensor.raw(cells, bytes(data))})


def short(rng: random.Random, name: str) -> Run:
    """A tensor whose last chunk has a byte too many or too few."""
    model = tiny(name)
    number = _operator(rng, model)
    cells = model.program.operators[number].cells
    data = honest(name).tensors[number].data
    data = data + b"\0" if rng.random() < 0.5 and len(data) % CHUNK else data[:-1]
    return _with(name, tensors={number: Tensor.raw(cells, data)})


def no_tensor(rng: random.Random, name: str) -> Run:
    """An output root that nothing hashes to."""
    root = rng.randbytes(32)
    return _leaf(rng, name, lambda leaf: replace(leaf, output=root).to_bytes())


def wiring(rng: random.Random, name: str) -> Run:
    """An input root that is another tensor's, or nothing's."""
    run = honest(name)
    wired = [
        (i, t)
        for i, operator in enumerate(run.tiny.program.operators)
        for t, operand in enumerate(operator.operands)
        if operand.source is Source.OPERATOR
    ]
    if not wired:
        return cell(rng, name)
    number, t = rng.choice(wired)
    right = run.tensors[run.tiny.program.operators[number].operands[t].index].root
    others = [tensor.root for tensor in run.tensors if tensor.root != right]
    root = rng.choice([*others, rng.randbytes(32)])
    return _with(name, leaves={number: lambda leaf: _input(leaf, t, root)})


def constant(rng: random.Random, name: str) -> Run:
    """A weight or an input that is not the model's or the claim's."""
    run = honest(name)
    fixed = [
        (i, t)
        for i, operator in enumerate(run.tiny.program.operators)
        for t, operand in enumerate(operator.operands)
        if operand.source is not Source.OPERATOR
    ]
    number, t = rng.choice(fixed)
    root = rng.randbytes(32)
    return _with(name, leaves={number: lambda leaf: _input(leaf, t, root)})


def _input(leaf: TraceLeaf, t: int, root: bytes) -> bytes:
    return replace(leaf, inputs=(*leaf.inputs[:t], root, *leaf.inputs[t + 1 :])).to_bytes()


def leaf_index(rng: random.Random, name: str) -> Run:
    """A leaf that says that it is another operator's."""
    return _leaf(rng, name, lambda leaf: replace(leaf, index=leaf.index + 1).to_bytes())


def leaf_length(rng: random.Random, name: str) -> Run:
    """A leaf with an input too many."""
    return _leaf(rng, name, lambda leaf: replace(leaf, inputs=(*leaf.inputs, bytes(32))).to_bytes())


def leaf_garbage(rng: random.Random, name: str) -> Run:
    """A leaf that is no leaf."""
    data = rng.randbytes(rng.randrange(80))
    return _leaf(rng, name, lambda _: data)


def trace_garbage(rng: random.Random, name: str) -> Run:
    """A trace's root that nothing hashes to."""
    return replace(honest(name), root=rng.randbytes(32))


def output(rng: random.Random, name: str) -> Run:
    """Another output than that of the trace, which is right."""
    return stating_another(rng, honest(name))


def stating_another(rng: random.Random, run: Run) -> Run:
    """The run, claimed with an output that it did not make."""
    ports = run.tiny.program.outputs
    number = rng.choice([i for i, p in enumerate(ports) if p.source is Source.OPERATOR])
    roots = list(run.outputs)
    roots[number] = rng.randbytes(32)
    return replace(run, outputs=tuple(roots))


def _leaf(rng: random.Random, name: str, change: Callable[[TraceLeaf], bytes]) -> Run:
    return _with(name, leaves={_operator(rng, tiny(name)): change})


def _with(name: str, **changes: Any) -> Run:
    run = honest(name)
    return Run.of(run.tiny, run.given, run.values, **changes)


LIES: dict[str, Callable[[random.Random, str], Run]] = {
    lie.__name__: lie
    for lie in (
        cell,
        cell_alone,
        several,
        beyond,
        short,
        no_tensor,
        wiring,
        constant,
        leaf_index,
        leaf_length,
        leaf_garbage,
        trace_garbage,
        output,
    )
}


@cache
def false_output(name: str, lie: str, seed: int) -> Run:
    """A lie that shows in the outputs: what a claim that defers its trace can be wrong about."""
    run = false_run(name, lie, seed)
    if run.outputs != honest(name).outputs:
        return run
    return stating_another(random.Random(f"{name} {lie} {seed} output"), run)


@cache
def false_run(name: str, lie: str, seed: int) -> Run:
    """A lie of this kind about this program; the same for the same seed."""
    return LIES[lie](random.Random(f"{name} {lie} {seed}"), name)
