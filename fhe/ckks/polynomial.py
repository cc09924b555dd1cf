"""A polynomial of an encrypted value in [-1, 1], in the basis of Chebyshev polynomials.

T_2k = 2 T_k^2 - 1 gives the powers of two; a polynomial of lower degree than 2k is split as
q T_k + r and so on down to degree 1 (Paterson and Stockmeyer 1973). Degree 2^k - 1 takes k levels.
Degree 2^k takes k as well: the leading term c T_2k = 2c T_k^2 - c is multiplied by 2c for nothing,
by reading the same integers at another scale. Every constant gets the scale that makes both sides
of a sum agree (Bossuat et al., EUROCRYPT 2021, ePrint 2020/1203).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proofml.fhe.ckks.builder import Builder, Vanishing

#: A leading coefficient smaller than this part of the largest one is not worth the scale it costs.
LEAST_LEAD = 2.0**-12


def has_lead(coefficients: Sequence[float]) -> bool:
    """Whether the degree is a power of two that takes no level more than the degree below it."""
    degree = len(coefficients) - 1
    most = max(abs(c) for c in coefficients)
    return degree > 1 and degree & (degree - 1) == 0 and abs(coefficients[-1]) >= LEAST_LEAD * most


def depth_of(coefficients: Sequence[float]) -> int:
    """Levels that a polynomial takes; trailing coefficients that are zero do not count."""
    coefficients = shortened(coefficients)
    degree = len(coefficients) - 1
    return max(1, degree.bit_length() - has_lead(coefficients))


def evaluate(builder: Builder, t: int, coefficients: Sequence[float], scale: float) -> int:
    """Register of the polynomial's values.

    Args:
        t: register of values in [-1, 1].
        coefficients: of T_0 upwards, not only that one.
        scale: that the result shall have; with a leading term of a power of two it follows from
            the operand's instead.
    """
    coefficients = shortened(coefficients)
    powers = _Powers(builder, t)
    end = builder.level(t) - depth_of(coefficients)
    if has_lead(coefficients):
        return _with_lead(builder, powers, coefficients, end)
    target = scale * builder.prime(end + 1)
    found, constant = _sum(builder, powers, coefficients, end, target)
    if found is None:
        raise Vanishing("a constant is no polynomial of an encrypted value")
    return builder.shift(builder.rescale(found), np.array([constant]))


class _Powers:
    """T_1, T_2, T_4, ... of a register, made when they are asked for."""

    def __init__(self, builder: Builder, t: int) -> None:
        self._builder = builder
        self._found = {1: t}

    def at(self, degree: int, level: int) -> int:
        return self._builder.drop_to(self._power(degree), level)

    def _power(self, degree: int) -> int:
        if degree not in self._found:
            builder, half = self._builder, self._power(degree // 2)
            square = builder.rescale(builder.multiply(half, half))
            self._found[degree] = builder.shift(builder.add(square, square), np.array([-1.0]))
        return self._found[degree]


def _with_lead(builder: Builder, powers: _Powers, coefficients: Sequence[float], end: int) -> int:
    degree, lead = len(coefficients) - 1, coefficients[-1]
    half = powers.at(degree // 2, end + 1)
    square = builder.multiply(half, half)
    if lead < 0:
        square = builder.negate(square)
    square = builder.label(square, builder.scale(square) / (2.0 * abs(lead)))
    rest = list(coefficients[:-1])
    rest[0] -= lead
    found, constant = _sum(builder, powers, rest, end, builder.scale(square))
    total = square if found is None else builder.add(square, found)
    return builder.shift(builder.rescale(total), np.array([constant]))


def _sum(
    builder: Builder, powers: _Powers, coefficients: Sequence[float], end: int, target: float
) -> tuple[int | None, float]:
    """A register of level end + 1 and scale `target`, still to be rescaled, and what to add then.

    None where the polynomial is constant.
    """
    coefficients = shortened(coefficients)
    degree = len(coefficients) - 1
    if degree == 0:
        return None, coefficients[0]
    if degree == 1:
        term = powers.at(1, end + 1), np.array([coefficients[1]])
        return builder.dot([term], target), coefficients[0]
    k = 1 << (degree.bit_length() - 1)
    quotient, rest = divide(coefficients, k)
    power = powers.at(k, end + 1)
    if len(shortened(quotient)) == 1:
        found = builder.dot([(power, np.array([quotient[0]]))], target)
    else:
        wanted = target / builder.scale(power)
        factor, constant = _sum(builder, powers, quotient, end + 1, wanted * builder.prime(end + 2))
        assert factor is not None
        made = builder.shift(builder.rescale(factor), np.array([constant]))
        found = builder.label(builder.multiply(made, power), target)
    other, constant = _sum(builder, powers, rest, end, target)
    return (found if other is None else builder.add(found, other)), constant


def divide(coefficients: Sequence[float], k: int) -> tuple[list[float], list[float]]:
    """p = q T_k + r for a degree below 2k, by T_(k+j) = 2 T_k T_j - T_(k-j)."""
    rest = [*coefficients[:k]]
    quotient = [coefficients[k]]
    for j, coefficient in enumerate(coefficients[k + 1 :], start=1):
        quotient.append(2.0 * coefficient)
        rest[k - j] -= coefficient
    return quotient, rest


def shortened(coefficients: Sequence[float]) -> list[float]:
    """Without trailing zeros."""
    found = list(coefficients)
    while len(found) > 1 and found[-1] == 0.0:
        found.pop()
    return found
