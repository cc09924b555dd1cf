"""Tensors of the Statement as the centred integers of a graph, and back.

`quantise` and `dequantise` are what onnxruntime's QuantizeLinear and DequantizeLinear do on the
CPU: one float32 division or product, ties to even, saturation. Both are functions of single
elements whose every operation IEEE-754 fixes, so they give the same bits everywhere.

An output of a proof is read back by `encode_output`, which is exact: a float that no code
dequantises to (another rounding, -0.0, NaN) is an error, because accepting its neighbour would
call a wrong output proven.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.functions import float32_of
from proofml.circuits.graph import Codec, Ints, Port

Array: TypeAlias = NDArray[Any]

#: Kinds of codecs, and which of them a port may have.
INPUT_KINDS = ("codes", "quantise")
OUTPUT_KINDS = ("codes", "dequantise")


def encode_input(port: Port, array: Array) -> Ints:
    """Centred codes of an input tensor.

    Args:
        port: an input of the graph.
        array: of `port.shape` and the codec's dtype.

    Returns:
        int64, of `port.shape`.

    Raises:
        ValueError: another shape or dtype, NaN or infinity, or a code outside the codec's range.
    """
    _same_form(port, array)
    codec = port.codec
    if codec.kind == "codes":
        return _centred_codes(port, array)
    if codec.kind != "quantise":
        raise ValueError(f"input {port.name}: codec {codec.kind} is one of outputs")
    if not np.isfinite(array).all():
        raise ValueError(f"input {port.name}: NaN or infinity has no code")
    # A quotient that overflows saturates, as every large one does.
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.array(array, np.float32)
        scaled /= float32_of(codec.scale)
    low, high = codec.low - codec.zero_point, codec.high - codec.zero_point
    np.clip(scaled, np.float32(low), np.float32(high), out=scaled)
    return np.rint(scaled, out=scaled).astype(np.int64)


def decode_output(port: Port, values: Ints) -> Array:
    """The Statement's tensor for centred codes; inverse of `encode_output`.

    Args:
        port: an output (or, with codec `codes`, an input) of the graph.
        values: int64, of `port.shape`.

    Returns:
        An array of `port.shape` and the codec's dtype.

    Raises:
        ValueError: another shape, or a code outside the codec's range.
    """
    codec = port.codec
    if values.shape != port.shape:
        raise ValueError(f"{port.name}: expected shape {port.shape}, got {values.shape}")
    _in_range(port, values, codec.low - codec.zero_point, codec.high - codec.zero_point)
    if codec.kind == "codes":
        return (values + codec.zero_point).astype(np.dtype(codec.dtype))
    if codec.kind != "dequantise":
        raise ValueError(f"output {port.name}: codec {codec.kind} is one of inputs")
    return _dequantised(codec, values)


def encode_output(port: Port, array: Array) -> Ints:
    """Centred codes of an output tensor, exactly; inverse of `decode_output`.

    Args:
        port: an output of the graph.
        array: of `port.shape` and the codec's dtype.

    Returns:
        int64, of `port.shape`.

    Raises:
        ValueError: another shape or dtype, a code outside the codec's range, or a float whose
            bits are not those of any dequantised code.
    """
    _same_form(port, array)
    codec = port.codec
    if codec.kind == "codes":
        return _centred_codes(port, array)
    if codec.kind != "dequantise":
        raise ValueError(f"output {port.name}: codec {codec.kind} is one of inputs")
    # Codes have at most 17 bits, so the float64 quotient of f32(q * s) and s is within 2^-6
    # of q: the nearest integer is the only candidate, and the product says whether it is it.
    low, high = codec.low - codec.zero_point, codec.high - codec.zero_point
    with np.errstate(over="ignore", invalid="ignore"):
        guess = array.astype(np.float64)
        guess /= np.float64(float32_of(codec.scale))
    guess[np.isnan(guess)] = 0.0
    np.clip(guess, low, high, out=guess)
    values = np.rint(guess, out=guess).astype(np.int64)
    wrong = _bits(_dequantised(codec, values)) != _bits(array)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"output {port.name}{list(at)}: {array[at]!r} is no dequantised code")
    return values


def _dequantised(codec: Codec, values: Ints) -> NDArray[np.float32]:
    return values.astype(np.float32) * float32_of(codec.scale)


def _bits(array: Array) -> NDArray[np.uint32]:
    return np.ascontiguousarray(array, np.dtype("=f4")).view(np.uint32).reshape(array.shape)


def _same_form(port: Port, array: Array) -> None:
    if array.shape != port.shape:
        raise ValueError(f"{port.name}: expected shape {port.shape}, got {array.shape}")
    name = array.dtype.newbyteorder("=").name
    if name != port.codec.dtype:
        raise ValueError(f"{port.name}: expected dtype {port.codec.dtype}, got {name}")


def _centred_codes(port: Port, array: Array) -> Ints:
    codec = port.codec
    if array.dtype.kind not in "iub":
        raise ValueError(f"{port.name}: codes are integers, got {array.dtype}")
    # Before the cast: a large uint64 would become a small int64.
    _in_range(port, array, codec.low, codec.high)
    return array.astype(np.int64) - codec.zero_point


def _in_range(port: Port, array: Array, low: int, high: int) -> None:
    if array.size:
        least, most = int(array.min()), int(array.max())
        if least < low or most > high:
            raise ValueError(f"{port.name}: codes from {least} to {most}, expected {low} to {high}")
