"""Random quantised graphs over the importer's operators, each from one seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import ModelProto

from .models import MICROSOFT, Net, Tensor

Image = tuple[int, ...]
UNARY = (
    ("Sigmoid", 1 / 256, {}),
    ("Tanh", 1 / 128, {}),
    ("LeakyRelu", 0.03, {"alpha": 0.1}),
    ("HardSigmoid", 1 / 256, {}),
    ("HardSwish", 0.02, {}),
    ("Erf", 1 / 128, {}),
    ("Exp", 0.1, {}),
)


def random_graph(seed: int) -> tuple[Net, ModelProto]:
    """A network of three to eight operators; the same one for the same seed."""
    rng = np.random.default_rng(seed)
    qdq = bool(rng.random() < 0.65)
    dtype = "uint8" if rng.random() < 0.7 else "int8"
    net = Net(
        rng,
        dtype=dtype,
        weights="int8" if dtype == "int8" or rng.random() < 0.6 else "uint8",
        binary=bool(rng.random() < 0.4),
        channels=bool(rng.random() < 0.4),
        qdq=qdq,
        opset=int(rng.choice([14, 17])) if qdq else 13,
    )
    x = images(net) if rng.random() < 0.7 else rows(net)
    # Every value is compared where that does not change what the runtime fuses.
    shown = [t for t in net.made if t.name != x.name] if dtype == "uint8" else []
    return net, net.model([*shown, x], dequantised=qdq and dtype == "int8")


def images(net: Net) -> Tensor:
    """A convolutional network."""
    rng = net.rng
    size = int(rng.integers(7, 14))
    x = net.input((int(rng.integers(1, 3)), int(rng.integers(1, 4)), size, size + 1))
    x = convolution(net, x)
    for _ in range(int(rng.integers(2, 6))):
        step = IMAGE_STEPS[int(rng.integers(len(IMAGE_STEPS)))]
        if min(x.shape[2:]) < 4:
            break
        x = step(net, x)
    if rng.random() < 0.5:
        x = pooled(net, x, "GlobalAveragePool", (*x.shape[:2], 1, 1), 0.3)
    flat = int(np.prod(x.shape[1:]))
    x = movement(net, "Flatten", x, [], (x.shape[0], flat), axis=1)
    return net.gemm(x, int(rng.integers(2, 30)), act=activation(net))


def rows(net: Net) -> Tensor:
    """Products of matrices, with and without batches."""
    rng = net.rng
    x = net.input((int(rng.integers(1, 4)), int(rng.integers(2, 9)), int(rng.integers(8, 40))))
    for _ in range(int(rng.integers(2, 6))):
        choice = int(rng.integers(5))
        if choice == 0:
            x = net.matmul(x, int(rng.integers(4, 40)), act=activation(net))
        elif choice == 1 and net.dtype == "uint8":
            y = movement(
                net, "Transpose", x, [], (x.shape[0], x.shape[2], x.shape[1]), perm=[0, 2, 1]
            )
            x = net.product(x, y)
        elif choice == 2:
            x = unary(net, x)
        elif choice == 3:
            other = net.input((x.shape[1], 1) if rng.random() < 0.5 else x.shape[1:], 0.03)
            x = net.pair("Add" if rng.random() < 0.5 else "Mul", x, other)
        else:
            x = net.matmul(x, x.shape[-1])
    return x


def activation(net: Net) -> str:
    return str(net.rng.choice(["", "", "Relu", "Clip"])) if net.qdq else ""


def convolution(net: Net, x: Tensor) -> Tensor:
    rng = net.rng
    made, attributes = 4 * int(rng.integers(1, 4)), {}
    kernel = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    choice = rng.random()
    if choice < 0.4:
        attributes["pads"] = [int(n) for n in rng.integers(0, 2, 4)]
    elif choice < 0.6:
        attributes["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER"]))
    elif choice < 0.7 and min(x.shape[2:]) > 5:
        attributes["dilations"] = [2, 1]
    if min(x.shape[2:]) > 6:
        attributes["strides"] = [int(n) for n in rng.integers(1, 3, 2)]
    if x.shape[1] % 2 == 0 and rng.random() < 0.4:
        attributes["group"] = 2 if rng.random() < 0.5 else x.shape[1]
        made = x.shape[1]
    return net.conv(x, made, kernel, act=activation(net), **attributes)


def residual(net: Net, x: Tensor) -> Tensor:
    if net.dtype == "int8" and net.qdq:
        return convolution(net, x)  # shared tensors of int8 run in float
    y = net.conv(x, x.shape[1], (3, 3), pads=[1, 1, 1, 1])
    return net.pair("Add", x, y) if net.rng.random() < 0.7 else net.pair("Mul", y, x)


def unary(net: Net, x: Tensor) -> Tensor:
    operator, scale, attributes = UNARY[int(net.rng.integers(len(UNARY)))]
    if net.qdq:
        return net.unary(operator, x, scale, **attributes)
    if net.rng.random() < 0.5:
        return net.qlinear_unary("QLinearSigmoid", x, 1 / 256)
    return net.qlinear_unary("QLinearLeakyRelu", x, 0.03, alpha=0.1)


def pooled(net: Net, x: Tensor, operator: str, shape: Image, scale: float, **more: Any) -> Tensor:
    scale = float(x.scale) * scale
    if net.qdq:
        value = net.node(operator, [net.float(x)], **more)
        return net.quantise(value, shape, net.scale(scale), net.zero())
    return net.qlinear_unary(f"QLinear{operator}", x, scale, shape=shape, channels_last=0, **more)


def maximum(net: Net, x: Tensor) -> Tensor:
    pads = [int(n) for n in net.rng.integers(0, 2, 4)]
    shape = (
        *x.shape[:2],
        *((n + pads[i] + pads[2 + i] - 2) // 2 + 1 for i, n in enumerate(x.shape[2:])),
    )
    return movement(net, "MaxPool", x, [], shape, kernel_shape=[2, 2], strides=[2, 2], pads=pads)


def average(net: Net, x: Tensor) -> Tensor:
    if not net.binary:  # sums of other scales are rounded, which is class D
        return maximum(net, x)
    shape = (*x.shape[:2], *(n - 1 for n in x.shape[2:]))
    return pooled(net, x, "AveragePool", shape, 1, kernel_shape=[2, 2])


def padded(net: Net, x: Tensor) -> Tensor:
    pads = net.constant(np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64))
    shape = (*x.shape[:2], x.shape[2] + 1, x.shape[3] + 3)
    if net.qdq:
        return movement(net, "Pad", x, [pads], shape)
    value = net.constant(np.array(x.zero, x.dtype))
    return movement(net, "Pad", x, [pads, value], shape)


def sliced(net: Net, x: Tensor) -> Tensor:
    names = [net.constant(np.array(v, np.int64)) for v in ([1, -1], [100, -100], [2, 3], [1, -1])]
    return movement(net, "Slice", x, names, (*x.shape[:2], x.shape[2] - 1, x.shape[3]))


def transposed(net: Net, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return movement(net, "Transpose", x, [], (n, c, w, h), perm=[0, 1, 3, 2])


def joined(net: Net, x: Tensor) -> Tensor:
    if net.dtype == "int8" and net.qdq:
        return transposed(net, x)
    y = net.conv(x, 4, (1, 1))
    scale, zero = net.scale(float(x.scale) * 1.1), net.zero()
    shape = (x.shape[0], x.shape[1] + 4, *x.shape[2:])
    if net.qdq:
        value = net.node("Concat", [net.float(x), net.float(y)], axis=1)
        return net.quantise(value, shape, scale, zero)
    names = net.parameters(scale, zero)
    for part in (x, y):
        names += [part.name, *net.parameters(part.scale, part.zero)]
    value = net.node("QLinearConcat", names, domain=MICROSOFT, axis=1)
    net.made.append(Tensor(value, shape, scale, zero, net.dtype))
    return net.made[-1]


def movement(
    net: Net, operator: str, x: Tensor, inputs: list[str], shape: Image, **attributes: Any
) -> Tensor:
    """Of dequantised codes, or of codes themselves."""
    if net.qdq:
        return net.moved(operator, x, inputs, shape, **attributes)
    value = net.node(operator, [x.name, *inputs], **attributes)
    net.made.append(replace(x, name=value, shape=shape))
    return net.made[-1]


IMAGE_STEPS: tuple[Callable[[Net, Tensor], Tensor], ...] = (
    convolution,
    convolution,
    residual,
    unary,
    maximum,
    average,
    padded,
    sliced,
    transposed,
    joined,
)
