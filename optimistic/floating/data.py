"""Data of a float claim that nobody can get elsewhere: asked for and answered on the ledger.

A request names a place and a chunk, as one for an exact claim's inputs does:

    place   0, 1, ... are the inputs; then operators, each with all its outputs
    chunk   of an input the piece's number; of an operator `port << 16 | piece`

An answer's bytes are a piece of `PIECE` chunks, the last one shorter; those of an operator begin
with its leaf and the port's type, since the ledger knows neither. A piece or port that does not
exist is answered by what shows it: leaf and type without a piece. The path is that of the leaf in
the trace and then that of the piece in its tensor, or that tensor's root where there is no piece.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofml.optimistic.claim import Terms
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.floating.descriptor import read_type, size_of
from proofml.optimistic.floating.digests import bind, raw, tree_of
from proofml.optimistic.floating.plan import Ref, Type
from proofml.optimistic.floating.trace import FloatTrace, Leaf
from proofml.optimistic.merkle import (
    ABSENT,
    BadTree,
    depth_of,
    leaf_hash,
    node_hash,
    nodes_at,
    root_of_hash,
    tree_of_leaves,
)
from proofml.optimistic.program import CHUNK, Source
from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.optimistic.wire import Reader, WireError, sized
from proofml.tensors import DTYPES, Array

#: Chunks of a piece, as a power of two.
_LEVELS = 5
PIECE = CHUNK << _LEVELS
_PORT_BITS = 16
_MOST_PIECES = 1 << _PORT_BITS
_MAX_ANSWER = 1 << 16


@dataclass(frozen=True)
class Answered:
    """What an answer shows of an operator; of an input the piece alone.

    Attributes:
        leaf: None for an input.
        kind: of the port; None where there is no such port.
        piece: empty where there is no such piece.
    """

    leaf: Leaf | None
    kind: Type | None
    piece: bytes


def pieces_of(size: int) -> int:
    """How many pieces a tensor of this many bytes has."""
    return max(1, -(-size // PIECE))


def place_of(header: FloatHeader, ref: Ref, piece: int = 0) -> tuple[int, int]:
    """Where a piece of an input or of an operator's output is asked for."""
    if ref.source is Source.INPUT:
        return ref.index, piece
    return len(header.inputs) + ref.index, ref.port << _PORT_BITS | piece


def check_place(header: FloatHeader, place: int, chunk: int) -> None:
    """That there is such a place.

    Raises:
        IllegalMove: NO_INPUT.
    """
    inputs = len(header.inputs)
    known = 0 <= place < inputs + header.count and 0 <= chunk < 1 << 32
    if not known or (place < inputs and chunk >= pieces_of(size_of(header.inputs[place]))):
        raise IllegalMove(Refusal.NO_INPUT, f"there is no piece {chunk} of place {place}")


# -- the claimant's side ------------------------------------------------------------------------


def answer(
    header: FloatHeader, trace: FloatTrace, place: int, chunk: int
) -> tuple[bytes, tuple[bytes, ...]]:
    """Bytes and path of an honest answer, from the published trace.

    Raises:
        VerificationError: float.1 or float.2, the trace is not there any more.
    """
    inputs = len(header.inputs)
    if place < inputs:
        return _piece(trace.array(Ref(Source.INPUT, place)), chunk)
    index, port, piece = place - inputs, chunk >> _PORT_BITS, chunk & (_MOST_PIECES - 1)
    path = trace.tree.path(index)
    head = sized(trace.leaves[index].to_bytes(), 2, "leaf")
    if port >= len(trace.outputs[index]):
        return head, path
    tensor = trace.outputs[index][port]
    head += Type(tensor.dtype, tensor.shape).to_bytes()
    array = trace.array(Ref(Source.OPERATOR, index, port))
    if piece >= pieces_of(array.nbytes):
        return head, (*path, tree_of(array).root)
    data, below = _piece(array, piece)
    return head + data, path + below


def _piece(array: Array, piece: int) -> tuple[bytes, tuple[bytes, ...]]:
    tree = tree_of(array)
    data = raw(array)[piece * PIECE : (piece + 1) * PIECE].tobytes()
    levels = range(min(_LEVELS, tree.depth), tree.depth)
    path = tuple(tree.node(level, (piece << _LEVELS) >> level ^ 1) for level in levels)
    return data, path


