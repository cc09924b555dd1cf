"""The error model: what real float32 arithmetic makes never leaves it, whatever the order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proofml.errors import UnsupportedModel
from proofml.optimistic.floating.formats import FORMATS, format_of
from proofml.optimistic.floating.functions import FUNCTIONS
from proofml.optimistic.floating.running import Arithmetic, Running, exact

F32 = FORMATS["float32"]
ordinary = st.floats(-1e3, 1e3, width=32)


def vectors(length: st.SearchStrategy[int] | int) -> st.SearchStrategy[np.ndarray]:
    if isinstance(length, int):
        return arrays(np.float32, length, elements=ordinary)
    return length.flatmap(lambda n: arrays(np.float32, n, elements=ordinary))


def sequential(terms: np.ndarray) -> np.float32:
    total = np.float32(0)
    for term in terms:
        total = np.float32(total + term)
    return total


def pairwise(terms: np.ndarray) -> np.float32:
    if len(terms) <= 1:
        return terms[0] if len(terms) else np.float32(0)
    middle = len(terms) // 2
    return np.float32(pairwise(terms[:middle]) + pairwise(terms[middle:]))


def lanes(terms: np.ndarray) -> np.float32:
    return sequential(np.array([sequential(terms[i::8]) for i in range(8)], np.float32))


ORDERS: list[Callable[[np.ndarray], np.float32]] = [
    sequential, lambda t: sequential(t[::-1]), pairwise, lanes,
]  # fmt: skip


@given(st.integers(1, 80).flatmap(lambda n: st.tuples(vectors(n), vectors(n))))
def test_dot_products_in_any_order(pair: tuple[np.ndarray, np.ndarray]) -> None:
    left, right = pair
    a = Arithmetic(F32)
    found = a.contract(exact(left), exact(right), lambda p, q: np.asarray(p @ q), len(left))
    for order in ORDERS:
        got = float(order(left * right))
        assert abs(got - float(found.value)) <= float(found.error)


@given(vectors(st.integers(1, 80)))
def test_sums_and_means_in_any_order(terms: np.ndarray) -> None:
    a = Arithmetic(F32)
    total, mean = a.sum(exact(terms), (0,)), a.mean(exact(terms), (0,))
    for order in ORDERS:
        got = order(terms)
        assert abs(float(got) - total.value[0]) <= total.error[0]
        divided, scaled = got / np.float32(len(terms)), got * np.float32(1 / len(terms))
        for result in (divided, scaled):
            assert abs(float(result) - mean.value[0]) <= mean.error[0]


@given(vectors(4), vectors(4), vectors(4))
def test_chains_of_operations(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> None:
    """(x y + z) / (|x| + 1), its square root, its exponential: errors are carried on."""
    a = Arithmetic(F32)
    size = np.abs(x) + np.float32(1)
    got = (x * y + z) / size
    found = a.div(a.add(a.mul(exact(x), exact(y)), exact(z)), a.shift(exact(np.abs(x)), 1.0))
    assert (np.abs(got.astype(np.float64) - found.value) <= found.error).all()
    root = np.sqrt(np.abs(got) + np.float32(1))
    carried = a.sqrt(a.shift(Running(np.abs(found.value), found.error), 1.0))
    assert (np.abs(root.astype(np.float64) - carried.value) <= carried.error).all()
    power = np.exp(np.minimum(got, np.float32(10)))
    carried = a.apply("Exp", Running(np.minimum(found.value, 10), found.error))
    assert (np.abs(power.astype(np.float64) - carried.value) <= carried.error).all()


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(vectors(n), vectors(n), vectors(n))))
def test_operands_with_errors(vs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """A dot product of rounded sums, on both sides."""
    x, y, z = vs
    a = Arithmetic(F32)
    left, right = a.add(exact(x), exact(y)), a.add(exact(y), exact(z))
    product = lambda p, q: np.asarray(p @ q)  # noqa: E731
    both = a.contract(left, right, product, len(x))
    one = a.contract(left, exact(z), product, len(x))
    other = a.contract(exact(x), right, product, len(x))
    for order in ORDERS:
        for found, got in (
            (both, order((x + y) * (y + z))),
            (one, order((x + y) * z)),
            (other, order(x * (y + z))),
        ):
            assert abs(float(got) - float(found.value)) <= float(found.error)


def test_the_worst_order_comes_near_its_bound() -> None:
    """The bound is no wild guess: a sum of ones and halves of an ulp uses half of it."""
    n = 4096
    terms = np.full(n, np.float32(2**-24))
    terms[0] = 1
    got = sequential(terms)  # every addition is rounded away
    found = Arithmetic(F32).sum(exact(terms), (0,))
    assert got == 1
    assert 0.4 < abs(float(got) - found.value[0]) / found.error[0] < 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_keeps_to_the_stated_errors(name: str) -> None:
    """NumPy's float32 functions, over the whole range in which they make normal numbers."""
    rng = np.random.default_rng(1)
    size = np.exp(rng.uniform(-60, 8, 20_000)) * rng.choice([-1, 1], 20_000)
    x = {
        "Acos": np.clip(size, -1, 1), "Asin": np.clip(size, -1, 1), "Acosh": 1 + np.abs(size),
        "Atanh": np.clip(size, -0.9999, 0.9999), "Log": np.abs(size), "Sqrt": np.abs(size),
        "Exp": np.clip(size, -80, 80), "Expm1": np.clip(size, -80, 80),
        "Sinh": np.clip(size, -80, 80), "Cosh": np.clip(size, -80, 80),
        "Tan": np.clip(size, -1.5, 1.5), "Sin": np.clip(size, -30, 30),
        "Cos": np.clip(size, -30, 30),
    }.get(name, size).astype(np.float32)  # fmt: skip
    single = {
        "Erf": lambda v: FUNCTIONS["Erf"].evaluate(v.astype(np.float64)).astype(np.float32),
        "Sigmoid": lambda v: 1 / (1 + np.exp(-v)),
        "Softplus": lambda v: np.maximum(v, 0) + np.log1p(np.exp(-np.abs(v))),
    }.get(name, FUNCTIONS[name].evaluate)
    with np.errstate(over="ignore"):
        got = single(x)
    assert got.dtype == np.float32
    found = Arithmetic(F32).apply(name, exact(x))
    assert (np.abs(got.astype(np.float64) - found.value) <= found.error).all()
    # Not vacuous: 200 u away is refused where the function is not close to a pole of its slope.
    far = np.abs(found.value) * 200 * F32.unit + 200 * F32.unit
    assert (far > found.error).all()


