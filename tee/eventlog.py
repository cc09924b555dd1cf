"""Event logs: what was measured into registers that grow, replayed against the verified quote.

The form and the rules are dstack's (https://github.com/Dstack-TEE/dstack, `cc-eventlog`, version 1
of its digests). A log is a canonical JSON list of events

    {"digest": 96 hex digits, "event": name, "event_payload": hex, "event_type": u32, "imr": index}

in the order in which they were measured. For each event register_new = SHA-384(register_old ||
digest), from 48 zero bytes. `imr` 0..3 is RTMR0..3 of TDX; 16..31 is PCR16..31 of Nitro.

Runtime events (`event_type` 0x08000001) have digest = SHA-384(event_type, 4 bytes little-endian ||
":" || name || ":" || payload), which is recomputed. A name holds no colon: with one, the same
digest would stand for two splits into name and payload. Every other event is one of the firmware's
or the boot loader's (TCG). What it digested is not in the log, so it carries its digest alone, its
name is a label that nobody vouches for, and it may only stand in RTMR0..2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from proofml.canonical import JSON, CanonicalError, dumps, loads
from proofml.errors import UsageError
from proofml.fields import FieldError, Fields
from proofml.tee.checks import EVENT_LOG, refuse
from proofml.tee.platform import Platform

RUNTIME_EVENT_TYPE: Final = 0x08000001
COMPOSE_HASH_EVENT: Final = "compose-hash"
COMPOSE_HASH_BYTES: Final = 32
REGISTER_BYTES: Final = 48

MAX_LOG_BYTES: Final = 1 << 20
MAX_EVENTS: Final = 1024
MAX_NAME: Final = 256
MAX_PAYLOAD_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class _Registers:
    """Those of one platform: `prefix` and an index are a register's name.

    `boot` are those in which events without payload may stand, `explained` those that are the
    log's to explain: where the quote has one of them and it is not zero, its events are there.
    """

    prefix: str
    indices: range
    boot: range
    explained: range


# RTMR0..2 hold firmware and kernel: they are constants of an image, and a policy pins them. What
# was started on that image is in RTMR3 (Nitro: from PCR16 on), and only the log says what it is.
REGISTERS: Final[Mapping[Platform, _Registers]] = {
    Platform.TDX: _Registers("rtmr", range(4), range(3), range(3, 4)),
    Platform.NITRO: _Registers("pcr", range(16, 32), range(0), range(16, 32)),
}


def runtime_digest(name: str, payload: bytes) -> bytes:
    """What a runtime event extends a register by, 48 bytes."""
    event_type = RUNTIME_EVENT_TYPE.to_bytes(4, "little")
    return hashlib.sha384(event_type + b":" + name.encode("utf-8") + b":" + payload).digest()


def extended(register: bytes, digest: bytes) -> bytes:
    """A register after one more digest, 48 bytes each."""
    return hashlib.sha384(register + digest).digest()


@dataclass(frozen=True, slots=True)
class Event:
    """One measurement; `imr` is the index of its register, `digest` has 48 bytes."""

    imr: int
    event_type: int
    digest: bytes
    name: str
    payload: bytes

    @property
    def runtime(self) -> bool:
        return self.event_type == RUNTIME_EVENT_TYPE

    def to_json(self) -> dict[str, JSON]:
        return {
            "imr": self.imr,
            "event_type": self.event_type,
            "digest": self.digest.hex(),
            "event": self.name,
            "event_payload": self.payload.hex(),
        }


@dataclass(frozen=True)
class EventLog:
    """Events of one platform, each consistent in itself; `check` compares them with a quote."""

    platform: Platform
    events: tuple[Event, ...] = ()

    def extended(self, imr: int, name: str, payload: bytes) -> EventLog:
        """This log and one more runtime event; raises `UsageError` for one it cannot hold."""
        try:
            digest = runtime_digest(name, payload)
            event = Event(imr, RUNTIME_EVENT_TYPE, digest, name, payload)
            log = EventLog(self.platform, (*self.events, event))
            _read(loads(log.to_bytes(), max_bytes=MAX_LOG_BYTES), self.platform)
        except (FieldError, CanonicalError, UnicodeEncodeError) as error:
            raise UsageError(f"{error}; the event cannot be logged") from error
        return log

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return dumps([event.to_json() for event in self.events])

    @classmethod
    def read(cls, data: bytes, platform: Platform) -> EventLog:
        """Strictly; digests of runtime events are recomputed.

        Raises:
            VerificationError: tee.11, malformed, too long, or a digest that is not its event's.
        """
        return cls(platform, _refusing(data, platform, canonical=True))

    @classmethod
    def from_dstack(cls, data: bytes, platform: Platform = Platform.TDX) -> EventLog:
        """From the JSON that dstack's guest agent gives: any white space and order of keys, boot
        events with payloads (dropped here), runtime events that may leave their digest empty.

        Raises:
            VerificationError: tee.11, anything else, version 2 of the digests included.
        """
        return cls(platform, _refusing(data, platform, canonical=False))

    @cached_property
    def registers(self) -> Mapping[str, str]:
        """Register -> hexadecimal digits, of each register that has an event."""
        prefix = REGISTERS[self.platform].prefix
        found: dict[str, bytes] = {}
        for event in self.events:
            name = f"{prefix}{event.imr}"
            found[name] = extended(found.get(name, bytes(REGISTER_BYTES)), event.digest)
        return {name: value.hex() for name, value in found.items()}

    def check(self, measurements: Mapping[str, str]) -> None:
        """Replayed, the log gives the registers of the verified quote.

        Every register with an event is compared. RTMR3 of TDX and each of PCR16..31 of Nitro must
        be explained too: if the quote has it and it is not zero, its events must be here. The
        others may be left out as a whole, and then a policy has to pin them.

        Raises:
            VerificationError: tee.11, with the first register that differs.
        """
        rules = REGISTERS[self.platform]
        replayed = self.registers
        for index in rules.indices:
            name = f"{rules.prefix}{index}"
            if name not in replayed and index not in rules.explained:
                continue
            zeros = "0" * (2 * REGISTER_BYTES)
            got = replayed.get(name, zeros)
            # A register that the quote leaves out says nothing, as long as no event speaks of it.
            expected = measurements.get(name, "no such register" if name in replayed else zeros)
            if got != expected:
                refuse(
                    EVENT_LOG,
                    f"{name}: replay of its events",
                    expected=expected,
                    got=got if name in replayed else "no event of it in the log",
                )

    def named(self, name: str, imr: int) -> tuple[bytes, ...]:
        """Payloads of the runtime events of this name in one register, in order."""
        return tuple(
            event.payload
            for event in self.events
            if event.runtime and event.imr == imr and event.name == name
        )

    def payload(self, name: str, imr: int, number: str = EVENT_LOG) -> bytes:
        """Payload of the only runtime event of this name in one register.

        A second one is refused: whatever runs later can extend the register by any event, so the
        later one may not be believed, and which one counts is not for the log's bearer to choose.

        Raises:
            VerificationError: `number`, there is none, or more than one.
        """
        found = self.named(name, imr)
        if len(found) != 1:
            register = f"{REGISTERS[self.platform].prefix}{imr}"
            refuse(number, f"{register}: events {name!r}", expected="exactly one", got=len(found))
        return found[0]

    @property
    def compose_hash(self) -> str | None:
        """dstack's digest of the application, 64 hexadecimal digits; None where none was measured.

        Raises:
            VerificationError: tee.11, it was measured more than once or has another length.
        """
        imr = REGISTERS[self.platform].explained[0]
        if not self.named(COMPOSE_HASH_EVENT, imr):
            return None
        payload = self.payload(COMPOSE_HASH_EVENT, imr)
        if len(payload) != COMPOSE_HASH_BYTES:
            refuse(
                EVENT_LOG,
                f"event {COMPOSE_HASH_EVENT!r}",
                expected=f"{COMPOSE_HASH_BYTES} bytes",
                got=len(payload),
            )
        return payload.hex()


def _refusing(data: bytes, platform: Platform, *, canonical: bool) -> tuple[Event, ...]:
    """`_read` from bytes, with its errors as tee.11."""
    try:
        value = loads(data, max_bytes=MAX_LOG_BYTES, canonical=canonical)
        return _read(value, platform, dstack=not canonical)
    except (FieldError, CanonicalError) as error:
        refuse(EVENT_LOG, f"event log: {error}")


def _read(value: object, platform: Platform, *, dstack: bool = False) -> tuple[Event, ...]:
    rules = REGISTERS.get(platform)
    if rules is None:
        raise FieldError("event-log", f"none on {platform}", value)
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > MAX_EVENTS:
        raise FieldError("event-log", f"a list of at most {MAX_EVENTS} events", value)
    return tuple(
        _event(item, f"event-log[{index}]", rules, dstack=dstack)
        for index, item in enumerate(value)
    )


def _event(value: object, path: str, rules: _Registers, *, dstack: bool) -> Event:
    fields = Fields(value, path)
    imr = fields.integer("imr", rules.indices[0], rules.indices[-1])
    event_type = fields.integer("event_type", 0, 2**32 - 1)
    name = fields.string("event", longest=MAX_NAME)
    digest = fields.hexadecimal("digest", longest=REGISTER_BYTES)
    payload = fields.hexadecimal("event_payload", longest=MAX_PAYLOAD_BYTES)
    fields.done()
    if event_type == RUNTIME_EVENT_TYPE:
        if not name or ":" in name:
            raise FieldError(fields.at("event"), "a name without a colon", name)
        expected = runtime_digest(name, payload)
        if dstack and not digest:
            digest = expected
        if digest != expected:
            raise FieldError(fields.at("digest"), expected.hex(), digest.hex())
        return Event(imr, event_type, digest, name, payload)
    if imr not in rules.boot:
        raise FieldError(
            fields.at("event_type"), f"{RUNTIME_EVENT_TYPE}, a runtime event", event_type
        )
    if dstack:
        payload = b""
    if payload:
        raise FieldError(
            fields.at("event_payload"), "none: it is not what was digested", f"{len(payload)} bytes"
        )
    if len(digest) != REGISTER_BYTES:
        raise FieldError(fields.at("digest"), f"{REGISTER_BYTES} bytes", f"{len(digest)} bytes")
    return Event(imr, event_type, digest, name, payload)
