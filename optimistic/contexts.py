"""What a move says again to the contract: the ledger there keeps hashes, not states.

`Game.move` takes a move's bytes and a *context*, which repeats what an earlier move has shown. It
follows from the position alone, so moves have the same bytes on every ledger.
"""

from __future__ import annotations

from proofml.optimistic import merkle, moves
from proofml.optimistic.encoding import descriptor
from proofml.optimistic.moves import Move
from proofml.optimistic.phases.positions import (
    AtCells,
    AtChunk,
    AtLeaf,
    AtSummand,
    AtSums,
    AtTrace,
    AtWiring,
    Descent,
    Position,
    Site,
)
from proofml.optimistic.wire import signed64


def context_of(position: Position, move: Move, content: bytes) -> bytes:
    """The context of a move that `position` awaits.

    Args:
        content: terms and header of the claim, end to end.

    Returns:
        For a node chosen in a tree the node and its siblings up to the current one; for an
        interval the states that were revealed; the content for the reveal of an operator, and
        from then on the operator's leaf and descriptor where they are read, and the chunk behind
        them where a cell is chosen. Nothing for all other moves.

    Raises:
        ValueError: the position awaits another move.
    """
    if type(move) not in position.awaits:
        raise ValueError(f"{type(position).__name__}: awaits no {type(move).__name__}")
    match position, move:
        case ((AtTrace() | AtCells()), moves.Select()):
            return _branch(position.descent, move.index)
        case AtLeaf(), _:
            return content
        case AtWiring(), moves.ProveWiring():
            return _site(position.site)
        case AtSummand(), _:
            return _site(position.site)
        case AtChunk(), (moves.SelectCell() | moves.ProveRange()):
            assert position.data is not None
            return _site(position.site) + position.data
        case AtSums(), moves.Select():
            return b"".join(signed64(state, "state") for state in _revealed(position))
        case AtSums(), _:
            return _site(position.site) if position.end is None else b""
        case _:
            return b""


def _branch(descent: Descent, child: int) -> bytes:
    """A child and its siblings up to the current node, from below."""
    if not 0 <= child < len(descent.children):
        raise ValueError(f"child {child}: expected one of {len(descent.children)}")
    nodes, found = list(descent.children), [descent.children[child]]
    while len(nodes) > 1:
        found.append(nodes[child ^ 1])
        nodes = [merkle.node_hash(*pair) for pair in zip(nodes[::2], nodes[1::2], strict=True)]
        child >>= 1
    return b"".join(found)


def _site(site: Site) -> bytes:
    return site.leaf.to_bytes() + descriptor(site.operator)


def _revealed(at: AtSums) -> list[int]:
    """The states of the last reveal: with the one at the end only where that was asserted then."""
    states = [state for _, state in at.cuts]
    whole = at.first == 0 and at.last == at.site.operator.summands
    return states if whole else states[:-1]
