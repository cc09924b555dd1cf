"""What a ledger knows of a float claim: its program, and how far each operator may be off.

The terms are those of exact claims. Their program is bound to the bounds, so that a claim under
other bounds is one about another program, and their roots are digests (`digests`):

    program   SHA-256(0x05 || header)
    header    the plan's head (`plan`) || u8 basis || u32 limits || f64 each
    inputs, outputs   digests of tensors
    trace     root over the operators' leaves (`trace`); it cannot be deferred

A limit is an operator's share of the worst case, from `LEAST_LIMIT` to 1; the theoretical basis has
none. A smaller share would be no more than what machines' references differ by (`ruling`).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from proofml.optimistic.claim import DEFERRED, Terms
from proofml.optimistic.encoding import Header
from proofml.optimistic.floating.bounds import Basis, Bounds
from proofml.optimistic.floating.descriptor import Bound, read_ref, read_type, size_of
from proofml.optimistic.floating.plan import Plan, Type, root_of_head
from proofml.optimistic.program import Source
from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.optimistic.wire import Reader, WireError, hashes, unsigned
from proofml.tensors import MAX_TENSOR_BYTES

_PROGRAM = b"\x05"
MAX_OPERATORS = 1 << 20
MAX_PORTS = 256
#: As much as a ledger takes with a claim.
MAX_HEADER_BYTES = 1 << 15
LEAST_LIMIT = 2.0**-10
_BASES = {Basis.THEORETICAL: 0, Basis.CALIBRATED: 1}


def program_of(header: bytes) -> bytes:
    """The program that terms name whose claim has this header."""
    return hashlib.sha256(_PROGRAM + header).digest()


@dataclass(frozen=True)
class FloatHeader:
    """A float program as a ledger stores it.

    Attributes:
        count: of operators.
        inputs: types, all with dims.
        outputs: where each is from.
        descriptors: root of the tree over the descriptors.
        basis: theoretical, or calibrated.
        limits: of each operator, its share of the worst case; none for the theoretical basis.
    """

    count: int
    inputs: tuple[Type, ...]
    outputs: tuple[Bound, ...]
    descriptors: bytes
    basis: Basis
    limits: tuple[float, ...] = ()

    @classmethod
    def of(cls, plan: Plan, bounds: Bounds) -> FloatHeader:
        """The header of a claim about this plan.

        Raises:
            WireError: more operators or ports than a header holds, or a basis that no ledger has.
        """
        if bounds.basis not in _BASES:
            raise WireError(f"bounds: expected theoretical or calibrated, got {bounds.basis.value}")
        limits = [max(LEAST_LIMIT, shares[-1]) for shares in bounds.shares]
        found = read_header(plan.head + _bounds(bounds.basis, limits))
        if found.plan_root != plan.root:  # what is read is what is claimed
            raise AssertionError("a plan's head does not read back")
        return found

    @property
    def head(self) -> bytes:
        """The plan's head."""
        return b"".join(
            (
                unsigned(self.count, 4, "operators"),
                unsigned(len(self.inputs), 2, "inputs"),
                *(kind.to_bytes() for kind in self.inputs),
                unsigned(len(self.outputs), 2, "outputs"),
                *(bound.to_bytes() for bound in self.outputs),
                hashes((self.descriptors,), "root of the descriptors"),
            )
        )

    def to_bytes(self) -> bytes:
        return self.head + _bounds(self.basis, self.limits)

    @property
    def root(self) -> bytes:
        """The program that terms name."""
        return program_of(self.to_bytes())

    @cached_property
    def plan_root(self) -> bytes:
        return root_of_head(self.head)

    @cached_property
    def bounds(self) -> Bounds:
        """What a `Judge` applies."""
        if self.basis is Basis.THEORETICAL:
            return Bounds(self.basis)
        shares = tuple((limit,) for limit in self.limits)
        return Bounds(self.basis, shares, (1.0,), 1.0, 1, ("as claimed",), self.plan_root.hex())


