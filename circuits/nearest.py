"""Enlarging by whole factors to the nearest cell: ONNX's Resize, as far as no rounding decides.

With a whole factor each place of the result is a fraction of small integers, so that floats find
the same cell as exact arithmetic does. Other factors are refused: runtimes round them differently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, floor

import numpy as np

from proofml.circuits.axes import MAX_AXIS

#: Where the centre of a cell lies, and to which side a place between two cells goes.
COORDINATES = ("asymmetric", "half_pixel", "pytorch_half_pixel")
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
#: Attributes of Resize that say nothing, with the value that they must have.
_PLAIN = {"antialias": 0, "exclude_outside": 0, "keep_aspect_ratio_policy": "stretch"}
_HALF = Fraction(1, 2)


def check_mode(attributes: Mapping[str, object]) -> tuple[str, str]:
    """The coordinates and the rounding that a Resize asks for; `attributes` has text as str.

    Raises:
        ValueError: another interpolation, another mode, or attributes that change the result.
    """
    mode = attributes.get("mode", "nearest")
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding = attributes.get("nearest_mode", "round_prefer_floor")
    if mode != "nearest":
        raise ValueError(f"mode {mode!r}; expected 'nearest'")
    if coordinates not in COORDINATES:
        raise ValueError(
            f"coordinate_transformation_mode {coordinates!r}; expected {', '.join(COORDINATES)}"
        )
    if rounding not in ROUNDINGS:
        raise ValueError(f"nearest_mode {rounding!r}; expected {', '.join(ROUNDINGS)}")
    for name, value in _PLAIN.items():
        if attributes.get(name, value) != value:
            raise ValueError(f"{name} {attributes[name]!r}; expected {value!r}")
    return str(coordinates), str(rounding)


def factors(
    shape: Sequence[int | None],
    scales: Sequence[float] | None,
    sizes: Sequence[int] | None,
    axes: Sequence[int] | None,
) -> list[int]:
    """By how much each axis grows.

    Args:
        shape: of the tensor, None where a dim is open.
        scales, sizes: operands of Resize, of which one is given.
        axes: those that they are of; all of them if None.

    Raises:
        ValueError: both or none, numbers that do not fit the shape, or no whole factors.
    """
    given = scales if scales is not None else sizes
    if given is None or (scales is not None and sizes is not None):
        raise ValueError("expected either scales or sizes")
    rank = len(shape)
    chosen = list(range(rank)) if axes is None else [axis + rank * (axis < 0) for axis in axes]
    known = len(set(chosen)) == len(chosen) and set(chosen) <= set(range(rank))
    if len(given) != len(chosen) or not known:
        raise ValueError(f"{len(given)} numbers for the axes {chosen} of rank {rank}")
    result = [1] * len(shape)
    for axis, number in zip(chosen, given, strict=True):
        length = shape[axis]
        if sizes is not None and length is None:
            raise ValueError(f"sizes, and axis {axis} of its input is open; fix the input's shape")
        factor = Fraction(float(number)) if sizes is None else Fraction(int(number), length or 1)
        if factor.denominator != 1 or factor < 1 or factor * (length or 1) > MAX_AXIS:
            raise ValueError(
                f"axis {axis} grows {float(factor):g} times; expected a whole number, and at most "
                f"{MAX_AXIS} cells"
            )
        result[axis] = int(factor)
    return result


def nearest(length: int, factor: int, coordinates: str, rounding: str) -> list[int]:
    """For each of `length * factor` places the cell that it takes."""
    shift = Fraction(0) if coordinates == "asymmetric" else _HALF
    places = [(out + shift) / factor - shift for out in range(length * factor)]
    return [min(max(_cell(place, rounding), 0), length - 1) for place in places]


def _cell(place: Fraction, rounding: str) -> int:
    if rounding == "floor":
        return floor(place)
    if rounding == "ceil":
        return ceil(place)
    return ceil(place - _HALF) if rounding == "round_prefer_floor" else floor(place + _HALF)


def finite(array: np.typing.NDArray[np.generic]) -> list[float]:
    """The numbers of a float operand; raises `ValueError` where one is infinite or NaN."""
    if array.dtype != np.float32 or not np.isfinite(array.astype(np.float64)).all():
        raise ValueError(f"scales of {array.dtype}; expected finite float32")
    return [float(number) for number in array.reshape(-1)]
