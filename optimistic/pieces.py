"""Cuts a quantised ONNX model into pieces between which nothing but codes goes.

Each piece is a model of its own, with the codes that operators make as outputs. A cut lies where
every tensor that is still to be read is one of codes, so that no kernel that onnxruntime fuses
around a float tensor is torn apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from proofml.circuits.graph import Shape

#: About so many pieces, of at least so many bytes of codes each.
PIECES = 8
LEAST = 1 << 18


@dataclass(frozen=True)
class Piece:
    """Consecutive nodes.

    Attributes:
        model: them, as a model.
        inputs, outputs: names, those of the whole model among them.
        free: names that no later piece reads, and nobody asked for.
    """

    model: ModelProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    free: tuple[str, ...]


def cut(
    proto: ModelProto, codes: Mapping[str, Shape], shown: Sequence[str], kept: Sequence[str]
) -> list[Piece]:
    """The pieces, in the order in which they run.

    Args:
        proto: canonical: nodes in topological order, no sub-graphs.
        codes: uint8 tensors that nodes make, and their shapes.
        shown: which of them every piece puts out.
        kept: tensors that are wanted at the end, besides.
    """
    return _Cutter(proto, codes, frozenset(shown), frozenset(kept)).pieces()


class _Cutter:
    def __init__(
        self,
        proto: ModelProto,
        codes: Mapping[str, Shape],
        shown: frozenset[str],
        kept: frozenset[str],
    ) -> None:
        self.proto = proto
        self.codes = codes
        self.shown = shown
        self.kept = kept | {value.name for value in proto.graph.output}
        self.constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self.fixed: dict[str, NodeProto] = {}  # made of constants: belongs to whoever reads it
        self.nodes: list[NodeProto] = []
        for node in proto.graph.node:
            if all(not n or n in self.constants or n in self.fixed for n in node.input):
                self.fixed |= dict.fromkeys(node.output, node)
            else:
                self.nodes.append(node)
        self.last = {n: i for i, node in enumerate(self.nodes) for n in node.input}

    def pieces(self) -> list[Piece]:
        total = sum(self._bytes(node) for node in self.nodes)
        target = max(LEAST, -(-total // PIECES))
        found, begin, size = [], 0, 0
        live: set[str] = set()
        for i, node in enumerate(self.nodes):
            size += self._bytes(node)
            live |= {name for name in node.output if self.last.get(name, -1) > i}
            live = {name for name in live if self.last[name] > i}
            end = i + 1 == len(self.nodes)
            if end or (size >= target and live <= self.codes.keys()):
                found.append(self._piece(begin, i + 1))
                begin, size = i + 1, 0
        return found

    def _bytes(self, node: NodeProto) -> int:
        """Of the codes that are hashed."""
        total = 0
        for name in node.output:
            if name in self.shown:
                total += math.prod(self.codes[name])
        return total

    def _piece(self, begin: int, end: int) -> Piece:
        nodes = self.nodes[begin:end]
        made = {name for node in nodes for name in node.output if name}
        read = {name for node in nodes for name in node.input if name}
        fixed, constants = self._fixed(read)
        inputs = sorted(read - made - self.constants.keys() - self.fixed.keys())
        outputs = sorted(
            name
            for name in made
            if name in self.shown or name in self.kept or self.last.get(name, -1) >= end
        )
        free = sorted(
            name
            for name in {*inputs, *outputs}
            if self.last.get(name, -1) < end and name not in self.kept
        )
        graph = helper.make_graph(
            [*fixed, *nodes],
            f"nodes {begin} to {end}",
            [self._input(name) for name in inputs],
            [],
            [self.constants[name] for name in constants],
        )
        for name in outputs:
            graph.output.add(name=name)
        model = ModelProto()
        model.CopyFrom(self.proto)
        model.graph.CopyFrom(graph)
        return Piece(model, tuple(inputs), tuple(outputs), tuple(free))

    def _fixed(self, read: set[str]) -> tuple[list[NodeProto], list[str]]:
        """Nodes that are made of constants, in order, and constants, that names depend on."""
        wanted = set(read)
        for node in reversed(self.proto.graph.node):
            if wanted.intersection(node.output) and node.output[0] in self.fixed:
                wanted |= set(node.input)
        order = [
            node
            for node in self.proto.graph.node
            if node.output[0] in self.fixed and wanted.intersection(node.output)
        ]
        return order, sorted(wanted & self.constants.keys())

    def _input(self, name: str) -> ValueInfoProto:
        known: dict[str, ValueInfoProto] = {value.name: value for value in self.proto.graph.input}
        if name in known:
            return known[name]
        made: ValueInfoProto = helper.make_tensor_value_info(
            name, TensorProto.UINT8, self.codes[name]
        )
        return made
