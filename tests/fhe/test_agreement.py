"""Several numbers decide by the largest one, a single one by being near."""

from __future__ import annotations

import numpy as np

from proofml.fhe.agreement import NEAR, agreement


def test_the_largest_decides() -> None:
    want = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 3.0], [5.0, 4.0]], np.float32)
    got = np.array([[1.0, 9.0], [2.0, 1.9], [0.1, 0.0], [5.0, 4.0]], np.float32)
    assert agreement(want, got) == 0.75


def test_a_single_number_is_near_or_not() -> None:
    want = np.array([[0.0], [10.0], [5.0], [2.0]], np.float32)
    near = 10 * NEAR
    got = want + np.array([[near * 0.9], [-near * 0.9], [near * 1.1], [3.0]], np.float32)
    assert agreement(want, got) == 0.5
    assert agreement(want[:, 0], want[:, 0]) == 1.0
