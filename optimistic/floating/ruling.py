"""What a ledger makes of an accusation; the operator is computed again in a worker.

Everybody who reads a ledger rules again on every accusation, and all have to agree. References are
float64 sums whose order differs between machines, so that a value within 2^-29 or so of its worst
case, or 2^-19 of the least share that a claim may have of it, could be inside here and outside
there. Therefore the move itself says what was found when it was
made, by the limit `1 + EDGE`, and whoever reads it later allows half of `EDGE` either way. What
machines differ by is far less where the claim is float16 or float32; float64 has no such reference
and cannot be claimed (`claimable`). An honest value, at 1 or below, is never outside.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory

from proofml.optimistic.claim import Terms
from proofml.optimistic.clock import Side
from proofml.optimistic.floating.accusation import Accusation, Result, Values, Wiring
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.floating.descriptor import Bound, Descriptor, read_descriptor
from proofml.optimistic.floating.digests import raw
from proofml.optimistic.floating.finding import Finding, Verdict
from proofml.optimistic.floating.plan import Type
from proofml.optimistic.floating.trace import Leaf
from proofml.optimistic.floating.work import in_worker
from proofml.optimistic.merkle import BadTree, root_of
from proofml.optimistic.phases.positions import Won
from proofml.optimistic.program import Source
from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.optimistic.wire import WireError
from proofml.worker import Limits

#: Beyond its bound by more than this share of it, an element is outside.
EDGE = 2.0**-10
JUDGE_LIMITS = Limits(seconds=120)
_KEPT = 256
_WORDS = {
    Verdict.OUTSIDE: "what it made is beyond its bound",
    Verdict.MISSHAPEN: "what it made is of another type, or of other dims",
    # Within the margin that readers allow each other.
    Verdict.INSIDE: "what it made is beyond its bound",
}
_findings: OrderedDict[bytes, Finding] = OrderedDict()


def outside(finding: Finding, edge: float = EDGE) -> bool:
    """Whether an operator can be pointed at."""
    if finding.verdict in (Verdict.INSIDE, Verdict.OUTSIDE):
        return finding.margin > 1 + edge
    return True


def rule(terms: Terms, header: FloatHeader, accusation: Accusation) -> Won:
    """Who is right.

    Raises:
        IllegalMove: something does not open, or is not what belongs there.
        BackendUnavailable, WorkerFailed: the operator cannot be computed here.
    """
    opened = _opened(terms, header, accusation)
    if isinstance(opened, Won):
        return opened
    descriptor, leaf = opened
    match accusation.charge:
        case Wiring() as wiring:
            return _wiring(terms, header, accusation.operator, descriptor, leaf, wiring)
        case Result(output):
            return _result(terms, header, accusation.operator, leaf, output)
        case Values() as values:
            return _values(header, accusation, leaf, values)


def stands(terms: Terms, header: FloatHeader, accusation: Accusation) -> bool | None:
    """Whether values that are accused are outside, as found here; None where that is not asked.

    Raises:
        IllegalMove: something does not open.
        BackendUnavailable, WorkerFailed: the operator cannot be computed here.
    """
    charge, opened = accusation.charge, _opened(terms, header, accusation)
    if isinstance(opened, Won) or not isinstance(charge, Values):
        return None
    _check_tensors(accusation.operator, opened[1], charge)
    return outside(judge(header, accusation.operator, accusation.descriptor, charge))


def _opened(
    terms: Terms, header: FloatHeader, accusation: Accusation
) -> tuple[Descriptor, Leaf] | Won:
    """Descriptor and leaf; or the end, where nobody honest has committed to this leaf."""
    descriptor = _descriptor(header, accusation)
    at = f"operator {accusation.operator}"
    if not _opens(accusation.leaf, accusation.operator, header, accusation.leaf_path, terms.trace):
        raise IllegalMove(Refusal.LEAF, f"{at}: its leaf does not open under the trace's root")
    leaf, fault = _leaf(accusation.leaf, accusation.operator)
    if leaf is None:
        return Won(Side.CHALLENGER, f"{at}: {fault}")
    if len(leaf.inputs) != len(descriptor.inputs) or len(leaf.outputs) != len(descriptor.types):
        return Won(Side.CHALLENGER, f"{at}: its leaf has another number of operands or outputs")
    return descriptor, leaf


def _opens(
    data: bytes, index: int, header: FloatHeader, path: tuple[bytes, ...], root: bytes
) -> bool:
    try:
        return root_of(data, index, header.count, path) == root
    except BadTree:
        return False


def _descriptor(header: FloatHeader, accusation: Accusation) -> Descriptor:
    at = f"operator {accusation.operator}"
    path, root = accusation.descriptor_path, header.descriptors
    if not _opens(accusation.descriptor, accusation.operator, header, path, root):
        raise IllegalMove(Refusal.DESCRIPTOR, f"{at}: it does not open under the program's root")
    try:
        found = read_descriptor(accusation.descriptor)
    except WireError as error:
        raise IllegalMove(Refusal.DESCRIPTOR, f"{at}: {error}") from error
    for bound in found.inputs:
        source, index = bound.ref.source, bound.ref.index
        if (source is Source.OPERATOR and index >= accusation.operator) or (
            source is Source.INPUT and index >= len(header.inputs)
        ):
            raise IllegalMove(Refusal.DESCRIPTOR, f"{at}: an operand that does not exist")
    return found


def _leaf(data: bytes, index: int) -> tuple[Leaf | None, str]:
    """The leaf, or why nobody honest has committed to it."""
    try:
        leaf = Leaf.read(data)
    except WireError as error:
        return None, str(error)
    if leaf.index != index:
        return None, f"its leaf says that it is operator {leaf.index}"
    return leaf, ""


def _wiring(
    terms: Terms,
    header: FloatHeader,
    operator: int,
    descriptor: Descriptor,
    leaf: Leaf,
    charge: Wiring,
) -> Won:
    at = f"operator {operator}, operand {charge.operand}"
    if charge.operand >= len(descriptor.inputs):
        raise IllegalMove(Refusal.NO_WIRE, f"{at}: expected one of {len(descriptor.inputs)}")
    bound = descriptor.inputs[charge.operand]
    if bound.ref.source is not Source.OPERATOR and (charge.leaf or charge.path):
        raise IllegalMove(Refusal.WIRING, f"{at}: it has no producer, expected no leaf of one")
    wanted, why = _wanted(terms, header, bound, charge)
    if wanted is None:
        return Won(Side.CHALLENGER, f"{at}: {why}")
    if wanted != leaf.inputs[charge.operand]:
        return Won(Side.CHALLENGER, f"{at}: not what its source is")
    return Won(Side.CLAIMANT, f"{at}: it is what its source is")


def _wanted(
    terms: Terms, header: FloatHeader, bound: Bound, charge: Wiring
) -> tuple[bytes | None, str]:
    """The digest that an operand has to have; or why its producer's leaf cannot be true."""
    ref = bound.ref
    if ref.source is Source.WEIGHT:
        return bound.weight, ""
    if ref.source is Source.INPUT:
        return terms.inputs[ref.index], ""
    if not _opens(charge.leaf, ref.index, header, charge.path, terms.trace):
        raise IllegalMove(Refusal.WIRING, f"operator {ref.index}: its leaf does not open")
    producer, fault = _leaf(charge.leaf, ref.index)
    if producer is None:
        return None, f"operator {ref.index}: {fault}"
    if ref.port >= len(producer.outputs):
        return None, f"operator {ref.index} has no output {ref.port} in its leaf"
    return producer.outputs[ref.port], ""


