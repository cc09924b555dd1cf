"""The arbiter: one step of a fold, and the rule that makes a cell of the last state.

This is all of a dispute that computes anything, and the twin of the contract's last function. What
a step reads is opened against roots that both players are held to; nothing is looked up. `step`
asks a `Witness`, so that whoever prepares the openings walks the same way as the arbiter does.

The order of the openings, for one summand: of the left operand first the table's record of each
axis that has one, then the chunk of its cell; then the same of the right operand. The first axis
whose index is outside the tensor makes the summand 0 and ends it. An argmax reads summand j, then
the one that leads so far. Cells are taken as their bytes say, in their range or not: for those
beyond it there are moves of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from proofml.optimistic import cells, indexing, merkle, softfloat
from proofml.optimistic.indexing import Entry, Place, Record
from proofml.optimistic.moves import Opening
from proofml.optimistic.program import LEAST, Cells, Fold, Operand, Operator, Part, Rule, Table


class BadOpening(ValueError):
    """An opening that does not verify, is missing, or is one too many."""


class Witness(Protocol):
    """Where a step's numbers come from."""

    def record(self, record: Record) -> Entry:
        """One record of an axis' table."""
        ...

    def cell(self, number: int, tensor: Cells, flat: int) -> int:
        """A cell of operand `number` (as in `Operator.operands`)."""
        ...


def start_state(fold: Fold) -> int:
    """The state before the first summand."""
    return LEAST if fold is Fold.MAXIMUM else 0


def step(operator: Operator, cell: int, summand: int, state: int, witness: Witness) -> int:
    """The state after summand `summand` of cell `cell`, from the one before it.

    Raises:
        ValueError: no such cell or summand; for an argmax also a state that is no summand.
    """
    value = _summand(operator, cell, summand, witness)
    match operator.fold:
        case Fold.SUM:
            return state + value
        case Fold.MAXIMUM:
            return max(state, value)
        case Fold.ARGMAX:
            return summand if value > _summand(operator, cell, state, witness) else state


def locate(
    operand: Operand, place: Place, entry: Callable[[Record], Entry]
) -> tuple[int | None, int]:
    """(flat index of the operand's cell, factor of its tables); None where the summand is 0."""
    records = iter(indexing.wanted(operand, place))
    flat, factor = 0, 1
    for axis in operand.axes:
        if axis.table is None:
            index = axis.offset
            index += place.out[axis.out] * axis.stride if axis.out >= 0 else 0
            index += place.sums[axis.sum] * axis.dilation if axis.sum >= 0 else 0
        else:
            index, coefficient = entry(next(records))
            factor *= coefficient
        if not 0 <= index < axis.length:
            return None, 0
        flat = flat * axis.length + index
    return flat, factor


def _summand(operator: Operator, cell: int, summand: int, witness: Witness) -> int:
    place = indexing.at(operator, cell, summand)
    result = place.part.coefficient
    for right, operand in _sides(place.part):
        number = indexing.operand_number(operator, place.number, right=right)
        if number is None:
            continue
        flat, factor = locate(operand, place, witness.record)
        if flat is None:
            return 0
        result *= factor * witness.cell(number, operand.cells, flat)
    return result


def _sides(part: Part) -> Iterator[tuple[bool, Operand]]:
    yield False, part.left
    if part.right is not None:
        yield True, part.right


# ---------------------------------------------------------------- what the ledger calls
def fold_step(
    operator: Operator,
    roots: Sequence[bytes],
    cell: int,
    summand: int,
    state: int,
    openings: Sequence[Opening],
) -> int:
    """`step` by openings, each of them checked, none left over.

    Args:
        roots: of the operands' tensors, as in the operator's leaf of the trace.

    Raises:
        BadOpening: naming the first that is wrong.
    """
    if operator.fold is Fold.ARGMAX and not 0 <= state < operator.summands:
        raise BadOpening(f"state {state}: expected one of {operator.summands} summands")
    witness = _Opened(roots, openings)
    result = step(operator, cell, summand, state, witness)
    if witness.used != len(openings):
        raise BadOpening(f"openings: expected {witness.used}, got {len(openings)}")
    return result


