"""Gradients through a claimed trace, in float64 and without a framework: what an attacker needs.

`backward` gives, for every value of a trace, how much a score moves when that value does and all
later operators follow. Operators that only move elements are differentiated by their own action
on the numbers of the elements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from proofml.optimistic.floating.convolution import at
from proofml.optimistic.floating.functions import Reals, logistic
from proofml.optimistic.floating.node import Node
from proofml.optimistic.floating.plan import Plan, Ref
from proofml.optimistic.floating.windows import Windows
from proofml.optimistic.program import Source
from proofml.tensors import Array

Evaluate = Callable[[Node, Sequence["Array | None"]], Sequence[Array]]
Operands = Sequence["Array | None"]
#: (node, operands, first output, its gradient) -> the operands' gradients; None: there is none.
Adjoint = Callable[[Node, Operands, Array, Reals], Sequence["Reals | None"]]

_MOVING = frozenset(
    {
        "Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Expand", "Concat", "Resize",
        "Gather", "Flatten", "Pad", "Tile",
    }
)  # fmt: skip


def _sum_to(gradient: Reals, shape: tuple[int, ...]) -> Reals:
    """The gradient of an operand that was broadcast."""
    extra = gradient.ndim - len(shape)
    gradient = gradient.sum(tuple(range(extra)))
    axes = tuple(i for i, length in enumerate(shape) if length == 1 and gradient.shape[i] != 1)
    return np.asarray(gradient.sum(axes, keepdims=True))


def _of(operands: Operands, index: int) -> Reals:
    found = operands[index]
    assert found is not None
    return np.asarray(found, np.float64)


def _binary(partials: Callable[[Reals, Reals, Reals], tuple[Reals, Reals]]) -> Adjoint:
    def adjoint(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
        a, b = _of(x, 0), _of(x, 1)
        da, db = partials(a, b, np.asarray(y, np.float64))
        return _sum_to(g * da, a.shape), _sum_to(g * db, b.shape)

    return adjoint


def _unary(slope: Callable[[Node, Reals, Reals], Reals]) -> Adjoint:
    def adjoint(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
        return (g * slope(node, _of(x, 0), np.asarray(y, np.float64)),)

    return adjoint


def _conv(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
    data, weight = _of(x, 0), _of(x, 1)
    group = node.integer("group", 1)
    windows = Windows.of(node, weight.shape[2:], data.shape[2:])
    padded = np.zeros(windows.padded(data).shape)
    filters, channels = weight.shape[0] // group, weight.shape[1]
    flat = g.reshape(g.shape[0], group, filters, -1)
    for tap, place in windows.taps():
        taken = at(weight, tap).reshape(group, filters, channels)
        part = np.matmul(taken.transpose(0, 2, 1), flat)
        target = at(padded, place)
        target += part.reshape(target.shape)
    inner = tuple(
        slice(before, before + length)
        for before, length in zip(windows.before, data.shape[2:], strict=True)
    )
    return (at(padded, inner),)


def _conv_transpose(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
    data, weight = _of(x, 0), _of(x, 1)
    rank = data.ndim - 2
    group, strides = node.integer("group", 1), node.integers("strides", (1,) * rank)
    pads = node.integers("pads", (0,) * (2 * rank))
    if group != 1 or node.integers("dilations", (1,) * rank) != (1,) * rank:
        raise NotImplementedError(node.label)
    padded = np.pad(g, [(0, 0), (0, 0), *((pads[i], pads[i + rank]) for i in range(rank))])
    out = np.zeros((data.shape[0], data.shape[1], int(np.prod(data.shape[2:]))))
    for tap in np.ndindex(*weight.shape[2:]):
        place = tuple(
            slice(t, t + (length - 1) * s + 1, s)
            for t, s, length in zip(tap, strides, data.shape[2:], strict=True)
        )
        seen = at(padded, place).reshape(data.shape[0], weight.shape[1], -1)
        out += np.matmul(at(weight, tap), seen)
    return (out.reshape(data.shape),)


def _batch(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
    scale = _of(x, 1) / np.sqrt(_of(x, 4) + node.real("epsilon", 1e-5))
    return (g * scale.reshape(-1, *(1,) * (g.ndim - 2)),)


def _matmul(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
    a, b = _of(x, 0), _of(x, 1)
    if a.ndim < 2 or b.ndim < 2:
        raise NotImplementedError(node.label)
    left = np.matmul(g, np.swapaxes(b, -1, -2))
    right = np.matmul(np.swapaxes(a, -1, -2), g)
    return _sum_to(left, a.shape), _sum_to(right, b.shape)


def _gemm(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
    weight = _of(x, 1)
    weight = weight if node.integer("transB", 0) else weight.T
    left = node.real("alpha", 1.0) * (g @ weight)
    return (left.T if node.integer("transA", 0) else left,)


def _axes(node: Node, x: Operands) -> tuple[int, ...]:
    data, given = _of(x, 0), x[1] if len(x) > 1 else None
    axes = node.integers("axes", ()) if given is None else tuple(int(v) for v in given.reshape(-1))
    return tuple(axis % data.ndim for axis in axes) or tuple(range(data.ndim))


def _reduced(node: Node, x: Operands, value: Reals) -> Reals:
    """A reduction's output or gradient with the reduced axes in place."""
    shape = list(_of(x, 0).shape)
    for axis in _axes(node, x):
        shape[axis] = 1
    return value.reshape(shape)