def _result(terms: Terms, header: FloatHeader, operator: int, leaf: Leaf, output: int) -> Won:
    ref = header.outputs[output].ref if output < len(header.outputs) else None
    if ref is None or ref.source is not Source.OPERATOR or ref.index != operator:
        raise IllegalMove(
            Refusal.NO_WIRE, f"output {output} of the model is not from operator {operator}"
        )
    if ref.port >= len(leaf.outputs) or leaf.outputs[ref.port] != terms.outputs[output]:
        return Won(Side.CHALLENGER, f"output {output} is not what operator {operator} made")
    return Won(Side.CLAIMANT, f"output {output} is what operator {operator} made")


def _values(
    header: FloatHeader,
    accusation: Accusation,
    leaf: Leaf,
    charge: Values,
) -> Won:
    at = f"operator {accusation.operator}"
    _check_tensors(accusation.operator, leaf, charge)
    finding = judge(header, accusation.operator, accusation.descriptor, charge)
    low, high = outside(finding, EDGE / 2), outside(finding, EDGE * 1.5)
    if charge.stands != low and charge.stands != high:
        raise IllegalMove(
            Refusal.OPENING,
            f"{at}: found {finding.verdict.value}, the move says "
            f"{'outside' if charge.stands else 'inside'}",
        )
    if charge.stands:
        # No numbers: the words are part of the ledger's state, and references differ a little.
        return Won(Side.CHALLENGER, f"{at}: {_WORDS[finding.verdict]}")
    return Won(Side.CLAIMANT, f"{at}: within its bound")


def _check_tensors(operator: int, leaf: Leaf, charge: Values) -> None:
    if charge.digests != (*leaf.inputs, *leaf.outputs):
        raise IllegalMove(
            Refusal.OPENING, f"operator {operator}: its tensors are not those that its leaf names"
        )


def judge(header: FloatHeader, operator: int, descriptor: bytes, charge: Values) -> Finding:
    """What an operator's values are found to be; once for each process.

    Raises:
        BackendUnavailable, WorkerFailed: it cannot be computed here.
    """
    limit = header.bounds.limit(operator)
    key = hashlib.sha256(
        b"".join((repr((operator, limit)).encode(), descriptor, *charge.digests))
    ).digest()
    found = _findings.get(key)
    if found is None:
        found = _findings[key] = _judged(header, operator, descriptor, charge)
        while len(_findings) > _KEPT:
            _findings.popitem(last=False)
    return found


def _judged(header: FloatHeader, operator: int, descriptor: bytes, charge: Values) -> Finding:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "descriptor").write_bytes(descriptor)
        kinds = []
        for number, array in enumerate(charge.tensors):
            raw(array).tofile(folder / f"t{number}.bin")
            kinds.append(Type(array.dtype.newbyteorder("=").name, array.shape))
        args = {
            "operator": operator,
            "bounds": header.bounds.to_json(),
            "types": [[kind.dtype, list(kind.shape or ())] for kind in kinds],
        }
        found = in_worker("judge_one", args, folder, limits=JUDGE_LIMITS)
    return Finding.read(found)
