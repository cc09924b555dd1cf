"""Sparse linear maps along one axis: what slicing, padding, pooling and summing have in common.

An `AxisMap` is a matrix M of small non-negative integers with `T[o] = sum_i M[o, i] x[i]`. Views
of tensors are products of such maps, one an axis, so that a claim on the view is a claim on its
source whose weights are pulled back axis by axis: `A_in[i] = sum_o M[o, i] A_out[o]`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from proofml.fields import FieldError

#: Longest axis, and most entries of one map: bounds for files that strangers write.
MAX_AXIS = 1 << 24
MAX_ENTRIES = 1 << 24
MAX_COEFFICIENT = 1 << 20

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class AxisMap:
    """`entries` are (out, in, coefficient), sorted, each pair once; None for the identity."""

    n_out: int
    n_in: int
    entries: tuple[tuple[int, int, int], ...] | None = None

    @classmethod
    def identity(cls, length: int) -> AxisMap:
        return cls(length, length)

    @classmethod
    def of(cls, n_out: int, n_in: int, entries: Iterable[tuple[int, int, int]]) -> AxisMap:
        """Normalised: sorted, merged, without zeros and out-of-range inputs; identity found."""
        merged: dict[tuple[int, int], int] = {}
        for out, into, coefficient in entries:
            if 0 <= into < n_in:
                key = (out, into)
                merged[key] = merged.get(key, 0) + coefficient
        kept = tuple((o, i, c) for (o, i), c in sorted(merged.items()) if c)
        if n_out == n_in and kept == tuple((i, i, 1) for i in range(n_in)):
            return cls(n_out, n_in)
        return cls(n_out, n_in, kept)

    @classmethod
    def window(
        cls,
        n_out: int,
        n_in: int,
        *,
        stride: int = 1,
        offset: int = 0,
        taps: int = 1,
        step: int = 1,
    ) -> AxisMap:
        """`T[o] = sum_k x[o * stride + k * step + offset]`, inputs outside counted as zero."""
        return cls.of(
            n_out,
            n_in,
            ((o, o * stride + k * step + offset, 1) for o in range(n_out) for k in range(taps)),
        )

    @classmethod
    def total(cls, n_in: int) -> AxisMap:
        """The sum over the axis, as a map to one cell."""
        return cls.window(1, n_in, taps=n_in)

    @property
    def is_identity(self) -> bool:
        return self.entries is None

    @cached_property
    def arrays(self) -> tuple[Ints, Ints, Ints]:
        """`entries` as three arrays: out, in, coefficient."""
        if self.entries is None:
            index = np.arange(self.n_in, dtype=np.int64)
            return index, index, np.ones(self.n_in, np.int64)
        table = np.array(self.entries, np.int64).reshape(-1, 3)
        return table[:, 0], table[:, 1], table[:, 2]

    @cached_property
    def row_sums(self) -> Ints:
        """Sum of the coefficients of each output, int64 [n_out]."""
        out, _, coefficient = self.arrays
        return np.bincount(out, weights=coefficient, minlength=self.n_out).astype(np.int64)

    def apply(self, x: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
        """The map along `axis` of an integer tensor."""
        if self.entries is None:
            return x
        out, into, coefficient = self.arrays
        lead, rest = x.shape[:axis], x.shape[axis + 1 :]
        result: NDArray[np.int64]
        if not len(out):
            return np.zeros((*lead, self.n_out, *rest), x.dtype)
        if self.n_out == 1 and len(into) == self.n_in and (coefficient == 1).all():
            result = x.sum(axis=axis, keepdims=True)
            return result
        taken = x.take(into, axis=axis)
        if (coefficient != 1).any():
            taken *= coefficient.reshape(-1, *(1,) * len(rest))
        # Entries are sorted, so those of one output are neighbours.
        starts = np.flatnonzero(np.concatenate([[True], out[1:] != out[:-1]]))
        if len(starts) < len(out):
            taken = np.add.reduceat(taken, starts, axis=axis)
        if len(starts) == self.n_out:
            return taken
        result = np.zeros((*lead, self.n_out, *rest), x.dtype)
        result[(slice(None),) * axis + (out[starts],)] = taken
        return result

    def to_json(self) -> object:
        if self.entries is None:
            return [self.n_in]
        out, into, coefficient = (column.tolist() for column in self.arrays)
        return [self.n_out, self.n_in, out, into, coefficient]

    @classmethod
    def read(cls, value: object, path: str) -> AxisMap:
        """Strictly from its JSON form; raises `FieldError` for anything that is not normal."""
        if not isinstance(value, list) or len(value) not in (1, 5):
            raise FieldError(path, "an axis map of 1 or 5 entries", value)
        n_out = integer_item(value[0], path, 1, MAX_AXIS)
        if len(value) == 1:
            return cls(n_out, n_out)
        n_in = integer_item(value[1], path, 1, MAX_AXIS)
        columns = []
        for column, top in zip(value[2:], (n_out - 1, n_in - 1, MAX_COEFFICIENT), strict=True):
            if not isinstance(column, list) or len(column) > MAX_ENTRIES:
                raise FieldError(path, f"a list of at most {MAX_ENTRIES} integers", column)
            columns.append([integer_item(item, path, 0, top) for item in column])
        if len({len(column) for column in columns}) != 1:
            raise FieldError(path, "three lists of one length", [len(c) for c in columns])
        result = cls.of(n_out, n_in, zip(*columns, strict=True))
        if result.to_json() != value:
            raise FieldError(path, "a sorted list of entries, each pair once", "another form")
        return result


def integer_item(value: object, path: str, low: int, high: int) -> int:
    """Reader of an integer within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise FieldError(path, f"an integer from {low} to {high}", value)
    return value
