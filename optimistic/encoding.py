"""Programs as bytes: operators' *descriptors*, which an arbiter reads, and the program's *header*.

    descriptor  u8 version = 1 | u8 fold | cells | u8 rule | u8 n, n * u8 channel axes
                | u8 0, or u8 1 and a table | u16 n, n * part
    part        i32 coefficient | u8 n, n * u32 sums | operand | u8 0, or u8 1 and an operand
    operand     u8 3 (ONES), or
                u8 source | u32 index | cells | 32 root, of a weight only | u8 n, n * axis
    axis        u32 length | i8 out | i8 sum | i32 stride | i32 dilation | i32 offset
                | u8 0, or u8 1 and a table
    table       32 root | u32 count | u16 size
    cells       u8 rank, rank * u32 | u8 width | i32 low | i32 high

    header      u32 operators | u16 n, n * port (inputs) | u16 n, n * port (outputs)
                | 32 root of the tree over the descriptors
    port        cells | u8 source | u32 index

The program's root is SHA-256 of 0x02 and the header. A ledger is given the header with a claim, so
that it knows which form each input has and which operator makes which output.

`read_operator` also checks what an arbiter relies upon (`check`), so that whatever it returns can
be folded without a further look: axes that exist, indices within what they index, records of the
right size.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from proofml.optimistic.program import (
    CHUNK,
    Axis,
    Cells,
    Fold,
    Operand,
    Operator,
    Output,
    Part,
    Port,
    Rule,
    Shape,
    Source,
    Table,
)
from proofml.optimistic.wire import HASH, Reader, WireError, hashes, unsigned

VERSION = 1
#: A move holds a descriptor behind a length of two bytes.
MAX_DESCRIPTOR = (1 << 16) - 1
MAX_RANK = 8
#: Axes summed over, and cells of a tensor, as `circuits.structure` has them.
MAX_SUMS = 8
MAX_CELLS = 1 << 26

MAX_PORTS = 256
MAX_HEADER = 1 << 16
#: Before the header's bytes; 0 and 1 are those of leaves and nodes of trees.
_HEADER = b"\x02"

AXIS_RECORD = 8
REQUANT_RECORD = 12
INTERVAL_RECORD = 16
_RECORD_OF = {Rule.REQUANT: REQUANT_RECORD, Rule.INTERVALS: INTERVAL_RECORD}
_INT32 = 1 << 31


def descriptor(operator: Operator) -> bytes:
    """The operator's only encoding; its name is not part of it.

    Raises:
        WireError: an operator that breaks a rule of `check`, or is too long.
    """
    check(operator)
    data = b"".join(
        (
            bytes((VERSION, operator.fold)),
            write_cells(operator.cells),
            bytes((operator.output.rule, len(operator.output.channel), *operator.output.channel)),
            _optional_table(operator.output.table),
            unsigned(len(operator.parts), 2, "parts"),
            *(_part(part) for part in operator.parts),
        )
    )
    if len(data) > MAX_DESCRIPTOR:
        raise WireError(f"descriptor: expected at most {MAX_DESCRIPTOR} bytes, got {len(data)}")
    return data


class BadDescriptor(WireError):
    """Bytes that are no operator's descriptor, or a header of no program."""


def read_operator(data: bytes, index: int | None = None, name: str = "") -> Operator:
    """The operator of these bytes, which `descriptor` gives back.

    Args:
        index: the operator's number, where it is known: it may read only what those before it
            make.
        name: for messages.

    Raises:
        BadDescriptor: other bytes.
    """
    try:
        operator = _read_operator(Reader(data, "descriptor", MAX_DESCRIPTOR), name)
        check(operator)
        if index is not None:
            check_order(operator, index)
    except WireError as error:
        raise BadDescriptor(str(error)) from error
    return operator


def _read_operator(reader: Reader, name: str) -> Operator:
    version = reader.unsigned(1, "version")
    if version != VERSION:
        raise WireError(f"descriptor: version: expected {VERSION}, got {version}")
    fold = Fold(_below(reader, len(Fold), "fold"))
    cells = read_cells(reader)
    rule = Rule(_below(reader, len(Rule), "rule"))
    channel = tuple(
        reader.unsigned(1, "channel") for _ in range(_below(reader, MAX_RANK + 1, "channels"))
    )
    table = _read_optional_table(reader, "output")
    parts = tuple(_read_part(reader) for _ in range(reader.unsigned(2, "parts")))
    reader.done()
    return Operator(fold, cells, parts, Output(rule, channel, table), name)


