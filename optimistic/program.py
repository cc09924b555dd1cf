"""A program: the integer graph as an arbiter reads it, one cell and one summand at a time.

`lower` makes it of a `circuits.Graph`. Each operator has one output tensor; each of its cells is

    y[o] = f_o( fold over j in [0, J) of summand(o, j) )

with the same J for all cells of an operator. A *sum* folds `s' = s + c * L * R` from 0; a *maximum*
folds `s' = max(s, L)` from `LEAST`; an *argmax* folds `s' = j if L_j > L_s else s` from 0. Every
state and product fits an int64, and no true state leaves an int32 (`circuits.ranges` proves it).

Which cells L and R are, and the coefficient c, follow from o and j by the operator's parts alone:
arithmetic on indices, or one record of a committed table. So an operator's *descriptor*
(`encoding`) with its tables' roots is all that an arbiter needs beside the cells themselves, and
the Merkle root over all descriptors is the model's commitment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

Shape: TypeAlias = tuple[int, ...]

#: State before the first summand of a maximum.
LEAST = -(1 << 31)
#: Bytes of one leaf of a tensor's or table's tree; the last one may be shorter.
CHUNK = 1024


class Fold(IntEnum):
    SUM = 0
    MAXIMUM = 1
    ARGMAX = 2


class Source(IntEnum):
    """Where an operand's tensor is from."""

    INPUT = 0  # the claim's input `index`
    WEIGHT = 1  # a constant of the model: its root stands in the descriptor
    OPERATOR = 2  # the output of operator `index`, an earlier one
    ONES = 3  # the number 1; nothing to open


class Rule(IntEnum):
    """What becomes of the folded state."""

    IDENTITY = 0
    REQUANT = 1  # rint(clip(float32(s) * scale, low, high)), records of the channel
    INTERVALS = 2  # constant on intervals of s, records (channel, start, end, value)
    RELU = 3  # max(s, 0)


@dataclass(frozen=True)
class Cells:
    """How the cells of a tensor are written: `value = low + unsigned big-endian(width bytes)`.

    Attributes:
        shape: row-major; at least one cell.
        width: 1, 2 or 4 bytes, the least that hold `high - low`.
        low, high: every cell's value lies between; a byte pattern beyond `high` is no cell.
    """

    shape: Shape
    width: int
    low: int
    high: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def chunks(self) -> int:
        """Leaves of the tensor's tree."""
        return -(-self.count * self.width // CHUNK)

    @classmethod
    def of(cls, shape: Shape, low: int, high: int) -> Cells:
        span = high - low
        return cls(shape, 1 if span < 1 << 8 else 2 if span < 1 << 16 else 4, low, high)


@dataclass(frozen=True)
class Table:
    """Committed constant records of one length, the model's own (`records` is not in descriptors).

    Attributes:
        root: of the tree over the records' bytes, `CHUNK // size` whole records in a leaf.
        count: of records.
        size: bytes of one record.
    """

    root: bytes
    count: int
    size: int


@dataclass(frozen=True)
class Axis:
    """How one axis of an operand is indexed.

    Without a table the index is `out[axis out] * stride + sum[axis sum] * dilation + offset`
    (either may be absent: -1), and the summand is 0 where it leaves [0, length). With one, record
    `out[axis out] * taps + sum[axis sum]` is (index int32, coefficient int32); index -1 makes the
    summand 0, and the coefficient multiplies it.
    """

    length: int
    out: int = -1
    sum: int = -1
    stride: int = 0
    dilation: int = 0
    offset: int = 0
    table: Table | None = None


@dataclass(frozen=True)
class Operand:
    """A tensor and how its cell is found; `axes` one for each axis of `cells.shape`."""

    source: Source
    index: int
    cells: Cells
    axes: tuple[Axis, ...]
    root: bytes = b""  # of a WEIGHT only


@dataclass(frozen=True)
class Part:
    """Consecutive summands: `coefficient * left * right` over all of `sums` (last one fastest)."""

    coefficient: int
    sums: Shape
    left: Operand
    right: Operand | None = None

    @property
    def count(self) -> int:
        return math.prod(self.sums)


@dataclass(frozen=True)
class Output:
    """`rule` with its records; `channel` lists the axes of the output along which it differs."""

    rule: Rule = Rule.IDENTITY
    channel: tuple[int, ...] = ()
    table: Table | None = None  # REQUANT: (scale u32, low i32, high i32) one a channel; INTERVALS


@dataclass(frozen=True)
class Operator:
    fold: Fold
    cells: Cells
    parts: tuple[Part, ...]
    output: Output
    name: str = ""  # of the ONNX node it stems from; not committed

    @property
    def summands(self) -> int:
        return sum(part.count for part in self.parts)

    @property
    def operands(self) -> tuple[Operand, ...]:
        """In the order in which a leaf of the trace lists their roots; ONES are not among them."""
        found = []
        for part in self.parts:
            for operand in (part.left, part.right):
                if operand is not None and operand.source is not Source.ONES:
                    found.append(operand)
        return tuple(found)


@dataclass(frozen=True)
class Port:
    """An input or output of the program; `index` of an output is its operator, or with
    `source` INPUT the input that it passes through."""

    name: str
    cells: Cells
    source: Source
    index: int


@dataclass(frozen=True)
class Program:
    """What is committed: operators, and which tensors are inputs and outputs.

    Attributes:
        root: of the Merkle tree over descriptors (leaf i of operator i), see `commit`.
    """

    operators: tuple[Operator, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    root: bytes
