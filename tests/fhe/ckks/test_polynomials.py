"""Best polynomials, and their evaluation under levels and scales."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import chebyshev

from proofml.fhe.ckks.builder import Builder
from proofml.fhe.ckks.minimax import largest_error, minimax
from proofml.fhe.ckks.network import FUNCTIONS
from proofml.fhe.ckks.params import Parameters, choose_primes
from proofml.fhe.ckks.polynomial import depth_of, divide, evaluate
from proofml.fhe.ckks.simulate import simulate

#: Of |x| on [-1, 1]: degree times the error of the best polynomial tends to it (Varga and
#: Carpenter, Constructive Approximation 1, 1985). Degree 2 is x^2 + 1/8.
BERNSTEIN = 0.2801694990


def test_best_approximation_of_the_absolute_value() -> None:
    errors = {
        degree: largest_error(minimax(np.abs, -1.0, 1.0, degree, (0.0,)), np.abs)
        for degree in (2, 3, 8, 32, 64)
    }
    assert errors[2] == pytest.approx(0.125, rel=1e-4)
    assert errors[3] == pytest.approx(0.125, rel=1e-4)
    assert 0.27 < 8 * errors[8] < 32 * errors[32] < 64 * errors[64] < BERNSTEIN * 1.001


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("interval", [(-1.0, 1.0), (-6.0, 4.0), (-0.5, 12.0), (2.0, 3.0)])
@pytest.mark.parametrize("degree", [1, 2, 3, 8, 15])
def test_no_worse_than_interpolation_and_alternating(
    name: str, interval: tuple[float, float], degree: int
) -> None:
    low, high = interval
    function = FUNCTIONS[name].exact
    found = minimax(function, low, high, degree, FUNCTIONS[name].kinks)
    error = largest_error(found, function)
    other = chebyshev.Chebyshev.interpolate(function, degree, [low, high])
    x = np.linspace(low, high, 4001)
    assert error <= float(np.max(np.abs(other(x) - function(x)))) * 1.0001 + 1e-12
    if error < 1e-9:
        return
    # The largest error is nearly reached degree + 2 times, with alternating signs.
    errors = found(x) - function(x)
    peaks = errors[np.abs(errors) > 0.97 * error]
    assert 1 + np.count_nonzero(np.diff(np.sign(peaks))) >= degree + 2


def test_refused_intervals() -> None:
    for low, high, degree in ((1.0, 1.0, 2), (2.0, 1.0, 2), (0.0, 1.0, 0), (0.0, 1.0, 65)):
        with pytest.raises(ValueError):
            minimax(np.tanh, low, high, degree)


@given(st.lists(st.floats(-4, 4), min_size=3, max_size=16))
def test_division_in_the_basis_of_chebyshev(coefficients: list[float]) -> None:
    degree = len(coefficients) - 1
    k = 1 << (degree.bit_length() - 1)
    quotient, rest = divide(coefficients, k)
    product = chebyshev.chebmul(quotient, [0.0] * k + [1.0])
    total = chebyshev.chebadd(product, rest)
    np.testing.assert_allclose(
        np.pad(total, (0, max(0, len(coefficients) - len(total)))), coefficients, atol=1e-9
    )


def test_depths() -> None:
    degrees = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 31, 32)
    assert [depth_of([1.0] * (d + 1)) for d in degrees] == [1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5]
    assert depth_of([1.0, 1.0, 1.0, 0.0, 0.0]) == 1


@pytest.mark.parametrize("degree", range(1, 33))
@pytest.mark.parametrize("kind", ["dense", "odd", "even", "negative"])
def test_evaluation_uses_as_many_levels_as_it_says(degree: int, kind: str) -> None:
    rng = np.random.default_rng(degree)
    coefficients = rng.standard_normal(degree + 1) / (1 + np.arange(degree + 1))
    if kind == "odd":
        coefficients[::2] = 0.0
    if kind == "even":
        coefficients[1::2] = 0.0
    if kind == "negative":
        coefficients[-1] = -abs(coefficients[-1])
    if not coefficients[1:].any():
        return
    while coefficients[-1] == 0.0:
        coefficients = coefficients[:-1]
    depth = depth_of(coefficients)
    parameters = Parameters(32768, choose_primes(32768, 40, depth + 1, 45, 46))
    builder = Builder(parameters, 1 << 10)
    t = builder.input(parameters.levels, 2.0**40)
    made = evaluate(builder, t, [float(c) for c in coefficients], 2.0**40)
    program = builder.finish([made])
    assert builder.level(made) == 1
    x = np.linspace(-1, 1, program.features)[None]
    (found,) = simulate(program, [x])
    np.testing.assert_allclose(found, chebyshev.chebval(x, coefficients), atol=1e-9)
    assert 2.0**35 < builder.scale(made) < 2.0**55


def test_tiny_leading_terms_take_a_level_more() -> None:
    """Read at another scale they would leave no room for the rest."""
    coefficients = [0.5, 0.25, 0.1, 0.0, 1e-9]
    assert depth_of(coefficients) == 3
    parameters = Parameters(16384, choose_primes(16384, 40, 3, 45, 46))
    builder = Builder(parameters, 1 << 10)
    made = evaluate(builder, builder.input(3, 2.0**40), coefficients, 2.0**40)
    program = builder.finish([made])
    x = np.linspace(-1, 1, program.features)[None]
    (found,) = simulate(program, [x])
    np.testing.assert_allclose(found, chebyshev.chebval(x, coefficients), atol=1e-12)
    assert builder.level(made) == 0


def test_constants_are_refused() -> None:
    builder = Builder(Parameters(16384, choose_primes(16384, 40, 3, 45, 46)), 1 << 10)
    with pytest.raises(ValueError):
        evaluate(builder, builder.input(3, 2.0**40), [1.0, 0.0], 2.0**40)
