"""The pieces of evidence in a proof: names, media types, bounds; and the record of the computation.

    section          in mode            platform    content
    quote            both               all         quote, report or document, as hardware gives it
    collateral       both               not Nitro   JSON: what vouches for the signer of the quote
    event-log        both               TDX, Nitro  canonical JSON (`eventlog`)
    config           both               all         canonical JSON (`config`)
    session          session            all         canonical JSON (`binding.Session`)
    receipts         session            all         canonical JSON (`receipts`), up to this one's
    sealed-outputs   session, sealed    all         HPKE message (`sealing`)

Exactly these, and nothing besides: a piece that nobody reads would be a place to hide something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from proofml.canonical import JSON
from proofml.fields import FieldError, Fields
from proofml.proof import Blob, Proof
from proofml.statement import Computation, Statement, Visibility
from proofml.tee.binding import MAX_SESSION_BYTES, Mode, Session
from proofml.tee.checks import EVIDENCE, RECORD, refuse
from proofml.tee.commitments import SALT_BYTES, SCHEME
from proofml.tee.config import MAX_CONFIG_BYTES, Runtime
from proofml.tee.eventlog import MAX_LOG_BYTES, REGISTERS
from proofml.tee.platform import Attestation, Platform
from proofml.tee.reader import MAX_QUOTE_BYTES
from proofml.tee.receipts import MAX_RECEIPTS_BYTES, SignedReceipt, read_receipts, receipts_bytes
from proofml.tee.sealing import MAX_SEALED_BYTES
from proofml.tee.session_file import MAX_COLLATERAL_BYTES, SessionFile

KIND: Final = "tee"

QUOTE: Final = "quote"
COLLATERAL: Final = "collateral"
LOG: Final = "event-log"
CONFIG: Final = "config"
SESSION: Final = "session"
RECEIPTS: Final = "receipts"
SEALED_OUTPUTS: Final = "sealed-outputs"

_JSON: Final = "application/json"
_BINARY: Final = "application/octet-stream"
#: Section -> its media type and the largest size that is read.
SECTIONS: Final[Mapping[str, tuple[str, int]]] = {
    QUOTE: (_BINARY, MAX_QUOTE_BYTES),
    COLLATERAL: (_JSON, MAX_COLLATERAL_BYTES),
    LOG: (_JSON, MAX_LOG_BYTES),
    CONFIG: (_JSON, MAX_CONFIG_BYTES),
    SESSION: (_JSON, MAX_SESSION_BYTES),
    RECEIPTS: (_JSON, MAX_RECEIPTS_BYTES),
    SEALED_OUTPUTS: (_BINARY, MAX_SEALED_BYTES),
}


@dataclass(frozen=True)
class Record:
    """`detail` of the Statement's computation: how, where and by what the model was run."""

    mode: Mode
    platform: Platform
    runtime: Runtime

    def to_json(self) -> dict[str, JSON]:
        return {"mode": self.mode, "platform": self.platform, "runtime": self.runtime.to_json()}

    @property
    def computation(self) -> Computation:
        return Computation(KIND, self.to_json())

    @classmethod
    def read(cls, statement: Statement) -> Record:
        """Check tee.1, strictly; the model has to be named with its weights.

        Raises:
            VerificationError: tee.1.
        """
        found = statement.computation
        if found.kind != KIND:
            refuse(RECORD, "kind of computation", expected=KIND, got=found.kind)
        fields = Fields(found.detail, "computation.detail")
        try:
            mode = Mode(fields.string("mode", choices=tuple(Mode)))
            platform = Platform(fields.string("platform", choices=tuple(Platform)))
            runtime = Runtime.read(fields.raw("runtime"), fields.at("runtime"))
            fields.done()
        except FieldError as error:
            refuse(RECORD, str(error))
        if statement.model.weights_hidden:
            refuse(RECORD, "model", expected="named by digest", got="architecture only")
        return cls(mode, platform, runtime)