def _reduce_sum(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
    return (np.broadcast_to(_reduced(node, x, g), _of(x, 0).shape),)


def _reduce_mean(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
    data = _of(x, 0)
    return (np.broadcast_to(_reduced(node, x, g), data.shape) * (g.size / data.size),)


def _reduce_max(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
    data = _of(x, 0)
    top = data == _reduced(node, x, np.asarray(y, np.float64))
    return (top * _reduced(node, x, g),)


def _global(share: bool) -> Adjoint:
    def adjoint(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
        data = _of(x, 0)
        if share:
            return (np.broadcast_to(g, data.shape) / np.prod(data.shape[2:]),)
        return ((data == np.asarray(y, np.float64)) * g,)

    return adjoint


def _pool(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
    """A maximum's gradient goes to its places, an average's to all of them."""
    data = _of(x, 0)
    windows = Windows.of(node, node.integers("kernel_shape", ()), data.shape[2:])
    lowest = node.op == "MaxPool"
    widths = [(0, 0), (0, 0), *zip(windows.before, windows.after, strict=True)]
    padded = np.pad(data, widths, constant_values=-np.inf) if lowest else np.pad(data, widths)
    out = np.zeros(padded.shape)
    top = np.asarray(y, np.float64)
    for _, place in windows.taps():
        target = at(out, place)
        target += g * (at(padded, place) == top) if lowest else g / np.prod(windows.kernel)
    inner = tuple(
        slice(b, b + length) for b, length in zip(windows.before, data.shape[2:], strict=True)
    )
    return (at(out, inner),)


def _softmax(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
    p = np.asarray(y, np.float64)
    rank = p.ndim
    first = node.integer("axis", -1 if node.opset >= 13 else 1) % rank
    axes = (first,) if node.opset >= 13 else tuple(range(first, rank))
    return (np.asarray(p * (g - (p * g).sum(axes, keepdims=True))),)


def _inside(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
    """Clip passes what it does not cut."""
    return (g * (_of(x, 0) == np.asarray(y, np.float64)),)


def _larger(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
    top = np.asarray(y, np.float64)
    return [_sum_to(g * (_of(x, i) == top), _of(x, i).shape) for i in range(len(x))]


def _cast(node: Node, x: Operands, y: Array, g: Reals) -> Sequence[Reals | None]:
    source = x[0]
    return (g if source is not None and source.dtype.kind == "f" else None,)


def _hard_sigmoid(node: Node, x: Reals, y: Reals) -> Reals:
    return np.asarray((y > 0) & (y < 1), np.float64) * node.real("alpha", 0.2)


ADJOINTS: dict[str, Adjoint] = {
    "Add": _binary(lambda a, b, y: (np.ones_like(y), np.ones_like(y))),
    "Sub": _binary(lambda a, b, y: (np.ones_like(y), -np.ones_like(y))),
    "Mul": _binary(lambda a, b, y: (b, a)),
    "Div": _binary(lambda a, b, y: (1 / b, -y / b)),
    "Pow": _binary(lambda a, b, y: (b * a ** (b - 1), np.zeros_like(y))),
    "Sqrt": _unary(lambda node, x, y: 0.5 / y),
    "Reciprocal": _unary(lambda node, x, y: -y * y),
    "Exp": _unary(lambda node, x, y: y),
    "Tanh": _unary(lambda node, x, y: 1 - np.tanh(x) ** 2),
    "Sigmoid": _unary(lambda node, x, y: logistic(x) * logistic(-x)),
    "Relu": _unary(lambda node, x, y: np.asarray(y > 0, np.float64)),
    "HardSigmoid": _unary(_hard_sigmoid),
    "Identity": _unary(lambda node, x, y: np.ones_like(y)),
    "Cast": _cast,
    "Clip": _inside,
    "Max": _larger,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "BatchNormalization": _batch,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "ReduceSum": _reduce_sum,
    "ReduceMean": _reduce_mean,
    "ReduceMax": _reduce_max,
    "GlobalAveragePool": _global(True),
    "GlobalMaxPool": _global(False),
    "MaxPool": _pool,
    "AveragePool": _pool,
    "Softmax": _softmax,
}


def _moved(node: Node, x: Operands, g: Reals, evaluate: Evaluate) -> list[Reals | None]:
    """The adjoint of a movement, by moving the numbers of the elements."""
    moving = range(len(x)) if node.op == "Concat" else (0,)
    offset, numbered = 1, list(x)
    for index in moving:
        data = x[index]
        assert data is not None
        places = np.arange(offset, offset + data.size, dtype=np.int32)
        numbered[index] = places.reshape(data.shape)
        offset += data.size
    (places,) = evaluate(node, numbered)
    total = np.zeros(offset)
    np.add.at(total, np.asarray(places).reshape(-1), g.reshape(-1))
    found: list[Reals | None] = [None] * len(x)
    start = 1  # number 0 is what a Pad fills in
    for index in moving:
        data = x[index]
        assert data is not None
        found[index] = total[start : start + data.size].reshape(data.shape)
        start += data.size
    return found


def backward(
    plan: Plan, values: Mapping[Ref, Array], seeds: Mapping[Ref, Reals], evaluate: Evaluate
) -> dict[Ref, Reals]:
    """Gradients of a score with respect to every operator's outputs.

    Args:
        values: a claimed trace.
        seeds: the score's gradient with respect to the outputs that it is made of.

    Raises:
        NotImplementedError: an operator that is not known here, on the way from one to another.
    """
    found: dict[Ref, Reals] = {ref: np.array(seed, np.float64) for ref, seed in seeds.items()}
    for operator in reversed(plan.operators):
        ref = Ref(Source.OPERATOR, operator.index)
        gradient = found.get(ref)
        if gradient is None or values[ref].dtype.kind != "f":
            continue
        named = {
            name: plan.weights[r.index] if r.source is Source.WEIGHT else values[r]
            for name, r in zip(operator.names, operator.inputs, strict=True)
        }
        inner = _forward(operator.nodes, named, values[ref], evaluate)
        local: dict[str, Reals] = {operator.outputs[0]: gradient}
        for node in reversed(operator.nodes):
            g = local.get(node.outputs[0])
            if g is None:
                continue
            operands = [inner.get(name) if name else None for name in node.inputs]
            if node.op in _MOVING:
                made: Sequence[Reals | None] = _moved(node, operands, g, evaluate)
            elif node.op in ADJOINTS:
                made = ADJOINTS[node.op](node, operands, inner[node.outputs[0]], g)
            else:
                raise NotImplementedError(node.label)
            for name, part in zip(node.inputs, made, strict=False):
                if name and part is not None:
                    local[name] = local[name] + part if name in local else part
        for name, r in zip(operator.names, operator.inputs, strict=True):
            if name in local and r.source is Source.OPERATOR:
                found[r] = found[r] + local[name] if r in found else local[name]
    return found


def _forward(
    nodes: Sequence[Node], named: dict[str, Array], last: Array, evaluate: Evaluate
) -> dict[str, Array]:
    """All values within a group; the last one as claimed."""
    inner = dict(named)
    for node in nodes[:-1]:
        made = evaluate(node, [inner.get(name) if name else None for name in node.inputs])
        inner.update(zip(filter(None, node.outputs), made, strict=True))
    inner[nodes[-1].outputs[0]] = last
    return inner
