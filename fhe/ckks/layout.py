"""Where the elements of each value lie in the slots.

A value has a period, a power of two, and each of its elements a slot below the period. What the
choice costs is rotations, so candidates are counted out and the cheapest is taken, looking one
step ahead. Values that are multiplied with each other, and functions of a value, lie as it does.

Inputs are laid out by their owner, so an input that one matrix reads may hold an element several
times ("im2col"): the elements that one group of rows needs, one above the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from proofml.fhe.ckks.affine import Index, Matrix
from proofml.fhe.ckks.diagonals import shifts_of, split
from proofml.fhe.ckks.network import Linear, Network, Step

#: What a rotation costs, a product with a constant, and a key of its own.
_ROTATION, _CONSTANT, _KEY = 1.0, 0.04, 0.2
_MAX_CHANNELS = 512


class TooWide(ValueError):
    """No layout of a value fits: `needed` slots."""

    def __init__(self, where: str, needed: int) -> None:
        super().__init__(where)
        self.where = where
        self.needed = needed


@dataclass(frozen=True)
class Grid:
    """Spatial axes inside a plane: slot = channel * plane + y * rows + x * columns."""

    height: int
    width: int
    rows: int
    columns: int
    plane: int
    pitch: int


@dataclass(frozen=True, eq=False)
class Layout:
    """Slots of a value's elements.

    Attributes:
        period: a power of two.
        positions: slot of each element, below the period.
        grid: how images lie in it, where they do regularly.
        copies: for an input laid out for one matrix: slot of the column of each of its entries;
            then `filled` tells the element in each slot, or -1.
    """

    period: int
    positions: Index
    grid: Grid | None = None
    copies: Index | None = None
    filled: Index | None = None

    def columns(self, matrix: Matrix) -> Index:
        """Slots of the columns of the matrix' entries."""
        return self.positions[matrix.cols] if self.copies is None else self.copies

    def slots(self) -> Index:
        """The element in each slot of a period, -1 where there is none."""
        if self.filled is not None:
            return self.filled
        found = np.full(self.period, -1)
        found[self.positions] = np.arange(len(self.positions))
        return found


def power(count: int) -> int:
    """The least power of two that is not below `count`."""
    return 1 << max(0, count - 1).bit_length()


def compact(count: int) -> Layout:
    return Layout(power(count), np.arange(count))


