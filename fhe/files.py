"""Files of the three roles, around what a scheme writes.

All are containers (`proofml.container`) of canonical JSON (`type`, `version`, `scheme`, ...) and
sections; read strictly, bounded, no pickle. Readers raise `Malformed`.

    key      the owner's: `secret` and the circuit that it is for; mode 0600, perhaps protected
    message  to the server: circuit, input ciphertexts, perhaps the evaluation keys
    ticket   kept by the owner for one message: `secret`, and what it belongs to

The files of circuits and of evaluation keys are the scheme's own.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from proofml import container
from proofml.canonical import JSON, CanonicalError, dumps, loads, sha256, tagged_sha256
from proofml.errors import VerificationError
from proofml.fhe.scheme import Malformed
from proofml.fields import FieldError, Fields
from proofml.statement import MAX_TENSORS
from proofml.tensors import MAX_RANK

KEY_TYPE: Final = "proofml/fhe-key"
MESSAGE_TYPE: Final = "proofml/fhe-message"
TICKET_TYPE: Final = "proofml/fhe-ticket"
VERSION: Final = 1

MAX_KEY_BYTES: Final = 256 << 20
MAX_CIRCUIT_BYTES: Final = 512 << 20
MAX_EVALUATION_BYTES: Final = container.MAX_FILE_BYTES
MAX_CIPHERTEXTS: Final = 4096
_MAX_HEADER_BYTES: Final = 1 << 20
_MAX_DIMENSION: Final = 1 << 40
_COMMITMENT_TAG: Final = "proofml/fhe/ciphertexts/v1"


# -- ciphertexts ----------------------------------------------------------------------------------


def join(ciphertexts: Sequence[bytes]) -> bytes:
    """One section: u32 number, then for each u64 size and bytes, little-endian."""
    parts = [struct.pack("<I", len(ciphertexts))]
    for one in ciphertexts:
        parts += [struct.pack("<Q", len(one)), one]
    return b"".join(parts)


def split(section: bytes, what: str) -> tuple[bytes, ...]:
    """What `join` was given.

    Raises:
        Malformed: anything that it does not write, or more than `MAX_CIPHERTEXTS`.
    """
    count = int.from_bytes(section[:4], "little")
    if len(section) < 4 or not 1 <= count <= MAX_CIPHERTEXTS:
        raise Malformed(what, f"1 to {MAX_CIPHERTEXTS} ciphertexts", count)
    position, found = 4, []
    for index in range(count):
        end = position + 8
        size = int.from_bytes(section[position:end], "little")
        if end + size > len(section):
            raise Malformed(f"{what} {index}", f"{size} bytes", max(0, len(section) - end))
        found.append(section[end : end + size])
        position = end + size
    if position != len(section):
        raise Malformed(what, "no more bytes after the last one", len(section) - position)
    return tuple(found)


def commitment(role: str, section: bytes) -> str:
    """SHA-256 over all ciphertexts of a role, 64 hexadecimal digits."""
    return tagged_sha256(_COMMITMENT_TAG, role.encode("ascii") + b"\0" + section)


# -- key, message, ticket -------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """The owner's own.

    Attributes:
        scheme: name of the backend.
        evaluation: SHA-256 of the file of evaluation keys that belongs to it.
        circuit: bytes of the circuit.
        secret: the scheme's.
    """

    scheme: str
    evaluation: str
    circuit: bytes = field(repr=False)
    secret: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        header: dict[str, JSON] = {
            "circuit": sha256(self.circuit),
            "evaluation": self.evaluation,
            "scheme": self.scheme,
        }
        return _write(KEY_TYPE, header, {"circuit": self.circuit, "secret": self.secret})

    @classmethod
    def read(cls, data: bytes) -> Key:
        what = "key file"
        fields, sections = _read(data, what, KEY_TYPE, {"circuit", "secret"}, MAX_KEY_BYTES)
        try:
            circuit, evaluation = fields.sha256("circuit"), fields.sha256("evaluation")
            scheme = fields.string("scheme", longest=64)
            fields.done()
        except FieldError as error:
            raise _field(what, error) from error
        if sha256(sections["circuit"]) != circuit:
            raise Malformed(f"{what}: circuit", circuit, "another one")
        return cls(scheme, evaluation, sections["circuit"], sections["secret"])


@dataclass(frozen=True)
class Message:
    """What goes to the server; nothing in it is secret.

    Attributes:
        scheme: name of the backend.
        shapes: of the model's inputs, in its order.
        evaluation: SHA-256 of the evaluation keys; `keys` are they, or None where the server is
            given them otherwise.
        circuit: bytes of the circuit.
        inputs: the section of input ciphertexts.
    """

    scheme: str
    shapes: tuple[tuple[int, ...], ...]
    evaluation: str
    circuit: bytes = field(repr=False)
    inputs: bytes = field(repr=False)
    keys: bytes | None = field(default=None, repr=False)

    def to_bytes(self) -> bytes:
        header: dict[str, JSON] = {
            "circuit": sha256(self.circuit),
            "evaluation": self.evaluation,
            "inputs": commitment("inputs", self.inputs),
            "scheme": self.scheme,
            "shapes": [list(shape) for shape in self.shapes],
        }
        sections = {"circuit": self.circuit, "inputs": self.inputs}
        if self.keys is not None:
            sections["evaluation"] = self.keys
        return _write(MESSAGE_TYPE, header, sections)

    @classmethod
    def read(cls, data: bytes) -> Message:
        what = "sealed inputs"
        fields, sections = _read(
            data,
            what,
            MESSAGE_TYPE,
            {"circuit", "inputs"},
            container.MAX_FILE_BYTES,
            optional="evaluation",
        )
        try:
            stated = {
                "circuit": fields.sha256("circuit"),
                "evaluation": fields.sha256("evaluation"),
                "inputs": fields.sha256("inputs"),
            }
            scheme = fields.string("scheme", longest=64)
            shapes = fields.items("shapes", _shape, most=MAX_TENSORS)
            fields.done()
        except FieldError as error:
            raise _field(what, error) from error
        keys = sections.get("evaluation")
        found = {
            "circuit": sha256(sections["circuit"]),
            "evaluation": stated["evaluation"] if keys is None else sha256(keys),
            "inputs": commitment("inputs", sections["inputs"]),
        }
        for name, digest in stated.items():
            if found[name] != digest:
                raise Malformed(f"{what}: {name}", digest, found[name])
        return cls(
            scheme, shapes, stated["evaluation"], sections["circuit"], sections["inputs"], keys
        )


@dataclass(frozen=True)
class Ticket:
    """What opens the outputs of one message, and of no other one.

    Attributes:
        scheme: name of the backend.
        circuit, evaluation: SHA-256 of the files.
        inputs: commitment to the input ciphertexts.
        secret: the scheme's.
    """

    scheme: str
    circuit: str
    evaluation: str
    inputs: str
    secret: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        header: dict[str, JSON] = {
            "circuit": self.circuit,
            "evaluation": self.evaluation,
            "inputs": self.inputs,
            "scheme": self.scheme,
        }
        return _write(TICKET_TYPE, header, {"secret": self.secret})

    @classmethod
    def read(cls, data: bytes) -> Ticket:
        what = "secret"
        fields, sections = _read(data, what, TICKET_TYPE, {"secret"}, MAX_KEY_BYTES)
        try:
            found = cls(
                fields.string("scheme", longest=64),
                fields.sha256("circuit"),
                fields.sha256("evaluation"),
                fields.sha256("inputs"),
                sections["secret"],
            )
            fields.done()
        except FieldError as error:
            raise _field(what, error) from error
        return found


def kind(data: bytes) -> str:
    """The `type` that a container states, or "" where it is none; nothing else is looked at."""
    try:
        head, _ = container.unpack(data)
        value = loads(head, max_bytes=_MAX_HEADER_BYTES)
    except (VerificationError, CanonicalError):
        return ""
    found = value.get("type") if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _write(of: str, header: Mapping[str, JSON], sections: Mapping[str, bytes]) -> bytes:
    return container.pack(dumps({**header, "type": of, "version": VERSION}), sections)


def _read(
    data: bytes, what: str, of: str, names: set[str], most: int, *, optional: str | None = None
) -> tuple[Fields, dict[str, bytes]]:
    if len(data) > most:
        raise Malformed(what, f"at most {most} bytes", len(data))
    try:
        head, sections = container.unpack(data)
    except VerificationError as error:
        raise Malformed(what, error.expected or "a container", error.got or error.reason) from error
    try:
        fields = Fields(loads(head, max_bytes=_MAX_HEADER_BYTES), "")
        found = fields.string("type")
        version = fields.integer("version", 0, 1 << 30)
    except (CanonicalError, FieldError) as error:
        raise Malformed(what, "a header in canonical JSON", error) from error
    if found != of:
        raise Malformed(what, of, found)
    if version != VERSION:
        raise Malformed(f"{what}: version", VERSION, version)
    if set(sections) - {optional} != names:
        raise Malformed(
            f"{what}: sections", ", ".join(sorted(names)), ", ".join(sorted(sections)) or "none"
        )
    return fields, sections


def _field(what: str, error: FieldError) -> Malformed:
    return Malformed(f"{what}: {error.path}", error.expected, error.got)


def _shape(value: object, path: str) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > MAX_RANK:
        raise FieldError(path, f"a list of at most {MAX_RANK} dimensions", value)
    for dim in value:
        if isinstance(dim, bool) or not isinstance(dim, int) or not 0 <= dim <= _MAX_DIMENSION:
            raise FieldError(path, f"dimensions from 0 to {_MAX_DIMENSION}", dim)
    return tuple(value)
