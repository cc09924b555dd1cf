"""Keys and ciphertexts as files: what Concrete writes, and what belongs together.

All are containers of canonical JSON and one body. `parameters` is the digest of the parameters of
the circuit, `key` the SHA-256 of Concrete's evaluation keys: it is in the secret key and in every
ciphertext that was made under it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from proofml.canonical import JSON, dumps, sha256
from proofml.container import pack
from proofml.fhe.concrete import keyset
from proofml.fhe.concrete.circuit import open_container
from proofml.fhe.concrete.program import Program
from proofml.fhe.scheme import Malformed
from proofml.fields import FieldError, Fields

SECRET_TYPE = "proofml/concrete-secret"
EVALUATION_TYPE = "proofml/concrete-evaluation"
CIPHERTEXT_TYPE = "proofml/concrete-ciphertext"
VERSION = 1
#: Concrete's own words around bodies: descriptions of keys, seeds, alignment.
_HEADERS = 1 << 12
_BODY = "body"


@dataclass(frozen=True)
class EvaluationKeys:
    """What server and verifier hold; public."""

    data: bytes
    key: str
    body: bytes


@dataclass(frozen=True)
class SecretKey:
    """Every secret key of the circuit's parameters, as Concrete writes one."""

    data: bytes
    key: str
    bodies: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"SecretKey(key={self.key!r})"


def write_evaluation(program: Program, body: bytes) -> EvaluationKeys:
    header: dict[str, JSON] = _header(EVALUATION_TYPE, program)
    return EvaluationKeys(pack(dumps(header), {_BODY: body}), sha256(body), body)


def read_evaluation(data: bytes, program: Program) -> EvaluationKeys:
    """Raises `Malformed`, also for keys of other parameters, or that say to be (`keyset`)."""
    what = "evaluation keys"
    _, body = _open(data, what, EVALUATION_TYPE, program)
    _size(what, body, program.evaluation_bytes, _HEADERS * (1 + len(program.secrets)))
    keyset.check(body, program.data)
    return EvaluationKeys(data, sha256(body), body)


def write_secret(program: Program, key: str, bodies: tuple[bytes, ...]) -> SecretKey:
    header = _header(SECRET_TYPE, program) | {"key": key}
    packed = b"".join(struct.pack("<I", len(body)) + body for body in bodies)
    return SecretKey(pack(dumps(header), {_BODY: packed}), key, bodies)


def read_secret(data: bytes, program: Program) -> SecretKey:
    """Raises `Malformed`, also for a key of other parameters. Nothing of a key is quoted."""
    what = "secret key"
    fields, packed = _open(data, what, SECRET_TYPE, program)
    bodies = []
    position = 0
    for dimension in program.secrets:
        size = int.from_bytes(packed[position : position + 4], "little")
        body = packed[position + 4 : position + 4 + size]
        position += 4 + size
        if len(body) != size:
            raise Malformed(what, "a whole file", "one that is cut short")
        _size(what, body, 8 * dimension, _HEADERS)
        bodies.append(body)
    if position != len(packed):
        raise Malformed(what, f"{len(program.secrets)} keys", "more bytes")
    return SecretKey(data, _key(fields, what), tuple(bodies))


def write_ciphertext(program: Program, key: str, role: str, body: bytes) -> bytes:
    return pack(
        dumps(_header(CIPHERTEXT_TYPE, program) | {"key": key, "role": role}), {_BODY: body}
    )


def read_ciphertext(data: bytes, program: Program, key: str, role: str) -> bytes:
    """Concrete's bytes of a ciphertext under `key`, of `role` input or output.

    Raises:
        Malformed: another role, another client's key, other parameters, another size.
    """
    what = f"{role} ciphertext"
    fields, body = _open(data, what, CIPHERTEXT_TYPE, program)
    try:
        found = fields.string("role", choices=("input", "output"))
    except FieldError as error:
        raise Malformed(what, error.expected, error.got) from error
    if found != role:
        raise Malformed(what, f"one of role {role}", found)
    owner = _key(fields, what)
    if owner != key:
        raise Malformed(what, f"one under the key {key}", owner)
    size = program.input_bytes if role == "input" else program.output_bytes
    _size(what, body, size, _HEADERS)
    return body


def _header(kind: str, program: Program) -> dict[str, JSON]:
    return {"type": kind, "version": VERSION, "parameters": program.parameters}


def _open(data: bytes, what: str, kind: str, program: Program) -> tuple[Fields, bytes]:
    # Sizes are known before anything is copied.
    most = max(program.evaluation_bytes, program.input_bytes, program.output_bytes)
    most = max(most, 8 * sum(program.secrets)) + _HEADERS * (4 + len(program.secrets))
    if len(data) > most:
        raise Malformed(what, f"at most {most} bytes", len(data))
    fields, sections = open_container(data, what, kind, VERSION)
    if set(sections) != {_BODY}:
        raise Malformed(what, "one section, body", ", ".join(sorted(sections)) or "none")
    try:
        parameters = fields.sha256("parameters")
    except FieldError as error:
        raise Malformed(what, error.expected, error.got) from error
    if parameters != program.parameters:
        raise Malformed(f"{what}: parameters", program.parameters, parameters)
    if kind == EVALUATION_TYPE:
        _done(fields, what)
    return fields, sections[_BODY]


def _key(fields: Fields, what: str) -> str:
    try:
        key = fields.sha256("key")
    except FieldError as error:
        raise Malformed(what, error.expected, error.got) from error
    _done(fields, what)
    return key


def _done(fields: Fields, what: str) -> None:
    try:
        fields.done()
    except FieldError as error:
        raise Malformed(what, error.expected, error.got) from error


def _size(what: str, body: bytes, expected: int, slack: int) -> None:
    if not expected <= len(body) <= expected + slack:
        raise Malformed(f"{what}: size", f"{expected} bytes and at most {slack} more", len(body))
