"""Lookup tables of a graph, rebuilt by prover and verifier from the recipes alone.

A lookup shows that a tuple (id, c1, c2) is a row of the public table of that id. Two gadgets:

*Direct*: rows (f(a), a) for every a in the argument's range. One lookup of (y, a).

*Windowed*, for ranges too long to be written out. f is constant on intervals; each is covered by
windows [T, T + 2^w), rows (f, T). The prover commits d = a - T; one lookup of (y, a - d), one of
d in [0, 2^w). The first and last interval, where f saturates, may be far longer than the others:
their windows have width 2^wt, their rows are stored as (f, T - Delta), and their d as d + Delta.
With |a| <= A for all arguments of the class, Delta = 2A + 2^w + 1 and

    4A + 2^w + 2^wt + 1 < p

no mixture of a row of one sort with a d of the other can give an argument: body row and tail d
give A + 1 <= a <= p - A - 1, tail row and body d give -p + A < a < -A. So (y, a - d) in the table
and d in the range table imply y = f(a), for every a that the range analysis admits.

Widths are chosen to make all tables of the model together as short as possible; the choice is a
function of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.field.babybear import P
from proofml.circuits.functions import Function, Relu, Requant, Steps
from proofml.circuits.graph import ArgMax, Graph, Input, Maximum, Step
from proofml.circuits.ranges import ranges

Ints = NDArray[np.int64]

#: Rows of all tables together: what a verifier evaluates in well under a second.
MAX_ROWS = 1 << 22
#: A direct table of a step that could be windowed is written out up to this length.
MAX_DIRECT = 1 << 13
_WIDEST_BODY = 16
_BODIES = range(2, _WIDEST_BODY + 1)
_TAILS = range(2, 17)


class TableError(ValueError):
    """The graph has no tables within bounds: which node, what was expected, what came."""


@dataclass(frozen=True)
class Windows:
    """A class of steps that share widths, and its range table: d in [0, 2^w) or the tails."""

    table: int
    body: int
    tail: int
    delta: int


@dataclass(frozen=True)
class Table:
    """Rows of consecutive ids `first_id .. first_id + ids - 1`.

    Attributes:
        id_of, c1, c2: int64 [rows].
    """

    first_id: int
    ids: int
    id_of: Ints = field(repr=False)
    c1: Ints = field(repr=False)
    c2: Ints = field(repr=False)

    @property
    def rows(self) -> int:
        return len(self.c1)


@dataclass(frozen=True)
class Direct:
    """Witness side of a direct table: the row of argument a, channel k is `a - low + k * span`."""

    low: int
    span: int

    def row(self, a: Ints, channel: Ints | int) -> Ints:
        return np.asarray(a - self.low + channel * self.span, np.int64)


@dataclass(frozen=True)
class Cover:
    """Witness side of a windowed table: intervals of all channels on one line.

    Channel k's argument a has the key `a - low + k * span`. Arrays are int64, one entry an
    interval: `start`, `end` (keys, inclusive), `kind` (0 inner, -1 first, 1 last), `row` of its
    first window.
    """

    low: int
    span: int
    body: int
    tail: int
    delta: int
    start: Ints = field(repr=False)
    end: Ints = field(repr=False)
    kind: Ints = field(repr=False)
    row: Ints = field(repr=False)

    def choose(self, a: Ints, channel: Ints | int) -> tuple[Ints, Ints]:
        """Row of the table and d (as committed) for each argument."""
        key = a - self.low + channel * self.span
        at = np.searchsorted(self.start, key, side="right") - 1
        start, end, kind = self.start[at], self.end[at], self.kind[at]
        from_start = key - start
        window = from_start >> self.body
        origin = np.minimum(start + (window << self.body), end - (1 << self.body) + 1)
        d = key - origin
        tails = kind != 0
        if tails.any():
            last = from_start >> self.tail
            d_last = from_start - (last << self.tail) + self.delta
            back = (end - key) >> self.tail
            d_first = key - (end - ((back + 1) << self.tail) + 1) + self.delta
            window = np.where(kind == 1, last, np.where(kind == -1, back, window))
            d = np.where(kind == 1, d_last, np.where(kind == -1, d_first, d))
        return self.row[at] + window, d


@dataclass(frozen=True)
class Lookup:
    """One use of a table over a whole tensor.

    Attributes:
        node: the value that the lookup is about (an Input that is committed, Step, Maximum,
            ArgMax).
        table: index into `Plan.tables`.
        channel: axes of the node's lookup tensor along which the id differs.
        ids: id of each channel, int64, row-major over these axes; one entry without any.
        windows: index into `Plan.windows` where the gadget is windowed, else -1.
        witness: how the prover finds rows.
    """

    node: int
    table: int
    channel: tuple[int, ...]
    ids: Ints = field(repr=False)
    windows: int
    witness: Direct | Cover = field(repr=False)


@dataclass(frozen=True)
class Plan:
    """Everything about tables that follows from the graph."""

    tables: tuple[Table, ...]
    windows: tuple[Windows, ...]
    lookups: tuple[Lookup, ...]

    @cached_property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


@dataclass(frozen=True)
class _Need:
    """A step that has to be windowed: its functions on [low, high]."""

    node: int
    functions: tuple[Function, ...]
    low: int
    high: int
    starts: tuple[Ints, ...] = field(repr=False)

    @cached_property
    def inner(self) -> Ints:
        """Lengths of the inner intervals of all channels."""
        return np.concatenate([np.diff(s)[1:] for s in self.starts])

    @cached_property
    def outer(self) -> Ints:
        """Lengths of the first and last intervals of all channels."""
        ends = [[np.diff(s)[:1], [self.high + 1 - s[-1]]] for s in self.starts]
        return np.concatenate([np.asarray(part, np.int64) for pair in ends for part in pair])

    @cached_property
    def widest(self) -> int:
        """Largest w with 2^w at most every inner interval."""
        return int(self.inner.min(initial=1 << _WIDEST_BODY)).bit_length() - 1

    def inner_rows(self, body: int) -> int:
        """Rows of the inner intervals for windows of 2^body."""
        return int((-(-self.inner >> body)).sum())

    def outer_rows(self, tail: int) -> int:
        """Rows of the first and last intervals for windows of 2^tail."""
        return int((-(-self.outer >> tail)).sum())


def plan(graph: Graph, *, committed: frozenset[int] = frozenset()) -> Plan:
    """The tables of a graph whose Inputs in `committed` are not public.

    Raises:
        TableError: an argument's range is too long, or the tables are.
    """
    return _Planner(graph, committed).plan()


class _Planner:
    def __init__(self, graph: Graph, committed: frozenset[int]) -> None:
        self.graph = graph
        self.committed = committed
        self.bounds = ranges(graph)
        self.tables: list[Table] = []
        self.shared: dict[object, tuple[int, Direct | Cover]] = {}
        self.next_id = 1

    def plan(self) -> Plan:
        needs = [
            need
            for number, node in enumerate(self.graph.nodes)
            if isinstance(node, Step) and (need := self._need(number, node)) is not None
        ]
        self._bound(needs)
        cap, tail = self._widths(needs)
        windows = self._range_tables(needs, cap, tail)
        by_node = {need.node: need for need in needs}
        lookups = []
        for number, node in enumerate(self.graph.nodes):
            if number in by_node:
                lookups.append(self._windowed(by_node[number], node, windows, cap, tail))
            elif (lookup := self._direct(number, node)) is not None:
                lookups.append(lookup)
        result = Plan(tuple(self.tables), tuple(windows.values()), tuple(lookups))
        if result.rows > MAX_ROWS:
            raise TableError(
                f"tables have {result.rows} rows, expected at most {MAX_ROWS}; quantise per tensor"
            )
        return result

    def _bound(self, needs: Sequence[_Need]) -> None:
        """Refuses what cannot fit before any table is built: an interval has a row at least."""
        distinct = {(need.functions, need.low, need.high): need for need in needs}
        least = 0
        for need in distinct.values():
            first = {function: need.starts[i] for i, function in enumerate(need.functions)}
            least += sum(len(starts) for starts in first.values())
        if least > MAX_ROWS:
            raise TableError(
                f"tables have at least {least} rows, expected at most {MAX_ROWS}; quantise "
                "per tensor"
            )

    # -- choosing ---------------------------------------------------------------------------

    def _need(self, number: int, node: Step) -> _Need | None:
        low, high = self.bounds[node.value]
        if not all(isinstance(f, Requant | Steps) for f in node.functions):
            return None
        starts = tuple(f.starts(low, high) for f in node.functions)
        need = _Need(number, node.functions, low, high, starts)
        length = (high - low + 1) * len(set(node.functions))
        cells = int(np.prod(node.shape, dtype=np.int64))
        # Written out, a step costs its rows; windowed, about two rows an interval and, for each
        # cell, a second lookup and a second committed number.
        intervals = sum(len(s) for s in starts)
        if length <= min(MAX_DIRECT, 2 * intervals + 2 * cells):
            return None
        return need

    def _widths(self, needs: Sequence[_Need]) -> tuple[int, int]:
        """Cap of the body's width, and width of the tails, with the fewest rows altogether."""
        outer = {tail: sum(need.outer_rows(tail) for need in needs) for tail in _TAILS}
        inner = [[need.inner_rows(min(need.widest, cap)) for cap in _BODIES] for need in needs]
        best: tuple[int, int, int] | None = None
        for index, cap in enumerate(_BODIES):
            bodies = {min(need.widest, cap) for need in needs}
            rows = sum(counts[index] for counts in inner) + sum(1 << body for body in bodies)
            for tail in _TAILS:
                total = rows + outer[tail] + (len(bodies) << tail)
                if best is None or total < best[0]:
                    best = (total, cap, tail)
        assert best is not None
        return best[1], best[2]

    # -- making -----------------------------------------------------------------------------

    def _add(self, ids: int, id_of: Ints, c1: Ints, c2: Ints) -> int:
        self.tables.append(Table(self.next_id, ids, id_of, c1, c2))
        self.next_id += ids
        return len(self.tables) - 1

    def _range_tables(self, needs: Sequence[_Need], cap: int, tail: int) -> dict[int, Windows]:
        found: dict[int, Windows] = {}
        for body in sorted({min(need.widest, cap) for need in needs}):
            members = [need for need in needs if min(need.widest, cap) == body]
            largest = max(max(abs(need.low), abs(need.high)) for need in members)
            if 4 * largest + (1 << body) + (1 << tail) + 1 >= P:
                worst = max(members, key=lambda need: max(abs(need.low), abs(need.high)))
                raise TableError(
                    f"value {worst.node}: an accumulator can reach {largest}; expected less than "
                    f"{(P - (1 << 17)) // 4}: the field is too small for this contraction"
                )
            delta = 2 * largest + (1 << body) + 1
            c1 = np.concatenate(
                [np.arange(1 << body), delta + np.arange(1 << tail)], dtype=np.int64
            )
            zero = np.zeros_like(c1)
            index = self._add(1, np.full_like(c1, self.next_id), c1, zero)
            found[body] = Windows(index, body, tail, delta)
        return found

    def _windowed(
        self, need: _Need, node: object, windows: dict[int, Windows], cap: int, tail: int
    ) -> Lookup:
        assert isinstance(node, Step)
        body = min(need.widest, cap)
        window = windows[body]
        key = (node.functions, need.low, need.high, body)
        if key not in self.shared:
            self.shared[key] = self._cover(need, window)
        table, witness = self.shared[key]
        first = self.tables[table].first_id
        different = list(dict.fromkeys(node.functions))
        ids = np.array([first + different.index(f) for f in node.functions], np.int64)
        at = list(windows).index(body)
        return Lookup(need.node, table, node.channel, ids, at, witness)

    def _cover(self, need: _Need, window: Windows) -> tuple[int, Cover]:
        """Rows and intervals of the different functions of a step, one after the other."""
        span = need.high - need.low + 1
        parts: list[tuple[Ints, Ints, Ints, Ints]] = []  # id, y, T and intervals below
        intervals: list[tuple[Ints, Ints, Ints, Ints]] = []
        rows = 0
        for index, function in enumerate(dict.fromkeys(need.functions)):
            starts = need.starts[need.functions.index(function)]
            ends = np.append(starts[1:] - 1, need.high)
            kind = np.zeros(len(starts), np.int64)
            kind[0] = -1
            kind[-1] = 1
            width = np.where(kind == 0, window.body, window.tail)
            count = -(-(ends - starts + 1) >> width)
            which = np.repeat(np.arange(len(starts)), count)
            first_row = np.cumsum(count) - count
            nth = np.arange(int(count.sum())) - first_row[which]
            s, e, k = starts[which], ends[which], kind[which]
            inner = np.minimum(s + (nth << window.body), e - (1 << window.body) + 1)
            last = s + (nth << window.tail) - window.delta
            first = e - ((nth + 1) << window.tail) + 1 - window.delta
            origin = np.where(k == 0, inner, np.where(k == 1, last, first))
            y = function.evaluate(starts)[which]
            parts.append((np.full_like(y, index), y, origin, nth))
            shift = index * span - need.low
            intervals.append((starts + shift, ends + shift, kind, rows + first_row))
            rows += len(y)
        ids, c1, c2 = (np.concatenate([part[i] for part in parts]) for i in range(3))
        table = self._add(len(parts), self.next_id + ids, c1, c2)
        start, end, kinds, row = (np.concatenate([part[i] for part in intervals]) for i in range(4))
        return table, Cover(
            need.low, span, window.body, window.tail, window.delta, start, end, kinds, row
        )

    def _direct(self, number: int, node: object) -> Lookup | None:
        functions: tuple[Function, ...] = ()
        channel: tuple[int, ...] = ()
        match node:
            case Step():
                functions, channel = node.functions, node.channel
                low, high = self.bounds[node.value]
            case Maximum():
                functions = (Relu(),)
                left, right = self.bounds[node.left], self.bounds[node.right]
                low, high = left[0] - right[1], left[1] - right[0]
            case ArgMax():
                bottom, top = self.bounds[node.value]
                low, high = 0, top - bottom
            case Input() if number in self.committed:
                low, high = node.low, node.high
            case _:
                return None
        different = tuple(dict.fromkeys(functions))
        if (high - low + 1) * max(1, len(different)) > MAX_ROWS:
            raise TableError(
                f"value {number}: a table of {high - low + 1} arguments, at most {MAX_ROWS}"
            )
        key = (different, low, high)
        if key not in self.shared:
            a = np.arange(low, high + 1, dtype=np.int64)
            count = max(1, len(different))
            c1 = np.concatenate([f.evaluate(a) for f in different] or [np.zeros_like(a)])
            ids = self.next_id + np.repeat(np.arange(count), len(a))
            table = self._add(count, ids, c1, np.tile(a, count))
            self.shared[key] = (table, Direct(low, high - low + 1))
        table, witness = self.shared[key]
        first = self.tables[table].first_id
        offsets = [different.index(f) for f in functions] or [0]
        ids = first + np.array(offsets, np.int64)
        return Lookup(number, table, channel, ids, -1, witness)
