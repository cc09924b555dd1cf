"""The configuration of an enclave, and where each platform measures it.

What is measured is the exact canonical JSON, so a configuration has one digest:

    TDX, Nitro   an event `proofml-config` in the log (RTMR3, PCR16), payload SHA-256(config)
    SEV-SNP      HOST_DATA = SHA-256(config), 32 bytes
    SGX          CONFIGID = SHA-512(config), 64 bytes

The configuration names the model, so the model is measured too. HOST_DATA and CONFIGID are chosen
by whoever launches the guest and cannot change afterwards. That the configuration is also the one
that runs is what the measured code sees to: it reads them from its own report when it starts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proofml.canonical import JSON, CanonicalError, dumps, loads, sha256
from proofml.errors import UsageError
from proofml.fields import FieldError, Fields
from proofml.tee.binding import Mode, Session
from proofml.tee.checks import EVIDENCE, MEASURED, MODE, refuse
from proofml.tee.platform import Platform

if TYPE_CHECKING:
    from proofml.tee.eventlog import EventLog

#: Name of the event whose payload is SHA-256 of the configuration.
CONFIG_EVENT: Final = "proofml-config"
#: Where the event is measured: index of the RTMR, of the PCR.
CONFIG_REGISTERS: Final[Mapping[Platform, int]] = {Platform.TDX: 3, Platform.NITRO: 16}
#: Namespaces that an enclave process has for itself, or not; all have to be said.
NAMESPACES: Final = ("user", "network", "pid", "mount", "ipc")

MAX_CONFIG_BYTES: Final = 1 << 16
MAX_ISOLATION: Final = 32
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True)
class Runtime:
    """What runs the model: `settings` in the form in which re-execution records them."""

    name: str
    version: str
    settings: Mapping[str, JSON]

    def to_json(self) -> dict[str, JSON]:
        return {"name": self.name, "version": self.version, "settings": self.settings}

    @classmethod
    def read(cls, value: object, path: str) -> Runtime:
        """Strictly; raises `FieldError`. Also how a Statement's `runtime` is read."""
        fields = Fields(value, path)
        found = cls(
            fields.string("name", longest=64),
            fields.string("version", longest=64),
            fields.table("settings").mapping,
        )
        fields.done()
        return found


@dataclass(frozen=True)
class Configuration:
    """What an enclave was started with.

    Attributes:
        model: canonical SHA-256 of the model.
        mode: what its quotes bind.
        isolation: name -> whether the process has it; at least every one of `NAMESPACES`.

    Raises:
        UsageError: a value that the record cannot hold.
    """

    model: str
    mode: Mode
    runtime: Runtime
    isolation: Mapping[str, bool]

    def __post_init__(self) -> None:
        try:
            _read(loads(self.to_bytes(), max_bytes=MAX_CONFIG_BYTES))
        except (FieldError, CanonicalError) as error:
            raise UsageError(f"{error}; the configuration cannot be written down") from error

    def to_json(self) -> dict[str, JSON]:
        return {
            "version": 1,
            "model": self.model,
            "mode": self.mode,
            "runtime": self.runtime.to_json(),
            "isolation": self.isolation,
        }

    def to_bytes(self) -> bytes:
        """Canonical JSON; what is measured."""
        return dumps(self.to_json())

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes, 64 hexadecimal digits."""
        return sha256(self.to_bytes())

    @property
    def missing_isolation(self) -> tuple[str, ...]:
        """What the process does not have for itself, by name."""
        return tuple(sorted(name for name, has in self.isolation.items() if not has))

    @classmethod
    def read(cls, data: bytes) -> Configuration:
        """Strictly; raises `VerificationError` tee.2 for anything that `to_bytes` never writes."""
        try:
            return cls(**_read(loads(data, max_bytes=MAX_CONFIG_BYTES)))
        except (FieldError, CanonicalError) as error:
            refuse(EVIDENCE, f"configuration: {error}")


def _read(value: object) -> dict[str, Any]:
    """The record's fields by attribute; raises `FieldError`."""
    fields = Fields(value, "config")
    fields.integer("version", 1, 1)
    isolation = fields.table("isolation")
    names = tuple(isolation.mapping)
    if len(names) > MAX_ISOLATION:
        raise FieldError(isolation.path, f"at most {MAX_ISOLATION} keys", f"{len(names)} keys")
    for name in names:
        if not _NAME.fullmatch(name):
            raise FieldError(isolation.path, f"keys of the form {_NAME.pattern}", name)
    found = {
        "model": fields.sha256("model"),
        "mode": Mode(fields.string("mode", choices=tuple(Mode), longest=32)),
        "runtime": Runtime.read(fields.raw("runtime"), fields.at("runtime")),
        "isolation": {name: isolation.boolean(name) for name in sorted({*NAMESPACES, *names})},
    }
    fields.done()
    return found


def config_event(config: bytes) -> bytes:
    """Payload of the event `CONFIG_EVENT` (TDX, Nitro), 32 bytes."""
    return hashlib.sha256(config).digest()


def host_data(config: bytes) -> bytes:
    """SEV-SNP's HOST_DATA, 32 bytes."""
    return hashlib.sha256(config).digest()


def config_id(config: bytes) -> bytes:
    """SGX's CONFIGID, 64 bytes."""
    return hashlib.sha512(config).digest()


def check_measured(
    config: bytes,
    platform: Platform,
    measurements: Mapping[str, str],
    log: EventLog | None,
    *,
    model: str,
    mode: Mode,
    runtime: Runtime,
    session: Session | None = None,
) -> Configuration:
    """The configuration in the evidence was measured, and is that of the Statement.

    Args:
        config: the bytes in the evidence.
        measurements: of the verified quote.
        log: the event log, after `EventLog.check` against the same measurements (TDX, Nitro).
        model: canonical SHA-256 in the Statement.
        mode, runtime: as the Statement names them.
        session: the record that the quote binds (session mode).

    Raises:
        VerificationError: tee.2, `config` is malformed; tee.9, it is of the other mode; tee.12, it
            was not measured, or it or the session names another model or runtime.
    """
    found = Configuration.read(config)
    if platform in CONFIG_REGISTERS:
        if log is None:
            refuse(MEASURED, f"{platform}: configuration", expected="an event log", got="none")
        payload = log.payload(CONFIG_EVENT, CONFIG_REGISTERS[platform], MEASURED)
        what, expected, got = f"event {CONFIG_EVENT}", config_event(config), payload.hex()
    elif platform is Platform.SEV_SNP:
        what, expected = "HOST_DATA", host_data(config)
        got = measurements.get("host_data", "nothing")
    else:
        what, expected = "CONFIGID", config_id(config)
        got = measurements.get("configid", "nothing")
    _same(f"{what}: digest of the configuration", expected.hex(), got)
    if found.mode is not mode:
        refuse(MODE, "configuration: mode", expected=mode, got=found.mode)
    _same("configuration: model", model, found.model)
    # As JSON: Python alone takes true for 1.
    _same("configuration: runtime", _text(runtime), _text(found.runtime))
    if session is not None:
        _same("session record: model", model, session.model)
        _same("session record: configuration", sha256(config), session.config)
    return found


def _same(what: str, expected: str, got: str) -> None:
    if got != expected:
        refuse(MEASURED, what, expected=expected, got=got)


def _text(runtime: Runtime) -> str:
    return dumps(runtime.to_json()).decode()
