"""Floating-point formats: unit roundoff, the smallest normal number and the largest finite one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Format:
    """A binary format of IEEE 754-2019 with rounding to nearest.

    Attributes:
        name: NumPy's name.
        unit: unit roundoff u: a rounded result z(1 + d) has |d| <= u unless it underflows.
        tiny: the smallest normal number. A machine may flush results below it to zero, so one
            operation's result is off by at most `tiny` more.
        largest: finite number; beyond it an honest result is infinite.
    """

    name: str
    unit: float
    tiny: float
    largest: float


def _of(name: str) -> Format:
    info = np.finfo(name)
    return Format(name, float(info.eps) / 2, float(info.tiny), float(info.max))


FORMATS: dict[str, Format] = {name: _of(name) for name in ("float16", "float32", "float64")}
#: Unit roundoff of the arithmetic in which references are computed.
REFERENCE_UNIT = FORMATS["float64"].unit


def format_of(dtype: np.dtype[Any]) -> Format | None:
    """The format of an element type; None where it is not floating point."""
    return FORMATS.get(dtype.newbyteorder("=").name)
