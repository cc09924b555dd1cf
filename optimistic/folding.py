"""Cells of operators from their operands, by the descriptors: what players and tests compute.

`evaluate` gives all states of one cell's fold at once; it is the readable twin of what an arbiter
does one summand at a time.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.functions import Requant
from proofml.optimistic import indexing
from proofml.optimistic.cells import Ints
from proofml.optimistic.program import (
    LEAST,
    Axis,
    Fold,
    Operand,
    Operator,
    Part,
    Rule,
    Shape,
    Table,
)


class Fetch(Protocol):
    """Where `evaluate` finds what an operator reads."""

    def cells(self, number: int, operand: Operand, index: Ints) -> Ints:
        """Cells of operand `number` of the operator (as in `Operator.operands`), int64 of the
        shape of their flat indices."""
        ...

    def records(self, table: Table) -> NDArray[np.int32]:
        """All records of a table, int32 [count, fields]."""
        ...


def start(operator: Operator) -> int:
    """The state before the first summand."""
    return LEAST if operator.fold is Fold.MAXIMUM else 0


def evaluate(operator: Operator, cell: int, fetch: Fetch) -> Ints:
    """States of the fold of one cell, int64 [summands + 1]; entry j is the one after j summands.

    Raises:
        ValueError: no such cell.
    """
    out = indexing.unravel(cell, operator.cells.shape)
    summands = np.concatenate(_summands(operator, out, fetch))
    states = np.empty(len(summands) + 1, np.int64)
    states[0] = start(operator)
    match operator.fold:
        case Fold.SUM:
            np.cumsum(summands, out=states[1:])
        case Fold.MAXIMUM:
            np.maximum.accumulate(np.maximum(summands, LEAST), out=states[1:])
        case Fold.ARGMAX:
            best = np.maximum.accumulate(summands)
            rises = np.append(False, summands[1:] > best[:-1])
            np.maximum.accumulate(np.where(rises, np.arange(len(summands)), 0), out=states[1:])
    return states


def apply_rule(operator: Operator, cell: int, state: int, records: NDArray[np.int32] | None) -> int:
    """The cell that a last state gives.

    Args:
        records: of the rule's table, where it has one.

    Raises:
        ValueError: no interval holds the state.
    """
    rule = operator.output.rule
    if rule is Rule.IDENTITY:
        return state
    if rule is Rule.RELU:
        return max(state, 0)
    assert records is not None
    channel = indexing.channel_of(operator, cell)
    if rule is Rule.REQUANT:
        scale, low, high = (int(n) for n in records[channel])
        return int(Requant(scale, low, high).evaluate(np.array([state], np.int64))[0])
    number = interval_of(records, channel, state)
    return int(records[number, 3])


def interval_of(records: NDArray[np.int32], channel: int, state: int) -> int:
    """Number of the interval of a channel that holds a state.

    Raises:
        ValueError: none does, which no true state can cause.
    """
    first, last = (int(n) for n in np.searchsorted(records[:, 0], [channel, channel + 1]))
    at = first + int(np.searchsorted(records[first:last, 1], state, side="right")) - 1
    if at < first or state > records[at, 2]:
        raise ValueError(f"channel {channel}: no interval holds {state}")
    return at


def _summands(operator: Operator, out: Shape, fetch: Fetch) -> list[Ints]:
    found, number = [], 0
    for part in operator.parts:
        total = np.full(part.sums, part.coefficient, np.int64)
        for operand in (part.left, part.right):
            if operand is None or indexing.is_ones(operand):
                continue
            index, factor = _place(operand, part, out, fetch)
            total *= fetch.cells(number, operand, index) * factor
            number += 1
        found.append(total.reshape(-1))
    return found


def _place(operand: Operand, part: Part, out: Shape, fetch: Fetch) -> tuple[Ints, Ints]:
    """(flat index of the operand's cell, what it is multiplied with) in every summand of a part.

    Both broadcast to `part.sums`; where a summand is 0 the factor is.
    """
    rank = len(part.sums)
    flat = np.zeros((1,) * rank, np.int64)
    factor = np.ones((1,) * rank, np.int64)
    for axis in operand.axes:
        index, coefficient = _indices(axis, part, out, fetch)
        dims = [1] * rank
        if axis.sum >= 0:
            dims[axis.sum] = part.sums[axis.sum]
        inside = (index >= 0) & (index < axis.length)
        factor = factor * (coefficient * inside).reshape(dims)
        flat = flat * axis.length + np.where(inside, index, 0).reshape(dims)
    return flat, factor


def _indices(axis: Axis, part: Part, out: Shape, fetch: Fetch) -> tuple[Ints, Ints]:
    """Index and coefficient along one axis, for each tap."""
    taps = np.arange(part.sums[axis.sum] if axis.sum >= 0 else 1)
    place = out[axis.out] if axis.out >= 0 else 0
    if axis.table is None:
        return place * axis.stride + taps * axis.dilation + axis.offset, np.ones_like(taps)
    rows = fetch.records(axis.table)[place * len(taps) + taps].astype(np.int64)
    return rows[:, 0], rows[:, 1]
