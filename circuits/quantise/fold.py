"""Folding into weights: Gemm's factors, biases, scales and shifts, batch normalisation.

Computed in float64, elementwise, and rounded to float32 once for each folded node, so that every
machine gets the same weights.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.quantise.graph import Graph, Node
from proofml.circuits.quantise.operators import WEIGHTED, floats
from proofml.errors import UnsupportedModel

Doubles = NDArray[np.float64]

#: Weights with spatial axes; the channels are the second axis of what they make.
_SPATIAL = frozenset({"Conv", "ConvTranspose"})


def plain_gemm(graph: Graph) -> None:
    """Every Gemm as `x W + b`: no factors, no transposition, one bias for each column.

    Raises:
        UnsupportedModel: a transposed left operand, or a bias of another form.
    """
    for node in graph.nodes:
        if node.op != "Gemm":
            continue
        weight, bias = floats(graph, node, 1), floats(graph, node, 2)
        assert weight is not None
        if node.integer("transA", 0):
            raise UnsupportedModel(f"{node.where}: transA is not supported; transpose the input")
        if node.integer("transB", 0):
            weight = np.ascontiguousarray(weight.T)
        alpha, beta = (float(node.attributes.get(key, 1.0)) for key in ("alpha", "beta"))
        if alpha != 1.0:
            weight = _single(weight.astype(np.float64) * alpha, node)
        if weight.ndim != 2:
            raise UnsupportedModel(f"{node.where}: expected a matrix, got {list(weight.shape)}")
        node.inputs = [node.inputs[0], graph.constant(f"{node.output}/weight", weight)]
        node.attributes = {}
        if bias is None or beta == 0.0:
            node.op = "MatMul"
            continue
        wide = np.broadcast_to(bias, np.broadcast_shapes(bias.shape, (1, weight.shape[1])))
        if wide.shape != (1, weight.shape[1]):
            raise UnsupportedModel(
                f"{node.where}: expected a bias [{weight.shape[1]}], got {list(bias.shape)}"
            )
        row = np.ascontiguousarray(wide[0])
        if beta != 1.0:
            row = _single(row.astype(np.float64) * beta, node)
        node.inputs.append(graph.constant(f"{node.output}/bias", row))


def fold(graph: Graph) -> None:
    """Multiply and shift the weights before BatchNormalization, Mul and Add by constants.

    Only where nothing else reads what lies between. A BatchNormalization that cannot be folded
    stays, and is refused afterwards.
    """
    producers, uses = graph.producers(), graph.uses()
    kept: list[Node] = []
    for node in graph.nodes:
        target = _target(graph, node, producers, uses)
        if target is None:
            kept.append(node)
            continue
        before, scale, shift = target
        _rescale(graph, before, scale, shift, node)
        producers.pop(before.output)
        before.outputs = [node.output]
        producers[node.output] = before
    graph.nodes = kept


def _target(
    graph: Graph, node: Node, producers: dict[str, Node], uses: Counter[str]
) -> tuple[Node, Doubles | None, Doubles | None] | None:
    """The weighted node before this one, and what its channels are multiplied and shifted by."""
    if node.op not in ("BatchNormalization", "Add", "Mul") or len(node.inputs) < 2:
        return None
    at = 1 if node.inputs[0] in graph.constants else 0
    before = producers.get(node.inputs[at])
    if before is None or before.op not in WEIGHTED | _SPATIAL or uses[node.inputs[at]] != 1:
        return None
    weight = floats(graph, before, 1)
    if weight is None or weight.ndim < 2:
        return None
    channels = _channels(before, weight)
    if node.op == "BatchNormalization":
        if node.integer("training_mode", 0) or any(node.outputs[1:]):
            raise UnsupportedModel(f"{node.where}: it is in training mode; export for inference")
        if before.op not in _SPATIAL and graph.rank(before.output) != 2:
            return None
        scale, shift = _normalisation(graph, node, channels)
        return before, scale, shift
    if node.inputs[1 - at] not in graph.constants:
        return None
    operand = floats(graph, node, 1 - at)
    assert operand is not None
    vector = _per_channel(graph, before, operand, weight.ndim, channels)
    if vector is None:
        return None
    return (before, vector, None) if node.op == "Mul" else (before, None, vector)


def _normalisation(graph: Graph, node: Node, channels: int) -> tuple[Doubles, Doubles]:
    values = [floats(graph, node, index) for index in range(1, 5)]
    gamma, beta, mean, variance = (
        np.zeros(0) if value is None else value.astype(np.float64) for value in values
    )
    if any(value.shape != (channels,) for value in (gamma, beta, mean, variance)):
        raise UnsupportedModel(f"{node.where}: expected four vectors of {channels} channels")
    below = variance + float(node.attributes.get("epsilon", 1e-5))
    if (below <= 0).any():
        raise UnsupportedModel(f"{node.where}: expected positive variances")
    scale = gamma / np.sqrt(below)
    return scale, beta - mean * scale


def _per_channel(
    graph: Graph, before: Node, operand: NDArray[np.float32], weight_rank: int, channels: int
) -> Doubles | None:
    """One number for each channel, where the operand has that form and adds no dimension."""
    spatial = before.op in _SPATIAL
    rank = weight_rank if spatial else graph.rank(before.output)
    if operand.ndim > (rank or 1) or (before.op == "Gemm" and operand.ndim > 2):
        return None
    axis = -(weight_rank - 1) if spatial else -1
    full = [1] * max(operand.ndim, -axis)
    full[axis] = channels
    dims = (1,) * (len(full) - operand.ndim) + operand.shape
    if any(have not in (1, want) for have, want in zip(dims, full, strict=True)):
        return None
    wide = np.broadcast_to(operand.reshape(dims), full)
    return wide.reshape(channels).astype(np.float64)


def _channels(node: Node, weight: NDArray[np.float32]) -> int:
    """How many channels, or columns, a weighted node makes."""
    if node.op == "ConvTranspose":
        return int(weight.shape[1]) * node.integer("group", 1)
    return int(weight.shape[0 if node.op == "Conv" else 1])


def _scaled(node: Node, weight: NDArray[np.float32], scale: Doubles) -> Doubles:
    """The weights with each output channel multiplied."""
    wide = weight.astype(np.float64)
    if node.op == "Conv":
        return wide * scale.reshape((-1,) + (1,) * (weight.ndim - 1))
    if node.op != "ConvTranspose":
        return wide * scale
    # [channels in, out / group, ...]: the channels of one group after those of the other.
    group = node.integer("group", 1)
    split = wide.reshape(group, -1, *weight.shape[1:])
    along = scale.reshape(group, 1, -1, *(1,) * (weight.ndim - 2))
    return (split * along).reshape(weight.shape)


def _rescale(
    graph: Graph, before: Node, scale: Doubles | None, shift: Doubles | None, node: Node
) -> None:
    weight, bias = floats(graph, before, 1), floats(graph, before, 2)
    assert weight is not None
    channels = _channels(before, weight)
    total = np.zeros(channels) if bias is None else bias.astype(np.float64)
    if total.shape != (channels,):
        raise UnsupportedModel(f"{before.where}: expected a bias [{channels}]")
    if scale is not None:
        weight = _single(_scaled(before, weight, scale), node)
        total = total * scale
    if shift is not None:
        total = total + shift
    inputs = [before.inputs[0], graph.constant(f"{node.output}/weight", weight)]
    if bias is not None or shift is not None:
        inputs.append(graph.constant(f"{node.output}/bias", _single(total, node)))
    before.inputs = inputs


def _single(value: Doubles, node: Node) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        result = value.astype(np.float32)
    if not np.isfinite(result).all():
        raise UnsupportedModel(f"{node.where}: folded into the weights it leaves float32")
    return result


def settle_biases(graph: Graph) -> None:
    """A MatMul that got a bias becomes a Gemm, with reshapes around it beyond rank 2.

    onnxruntime's QGemm adds an int32 bias to the accumulator, its QLinearMatMul has none.
    """
    result: list[Node] = []
    for node in graph.nodes:
        if node.op != "MatMul" or len(node.inputs) < 3:
            result.append(node)
            continue
        x = node.inputs[0]
        rank = graph.rank(x)
        node.op = "Gemm"
        if rank == 2:
            result.append(node)
            continue
        dims = graph.static(x, node.where)
        rows, (inner, columns) = dims[:-1], graph.constants[node.inputs[1]].shape
        if not rows:
            raise UnsupportedModel(f"{node.where}: expected a matrix as its left operand")
        flat, wide = graph.fresh(f"{node.output}/rows"), graph.fresh(f"{node.output}/gemm")
        count = math.prod(rows)
        before = graph.constant(f"{node.output}/flat", np.array([count, inner], np.int64))
        after = graph.constant(f"{node.output}/dims", np.array([*rows, columns], np.int64))
        graph.shapes |= {flat: (count, inner), wide: (count, columns)}
        result.append(Node("Reshape", [x, before], [flat], {}, f"{node.where}, as Reshape"))
        result.append(Node("Gemm", [flat, *node.inputs[1:]], [wide], {}, node.where))
        place = f"{node.where}, as Reshape"
        result.append(Node("Reshape", [wide, after], node.outputs, {}, place))
    graph.nodes = result
