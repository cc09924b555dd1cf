"""Cuts a plan into pieces that expose every operator's outputs, so that a run can be streamed.

All outputs of a whole graph at once would hold every activation in memory. Each piece is a model
of consecutive operators that makes their outputs; what it made is hashed and dropped as soon as no
later piece reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, numpy_helper

from proofml.optimistic.floating.plan import Operator, Plan, Ref, Type
from proofml.optimistic.floating.prepare import value_info
from proofml.optimistic.program import Source

#: Bytes of outputs that one piece exposes, where dims are known; each has one operator at least.
PIECE_BYTES = 32 << 20
#: Operators of a piece whose dims are not known.
PIECE_OPERATORS = 16
_UNKNOWN_BYTES = PIECE_BYTES // PIECE_OPERATORS


@dataclass(frozen=True, eq=False)
class Piece:
    """Operators `first` to `last` (excluded), run as a model of their own (`model_of`).

    Attributes:
        reads: the operands that come from outside, with the model's names for them.
        makes: (operator, port) of each output, in order of the model's outputs `names`.
        frees: what no later piece reads, among all that was read or made so far.
    """

    first: int
    last: int
    reads: tuple[tuple[str, Ref], ...]
    makes: tuple[Ref, ...]
    names: tuple[str, ...]
    frees: tuple[Ref, ...]


def pieces(plan: Plan, most: int = PIECE_BYTES) -> tuple[Piece, ...]:
    """The plan in pieces of at most `most` bytes of outputs, or one operator."""
    spans: list[tuple[int, int]] = []
    first, size = 0, 0
    for operator in plan.operators:
        made = _made(operator)
        if operator.index > first and size + made > most:
            spans.append((first, operator.index))
            first, size = operator.index, 0
        size += made
    if plan.operators:
        spans.append((first, len(plan.operators)))
    last_read = _last_read(plan, spans)
    return tuple(_piece(plan, number, span, last_read) for number, span in enumerate(spans))


def _made(operator: Operator) -> int:
    sizes = [kind.nbytes for kind in operator.types]
    return sum(_UNKNOWN_BYTES if size is None else size for size in sizes)


def _last_read(plan: Plan, spans: Sequence[tuple[int, int]]) -> dict[Ref, int]:
    """Value -> number of the last piece that reads it; outputs of the plan are kept to the end."""
    found: dict[Ref, int] = {}
    for number, (first, last) in enumerate(spans):
        for operator in plan.operators[first:last]:
            for port in range(len(operator.outputs)):
                found[Ref(Source.OPERATOR, operator.index, port)] = number
            found.update(dict.fromkeys(operator.inputs, number))
    return found


def _piece(plan: Plan, number: int, span: tuple[int, int], last_read: dict[Ref, int]) -> Piece:
    reads: dict[str, Ref] = {}
    makes: list[Ref] = []
    names: list[str] = []
    for operator in plan.operators[slice(*span)]:
        for name, ref in zip(operator.names, operator.inputs, strict=True):
            if ref.source is Source.INPUT or (
                ref.source is Source.OPERATOR and ref.index < span[0]
            ):
                reads[name] = ref
        makes += [Ref(Source.OPERATOR, operator.index, p) for p in range(len(operator.outputs))]
        names += operator.outputs
    frees = [ref for ref, last in last_read.items() if last == number]
    return Piece(
        *span,
        tuple(reads.items()),
        tuple(makes),
        tuple(names),
        tuple(ref for ref in frees if ref not in plan.ports and ref.source is not Source.WEIGHT),
    )


def model_of(plan: Plan, piece: Piece) -> bytes:
    """A piece as an ONNX file, with its own weights alone."""
    graph = GraphProto(name="piece")
    weights: dict[str, Ref] = {}
    for operator in plan.operators[piece.first : piece.last]:
        graph.node.extend(node.proto for node in operator.nodes)
        pairs = zip(operator.names, operator.inputs, strict=True)
        weights.update((name, ref) for name, ref in pairs if ref.source is Source.WEIGHT)
        for name, kind in zip(operator.outputs, operator.types, strict=True):
            graph.output.append(value_info(name, kind.dtype, kind.shape))
    for name, ref in weights.items():
        graph.initializer.append(numpy_helper.from_array(plan.weights[ref.index], name))
    for name, ref in piece.reads:
        kind = _type_of(plan, ref)
        graph.input.append(value_info(name, kind.dtype, kind.shape))
    model = ModelProto(ir_version=plan.ir_version, graph=graph)
    model.opset_import.add(domain="", version=plan.opset)
    data: bytes = model.SerializeToString()
    return data


def _type_of(plan: Plan, ref: Ref) -> Type:
    if ref.source is Source.INPUT:
        return plan.input_types[ref.index]
    return plan.operators[ref.index].types[ref.port]
