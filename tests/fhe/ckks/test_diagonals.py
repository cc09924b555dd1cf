"""Matrices by rotations and products with constants, in the clear."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.fhe.ckks.affine import Matrix, from_entries
from proofml.fhe.ckks.builder import Builder, Vanishing
from proofml.fhe.ckks.diagonals import chain, diagonals, horner, split
from proofml.fhe.ckks.layout import Layout, choose, compact, power
from proofml.fhe.ckks.lower import lower
from proofml.fhe.ckks.network import Linear, Network, Product, Result
from proofml.fhe.ckks.params import Parameters, choose_primes
from proofml.fhe.ckks.simulate import simulate
from proofml.fhe.ckks.tail import Tail

PARAMETERS = Parameters(4096, choose_primes(4096, 28, 1, 33, 34))
FEATURES = 64
LANES = PARAMETERS.slots // FEATURES


def rolled(matrix: Matrix, before: Layout, after: Layout, vector: np.ndarray) -> np.ndarray:
    """y by the formula of the module, with plain rolls."""
    found = diagonals(
        before.columns(matrix),
        after.positions[matrix.rows],
        matrix.data,
        before.period,
        after.period,
    )
    slots = np.zeros(before.period)
    layout = before.slots()
    slots[layout >= 0] = vector[layout[layout >= 0]]
    x = np.tile(slots, FEATURES // before.period)
    total = np.zeros(FEATURES)
    for g, group in found.groups.items():
        inner = np.zeros(FEATURES)
        for b, constants in group.items():
            inner += np.tile(constants, FEATURES // len(constants)) * np.roll(x, -b)
        total += np.roll(inner, -g)
    step = found.period
    while step > after.period:
        step //= 2
        total += np.roll(total, -step)
    return total


@st.composite
def problems(draw: st.DrawFn) -> tuple[Matrix, Layout, Layout, np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    rows, cols = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    dense = rng.standard_normal((rows, cols)) * (rng.random((rows, cols)) < rng.choice([0.1, 1.0]))
    dense[rng.integers(rows), rng.integers(cols)] = 1.0
    r, c = np.nonzero(dense)
    matrix = from_entries((rows, cols), r, c, dense[r, c])

    def layout(count: int) -> Layout:
        period = min(FEATURES, power(count) << draw(st.integers(0, 2)))
        return Layout(period, rng.permutation(period)[:count])

    return matrix, layout(cols), layout(rows), rng.standard_normal(cols)


@settings(max_examples=150)
@given(problems())
def test_rotations_make_the_product(problem: tuple[Matrix, Layout, Layout, np.ndarray]) -> None:
    matrix, before, after, vector = problem
    found = rolled(matrix, before, after, vector)
    wanted = np.zeros(after.period)
    wanted[after.positions] = matrix.apply(vector[None])[0]
    np.testing.assert_allclose(found, np.tile(wanted, FEATURES // after.period), atol=1e-9)


@settings(max_examples=60)
@given(problems())
def test_programs_make_the_product(problem: tuple[Matrix, Layout, Layout, np.ndarray]) -> None:
    """The same through instructions; levels and scales are checked on the way."""
    matrix, before, after, vector = problem
    network = Network(
        ((1, matrix.shape[1]),),
        (Linear({0: matrix}, np.arange(matrix.shape[0]) / 7, (1, matrix.shape[0]), "here"),),
        (Result("y", 1, np.arange(matrix.shape[0]), (1, matrix.shape[0])),),
        Tail((), {}, ("y",)),
    )
    lowered = lower(network, [before, after], {}, PARAMETERS, 2.0**28, LANES)
    program = lowered.program
    slots = np.concatenate([vector, [0.0]])[before.slots()]
    (out,) = simulate(program, [np.tile(slots, FEATURES // before.period)[None]])
    wanted = matrix.apply(vector[None])[0] + np.arange(matrix.shape[0]) / 7
    np.testing.assert_allclose(out[0, lowered.slots[0]], wanted, atol=1e-9)
    # Rounded only where a constant would not fit its plaintext.
    assert program.registers[program.outputs[0]].scale == pytest.approx(2.0**28)


def test_a_dense_square_takes_twice_the_root() -> None:
    found = split(np.arange(64), 64)
    assert found.rotations == 14
    assert len(found.steps) == 2


def test_a_window_takes_its_rows_and_columns() -> None:
    """3 x 3 around each pixel, rows of 16: one rotation for each row and column beside it."""
    shifts = np.array([(dy * 16 + dx) % 256 for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    found = split(np.unique(shifts), 256)
    assert found.rotations == 4


def test_present_keys_are_preferred() -> None:
    shifts = np.arange(16)
    assert split(shifts, 16).rotations == 6
    other = split(shifts, 16, 64, frozenset({1, 4}))
    assert other.steps == {1, 4}


def test_chains_reach_every_shift() -> None:
    reached = {0}
    for shift, step in chain((-5, -1, 0, 2, 7)):
        assert shift - step in reached
        reached.add(shift)
    assert reached == {-5, -1, 0, 2, 7}
    for side in horner((-4, -2, 0, 3, 9)):
        assert sum(step for _, step in side) == side[0][0]


def residual() -> Network:
    """y = A x, z = (y * y) + B y: operands of two levels, laid out alike."""
    rng = np.random.default_rng(0)

    def matrix(rows: int, cols: int) -> Matrix:
        dense = rng.standard_normal((rows, cols))
        r, c = np.nonzero(dense)
        return from_entries((rows, cols), r, c, dense[r, c])

    identity = from_entries((6, 6), np.arange(6), np.arange(6), np.ones(6))
    return Network(
        ((1, 5),),
        (
            Linear({0: matrix(6, 5)}, np.zeros(6), (1, 6), "first"),
            Product(1, 1, 6, "square"),
            Linear({2: identity, 1: matrix(6, 6)}, np.ones(6), (1, 6), "sum"),
            Product(3, 2, 6, "product"),
        ),
        (Result("z", 4, np.arange(6)[::-1].copy(), (1, 6)),),
        Tail((), {}, ("z",)),
    )


def test_sums_and_products_of_values() -> None:
    network = residual()
    parameters = Parameters(8192, choose_primes(8192, 30, 4, 35, 36))
    layouts = choose(network, 128)
    lowered = lower(network, layouts, {}, parameters, 2.0**30, 32)
    x = np.random.default_rng(1).standard_normal((3, 5))
    slots = np.concatenate([x, np.zeros((3, 1))], axis=1)[:, layouts[0].slots()]
    (out,) = simulate(lowered.program, [np.tile(slots, (1, 128 // layouts[0].period))])
    wanted = network.evaluate([x])[4][:, ::-1]
    np.testing.assert_allclose(out[:, lowered.slots[0]], wanted, rtol=1e-9)
    assert lowered.program.registers[lowered.program.outputs[0]].level == 0


def test_layouts_fit_and_hold_each_element_once() -> None:
    network = residual()
    for value, layout in enumerate(choose(network, 128)):
        assert layout.period & (layout.period - 1) == 0
        assert layout.period <= 128
        if layout.copies is None:
            assert len(np.unique(layout.positions)) == network.sizes[value]
            assert layout.positions.max() < layout.period


def test_builder_keeps_equal_constants_once() -> None:
    builder = Builder(PARAMETERS, LANES)
    assert builder.constant(np.array([1.0, 2.0, 1.0, 2.0])) == builder.constant(
        np.array([1.0, 2.0])
    )
    assert builder.constant(np.array([0.0])) == builder.constant(np.array([-0.0, 0.0]))
    x = builder.input(1, 2.0**28)
    assert builder.rotate(x, 5) == builder.rotate(x, 5 + FEATURES)
    assert builder.rotate(x, FEATURES) == x
    assert compact(5).period == 8


def test_constants_that_are_encoded_to_nothing_are_left_out() -> None:
    builder = Builder(PARAMETERS, LANES)
    x = builder.input(1, 2.0**28)
    small, large = np.full(4, 1e-12), np.array([1.0, 0.0, 0.0, 1e-12])
    made = builder.dot([(x, small), (x, large)], 2.0**56)
    program = builder.finish([made])
    assert len(program.instructions[0].operands) == 1
    for nothing in (small, np.array([1e-12]), np.zeros(2)):
        with pytest.raises(Vanishing):
            builder.dot([(x, nothing)], 2.0**56)
    # A slot of a long period is spread over many coefficients.
    spread = np.zeros(64)
    spread[3] = 2.0**-28 * 20
    with pytest.raises(Vanishing):
        builder.dot([(x, spread)], 2.0**56)
