"""Partial evaluations of the operands of contractions: the prover's side of section 7."""

from __future__ import annotations

import numpy as np

from proofml.circuits.field import babybear, ext5
from proofml.circuits.field.babybear import Array
from proofml.circuits.graph import Bind, Ints
from proofml.zkml.sumcheck.engine import contract, contract_ext
from proofml.zkml.sumcheck.reduction import Sums
from proofml.zkml.sumcheck.weights import Weight


def operand_vector(values: Ints, axes: tuple[Bind, ...], sums: Sums, out: Weight) -> Array:
    """`U(s) = sum over the result's indices of out[...] values[...]`, uint64 [2^rounds, 5].

    The index of the result of each step: summed axes of the operand, in its own order. The axes
    that shrink most are contracted first: everything after them is over elements of F.
    """

    def left(axis: int) -> float:
        """What is left of an axis once it was contracted."""
        bind, length = axes[axis], int(values.shape[axis])
        if bind.sum < 0:
            return 1 / length
        return 1.0 if bind.window is None else sums.lengths[bind.sum] / length

    order = sorted(range(len(axes)), key=left)
    tensor: Array | None = None  # [.., 5] once the first axis has been contracted
    current = values
    kept = list(range(len(axes)))
    for axis in order:
        bind = axes[axis]
        at = kept.index(axis)
        if bind.out < 0:
            continue
        weights = out[bind.out].values
        if bind.sum < 0:
            tensor = _along(current, tensor, at, weights)
            kept.remove(axis)
        elif bind.window is None:
            tensor = _lifted(current, tensor)
            dims = [1] * len(kept) + [ext5.DEGREE]
            dims[at] = len(weights)
            tensor = ext5.vmul(tensor, weights.reshape(dims))
        else:
            tensor = _window(current, tensor, at, weights, bind, sums.lengths[bind.sum])
    tensor = _lifted(current, tensor)
    ranks = [axes[axis].sum for axis in kept]
    tensor = tensor.transpose(*np.argsort(ranks), len(ranks))
    padded = np.zeros([1 << log for log in sums.logs] + [ext5.DEGREE], np.uint64)
    padded[tuple(slice(0, n) for n in sums.lengths)] = tensor
    return padded.reshape(-1, ext5.DEGREE)


def _lifted(current: Ints, tensor: Array | None) -> Array:
    return ext5.lift(babybear.modp(current)) if tensor is None else tensor


def _along(current: Ints, tensor: Array | None, at: int, weights: Array) -> Array:
    """Contract one axis with weights."""
    shape = current.shape if tensor is None else tensor.shape[:-1]
    before, after = shape[:at], shape[at + 1 :]
    a, n, c = int(np.prod(before, dtype=np.int64)), shape[at], int(np.prod(after, dtype=np.int64))
    if tensor is None:
        found = contract(current.reshape(a, n, c), weights)
    else:
        found = contract_ext(tensor.reshape(a, n, c, ext5.DEGREE), weights)
    return found.reshape(*before, *after, ext5.DEGREE)


def _window(
    current: Ints, tensor: Array | None, at: int, weights: Array, bind: Bind, taps: int
) -> Array:
    """The axis becomes the summed one: `V[s] = sum_o out[o] x[o stride + s dilation + offset]`."""
    assert bind.window is not None
    stride, dilation, offset = bind.window
    length = current.shape[at] if tensor is None else tensor.shape[at]
    found = []
    for s in range(taps):
        index = np.arange(len(weights)) * stride + s * dilation + offset
        inside = np.flatnonzero((index >= 0) & (index < length))
        picked = index[inside]
        if tensor is None:
            part = _along(np.take(current, picked, axis=at), None, at, weights[inside])
        else:
            part = _along(current, np.take(tensor, picked, axis=at), at, weights[inside])
        found.append(part)
    return np.stack(found, axis=at)
