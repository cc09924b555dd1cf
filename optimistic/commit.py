"""Roots: of a tensor, of a program, of a run.

tensor     tree over chunks of its cells' bytes
program    SHA-256 of 0x02 and the *header*, which ends with the root over all descriptors
trace      tree over one leaf for each operator: which tensors it read, which one it made

leaf       u32 operator | u16 n, n * 32 input root | 32 output root
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from proofml.optimistic import merkle
from proofml.optimistic.cells import Ints, encode
from proofml.optimistic.encoding import Header as Header
from proofml.optimistic.encoding import read_header as read_header
from proofml.optimistic.merkle import Bytes, Tree
from proofml.optimistic.program import CHUNK, Cells, Program, Source
from proofml.optimistic.wire import HASH, Reader, WireError, hashes, unsigned

#: A move holds a leaf of the trace behind a length of two bytes.
MAX_LEAF = (1 << 16) - 1


# ---------------------------------------------------------------- tensors
@dataclass(frozen=True, eq=False)
class Committed:
    """Bytes in leaves of one length (the last one shorter), and the tree over them."""

    data: Bytes
    leaf_bytes: int
    tree: Tree

    @property
    def root(self) -> bytes:
        return self.tree.root

    def leaf(self, index: int) -> bytes:
        if not 0 <= index < self.tree.count:
            raise ValueError(f"leaf {index}: expected one of {self.tree.count}")
        return self.data[index * self.leaf_bytes : (index + 1) * self.leaf_bytes].tobytes()

    def opening(self, index: int) -> tuple[bytes, tuple[bytes, ...]]:
        """A leaf and its path."""
        return self.leaf(index), self.tree.path(index)


def commit_bytes(data: Bytes, leaf_bytes: int) -> Committed:
    return Committed(data, leaf_bytes, merkle.tree_of_chunks(data, leaf_bytes))


def commit_tensor(cells: Cells, values: Ints) -> Committed:
    """A tensor's bytes and the tree over their chunks."""
    return commit_bytes(encode(cells, values), CHUNK)


def tensor_root(cells: Cells, values: Ints) -> bytes:
    return commit_tensor(cells, values).root


# ---------------------------------------------------------------- programs
def descriptor_tree(descriptors: Sequence[bytes]) -> Tree:
    return merkle.tree_of_leaves(descriptors)


def header_of(program: Program) -> Header:
    inputs, outputs = (
        tuple(replace(port, name="") for port in ports)
        for ports in (program.inputs, program.outputs)
    )
    return Header(len(program.operators), inputs, outputs, program.root)


def program_root(program: Program) -> bytes:
    """What stands in a claim and in a verifier's policy."""
    return header_of(program).root


# ---------------------------------------------------------------- traces
@dataclass(frozen=True)
class TraceLeaf:
    """One operator of a run: which tensors it read and which one it made, by their roots.

    Attributes:
        index: of the operator.
        inputs: in the order of `Operator.operands`.
    """

    index: int
    inputs: tuple[bytes, ...]
    output: bytes

    def to_bytes(self) -> bytes:
        data = b"".join(
            (
                unsigned(self.index, 4, "operator"),
                unsigned(len(self.inputs), 2, "inputs"),
                hashes(self.inputs, "input roots"),
                hashes((self.output,), "output root"),
            )
        )
        if len(data) > MAX_LEAF:
            raise WireError(f"leaf: expected at most {MAX_LEAF} bytes, got {len(data)}")
        return data


class BadLeaf(WireError):
    """Bytes that are no leaf of a trace."""


def read_leaf(data: bytes) -> TraceLeaf:
    """The leaf of these bytes, which `to_bytes` gives back.

    Raises:
        BadLeaf: other bytes.
    """
    try:
        reader = Reader(data, "leaf", MAX_LEAF)
        index = reader.unsigned(4, "operator")
        inputs = reader.hashes(reader.unsigned(2, "inputs"), "input roots")
        output = reader.take(HASH, "output root")
        reader.done()
    except WireError as error:
        raise BadLeaf(str(error)) from error
    return TraceLeaf(index, inputs, output)


def trace_tree(leaves: Sequence[TraceLeaf]) -> Tree:
    return merkle.tree_of_leaves([leaf.to_bytes() for leaf in leaves])


def leaves_of(
    program: Program, inputs: Sequence[bytes], outputs: Sequence[bytes]
) -> tuple[TraceLeaf, ...]:
    """The leaves of a run, wired as the program says.

    Args:
        inputs: roots of the program's inputs.
        outputs: roots of all operators' outputs.
    """
    roots = {Source.INPUT: inputs, Source.OPERATOR: outputs}
    return tuple(
        TraceLeaf(
            number,
            tuple(
                operand.root
                if operand.source is Source.WEIGHT
                else roots[operand.source][operand.index]
                for operand in operator.operands
            ),
            outputs[number],
        )
        for number, operator in enumerate(program.operators)
    )
