"""What a proof carries: the Statement's record of the computation, and where the claim is.

`computation.detail` names the program by its root. The evidence `claim` is canonical JSON: which
ledger, which number, and the bytes of the claim's terms. A verifier believes neither: it computes
the terms' roots itself, and asks the ledger that its policy pins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proofml.canonical import JSON, CanonicalError, dumps, loads
from proofml.circuits.graph import Graph
from proofml.circuits.structure import MAX_NAMES
from proofml.errors import printable
from proofml.fields import FieldError, Fields
from proofml.optimistic.claim import MAX_TERMS_BYTES, Terms
from proofml.optimistic.wire import WireError
from proofml.statement import Computation

KIND = "proofml-optimistic"
PROTOCOL = 1
#: The onnxruntime whose integer kernels the operators of class E equal bit for bit (CPU provider).
SEMANTICS = "1.32"
#: Operator classes: exact by integer kernels, exact by table, defined here.
CLASSES = ("E", "T", "D")

#: Names of the evidence.
CLAIM, QUANTISATION = "claim", "quantisation"
MAX_CLAIM_BYTES = 4 * MAX_TERMS_BYTES
MAX_NUMBER = 1 << 53
LEDGER_NAME_BYTES = 32
_ADDRESS_BYTES = 20


@dataclass(frozen=True, slots=True)
class Record:
    """What the Statement says of the computation.

    Attributes:
        program: root of the program.
        classes: how many nodes of the ONNX graph are of each class.
        quantisation: SHA-256 of the quantisation record; None where the model is quantised itself.
    """

    program: str
    classes: Mapping[str, int]
    quantisation: str | None

    @classmethod
    def read(cls, computation: Computation) -> Record:
        """Raises `FieldError` for anything but a complete record."""
        if computation.kind != KIND:
            raise FieldError("computation.kind", KIND, computation.kind)
        fields = Fields(computation.detail, "computation.detail")
        fields.integer("protocol", PROTOCOL, PROTOCOL)
        fields.string("onnxruntime", choices=(SEMANTICS,))
        table = fields.table("classes")
        classes = {name: table.integer(name, 0, MAX_NAMES) for name in CLASSES}
        table.done()
        record = None
        if fields.raw("quantisation_sha256") is not None:
            record = fields.sha256("quantisation_sha256")
        result = cls(fields.sha256("program"), classes, record)
        fields.done()
        return result


def classes_of(graph: Graph) -> dict[str, int]:
    """How many ONNX nodes of each class the program was made from."""
    return {name: len(graph.classes.get(name, ())) for name in CLASSES}


def computation(
    program: bytes, classes: Mapping[str, int], quantisation: str | None
) -> Computation:
    """What a prover states."""
    detail: dict[str, JSON] = {
        "protocol": PROTOCOL,
        "onnxruntime": SEMANTICS,
        "program": program.hex(),
        "classes": dict(classes),
        "quantisation_sha256": quantisation,
    }
    return Computation(KIND, detail)


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """Where a claim is, and what it says.

    Attributes:
        ledger: `{"kind": "sqlite", "name": HEX}`, or `{"kind": "evm", "chain_id": INTEGER,
            "contract": "0x" HEX}`.
        number: of the claim on that ledger.
        terms: of the claim.
    """

    ledger: Mapping[str, JSON]
    number: int
    terms: Terms

    def to_bytes(self) -> bytes:
        return dumps(
            {
                "version": PROTOCOL,
                "ledger": dict(self.ledger),
                "number": self.number,
                "terms": self.terms.to_bytes().hex(),
            }
        )

    @classmethod
    def read(cls, data: bytes) -> ClaimRecord:
        """Raises `FieldError` for anything that `to_bytes` would not have written."""
        try:
            fields = Fields(loads(data, max_bytes=MAX_CLAIM_BYTES), CLAIM)
            fields.integer("version", PROTOCOL, PROTOCOL)
            ledger = _ledger(fields.table("ledger"))
            number = fields.integer("number", 1, MAX_NUMBER)
            terms = Terms.read(fields.hexadecimal("terms", longest=MAX_TERMS_BYTES))
            fields.done()
        except (CanonicalError, WireError) as error:
            raise FieldError(CLAIM, "the record of a claim", printable(error)) from error
        return cls(ledger, number, terms)


def _ledger(fields: Fields) -> Mapping[str, JSON]:
    if fields.string("kind", choices=("sqlite", "evm")) == "sqlite":
        _bytes(fields, "name", LEDGER_NAME_BYTES)
    else:
        fields.integer("chain_id", 1, MAX_NUMBER)
        read_address(fields.raw("contract"), fields.at("contract"))
    fields.done()
    return dict(fields.mapping)


def _bytes(fields: Fields, key: str, size: int) -> None:
    found = fields.hexadecimal(key, longest=size)
    if len(found) != size:
        raise FieldError(fields.at(key), f"{size} bytes", fields.raw(key))


def read_address(value: object, path: str) -> str:
    """An Ethereum address in lower case."""
    digits = value[2:] if isinstance(value, str) and value.startswith("0x") else ""
    if len(digits) != 2 * _ADDRESS_BYTES or set(digits) - set("0123456789abcdef"):
        raise FieldError(path, "0x and 40 lower-case hexadecimal digits", value)
    return f"0x{digits}"