# ---------------------------------------------------------------- header
@dataclass(frozen=True)
class Header:
    """What a ledger knows of a program.

    Attributes:
        count: of operators.
        inputs, outputs: ports, whose names are not committed and empty.
        descriptors: root of the tree over the descriptors.
    """

    count: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    descriptors: bytes

    def to_bytes(self) -> bytes:
        return b"".join(
            (
                unsigned(self.count, 4, "operators"),
                unsigned(len(self.inputs), 2, "inputs"),
                *(_port(port) for port in self.inputs),
                unsigned(len(self.outputs), 2, "outputs"),
                *(_port(port) for port in self.outputs),
                hashes((self.descriptors,), "descriptor root"),
            )
        )

    @property
    def root(self) -> bytes:
        """The program's root."""
        return hashlib.sha256(_HEADER + self.to_bytes()).digest()


def read_header(data: bytes) -> Header:
    """The header of these bytes, which `to_bytes` gives back.

    Raises:
        BadDescriptor: other bytes, no operator, no output, an input that is not the one of its
            number, or an output of something that does not exist.
    """
    try:
        header = _read_header(Reader(data, "header", MAX_HEADER))
        _check_header(header)
    except WireError as error:
        raise BadDescriptor(str(error)) from error
    return header


def _read_header(reader: Reader) -> Header:
    count = reader.unsigned(4, "operators")
    inputs, outputs = _read_ports(reader, "inputs"), _read_ports(reader, "outputs")
    descriptors = reader.hash("descriptor root")
    reader.done()
    return Header(count, inputs, outputs, descriptors)


def _check_header(header: Header) -> None:
    if not header.count or not header.outputs:
        raise WireError("header: expected at least one operator and one output")
    for i, port in enumerate(header.inputs):
        if port.source is not Source.INPUT or port.index != i:
            raise WireError(f"header: input {i}: expected input {i}, got {port.index}")
    bounds = {Source.INPUT: len(header.inputs), Source.OPERATOR: header.count}
    for i, port in enumerate(header.outputs):
        if port.index >= bounds.get(port.source, 0):
            raise WireError(f"header: output {i}: expected an input or an operator that exists")


def _port(port: Port) -> bytes:
    return write_cells(port.cells) + bytes((port.source,)) + unsigned(port.index, 4, "index")


def _read_ports(reader: Reader, what: str) -> tuple[Port, ...]:
    count = reader.unsigned(2, what)
    if count > MAX_PORTS:
        raise WireError(f"header: {what}: expected at most {MAX_PORTS}, got {count}")
    found = []
    for _ in range(count):
        cells = read_cells(reader)
        source = Source(_below(reader, len(Source), "source"))
        found.append(Port("", cells, source, reader.unsigned(4, "index")))
    return tuple(found)


# ---------------------------------------------------------------- what an arbiter relies upon
def check(operator: Operator) -> None:
    """Every rule of an operator that its bytes alone can break.

    Raises:
        WireError: naming what breaks it.
    """
    _check_cells(operator.cells, "cells")
    if not operator.parts:
        raise WireError("parts: expected at least one")
    for i, part in enumerate(operator.parts):
        _check_part(part, operator, f"part {i}")
    if operator.summands >= _INT32:
        raise WireError(f"parts: expected fewer than 2^31 summands, got {operator.summands}")
    if operator.fold is Fold.ARGMAX and (
        len(operator.parts) != 1 or len(operator.parts[0].sums) != 1
    ):
        raise WireError("argmax: expected one part with one sum")
    _check_output(operator)


def check_order(operator: Operator, index: int) -> None:
    """That operator `index` reads only operators before it.

    Raises:
        WireError: it does not.
    """
    for number, operand in enumerate(operator.operands):
        if operand.source is Source.OPERATOR and operand.index >= index:
            raise WireError(
                f"operand {number}: expected an operator before {index}, got {operand.index}"
            )


