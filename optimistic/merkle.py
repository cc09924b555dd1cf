"""Merkle trees over chunks of bytes, with openings and k-ary reveals.

A leaf is SHA-256 of 0x00 and its bytes, a node of 0x01 and its two children. Leaves that are not
there, up to the next power of two, are 32 zero bytes, and so is a node over two of them. How many
there are is always known from elsewhere, so a tree has one form and every path one length.

Levels are numbered from the leaves (0) to the root (`depth`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.circuits import kernels

Bytes: TypeAlias = NDArray[np.uint8]

ABSENT = bytes(32)
#: Most leaves of a tree: a tensor of 2^26 cells of 4 bytes has 2^18.
MAX_LEAVES = 1 << 32


class BadTree(ValueError):
    """A path, or revealed nodes, that no tree with this many leaves can have."""


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The parent of two nodes; of two absent ones it is absent too."""
    if left == ABSENT and right == ABSENT:
        return ABSENT
    return hashlib.sha256(b"\x01" + left + right).digest()


def depth_of(count: int) -> int:
    """Levels above the leaves: ceil(log2(count))."""
    if not 1 <= count <= MAX_LEAVES:
        raise ValueError(f"expected 1 to {MAX_LEAVES} leaves, got {count}")
    return (count - 1).bit_length()


def nodes_at(count: int, level: int) -> int:
    """How many nodes of a level are not absent."""
    return -(-count // (1 << level))


def parent(children: Sequence[bytes]) -> bytes:
    """The node above 2^m neighbours of one level (`children` begins at a multiple of 2^m).

    Raises:
        BadTree: not a power of two of them, or not 32 bytes each.
    """
    nodes = list(children)
    if not nodes or len(nodes) & (len(nodes) - 1):
        raise BadTree(f"nodes: expected a power of two of them, got {len(nodes)}")
    if any(len(node) != 32 for node in nodes):
        raise BadTree("nodes: expected 32 bytes each")
    while len(nodes) > 1:
        nodes = [node_hash(*pair) for pair in zip(nodes[::2], nodes[1::2], strict=True)]
    return nodes[0]


def check_children(
    count: int, level: int, index: int, node: bytes, children: Sequence[bytes]
) -> None:
    """That these are all descendants of a node, `log2(len(children))` levels below it.

    Args:
        count: leaves of the tree.
        level, index, node: the node above.

    Raises:
        BadTree: they do not hash to it, go below the leaves, or one that must be absent is not
            zero: a tree of another form would hide a difference where nobody may descend.
    """
    above = len(children).bit_length() - 1
    if above < 1 or above > level or len(children) != 1 << above:
        raise BadTree(f"children: expected 2^1 to 2^{level} of them, got {len(children)}")
    present = nodes_at(count, level - above)
    first = index << above
    for place, child in enumerate(children):
        if first + place >= present and child != ABSENT:
            raise BadTree(f"child {place}: expected zeros, as the tree has {count} leaves")
    if parent(children) != node:
        raise BadTree(f"children: expected descendants of node {index} at level {level}")


def root_of_hash(node: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes:
    """The root that a leaf's hash and its siblings, from below, lead to.

    Raises:
        BadTree: no such leaf, or a path of another length.
    """
    depth = depth_of(count)
    if not 0 <= index < count:
        raise BadTree(f"leaf {index}: expected one of {count}")
    if len(path) != depth or any(len(sibling) != 32 for sibling in path):
        raise BadTree(f"path: expected {depth} nodes of 32 bytes for {count} leaves")
    for level, sibling in enumerate(path):
        pair = (sibling, node) if index >> level & 1 else (node, sibling)
        node = node_hash(*pair)
    return node


def root_of(leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes:
    """The root that a leaf's bytes lead to; errors as of `root_of_hash`."""
    return root_of_hash(leaf_hash(leaf), index, count, path)


@dataclass(frozen=True, eq=False)
class Tree:
    """All nodes of a tree.

    Attributes:
        levels: from the leaves to the root, uint8 [nodes, 32], without absent nodes.
    """

    levels: tuple[Bytes, ...]

    @property
    def count(self) -> int:
        return len(self.levels[0])

    @property
    def depth(self) -> int:
        return len(self.levels) - 1

    @property
    def root(self) -> bytes:
        return self.levels[-1].tobytes()

    @property
    def nbytes(self) -> int:
        return sum(level.nbytes for level in self.levels)

    def node(self, level: int, index: int) -> bytes:
        rows = self.levels[level]
        return rows[index].tobytes() if index < len(rows) else ABSENT

    def path(self, index: int) -> tuple[bytes, ...]:
        """Siblings of a leaf and of the nodes above it, from below."""
        if not 0 <= index < self.count:
            raise ValueError(f"leaf {index}: expected one of {self.count}")
        return tuple(self.node(level, index >> level ^ 1) for level in range(self.depth))

    def descendants(self, level: int, index: int, m: int) -> tuple[bytes, ...]:
        """All 2^m nodes that lie m levels below a node."""
        if not 0 <= m <= level <= self.depth:
            raise ValueError(f"{m} levels below level {level}: expected at most {level}")
        return tuple(self.node(level - m, (index << m) + i) for i in range(1 << m))


def _levels(nodes: Bytes, count: int) -> tuple[Bytes, ...]:
    """The levels of a tree whose nodes lie end to end."""
    found, at = [], 0
    for level in range(depth_of(count) + 1):
        size = nodes_at(count, level)
        found.append(nodes[at : at + size])
        at += size
    return tuple(found)


def _total(count: int) -> int:
    return sum(nodes_at(count, level) for level in range(depth_of(count) + 1))


def tree_of_chunks(data: bytes | Bytes, size: int) -> Tree:
    """The tree over bytes that are cut into leaves of `size` bytes, the last one shorter.

    Raises:
        ValueError: no bytes.
    """
    return trees_of_chunks([np.frombuffer(data, np.uint8)], size)[0]


def trees_of_chunks(data: Sequence[Bytes], size: int) -> list[Tree]:
    """`tree_of_chunks` of several tensors at once, uint8 arrays of one axis each."""
    if size < 1 or any(part.ndim != 1 or not part.size for part in data):
        raise ValueError("chunks: expected at least one byte, and a length of at least 1")
    counts = [-(-part.size // size) for part in data]
    nodes = [np.empty((_total(count), 32), np.uint8) for count in counts]
    if kernels.available():
        kernels.chunk_trees(data, size, nodes)
    else:
        for part, count, out in zip(data, counts, nodes, strict=True):
            leaves = [part[i * size : (i + 1) * size].tobytes() for i in range(count)]
            _fill(out, [leaf_hash(leaf) for leaf in leaves])
    return [Tree(_levels(out, count)) for out, count in zip(nodes, counts, strict=True)]


def tree_of_leaves(leaves: Sequence[bytes]) -> Tree:
    """The tree over leaves of any lengths."""
    nodes = np.empty((_total(len(leaves)), 32), np.uint8)
    _fill(nodes, [leaf_hash(leaf) for leaf in leaves])
    return Tree(_levels(nodes, len(leaves)))


def _fill(nodes: Bytes, hashes: Sequence[bytes]) -> None:
    """Nodes of all levels, end to end, from the hashes of the leaves."""
    level, at = list(hashes), 0
    while True:
        nodes[at : at + len(level)] = np.frombuffer(b"".join(level), np.uint8).reshape(-1, 32)
        at += len(level)
        if len(level) == 1:
            return
        padded = [*level, ABSENT] if len(level) % 2 else level
        level = [node_hash(*pair) for pair in zip(padded[::2], padded[1::2], strict=True)]
