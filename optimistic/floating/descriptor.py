"""Types, references and descriptors of a plan, read from bytes of strangers.

`plan` writes them; here they are read strictly, and without ONNX: a node stays the bytes of its
NodeProto until a worker runs it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofml.optimistic.floating.digests import CODES
from proofml.optimistic.floating.node import Node
from proofml.optimistic.floating.plan import VERSION, Operator, Ref, Type
from proofml.optimistic.floating.rules import kind_of
from proofml.optimistic.program import Source
from proofml.optimistic.wire import Reader, WireError
from proofml.tensors import MAX_RANK, MAX_TENSOR_BYTES

_NAMES = {code: name for name, code in CODES.items()}
MAX_DESCRIPTOR_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Bound:
    """A reference, with the digest of the weight that it is to; None where it is to none."""

    ref: Ref
    weight: bytes | None = None

    def to_bytes(self) -> bytes:
        return self.ref.head + (self.weight or b"")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One operator as the program's tree has it.

    Attributes:
        nodes: bytes of its NodeProtos, values named `i..`, `m..`, `o..`.
        inputs: where its operands come from, in order.
        types: of its outputs, by port.
    """

    opset: int
    nodes: tuple[bytes, ...]
    inputs: tuple[Bound, ...]
    types: tuple[Type, ...]

    def operator(self, index: int) -> Operator:
        """What a `Judge` judges; for workers, as it parses protocol buffers.

        Raises:
            UnsupportedModel: an operator without a rule.
        """
        from onnx import NodeProto

        nodes = tuple(Node(NodeProto.FromString(data), self.opset) for data in self.nodes)
        dtypes = [np.dtype(kind.dtype) for kind in self.types]
        return Operator(
            index,
            nodes,
            tuple(f"i{number}" for number in range(len(self.inputs))),
            tuple(bound.ref for bound in self.inputs),
            tuple(f"o{number}" for number in range(len(self.types))),
            self.types,
            kind_of(nodes[-1], dtypes),
        )


def read_descriptor(data: bytes) -> Descriptor:
    """The descriptor of these bytes.

    Raises:
        WireError: other bytes.
    """
    reader = Reader(data, "descriptor", MAX_DESCRIPTOR_BYTES)
    version = reader.unsigned(1, "version")
    if version != VERSION:
        raise WireError(f"descriptor: version: expected {VERSION}, got {version}")
    opset = reader.unsigned(2, "opset")
    nodes = tuple(reader.sized(4, "node") for _ in range(reader.unsigned(1, "nodes")))
    inputs = tuple(read_ref(reader) for _ in range(reader.unsigned(2, "operands")))
    types = tuple(read_type(reader) for _ in range(reader.unsigned(2, "outputs")))
    reader.done()
    if not nodes or not types:
        raise WireError("descriptor: expected at least one node and one output")
    return Descriptor(opset, nodes, inputs, types)


def read_ref(reader: Reader) -> Bound:
    """A reference; a weight's has its digest."""
    code = reader.unsigned(1, "source")
    if code not in (Source.INPUT, Source.WEIGHT, Source.OPERATOR):
        raise WireError(f"reference: source: expected 0 to 2, got {code}")
    ref = Ref(Source(code), reader.unsigned(4, "index"), reader.unsigned(2, "port"))
    if ref.source is not Source.OPERATOR and ref.port:
        raise WireError(f"reference: expected port 0, got {ref.port}")
    return Bound(ref, reader.hash("weight") if ref.source is Source.WEIGHT else None)


def read_type(reader: Reader) -> Type:
    """An element type with dims, where they are known."""
    code = reader.unsigned(1, "element type")
    if code not in _NAMES:
        raise WireError(f"type: expected an element type below {len(_NAMES)}, got {code}")
    if not reader.flag("whether dims are known"):
        return Type(_NAMES[code], None)
    rank = reader.unsigned(1, "rank")
    if rank > MAX_RANK:
        raise WireError(f"type: expected at most {MAX_RANK} dims, got {rank}")
    found = Type(_NAMES[code], tuple(reader.unsigned(4, "dim") for _ in range(rank)))
    if size_of(found) > MAX_TENSOR_BYTES:
        raise WireError(f"type: expected at most {MAX_TENSOR_BYTES} bytes")
    return found


def size_of(kind: Type) -> int:
    """Bytes of a tensor whose dims are known; exact, however large they are.

    Raises:
        WireError: they are not known.
    """
    if kind.shape is None:
        raise WireError("type: expected known dims")
    size = np.dtype(kind.dtype).itemsize
    for dim in kind.shape:
        size *= dim
    return size
