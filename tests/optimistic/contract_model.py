"""A small int8 CNN with more than 10^5 multiply-accumulates: what gas is measured with."""

from __future__ import annotations

import struct
from functools import cache

import numpy as np

from proofml.optimistic.encoding import ONES
from proofml.optimistic.program import (
    Axis,
    Cells,
    Fold,
    Operand,
    Operator,
    Output,
    Part,
    Source,
)

from .tiny import Kit, Tiny, _Ports, finished, plain, whole


def _scale(value: float) -> int:
    return int(struct.unpack(">I", struct.pack(">f", value))[0])


def _windows(source: Operand, channels: int, size: int, stride: int) -> Operand:
    axes = (
        Axis(channels, sum=0, dilation=1),
        Axis(size, out=1, sum=1, stride=stride, dilation=1, offset=-1),
        Axis(size, out=2, sum=2, stride=stride, dilation=1, offset=-1),
    )
    return Operand(source.source, source.index, source.cells, axes)


def _convolution(
    rng: np.random.Generator, kit: Kit, source: Operand, made: int, stride: int
) -> Operator:
    channels, size, _ = source.cells.shape
    codes = [int(v) for v in rng.integers(-127, 128, made * channels * 9)]
    kernel = kit.weight(
        (made, channels, 3, 3),
        codes,
        Axis(made, **plain(0)),
        *(Axis(n, sum=i, dilation=1) for i, n in enumerate((channels, 3, 3))),
    )
    bias = kit.weight(
        (made,), [int(v) for v in rng.integers(-9000, 9000, made)], Axis(made, **plain(0))
    )
    parts = (
        Part(1, (channels, 3, 3), _windows(source, channels, size, stride), kernel),
        Part(1, (), ONES, bias),
    )
    scales = [_scale(float(s)) for s in rng.uniform(0.5, 2.0, made) / (60 * np.sqrt(channels * 9))]
    cells = Cells.of((made, size // stride, size // stride), -128, 127)
    return Operator(Fold.SUM, cells, parts, kit.requant(scales, -128, 127, 0))


def _halved(source: Operand, axis: int) -> Operator:
    """The larger of two neighbours along an axis."""
    shape = list(source.cells.shape)
    shape[axis] //= 2
    parts = []
    for offset in (0, 1):
        axes = tuple(
            Axis(n, out=i, stride=2, offset=offset) if i == axis else Axis(n, **plain(i))
            for i, n in enumerate(source.cells.shape)
        )
        parts.append(Part(1, (), Operand(source.source, source.index, source.cells, axes)))
    cells = Cells.of(tuple(shape), source.cells.low, source.cells.high)
    return Operator(Fold.MAXIMUM, cells, tuple(parts), Output())


@cache
def cnn() -> Tiny:
    """Convolution, pooling, convolution, dense, argmax on an image of 32 x 32."""
    rng = np.random.default_rng(11)
    kit = Kit()
    x = Cells.of((1, 32, 32), -128, 127)
    operators = [_convolution(rng, kit, whole(x, Source.INPUT, 0), 8, 1)]

    def last() -> Operand:
        return whole(operators[-1].cells, Source.OPERATOR, len(operators) - 1)

    operators.append(_halved(last(), 1))
    operators.append(_halved(last(), 2))
    operators.append(_convolution(rng, kit, last(), 16, 2))
    inner = operators[-1].cells.shape
    codes = [int(v) for v in rng.integers(-127, 128, 10 * int(np.prod(inner)))]
    flat = last()
    dense = Part(
        1,
        inner,
        Operand(
            flat.source,
            flat.index,
            flat.cells,
            tuple(Axis(n, sum=i, dilation=1) for i, n in enumerate(inner)),
        ),
        kit.weight(
            (10, *inner),
            codes,
            Axis(10, **plain(0)),
            *(Axis(n, sum=i, dilation=1) for i, n in enumerate(inner)),
        ),
    )
    operators.append(
        Operator(
            Fold.SUM, Cells.of((10,), -128, 127), (dense,), kit.requant([_scale(0.0007)], -128, 127)
        )
    )
    scores = Operand(Source.OPERATOR, 4, operators[-1].cells, (Axis(10, sum=0, dilation=1),))
    best = Operator(Fold.ARGMAX, Cells.of((), 0, 9), (Part(1, (10,), scores),), Output())
    operators.append(best)
    ports = _Ports([x], [(Source.OPERATOR, 4), (Source.OPERATOR, 5)])
    return finished("cnn", kit, operators, ports)


def products(model: Tiny) -> int:
    """Multiply-accumulates of one run."""
    return sum(
        operator.cells.count * part.count
        for operator in model.program.operators
        for part in operator.parts
        if part.right is not None and part.left.source is not Source.ONES
    )
