"""What a claim says and stakes: `Terms`, in bytes that a ledger stores and a contract reads.

u8 version = 1 | 32 statement | 32 program | u16 n, n * 32 input roots
| u16 n, n * 32 output roots | 32 trace root, zero if deferred | u8 k_log | u128 bond
| u128 challenge bond | u16 burn | u32 window | u32 clock | u32 extension | u32 answer
| u128 data fee | u16 length, uri
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.optimistic.wire import HASH, Reader, WireError, hashes, sized, unsigned

VERSION = 1
#: Inputs, and outputs, of a program.
MAX_PORTS = 256
MAX_URI_BYTES = 1024
MAX_K_LOG = 6
#: Basis points of a whole.
WHOLE = 10_000
#: Instead of the trace's root: whoever is disputed says it by his first reveal.
DEFERRED = bytes(HASH)
MAX_TERMS_BYTES = 2 * MAX_PORTS * HASH + MAX_URI_BYTES + 256
#: Before the hashed bytes; 0 and 1 are those of trees, 2 that of the program's header.
_DIGEST = b"\x03"


@dataclass(frozen=True)
class Terms:
    """A claim: this program on these inputs gives these outputs.

    Attributes:
        statement: SHA-256 of the canonical Statement that the claim is about.
        program: root of the program, `commit`.
        inputs, outputs: roots of the tensors' trees, in the order of the program's ports.
        trace: root over all operators' leaves, or `DEFERRED`: outputs are bound by the claim, the
            trace by each dispute.
        k_log: a reveal shows 2^k_log descendants or intervals.
        bond, challenge_bond: what claimant and challenger stake, in wei (or a ledger's own unit).
        burn: share of a loser's bond that nobody gets, in basis points.
        window: seconds after posting in which the claim can be disputed.
        clock: seconds that each side has for all its moves of a dispute.
        extension: seconds that each side has for a move at least, whatever its clock says.
        answer: seconds in which the claimant answers a request for data.
        data_fee: what a request pays for its answer, in wei.
        uri: where the inputs lie.

    Raises:
        WireError: on construction, for a value that the bytes cannot hold.
    """

    statement: bytes
    program: bytes
    inputs: tuple[bytes, ...]
    outputs: tuple[bytes, ...]
    trace: bytes
    k_log: int
    bond: int
    challenge_bond: int
    burn: int
    window: int
    clock: int
    extension: int
    answer: int
    data_fee: int = 0
    uri: str = ""

    def __post_init__(self) -> None:
        self.to_bytes()

    def to_bytes(self) -> bytes:
        uri = _bytes(self.uri)
        if len(uri) > MAX_URI_BYTES:
            raise WireError(f"uri: expected at most {MAX_URI_BYTES} bytes, got {len(uri)}")
        if max(len(self.inputs), len(self.outputs)) > MAX_PORTS:
            raise WireError(f"terms: expected at most {MAX_PORTS} inputs and outputs")
        return b"".join(
            (
                unsigned(VERSION, 1, "version"),
                hashes((self.statement, self.program), "statement and program"),
                unsigned(len(self.inputs), 2, "inputs"),
                hashes(self.inputs, "input roots"),
                unsigned(len(self.outputs), 2, "outputs"),
                hashes(self.outputs, "output roots"),
                hashes((self.trace,), "trace root"),
                unsigned(self.k_log, 1, "k_log"),
                unsigned(self.bond, 16, "bond"),
                unsigned(self.challenge_bond, 16, "challenge bond"),
                unsigned(self.burn, 2, "burn"),
                unsigned(self.window, 4, "window"),
                unsigned(self.clock, 4, "clock"),
                unsigned(self.extension, 4, "extension"),
                unsigned(self.answer, 4, "answer"),
                unsigned(self.data_fee, 16, "data fee"),
                sized(uri, 2, "uri"),
            )
        )

    @classmethod
    def read(cls, data: bytes) -> Terms:
        """The terms of these bytes, which `to_bytes` gives back.

        Raises:
            WireError: other bytes.
        """
        reader = Reader(data, "terms", MAX_TERMS_BYTES)
        version = reader.unsigned(1, "version")
        if version != VERSION:
            raise WireError(f"terms: version: expected {VERSION}, got {version}")
        terms = cls(
            statement=reader.hash("statement"),
            program=reader.hash("program"),
            inputs=reader.hashes(reader.unsigned(2, "number of inputs"), "input roots"),
            outputs=reader.hashes(reader.unsigned(2, "number of outputs"), "output roots"),
            trace=reader.hash("trace root"),
            k_log=reader.unsigned(1, "k_log"),
            bond=reader.unsigned(16, "bond"),
            challenge_bond=reader.unsigned(16, "challenge bond"),
            burn=reader.unsigned(2, "burn"),
            window=reader.unsigned(4, "window"),
            clock=reader.unsigned(4, "clock"),
            extension=reader.unsigned(4, "extension"),
            answer=reader.unsigned(4, "answer"),
            data_fee=reader.unsigned(16, "data fee"),
            uri=_text(reader.sized(2, "uri")),
        )
        reader.done()
        return terms

    @property
    def deferred(self) -> bool:
        """Whether a dispute's first reveal says what the trace's root is."""
        return self.trace == DEFERRED

    @property
    def digest(self) -> bytes:
        """SHA-256 of 0x03 and the terms' bytes."""
        return hashlib.sha256(_DIGEST + self.to_bytes()).digest()

    def burnt(self, bond: int) -> int:
        """How much of a lost bond nobody gets; rounded down."""
        return bond * self.burn // WHOLE

    def check(self) -> None:
        """That these can be posted, whatever the program is.

        Raises:
            IllegalMove: TERMS. The game proves nothing where a side has no time, or nothing to
                lose. A window of any length can be posted: verifiers see it.
        """
        for name, value, low, high in (
            ("k_log", self.k_log, 1, MAX_K_LOG),
            ("burn", self.burn, 0, WHOLE),
            ("clock", self.clock, 1, None),
            ("extension", self.extension, 1, self.clock),
            ("answer", self.answer, 1, None),
            ("bond", self.bond, 1, None),
            ("challenge_bond", self.challenge_bond, 1, None),
        ):
            if value < low or (high is not None and value > high):
                bounds = f"at least {low}" if high is None else f"{low} to {high}"
                raise IllegalMove(Refusal.TERMS, f"{name}: expected {bounds}, got {value}")
        if any(not "!" <= character <= "~" for character in self.uri):
            raise IllegalMove(Refusal.TERMS, "uri: expected printable ASCII without blanks")


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"terms: uri: expected UTF-8, got byte {error.start} of it") from error


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise WireError(f"terms: uri: expected UTF-8, got a surrogate at {error.start}") from error
