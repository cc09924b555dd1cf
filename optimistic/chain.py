"""The events of an embedded ledger: signed records, each bound to all before it.

    message   32 ledger | 32 hash of the record before | u64 number | u64 time | 32 sender
              | u64 sequence (actions of this sender before) | action (`actions`)
    hash      SHA-256 of the message and its signature by the sender
    genesis   SHA-256 of "proofml-ledger-1" and the ledger, before record 1

Nobody can change, drop or reorder records without the keys of all senders of that record and of
those behind it. Two things a chain cannot show: that records are missing at its end (whoever kept
a later hash can tell), and that the times are true (whoever may write the file sets them).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from proofml.errors import VerificationError
from proofml.optimistic import accounts, actions, clerk
from proofml.optimistic.accounts import Account
from proofml.optimistic.actions import Action
from proofml.optimistic.book import Book, Draft
from proofml.optimistic.refusals import IllegalMove
from proofml.optimistic.wire import WireError, unsigned

#: Seconds since 1970 that a ledger can hold; far enough, and within every integer used here.
MAX_TIME = 1 << 40


@dataclass(frozen=True)
class Record:
    """One action as it is stored.

    Attributes:
        number: from 1 on.
        sender: public key of the account.
        action: its bytes.
    """

    number: int
    time: int
    sender: bytes
    sequence: int
    action: bytes
    signature: bytes

    def message(self, ledger: bytes, before: bytes) -> bytes:
        """What the sender signs; `before` is the hash of the record before."""
        return b"".join(
            (
                ledger,
                before,
                unsigned(self.number, 8, "number"),
                unsigned(self.time, 8, "time"),
                self.sender,
                unsigned(self.sequence, 8, "sequence"),
                self.action,
            )
        )

    def hash(self, ledger: bytes, before: bytes) -> bytes:
        return hashlib.sha256(self.message(ledger, before) + self.signature).digest()


def genesis(ledger: bytes) -> bytes:
    return hashlib.sha256(b"proofml-ledger-1" + ledger).digest()


class Replica:
    """A ledger's records replayed: its book, and the chain up to here.

    Attributes:
        book: what follows from all records.
        hashes: of the records, in order.
        results: what each action returned: a number that it made, or an amount.
        sequences: account -> its actions so far.
    """

    def __init__(self, ledger: bytes) -> None:
        self.ledger = ledger
        self.book = Book()
        self.hashes: list[bytes] = []
        self.results: list[int] = []
        self.sequences: dict[str, int] = {}

    @property
    def number(self) -> int:
        """Of the last record."""
        return len(self.hashes)

    @property
    def head(self) -> bytes:
        """Hash of the last record."""
        return self.hashes[-1] if self.hashes else genesis(self.ledger)

    def hash_at(self, number: int) -> bytes:
        """Hash of a record, or of the genesis for 0."""
        return self.hashes[number - 1] if number else genesis(self.ledger)

    def propose(self, action: Action, account: Account, now: int) -> tuple[Record, Draft]:
        """The next record, signed, and what it changes; nothing is changed yet.

        Raises:
            IllegalMove: the rule that forbids it.
            WireError: the action has no bytes.
        """
        data = actions.to_bytes(action)
        # What is applied is what everybody else will read.
        draft = clerk.apply(self.book, actions.read_action(data), account.name, now)
        unsigned_record = Record(
            self.number + 1,
            now,
            accounts.public_of(account.name),
            self.sequences.get(account.name, 0),
            data,
            b"",
        )
        signature = account.sign(unsigned_record.message(self.ledger, self.head))
        return replace(unsigned_record, signature=signature), draft

    def check(self, record: Record, stated: bytes, check: str) -> Draft:
        """What a stored record changes; nothing is changed yet.

        Args:
            stated: the hash that is stored with it.
            check: number of the check, for the error.

        Raises:
            VerificationError: whatever is wrong with it.
        """

        def refuse(what: str, expected: object, got: object) -> VerificationError:
            return VerificationError(
                check, f"ledger: event {record.number}: {what}", expected=expected, got=got
            )

        if record.number != self.number + 1:
            raise refuse("number", self.number + 1, record.number)
        if not self.book.time <= record.time < MAX_TIME:
            raise refuse("time", f"{self.book.time} or later", record.time)
        for what, value, size in (
            ("sender", record.sender, accounts.KEY_BYTES),
            ("signature", record.signature, accounts.SIGNATURE_BYTES),
        ):
            if len(value) != size:
                raise refuse(f"bytes of the {what}", size, len(value))
        sender = accounts.name_of(record.sender)
        sequence = self.sequences.get(sender, 0)
        if record.sequence != sequence:
            raise refuse("sequence number of its sender", sequence, record.sequence)
        found = record.hash(self.ledger, self.head)
        if found != stated:
            raise refuse("hash", found.hex(), stated.hex())
        message = record.message(self.ledger, self.head)
        if not accounts.signed(record.sender, message, record.signature):
            raise refuse("signature", f"one by {sender}", record.signature.hex())
        try:
            return clerk.apply(self.book, actions.read_action(record.action), sender, record.time)
        except WireError as error:
            raise refuse(f"action: {error}", "an action", record.action[:16].hex()) from error
        except IllegalMove as error:
            raise refuse("the action is against the rules", "a legal one", error) from error

    def adopt(self, record: Record, draft: Draft) -> None:
        """Take over a record that was proposed or checked."""
        sender = accounts.name_of(record.sender)
        self.hashes.append(record.hash(self.ledger, self.head))
        self.results.append(draft.result)
        self.sequences[sender] = record.sequence + 1
        self.book.merge(draft)
