"""Descending a committed tree: the claimant shows descendants, the challenger chooses one.

Nothing that the claimant reveals here is his to choose: the children hash to a node that he is
already held to. Only where the claim does not say what the trace's root is, his first reveal does.
"""

from __future__ import annotations

from dataclasses import replace

from proofml.optimistic import merkle
from proofml.optimistic.phases.positions import Descent
from proofml.optimistic.refusals import IllegalMove, Refusal


def root(node: bytes, count: int) -> Descent:
    """At the root of a tree of `count` leaves."""
    return Descent(count, node, merkle.depth_of(count), 0)


def step(descent: Descent, k_log: int) -> int:
    """Levels that the next reveal goes down."""
    return min(k_log, descent.level)


def rounds(count: int, k_log: int) -> int:
    """Reveals from the root of a tree of `count` leaves to one of them."""
    return -(-merkle.depth_of(count) // k_log)


def reveal(descent: Descent, k_log: int, children: tuple[bytes, ...]) -> Descent:
    """With its children.

    Raises:
        IllegalMove: CHILDREN.
    """
    expected = 1 << step(descent, k_log)
    if len(children) != expected:
        raise IllegalMove(
            Refusal.CHILDREN,
            f"node {descent.index} at level {descent.level}: expected {expected} children, "
            f"got {len(children)}",
        )
    try:
        merkle.check_children(descent.count, descent.level, descent.index, descent.node, children)
    except merkle.BadTree as error:
        raise IllegalMove(Refusal.CHILDREN, str(error)) from error
    return replace(descent, children=children)


def define(descent: Descent, children: tuple[bytes, ...]) -> Descent:
    """At the root that these children, the first that are revealed, lead to.

    Raises:
        IllegalMove: CHILDREN, where that is zero: no tree's root, but that of absent nodes.
    """
    try:
        found = merkle.parent(children)
    except merkle.BadTree as error:
        raise IllegalMove(Refusal.CHILDREN, str(error)) from error
    if found == merkle.ABSENT:
        raise IllegalMove(Refusal.CHILDREN, "trace: expected a tree of leaves, got absent nodes")
    return replace(descent, node=found)


def select(descent: Descent, child: int) -> Descent:
    """At the child.

    Raises:
        IllegalMove: NO_CHILD, where it was not revealed, or is beyond the last leaf.
    """
    below = len(descent.children).bit_length() - 1
    level = descent.level - below
    first = descent.index << below
    present = merkle.nodes_at(descent.count, level) - first
    if not 0 <= child < min(len(descent.children), present):
        raise IllegalMove(
            Refusal.NO_CHILD,
            f"child {child}: expected 0 to {min(len(descent.children), present) - 1}, which hold "
            f"leaves of the {descent.count}",
        )
    return Descent(descent.count, descent.children[child], level, first + child)
