"""Vectors of reals as integer polynomials, the same integers on every machine.

A CKKS plaintext is the polynomial with integer coefficients whose values at the primitive roots
zeta^(3^i), zeta = exp(pi i / degree), are next to `scale * v[i]`. Computed by a library's complex
transform, coefficients near one half round as the last bits of its sines and fused operations
fall, so two processors may disagree. Here sines are rounded from integers of 200 bits, and the
transforms are separate IEEE additions and multiplications of float64 in one fixed order.

`encode` gives the coefficients, `values` what SEAL is given to find them again: its own transform
of those values differs from integers by far less than one half, so that rounding ends at them
whatever its last bits are. `MAX_COEFFICIENT` leaves a factor of 2^8 for that.

A vector of period P lies in the subring of X^(slots / P), so transforms have the length of the
period; the coefficients of a real vector are those of P cosines.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

#: Largest `scale * |v|`. A transform of 2^16 values is off by less than 2^-53 * 16 * 2^44 on them.
MAX_COEFFICIENT = 2.0**44
#: The same where all slots are equal: the polynomial is one number, which no transform touches.
MAX_NUMBER = 2.0**52
_PRECISION = 200
#: Longest transform: of the ring of degree 32768.
_MAX_DEGREE = 1 << 15


class TooLarge(ValueError):
    """Values that a plaintext of this scale does not hold exactly."""


@cache
def _roots() -> tuple[Reals, Reals]:
    """Cosine and sine of pi k / 32768 for k below 65536, each rounded correctly."""
    one = 1 << _PRECISION
    cosine, sine = 0, one  # of pi / 2, halved until it is pi / 32768
    for _ in range(14):
        cosine = math.isqrt((one + cosine) * one // 2)
        sine = sine * one // (2 * cosine)
    quarter = _MAX_DEGREE // 2
    x, y = one, 0
    found = np.zeros(quarter + 1)
    for k in range(quarter):
        found[k] = x / one
        x, y = (x * cosine - y * sine) >> _PRECISION, (x * sine + y * cosine) >> _PRECISION
    # found[quarter] stays 0: the cosine of pi / 2.
    half = np.concatenate([found, -found[-2::-1]])  # 0 .. pi
    whole = np.concatenate([half, half[-2:0:-1]])
    whole = whole + 0.0  # no negative zeros
    return whole, np.roll(whole, quarter)


def _root_powers(degree: int, count: int, every: int) -> tuple[Reals, Reals]:
    """Cosine and sine of pi * every * k / degree for k below count."""
    stride = _MAX_DEGREE // degree * every
    index = np.arange(count) * stride % (2 * _MAX_DEGREE)
    cosine, sine = _roots()
    return cosine[index], sine[index]


def _transform(re: Reals, im: Reals, sign: float) -> tuple[Reals, Reals]:
    """DFT along the last axis of [batch, n], n a power of two: sum_k x[k] exp(sign 2 pi i t k/n).

    Stockham's order, radix 2: every output is made by the same operations in the same order.
    """
    batch, length = re.shape
    stride, left = 1, length
    while left > 1:
        half = left // 2
        cosine, sine = _root_powers(left, half, 2)
        w_re, w_im = cosine[:, None], sign * sine[:, None]
        x_re = re.reshape(batch, 2, half, stride)
        x_im = im.reshape(batch, 2, half, stride)
        d_re, d_im = x_re[:, 0] - x_re[:, 1], x_im[:, 0] - x_im[:, 1]
        y_re = np.empty((batch, half, 2, stride))
        y_im = np.empty((batch, half, 2, stride))
        np.add(x_re[:, 0], x_re[:, 1], out=y_re[:, :, 0])
        np.add(x_im[:, 0], x_im[:, 1], out=y_im[:, :, 0])
        np.subtract(d_re * w_re, d_im * w_im, out=y_re[:, :, 1])
        np.add(d_re * w_im, d_im * w_re, out=y_im[:, :, 1])
        re, im = y_re.reshape(batch, length), y_im.reshape(batch, length)
        stride, left = stride * 2, half
    return re, im


@cache
def _places(period: int) -> NDArray[np.int64]:
    """For each slot i the number t with 3^i or -3^i = 4 t + 1 modulo 4 * period.

    A polynomial with real coefficients whose values are real has one value at both.
    """
    found = np.empty(period, np.int64)
    power = 1
    for i in range(period):
        found[i] = (power if power % 4 == 1 else 4 * period - power) // 4
        power = power * 3 % (4 * period)
    return found


def most(period: int) -> float:
    """Largest `scale * |v|` of a vector of this period."""
    return MAX_NUMBER if period == 1 else MAX_COEFFICIENT


def encode(vectors: Reals, scale: float) -> Reals:
    """Coefficients of X^(k * slots / period) for k below the period: whole numbers as float64.

    The coefficient of X^(degree - j) is minus that of X^j, that of X^(degree / 2) is zero.

    Args:
        vectors: [batch, period], finite; the period is a power of two.
        scale: positive.

    Raises:
        TooLarge: a coefficient might be beyond `most`.
    """
    batch, period = vectors.shape
    if not float(np.max(np.abs(vectors), initial=0.0)) * scale <= most(period):
        raise TooLarge(
            f"values up to {float(np.max(np.abs(vectors))):g} at scale 2^{math.log2(scale):.1f} "
            f"exceed 2^{math.log2(most(period)):.0f}"
        )
    if period == 1:
        return np.rint(vectors * scale)
    # With n = 2 period and m the polynomial: m(zeta^(4t+1)) is the sum of
    # (m[k] + i m[k + period]) zeta^k times powers of zeta^(4t), a transform of length `period`.
    re = np.empty((batch, period))
    re[:, _places(period)] = vectors
    d_re, d_im = _transform(re, np.zeros_like(re), -1.0)
    cosine, sine = _root_powers(2 * period, period, 1)
    sums = d_re * cosine + d_im * sine
    coefficients: Reals = np.rint(sums / period * scale)
    return coefficients


def values(coefficients: Reals) -> Reals:
    """The polynomials' values in slots [batch, period]; see `encode`."""
    period = coefficients.shape[1]
    if period == 1:
        return coefficients.copy()
    high = np.zeros_like(coefficients)  # of X^(k + period), by the symmetry
    high[:, 1:] = -coefficients[:, :0:-1]
    cosine, sine = _root_powers(2 * period, period, 1)
    d_re, _ = _transform(
        coefficients * cosine - high * sine, coefficients * sine + high * cosine, 1.0
    )
    return np.ascontiguousarray(d_re[:, _places(period)])
