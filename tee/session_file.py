"""The file by which clients get to know a session: its quote, and everything that goes with it.

A container (`proofml.container`) whose first section is canonical JSON

    {"platform": "tdx", "type": "proofml/tee/session-file", "version": 1}

and whose others are `quote`, `config` and `session`, with `collateral` and `event-log` where the
platform has them. Nothing in it is trusted for being there: a client verifies the quote under its
own policy, and that the quote binds this session, before it seals anything to its key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from proofml.canonical import CanonicalError, dumps, loads
from proofml.container import pack, unpack
from proofml.errors import UsageError, VerificationError
from proofml.fields import FieldError, Fields
from proofml.tee.binding import MAX_SESSION_BYTES, Session
from proofml.tee.checks import EVIDENCE, refuse
from proofml.tee.config import MAX_CONFIG_BYTES
from proofml.tee.eventlog import MAX_LOG_BYTES
from proofml.tee.platform import Attestation, Platform
from proofml.tee.reader import MAX_QUOTE_BYTES

TYPE: Final = "proofml/tee/session-file"
MAX_COLLATERAL_BYTES: Final = 4 << 20
#: Sections, with the size of the largest one.
_REQUIRED: Final = {
    "quote": MAX_QUOTE_BYTES,
    "config": MAX_CONFIG_BYTES,
    "session": MAX_SESSION_BYTES,
}
_OPTIONAL: Final = {"collateral": MAX_COLLATERAL_BYTES, "event-log": MAX_LOG_BYTES}
_MAX_HEAD_BYTES: Final = 1024
MAX_FILE_BYTES: Final = sum(_REQUIRED.values()) + sum(_OPTIONAL.values()) + _MAX_HEAD_BYTES + 1024


@dataclass(frozen=True)
class SessionFile:
    """A session as its enclave gave it out; nothing of it has been checked.

    Attributes:
        attestation: the quote over the session record, with collateral and event log.
        config: the measured configuration.
        session: the record's bytes, as the quote binds them.
    """

    attestation: Attestation
    config: bytes = field(repr=False)
    session: bytes

    @property
    def platform(self) -> Platform:
        return self.attestation.platform

    def record(self) -> Session:
        """The session record; raises `VerificationError` tee.2."""
        return Session.read(self.session)

    def to_bytes(self) -> bytes:
        head = dumps({"platform": self.platform, "type": TYPE, "version": 1})
        sections = {"quote": self.attestation.quote, "config": self.config, "session": self.session}
        if self.attestation.collateral:
            sections["collateral"] = self.attestation.collateral
        if self.attestation.event_log:
            sections["event-log"] = self.attestation.event_log
        return pack(head, sections)

    @classmethod
    def read(cls, data: bytes) -> SessionFile:
        """Raises `VerificationError` tee.2 for anything that `to_bytes` does not write."""
        what = "session file"
        if len(data) > MAX_FILE_BYTES:
            refuse(EVIDENCE, what, expected=f"at most {MAX_FILE_BYTES} bytes", got=len(data))
        try:
            head, sections = unpack(data)
        except VerificationError as error:
            refuse(EVIDENCE, f"{what}: {error.reason}", expected=error.expected, got=error.got)
        try:
            fields = Fields(loads(head, max_bytes=_MAX_HEAD_BYTES), what)
            fields.string("type", choices=(TYPE,))
            fields.integer("version", 1, 1)
            platform = Platform(fields.string("platform", choices=tuple(Platform)))
            fields.done()
        except (CanonicalError, FieldError) as error:
            refuse(EVIDENCE, f"{what}: {error}")
        names = set(sections)
        if not _REQUIRED.keys() <= names or not names <= _REQUIRED.keys() | _OPTIONAL.keys():
            refuse(
                EVIDENCE,
                f"{what}: sections",
                expected=f"{', '.join(_REQUIRED)}; also {', '.join(_OPTIONAL)}",
                got=", ".join(sorted(names)) or "none",
            )
        for name, most in (_REQUIRED | _OPTIONAL).items():
            size = len(sections.get(name, b"-"))
            if not 1 <= size <= most:
                refuse(EVIDENCE, f"{what}: {name}", expected=f"1 to {most} bytes", got=size)
        attestation = Attestation(
            platform,
            sections["quote"],
            sections.get("collateral", b""),
            sections.get("event-log", b""),
        )
        found = cls(attestation, sections["config"], sections["session"])
        found.record()
        return found

    @classmethod
    def load(cls, path: Path) -> SessionFile:
        """Read a file.

        Raises:
            UsageError: it cannot be read.
            VerificationError: tee.2, it is no session file.
        """
        if not path.is_file():  # opening a pipe would wait for ever
            raise UsageError(
                f"{path}: no such file; expected a session file of `proofml tee serve`"
            )
        try:
            with path.open("rb") as file:
                return cls.read(file.read(MAX_FILE_BYTES + 1))
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from error

    def save(self, path: Path) -> None:
        """Write it as a whole, over an older one too: each start of a server makes a new session.

        Raises:
            UsageError: it cannot be written.
        """
        part = path.with_name(f".{path.name}.part")
        try:
            part.unlink(missing_ok=True)
            with os.fdopen(
                os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb"
            ) as file:
                file.write(self.to_bytes())
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
