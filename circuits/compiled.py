"""What the importer makes of an ONNX model: the integer graph, its weights, its origins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proofml.circuits.graph import Graph, Ints


@dataclass(frozen=True)
class Origin:
    """One node of the ONNX graph.

    Attributes:
        name: of its first output; canonical models have no node names.
        operator: `Conv`, or `domain:Name` outside the default domain.
        kind: "E", "T" or "D" as in `Graph.classes`; empty where the node computes nothing
            (reshapes, constants, what is folded into another node).
    """

    name: str
    operator: str
    kind: str


@dataclass(frozen=True)
class CodeTensor:
    """A tensor of the ONNX graph that holds a value's codes: `code = value + zero`.

    Attributes:
        name: in the canonical model.
        dtype: uint8 or int8.
    """

    name: str
    dtype: str
    zero: int


@dataclass(frozen=True)
class Compiled:
    """A compiled model.

    Attributes:
        graph: the description that the verifier pins or recomputes.
        weights: value number of each Weight node -> its centred numbers, int64, of its shape.
        origins: the ONNX nodes, in their order.
        names: value number -> name of the ONNX node that it was made for, for messages.
        codes: value number -> the tensor that a node of the ONNX graph makes of it, where one does.
    """

    graph: Graph
    weights: Mapping[int, Ints]
    origins: tuple[Origin, ...]
    names: Mapping[int, str]
    codes: Mapping[int, CodeTensor] = field(default_factory=dict)
