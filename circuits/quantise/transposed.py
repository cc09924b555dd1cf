"""ConvTranspose as a Conv whose channels are spread over the image.

Runtimes have integer kernels for Conv, and none for ConvTranspose. Along each axis with stride s
the places of the result fall into s classes: place `q * s + r` sums `x[q - j] * w[j * s + r]` over
j, an ordinary convolution for each r. One Conv makes all of them as channels, and reshapes and a
transposition put them in their places (W. Shi et al., "Is the deconvolution layer the same as a
convolutional layer?", 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.quantise.graph import Dims, Graph, Node
from proofml.circuits.quantise.operators import floats
from proofml.errors import UnsupportedModel

Floats = NDArray[np.float32]

#: Longest kernel along an axis, dilation included: a bound for files of strangers.
_MAX_EXTENT = 1 << 12
#: Most numbers of the weights that are written.
_MAX_WEIGHTS = 1 << 26


@dataclass(frozen=True)
class _Axis:
    """One spatial axis: `taps` of the Conv, and the part [start, stop) of what it makes."""

    length: int
    stride: int
    dilation: int
    kernel: int
    taps: int
    start: int
    stop: int

    @property
    def places(self) -> int:
        """Cells of the Conv's result along the axis."""
        return self.length + self.taps - 1


def rewrite_transposed(graph: Graph) -> None:
    """Replace every ConvTranspose.

    Raises:
        UnsupportedModel: spatial dims that are open, or attributes that say the result's shape.
    """
    result: list[Node] = []
    for node in graph.nodes:
        if node.op == "ConvTranspose":
            result.extend(_Rewriter(graph, node).nodes())
        else:
            result.append(node)
    graph.nodes = result


