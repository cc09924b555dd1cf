"""Trees over chunks against hashlib, at every level and on threads; see optimistic/merkle.py."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from proofml.circuits import kernels

SIZES = (1024, 1020, 192, 64, 7, 1)


def nodes_of(data: bytes, size: int) -> bytes:
    """All levels end to end."""
    level = [hashlib.sha256(b"\0" + data[i : i + size]).digest() for i in range(0, len(data), size)]
    found = list(level)
    while len(level) > 1:
        padded = [*level, bytes(32)] if len(level) % 2 else level
        level = [
            hashlib.sha256(b"\1" + a + b).digest()
            for a, b in zip(padded[::2], padded[1::2], strict=True)
        ]
        found += level
    return b"".join(found)


@pytest.mark.parametrize("size", SIZES)
def test_trees(level, threads, rng, size):
    """Leaves around powers of two and around a thread's share of 128, all in one call."""
    counts = [1, 2, 3, 4, 5, 7, 8, 9, 127, 128, 129, 255, 256, 257, 300]
    lengths = [n * size for n in counts] + [n * size - int(rng.integers(size)) for n in counts]
    data = [rng.integers(0, 256, n, dtype=np.uint8) for n in lengths]
    wanted = [nodes_of(part.tobytes(), size) for part in data]
    nodes = [np.empty((len(w) // 32, 32), np.uint8) for w in wanted]
    kernels.chunk_trees(data, size, nodes)
    for n, found, expected in zip(lengths, nodes, wanted, strict=True):
        assert found.tobytes() == expected, n


def test_wrong_arguments():
    data, node = np.zeros(3, np.uint8), np.zeros((1, 32), np.uint8)
    with pytest.raises(ValueError, match="at least one"):
        kernels.chunk_trees([], 4, [])
    with pytest.raises(ValueError, match="expected 1 arrays"):
        kernels.chunk_trees([data], 4, [])
    with pytest.raises(ValueError, match=r"nodes: expected uint8 \[6, 32\]"):
        kernels.chunk_trees([data], 1, [node])
    with pytest.raises(ValueError, match="at least one byte"):
        kernels.chunk_trees([data], 0, [node])
    with pytest.raises(ValueError, match="C order"):
        kernels.chunk_trees([np.zeros(6, np.uint8)[::2]], 4, [node])
    with pytest.raises(ValueError, match="data: expected uint8"):
        kernels.chunk_trees([data.astype(np.int8)], 4, [node])
    with pytest.raises(ValueError, match="sizes out of bounds"):
        kernels.chunk_trees([data], (1 << 20) + 1, [node])
    with pytest.raises(ValueError, match="sizes out of bounds"):
        kernels.chunk_trees([data[:0]], 4, [node[:0]])
