"""A program as a verifier needs it: its header, and how the Statement's tensors become its own.

Canonical JSON whose digest a policy can pin, so that nothing has to be compiled:

    SHA-256("proofml/optimistic/interface/v1" NUL data)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from proofml.canonical import JSON, CanonicalError, dumps, loads, tagged_sha256
from proofml.circuits.codec import encode_input, encode_output
from proofml.circuits.encoding import read_port, write_port
from proofml.circuits.graph import Graph, Ints
from proofml.circuits.graph import Port as Tensor
from proofml.circuits.structure import MAX_NAMES
from proofml.errors import printable
from proofml.fields import FieldError, Fields
from proofml.optimistic import game
from proofml.optimistic.claim import MAX_K_LOG, MAX_PORTS
from proofml.optimistic.commit import header_of, tensor_root
from proofml.optimistic.encoding import MAX_HEADER, BadDescriptor, Header, read_header
from proofml.optimistic.program import Port, Program
from proofml.optimistic.record import CLASSES, classes_of
from proofml.tensors import Array

FORMAT = "proofml-optimistic-interface/1"
TAG = "proofml/optimistic/interface/v1"
MAX_BYTES = 4 << 20
_MOST_MOVES = 1 << 16


@dataclass(frozen=True)
class Interface:
    """What ties Statements to claims about one program.

    Attributes:
        header: of the program.
        inputs, outputs: of the graph, in the order of the program's ports.
        classes: how many nodes of the ONNX graph are of each class.
        defined: names of the nodes of class D.
        moves: of the longest dispute, for k_log 1, 2, ... 6.
    """

    header: Header
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    classes: Mapping[str, int]
    defined: tuple[str, ...]
    moves: tuple[int, ...]

    @classmethod
    def of(cls, graph: Graph, program: Program) -> Interface:
        return cls(
            header_of(program),
            graph.inputs,
            graph.outputs,
            classes_of(graph),
            graph.classes.get("D", ()),
            tuple(game.most_moves(program, k_log) for k_log in range(1, MAX_K_LOG + 1)),
        )

    @cached_property
    def data(self) -> bytes:
        """The canonical bytes."""
        return dumps(
            {
                "format": FORMAT,
                "header": self.header.to_bytes().hex(),
                "inputs": [write_port(port) for port in self.inputs],
                "outputs": [write_port(port) for port in self.outputs],
                "classes": dict(self.classes),
                "defined": list(self.defined),
                "moves": list(self.moves),
            }
        )

    @cached_property
    def digest(self) -> str:
        """What pins the interface; 64 hexadecimal digits."""
        return tagged_sha256(TAG, self.data)

    @property
    def root(self) -> bytes:
        """The program's root."""
        return self.header.root

    @property
    def requests(self) -> int:
        """How many ask a ledger for all inputs, chunk by chunk."""
        return sum(port.cells.chunks for port in self.header.inputs)

    def input_roots(self, tensors: Sequence[Array]) -> tuple[bytes, ...]:
        """Roots of the program's inputs for the Statement's.

        Raises:
            ValueError: a tensor that is none of its port.
        """
        return tuple(
            _root(port, tensor, encode_input(tensor, array))
            for port, tensor, array in zip(self.header.inputs, self.inputs, tensors, strict=True)
        )

    def output_roots(self, tensors: Sequence[Array]) -> tuple[bytes, ...]:
        """Roots of the program's outputs for the Statement's; errors as of `input_roots`."""
        return tuple(
            _root(port, tensor, encode_output(tensor, array))
            for port, tensor, array in zip(self.header.outputs, self.outputs, tensors, strict=True)
        )


def _root(port: Port, tensor: Tensor, codes: Ints) -> bytes:
    """The root of codes, each of which the port's cells can hold."""
    least, most = int(codes.min()), int(codes.max())
    if least < port.cells.low or most > port.cells.high:
        raise ValueError(
            f"{tensor.name}: codes from {least} to {most}, "
            f"expected {port.cells.low} to {port.cells.high}"
        )
    return tensor_root(port.cells, codes)


def read_interface(data: bytes) -> Interface:
    """The interface of these bytes; every way in which they can be wrong is a `FieldError`."""
    try:
        return _read(Fields(loads(data, max_bytes=MAX_BYTES), "interface"))
    except CanonicalError as error:
        raise FieldError("interface", "canonical JSON", printable(error)) from error


def _read(fields: Fields) -> Interface:
    fields.string("format", choices=(FORMAT,))
    try:
        header = read_header(fields.hexadecimal("header", longest=MAX_HEADER))
    except BadDescriptor as error:
        raise FieldError(fields.at("header"), "a program's header", printable(error)) from error
    inputs = fields.items("inputs", read_port, most=MAX_PORTS)
    outputs = fields.items("outputs", read_port, most=MAX_PORTS)
    table = fields.table("classes")
    classes = {name: table.integer(name, 0, MAX_NAMES) for name in CLASSES}
    table.done()
    defined = fields.items("defined", _name, most=MAX_NAMES)
    moves = fields.items("moves", _moves, most=MAX_K_LOG)
    fields.done()
    for key, ports, tensors in (
        ("inputs", header.inputs, inputs),
        ("outputs", header.outputs, outputs),
    ):
        if [port.cells.shape for port in ports] != [tensor.shape for tensor in tensors]:
            raise FieldError(fields.at(key), "the shapes of the header's ports", "others")
    if len(moves) != MAX_K_LOG:
        raise FieldError(fields.at("moves"), f"{MAX_K_LOG} numbers", list[JSON](moves))
    return Interface(header, inputs, outputs, classes, defined, moves)


def _name(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise FieldError(path, "a name", value)
    return value


def _moves(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_MOVES:
        raise FieldError(path, f"an integer from 1 to {_MOST_MOVES}", value)
    return value
