"""Chains of receipts: what a segment shows, where a checkpoint closes it, what proves a fork.

A session that is run honestly signs one chain: counters 0, 1, 2, ..., each receipt with the digest
of the one before it. How far that can be seen from outside:

    a receipt missing in the middle, or at the front    `check_segment` refuses
    receipts missing at the end                         not visible, until `check_tail` compares
                                                        with a checkpoint over a fresh nonce
    two chains of one session (a fork)                  not visible to whoever sees only one of
                                                        them; `find_fork` on records of both

Every function raises `VerificationError` tee.14 for what it refuses, tee.13 for signatures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from proofml.canonical import JSON, CanonicalError, dumps, loads
from proofml.fields import FieldError, Fields
from proofml.tee.binding import Session
from proofml.tee.checks import CHAIN, EVIDENCE, RECEIPT, refuse
from proofml.tee.receipts import (
    NO_RECEIPT,
    Checkpoint,
    Receipt,
    ReceiptKey,
    Signed,
    SignedCheckpoint,
    SignedReceipt,
)

MAX_FORK_BYTES: Final = 16384


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain stands: `counter` receipts, the last with `digest` (64 zeros for none).

    A verifier may keep it and check the next segment from there on. `time` is the last receipt's,
    in seconds since 1970; 0 where it is not known.
    """

    session: str
    counter: int
    digest: str
    time: int = 0

    @classmethod
    def start(cls, session: Session) -> Head:
        """Before the first receipt."""
        return cls(session.digest, 0, NO_RECEIPT, session.started)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Head:
        """Where a checkpoint, whose signature was checked, says that the chain stood."""
        return cls(checkpoint.session, checkpoint.counter, checkpoint.head)


@dataclass(frozen=True, slots=True)
class Segment:
    """Receipts that were checked, in order and without a gap; `head` is where they lead.

    `meets_held` tells whether the head that the verifier held is on this chain: it began there or
    went through it. False too where the segment ends before it, which shows nothing either way.
    """

    receipts: tuple[SignedReceipt, ...]
    head: Head
    meets_held: bool

    @property
    def last(self) -> Receipt:
        return self.receipts[-1].record


def check_segment(
    receipts: Sequence[SignedReceipt],
    session: Session,
    *,
    held: Head | None = None,
    key: ReceiptKey | None = None,
) -> Segment:
    """Every receipt is the session's, and they follow each other.

    Args:
        receipts: at least one; the first has counter 0, or that of `held`.
        held: what the verifier knows of this session already: the head of an earlier segment, or
            a checkpoint's.
        key: of the session, where the caller has made it already.

    Raises:
        VerificationError: tee.13, a receipt of another session, or not signed by its key; tee.14,
            a gap, a repeated or reordered receipt, a predecessor that is not the one before, time
            that runs backwards, a start elsewhere, or a chain that does not go through `held`.
    """
    key = ReceiptKey.of(session) if key is None else key
    head = Head.start(session)
    if held is not None and held.session != session.digest:
        refuse(CHAIN, "head that is held: session", expected=session.digest, got=held.session)
    if not receipts:
        refuse(CHAIN, "receipts", expected="at least one", got="none")
    if held is not None and receipts[0].record.counter == held.counter:
        head = held
    meets = head is held
    counter, digest, time = head.counter, head.digest, max(head.time, session.started)
    for signed in receipts:
        receipt = signed.record
        message = key.check(signed)
        if receipt.counter != counter:
            _gap(counter, receipt.counter)
        if receipt.previous != digest:
            refuse(
                CHAIN,
                f"receipt {counter}: previous receipt",
                expected=digest,
                got=f"{receipt.previous}; the chain forked, or receipts were replaced",
            )
        if receipt.time < time:
            refuse(CHAIN, f"receipt {counter}: time", expected=f"{time} or later", got=receipt.time)
        counter, digest, time = counter + 1, hashlib.sha256(message).hexdigest(), receipt.time
        if held is not None and counter == held.counter:
            if digest != held.digest:
                refuse(
                    CHAIN,
                    f"receipt {counter - 1}: the chain forked, another one is held",
                    expected=held.digest,
                    got=digest,
                )
            meets = True
    return Segment(tuple(receipts), Head(session.digest, counter, digest, time), meets)


def _gap(expected: int, got: int) -> None:
    if got > expected:
        missing = f"{expected}" if got == expected + 1 else f"{expected} to {got - 1}"
        refuse(CHAIN, f"receipts: {missing} missing", expected=f"counter {expected}", got=got)
    refuse(CHAIN, "receipts: repeated or out of order", expected=f"counter {expected}", got=got)


