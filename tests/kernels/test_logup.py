"""The LogUp-GKR prover: bytes, point and transcript against the NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest

from proofml.circuits import kernels
from proofml.circuits.field import ext5
from proofml.zkml.sumcheck.transcript import Transcript
from proofml.zkml.sumcheck.twin.logup import logup_prove

INT32 = np.iinfo(np.int32)


def _start() -> bytearray:
    return Transcript(b"\x5a" * 32).state


def _columns(rng, count, unused):
    """Columns with values at the ends of the range; a share of the leaves is unused."""
    ends = np.array([INT32.min, INT32.min + 1, -1, 0, 1, INT32.max], np.int32)
    columns = []
    for _ in range(4):
        values = rng.integers(INT32.min, INT32.max, count, np.int32, endpoint=True)
        columns.append(np.where(rng.random(count) < 0.3, rng.choice(ends, count), values))
    columns[0] = np.where(rng.random(count) < unused, 0, np.where(columns[0] == 0, 7, columns[0]))
    return [c.astype(np.int32) for c in columns]


def _check(columns, rng, field):
    alpha, beta = (ext5.element(field(5)) for _ in range(2))
    states = _start(), _start()
    expected = logup_prove(*columns, alpha, beta, states[0])
    assert kernels.logup_prove(*columns, alpha, beta, states[1]) == expected
    assert states[0] == states[1]


@pytest.mark.parametrize("n", range(1, 13))
def test_equals_twin(level, threads, rng, field, n):
    _check(_columns(rng, 1 << n, unused=0.3), rng, field)


@pytest.mark.parametrize("unused", [0.0, 1.0])
@pytest.mark.parametrize("n", [1, 3, 6, 9])
def test_all_leaves_used_or_none(level, rng, field, n, unused):
    _check(_columns(rng, 1 << n, unused), rng, field)


def test_many_leaves(threads, rng, field):
    """Large enough for several threads, and for weights in two tables."""
    columns = _columns(rng, 1 << 14, unused=0.0)
    for column in columns:
        column[5000:9000] = 0  # whole vectors of unused leaves
    _check(columns, rng, field)


def test_verifier_accepts(rng, field):
    """Two lookups of each row, and the rows with their multiplicity: the fractions sum to 0."""
    n, rows = 5, 8
    values = rng.integers(-100, 100, rows, np.int32)
    columns = [
        np.full(1 << n, 3, np.int32),
        np.concatenate([values, values, values, values * 0]),
        np.concatenate([values + 1, values + 1, values + 1, values * 0]),
        np.repeat(np.array([1, 1, -2, 0], np.int32), rows),
    ]
    columns[0][3 * rows :] = 0
    alpha, beta = (ext5.element(field(5)) for _ in range(2))
    states = _start(), _start()
    proof, point = kernels.logup_prove(*columns, alpha, beta, states[0])
    assert len(proof) == 80 + 30 * n * (n - 1) + 80 * (n - 1)
    result = kernels.logup_verify(n, proof, states[1])
    assert (result.failed_check, result.point) == (0, point)
    assert states[0] == states[1]


def test_leaf_claims_are_the_leaves_at_the_point(rng, field):
    """The last evaluations, put on a line, are the extensions of the leaves."""
    n = 6
    columns = _columns(rng, 1 << n, unused=0.2)
    alpha, beta = (ext5.element(field(5)) for _ in range(2))
    proof, point = kernels.logup_prove(*columns, alpha, beta, _start())
    p0, p1, q0, q1 = (ext5.element(v) for v in np.frombuffer(proof[-80:], "<u4").reshape(4, 5))
    used = columns[0] != 0
    eq = ext5.eq_table(point)
    numerators = np.where(used, columns[3], 0).astype(np.int64) % ext5.P
    line = ext5.add(p0, ext5.mul(point[-1], ext5.sub(p1, p0)))
    assert ext5.vsum(ext5.vscale(numerators.astype(np.uint64), eq)) == line
    total = ext5.ZERO
    for i, (t, c1, c2, _) in enumerate(zip(*columns, strict=True)):
        den = ext5.ONE
        if t:
            den = ext5.sub(alpha, ext5.from_int(int(t)))
            den = ext5.sub(den, ext5.scale(beta, int(c1)))
            den = ext5.sub(den, ext5.scale(ext5.mul(beta, beta), int(c2)))
        total = ext5.add(total, ext5.mul(ext5.element(eq[i]), den))
    assert total == ext5.add(q0, ext5.mul(point[-1], ext5.sub(q1, q0)))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_refuses_other_sizes(count):
    column = np.zeros(count, np.int32)
    for prove in (kernels.logup_prove, logup_prove):
        with pytest.raises(ValueError):
            prove(column, column, column, column, ext5.ONE, ext5.ONE, _start())