def test_what_has_no_bound() -> None:
    a = Arithmetic(F32)
    zero = a.sub(exact(np.array([1.0])), exact(np.array([1.0])))
    noisy = Running(zero.value, np.array([1e-3]))
    assert (
        np.isinf(a.div(exact(1.0), noisy).error).all()
        or np.isnan(a.div(exact(1.0), noisy).error).all()
    )
    assert np.isinf(a.apply("Log", Running(np.array([1e-6]), np.array([1e-3]))).error).all()
    huge = exact(np.full(8, 3e38))
    assert np.isinf(a.sum(huge, (0,)).error).all()
    assert np.isinf(a.contract(huge, huge, lambda p, q: np.asarray(p @ q), 8).error)


def test_a_sum_that_no_format_bounds() -> None:
    half = Arithmetic(FORMATS["float16"])
    assert half.gamma(100) > 0.05
    with pytest.raises(UnsupportedModel, match=r"2049 terms in float16 .* wider"):
        half.gamma(2049)


def test_formats() -> None:
    assert F32.unit == 2.0**-24
    assert F32.tiny == 2.0**-126
    assert format_of(np.dtype(">f4")) is F32
    assert format_of(np.dtype(np.int32)) is None
    assert format_of(np.dtype(np.float16)) == FORMATS["float16"]


def test_moving_elements_moves_their_errors() -> None:
    moved = Running(np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3)).map(np.transpose)
    assert (moved.value == moved.error).all()
    assert exact(np.ones((2, 3))).map(np.transpose).exact
