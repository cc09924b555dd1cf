"""The opening of several trees: bytes and transcript against the NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest

from proofml.circuits import kernels
from proofml.circuits.field import ext5
from proofml.circuits.kernels import Claim, Tree
from proofml.zkml.sumcheck import merkle
from proofml.zkml.sumcheck.transcript import Transcript
from proofml.zkml.sumcheck.twin.opening import open_prove

RATE = 2


def _start() -> bytearray:
    return Transcript(b"\x77" * 32).state


def _tree(field, tag, m, mu, rate=RATE):
    values = field(1 << m)
    code = kernels.encode(values, m - mu, rate)
    return Tree(tag, m, values, code, kernels.merkle(tag, code))


def _trees(field, sizes, mu, rate=RATE):
    return [_tree(field, tag, m, mu, rate) for tag, m in zip("XWIO", sizes, strict=False)]


def _claim(rng, field, trees, rank):
    """A random block of a random tree, with axes that need not fill their powers of two."""
    tree = int(rng.integers(len(trees)))
    left, logs = trees[tree].m, []
    for _ in range(rank):
        logs.append(int(rng.integers(0, left + 1)) if rank == 1 else int(rng.integers(0, 5)))
        logs[-1] = min(logs[-1], left)
        left -= logs[-1]
    offset = int(rng.integers(1 << left)) << sum(logs)
    axes = tuple(field(int(rng.integers(1, (1 << log) + 1)), 5) for log in logs)
    return Claim(tree, offset, tuple(logs), axes, ext5.element(field(5)))


def _claims(rng, field, trees, count=6):
    claims = [_claim(rng, field, trees, rank=i % 5) for i in range(count)]
    # More weights on the blocks that have some already.
    claims += [_claim_again(field, claim) for claim in claims[:3]]
    return claims


def _claim_again(field, claim):
    axes = tuple(field(len(axis), 5) for axis in claim.axes)
    return Claim(claim.tree, claim.offset, claim.logs, axes, ext5.element(field(5)))


def _check(trees, claims, mu, folds, *, rate=RATE, queries=7, bits=3):
    states = _start(), _start()
    arguments = (trees, claims, mu, rate, folds, queries, bits)
    expected = open_prove(*arguments, states[0])
    assert kernels.open_prove(*arguments, states[1]) == expected
    assert states[0] == states[1]


@pytest.mark.parametrize("folds", [[], [2], [2, 2], [3, 1], [1, 1, 1]], ids=str)
@pytest.mark.parametrize(
    "columns", [[3], [0], [2, 3], [4, 0], [0, 0], [1, 3, 2], [2, 0, 2, 5]], ids=str
)
def test_equals_twin(level, rng, field, columns, folds):
    mu = 5
    trees = _trees(field, [mu + k for k in columns], mu)
    _check(trees, _claims(rng, field, trees), mu, folds)


def _eq(field, log, length):
    """eq(z, i), i < length, at a random point."""
    return kernels.eq_table(field(log, 5))[:length].astype(np.uint32)


def _split_claim(rng, field, trees):
    """A block that is likely to be larger than a row, with axes of every kind."""
    tree = int(rng.integers(len(trees)))
    left, logs, axes = trees[tree].m, [], []
    while left and len(logs) < 4:
        logs.append(int(rng.integers(0, left + 1)))
        left -= logs[-1]
        log, length = logs[-1], int(rng.integers(1, (1 << logs[-1]) + 1))
        kind = rng.integers(4)
        axis = _eq(field, log, length) if kind < 2 else field(length, 5)
        if kind == 2:  # few weights, and runs of zeros
            axis = axis * (rng.random((length, 1)) < 0.3).astype(np.uint32)
        axes.append(np.ascontiguousarray(axis))
    offset = int(rng.integers(1 << left)) << sum(logs)
    return Claim(tree, offset, tuple(logs), tuple(axes), ext5.element(field(5)))


@pytest.mark.parametrize("mu", [0, 1, 3, 4, 6])
@pytest.mark.parametrize(
    "columns", [[1], [2], [3], [4], [5], [6, 3], [0, 5], [5, 1, 4], [4, 5, 2, 0]], ids=str
)
def test_split_claims(level, threads, rng, field, mu, columns):
    """Weights that are products of rows and columns, whole or in bands, beside others."""
    trees = _trees(field, [mu + k for k in columns], mu)
    claims = [_split_claim(rng, field, trees) for _ in range(7)]
    _check(trees, claims, mu, [mu] if mu else [])
    _check(trees, [*claims, *_claims(rng, field, trees)], mu, [])


@pytest.mark.parametrize("length", [3, 4, 29, 32, 64, 127, 128])
@pytest.mark.parametrize("below", [0, 1, 3])
def test_axis_across_the_border(level, field, length, below):
    """An axis of eq(z, .) with bits below and above the border: whole bands, a part of one."""
    mu, columns = 6, 5
    trees = _trees(field, [mu + columns, mu], mu)
    coef = ext5.element(field(5))
    axes = [_eq(field, 7, length)]
    logs = [7]
    if below:
        axes, logs = [field(3, 5) if below > 1 else field(2, 5), *axes], [below, 7]
    claims = [Claim(0, 1 << 10, tuple(logs), tuple(axes), coef)]
    if below:
        claims[0] = Claim(0, 0, (*logs, 1), (*axes, field(2, 5)), coef)
    _check(trees, claims, mu, [2])
    # Bands that differ, one that is zero, and one that is a multiple of the first.
    size = 1 << (columns - below)
    axis = field(max(length, 3 * size), 5)[:128]
    axis[size : 2 * size] = 0
    tail = axis[2 * size : 3 * size]
    if len(tail) == size:
        tail[:] = ext5.vmul(axis[:size].astype(np.uint64), np.array([field(5)], np.uint64))
    claims = [Claim(0, 0, (*logs[:-1], 7, 1), (*axes[:-1], axis, field(2, 5)), coef)]
    _check(trees, claims, mu, [2])


def test_cells_beside_the_weights_count(level, field):
    """A block within a row: its neighbours meet its weights when the row is folded."""
    mu = 4
    trees = _trees(field, [mu + 5], mu)
    for offset, log in ((0, 0), (33, 0), (30, 1), (16, 3), (2, 1)):
        claim = Claim(0, offset, (log,), (field(1 << log, 5),), ext5.element(field(5)))
        _check(trees, [claim], mu, [1])


def test_zero_weights(level, field):
    mu = 5
    trees = _trees(field, [mu + 4, mu + 2], mu)
    zero = np.zeros((64, 5), np.uint32)
    claims = [
        Claim(0, 0, (6, 3), (zero, field(8, 5)), ext5.ONE),
        Claim(0, 0, (6, 3), (field(64, 5), zero[:5]), ext5.ONE),
        Claim(0, 0, (6, 3), (field(64, 5), zero[:0]), ext5.ONE),
        Claim(1, 0, (2, 4), (_eq(field, 2, 4), field(16, 5)), ext5.ZERO),
    ]
    _check(trees, claims, mu, [2])


def test_large_split_claims(rng, field):
    """Large enough for several tasks in both passes; the twin runs once for all levels."""
    mu = 12
    trees = _trees(field, [mu + 7, mu + 2], mu, 1)
    claims = [
        Claim(0, 0, (9, 9), (_eq(field, 9, 500), _eq(field, 9, 511)), ext5.ONE),
        Claim(0, 1 << 18, (18,), (_eq(field, 18, (1 << 18) - 5),), ext5.element(field(5))),
        Claim(0, 1 << 18, (3, 4, 11), (field(5, 5), field(9, 5), field(2000, 5)), ext5.ONE),
        Claim(1, 0, (7, 6), (field(127, 5), field(60, 5)), ext5.element(field(5))),
        *_claims(rng, field, trees),
    ]
    arguments = (trees, claims, mu, 1, [4], 7, 3)
    state = _start()
    expected = open_prove(*arguments, state)
    level, threads = kernels.level(), kernels.threads()
    try:
        for name in kernels.LEVELS:
            for count in (1, 3):
                kernels.set_threads(count)
                try:
                    kernels.set_level(name)
                except ValueError:  # this machine lacks it
                    continue
                own = _start()
                assert kernels.open_prove(*arguments, own) == expected, (name, count)
                assert own == state
    finally:
        kernels.set_level(level)
        kernels.set_threads(threads)


@pytest.mark.parametrize("mu", range(9))
def test_small_and_larger_codes(level, rng, field, mu):
    trees = _trees(field, [mu + 2, mu], mu)
    _check(trees, _claims(rng, field, trees), mu, [mu] if mu else [])


@pytest.mark.parametrize("rate", [0, 1, 3])
def test_rates(rng, field, rate):
    trees = _trees(field, [6], 4, rate)
    _check(trees, _claims(rng, field, trees), 4, [2], rate=rate)


def test_large_trees(level, threads, rng, field):
    """Large enough for several threads."""
    trees = _trees(field, [14, 13], 9, 1)
    claims = _claims(rng, field, trees, count=10)
    claims.append(Claim(0, 0, (14,), (field((1 << 14) - 3, 5),), ext5.element(field(5))))
    claims.append(Claim(1, 0, (5, 3, 5), (field(27, 5), field(5, 5), field(32, 5)), ext5.ONE))
    _check(trees, claims, 9, [3], rate=1)


def test_no_claim(level, field):
    _check(_trees(field, [4, 5], 3), [], 3, [1])


def test_more_queries_than_rows(level, rng, field):
    trees = _trees(field, [3], 1)
    _check(trees, _claims(rng, field, trees), 1, [1], queries=50)


def test_weights_are_separable(field):
    """A claim with axes gives what the claim with the same weights written out gives."""
    tree = _tree(field, "X", 8, 4)
    axes = (field(6, 5), field(3, 5), field(2, 5))
    logs = (3, 2, 1)
    dense = np.zeros((2, 4, 8, 5), np.uint64)
    a, b, c = (axis.astype(np.uint64) for axis in axes)
    dense[:2, :3, :6] = ext5.vmul(c[:, None, None], ext5.vmul(b[None, :, None], a[None, None, :]))
    coef = ext5.element(field(5))
    flat = dense.reshape(-1, 5).astype(np.uint32)
    proofs = [
        kernels.open_prove([tree], [claim], 4, RATE, [2], 5, 0, _start())
        for claim in (Claim(0, 64, logs, axes, coef), Claim(0, 64, (6,), (flat,), coef))
    ]
    assert proofs[0] == proofs[1]


def test_rows_are_those_of_the_tree(field):
    """The end of the proof: rows of the code, and the siblings that their root needs."""
    mu, queries = 3, 4
    tree = _tree(field, "X", 5, mu)
    proof = kernels.open_prove([tree], [], mu, RATE, [], queries, 0, _start())
    # Two rounds over the columns, the final vector, three rounds, the nonce.
    at = 2 * 40 + 20 * 8 + 3 * 40
    transcript = Transcript.over(_start())
    for i in range(2):
        transcript.absorb("open round", proof[40 * i : 40 * i + 40])
        transcript.challenge("open round")
    transcript.absorb("final", proof[80:240])
    for i in range(3):
        transcript.absorb("open round", proof[240 + 40 * i : 280 + 40 * i])
        transcript.challenge("open round")
    transcript.seed("grind")
    transcript.absorb("nonce", proof[at : at + 8])
    indices = sorted(set(transcript.indices("queries", queries, mu + RATE)))
    expected = b"".join(tree.code[i].tobytes() for i in indices)
    assert proof[at + 8 :] == expected + merkle.open_multi(tree.nodes, indices)


@pytest.mark.parametrize("folds", [[0], [4], [2, 2]], ids=str)
def test_refuses_folds_that_do_not_fit(field, folds):
    tree = _tree(field, "X", 5, 3)
    for prove in (kernels.open_prove, open_prove):
        with pytest.raises(ValueError):
            prove([tree], [], 3, RATE, folds, 1, 0, _start())


def test_refuses_claims_that_do_not_fit(field):
    tree = _tree(field, "X", 4, 3)
    axis = field(3, 5)
    wrong = [
        Claim(0, 16, (2,), (axis,), ext5.ONE),
        Claim(0, 13, (2,), (axis,), ext5.ONE),
        Claim(0, 2, (2,), (axis,), ext5.ONE),
        Claim(0, 0, (5,), (axis,), ext5.ONE),
        Claim(0, 0, (1,), (axis,), ext5.ONE),
        Claim(1, 0, (2,), (axis,), ext5.ONE),
    ]
    for claim in wrong:
        for prove in (kernels.open_prove, open_prove):
            with pytest.raises(ValueError):
                prove([tree], [claim], 3, RATE, [], 1, 0, _start())


def test_refuses_no_queries(field):
    tree = _tree(field, "X", 4, 3)
    for prove in (kernels.open_prove, open_prove):
        with pytest.raises(ValueError):
            prove([tree], [], 3, RATE, [], 0, 0, _start())
