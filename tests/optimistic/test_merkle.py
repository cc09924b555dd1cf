"""Trees against their definition, and everything that a revealed piece of one must not be."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.optimistic import merkle

SIZES = (1024, 1020, 1008, 64, 7)


def root_by_definition(leaves: list[bytes]) -> bytes:
    """Padded to a power of two with zeros; a node over two zero children is zero."""
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    while len(level) & (len(level) - 1):
        level.append(bytes(32))
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [
            bytes(32) if a == b == bytes(32) else hashlib.sha256(b"\1" + a + b).digest()
            for a, b in pairs
        ]
    return level[0]


def leaves_of(data: np.ndarray, size: int) -> list[bytes]:
    return [data[i : i + size].tobytes() for i in range(0, len(data), size)]


@pytest.mark.parametrize("size", SIZES)
def test_trees_of_chunks(hashing: str, size: int) -> None:
    """Every number of leaves around powers of two, with and without a short last one."""
    rng = np.random.default_rng(size)
    lengths = [*range(1, 12), size - 1, size, size + 1, 127 * size, 128 * size, 128 * size + 1]
    lengths += [size * n + int(rng.integers(size)) for n in (2, 3, 5, 9, 257, 300, 1025)]
    data = [rng.integers(0, 256, n, dtype=np.uint8) for n in lengths]
    for part, tree in zip(data, merkle.trees_of_chunks(data, size), strict=True):
        leaves = leaves_of(part, size)
        assert tree.root == root_by_definition(leaves)
        assert tree.count == len(leaves)
        assert tree.depth == merkle.depth_of(len(leaves))
        assert merkle.tree_of_leaves(leaves).root == tree.root
        one = merkle.tree_of_chunks(part.tobytes(), size)
        assert [level.tobytes() for level in one.levels] == [
            level.tobytes() for level in tree.levels
        ]


def test_wrong_arguments() -> None:
    some = np.zeros(3, np.uint8)
    for data, size in (([some[:0]], 4), ([some], 0), ([some.reshape(1, 3)], 4)):
        with pytest.raises(ValueError, match="expected at least one byte"):
            merkle.trees_of_chunks(data, size)
    with pytest.raises(ValueError, match="expected 1 to"):
        merkle.tree_of_leaves([])


counts = st.integers(1, 70)


@given(counts, st.data())
def test_paths(count: int, data: st.DataObject) -> None:
    leaves = [bytes([i, i + 1]) for i in range(count)]
    tree = merkle.tree_of_leaves(leaves)
    index = data.draw(st.integers(0, count - 1))
    path = tree.path(index)
    assert merkle.root_of(leaves[index], index, count, path) == tree.root
    assert merkle.root_of(leaves[index] + b"x", index, count, path) != tree.root
    for at in range(len(path)):
        wrong = [*path[:at], bytes([path[at][0] ^ 1]) + path[at][1:], *path[at + 1 :]]
        assert merkle.root_of(leaves[index], index, count, wrong) != tree.root
        other = index ^ 1 << at
        if other < count:
            assert merkle.root_of(leaves[index], other, count, path) != tree.root
    for broken in ((*path, bytes(32)), path[:-1], [*path[:-1], b"short"]):
        if tuple(broken) != path:
            with pytest.raises(merkle.BadTree, match="path: expected"):
                merkle.root_of(leaves[index], index, count, broken)
    for nowhere in (-1, count):
        with pytest.raises(merkle.BadTree, match="expected one of"):
            merkle.root_of(leaves[index], nowhere, count, path)


@given(counts, st.data())
def test_reveals(count: int, data: st.DataObject) -> None:
    """Descendants of any node pass; any change of one, and any number but 2^m, does not."""
    tree = merkle.tree_of_leaves([bytes([i]) for i in range(count)])
    if not tree.depth:
        return
    level = data.draw(st.integers(1, tree.depth))
    index = data.draw(st.integers(0, merkle.nodes_at(count, level) - 1))
    m = data.draw(st.integers(1, level))
    children = tree.descendants(level, index, m)
    node = tree.node(level, index)
    merkle.check_children(count, level, index, node, children)
    assert merkle.parent(children) == node
    at = data.draw(st.integers(0, len(children) - 1))
    flipped = bytes([children[at][0] ^ 1]) + children[at][1:]
    with pytest.raises(merkle.BadTree):
        merkle.check_children(
            count, level, index, node, (*children[:at], flipped, *children[at + 1 :])
        )
    for broken in (children[:-1], (*children, *children, *children), (node,), ()):
        with pytest.raises(merkle.BadTree):
            merkle.check_children(count, level, index, node, broken)
    with pytest.raises(merkle.BadTree):
        merkle.check_children(count, m - 1, index, node, children)


def test_nothing_hides_where_no_leaf_is() -> None:
    """A claimant's tree with other leaves beyond the last one is refused where it shows."""
    leaves = [bytes([i]) for i in range(6)]
    hidden = merkle.tree_of_leaves([*leaves, b"hidden"])
    children = hidden.descendants(3, 0, 3)
    assert merkle.parent(children) == hidden.root
    with pytest.raises(merkle.BadTree, match="child 6: expected zeros"):
        merkle.check_children(6, 3, 0, hidden.root, children)


def test_descendants_within_the_tree() -> None:
    tree = merkle.tree_of_leaves([b"a", b"b", b"c"])
    for level, m in ((0, 1), (3, 1), (2, 3), (2, -1)):
        with pytest.raises(ValueError, match="levels below"):
            tree.descendants(level, 0, m)
    with pytest.raises(ValueError, match="expected one of 3"):
        tree.path(3)
    for wrong in ([], [bytes(32)] * 3, [b"short", b"short"]):
        with pytest.raises(merkle.BadTree, match="nodes: expected"):
            merkle.parent(wrong)