# -- everybody's --------------------------------------------------------------------------------


def read_answer(
    header: FloatHeader, terms: Terms, place: int, chunk: int, data: bytes, path: tuple[bytes, ...]
) -> Answered:
    """What an answer shows, checked against the claim.

    Raises:
        IllegalMove: NO_DATA, it does not show what was asked for.
    """
    try:
        return _read(header, terms, place, chunk, data, path)
    except (WireError, BadTree) as error:
        raise IllegalMove(Refusal.NO_DATA, str(error)) from error


def read_shown(header: FloatHeader, place: int, chunk: int, data: bytes) -> Answered:
    """What an answer's bytes say; `read_answer` found them true when the ledger took them.

    Raises:
        WireError: they say nothing.
    """
    inputs = len(header.inputs)
    if place < inputs:
        return Answered(None, header.inputs[place], data)
    port, piece = chunk >> _PORT_BITS, chunk & (_MOST_PIECES - 1)
    reader = Reader(data, "answer", _MAX_ANSWER)
    leaf = Leaf.read(reader.sized(2, "leaf"))
    if port >= len(leaf.outputs):
        reader.done()
        return Answered(leaf, None, b"")
    kind = read_type(reader)
    rest = reader.rest()
    if piece >= pieces_of(size_of(kind)) and rest:
        raise WireError("answer: expected no piece: there is none of this number")
    return Answered(leaf, kind, rest)


def _read(
    header: FloatHeader, terms: Terms, place: int, chunk: int, data: bytes, path: tuple[bytes, ...]
) -> Answered:
    inputs = len(header.inputs)
    found = read_shown(header, place, chunk, data)
    if found.leaf is None:
        assert found.kind is not None  # of every input
        _check_piece(found.kind, chunk, found.piece, path, terms.inputs[place])
        return found
    index, port, piece = place - inputs, chunk >> _PORT_BITS, chunk & (_MOST_PIECES - 1)
    depth = depth_of(header.count)
    node = leaf_hash(found.leaf.to_bytes())
    if root_of_hash(node, index, header.count, path[:depth]) != terms.trace:
        raise WireError(f"operator {index}: its leaf does not open under the trace's root")
    if found.kind is None:
        _no_more(path[depth:])
        return found
    digest = found.leaf.outputs[port]
    if piece < pieces_of(size_of(found.kind)):
        _check_piece(found.kind, piece, found.piece, path[depth:], digest)
    elif len(path) != depth + 1 or _digest(found.kind, path[depth]) != digest:
        # Otherwise a claimant would say that a tensor is small, and show nothing of it.
        raise WireError(f"answer: there is no piece {piece}: expected the root that shows it")
    return found


def _no_more(path: tuple[bytes, ...]) -> None:
    if path:
        raise WireError("answer: expected the leaf's path alone")


def _check_piece(
    kind: Type, piece: int, data: bytes, path: tuple[bytes, ...], digest: bytes
) -> None:
    """That a piece is one of the tensor of this type and digest."""
    size = size_of(kind)
    wanted = min(PIECE, size - piece * PIECE)
    if len(data) != wanted:
        raise WireError(f"answer: piece {piece}: expected {wanted} bytes, got {len(data)}")
    chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)] or [b""]
    count = max(1, -(-size // CHUNK))
    below = tree_of_leaves(chunks)
    node, level = below.root, below.depth
    if count > 1 << _LEVELS:
        # The last piece may be a smaller tree: its right side is absent.
        while level < _LEVELS:
            node, level = node_hash(node, ABSENT), level + 1
        root = root_of_hash(node, piece, nodes_at(count, _LEVELS), path)
    else:
        root = node
        _no_more(path)
    if _digest(kind, root) != digest:
        raise WireError(f"answer: piece {piece} does not open under its tensor's digest")


def _digest(kind: Type, root: bytes) -> bytes:
    assert kind.shape is not None  # `size_of` saw to it
    return bind(kind.dtype, kind.shape, root)


def tensor_of(kind: Type, parts: list[bytes]) -> Array:
    """The tensor of all its pieces."""
    assert kind.shape is not None
    return np.frombuffer(b"".join(parts), DTYPES[kind.dtype]).reshape(kind.shape)
