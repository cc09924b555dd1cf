"""The `.pml` container: a magic, a version, and named sections; nothing else fits in between.

    offset  size  field
    0       8     magic 93 50 4D 4C 0D 0A 1A 0A
    8       2     version, little-endian, 1
    10      2     number of sections, 1..4096
    then for each section
            1     length of its name, 1..64
            n     name: lower-case ASCII letters, digits, `.`, `-`, `_`
            8     size of its body, little-endian
            m     body

The first section is `attestation`; the others follow in strictly ascending order of their names.
One content has one byte string: what `pack` writes is all that `unpack` reads.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from proofml.errors import VerificationError

MAGIC = b"\x93PML\r\n\x1a\n"
VERSION = 1
ATTESTATION = "attestation"
MAX_SECTIONS = 4096
MAX_ATTESTATION_BYTES = 4 << 20
MAX_FILE_BYTES = 2 << 30
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_CHECK = "core.1"


def pack(attestation: bytes, sections: Mapping[str, bytes]) -> bytes:
    """The file's bytes; raises `ValueError` for names or sizes that could not be read back."""
    if len(attestation) > MAX_ATTESTATION_BYTES:
        raise ValueError(
            f"attestation of {len(attestation)} bytes, at most {MAX_ATTESTATION_BYTES}"
        )
    if len(sections) >= MAX_SECTIONS:
        raise ValueError(f"{len(sections)} sections, at most {MAX_SECTIONS - 1} besides the first")
    parts = [MAGIC, struct.pack("<HH", VERSION, 1 + len(sections))]
    for name, body in [(ATTESTATION, attestation), *sorted(sections.items())]:
        if not NAME.fullmatch(name) or (name == ATTESTATION and len(parts) > 2):
            raise ValueError(f"section name {name!r} is not allowed")
        parts += [struct.pack("<B", len(name)), name.encode("ascii"), struct.pack("<Q", len(body))]
        parts.append(body)
    size = sum(map(len, parts))
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{size} bytes, at most {MAX_FILE_BYTES}")
    return b"".join(parts)


def unpack(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Split a file into its attestation and its other sections.

    Raises:
        VerificationError: check core.1, for every byte string that `pack` would not write.
    """
    view = memoryview(data)
    position = 0
    if len(view) > MAX_FILE_BYTES:
        raise VerificationError(
            _CHECK, "file size", expected=f"at most {MAX_FILE_BYTES}", got=len(view)
        )

    def take(size: int, what: str) -> bytes:
        nonlocal position
        if size > len(view) - position:
            raise VerificationError(
                _CHECK,
                f"file ends inside {what} at offset {position}",
                expected=f"{size} more bytes",
                got=len(view) - position,
            )
        position += size
        return bytes(view[position - size : position])

    if take(8, "the magic") != MAGIC:
        raise VerificationError(_CHECK, "not a .pml file", expected=MAGIC.hex(), got=data[:8].hex())
    version, count = struct.unpack("<HH", take(4, "the header"))
    if version != VERSION:
        raise VerificationError(_CHECK, "container version", expected=VERSION, got=version)
    if not 1 <= count <= MAX_SECTIONS:
        raise VerificationError(
            _CHECK, "number of sections", expected=f"1..{MAX_SECTIONS}", got=count
        )
    attestation = b""
    sections: dict[str, bytes] = {}
    previous = ""
    for index in range(count):
        raw = take(take(1, "a section's name")[0], "a section's name")
        name = raw.decode("ascii", errors="replace")
        if not NAME.fullmatch(name):
            raise VerificationError(_CHECK, f"name of section {index}: {raw[:64]!r} is not allowed")
        size = int.from_bytes(take(8, f"the size of section {name}"), "little")
        if index == 0:
            if name != ATTESTATION or size > MAX_ATTESTATION_BYTES:
                raise VerificationError(
                    _CHECK,
                    "first section",
                    expected=f"{ATTESTATION} of at most {MAX_ATTESTATION_BYTES} bytes",
                    got=f"{name} of {size} bytes",
                )
            attestation = take(size, name)
            continue
        if name == ATTESTATION or name <= previous:
            raise VerificationError(
                _CHECK,
                f"section {index} is out of order or a duplicate",
                expected=f"a name after {previous or ATTESTATION!r}",
                got=name,
            )
        sections[name] = take(size, name)
        previous = name
    if position != len(view):
        raise VerificationError(
            _CHECK, "bytes after the last section", expected="end of file", got=len(view) - position
        )
    return attestation, sections
