"""The batched product sumcheck: bytes, point and transcript against the NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest

from proofml.circuits import kernels
from proofml.circuits.field import ext5
from proofml.zkml.sumcheck.transcript import Transcript
from proofml.zkml.sumcheck.twin.product import product_prove

TAG = "matmul round"


def _start() -> bytearray:
    return Transcript(b"\x21" * 32).state


def _batch(field, logs):
    total = sum(1 << log for log in logs)
    return [ext5.element(field(5)) for _ in logs], field(total, 5), field(total, 5)


@pytest.mark.parametrize(
    "logs",
    [[0], [1], [4], [5], [7], [12], [0, 0], [3, 0, 5], [5, 1, 2, 6, 5], [9, 9], [2] * 40],
    ids=str,
)
@pytest.mark.parametrize("more", [0, 1, 3])
def test_equals_twin(level, field, logs, more):
    batch, rounds = _batch(field, logs), max(logs) + more
    states = _start(), _start()
    expected = product_prove(TAG, rounds, logs, *batch, states[0])
    assert kernels.product_prove(TAG, rounds, logs, *batch, states[1]) == expected
    assert states[0] == states[1]


def test_long_vectors(level, threads, field):
    batch = _batch(field, [14, 6])
    states = _start(), _start()
    expected = product_prove(TAG, 14, [14, 6], *batch, states[0])
    assert kernels.product_prove(TAG, 14, [14, 6], *batch, states[1]) == expected


@pytest.mark.parametrize("rounds", [0, 3])
def test_no_vector_at_all(rounds):
    empty = np.zeros((0, 5), np.uint32)
    states = _start(), _start()
    expected = product_prove(TAG, rounds, [], [], empty, empty, states[0])
    assert kernels.product_prove(TAG, rounds, [], [], empty, empty, states[1]) == expected


def test_no_rounds(field):
    assert kernels.product_prove(TAG, 0, [0], *_batch(field, [0]), _start()) == (b"", [])


def test_rounds_lead_from_the_sum_to_the_end(field):
    """Seen by a verifier: the padding multiplies both vectors by the product of 1 - r."""
    logs, rounds = [4, 2], 5
    coef, u, w = _batch(field, logs)
    parts = [slice(0, 16), slice(16, 20)]
    products = ext5.vmul(u.astype(np.uint64), w.astype(np.uint64))
    claim = ext5.total(
        ext5.mul(c, ext5.vsum(products[part])) for c, part in zip(coef, parts, strict=True)
    )
    proof, point = kernels.product_prove(TAG, rounds, logs, coef, u, w, _start())
    end = ext5.ZERO
    for c, log, part in zip(coef, logs, parts, strict=True):
        eq = ext5.eq_table(point[:log])
        values = [ext5.vsum(ext5.vmul(a[part].astype(np.uint64), eq)) for a in (u, w)]
        rest = ext5.product(ext5.sub(ext5.ONE, r) for r in point[log:])
        end = ext5.add(end, ext5.product([c, *values, rest, rest]))
    messages = np.frombuffer(proof, "<u4").reshape(rounds, 2, 5)
    for (first, second), r in zip(messages, point, strict=True):
        c0, c2 = ext5.element(first), ext5.element(second)
        c1 = ext5.sub(claim, ext5.total([c0, c0, c2]))
        claim = ext5.add(c0, ext5.mul(r, ext5.add(c1, ext5.mul(r, c2))))
    assert claim == end


def test_refuses_sizes_that_do_not_fit(field):
    coef, u, w = _batch(field, [3])
    for prove in (kernels.product_prove, product_prove):
        with pytest.raises(ValueError):
            prove(TAG, 2, [3], coef, u, w, _start())
        with pytest.raises(ValueError):
            prove(TAG, 4, [4], coef, u, w, _start())
