"""Containers of this scheme: canonical JSON that says what it is, and sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from proofml.canonical import JSON, CanonicalError, dumps, loads
from proofml.container import pack, unpack
from proofml.errors import VerificationError
from proofml.fhe.scheme import Malformed
from proofml.fields import FieldError, Fields

VERSION = 1


def write(kind: str, header: Mapping[str, JSON], sections: Mapping[str, bytes]) -> bytes:
    """The file's bytes; raises `ValueError` for what could not be read back."""
    return pack(dumps({**header, "type": kind, "version": VERSION}), sections)


def read(
    data: bytes, what: str, kind: str, names: frozenset[str], most: int
) -> tuple[Fields, dict[str, bytes]]:
    """The header's other fields, and the sections, which have exactly these names.

    Raises:
        Malformed: anything that `write` does not write.
    """
    if len(data) > most:
        raise Malformed(what, f"at most {most} bytes", len(data))
    try:
        first, sections = unpack(data)
    except VerificationError as error:
        raise Malformed(what, error.expected or "a container", error.got or error.reason) from error
    try:
        fields = Fields(loads(first), "")
        found = fields.string("type")
        version = fields.integer("version", 0, 1 << 30)
    except (CanonicalError, FieldError) as error:
        raise Malformed(what, "a header in canonical JSON", error) from error
    if found != kind:
        raise Malformed(what, kind, found)
    if version != VERSION:
        raise Malformed(f"{what}: version", VERSION, version)
    if set(sections) != names:
        raise Malformed(
            f"{what}: sections", ", ".join(sorted(names)), ", ".join(sorted(sections)) or "none"
        )
    return fields, sections


@contextmanager
def strict(what: str) -> Iterator[None]:
    """Errors of fields as errors of the thing that they stand in."""
    try:
        yield
    except FieldError as error:
        raise Malformed(f"{what}: {error.path}", error.expected, error.got) from error