def _check_output(operator: Operator) -> None:
    output, rank = operator.output, len(operator.cells.shape)
    if list(output.channel) != sorted(set(output.channel)):
        raise WireError(f"channel: expected ascending axes, got {output.channel}")
    if output.channel and output.channel[-1] >= rank:
        raise WireError(f"channel: expected axes below {rank}, got {output.channel}")
    size = _RECORD_OF.get(output.rule)
    if size is None:
        if output.table is not None or output.channel:
            raise WireError(f"rule {output.rule.name}: expected no table and no channels")
        return
    if output.table is None or output.table.size != size:
        raise WireError(f"rule {output.rule.name}: expected a table of {size}-byte records")
    _check_table(output.table, "output")
    channels = math.prod(operator.cells.shape[axis] for axis in output.channel)
    count = output.table.count
    if count < channels or (output.rule is Rule.REQUANT and count != channels):
        raise WireError(f"output: expected records of {channels} channels, got {count}")


def _check_part(part: Part, operator: Operator, where: str) -> None:
    if not -_INT32 <= part.coefficient < _INT32:
        raise WireError(f"{where}: coefficient: expected an int32, got {part.coefficient}")
    if len(part.sums) > MAX_SUMS or any(not 1 <= n <= MAX_CELLS for n in part.sums):
        raise WireError(f"{where}: sums: expected at most {MAX_SUMS}, got {part.sums}")
    if operator.fold is not Fold.SUM and (part.coefficient != 1 or part.right is not None):
        raise WireError(f"{where}: {operator.fold.name}: expected coefficient 1 and one operand")
    _check_operand(part.left, part, operator, f"{where}, left")
    if part.right is not None:
        _check_operand(part.right, part, operator, f"{where}, right")


def _check_operand(operand: Operand, part: Part, operator: Operator, where: str) -> None:
    if operand.source is Source.ONES:
        if operand != ONES:
            raise WireError(f"{where}: ones: expected nothing but the source")
        return
    _check_cells(operand.cells, where)
    if len(operand.root) != (HASH if operand.source is Source.WEIGHT else 0):
        raise WireError(f"{where}: expected a root of {HASH} bytes where it is a weight's, else 0")
    if not 0 <= operand.index < 1 << 32:
        raise WireError(f"{where}: index: expected a u32, got {operand.index}")
    if tuple(axis.length for axis in operand.axes) != operand.cells.shape:
        raise WireError(f"{where}: expected axes of the lengths {operand.cells.shape}")
    for i, axis in enumerate(operand.axes):
        _check_axis(axis, part, operator.cells.shape, f"{where}, axis {i}")


def _check_axis(axis: Axis, part: Part, shape: Shape, where: str) -> None:
    if not -1 <= axis.out < len(shape) or not -1 <= axis.sum < len(part.sums):
        raise WireError(f"{where}: expected an axis and a sum that exist, got {axis}")
    if any(not -_INT32 <= n < _INT32 for n in (axis.stride, axis.dilation, axis.offset)):
        raise WireError(f"{where}: expected int32 steps, got {axis}")
    if axis.table is None:
        if (axis.out < 0 and axis.stride) or (axis.sum < 0 and axis.dilation):
            raise WireError(f"{where}: expected step 0 where there is no axis, got {axis}")
        return
    if axis.stride or axis.dilation or axis.offset:
        raise WireError(f"{where}: expected no steps beside a table, got {axis}")
    _check_table(axis.table, where)
    places = shape[axis.out] if axis.out >= 0 else 1
    count = places * (part.sums[axis.sum] if axis.sum >= 0 else 1)
    if axis.table.size != AXIS_RECORD or axis.table.count != count:
        raise WireError(f"{where}: expected {count} records of {AXIS_RECORD} bytes")


def _check_table(table: Table, where: str) -> None:
    if len(table.root) != HASH or not 1 <= table.count < 1 << 32 or not 1 <= table.size <= CHUNK:
        raise WireError(f"{where}: table: expected a root, and records of 1 to {CHUNK} bytes")


def _check_cells(cells: Cells, where: str) -> None:
    if len(cells.shape) > MAX_RANK or any(n < 1 for n in cells.shape):
        raise WireError(f"{where}: shape: expected at most {MAX_RANK} axes, got {cells.shape}")
    if cells.count > MAX_CELLS:
        raise WireError(f"{where}: expected at most {MAX_CELLS} cells, got {cells.count}")
    if not -_INT32 <= cells.low <= cells.high < _INT32:
        raise WireError(f"{where}: expected an int32 range, got {cells.low} to {cells.high}")
    if cells != Cells.of(cells.shape, cells.low, cells.high):
        raise WireError(f"{where}: width: expected the least, got {cells.width}")


