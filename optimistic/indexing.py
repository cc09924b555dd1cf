"""Which cells and records one summand of one cell is made of: all of an arbiter's index arithmetic.

Given a cell `o` (flat, of the operator's output) and a summand `j` (of all parts, in order), `at`
says which part it is of and where in it. Each operand is then read in two steps, since a table's
record is known only when it is opened:

    wanted(operand, place)           the records that its axes need, in the order of the axes
    cell(operand, place, entries)    the flat index of its cell, or None where the summand is 0,
                                     and the factor that the records contribute
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from proofml.optimistic.encoding import AXIS_RECORD, INTERVAL_RECORD, REQUANT_RECORD
from proofml.optimistic.program import CHUNK, Axis, Operand, Operator, Part, Shape, Source, Table

#: A record of an axis' table: (index, coefficient).
Entry: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Place:
    """A cell and a summand of it.

    Attributes:
        part, number: the part, and how many come before it.
        offset: of the summand within the part.
        out: index of the cell along each axis of the output.
        sums: index along each summed axis of the part.
    """

    part: Part
    number: int
    offset: int
    out: Shape
    sums: Shape


@dataclass(frozen=True)
class Record:
    """One record of a table; it lies in leaf `leaf`, from byte `start` to `end` of it."""

    table: Table
    number: int

    @property
    def leaf(self) -> int:
        return self.number // per_leaf(self.table)

    @property
    def start(self) -> int:
        return self.number % per_leaf(self.table) * self.table.size

    @property
    def end(self) -> int:
        return self.start + self.table.size


def per_leaf(table: Table) -> int:
    """Whole records in one leaf."""
    return CHUNK // table.size


def leaves_of(table: Table) -> int:
    return -(-table.count // per_leaf(table))


def leaf_bytes(table: Table, leaf: int) -> int:
    """Length of a leaf; the last one may be shorter."""
    if not 0 <= leaf < leaves_of(table):
        raise ValueError(f"leaf {leaf}: expected one of {leaves_of(table)}")
    return min(per_leaf(table), table.count - leaf * per_leaf(table)) * table.size


def unravel(flat: int, shape: Shape) -> Shape:
    """Row-major indices of a cell."""
    found = []
    for length in reversed(shape):
        flat, index = divmod(flat, length)
        found.append(index)
    if flat:
        raise ValueError(f"expected a cell of {shape}, got one beyond")
    return tuple(reversed(found))


def ravel(index: Sequence[int], shape: Shape) -> int:
    """The inverse of `unravel`."""
    flat = 0
    for at, length in zip(index, shape, strict=True):
        flat = flat * length + at
    return flat


def at(operator: Operator, cell: int, summand: int) -> Place:
    """Where summand `summand` of cell `cell` is.

    Raises:
        ValueError: no such cell or summand.
    """
    if not 0 <= cell < operator.cells.count or not 0 <= summand < operator.summands:
        raise ValueError(
            f"cell {cell}, summand {summand}: expected below {operator.cells.count}, "
            f"{operator.summands}"
        )
    out = unravel(cell, operator.cells.shape)
    for number, part in enumerate(operator.parts):
        if summand < part.count:
            return Place(part, number, summand, out, unravel(summand, part.sums))
        summand -= part.count
    raise AssertionError("unreachable")


def wanted(operand: Operand, place: Place) -> tuple[Record, ...]:
    """Records that have to be opened to know the operand's cell, in the order of its axes."""
    return tuple(
        Record(axis.table, _record(axis, place)) for axis in operand.axes if axis.table is not None
    )


def cell(operand: Operand, place: Place, entries: Sequence[Entry]) -> tuple[int | None, int]:
    """(flat index of the operand's cell, factor); the index is None where the summand is 0.

    Args:
        entries: what the records of `wanted` say.

    Raises:
        ValueError: another number of entries, or an index beyond the axis: no table of a model
            that was lowered has one.
    """
    flat, factor, inside = 0, 1, True
    given = iter(entries)
    for axis in operand.axes:
        if axis.table is None:
            index = (
                (place.out[axis.out] * axis.stride if axis.out >= 0 else 0)
                + (place.sums[axis.sum] * axis.dilation if axis.sum >= 0 else 0)
                + axis.offset
            )
            inside &= 0 <= index < axis.length
        else:
            index, coefficient = next(given, (axis.length, 0))
            if not -1 <= index < axis.length:
                raise ValueError(f"a record: expected an index below {axis.length}, got {index}")
            factor *= coefficient
            inside &= index >= 0
        flat = flat * axis.length + index
    if next(given, None) is not None:
        raise ValueError(f"records: expected one for each table, got {len(entries)}")
    return (flat, factor) if inside else (None, 0)


def _record(axis: Axis, place: Place) -> int:
    taps = place.part.sums[axis.sum] if axis.sum >= 0 else 1
    return (place.out[axis.out] * taps if axis.out >= 0 else 0) + (
        place.sums[axis.sum] if axis.sum >= 0 else 0
    )


def channel_of(operator: Operator, cell: int) -> int:
    """Number of the channel in which a cell is: the record of REQUANT, a field of INTERVALS."""
    out = unravel(cell, operator.cells.shape)
    channel = 0
    for axis in operator.output.channel:
        channel = channel * operator.cells.shape[axis] + out[axis]
    return channel


def operand_number(operator: Operator, part: int, *, right: bool) -> int | None:
    """Place of an operand in `Operator.operands` (and a leaf of the trace); None for ONES."""
    number = 0
    for i, other in enumerate(operator.parts):
        for side, operand in ((False, other.left), (True, other.right)):
            if operand is None:
                continue
            ones = is_ones(operand)
            if i == part and side == right:
                return None if ones else number
            number += not ones
    raise ValueError(f"part {part}: it has no such operand")


def is_ones(operand: Operand) -> bool:
    return operand.source is Source.ONES


# ---------------------------------------------------------------- records
def read_entry(data: bytes) -> Entry:
    """An axis' record."""
    if len(data) != AXIS_RECORD:
        raise ValueError(f"record: expected {AXIS_RECORD} bytes, got {len(data)}")
    return (
        int.from_bytes(data[:4], "big", signed=True),
        int.from_bytes(data[4:], "big", signed=True),
    )


def read_requant(data: bytes) -> tuple[int, int, int]:
    """(bits of the scale, low, high)."""
    if len(data) != REQUANT_RECORD:
        raise ValueError(f"record: expected {REQUANT_RECORD} bytes, got {len(data)}")
    low, high = (int.from_bytes(data[i : i + 4], "big", signed=True) for i in (4, 8))
    return int.from_bytes(data[:4], "big"), low, high


def read_interval(data: bytes) -> tuple[int, int, int, int]:
    """(channel, first state, last state, value)."""
    if len(data) != INTERVAL_RECORD:
        raise ValueError(f"record: expected {INTERVAL_RECORD} bytes, got {len(data)}")
    start, end, value = (int.from_bytes(data[i : i + 4], "big", signed=True) for i in (4, 8, 12))
    return int.from_bytes(data[:4], "big"), start, end, value
