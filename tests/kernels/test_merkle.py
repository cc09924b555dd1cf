"""Merkle trees: nodes and openings against the twin, and what a verifier makes of openings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.circuits import kernels

from . import twins

SHAPES = [(0, 0), (0, 4), (1, 1), (1, 61), (2, 60), (3, 62), (3, 64), (4, 125), (5, 128), (9, 20)]


def rows_of(rng, log_n, row_bytes):
    return rng.integers(0, 256, (1 << log_n, row_bytes), dtype=np.uint8)


@pytest.mark.parametrize(("log_n", "row_bytes"), SHAPES)
@pytest.mark.parametrize("tag", ["X", "F12"])
def test_nodes(level, threads, rng, log_n, row_bytes, tag):
    rows = rows_of(rng, log_n, row_bytes)
    nodes = kernels.merkle(tag, rows)
    assert [n.tobytes() for n in nodes] == twins.merkle(tag, [r.tobytes() for r in rows])


@pytest.mark.parametrize("row_bytes", range(130))
def test_every_row_length(level, rng, row_bytes):
    rows = rows_of(rng, 1, row_bytes)
    nodes = kernels.merkle("X", rows)
    assert nodes[1].tobytes() == twins.merkle("X", [r.tobytes() for r in rows])[1]


@pytest.mark.parametrize("length", [0, 1, 61, 62, 63, 125, 126, 127, 255])
def test_long_tags(level, rng, length):
    """With the tag the prefix of a leaf can be longer than a block."""
    tag, rows = "t" * length, rows_of(rng, 2, 100)
    nodes = kernels.merkle(tag, rows)
    assert [n.tobytes() for n in nodes] == twins.merkle(tag, [r.tobytes() for r in rows])


def test_words_are_hashed_as_they_lie(level):
    rows = np.arange(64, dtype=np.uint32).reshape(8, 8)
    same = kernels.merkle("X", rows.view(np.uint8))
    np.testing.assert_array_equal(kernels.merkle("X", rows), same)


def draws(rng, log_n):
    n = 1 << log_n
    yield [0]
    yield [n - 1]
    yield list(range(n))
    for _ in range(20):
        count = int(rng.integers(1, min(n, 40) + 1))
        yield sorted(rng.choice(n, count, replace=False).tolist())


@pytest.mark.parametrize("log_n", [0, 1, 2, 5, 8])
def test_open_and_verify(level, rng, log_n):
    rows = rows_of(rng, log_n, 44)
    nodes = kernels.merkle("X", rows)
    root, twin = nodes[1].tobytes(), [n.tobytes() for n in nodes]
    for idx in draws(rng, log_n):
        leaves = np.array(idx, np.uint32)
        path = kernels.merkle_open(nodes, leaves)
        assert path == twins.merkle_open(twin, idx)
        opened = rows[idx].tobytes()
        got = kernels.merkle_verify("X", log_n, leaves, opened, path + b"rest")
        assert got == (len(path), root)
        for spoilt in (bytes([opened[0] ^ 1]) + opened[1:], opened[:-1] + bytes([opened[-1] ^ 1])):
            assert kernels.merkle_verify("X", log_n, leaves, spoilt, path)[1] != root
        assert kernels.merkle_verify("W", log_n, leaves, opened, path)[1] != root
        if path:
            at = int(rng.integers(len(path)))
            spoilt = path[:at] + bytes([path[at] ^ 0x80]) + path[at + 1 :]
            assert kernels.merkle_verify("X", log_n, leaves, opened, spoilt)[1] != root
            for short in (path[:-1], path[:-32], b""):
                with pytest.raises(kernels.BadBytes) as caught:
                    kernels.merkle_verify("X", log_n, leaves, opened, short)
                assert caught.value.offset == len(short)


@given(st.sets(st.integers(0, 31), min_size=1), st.binary(max_size=600), st.integers(0, 9))
def test_any_path(leaves, path, row_bytes):
    """Any bytes: some root, or BadBytes; and as much of the path as the leaves ask for."""
    idx = np.array(sorted(leaves), np.uint32)
    try:
        used, root = kernels.merkle_verify("X", 5, idx, bytes(row_bytes * len(idx)), path)
    except kernels.BadBytes as bad:
        used, root = bad.offset, bytes(32)
    need = len(kernels.merkle_open(np.zeros((64, 32), np.uint8), idx))
    assert used == (need if need <= len(path) else len(path))
    assert len(root) == 32


@pytest.mark.parametrize("idx", [[], [3, 3], [4, 1], [8], [0, 9], [2**32 - 1]])
def test_leaves_must_be_distinct_ascending_and_in_range(idx):
    nodes = kernels.merkle("X", np.zeros((8, 4), np.uint8))
    leaves = np.array(idx, np.uint32)
    with pytest.raises(ValueError, match="expected"):
        kernels.merkle_open(nodes, leaves)
    with pytest.raises(ValueError, match="expected"):
        kernels.merkle_verify("X", 3, leaves, bytes(4 * len(idx)), bytes(1000))


def test_wrong_shapes():
    with pytest.raises(ValueError, match="power of two"):
        kernels.merkle("X", np.zeros((3, 4), np.uint8))
    with pytest.raises(ValueError, match="at most 255"):
        kernels.merkle("t" * 256, np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="expected"):
        kernels.merkle_open(np.zeros((8, 31), np.uint8), np.zeros(1, np.uint32))
    with pytest.raises(ValueError, match="one row"):
        kernels.merkle_verify("X", 3, np.arange(2, dtype=np.uint32), bytes(5), b"")
