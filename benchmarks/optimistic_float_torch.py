"""A second runtime: the operators of a plan computed one by one by PyTorch, on a CPU or a GPU.

Imported in workers only, and only where PyTorch is installed. What it does not know (movement,
integers) is run alone by onnxruntime; its operators are PyTorch's own kernels, so another order of
summation, other elementary functions, and on a CPU other convolutions (oneDNN).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F

from proofml.optimistic.floating.node import Node
from proofml.optimistic.floating.plan import Plan, Ref
from proofml.optimistic.floating.stages import Singles
from proofml.optimistic.program import Source
from proofml.tensors import Array

#: A `torch.Tensor`; the type checker runs where there is no torch.
Tensor: TypeAlias = Any
Kernel = Callable[[Node, "list[Tensor | None]"], Tensor]


def _need(x: Sequence[Tensor | None], index: int) -> Tensor:
    found = x[index]
    if found is None:
        raise NotImplementedError(f"no operand {index}")
    return found


def _maybe(x: Sequence[Tensor | None], index: int) -> Tensor | None:
    return x[index] if index < len(x) else None


def _pads(node: Node, rank: int) -> tuple[int, ...]:
    """Padding before each spatial axis, and the same after it."""
    pads = node.integers("pads", (0,) * (2 * rank))
    if node.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or pads[:rank] != pads[rank:]:
        raise NotImplementedError(node.label)
    return pads[:rank]


def _conv(node: Node, x: list[Tensor | None]) -> Tensor:
    data, weight = _need(x, 0), _need(x, 1)
    rank = data.ndim - 2
    call = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[rank]
    pads = node.integers("pads", (0,) * (2 * rank))
    if node.text("auto_pad", "NOTSET").startswith("SAME"):
        sizes = data.shape[2:]
        strides = node.integers("strides", (1,) * rank)
        before, after = [], []
        for length, k, s in zip(sizes, weight.shape[2:], strides, strict=True):
            total = max(0, (-(-length // s) - 1) * s + k - length)
            low = total // 2 if node.text("auto_pad", "") == "SAME_UPPER" else total - total // 2
            before.append(low)
            after.append(total - low)
        pads = (*before, *after)
    widths = [w for axis in reversed(range(rank)) for w in (pads[axis], pads[axis + rank])]
    padded = F.pad(data, widths) if any(widths) else data
    return call(
        padded,
        weight,
        _maybe(x, 2),
        stride=node.integers("strides", (1,) * rank),
        dilation=node.integers("dilations", (1,) * rank),
        groups=node.integer("group", 1),
    )


def _conv_transpose(node: Node, x: list[Tensor | None]) -> Tensor:
    data, weight = _need(x, 0), _need(x, 1)
    rank = data.ndim - 2
    call = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[rank]
    return call(
        data,
        weight,
        _maybe(x, 2),
        stride=node.integers("strides", (1,) * rank),
        padding=_pads(node, rank),
        output_padding=node.integers("output_padding", (0,) * rank),
        groups=node.integer("group", 1),
        dilation=node.integers("dilations", (1,) * rank),
    )


def _batch(node: Node, x: list[Tensor | None]) -> Tensor:
    return F.batch_norm(x[0], x[3], x[4], x[1], x[2], False, 0.0, node.real("epsilon", 1e-5))


def _average(node: Node, x: list[Tensor | None]) -> Tensor:
    data = _need(x, 0)
    rank = data.ndim - 2
    kernel = node.integers("kernel_shape", ())
    call = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[rank]
    return call(
        data,
        kernel,
        node.integers("strides", (1,) * rank),
        _pads(node, rank),
        bool(node.integer("ceil_mode", 0)),
        bool(node.integer("count_include_pad", 0)),
    )


def _softmax(node: Node, x: list[Tensor | None]) -> Tensor:
    data = _need(x, 0)
    if node.opset >= 13:
        return F.softmax(data, node.integer("axis", -1))
    first = node.integer("axis", 1) % data.ndim
    return F.softmax(data.flatten(first), -1).reshape(data.shape)


def _reduce(call: Callable[..., Tensor]) -> Kernel:
    def kernel(node: Node, x: list[Tensor | None]) -> Tensor:
        data, given = _need(x, 0), _maybe(x, 1)
        axes = node.integers("axes", ()) if given is None else tuple(given.tolist())
        return call(
            data, dim=axes or tuple(range(data.ndim)), keepdim=bool(node.integer("keepdims", 1))
        )

    return kernel


def _clip(node: Node, x: list[Tensor | None]) -> Tensor:
    data = _need(x, 0)
    low, high = _maybe(x, 1), _maybe(x, 2)
    return torch.clamp(
        data,
        node.get("min", None) if low is None else float(low),
        node.get("max", None) if high is None else float(high),
    )


def _gemm(node: Node, x: list[Tensor | None]) -> Tensor:
    a, b = _need(x, 0), _need(x, 1)
    a, b = (v.T if node.integer(f"trans{n}", 0) else v for v, n in ((a, "A"), (b, "B")))
    product = node.real("alpha", 1.0) * (a @ b)
    bias = _maybe(x, 2)
    return product if bias is None else product + node.real("beta", 1.0) * bias


def _global(node: Node, x: list[Tensor | None]) -> Tensor:
    data = _need(x, 0)
    return data.mean(tuple(range(2, data.ndim)), keepdim=True)


def _hard_sigmoid(node: Node, x: list[Tensor | None]) -> Tensor:
    line = _need(x, 0) * node.real("alpha", 0.2) + node.real("beta", 0.5)
    return torch.clamp(line, 0, 1)


def _simple(call: Callable[..., Tensor]) -> Kernel:
    return lambda node, x: call(*x)


KERNELS: dict[str, Kernel] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "BatchNormalization": _batch,
    "AveragePool": _average,
    "GlobalAveragePool": _global,
    "Softmax": _softmax,
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "ReduceMax": _reduce(torch.amax),
    "Clip": _clip,
    "Gemm": _gemm,
    "HardSigmoid": _hard_sigmoid,
    **{
        name: _simple(call)
        for name, call in {
            "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div,
            "Pow": torch.pow, "Sqrt": torch.sqrt, "Reciprocal": torch.reciprocal,
            "Exp": torch.exp, "Log": torch.log, "Erf": torch.erf, "Tanh": torch.tanh,
            "Sigmoid": torch.sigmoid, "Relu": torch.relu, "MatMul": torch.matmul,
            "Max": torch.maximum, "Min": torch.minimum,
        }.items()
    },
}  # fmt: skip


class TorchMachine:
    """Runs a plan by PyTorch."""

    def __init__(self, plan: Plan, device: str = "cpu", *, onednn: bool = True, threads: int = 1):
        torch.backends.mkldnn.enabled = onednn
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.set_num_threads(threads)
        self._plan, self._device, self._onednn = plan, device, onednn
        self._threads = threads
        self._singles = Singles()

    def run(self, inputs: Sequence[Array]) -> Mapping[Ref, Array]:
        torch.backends.mkldnn.enabled = self._onednn
        torch.set_num_threads(self._threads)
        values: dict[Ref, Array] = {Ref(Source.INPUT, i): a for i, a in enumerate(inputs)}
        for operator in self._plan.operators:
            named: dict[str, Array] = {
                name: self._plan.weights[ref.index] if ref.source is Source.WEIGHT else values[ref]
                for name, ref in zip(operator.names, operator.inputs, strict=True)
            }
            for node in operator.nodes:
                operands = [named.get(name) if name else None for name in node.inputs]
                made = self._node(node, operands)
                named.update(zip(filter(None, node.outputs), made, strict=True))
            for port, name in enumerate(operator.outputs):
                values[Ref(Source.OPERATOR, operator.index, port)] = named[name]
        return values

    def _node(self, node: Node, operands: Sequence[Array | None]) -> list[Array]:
        kernel = KERNELS.get(node.op)
        first = next((o for o in operands if o is not None), None)
        if kernel is None or first is None or first.dtype.kind != "f":
            return self._singles.evaluate(node, operands)
        tensors: list[Any] = [
            None if o is None else torch.from_numpy(np.array(o, order="C")).to(self._device)
            for o in operands
        ]
        try:
            with torch.inference_mode():
                return [kernel(node, tensors).cpu().numpy()]
        except NotImplementedError:
            return self._singles.evaluate(node, operands)
