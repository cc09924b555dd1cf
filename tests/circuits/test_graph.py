"""Axis maps and views against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.circuits.axes import AxisMap
from proofml.circuits.graph import View
from proofml.fields import FieldError

from .oracle import dense, random_map, random_shape, random_view, view_of

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS)
def test_a_map_is_its_matrix(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_in, n_out = (int(n) for n in rng.integers(1, 6, 2))
    axis = random_map(rng, n_in, n_out)
    matrix = np.array(dense(axis))
    assert matrix.shape == (axis.n_out, n_in)
    np.testing.assert_array_equal(axis.row_sums, matrix.sum(axis=1))
    x = rng.integers(-9, 9, (2, n_in, 3))
    np.testing.assert_array_equal(axis.apply(x, 1), np.einsum("oi,bic->boc", matrix, x))
    np.testing.assert_array_equal(axis.apply(x[0, :, 0], 0), matrix @ x[0, :, 0])
    assert AxisMap.read(axis.to_json(), "") == axis or axis.entries is not None
    assert AxisMap.read(_listed(axis), "") == axis


def _listed(axis: AxisMap) -> list[object]:
    value = axis.to_json()
    assert isinstance(value, list)
    return value


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 3), st.integers(-4, 4))
def test_a_window_is_what_it_says(n_out: int, n_in: int, stride: int, offset: int) -> None:
    x = np.arange(10, 10 + n_in)
    for taps, step in ((1, 1), (2, 1), (3, 2)):
        axis = AxisMap.window(n_out, n_in, stride=stride, offset=offset, taps=taps, step=step)
        for o, found in enumerate(axis.apply(x, 0)):
            places = [o * stride + k * step + offset for k in range(taps)]
            assert found == sum(int(x[p]) for p in places if 0 <= p < n_in)
    np.testing.assert_array_equal(AxisMap.total(n_in).apply(x, 0), [x.sum()])


def test_the_identity_is_found_and_has_one_form() -> None:
    assert AxisMap.of(3, 3, [(i, i, 1) for i in range(3)]) == AxisMap.identity(3)
    assert AxisMap.window(3, 3).is_identity
    assert not AxisMap.window(3, 4).is_identity
    with pytest.raises(FieldError):
        AxisMap.read([2, 2, [0, 1], [0, 1], [1, 1]], "")


@pytest.mark.parametrize(
    "value",
    [
        [],
        [0],
        [1, 2],
        [True],
        [2, 2, [1, 0], [0, 0], [1, 1]],
        [2, 2, [0, 0], [0, 0], [1, 1]],
        [2, 2, [0], [0], [0]],
        [2, 2, [0], [2], [1]],
        [2, 2, [0], [0], [1, 1]],
        [2, 2, [0], [0], [-1]],
        [2, 2, [0], [0], [1.0]],
        "2",
    ],
)
def test_maps_in_another_form_are_refused(value: object) -> None:
    with pytest.raises(FieldError):
        AxisMap.read(value, "map")


@given(SEEDS)
def test_a_view_is_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = random_shape(rng, int(rng.integers(0, 4)))
    shape = random_shape(rng, int(rng.integers(0, 4)))
    view = random_view(rng, source, shape)
    x = rng.integers(-9, 9, source)
    np.testing.assert_array_equal(view.apply(x), view_of(view, x))
    np.testing.assert_array_equal(view.coverage(), view_of(view, np.ones(source, np.int64)))
    assert view.source == source


def test_identity_views() -> None:
    view = View.identity((2, 3))
    assert view.is_identity
    assert view.broadcast == ()
    x = np.arange(6).reshape(2, 3)
    assert view.apply(x) is x
    turned = View((3, 2), ((1, AxisMap.identity(2)), (0, AxisMap.identity(3))))
    assert not turned.is_identity
    np.testing.assert_array_equal(turned.apply(x), x.T)
    assert View((4, 2), ((1, AxisMap.identity(2)),)).broadcast == (0,)
