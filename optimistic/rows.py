"""What a program commits beside its operators: weights, records of tables, descriptors.

`Tables` keeps all of it by its roots, so that whoever has the model can open any leaf.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.functions import Function, Requant
from proofml.optimistic import indexing
from proofml.optimistic.cells import Ints, decode
from proofml.optimistic.commit import Committed, commit_bytes, commit_tensor
from proofml.optimistic.encoding import AXIS_RECORD, INTERVAL_RECORD, REQUANT_RECORD
from proofml.optimistic.folding import interval_of
from proofml.optimistic.merkle import Tree
from proofml.optimistic.program import CHUNK, Cells, Operand, Operator, Rule, Table

Records: TypeAlias = NDArray[np.int32]

#: Records of one table. A Pair of codes has at most 2^16 intervals, an axis 2^24 cells.
MAX_RECORDS = 1 << 24


@dataclass
class Tables:
    """Constants of a program, by root: equal bytes share one, whatever they stand for.

    Attributes:
        committed: weights and tables.
        descriptors, tree: of the operators, in order.
        values: for each operator the number of the graph's value that it computes.
    """

    committed: dict[bytes, Committed] = field(default_factory=dict)
    descriptors: tuple[bytes, ...] = ()
    tree: Tree | None = None
    values: tuple[int, ...] = ()
    _decoded: dict[Table, Records] = field(default_factory=dict, repr=False)

    def weight(self, cells: Cells, values: Ints) -> bytes:
        """Commits a constant tensor; its root."""
        made = commit_tensor(cells, values)
        self.committed[made.root] = made
        return made.root

    def table(self, records: NDArray[np.int64]) -> Table:
        """Commits records [n, k] of k 32-bit integers each, signed or not."""
        count, fields = records.shape
        if not 1 <= count <= MAX_RECORDS:
            raise ValueError(f"a table: expected 1 to {MAX_RECORDS} records, got {count}")
        data = (records & 0xFFFFFFFF).astype(">u4").reshape(-1).view(np.uint8)
        size = 4 * fields
        made = commit_bytes(data, CHUNK // size * size)
        self.committed[made.root] = made
        return Table(made.root, count, size)

    def tensor(self, operand: Operand) -> Ints:
        """The numbers of a weight, of the operand's shape."""
        return decode(operand.cells, self.committed[operand.root].data)

    def records(self, table: Table) -> Records:
        """All records of a table as int32 [count, fields] (a scale's bits as they are)."""
        if table not in self._decoded:
            raw = self.committed[table.root].data.view(">i4").astype(np.int32)
            self._decoded[table] = raw.reshape(table.count, table.size // 4)
        return self._decoded[table]

    def rule_record(self, operator: Operator, cell: int, state: int) -> int | None:
        """Number of the record that turns a state into the cell; None where the rule has none.

        Raises:
            ValueError: no interval holds the state, which no true one can cause.
        """
        table, rule = operator.output.table, operator.output.rule
        if table is None:
            return None
        channel = indexing.channel_of(operator, cell)
        if rule is Rule.REQUANT:
            return channel
        return interval_of(self.records(table), channel, state)


def axis_records(tables: Tables, index: NDArray[np.int64], factor: NDArray[np.int64]) -> Table:
    """Records (index, coefficient) of an axis; index -1 for none."""
    made = tables.table(np.stack([index.reshape(-1), factor.reshape(-1)], axis=1))
    assert made.size == AXIS_RECORD
    return made


def requant_records(tables: Tables, functions: Sequence[Requant]) -> Table:
    """Records (scale, low, high), one for each channel."""
    made = tables.table(np.array([(f.scale, f.low, f.high) for f in functions], np.int64))
    assert made.size == REQUANT_RECORD
    return made


def interval_records(tables: Tables, functions: Sequence[Function], low: int, high: int) -> Table:
    """Records (channel, start, end, value) that cover [low, high] for each channel in order.

    Raises:
        ValueError: too many of them.
    """
    known: dict[int, NDArray[np.int64]] = {}
    rows, count = [], 0
    for channel, function in enumerate(functions):
        if id(function) not in known:
            starts = function.starts(low, high)
            ends = np.append(starts[1:] - 1, high)
            known[id(function)] = np.stack(
                [np.zeros_like(starts), starts, ends, function.evaluate(starts)], axis=1
            )
        count += len(known[id(function)])
        if count > MAX_RECORDS:  # before they are copied
            raise ValueError(f"a table of intervals: expected at most {MAX_RECORDS} records")
        own = known[id(function)].copy()
        own[:, 0] = channel
        rows.append(own)
    made = tables.table(np.concatenate(rows))
    assert made.size == INTERVAL_RECORD
    return made
