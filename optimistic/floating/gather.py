"""A claimed trace, gathered from where it is published and from answers on the ledger.

Nothing is believed: a tensor counts where its bytes have the digest that the claim's trace root
leads to. What nobody published is asked for, piece by piece; then the claimant answers, or loses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from proofml.canonical import dumps
from proofml.errors import VerificationError
from proofml.optimistic.claim import Terms
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.floating.data import pieces_of, place_of, read_shown, tensor_of
from proofml.optimistic.floating.digests import raw, tensor_digests
from proofml.optimistic.floating.plan import Plan, Ref, Type
from proofml.optimistic.floating.trace import (
    RECORD,
    FloatTrace,
    Leaf,
    Tensor,
    file_name,
    read_trace,
)
from proofml.optimistic.program import Source
from proofml.tensors import Array, nbytes

#: (place, chunk), as in `data`.
Place = tuple[int, int]
Answers = Mapping[Place, bytes]


@dataclass(frozen=True)
class Gathered:
    """What there is of a claimed trace.

    Attributes:
        trace: its tensors in a folder of the reader's own, or, where an operator's leaf has
            another number of outputs than the operator, without them.
        missing: what to ask for; then there is no trace.
        misformed: that operator.
    """

    trace: FloatTrace | None
    missing: tuple[Place, ...] = ()
    misformed: int | None = None


def gather(
    plan: Plan,
    header: FloatHeader,
    terms: Terms,
    published: Path,
    answers: Answers,
    folder: Path,
) -> Gathered:
    """Write the claimed trace to an empty folder, or say what is missing.

    Args:
        published: where the claimant's trace should be.
        answers: bytes that the ledger accepted for this claim.
    """
    outline = _published(plan, terms, published) or _answered(plan, header, answers)
    if isinstance(outline, tuple):
        return Gathered(None, outline)
    inputs = tuple(
        Tensor(kind.dtype, kind.shape or (), digest)
        for kind, digest in zip(header.inputs, terms.inputs, strict=True)
    )
    claimed = FloatTrace(plan, inputs, outline.outputs, outline.leaves, published)
    for operator, leaf in zip(plan.operators, claimed.leaves, strict=True):
        if len(leaf.outputs) != len(operator.outputs):
            return Gathered(claimed, misformed=operator.index)
    missing: list[Place] = []
    for ref in _refs(claimed):
        array = _array(claimed, ref)
        if array is None:
            places, array = _from_answers(header, ref, claimed.tensor(ref), answers)
            missing += places
        if array is not None:
            raw(array).tofile(folder / file_name(ref))
    if missing:
        return Gathered(None, tuple(missing))
    (folder / RECORD).write_bytes(dumps(claimed.to_json()))
    return Gathered(FloatTrace(plan, inputs, outline.outputs, outline.leaves, folder))


def requests_of(plan: Plan) -> int:
    """How many ask a ledger for a trace that is published nowhere.

    A tensor whose dims only a run decides counts as one piece.
    """
    kinds = [*plan.input_types, *(kind for operator in plan.operators for kind in operator.types)]
    return sum(pieces_of(kind.nbytes or 0) for kind in kinds)


@dataclass(frozen=True)
class _Outline:
    """A trace without its tensors' data."""

    outputs: tuple[tuple[Tensor, ...], ...]
    leaves: tuple[Leaf, ...]


def _published(plan: Plan, terms: Terms, folder: Path) -> _Outline | None:
    """From the published record, if it is that of the claim's root."""
    try:
        found = read_trace(plan, folder)
    except VerificationError:
        return None
    return _Outline(found.outputs, found.leaves) if found.root == terms.trace else None


def _answered(plan: Plan, header: FloatHeader, answers: Answers) -> _Outline | tuple[Place, ...]:
    """From the ledger's answers; or what is missing of the whole trace."""
    outputs: list[tuple[Tensor, ...]] = []
    leaves: list[Leaf] = []
    missing: list[Place] = []
    for operator in plan.operators:
        tensors: list[Tensor] = []
        for port, kind in enumerate(operator.types):
            ref = Ref(Source.OPERATOR, operator.index, port)
            size = kind.nbytes or 0
            places = [place_of(header, ref, piece) for piece in range(pieces_of(size))]
            missing += [place for place in places if place not in answers]
            if places[0] in answers:
                shown = read_shown(header, *places[0], answers[places[0]])
                assert shown.leaf is not None  # of every operator's place
                if port == 0:
                    leaves.append(shown.leaf)
                if shown.kind is not None:
                    shape = shown.kind.shape or ()
                    tensors.append(Tensor(shown.kind.dtype, shape, shown.leaf.outputs[port]))
        outputs.append(tuple(tensors))
    inputs = (Ref(Source.INPUT, index) for index in range(len(header.inputs)))
    for ref in inputs:
        pieces = range(pieces_of(header.inputs[ref.index].nbytes or 0))
        missing += [p for p in (place_of(header, ref, n) for n in pieces) if p not in answers]
    return (
        tuple(missing)
        if len(leaves) < len(plan.operators)
        else _Outline(tuple(outputs), tuple(leaves))
    )


def _refs(trace: FloatTrace) -> list[Ref]:
    refs = [Ref(Source.INPUT, index) for index in range(len(trace.inputs))]
    for index, ports in enumerate(trace.outputs):
        refs += [Ref(Source.OPERATOR, index, port) for port in range(len(ports))]
    return refs


def _array(trace: FloatTrace, ref: Ref) -> Array | None:
    try:
        return trace.array(ref)
    except VerificationError:
        return None


def _from_answers(
    header: FloatHeader, ref: Ref, tensor: Tensor, answers: Answers
) -> tuple[list[Place], Array | None]:
    """A tensor of all its pieces; or those that are missing."""
    count = pieces_of(nbytes(tensor.dtype, tensor.shape))
    places = [place_of(header, ref, piece) for piece in range(count)]
    missing = [place for place in places if place not in answers]
    if missing:
        return missing, None
    parts = [read_shown(header, *place, answers[place]).piece for place in places]
    array = tensor_of(Type(tensor.dtype, tensor.shape), parts)
    (digest,) = tensor_digests([array])
    if digest != tensor.digest:  # the ledger took no other pieces
        raise ValueError(f"{file_name(ref)}: answers of another tensor")
    return [], array
