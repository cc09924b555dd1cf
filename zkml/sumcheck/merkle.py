"""Merkle trees over the rows of a code word: section 2 of the protocol.

Leaves carry the tag of their tree, and leaves and nodes begin with different bytes, so that no
leaf passes for a node or for a leaf of another tree (RFC 6962, section 2.1, for the principle).
Nodes lie in one array of 2^(log_n + 1) digests as in a heap: the root at 1, the children of node
i at 2 i and 2 i + 1, leaf i at 2^log_n + i. Place 0 is unused. Not audited.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

Nodes = NDArray[np.uint8]  # (2^(log_n + 1), 32)


def leaf_hash(tag: str, row: bytes) -> bytes:
    data = tag.encode("ascii")
    return sha256(b"\x10" + bytes([len(data)]) + data + row).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x11" + left + right).digest()


def build(tag: str, rows: Sequence[bytes]) -> Nodes:
    """All nodes of the tree; the number of rows is a power of two."""
    count = len(rows)
    if count < 1 or count & (count - 1):
        raise ValueError(f"expected a number of rows that is a power of two, got {count}")
    nodes = [b"\x00" * 32] * count + [leaf_hash(tag, row) for row in rows]
    for i in reversed(range(1, count)):
        nodes[i] = node_hash(nodes[2 * i], nodes[2 * i + 1])
    return np.frombuffer(b"".join(nodes), np.uint8).reshape(2 * count, 32)


def root(nodes: Nodes) -> bytes:
    return bytes(nodes[1])


def open_multi(nodes: Nodes, indices: Iterable[int]) -> bytes:
    """The digests that a verifier of these leaves lacks.

    Level by level from the leaves, by ascending index: every sibling that is not itself known.
    """
    known = sorted({len(nodes) // 2 + i for i in indices})
    missing: list[bytes] = []
    while known and known[0] > 1:
        have = set(known)
        missing += [nodes[i ^ 1].tobytes() for i in known if i ^ 1 not in have]
        known = sorted({i >> 1 for i in known})
    return b"".join(missing)