def _image(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Channels, height and width of a tensor [1, c, h, w] or [1, c, w]."""
    if len(shape) == 4:
        return shape[1], shape[2], shape[3]
    return (shape[1], 1, shape[2]) if len(shape) == 3 else None


def _planes(channels: int, grid: Grid, offsets: Index) -> Layout:
    """Channels spread over `offsets` inside a plane, then over planes."""
    y, x = np.arange(grid.height), np.arange(grid.width)
    inside = (y[:, None] * grid.rows + x * grid.columns).reshape(-1)
    c = np.arange(channels)
    start = offsets[c % len(offsets)] + (c // len(offsets)) * grid.plane
    positions = (start[:, None] + inside).reshape(-1)
    planes = -(-channels // len(offsets))
    return Layout(power(planes) * grid.plane, positions, grid)


def _pitched(shape: tuple[int, ...]) -> Layout | None:
    """Rows that begin at multiples of a power of two, planes likewise."""
    image = _image(shape)
    if image is None or image[1] * image[2] == 1:
        return None
    channels, height, width = image
    pitch = power(width)
    grid = Grid(height, width, pitch, 1, power(height * pitch), pitch)
    return _planes(channels, grid, np.zeros(1, np.int64))


def _gapped(shape: tuple[int, ...], grid: Grid) -> Iterator[Layout]:
    """An image on the grid of the one before it, in every second row where it is half as large."""
    image = _image(shape)
    if image is None:
        return
    channels, height, width = image
    if height > grid.height or width > grid.width:
        return
    down, across = max(1, grid.height // height), max(1, grid.width // width)
    if height == 1:
        down = max(1, grid.plane // grid.rows)
    made = Grid(height, width, grid.rows * down, grid.columns * across, grid.plane, grid.pitch)
    yield _planes(channels, made, np.zeros(1, np.int64))
    # Channels also go where the gaps are.
    inner = np.arange(0, made.columns, grid.columns if grid.columns > 1 else 1)
    outer = np.arange(0, made.rows, grid.pitch)
    offsets = (outer[:, None] + inner).reshape(-1)
    count = 1 << (len(offsets).bit_length() - 1)
    if count > 1:
        yield _planes(channels, made, offsets[:count])


def _stacked(matrix: Matrix, channels: int) -> tuple[Layout, Layout] | None:
    """Input with the columns of each group of rows one above the other, and the output for it.

    Rows c * groups + g for all c share what they read: its k-th element lies in slot
    k * stride + g, and row (c, g) in slot c * stride + g.
    """
    rows, count = matrix.shape
    groups = rows // channels
    group = matrix.rows % groups
    key = np.unique(group * count + matrix.cols)
    starts = np.searchsorted(key // count, np.arange(groups))
    rank = np.searchsorted(key, group * count + matrix.cols) - starts[group]
    height = int(np.max(np.bincount(key // count, minlength=groups), initial=1))
    stride = power(groups)
    period = power(height) * stride
    copies = rank * stride + group
    filled = np.full(period, -1)
    filled[copies] = matrix.cols
    positions = np.full(count, -1)
    positions[matrix.cols] = copies
    row = np.arange(rows)
    outputs = (row // groups) * stride + row % groups
    return (
        Layout(period, positions, None, copies, filled),
        Layout(power(channels) * stride, outputs),
    )


def cost(matrix: Matrix, before: Layout, after: Layout) -> float:
    """Of one matrix, in rotations."""
    shifts = np.unique(
        shifts_of(before.columns(matrix), after.positions[matrix.rows], before.period, after.period)
    )
    chosen = split(shifts, min(before.period, after.period))
    folds = max(0, before.period.bit_length() - after.period.bit_length())
    rotations = _ROTATION * (chosen.rotations + folds)
    return rotations + _CONSTANT * len(shifts) + _KEY * len(chosen.steps)


def forward(parts: Sequence[tuple[Layout, Matrix]], after: Layout) -> Layout:
    """Moved on so far that no shift of a small window is negative: fewer keys."""
    least = 0
    for before, matrix in parts:
        modulus = min(before.period, after.period)
        shifts = shifts_of(
            before.columns(matrix), after.positions[matrix.rows], before.period, after.period
        )
        signed = np.where(shifts >= modulus // 2, shifts - modulus, shifts)
        least = min(least, int(signed.min(initial=0)))
    return replace(after, positions=(after.positions + least) % after.period)


def choose(network: Network, limit: int) -> list[Layout]:
    """A layout for every value, of a period of at most `limit`.

    Raises:
        TooWide: where none fits.
    """
    return _Chooser(network, limit).choose()


class _Chooser:
    def __init__(self, network: Network, limit: int) -> None:
        self._network = network
        self._limit = limit
        self._sizes = network.sizes
        self._inputs = len(network.inputs)
        self._class = _classes(network)
        self._found: dict[int, Layout] = {}

    def choose(self) -> list[Layout]:
        for value in range(self._inputs):
            self._place_input(value)
        for index, step in enumerate(self._network.steps):
            if isinstance(step, Linear):
                self._place_linear(self._inputs + index, step)
        return [self._found[self._class[value]] for value in range(len(self._sizes))]

    def _layout(self, value: int) -> Layout | None:
        return self._found.get(self._class[value])

    def _members(self, value: int) -> list[int]:
        return [v for v, c in enumerate(self._class) if c == self._class[value]]

    def _readers(self, value: int) -> list[tuple[int, Step]]:
        """Steps that read a value of the class, with the value that they make."""
        members = set(self._members(value))
        return [
            (self._inputs + i, step)
            for i, step in enumerate(self._network.steps)
            if members.intersection(step.operands)
        ]

    def _place_input(self, value: int) -> None:
        if self._layout(value) is not None:
            return
        shape = self._network.inputs[value]
        candidates = [compact(self._sizes[value])]
        pitched = _pitched(shape)
        if pitched is not None:
            candidates.append(pitched)
        readers = self._readers(value)
        results = [r for r in self._network.results if self._class[r.value] == self._class[value]]
        pairs: list[tuple[Layout, Layout | None]] = [(layout, None) for layout in candidates]
        if len(readers) == 1 and len(self._members(value)) == 1 and not results:
            made, step = readers[0]
            if isinstance(step, Linear) and self._layout(made) is None:
                pairs += _stacks(step.parts[value])
        best: tuple[float, Layout, int | None, Layout | None] | None = None
        for layout, after in pairs:
            if layout.period > self._limit or (after and after.period > self._limit):
                continue
            total, target = self._with(value, layout, after, readers)
            if best is None or total < best[0]:
                best = total, layout, target, after
        if best is None:
            raise TooWide(f"input {value}", min(layout.period for layout, _ in pairs))
        self._found[self._class[value]] = best[1]
        if best[2] is not None and best[3] is not None:
            self._found[self._class[best[2]]] = best[3]

    def _with(
        self,
        value: int,
        layout: Layout,
        after: Layout | None,
        readers: Sequence[tuple[int, Step]],
    ) -> tuple[float, int | None]:
        """What matrices that read an input and the next ones cost; the value laid out with it."""
        if after is not None:
            made, step = readers[0]
            assert isinstance(step, Linear)
            alone = len(step.parts) == 1
            total = cost(step.parts[value], layout, after) + self._ahead(made, after)
            return (total, made) if alone else (math.inf, None)
        self._found[self._class[value]] = layout
        total = 0.0
        for made, step in readers:
            if isinstance(step, Linear) and self._layout(made) is None:
                found = self._best(made, step)
                total += math.inf if found is None else found[0]
        del self._found[self._class[value]]
        return total, None

    def _place_linear(self, made: int, step: Linear) -> None:
        if self._layout(made) is not None:
            return
        best = self._best(made, step)
        if best is None:
            narrowest = min(layout.period for layout in self._candidates(step))
            raise TooWide(step.where, narrowest)
        self._found[self._class[made]] = best[1]

    def _best(self, made: int, step: Linear) -> tuple[float, Layout] | None:
        """The layout of what a matrix makes that is cheapest for it and the next ones."""
        candidates = [c for c in self._candidates(step) if c.period <= self._limit]
        best: tuple[float, Layout] | None = None
        for layout in [*candidates, *(self._forward(step, c) for c in candidates)]:
            total = self._own(step, layout) + self._ahead(made, layout)
            if best is None or total < best[0]:
                best = total, layout
        return best

    def _candidates(self, step: Linear) -> Iterator[Layout]:
        yield compact(step.size)
        pitched = _pitched(step.shape)
        if pitched is not None:
            yield pitched
        for value in step.parts:
            before = self._layout(value)
            if before is not None and before.grid is not None:
                yield from _gapped(step.shape, before.grid)
            if before is not None and before.copies is None and len(before.positions) == step.size:
                yield before  # what is added to the value itself lies best where it lies

    def _forward(self, step: Linear, after: Layout) -> Layout:
        known = [(self._layout(value), matrix) for value, matrix in step.parts.items()]
        return forward([(before, matrix) for before, matrix in known if before], after)

    def _own(self, step: Linear, after: Layout) -> float:
        total = 0.0
        for value, matrix in step.parts.items():
            before = self._layout(value)
            if before is not None:
                total += cost(matrix, before, after)
        return total

    def _ahead(self, value: int, layout: Layout) -> float:
        """What the next matrices cost at least if the value's class lies like this."""
        total = 0.0
        members = self._members(value)
        for made, step in self._readers(value):
            if not isinstance(step, Linear):
                continue
            for member in members:
                if member not in step.parts:
                    continue
                matrix = step.parts[member]
                fixed = self._layout(made)
                afters = [fixed] if fixed is not None else [compact(step.size)]
                if fixed is None and layout.grid is not None:
                    afters += _gapped(step.shape, layout.grid)
                    afters += [forward([(layout, matrix)], after) for after in afters]
                costs = [
                    cost(matrix, layout, after) for after in afters if after.period <= self._limit
                ]
                total += min(costs, default=math.inf)
        return total


def _stacks(matrix: Matrix) -> Iterator[tuple[Layout, Layout]]:
    for channels in range(1, min(matrix.shape[0], _MAX_CHANNELS) + 1):
        if matrix.shape[0] % channels == 0:
            found = _stacked(matrix, channels)
            if found is not None:
                yield found


def _classes(network: Network) -> Sequence[int]:
    """For each value the first one that has to lie as it does."""
    parent = list(range(len(network.sizes)))

    def root(value: int) -> int:
        while parent[value] != value:
            value = parent[value]
        return value

    first = len(network.inputs)
    for index, step in enumerate(network.steps):
        if isinstance(step, Linear):
            continue
        for operand in step.operands:
            a, b = root(first + index), root(operand)
            parent[max(a, b)] = min(a, b)
    return [root(value) for value in range(len(parent))]