# ---------------------------------------------------------------- the parts
#: Nothing is known of it but that it is 1.
ONES = Operand(Source.ONES, 0, Cells((), 1, 1, 1), ())


def write_cells(cells: Cells) -> bytes:
    return b"".join(
        (
            unsigned(len(cells.shape), 1, "rank"),
            *(unsigned(n, 4, "length") for n in cells.shape),
            unsigned(cells.width, 1, "width"),
            _int32(cells.low, "low"),
            _int32(cells.high, "high"),
        )
    )


def read_cells(reader: Reader) -> Cells:
    """Cells that fit the rules, or WireError."""
    shape = tuple(reader.unsigned(4, "length") for _ in range(_below(reader, MAX_RANK + 1, "rank")))
    width = reader.unsigned(1, "width")
    cells = Cells(shape, width, _read_int32(reader, "low"), _read_int32(reader, "high"))
    _check_cells(cells, "cells")
    return cells


def _part(part: Part) -> bytes:
    return b"".join(
        (
            _int32(part.coefficient, "coefficient"),
            unsigned(len(part.sums), 1, "sums"),
            *(unsigned(n, 4, "sum") for n in part.sums),
            _operand(part.left),
            b"\x00" if part.right is None else b"\x01" + _operand(part.right),
        )
    )


def _read_part(reader: Reader) -> Part:
    coefficient = _read_int32(reader, "coefficient")
    sums = tuple(reader.unsigned(4, "sum") for _ in range(_below(reader, MAX_SUMS + 1, "sums")))
    left = _read_operand(reader)
    return Part(coefficient, sums, left, _read_operand(reader) if reader.flag("right") else None)


def _operand(operand: Operand) -> bytes:
    if operand.source is Source.ONES:
        return bytes((Source.ONES,))
    return b"".join(
        (
            bytes((operand.source,)),
            unsigned(operand.index, 4, "index"),
            write_cells(operand.cells),
            operand.root,
            unsigned(len(operand.axes), 1, "axes"),
            *(_axis(axis) for axis in operand.axes),
        )
    )


def _read_operand(reader: Reader) -> Operand:
    source = Source(_below(reader, len(Source), "source"))
    if source is Source.ONES:
        return ONES
    index = reader.unsigned(4, "index")
    cells = read_cells(reader)
    root = reader.hash("root") if source is Source.WEIGHT else b""
    axes = tuple(_read_axis(reader) for _ in range(_below(reader, MAX_RANK + 1, "axes")))
    return Operand(source, index, cells, axes, root)


def _axis(axis: Axis) -> bytes:
    return b"".join(
        (
            unsigned(axis.length, 4, "length"),
            axis.out.to_bytes(1, "big", signed=True),
            axis.sum.to_bytes(1, "big", signed=True),
            _int32(axis.stride, "stride"),
            _int32(axis.dilation, "dilation"),
            _int32(axis.offset, "offset"),
            _optional_table(axis.table),
        )
    )


def _read_axis(reader: Reader) -> Axis:
    length = reader.unsigned(4, "length")
    out, total = (int.from_bytes(reader.take(1, key), "big", signed=True) for key in ("out", "sum"))
    stride, dilation, offset = (
        _read_int32(reader, key) for key in ("stride", "dilation", "offset")
    )
    return Axis(length, out, total, stride, dilation, offset, _read_optional_table(reader, "axis"))


def _optional_table(table: Table | None) -> bytes:
    if table is None:
        return b"\x00"
    return (
        b"\x01" + table.root + unsigned(table.count, 4, "count") + unsigned(table.size, 2, "size")
    )


def _read_optional_table(reader: Reader, where: str) -> Table | None:
    if not reader.flag(f"{where}: table"):
        return None
    return Table(reader.hash("root"), reader.unsigned(4, "count"), reader.unsigned(2, "size"))


def _int32(value: int, what: str) -> bytes:
    if not -_INT32 <= value < _INT32:
        raise WireError(f"{what}: expected an int32, got {value}")
    return value.to_bytes(4, "big", signed=True)


def _read_int32(reader: Reader, field: str) -> int:
    return int.from_bytes(reader.take(4, field), "big", signed=True)


def _below(reader: Reader, bound: int, field: str) -> int:
    value = reader.unsigned(1, field)
    if value >= bound:
        raise WireError(f"{field}: expected 0 to {bound - 1}, got {value}")
    return value
