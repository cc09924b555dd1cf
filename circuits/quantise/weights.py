"""Weights and biases as integers: symmetric int8 and int32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofml.errors import UnsupportedModel

Floats = NDArray[np.float32]

_HIGHEST = np.float32(127)
#: Smaller weights than this share of the tensor's largest do not refine their channel's scale.
_FLOOR = np.float32(2.0**-24)
#: Bias codes of one channel that raise its scale: beside them the weights are below one code.
_BIAS_CODES = np.float32(2.0**26)
_LOWEST_NORMAL = np.float32(2.0**-126)
_INT32 = 2**31 - 1


@dataclass(frozen=True)
class Quantised:
    """`weight` int8 of the same shape, `bias` int32 or None; scales float32, 0-d or by channel."""

    weight: NDArray[np.int8]
    weight_scale: Floats
    bias: NDArray[np.int32] | None
    bias_scale: Floats


def quantise_weights(
    weight: Floats, bias: Floats | None, axis: int | None, input_scale: np.float32, where: str
) -> Quantised:
    """Symmetric int8 weights of scale max|w| / 127, and biases of scale input * weight.

    Args:
        weight: finite.
        bias: one for each output channel, or None.
        axis: of the output channels, for one scale each; None for one scale.
        input_scale: of the activation that the weights are multiplied with.
        where: the node, for messages.

    Raises:
        UnsupportedModel: a bias that int32 does not hold at this scale, or scales so small or
            large that they leave normal float32.
    """
    sizes = np.abs(weight)
    if axis is None:
        top = np.asarray(sizes.max(initial=0), np.float32)
    else:
        others = tuple(i for i in range(weight.ndim) if i != axis)
        top = np.maximum(sizes.max(axis=others, initial=0), sizes.max(initial=0) * _FLOOR)
    scale = np.asarray(np.where(top > 0, top / _HIGHEST, np.float32(1)), np.float32)
    with np.errstate(over="ignore", under="ignore"):
        if axis is not None and bias is not None:
            # A channel that is all bias, as pruning leaves it.
            scale = np.maximum(scale, np.abs(bias) / (input_scale * _BIAS_CODES))
        product = np.asarray(scale * input_scale, np.float32)
    for value in (scale, product):
        if not (np.isfinite(value) & (value >= _LOWEST_NORMAL)).all():
            raise UnsupportedModel(
                f"{where}: its weights or its input are too small or too large: a scale of "
                f"{float(value.reshape(-1)[0]):g} is no normal float32; rescale the model"
            )
    along = scale
    if axis is not None:
        along = scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    codes = np.clip(np.rint(weight / along), -_HIGHEST, _HIGHEST).astype(np.int8)
    if bias is None:
        return Quantised(codes, scale, None, product)
    wide = np.rint(bias.astype(np.float64) / product.astype(np.float64))
    if (np.abs(wide) > _INT32).any():
        raise UnsupportedModel(
            f"{where}: its bias {float(np.abs(bias).max()):g} needs {np.abs(wide).max():.0f} steps "
            f"of the accumulator, at most {_INT32} fit into int32; quantise per channel, or "
            "rescale the model"
        )
    return Quantised(codes, scale, wide.astype(np.int32), product)


def quantise_values(
    values: Floats, scale: np.float32, zero: int, dtype: str
) -> NDArray[np.generic]:
    """Codes as QuantizeLinear makes them: one float32 division, ties to even, saturation."""
    low = 0 if dtype == "uint8" else -128
    with np.errstate(over="ignore"):
        codes = np.rint(values / scale).astype(np.float64) + zero
    result: NDArray[np.generic] = np.clip(codes, low, low + 255).astype(dtype)
    return result
