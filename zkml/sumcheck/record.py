"""The Statement's record of an integer computation: `computation.detail`, read strictly.

It names the circuit by digest, so that one line says which function was computed; the other
fields say where the circuit comes from and are compared with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proofml.canonical import JSON
from proofml.circuits.graph import Graph
from proofml.circuits.structure import MAX_NAMES
from proofml.fields import FieldError, Fields
from proofml.statement import Computation
from proofml.zkml.sumcheck.circuit import VERSION, Circuit

KIND = "proofml-int8"
#: The onnxruntime whose integer kernels the operators of class E equal bit for bit (CPU provider).
SEMANTICS = "1.32"
#: Operator classes: exact by integer kernels, exact by table, defined here.
CLASSES = ("E", "T", "D")


@dataclass(frozen=True, slots=True)
class Record:
    """What the Statement says of the computation.

    Attributes:
        circuit: digest of the circuit.
        parameters: of the commitment, not read yet (`params.Params.read`).
        classes: how many nodes of the ONNX graph are of each class.
        quantisation: SHA-256 of the quantisation record; None where the model is quantised itself.
    """

    circuit: str
    parameters: object
    classes: Mapping[str, int]
    quantisation: str | None

    @classmethod
    def read(cls, computation: Computation) -> Record:
        """Raises `FieldError` for anything but a complete record."""
        if computation.kind != KIND:
            raise FieldError("computation.kind", KIND, computation.kind)
        fields = Fields(computation.detail, "computation.detail")
        fields.integer("protocol", VERSION, VERSION)
        fields.string("onnxruntime", choices=(SEMANTICS,))
        parameters = fields.raw("parameters")
        table = fields.table("classes")
        classes = {name: table.integer(name, 0, MAX_NAMES) for name in CLASSES}
        table.done()
        record = None
        if fields.raw("quantisation_sha256") is not None:
            record = fields.sha256("quantisation_sha256")
        result = cls(fields.sha256("circuit_sha256"), parameters, classes, record)
        fields.done()
        return result


def classes_of(graph: Graph) -> dict[str, int]:
    """How many ONNX nodes of each class the circuit was made from."""
    return {name: len(graph.classes.get(name, ())) for name in CLASSES}


def computation(circuit: Circuit, quantisation: str | None) -> Computation:
    """What a prover states."""
    detail: dict[str, JSON] = {
        "protocol": VERSION,
        "onnxruntime": SEMANTICS,
        "circuit_sha256": circuit.digest,
        "parameters": circuit.params.to_json(),
        "classes": classes_of(circuit.graph),
        "quantisation_sha256": quantisation,
    }
    return Computation(KIND, detail)