class _Opened:
    """A witness whose numbers are opened, one opening after the other."""

    def __init__(self, roots: Sequence[bytes], openings: Sequence[Opening]) -> None:
        self._roots = roots
        self._openings = openings
        self.used = 0

    def record(self, record: Record) -> Entry:
        opening = self._next(record.leaf)
        _check_table(record.table, opening)
        return indexing.read_entry(opening.leaf[record.start : record.end])

    def cell(self, number: int, tensor: Cells, flat: int) -> int:
        chunk, at = cells.place(tensor, flat)
        opening = self._next(chunk)
        _check(opening, cells.chunk_bytes(tensor, chunk), tensor.chunks, self._roots[number])
        return cells.raw_value(tensor, opening.leaf, at)

    def _next(self, leaf: int) -> Opening:
        if self.used == len(self._openings):
            raise BadOpening(f"openings: expected more than {self.used}")
        found = self._openings[self.used]
        if found.index != leaf:
            raise BadOpening(f"opening {self.used}: expected leaf {leaf}, got {found.index}")
        self.used += 1
        return found


def check_cell(cells_: Cells, root: bytes, flat: int, opening: Opening) -> int:
    """A cell of the tensor under `root`, in its range or not.

    Raises:
        BadOpening: the opening is not of that cell's chunk, or does not verify.
    """
    return _Opened((root,), (opening,)).cell(0, cells_, flat)


def check_chunk(cells_: Cells, root: bytes, opening: Opening) -> None:
    """That these are the bytes of a chunk of the tensor under `root`.

    Raises:
        BadOpening: they are not.
    """
    length = cells.chunk_bytes(cells_, opening.index)
    _check(opening, length, cells_.chunks, root)


def apply_rule(operator: Operator, cell: int, state: int, opening: Opening | None) -> int:
    """What the operator's rule makes of the last state.

    Args:
        opening: a leaf of the rule's table that has the record, None for rules without one.

    Raises:
        BadOpening: it does not verify, or has no record for this channel and state.
    """
    rule, table = operator.output.rule, operator.output.table
    if (opening is None) != (table is None):
        raise BadOpening(f"rule {rule.name}: expected {'no' if table is None else 'a'} record")
    if table is None or opening is None:
        return max(state, 0) if rule is Rule.RELU else state
    channel = indexing.channel_of(operator, cell)
    if rule is Rule.REQUANT:
        record = Record(table, channel)
        if opening.index != record.leaf:
            raise BadOpening(f"rule: expected leaf {record.leaf}, got {opening.index}")
        _check_table(table, opening)
        scale, low, high = indexing.read_requant(opening.leaf[record.start : record.end])
        try:
            return softfloat.requantise(state, scale, low, high)
        except ValueError as error:
            raise BadOpening(f"rule: channel {channel}: {error}") from error
    _check_table(table, opening)
    for at in range(0, len(opening.leaf), table.size):
        found, start, end, value = indexing.read_interval(opening.leaf[at : at + table.size])
        if found == channel and start <= state <= end:
            return value
    raise BadOpening(f"rule: leaf {opening.index} says nothing of state {state}, channel {channel}")


def _check_table(table: Table, opening: Opening) -> None:
    leaves = indexing.leaves_of(table)
    if opening.index >= leaves:
        raise BadOpening(f"opening: expected a leaf below {leaves}, got {opening.index}")
    _check(opening, indexing.leaf_bytes(table, opening.index), leaves, table.root)


def _check(opening: Opening, length: int, leaves: int, root: bytes) -> None:
    where = f"leaf {opening.index}"
    if len(opening.leaf) != length:
        raise BadOpening(f"{where}: expected {length} bytes, got {len(opening.leaf)}")
    try:
        found = merkle.root_of(opening.leaf, opening.index, leaves, opening.path)
    except merkle.BadTree as error:
        raise BadOpening(str(error)) from error
    if found != root:
        raise BadOpening(f"{where}: expected a path to {root.hex()}, got {found.hex()}")