class _Rewriter:
    def __init__(self, graph: Graph, node: Node) -> None:
        self._graph = graph
        self._node = node
        self._made: list[Node] = []

    def nodes(self) -> list[Node]:
        """The nodes that take the place of the ConvTranspose."""
        graph, node = self._graph, self._node
        weight, bias = floats(graph, node, 1), floats(graph, node, 2)
        group = node.integer("group", 1)
        assert weight is not None
        if weight.ndim not in (3, 4) or not weight.size or group < 1 or weight.shape[0] % group:
            raise self._fail(
                f"expected one or two dimensions, got weights {list(weight.shape)} in {group} "
                "groups"
            )
        dims = graph.static(node.inputs[0], node.where)
        if len(dims) != weight.ndim or dims[1] != weight.shape[0]:
            raise self._fail(f"input {list(dims)} with weights {list(weight.shape)}")
        axes = self._axes(dims[2:], weight.shape[2:])
        batch, channels = dims[0], weight.shape[1] * group
        if bias is not None and bias.shape != (channels,):
            raise self._fail(f"expected a bias [{channels}], got {list(bias.shape)}")
        count = math.prod(axis.taps * axis.stride for axis in axes) * math.prod(weight.shape[:2])
        if count > _MAX_WEIGHTS:
            raise self._fail(f"{count} weights with its strides; expected at most {_MAX_WEIGHTS}")
        classes = [axis.stride for axis in axes]
        spread = math.prod(classes)
        inputs = [
            node.inputs[0],
            graph.constant(f"{node.output}/weight", _spread(weight, group, axes)),
        ]
        if bias is not None:
            inputs.append(graph.constant(f"{node.output}/bias", np.repeat(bias, spread)))
        places = [axis.places for axis in axes]
        pads = [axis.taps - 1 for axis in axes]
        value = self._add(
            "Conv", inputs, (batch, channels * spread, *places), group=group, pads=pads * 2
        )
        if spread > 1:
            value = self._placed(value, (batch, channels), classes, places)
        value = self._cut(value, axes)
        self._made[-1].outputs = [node.output]
        graph.shapes[node.output] = graph.shapes[value]
        return self._made

    def _axes(self, spatial: tuple[int, ...], kernel: tuple[int, ...]) -> list[_Axis]:
        node, rank = self._node, len(spatial)
        strides = node.integers("strides") or [1] * rank
        dilations = node.integers("dilations") or [1] * rank
        more = node.integers("output_padding") or [0] * rank
        pads = node.integers("pads") or [0] * (2 * rank)
        mode = node.attributes.get("auto_pad", b"NOTSET")
        if mode not in (b"NOTSET", b"VALID") or node.integers("output_shape"):
            raise self._fail("auto_pad or output_shape; expected pads and output_padding")
        if mode == b"VALID":
            pads = [0] * (2 * rank)
        if (node.integers("kernel_shape") or list(kernel)) != list(kernel):
            raise self._fail(f"kernel_shape {node.integers('kernel_shape')} with {list(kernel)}")
        if {len(strides), len(dilations), len(more), len(pads) // 2} != {rank}:
            raise self._fail(f"attributes that do not fit {rank} spatial axes")
        if min(*strides, *dilations) < 1 or min(*more, *pads) < 0:
            raise self._fail("a stride or dilation below 1, or a negative pad")
        result = []
        for axis, length in enumerate(spatial):
            stride, dilation = strides[axis], dilations[axis]
            extent = (kernel[axis] - 1) * dilation + 1
            start, stop = (
                pads[axis],
                (length - 1) * stride + extent + more[axis] - pads[rank + axis],
            )
            taps = -(-(extent + more[axis]) // stride)
            if more[axis] >= max(stride, dilation):
                raise self._fail(f"output_padding {more[axis]} beside a stride of {stride}")
            if stop <= start or not 0 < max(extent, stride) <= _MAX_EXTENT:
                raise self._fail(
                    f"a kernel over {extent} cells, a stride of {stride}, and a result from "
                    f"{start} to {stop}; expected at most {_MAX_EXTENT} cells, and a result"
                )
            result.append(_Axis(length, stride, dilation, kernel[axis], taps, start, stop))
        return result

    def _placed(
        self, value: str, front: tuple[int, int], classes: list[int], places: list[int]
    ) -> str:
        """Channels [..., classes] in their places between those of the spatial axes."""
        rank = len(classes)
        value = self._reshape(value, (*front, *classes, *places))
        order = [0, 1]
        for axis in range(rank):
            order += [2 + rank + axis, 2 + axis]
        dims = [*front, *classes, *places]
        value = self._add("Transpose", [value], tuple(dims[i] for i in order), perm=order)
        whole = (n * s for n, s in zip(places, classes, strict=True))
        return self._reshape(value, (*front, *whole))

    def _cut(self, value: str, axes: list[_Axis]) -> str:
        """Without the cells that are padding."""
        whole = [axis.places * axis.stride for axis in axes]
        if all((axis.start, axis.stop) == (0, n) for axis, n in zip(axes, whole, strict=True)):
            return value
        operands = [
            [axis.start for axis in axes],
            [axis.stop for axis in axes],
            list(range(2, 2 + len(axes))),
        ]
        names = [
            self._graph.constant(f"{self._node.output}/{what}", np.array(numbers, np.int64))
            for what, numbers in zip(("starts", "ends", "axes"), operands, strict=True)
        ]
        front = self._graph.shapes[value][:2]
        return self._add("Slice", [value, *names], (*front, *(a.stop - a.start for a in axes)))

    def _reshape(self, value: str, dims: tuple[int, ...]) -> str:
        shape = self._graph.constant(f"{self._node.output}/shape", np.array(dims, np.int64))
        return self._add("Reshape", [value, shape], dims)

    def _add(self, op: str, inputs: list[str], dims: Dims, **attributes: object) -> str:
        name = self._graph.fresh(f"{self._node.output}/{op}")
        self._graph.shapes[name] = dims
        where = f"{self._node.where}, as {op}"
        self._made.append(Node(op, inputs, [name], dict(attributes), where))
        return name

    def _fail(self, message: str) -> UnsupportedModel:
        return UnsupportedModel(f"{self._node.where}: {message}")


def _spread(weight: Floats, group: int, axes: list[_Axis]) -> Floats:
    """Weights [channels in, out / group, ...] as the Conv's: [out, class, in / group, taps]."""
    whole = [axis.taps * axis.stride for axis in axes]
    each = weight.shape[0] // group
    shape = (group, each, weight.shape[1], *whole)
    wide = np.zeros(shape, np.float32)
    steps = tuple(slice(0, (a.kernel - 1) * a.dilation + 1, a.dilation) for a in axes)
    wide[(slice(None), slice(None), slice(None), *steps)] = weight.reshape(
        group, each, *weight.shape[1:]
    )
    split = wide.reshape(*shape[:3], *(n for axis in axes for n in (axis.taps, axis.stride)))
    taps = [3 + 2 * i for i in range(len(axes))]
    order = (0, 2, *(axis + 1 for axis in taps), 1, *taps)
    result = np.flip(split, tuple(taps)).transpose(order)
    return np.ascontiguousarray(
        result.reshape(-1, each, *(axis.taps for axis in axes)), dtype=np.float32
    )
