"""What a Statement says of a run on ciphertexts.

`computation.detail` names everything that the run depends on; tensors are private, each under a
commitment to all ciphertexts of its role (`sha256-ciphertexts`). A ciphertext fixes what it
decrypts to and, without the secret key, tells nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proofml.canonical import JSON
from proofml.errors import VerificationError
from proofml.fhe.checks import Check, Numbers
from proofml.fields import FieldError, Fields
from proofml.model import TensorSpec
from proofml.statement import Commitment, Statement, TensorClaim, Visibility

SCHEME: Final = "sha256-ciphertexts"
_MAX_LIBRARIES: Final = 8
_MAX_OPERATORS: Final = 1 << 24


@dataclass(frozen=True)
class Trace:
    """Commitment to the ciphertext of every operator: their number, and the root over them."""

    operators: int
    root: str

    def to_json(self) -> dict[str, JSON]:
        return {"operators": self.operators, "root": self.root}


@dataclass(frozen=True)
class Record:
    """`computation.detail`.

    Attributes:
        circuit, evaluation: SHA-256 of the files.
        parameters: digest of the circuit's cryptographic parameters.
        security_bits: what they give.
        libraries: package -> version, of what ran.
        trace: None where none is committed to.
    """

    circuit: str
    evaluation: str
    parameters: str
    security_bits: int
    libraries: Mapping[str, str]
    trace: Trace | None = None

    def to_json(self) -> dict[str, JSON]:
        return {
            "circuit": self.circuit,
            "evaluation": self.evaluation,
            "libraries": dict(self.libraries),
            "parameters": self.parameters,
            "security_bits": self.security_bits,
            "trace": None if self.trace is None else self.trace.to_json(),
        }

    @classmethod
    def read(cls, statement: Statement, numbers: Numbers) -> Record:
        """Raises `VerificationError` of the check on the record."""
        kind = statement.computation.kind
        if kind != numbers.backend:
            numbers.refuse(Check.RECORD, "kind of computation", expected=numbers.backend, got=kind)
        if statement.model.weights_hidden:
            numbers.refuse(
                Check.RECORD, "model", expected="named by digest", got="architecture only"
            )
        fields = Fields(statement.computation.detail, "computation.detail")
        try:
            found = cls(
                fields.sha256("circuit"),
                fields.sha256("evaluation"),
                fields.sha256("parameters"),
                fields.integer("security_bits", 1, 1 << 10),
                _libraries(fields.table("libraries")),
                None if fields.raw("trace") is None else _trace(fields.table("trace")),
            )
            fields.done()
        except FieldError as error:
            raise VerificationError(numbers.of(Check.RECORD), str(error)) from error
        return found


def claims(
    specs: Sequence[TensorSpec], shapes: Sequence[tuple[int, ...]], value: str
) -> tuple[TensorClaim, ...]:
    """Tensors of one role, whose ciphertexts have this commitment."""
    return tuple(
        TensorClaim(
            spec.name,
            spec.dtype,
            shape,
            Visibility.PRIVATE,
            commitment=Commitment(SCHEME, value),
        )
        for spec, shape in zip(specs, shapes, strict=True)
    )


def committed(stated: Sequence[TensorClaim], role: str, numbers: Numbers) -> str:
    """The one commitment of a role; raises `VerificationError` of the check on the interface."""
    found = {one.commitment for one in stated}
    if any(one.visibility is not Visibility.PRIVATE for one in stated):
        shown = ", ".join(f"{one.name}: {one.visibility}" for one in stated)
        numbers.refuse(Check.INTERFACE, role, expected="private tensors", got=shown)
    only = found.pop() if len(found) == 1 else None
    if only is None or only.scheme != SCHEME or len(only.value) != 64:
        numbers.refuse(
            Check.INTERFACE, role, expected=f"one commitment of the scheme {SCHEME}", got="others"
        )
    return only.value


def _libraries(fields: Fields) -> dict[str, str]:
    names = sorted(map(str, fields.mapping))
    if not 1 <= len(names) <= _MAX_LIBRARIES:
        raise FieldError(fields.path, f"1 to {_MAX_LIBRARIES} libraries", len(names))
    return {name: fields.string(name, longest=32) for name in names}


def _trace(fields: Fields) -> Trace:
    found = Trace(fields.integer("operators", 1, _MAX_OPERATORS), fields.sha256("root"))
    fields.done()
    return found