def _bounds(basis: Basis, limits: Sequence[float]) -> bytes:
    return (
        bytes([_BASES[basis]])
        + unsigned(len(limits), 4, "limits")
        + b"".join(struct.pack(">d", limit) for limit in limits)
    )


def read_header(data: bytes) -> FloatHeader:
    """The header of these bytes, which `to_bytes` gives back.

    Raises:
        WireError: other bytes, no operator, no output, or a reference to what does not exist.
    """
    reader = Reader(data, "float header", MAX_HEADER_BYTES)
    count = reader.unsigned(4, "operators")
    inputs = tuple(read_type(reader) for _ in range(_ports(reader, "inputs")))
    outputs = tuple(read_ref(reader) for _ in range(_ports(reader, "outputs")))
    descriptors = reader.hash("root of the descriptors")
    code = reader.unsigned(1, "basis")
    bases = {number: basis for basis, number in _BASES.items()}
    if code not in bases:
        raise WireError(f"float header: basis: expected one of {sorted(bases)}, got {code}")
    limits = tuple(
        struct.unpack(">d", reader.take(8, "limit"))[0] for _ in range(reader.unsigned(4, "limits"))
    )
    reader.done()
    header = FloatHeader(count, inputs, outputs, descriptors, bases[code], limits)
    _check(header)
    return header


def posted(terms: Terms, data: bytes) -> FloatHeader:
    """The header that a float claim is posted with.

    Raises:
        IllegalMove: PROGRAM, HEADER, PASSED_THROUGH, TERMS.
    """
    if program_of(data) != terms.program:
        raise IllegalMove(Refusal.PROGRAM, "float header: it is not that of the program")
    try:
        header = read_header(data)
    except WireError as error:
        raise IllegalMove(Refusal.HEADER, str(error)) from error
    if len(header.inputs) != len(terms.inputs) or len(header.outputs) != len(terms.outputs):
        raise IllegalMove(
            Refusal.HEADER,
            f"expected {len(header.inputs)} inputs and {len(header.outputs)} outputs, got "
            f"{len(terms.inputs)} and {len(terms.outputs)}",
        )
    for number, (bound, digest) in enumerate(zip(header.outputs, terms.outputs, strict=True)):
        wanted = digest if bound.weight is None else bound.weight
        if bound.ref.source is Source.INPUT:
            wanted = terms.inputs[bound.ref.index]
        if digest != wanted:
            raise IllegalMove(Refusal.PASSED_THROUGH, f"output {number}: expected {wanted.hex()}")
    if terms.trace == DEFERRED:
        raise IllegalMove(Refusal.TERMS, "trace: a float claim cannot defer its root")
    return header


def blank(header: FloatHeader) -> Header:
    """What a claim has where only exact ones have a header: the number of its operators."""
    return Header(header.count, (), (), header.descriptors)


def _ports(reader: Reader, what: str) -> int:
    count = reader.unsigned(2, what)
    if count > MAX_PORTS:
        raise WireError(f"float header: expected at most {MAX_PORTS} {what}, got {count}")
    return count


def _check(header: FloatHeader) -> None:
    if not 0 < header.count <= MAX_OPERATORS or not header.outputs:
        raise WireError("float header: expected at least one operator and one output")
    for kind in header.inputs:
        if size_of(kind) > MAX_TENSOR_BYTES:
            raise WireError(f"float header: an input of more than {MAX_TENSOR_BYTES} bytes")
    most = {Source.INPUT: len(header.inputs), Source.OPERATOR: header.count}
    for bound in header.outputs:
        if bound.ref.index >= most.get(bound.ref.source, 1 << 32):
            raise WireError(f"float header: an output of {bound.ref}, which does not exist")
    wanted = 0 if header.basis is Basis.THEORETICAL else header.count
    if len(header.limits) != wanted or not all(LEAST_LIMIT <= x <= 1 for x in header.limits):
        raise WireError(f"float header: expected {wanted} limits from {LEAST_LIMIT} to 1")
