"""The one move of a float dispute, as bytes: an operator, and what is wrong with it.

    u32 operator || u32 length, descriptor || path || u32 length, leaf || path || u8 charge || body

    1 WIRING   u16 operand || u32 length, producer's leaf (none of an input or weight) || path
    2 RESULT   u16 output of the model
    3 VALUES   u8 stands || u16 tensors || (type || u32 length || raw bytes) each

The descriptor opens under the program's tree, leaves under the claim's trace root. Tensors are the
operator's claimed operands and outputs, in order; each has to have the digest that the leaf names.
`stands` is what the ledger found when the move was made, see `ruling`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

import numpy as np

from proofml.optimistic.floating.descriptor import MAX_DESCRIPTOR_BYTES, read_type, size_of
from proofml.optimistic.floating.digests import raw, tensor_digests
from proofml.optimistic.floating.plan import Type
from proofml.optimistic.merkle import Tree
from proofml.optimistic.moves import MAX_POINT_BYTES, PointAt, read_path, write_path
from proofml.optimistic.wire import Reader, WireError, sized, unsigned
from proofml.tensors import DTYPES, Array

_MAX_TENSORS = 1 << 12

Path: TypeAlias = tuple[bytes, ...]

#: Bytes of an accusation that are neither tensors nor descriptor nor leaf: paths and lengths.
_FRAME_BYTES = 1 << 13


@dataclass(frozen=True)
class Wiring:
    """An operand is not what its producer made, not the claim's input, or not the weight.

    Attributes:
        leaf, path: of the producer, in the trace; empty where it is no operator.
    """

    kind: ClassVar[int] = 1
    operand: int
    leaf: bytes = b""
    path: Path = ()

    def body(self) -> bytes:
        return (
            unsigned(self.operand, 2, "operand")
            + sized(self.leaf, 4, "producer's leaf")
            + write_path(self.path)
        )


@dataclass(frozen=True)
class Result:
    """What the operator made is not what the claim gives as the model's output `output`."""

    kind: ClassVar[int] = 2
    output: int

    def body(self) -> bytes:
        return unsigned(self.output, 2, "output")


@dataclass(frozen=True, eq=False)
class Values:
    """The outputs do not follow from the operands.

    Attributes:
        tensors: operands, then outputs; read-only.
        stands: whether the ledger found so.
    """

    kind: ClassVar[int] = 3
    tensors: tuple[Array, ...]
    stands: bool = True

    def body(self) -> bytes:
        parts = [bytes([self.stands]), unsigned(len(self.tensors), 2, "tensors")]
        for array in self.tensors:
            kind = Type(array.dtype.newbyteorder("=").name, array.shape)
            parts += [kind.to_bytes(), sized(raw(array).tobytes(), 4, "tensor")]
        return b"".join(parts)

    @property
    def digests(self) -> tuple[bytes, ...]:
        return tuple(tensor_digests(self.tensors))


Charge: TypeAlias = Wiring | Result | Values


@dataclass(frozen=True, eq=False)
class Accusation:
    """One operator of a claimed trace, and what is said against it.

    Attributes:
        descriptor, descriptor_path: of the operator, in the program.
        leaf, leaf_path: of the operator, in the trace.
    """

    operator: int
    descriptor: bytes
    descriptor_path: Path
    leaf: bytes
    leaf_path: Path
    charge: Charge

    @classmethod
    def of(
        cls, operator: int, descriptors: Tree, descriptor: bytes, trace: Tree, leaf: bytes,
        charge: Charge,
    ) -> Accusation:  # fmt: skip
        """With the paths of both trees."""
        return cls(
            operator, descriptor, descriptors.path(operator), leaf, trace.path(operator), charge
        )

    def move(self) -> PointAt:
        """The move that makes it.

        Raises:
            WireError: more bytes than a ledger takes.
        """
        data = b"".join(
            (
                unsigned(self.operator, 4, "operator"),
                sized(self.descriptor, 4, "descriptor"),
                write_path(self.descriptor_path),
                sized(self.leaf, 4, "leaf"),
                write_path(self.leaf_path),
                bytes([self.charge.kind]),
                self.charge.body(),
            )
        )
        if len(data) >= MAX_POINT_BYTES:
            raise WireError(f"accusation: expected fewer than {MAX_POINT_BYTES} bytes")
        return PointAt(data)

    @property
    def words(self) -> str:
        """For a log."""
        return f"operator {self.operator}: {type(self.charge).__name__.lower()}"

    def ruled(self, stands: bool) -> Accusation:
        """With what the ledger found."""
        assert isinstance(self.charge, Values)
        return replace(self, charge=replace(self.charge, stands=stands))


def accused(data: bytes) -> str:
    """`operator 12`, for people; of bytes that were not read yet."""
    return f"operator {int.from_bytes(data[:4], 'big')}"


def evidence_bytes(descriptor: bytes, leaf_bytes: int, tensors: int) -> int:
    """How large an accusation of an operator can become, at most.

    Args:
        leaf_bytes: of its leaf.
        tensors: bytes of all operands and outputs.
    """
    return len(descriptor) + leaf_bytes + tensors + _FRAME_BYTES


def read_accusation(data: bytes) -> Accusation:
    """The accusation of these bytes, which `move` gives back.

    Raises:
        WireError: other bytes.
    """
    reader = Reader(data, "accusation", MAX_POINT_BYTES)
    operator = reader.unsigned(4, "operator")
    descriptor = reader.sized(4, "descriptor", MAX_DESCRIPTOR_BYTES)
    descriptor_path = read_path(reader)
    leaf = reader.sized(4, "leaf")
    leaf_path = read_path(reader)
    charge = _charge(reader, reader.unsigned(1, "charge"))
    reader.done()
    return Accusation(operator, descriptor, descriptor_path, leaf, leaf_path, charge)


def _charge(reader: Reader, kind: int) -> Charge:
    if kind == Wiring.kind:
        operand = reader.unsigned(2, "operand")
        return Wiring(operand, reader.sized(4, "producer's leaf"), read_path(reader))
    if kind == Result.kind:
        return Result(reader.unsigned(2, "output"))
    if kind == Values.kind:
        stands = reader.flag("stands")
        count = reader.unsigned(2, "tensors")
        if count > _MAX_TENSORS:
            raise WireError(f"accusation: expected at most {_MAX_TENSORS} tensors, got {count}")
        return Values(tuple(_tensor(reader) for _ in range(count)), stands)
    raise WireError(f"accusation: charge: expected 1 to 3, got {kind}")


def _tensor(reader: Reader) -> Array:
    kind = read_type(reader)
    size = size_of(kind)
    data = reader.sized(4, "tensor", MAX_POINT_BYTES)
    if len(data) != size:
        raise WireError(f"accusation: tensor: expected {size} bytes, got {len(data)}")
    assert kind.shape is not None  # `size_of` saw to it
    return np.frombuffer(data, DTYPES[kind.dtype]).reshape(kind.shape)
