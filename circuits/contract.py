"""How contractions are computed: as matrix products of floats that hold the integers exactly.

Every axis of an operand gets labels: the axis of the result that it is, or the summed axis, or
both for a window (seen through strides, without a copy) and for a group (one label). Labels of
the result are then *batch*, *rows* (of one operand) or *columns* (of the other), chosen so that
the product comes out in the order of the result: for a convolution the columns are the places
of the window and the rows the output channels, which is im2col without a transpose after it.

Float32 is used where no partial sum can exceed 2^24, float64 up to 2^53, int64 beyond: any
order of summation, with or without fused multiply-add, then gives the exact integer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from proofml.circuits.graph import Bind, Contraction, Ints, Shape

Array: TypeAlias = NDArray[Any]

#: Most elements of an im2col matrix; larger ones are made piece by piece.
MAX_UNFOLDED = 1 << 22

_EXACT32 = 1 << 24
_EXACT64 = 1 << 53


def labels_of(contraction: Contraction, rank: int) -> list[int]:
    """Label of each summed axis: `rank + j`, or the axis of the result it is grouped with."""
    labels = [rank + j for j in range(len(contraction.sums))]
    for bind in contraction.left_axes + contraction.right_axes:
        if bind.window is None and bind.out >= 0 and bind.sum >= 0:
            labels[bind.sum] = bind.out
    return labels


@dataclass(frozen=True)
class Operand:
    """One operand with its axes labelled; `shape` is the operand's own.

    Attributes:
        axes: of the unfolded operand, their labels in order.
        sizes: label -> length.
        pads: for each own axis, how many zeros before and after it windows reach.
        windows: for each own axis the unfolded axes as (start, stride in cells, length).
    """

    shape: Shape
    axes: tuple[int, ...]
    sizes: dict[int, int]
    pads: tuple[tuple[int, int], ...]
    windows: tuple[tuple[tuple[int, ...], tuple[int, ...], int], ...]

    @classmethod
    def of(
        cls, shape: Shape, binds: Sequence[Bind], out: Shape, sums: Shape, labels: Sequence[int]
    ) -> Operand:
        axes: list[int] = []
        sizes: dict[int, int] = {}
        pads: list[tuple[int, int]] = []
        windows: list[tuple[tuple[int, ...], tuple[int, ...], int]] = []
        for length, bind in zip(shape, binds, strict=True):
            if bind.window is None:
                label = bind.out if bind.out >= 0 else labels[bind.sum]
                axes.append(label)
                sizes[label] = length
                pads.append((0, 0))
                windows.append(((1,), (length,), 0))
                continue
            stride, dilation, offset = bind.window
            places, taps = out[bind.out], sums[bind.sum]
            last = (places - 1) * stride + (taps - 1) * dilation + offset
            before = max(0, -offset)
            axes += [bind.out, labels[bind.sum]]
            sizes[bind.out] = places
            sizes[labels[bind.sum]] = taps
            pads.append((before, max(0, last - (length - 1))))
            windows.append(((stride, dilation), (places, taps), offset + before))
        return cls(shape, tuple(axes), sizes, tuple(pads), tuple(windows))

    @property
    def plain(self) -> bool:
        return len(self.axes) == len(self.shape)

    def unfolded(self, x: Array, dtype: np.dtype[Any]) -> Array:
        """`x` in `dtype` with its windows as axes: a read-only view of a padded copy."""
        if self.plain:
            return x.astype(dtype)
        if any(before or after for before, after in self.pads):
            padded = np.zeros(
                [n + sum(p) for n, p in zip(self.shape, self.pads, strict=True)], dtype
            )
            padded[
                tuple(slice(b, b + n) for n, (b, _) in zip(self.shape, self.pads, strict=True))
            ] = x
        else:
            padded = np.asarray(x, dtype, order="C")
        starts: list[slice] = []
        shape: list[int] = []
        strides: list[int] = []
        for step, (factors, lengths, start) in zip(padded.strides, self.windows, strict=True):
            starts.append(slice(start, None))
            shape += lengths
            strides += [step * factor for factor in factors]
        return as_strided(padded[tuple(starts)], shape, strides, writeable=False)


@dataclass(frozen=True)
class Plan:
    """A contraction ready to be computed for operands of known shapes.

    `columns` and `rows` are the operands that own these labels; `swapped` says that the columns
    are the right operand's.
    """

    shape: Shape
    left: Operand
    right: Operand
    swapped: bool
    batch: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    summed: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(
        cls, contraction: Contraction, shape: Shape, left: Shape, right: Shape, most: int
    ) -> Plan:
        """
        Args:
            shape: of the result.
            left, right: shapes of the operands.
            most: bound of the sum of the absolute values of the products of any cell.
        """
        rank = len(shape)
        labels = labels_of(contraction, rank)
        one = Operand.of(left, contraction.left_axes, shape, contraction.sums, labels)
        two = Operand.of(right, contraction.right_axes, shape, contraction.sums, labels)
        in_left, in_right = set(one.axes), set(two.axes)
        single = [i for i in range(rank) if (i in in_left) != (i in in_right)]
        swapped = bool(single) and single[-1] in in_right
        mine = in_right if swapped else in_left
        columns: list[int] = []
        for i in reversed(range(rank)):
            if i in single and i in mine:
                columns.insert(0, i)
            elif columns:
                break
        rows = [i for i in single if i not in mine]
        batch = [i for i in range(rank) if i not in rows and i not in columns]
        summed = [i for i in one.axes if i >= rank and i in in_right]
        dtype = np.float32 if most <= _EXACT32 else np.float64 if most <= _EXACT64 else np.int64
        return cls(
            shape,
            one,
            two,
            swapped,
            tuple(batch),
            tuple(rows),
            tuple(columns),
            tuple(summed),
            np.dtype(dtype),
        )

    def prepared(self, x: Ints, *, right: bool) -> Array:
        """A constant operand as the matrix that `run` multiplies, contiguous in `dtype`."""
        return self._matrix(self._arranged(x, right=right), right=right)

    def run(self, left: Ints | None, right: Ints | None, ready: dict[bool, Array]) -> Ints:
        """The contraction, int64 of the result's shape.

        Args:
            left, right: the operands, or None where `ready` has them.
            ready: `right` -> what `prepared` gave.
        """
        many, few = self.swapped, not self.swapped  # is it the right one: columns', rows' operand
        rows = ready.get(few)
        if rows is None:
            rows = self._matrix(self._arranged(right if few else left, right=few), right=few)
        columns = ready.get(many)
        if columns is not None:
            return self._ordered(np.matmul(rows, columns).astype(np.int64))
        view = self._arranged(right if many else left, right=many)
        unfolds = not (self.right if many else self.left).plain
        if not unfolds or view.size <= MAX_UNFOLDED or not self.columns:
            return self._ordered(np.matmul(rows, self._matrix(view, right=many)).astype(np.int64))
        # Along the first axis of the columns, so that no large matrix is unfolded at once.
        axis = view.ndim - len(self.columns)
        length = view.shape[axis]
        step = max(1, MAX_UNFOLDED * length // view.size)
        pieces = []
        for start in range(0, length, step):
            part = view[(slice(None),) * axis + (slice(start, start + step),)]
            pieces.append(np.matmul(rows, self._matrix(part, right=many)).astype(np.int64))
        return self._ordered(np.concatenate(pieces, axis=-1))

    def _ordered(self, product: Ints) -> Ints:
        order = self.batch + self.rows + self.columns
        result = product.reshape([self.shape[i] for i in order])
        if order != tuple(range(len(order))):
            result = np.asarray(result.transpose(np.argsort(order)), order="C")
        return result

    def _arranged(self, x: Ints | None, *, right: bool) -> Array:
        """The operand with axes batch, summed, columns (or batch, rows, summed)."""
        assert x is not None
        operand = self.right if right else self.left
        view = operand.unfolded(x, self.dtype)
        axes = list(operand.axes)
        rank = len(self.shape)
        alone = tuple(i for i, a in enumerate(axes) if a >= rank and a not in self.summed)
        if alone:
            view = view.sum(axis=alone, dtype=self.dtype)
            axes = [a for i, a in enumerate(axes) if i not in alone]
        inner = self.summed + self.columns if right == self.swapped else self.rows + self.summed
        batch = [a for a in self.batch if a in axes]
        view = view.transpose([axes.index(a) for a in (*batch, *inner)])
        at = tuple(slice(None) if a in axes else None for a in self.batch)
        return view[(*at, ...)] if None in at else view

    def _matrix(self, view: Array, *, right: bool) -> Array:
        """`_arranged` as a stack of matrices [batch..., summed, columns] (or rows, summed)."""
        b = len(self.batch)
        head, rest = view.shape[:b], view.shape[b:]
        cut = len(self.summed) if right == self.swapped else len(self.rows)
        matrix = view.reshape(*head, math.prod(rest[:cut]), math.prod(rest[cut:]))
        # A view whose strides BLAS does not take would be multiplied by a slow loop.
        return np.ascontiguousarray(matrix)
