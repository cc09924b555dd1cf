"""The circuit: all that a verifier has to know of a model, in a few kilobytes.

Its digest is what the Statement's `computation` names and what a verifier without the model
pins:

    SHA-256("proofml/sumcheck/circuit/v1" NUL canonical JSON of
            {graph, model_root, parameters, visibility, version})

Layout and tables are functions of the graph.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from functools import cached_property

from proofml.canonical import JSON, CanonicalError, dumps, loads, tagged_sha256
from proofml.circuits.encoding import graph_to_json, read_graph
from proofml.circuits.graph import Graph
from proofml.errors import printable
from proofml.fields import FieldError, Fields
from proofml.zkml.sumcheck.count import count
from proofml.zkml.sumcheck.layout import MODEL, Layout, Visibility, arrange
from proofml.zkml.sumcheck.params import Params
from proofml.zkml.sumcheck.soundness import Report, Shape, soundness_report

VERSION = 1
TAG = "proofml/sumcheck/circuit/v1"
MAX_BYTES = 64 << 20
PUBLIC = Visibility()


@dataclass(frozen=True)
class Circuit:
    """`model_root` is the root of the tree of weights, None where there are none."""

    graph: Graph
    params: Params
    model_root: bytes | None
    visibility: Visibility = PUBLIC

    @cached_property
    def layout(self) -> Layout:
        return arrange(self.graph, self.visibility)

    def to_json(self) -> dict[str, JSON]:
        return {
            "version": VERSION,
            "graph": graph_to_json(self.graph),
            "parameters": self.params.to_json(),
            "model_root": None if self.model_root is None else self.model_root.hex(),
            "visibility": {"inputs": self.visibility.inputs, "outputs": self.visibility.outputs},
        }

    @cached_property
    def bytes(self) -> bytes:
        """The canonical bytes: a verifying key."""
        return dumps(self.to_json())

    @cached_property
    def digest(self) -> str:
        """What pins the circuit; 64 hexadecimal digits."""
        return tagged_sha256(TAG, self.bytes)

    @classmethod
    def read(cls, data: builtins.bytes) -> Circuit:
        """A verifying key from its bytes.

        Raises:
            FieldError, CanonicalError: anything that `bytes` would not have written.
        """
        fields = Fields(loads(data, max_bytes=MAX_BYTES), "circuit")
        fields.integer("version", VERSION, VERSION)
        graph = read_graph(fields.raw("graph"))
        params = Params.read(fields.raw("parameters"), fields.at("parameters"))
        root = None
        if fields.raw("model_root") is not None:
            root = bytes.fromhex(fields.sha256("model_root"))
        seen = fields.table("visibility")
        visibility = Visibility(seen.boolean("inputs"), seen.boolean("outputs"))
        seen.done()
        fields.done()
        result = cls(graph, params, root, visibility)
        try:
            trees, _ = result.layout.trees, result.shape
        except ValueError as error:  # ranges, tables or claims out of bounds
            raise FieldError("circuit.graph", "a circuit within bounds", str(error)) from error
        if (MODEL in trees) != (root is not None):
            raise FieldError("circuit.model_root", "a root exactly where there are weights", root)
        return result

    @cached_property
    def report(self) -> Report:
        """Soundness of a proof for this circuit."""
        return soundness_report(self.params, self.shape)

    @cached_property
    def shape(self) -> Shape:
        """The sizes that enter soundness."""
        return count(self.layout)


def read_circuit(data: bytes) -> Circuit:
    """A verifying key; every way in which it can be wrong is a `FieldError`."""
    try:
        return Circuit.read(data)
    except FieldError:
        raise
    except (CanonicalError, ValueError) as error:
        raise FieldError("circuit", "a verifying key", printable(error)) from error
