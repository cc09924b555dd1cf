"""Sparse matrices over tensors laid flat, and sums of them: what lies between two non-linear steps.

Every product of matrices adds its terms in one fixed order, so that the same model gives the same
constants to the last bit on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Index = NDArray[np.int64]

#: Entries of one matrix, and terms while two are multiplied.
MAX_ENTRIES = 1 << 24


class TooManyEntries(ValueError):
    """A matrix beyond `MAX_ENTRIES`."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """Entries sorted by row, then column; no entry twice, none that is zero."""

    shape: tuple[int, int]
    rows: Index
    cols: Index
    data: Reals

    @property
    def is_identity(self) -> bool:
        return self.is_gather and bool((self.cols == np.arange(self.shape[1])).all())

    @property
    def is_gather(self) -> bool:
        """Whether it only puts every element in one other place: square, ones, a permutation."""
        count = self.shape[1]
        return (
            self.shape[0] == count == len(self.rows)
            and bool((self.data == 1.0).all())
            and bool((self.rows == np.arange(count)).all())
            and bool((np.bincount(self.cols, minlength=count) == 1).all())
        )

    def apply(self, vectors: Reals) -> Reals:
        """[samples, columns] -> [samples, rows]; not in a fixed order: for what is only looked at.

        Samples are taken one by one where all at once would need much memory.
        """
        result = np.zeros((len(vectors), self.shape[0]))
        if len(self.rows) == 0:
            return result
        starts = np.flatnonzero(np.diff(self.rows, prepend=-1))
        present = self.rows[starts]
        for i, vector in enumerate(vectors):
            result[i, present] = np.add.reduceat(vector[self.cols] * self.data, starts)
        return result

    def times(self, vector: Reals) -> Reals:
        """One vector, terms added in the order of the columns."""
        return np.bincount(
            self.rows, self.data * vector[self.cols], minlength=self.shape[0]
        ).astype(np.float64)


def identity(count: int) -> Matrix:
    index = np.arange(count)
    return Matrix((count, count), index, index, np.ones(count))


def gather(index: Index, count: int) -> Matrix:
    """Row i is element `index[i]` of `count`, or zero where that is negative."""
    flat = index.reshape(-1)
    rows = np.flatnonzero(flat >= 0)
    return Matrix((flat.size, count), rows, flat[rows], np.ones(len(rows)))


def from_entries(shape: tuple[int, int], rows: Index, cols: Index, data: Reals) -> Matrix:
    """Entries in any order; those of one place are added in the order in which they are given."""
    if len(rows) > MAX_ENTRIES:
        raise TooManyEntries(f"{len(rows)} terms, at most {MAX_ENTRIES}")
    key = rows * shape[1] + cols
    order = np.argsort(key, kind="stable")
    key, data = key[order], data[order]
    first = np.diff(key, prepend=-1) != 0
    place = np.cumsum(first) - 1
    sums = np.bincount(place, data, minlength=int(first.sum())).astype(np.float64)
    kept = sums != 0.0
    unique = key[first][kept]
    return Matrix(shape, unique // shape[1], unique % shape[1], sums[kept])


def compose(left: Matrix, right: Matrix) -> Matrix:
    """The matrix of `left` after `right`."""
    if right.is_identity:
        return left
    starts = np.searchsorted(right.rows, np.arange(right.shape[0] + 1))
    counts = np.diff(starts)[left.cols]
    total = int(counts.sum())
    if total > MAX_ENTRIES:
        raise TooManyEntries(f"{total} terms, at most {MAX_ENTRIES}")
    ends = np.cumsum(counts)
    inside = np.arange(total) - np.repeat(ends - counts, counts)
    index = np.repeat(starts[left.cols], counts) + inside
    return from_entries(
        (left.shape[0], right.shape[1]),
        np.repeat(left.rows, counts),
        right.cols[index],
        np.repeat(left.data, counts) * right.data[index],
    )


def add(left: Matrix, right: Matrix) -> Matrix:
    return from_entries(
        left.shape,
        np.concatenate([left.rows, right.rows]),
        np.concatenate([left.cols, right.cols]),
        np.concatenate([left.data, right.data]),
    )


@dataclass(frozen=True, eq=False)
class Form:
    """A tensor as an affine function of values: the sum of `parts[value]` of each, plus `bias`.

    Attributes:
        shape: of the tensor; its elements are numbered in C order.
        parts: number of a value -> matrix.
        bias: one number for each element.
    """

    shape: tuple[int, ...]
    parts: Mapping[int, Matrix]
    bias: Reals

    @property
    def size(self) -> int:
        return len(self.bias)

    def after(self, matrix: Matrix, shape: tuple[int, ...], bias: Reals | None = None) -> Form:
        """A matrix applied to it, and a bias added."""
        moved = matrix.times(self.bias)
        parts = {value: compose(matrix, part) for value, part in self.parts.items()}
        return Form(shape, parts, moved if bias is None else moved + bias)

    def plus(self, other: Form) -> Form:
        """Of the same shape."""
        parts = dict(self.parts)
        for value, part in other.parts.items():
            parts[value] = add(parts[value], part) if value in parts else part
        return Form(self.shape, parts, self.bias + other.bias)

    def moved(self, index: Index) -> Form:
        """Elements in other places; `index` has the new shape, negative ones become zero."""
        return self.after(gather(index, self.size), index.shape)


def whole(value: int, shape: tuple[int, ...]) -> Form:
    """A value itself."""
    count = int(np.prod(shape, dtype=np.int64))
    return Form(shape, {value: identity(count)}, np.zeros(count))