@dataclass(frozen=True)
class Parts:
    """All evidence of one proof; what has a form was read, nothing else about it was checked.

    Attributes:
        session, receipts: of session mode alone; the last receipt is that of this Statement.
        sealed_outputs: where the inputs were sealed.
    """

    attestation: Attestation
    config: bytes = field(repr=False)
    session: Session | None = None
    receipts: tuple[SignedReceipt, ...] = field(default=(), repr=False)
    sealed_outputs: bytes | None = field(default=None, repr=False)

    def blobs(self) -> dict[str, Blob]:
        """As a proof carries them."""
        found = {QUOTE: self.attestation.quote, CONFIG: self.config}
        if self.attestation.collateral:
            found[COLLATERAL] = self.attestation.collateral
        if self.attestation.event_log:
            found[LOG] = self.attestation.event_log
        if self.session is not None:
            found[SESSION] = self.session.to_bytes()
            found[RECEIPTS] = receipts_bytes(self.receipts)
        if self.sealed_outputs is not None:
            found[SEALED_OUTPUTS] = self.sealed_outputs
        return {name: Blob(data, SECTIONS[name][0]) for name, data in found.items()}

    @classmethod
    def read(cls, proof: Proof, record: Record) -> Parts:
        """Check tee.2: the sections that the record calls for, each read strictly.

        The configuration and the event log are read where they are compared (tee.11, tee.12).

        Raises:
            VerificationError: tee.2.
        """
        sealed = is_sealed(proof.statement, record.mode)
        roles = {role for role, _ in proof.statement.tensors()}
        names = {entry.name for entry in proof.entries} - roles
        wanted = _wanted(record, sealed)
        if names != wanted:
            refuse(
                EVIDENCE,
                "evidence",
                expected=", ".join(sorted(wanted)),
                got=", ".join(sorted(names)) or "none",
            )
        found = {
            name: proof.evidence(name, check=EVIDENCE, most=SECTIONS[name][1]) for name in wanted
        }
        for name, data in found.items():
            if not data:
                refuse(EVIDENCE, f"section {name}", expected="at least one byte", got="none")
        return cls(
            Attestation(
                record.platform,
                found[QUOTE],
                found.get(COLLATERAL, b""),
                found.get(LOG, b""),
            ),
            found[CONFIG],
            Session.read(found[SESSION]) if SESSION in found else None,
            read_receipts(found[RECEIPTS]) if RECEIPTS in found else (),
            found.get(SEALED_OUTPUTS),
        )

    @classmethod
    def of_session(cls, file: SessionFile) -> Parts:
        """Of a session that has issued nothing yet, or whose receipts are elsewhere."""
        return cls(file.attestation, file.config, file.record())


def _wanted(record: Record, sealed: bool) -> set[str]:
    names = {QUOTE, CONFIG}
    if record.platform is not Platform.NITRO:
        names.add(COLLATERAL)
    if record.platform in REGISTERS:
        names.add(LOG)
    if record.mode is Mode.SESSION:
        names |= {SESSION, RECEIPTS}
    if sealed:
        names.add(SEALED_OUTPUTS)
    return names


def is_sealed(statement: Statement, mode: Mode) -> bool:
    """Whether the inputs were sealed: all tensors are then committed to, else all are public.

    Raises:
        VerificationError: tee.2, tensors of both kinds, private ones, another scheme, or sealed
            inputs in inference mode, which has no key to seal to.
    """
    shown = {claim.visibility for _, claim in statement.tensors()}
    if shown == {Visibility.PUBLIC}:
        return False
    if shown != {Visibility.HASHED}:
        refuse(
            EVIDENCE,
            "tensors",
            expected="all public, or all hashed (sealed)",
            got=", ".join(sorted(shown)) or "none",
        )
    for role, claim in statement.tensors():
        commitment = claim.commitment
        assert commitment is not None  # a hashed tensor has one, as the Statement was read
        if commitment.scheme != SCHEME or len(commitment.value) != 2 * SALT_BYTES:
            refuse(EVIDENCE, f"commitment of {role}", expected=SCHEME, got=commitment.scheme)
    if mode is not Mode.SESSION:
        refuse(EVIDENCE, "sealed tensors", expected="session mode", got=mode)
    return True
