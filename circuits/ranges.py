"""Intervals of all values of a graph: the proof that field arithmetic and integers agree.

An accumulator `a` and `a + p` are one field element, so nothing that the prover shows means
anything unless every value is known to stay below half the field, from the ranges of inputs and
weights alone. This analysis is part of verification. It is deterministic, and everybody who has
the weights recomputes the stated bounds and must find the same numbers.

What is computed is exact for each cell of an Affine, given independent operands; a Step's or
Maximum's interval is one for all of its cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.contract import labels_of
from proofml.circuits.functions import MAX_TABLE, Function, Pair, Relu, domain, image
from proofml.circuits.graph import (
    ONES,
    Affine,
    ArgMax,
    Contraction,
    Graph,
    Input,
    Ints,
    Maximum,
    Node,
    Reshape,
    Shape,
    Step,
    Term,
    View,
    Weight,
)

Range: TypeAlias = tuple[int, int]

#: BabyBear.
FIELD = 2013265921
#: Every value is below this in absolute value.
LIMIT = (FIELD - 1) // 2
#: Arguments of lookups by windows need room for the tails' offset: 4 A + 2^17 + 2 < p.
ARGUMENT_LIMIT = (FIELD - (1 << 17) - 3) // 4

#: Grid cells that are looked at together.
_PIECE = 1 << 20
_INT64 = 1 << 62


class RangeError(ValueError):
    """A value can leave the range in which the proof means something; `value` numbers its node."""

    def __init__(self, message: str, value: int | None = None) -> None:
        self.value = value
        super().__init__(message if value is None else f"value {value}: {message}")


def affine_bounds(
    nodes: Sequence[Node],
    node: Affine,
    ranges: Sequence[Range],
    weights: Mapping[int, Ints] | None = None,
) -> Range:
    """Exact bounds of an Affine over all inputs within `ranges`.

    Args:
        nodes: of the graph, at least those that `node` reads; its structure is valid.
        ranges: of these nodes.
        weights: Weight value -> int64 array. Used where `node` has contractions: the numbers of
            the right operand, and of Weight terms. An Affine of terms only is bounded by the
            weights' ranges, so that its bounds follow from the graph alone.

    Raises:
        RangeError: sums that are not even near the field's size.
    """
    known = weights if weights is not None and node.contractions else {}
    fixed: list[tuple[Ints, Ints]] = []
    varying: list[Term] = []
    for contraction in node.contractions:
        fixed.append(_contraction(nodes, contraction, node.shape, ranges, known))
    for term in node.terms:
        if term.value in known:
            numbers = term.coefficient * compact(term.view, known[term.value])
            fixed.append((numbers, numbers))
        else:
            varying.append(term)
    magnitude = sum(max(abs(int(low.min())), abs(int(high.max()))) for low, high in fixed)
    magnitude += sum(_magnitude(term, ranges) for term in varying)
    if magnitude >= _INT64:
        raise RangeError(f"sums up to {magnitude} are out of all bounds")
    return _extremes(node.shape, fixed, [(_interval(t, ranges), _factors(t)) for t in varying])


def compact(view: View, x: Ints) -> Ints:
    """`view.apply(x)` with length 1 along the axes that it only repeats."""
    for index, (_, axis) in enumerate(view.axes):
        x = axis.apply(x, index)
    kept = sorted((target, i) for i, (target, _) in enumerate(view.axes) if target >= 0)
    summed = [i for i, (target, _) in enumerate(view.axes) if target < 0]
    full = [1] * len(view.shape)
    for target, _ in kept:
        full[target] = view.shape[target]
    return x.transpose([*(i for _, i in kept), *summed]).reshape(full)


def _contraction(
    nodes: Sequence[Node],
    contraction: Contraction,
    shape: Shape,
    ranges: Sequence[Range],
    weights: Mapping[int, Ints],
) -> tuple[Ints, Ints]:
    """Bounds of its cells, of length 1 along the axes of which they do not depend."""
    rank = len(shape)
    labels = labels_of(contraction, rank)
    low, high = ranges[contraction.left]
    if _leaves(nodes[contraction.left].shape, contraction, shape):
        low, high = min(low, 0), max(high, 0)
    count = math.prod(n for n, a in zip(contraction.sums, labels, strict=True) if a >= rank)
    weight = weights.get(contraction.right)
    if weight is None:
        ends = [a * b for a in (low, high) for b in ranges[contraction.right]]
        least, most = count * min(ends), count * max(ends)
        if max(abs(least), abs(most)) >= _INT64:
            raise RangeError(f"sums from {least} to {most} are out of all bounds")
        return (
            np.full((1,) * rank, least, np.int64),
            np.full((1,) * rank, most, np.int64),
        )
    # Each product is largest at one end of x's interval: at `high` for positive weights.
    own = [b.out if b.out >= 0 else labels[b.sum] for b in contraction.right_axes]
    summed = tuple(i for i, label in enumerate(own) if label >= rank)
    positive = np.asarray(np.maximum(weight, 0).sum(axis=summed, dtype=np.int64))
    negative = np.asarray(weight.sum(axis=summed, dtype=np.int64)) - positive
    repeats = count // math.prod(weight.shape[i] for i in summed)
    most = (int(positive.max()) - int(negative.min())) * max(abs(low), abs(high)) * repeats
    if most >= _INT64:
        raise RangeError(f"sums up to {most} are out of all bounds")
    kept = [label for label in own if label < rank]
    full = [shape[i] if i in kept else 1 for i in range(rank)]
    order = np.argsort(kept)
    positive = positive.transpose(order).reshape(full) * repeats
    negative = negative.transpose(order).reshape(full) * repeats
    return positive * low + negative * high, positive * high + negative * low


def _leaves(source: Shape, contraction: Contraction, shape: Shape) -> bool:
    """Whether a window of the left operand can lie outside, where it counts as 0."""
    for length, bind in zip(source, contraction.left_axes, strict=True):
        if bind.window is not None:
            stride, dilation, offset = bind.window
            last = (shape[bind.out] - 1) * stride + (contraction.sums[bind.sum] - 1) * dilation
            if offset < 0 or last + offset >= length:
                return True
    return False


def _factors(term: Term) -> list[Ints]:
    """How many source cells each cell sums, as one vector for each axis of the result."""
    result = [np.ones(1, np.int64) for _ in term.view.shape]
    for target, axis in term.view.axes:
        if target >= 0 and not axis.is_identity:
            result[target] = axis.row_sums
    return result


def _interval(term: Term, ranges: Sequence[Range]) -> Range:
    """Of what `_factors` multiplies: the coefficient, the value, the axes summed away."""
    scale = term.coefficient
    for target, axis in term.view.axes:
        if target < 0:
            scale *= int(axis.row_sums[0])
    low, high = (1, 1) if term.value == ONES else ranges[term.value]
    return min(scale * low, scale * high), max(scale * low, scale * high)


def _magnitude(term: Term, ranges: Sequence[Range]) -> int:
    low, high = _interval(term, ranges)
    return max(abs(low), abs(high)) * math.prod(int(f.max()) for f in _factors(term))


def _extremes(
    shape: Shape, fixed: Sequence[tuple[Ints, Ints]], terms: Sequence[tuple[Range, list[Ints]]]
) -> Range:
    """Least low and largest high over all cells of what is given, summed."""
    chosen = []
    for axis in range(len(shape)):
        vectors = [f[axis] for _, f in terms if len(f[axis]) > 1]
        if any(low.shape[axis] > 1 for low, _ in fixed):
            chosen.append(np.arange(shape[axis]))
        elif vectors:
            # Cells in which all terms sum equally many are equal: one of each kind will do.
            kinds = np.zeros(shape[axis], np.int64)
            for vector in vectors:
                _, kind = np.unique(vector, return_inverse=True)
                _, kinds = np.unique(kinds * (int(kind.max()) + 1) + kind, return_inverse=True)
            chosen.append(np.unique(kinds, return_index=True)[1])
        else:
            chosen.append(np.zeros(1, np.int64))
    longest = max(range(len(shape)), key=lambda axis: len(chosen[axis]), default=0)
    if not shape:
        chosen = []
    size = math.prod(len(c) for c in chosen)
    whole = chosen[longest] if shape else np.zeros(1, np.int64)
    step = max(1, _PIECE * len(whole) // size)
    least, most = [], []
    for start in range(0, len(whole), step):
        if shape:
            chosen[longest] = whole[start : start + step]
        low, high = _grid(chosen, fixed, terms)
        least.append(int(low.min()))
        most.append(int(high.max()))
    return min(least), max(most)


def _grid(
    chosen: Sequence[NDArray[Any]],
    fixed: Sequence[tuple[Ints, Ints]],
    terms: Sequence[tuple[Range, list[Ints]]],
) -> tuple[Ints, Ints]:
    """Interval ends in the chosen cells (indices for each axis)."""
    rank = len(chosen)
    low = np.zeros((1,) * rank, np.int64)
    high = low
    for part_low, part_high in fixed:
        index = np.ix_(
            *(c if n > 1 else _FIRST for c, n in zip(chosen, part_low.shape, strict=True))
        )
        low = low + part_low[index]
        high = high + part_high[index]
    for (least, most), factors in terms:
        count = np.ones((1,) * rank, np.int64)
        for axis, factor in enumerate(factors):
            if len(factor) > 1:
                dims = [1] * rank
                dims[axis] = -1
                count = count * factor[chosen[axis]].reshape(dims)
            else:
                count = count * factor[0]
        low = low + count * least
        high = high + count * most
    return low, high


_FIRST = np.zeros(1, np.int64)


def ranges(graph: Graph) -> tuple[Range, ...]:
    """(low, high) of every value, from the graph alone.

    The stated bounds stand for an Affine with contractions (`check` recomputes them); all else
    is computed.

    Raises:
        RangeError: the argument of a Step or Maximum leaves what its function is proven for.
    """
    found: list[Range] = []
    for value, node in enumerate(graph.nodes):
        try:
            found.append(_range(graph, node, found))
        except RangeError as error:
            raise RangeError(str(error), value) from None
    return tuple(found)


def _range(graph: Graph, node: Node, found: Sequence[Range]) -> Range:
    match node:
        case Input() | Weight():
            return node.low, node.high
        case Affine():
            if node.contractions:
                return node.low, node.high
            return affine_bounds(graph.nodes, node, found)
        case Reshape():
            return found[node.value]
        case Step():
            return _step(node, *found[node.value])
        case Maximum():
            (low, high), (other_low, other_high) = found[node.left], found[node.right]
            _argument(Relu(), low - other_high, high - other_low)
            return max(low, other_low), max(high, other_high)
        case ArgMax():
            low, high = found[node.value]
            _argument(Relu(), low - high, high - low)  # of differences, as a Maximum's
            return 0, graph.shape(node.value)[node.axis] - 1


def _step(node: Step, low: int, high: int) -> Range:
    ends = []
    for function in set(node.functions):
        _argument(function, low, high)
        ends.append((_image if isinstance(function, Pair) else image)(function, low, high))
    return min(end[0] for end in ends), max(end[1] for end in ends)


#: All 65,536 arguments of a Pair are evaluated, and its ranges asked for again and again.
_image = lru_cache(maxsize=256)(image)


def _argument(function: Function, low: int, high: int) -> None:
    """Refuses arguments for which one lookup does not prove the function."""
    least, most = domain(function)
    least, most = max(least, -ARGUMENT_LIMIT), min(most, ARGUMENT_LIMIT)
    if isinstance(function, Relu):
        most = min(most, MAX_TABLE)  # it has a row of its own for each positive value
    if low < least or high > most:
        raise RangeError(f"argument from {low} to {high}, provable from {least} to {most}")


def check(graph: Graph, weights: Mapping[int, Ints] | None) -> None:
    """Everything that this analysis can find wrong with a graph that `validate` accepts.

    Without weights the stated bounds of Affines with contractions are taken as they are: that is
    enough only for a graph whose digest somebody pinned who had the weights.

    Raises:
        RangeError: with the number of the node.
    """
    found = ranges(graph)
    for value, (node, (low, high)) in enumerate(zip(graph.nodes, found, strict=True)):
        if low > high:
            raise RangeError(f"an interval from {low} to {high}", value)
        if max(abs(low), abs(high)) >= LIMIT:
            raise RangeError(f"from {low} to {high}, the field holds less than {LIMIT}", value)
        try:
            exact = _exact(graph, value, node, found, weights)
        except RangeError as error:
            raise RangeError(str(error), value) from None
        if exact is not None and exact != _stated(node):
            raise RangeError(f"bounds {_stated(node)} are stated, {exact} are exact", value)
    for port in graph.outputs:
        (low, high), codec = found[port.value], port.codec
        if low + codec.zero_point < codec.low or high + codec.zero_point > codec.high:
            raise RangeError(
                f"output {port.name} from {low} to {high}, its codes from "
                f"{codec.low - codec.zero_point} to {codec.high - codec.zero_point}",
                port.value,
            )


def _stated(node: Node) -> Range | None:
    return (node.low, node.high) if isinstance(node, Weight | Affine) else None


def _exact(
    graph: Graph,
    value: int,
    node: Node,
    found: Sequence[Range],
    weights: Mapping[int, Ints] | None,
) -> Range | None:
    """What the node shall state; None where it states nothing or nobody can say."""
    if isinstance(node, Affine) and not node.contractions:
        return found[value]
    if weights is None:
        return None
    if isinstance(node, Affine):
        return affine_bounds(graph.nodes, node, found, weights)
    if not isinstance(node, Weight):
        return None
    array = weights.get(value)
    if array is None or array.shape != node.shape:
        raise RangeError(f"weight {node.name}: expected numbers of shape {node.shape}")
    return min(int(array.min()), 0), max(int(array.max()), 0)