def check_receipt(segment: Segment, statement_digest: str) -> None:
    """The segment's last receipt is over this Statement.

    Raises:
        VerificationError: tee.13.
    """
    got = segment.last.statement
    if got != statement_digest:
        refuse(
            RECEIPT,
            f"receipt {segment.last.counter}: Statement",
            expected=statement_digest,
            got=got,
        )


def check_tail(head: Head, checkpoint: Checkpoint) -> None:
    """Nothing was cut off: the chain that was shown is as long as the enclave says.

    Args:
        head: of the segment that was checked.
        checkpoint: its signature checked (`check_checkpoint`) under a nonce that the verifier
            chose after it had got the segment. An older one shows nothing about the end.

    Raises:
        VerificationError: tee.14, receipts are missing at the end, the chain forked, or the
            checkpoint is older than the chain.
    """
    if checkpoint.session != head.session:
        refuse(CHAIN, "checkpoint: session", expected=head.session, got=checkpoint.session)
    if checkpoint.counter > head.counter:
        refuse(
            CHAIN,
            f"receipts: {checkpoint.counter - head.counter} missing at the end",
            expected=f"{checkpoint.counter} receipts, as the checkpoint says",
            got=head.counter,
        )
    if checkpoint.counter < head.counter:
        refuse(
            CHAIN,
            "checkpoint: older than the chain; ask for one over a fresh nonce",
            expected=f"{head.counter} receipts",
            got=checkpoint.counter,
        )
    if checkpoint.head != head.digest:
        refuse(
            CHAIN,
            f"checkpoint at {checkpoint.counter}: the chain forked",
            expected=head.digest,
            got=checkpoint.head,
        )


# -- forks ----------------------------------------------------------------------------------------


def _places(record: Receipt | Checkpoint) -> tuple[tuple[int, str], ...]:
    """What a record says about the chain: after so many receipts, this is the last one's digest."""
    if isinstance(record, Checkpoint):
        return ((record.counter, record.head),)
    return ((record.counter, record.previous), (record.counter + 1, record.digest))


def _conflict(first: Signed, second: Signed) -> int | None:
    """After how many receipts the two speak of different chains; None where they do not."""
    known = dict(_places(first.record))
    for place, digest in _places(second.record):
        if known.get(place, digest) != digest:
            return place
    return None


@dataclass(frozen=True, slots=True)
class Fork:
    """Two records, signed by one session's key, that cannot stand on one chain.

    It convinces anybody who has verified the session's quote: an enclave that runs the measured
    code signs no such pair, so the code, the hardware or the key was broken.

    Attributes:
        place: after so many receipts the two name different last ones.
    """

    session: Session
    first: Signed
    second: Signed
    place: int

    def to_bytes(self) -> bytes:
        """Evidence to keep and to hand on: canonical JSON with the session's record."""
        records: list[JSON] = [self.first.to_json(), self.second.to_json()]
        return dumps({"version": 1, "session": self.session.to_json(), "records": records})

    @classmethod
    def read(cls, data: bytes) -> Fork:
        """Strictly, signatures checked; whether the session is genuine, its quote must show.

        Raises:
            VerificationError: tee.2, malformed; tee.13, not both signed by the session's key;
                tee.14, they do not contradict each other.
        """
        try:
            fields = Fields(loads(data, max_bytes=MAX_FORK_BYTES), "fork")
            fields.integer("version", 1, 1)
            session = Session.read(dumps(fields.table("session").mapping))
            signed = fields.items("records", _signed, most=2)
            fields.done()
            if len(signed) != 2:
                raise FieldError("fork.records", "two records", f"{len(signed)}")
        except (CanonicalError, FieldError) as error:
            refuse(EVIDENCE, f"fork: {error}")
        key = ReceiptKey.of(session)
        for one in signed:
            key.check(one)
        place = _conflict(*signed)
        if place is None:
            refuse(CHAIN, "fork", expected="two records of different chains", got="of one chain")
        return cls(session, *signed, place)


def _signed(value: object, path: str) -> Signed:
    if "checkpoint" in Fields(value, path):
        return SignedCheckpoint.read(value, path)
    return SignedReceipt.read(value, path)


def find_fork(records: Iterable[Signed], session: Session) -> Fork | None:
    """The first two records that contradict each other, as evidence; None where all agree.

    Of any origin and in any order: segments that different verifiers got, checkpoints. None does
    not show that there is no fork, only that these records do not show it. One pass; memory grows
    with the number of records.

    Raises:
        VerificationError: tee.13, a record is not the session's: drop it, it is no evidence.
    """
    key = ReceiptKey.of(session)
    known: dict[int, tuple[str, Signed]] = {}
    for signed in records:
        key.check(signed)
        for place, digest in _places(signed.record):
            before, witness = known.setdefault(place, (digest, signed))
            if before != digest:
                return Fork(session, witness, signed, place)
    return None
