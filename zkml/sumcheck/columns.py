"""The prover's columns: what is committed for one run, and where it lies in the trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.field.babybear import P
from proofml.circuits.graph import ArgMax, Input, Ints, Maximum, Step
from proofml.circuits.tables import Cover, Lookup
from proofml.zkml.sumcheck.layout import Block, Layout, Stack, lookup_shape

Words = NDArray[np.uint32]


@dataclass
class Columns:
    """The witness of one proof.

    Attributes:
        values: all values of the graph (`execute`).
        blocks: name of a block -> its numbers, signed, of the block's shape.
        lookups: for each lookup its column c1 and its argument, of the lookup's shape.
    """

    values: Sequence[Ints]
    blocks: dict[str, Ints] = field(default_factory=dict)
    lookups: list[tuple[Ints, Ints]] = field(default_factory=list)


def columns_of(layout: Layout, values: Sequence[Ints]) -> Columns:
    """Columns and multiplicities from the values of an honest run."""
    result = Columns(values)
    counts = [np.zeros(table.rows, np.int64) for table in layout.plan.tables]
    for number, (_, name) in layout.column.items():
        node = layout.graph.nodes[number]
        if isinstance(node, Maximum):
            result.blocks[name] = values[number] - values[node.right]
        else:
            result.blocks[name] = values[number]
    for lookup in layout.lookups:
        shape = lookup_shape(layout.graph, lookup)
        c1, argument = _lookup(layout, lookup, values)
        channel = _channel(layout, lookup, shape)
        if isinstance(lookup.witness, Cover):
            row, d = lookup.witness.choose(argument, channel)
            result.blocks[f"d{lookup.node}"] = d
            windows = layout.plan.windows[lookup.windows]
            at = np.where(d >= windows.delta, d - windows.delta + (1 << windows.body), d)
            _count(counts[windows.table], at)
        else:
            row = lookup.witness.row(argument, channel)
        _count(counts[lookup.table], row)
        result.lookups.append((c1, argument))
    for index, count in enumerate(counts):
        result.blocks[f"m{index}"] = count
    return result


def _lookup(layout: Layout, lookup: Lookup, values: Sequence[Ints]) -> tuple[Ints, Ints]:
    node = layout.graph.nodes[lookup.node]
    value = values[lookup.node]
    match node:
        case Input():
            return np.zeros_like(value), value
        case Maximum():
            left, right = values[node.left], values[node.right]
            return value - right, left - right
        case ArgMax():
            y = values[node.value]
            best = np.expand_dims(value, node.axis)
            dims = [1] * y.ndim
            dims[node.axis] = y.shape[node.axis]
            before = np.arange(y.shape[node.axis]).reshape(dims) < best
            return np.zeros_like(y), np.take_along_axis(y, best, node.axis) - y - before
        case Step():
            return value, values[node.value]
    raise AssertionError(node)


def _channel(layout: Layout, lookup: Lookup, shape: tuple[int, ...]) -> Ints | int:
    """Which of the table's functions each cell uses."""
    if not lookup.channel:
        return 0
    first = layout.plan.tables[lookup.table].first_id
    dims = [n if axis in lookup.channel else 1 for axis, n in enumerate(shape)]
    return (lookup.ids - first).reshape(dims)


def _count(counts: Ints, rows: Ints) -> None:
    counts += np.bincount(rows.reshape(-1), minlength=len(counts))


def place(target: NDArray[Any], block: Block, offset: int, values: Ints | int) -> None:
    """Write a tensor into its padded block of a flat vector."""
    padded = target[offset : offset + (1 << block.size)].reshape([1 << log for log in block.logs])
    padded[tuple(slice(0, n) for n in block.shape)] = values


def fill(stack: Stack, blocks: Mapping[str, Ints], least: int) -> Words:
    """All blocks of a tree as canonical numbers; free cells are 0."""
    out = np.zeros(1 << max(stack.log, least), np.uint32)
    for name, block in stack.blocks.items():
        place(out, block, stack.offsets[name], np.mod(blocks[name], P, dtype=np.int64))
    return out
