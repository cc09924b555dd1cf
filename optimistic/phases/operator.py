"""The disputed operator: what its leaf says, what the program says, and whether its inputs fit.

`reveal` checks all that does not depend on other operators: an honest claimant can always pass it,
and one who cannot has lost. Whether an operand is its producer's output takes the producer's leaf;
that is the challenger's to show.
"""

from __future__ import annotations

from proofml.optimistic import merkle
from proofml.optimistic.claim import Terms
from proofml.optimistic.clock import Side
from proofml.optimistic.commit import BadLeaf, TraceLeaf, read_leaf
from proofml.optimistic.encoding import BadDescriptor, Header, read_operator
from proofml.optimistic.moves import ProveWiring, RevealOperator
from proofml.optimistic.phases import descent
from proofml.optimistic.phases.positions import (
    AtCells,
    AtChunk,
    AtLeaf,
    AtWiring,
    Descent,
    Site,
    Won,
)
from proofml.optimistic.program import Operator, Source
from proofml.optimistic.refusals import IllegalMove, Refusal


def reveal(terms: Terms, header: Header, at: AtLeaf, move: RevealOperator) -> AtWiring:
    """The operator at this leaf.

    Raises:
        IllegalMove: LEAF, DESCRIPTOR, OPERANDS, INPUT_ROOT, WEIGHT_ROOT, OUTPUT_ROOT.
    """
    if merkle.leaf_hash(move.leaf) != at.node:
        raise IllegalMove(Refusal.LEAF, f"operator {at.index}: expected the bytes of that leaf")
    leaf = _leaf(move.leaf, at.index, Refusal.LEAF)
    operator = _operator(header, at.index, move)
    if len(leaf.inputs) != len(operator.operands):
        raise IllegalMove(
            Refusal.OPERANDS,
            f"operator {at.index}: expected {len(operator.operands)} inputs, "
            f"got {len(leaf.inputs)}",
        )
    for number, (operand, found) in enumerate(zip(operator.operands, leaf.inputs, strict=True)):
        where = f"operator {at.index}, operand {number}"
        if operand.source is Source.INPUT and (
            operand.index >= len(terms.inputs) or found != terms.inputs[operand.index]
        ):
            raise IllegalMove(Refusal.INPUT_ROOT, f"{where}: expected input {operand.index}")
        if operand.source is Source.WEIGHT and found != operand.root:
            raise IllegalMove(Refusal.WEIGHT_ROOT, f"{where}: expected {operand.root.hex()}")
    for number, (port, stated) in enumerate(zip(header.outputs, terms.outputs, strict=True)):
        if (port.source, port.index) == (Source.OPERATOR, at.index) and leaf.output != stated:
            raise IllegalMove(
                Refusal.OUTPUT_ROOT,
                f"operator {at.index}: expected the root of output {number}, {stated.hex()}, "
                f"got {leaf.output.hex()}",
            )
    return AtWiring(Site(leaf, operator))


def prove_wiring(trace: bytes, header: Header, at: AtWiring, move: ProveWiring) -> Won:
    """Who wins by the producer's leaf.

    Args:
        trace: the dispute's root.

    Raises:
        IllegalMove: NO_WIRE, WIRING.
    """
    operands = at.site.operator.operands
    if move.operand >= len(operands) or operands[move.operand].source is not Source.OPERATOR:
        raise IllegalMove(
            Refusal.NO_WIRE, f"operand {move.operand}: expected one that an operator makes"
        )
    producer = operands[move.operand].index
    try:
        root = merkle.root_of(move.leaf, producer, header.count, move.path)
    except merkle.BadTree as error:
        raise IllegalMove(Refusal.WIRING, f"operator {producer}: {error}") from error
    if root != trace:
        raise IllegalMove(Refusal.WIRING, f"operator {producer}: expected a path to the trace root")
    leaf = _leaf(move.leaf, producer, Refusal.WIRING)
    if leaf.output != at.site.leaf.inputs[move.operand]:
        return Won(Side.CHALLENGER, f"operand {move.operand} is not what operator {producer} made")
    return Won(Side.CLAIMANT, f"operand {move.operand} is what operator {producer} made")


def dispute_cells(at: AtWiring) -> AtCells | AtChunk:
    """On to the output's tree."""
    return cells(at.site, descent.root(at.site.leaf.output, at.site.operator.cells.chunks))


def cells(site: Site, place: Descent) -> AtCells | AtChunk:
    """At a node of the output's tree, or at the chunk where it is a leaf."""
    return AtCells(site, place) if place.level else AtChunk(site, place.index, place.node)


def _leaf(data: bytes, index: int, refusal: Refusal) -> TraceLeaf:
    try:
        leaf = read_leaf(data)
    except BadLeaf as error:
        raise IllegalMove(refusal, str(error)) from error
    if leaf.index != index:
        raise IllegalMove(refusal, f"leaf: expected operator {index}, got {leaf.index}")
    return leaf


def _operator(header: Header, index: int, move: RevealOperator) -> Operator:
    where = f"operator {index}"
    try:
        root = merkle.root_of(move.descriptor, index, header.count, move.path)
    except merkle.BadTree as error:
        raise IllegalMove(Refusal.DESCRIPTOR, f"{where}: {error}") from error
    if root != header.descriptors:
        raise IllegalMove(Refusal.DESCRIPTOR, f"{where}: expected a path to the descriptors' root")
    try:
        return read_operator(move.descriptor, index)
    except BadDescriptor as error:
        raise IllegalMove(Refusal.DESCRIPTOR, f"{where}: {error}") from error
