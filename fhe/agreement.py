"""How often a circuit decides as the float model does."""

from __future__ import annotations

import numpy as np

from proofml.tensors import Array

#: A single number agrees within this part of the range that the model's own results span.
NEAR = 0.05


def agreement(want: Array, got: Array) -> float:
    """Share of rows [n, ...] decided alike.

    Of several numbers in a row the largest one decides; of one number, whether it is near the
    model's: within `NEAR` of the range that `want` spans.
    """
    left, right = (one.reshape(len(one), -1).astype(np.float64) for one in (want, got))
    if left.shape[1] > 1:
        return float(np.mean(left.argmax(axis=1) == right.argmax(axis=1)))
    near = NEAR * max(float(np.ptp(left)), 1e-9)
    return float(np.mean(np.abs(left - right)[:, 0] <= near))
