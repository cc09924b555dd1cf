"""The embedded ledger: one SQLite file that several processes share.

Every action is one transaction, which appends a signed record (`chain`) and updates the state that
follows from it. Writers wait for each other; a process that is killed between any two statements
leaves either the whole action or nothing of it. The log is synced before an action returns.

Each process replays the records when it opens the file and whenever others have added some: every
signature, every hash, every rule. What it then believes is that replica. The tables of states are
there for people with an SQL shell; `audit` compares them.

Its money is bookkeeping, and its clock is that of whoever writes: verdicts say `ledger:local`.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from proofml.canonical import dumps
from proofml.errors import UsageError
from proofml.optimistic import actions
from proofml.optimistic.accounts import Account, name_of, public_of
from proofml.optimistic.actions import Action
from proofml.optimistic.book import Book, ClaimState, Money, RequestState
from proofml.optimistic.chain import MAX_TIME, Replica
from proofml.optimistic.claim import Terms
from proofml.optimistic.floating import dispute as pointing
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.ledger import Event
from proofml.optimistic.moves import Move, Opening, PointAt
from proofml.optimistic.sqlite_file import LEDGER_ID_BYTES, LedgerFile

#: The check that a ledger's file fails, unless the caller has a number for it.
CHECK = "optimistic.ledger"
MAX_EVENTS = 1000


@dataclass(frozen=True)
class Audit:
    """A whole ledger, replayed and found right.

    Attributes:
        ledger: its name.
        events: how many there are.
        head: hash of the last one; whoever keeps it sees whether the ledger was cut later.
    """

    ledger: bytes
    events: int
    head: bytes


class SqliteLedger:
    """A ledger in a file; implements `Ledger`. Threads may share one, processes each open it.

    Args:
        path: the file.
        keys: of the accounts for which this process may act.
        create: make the file if it is not there.
        read_only: for verifiers; nothing can be written, and nothing in the file is believed.
        clock: seconds since 1970; the ledger never goes back behind its last event.
        check: number of the check that a bad file fails.

    Raises:
        UsageError: no such file.
        VerificationError: the file is no ledger, or somebody edited it.
        BackendFailed: it is locked, or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        keys: Iterable[Account] = (),
        *,
        create: bool = False,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
        check: str = CHECK,
    ) -> None:
        if read_only and create:
            raise UsageError("ledger: read-only and to be created: expected one of them")
        self._keys = {key.name: key for key in keys}
        self._clock = clock
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._file = LedgerFile(path, read_only=read_only, create=create, check=check)
        try:
            self._replica = Replica(self._named())
            with self._reading():
                pass
        except BaseException:
            self._file.close()
            raise

    def _named(self) -> bytes:
        with self._file.transaction():
            name = self._file.name()
        if name is None and not self._file.read_only:
            with self._file.transaction(write=True):
                name = self._file.name()
                if name is None:
                    name = secrets.token_bytes(LEDGER_ID_BYTES)
                    self._file.baptise(name, Book().money.to_json())
        if name is None:
            raise self._file.refuse("name", f"{LEDGER_ID_BYTES} bytes", None)
        return name

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def __enter__(self) -> SqliteLedger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def traces(self) -> Path:
        """The folder beside the file in which float claims' traces are published, by their root."""
        return self._file.path.with_name(self._file.path.name + ".traces")

    @property
    def name(self) -> bytes:
        """The ledger's own 32 random bytes; a policy can pin them."""
        return self._replica.ledger

    # ------------------------------------------------------------ reading and writing
    @contextmanager
    def _reading(self) -> Iterator[Book]:
        """The book with all that is in the file now."""
        self._check_process()
        with self._lock, self._file.transaction():
            self._catch_up(self._replica)
            yield self._replica.book

    def _catch_up(self, replica: Replica) -> None:
        """Replay what the file has beyond the replica; VerificationError where it is wrong."""
        if replica.number:
            last = next(self._file.records(replica.number - 1, 1), None)
            if last is None or last[1] != replica.head:
                raise self._file.refuse(
                    f"event {replica.number}", replica.head.hex(), last and last[1].hex()
                )
        for record, stated in self._file.records(replica.number):
            replica.adopt(record, replica.check(record, stated, self._file.check))

    def _act(self, action: Action, sender: str) -> int:
        self._check_process()
        if self._file.read_only:
            raise UsageError("ledger: opened to be read; open it with a key to act")
        account = self._keys.get(sender)
        if account is None:
            raise UsageError(f"ledger: no key for {sender}; open it with that account's key")
        with self._lock:
            with self._file.transaction(write=True):
                self._catch_up(self._replica)
                record, draft = self._replica.propose(action, account, self._time())
                self._file.append(record, record.hash(self.name, self._replica.head))
                for name, balance in {account.name: None, **draft.balances}.items():
                    known = self._replica.book.balances.get(name, 0)
                    sequence = self._replica.sequences.get(name, 0) + (name == account.name)
                    self._file.put(
                        "accounts",
                        account=name,
                        balance=str(known if balance is None else balance),
                        sequence=sequence,
                    )
                for table, states in (
                    ("claims", draft.claims),
                    ("disputes", draft.disputes),
                    ("requests", draft.requests),
                ):
                    for number, state in states.items():
                        self._file.put(table, number=number, state=state.to_json())
                self._file.baptise(self.name, draft.money.to_json())
            self._replica.adopt(record, draft)
            return draft.result

    def _time(self) -> int:
        return max(min(int(self._clock()), MAX_TIME - 1), self._replica.book.time)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise UsageError("ledger: opened before a fork; open it again in each process")

    # ------------------------------------------------------------ actions
    def deposit(self, amount: int, sender: str) -> None:
        """Book money for the sender; there is nothing behind it but everybody's consent."""
        self._act(actions.Deposit(amount), sender)

    def withdraw(self, sender: str) -> int:
        return self._act(actions.Withdraw(), sender)

    def post(self, terms: Terms, header: bytes, sender: str) -> int:
        return self._act(actions.Post(terms, header), sender)

    def challenge(self, claim: int, sender: str) -> int:
        return self._act(actions.Challenge(claim), sender)

    def finalise(self, claim: int, sender: str) -> None:
        self._act(actions.Finalise(claim), sender)

    def prove_input_range(
        self, claim: int, input: int, cell: int, opening: Opening, sender: str
    ) -> None:
        self._act(actions.InputRange(claim, input, cell, opening), sender)

    def move(self, dispute: int, move: Move, sender: str) -> None:
        if isinstance(move, PointAt):
            move = self._found(dispute, move)
        self._act(actions.Play(dispute, move), sender)

    def _found(self, dispute: int, move: PointAt) -> PointAt:
        """An accusation with what is found of it here, before anybody has to wait for that."""
        with self._reading() as book:
            state = book.dispute(dispute)
            claim = book.claim(state.claim)
        if claim.floating is None or state.status is not Status.RUNNING:
            return move  # refused in its place
        return pointing.as_found(claim.terms, claim.floating, move)

    def timeout(self, dispute: int, sender: str) -> None:
        self._act(actions.TimeOut(dispute), sender)

    def release(self, dispute: int, sender: str) -> None:
        self._act(actions.Release(dispute), sender)

    def request(self, claim: int, input: int, chunk: int, sender: str) -> int:
        return self._act(actions.Ask(claim, input, chunk), sender)

    def answer(self, request: int, chunk: bytes, path: Sequence[bytes], sender: str) -> None:
        self._act(actions.Answer(request, chunk, tuple(path)), sender)

    def default(self, request: int, sender: str) -> None:
        self._act(actions.Default(request), sender)

    def release_request(self, request: int, sender: str) -> None:
        self._act(actions.ReleaseRequest(request), sender)

    # ------------------------------------------------------------ state
    def now(self) -> int:
        with self._reading():
            return self._time()

    def balance(self, account: str) -> int:
        """Raises `UsageError` for what is no account's name."""
        public_of(account)
        with self._reading() as book:
            return book.balances.get(account, 0)

    def claim(self, number: int) -> ClaimState:
        with self._reading() as book:
            return book.claim(number)

    def dispute(self, number: int) -> DisputeState:
        with self._reading() as book:
            return book.dispute(number)

    def requested(self, number: int) -> RequestState:
        with self._reading() as book:
            return book.request(number)

    def money(self) -> Money:
        """Totals; `sum of balances + held + burnt = deposited - withdrawn`."""
        with self._reading() as book:
            return book.money

    def events(self, since: int, limit: int = MAX_EVENTS) -> list[Event]:
        found = []
        with self._reading():
            replica = self._replica
            for record, stated in self._file.records(max(since, 0), min(limit, MAX_EVENTS)):
                # What was replayed, and not what somebody may have written over it since.
                expected = replica.hashes[record.number - 1]
                before = replica.hash_at(record.number - 1)
                if stated != expected or record.hash(self.name, before) != expected:
                    raise self._file.refuse(
                        f"event {record.number} has changed", expected.hex(), stated.hex()
                    )
                action = actions.read_action(record.action)
                sender, result = name_of(record.sender), replica.results[record.number - 1]
                found.append(Event(record.number, record.time, sender, action, result))
        return found

    def audit(self) -> Audit:
        """Replay the whole file from its first event, and compare every state that it keeps.

        Raises:
            VerificationError: at the first difference.
        """
        self._check_process()
        with self._lock, self._file.transaction():
            replica = Replica(self.name)
            self._catch_up(replica)
            for table, columns, expected in _states(replica):
                self._compare(table, columns, expected)
        return Audit(self.name, replica.number, replica.head)

    def _compare(
        self, table: str, columns: str, expected: Iterable[tuple[int | bytes, ...]]
    ) -> None:
        key = columns.split(",", 1)[0]
        expected = list(expected)
        types = tuple(map(type, expected[0])) if expected else None
        # Ends at the first difference, so that a file cannot make it go on for ever.
        rows = self._file.rows(table, columns, types, f"ORDER BY {key}")
        for wanted, found in zip_longest(expected, rows):
            if wanted != found:
                raise self._file.refuse(f"{table}: a state", wanted, found)


def _states(replica: Replica) -> Iterator[tuple[str, str, list[tuple[int | bytes, ...]]]]:
    """Tables with the rows that they must have."""
    book = replica.book
    yield "ledger", "id, name, money", [(1, replica.ledger, dumps(book.money.to_json()))]
    yield (
        "accounts",
        "account, balance, sequence",
        [
            (name.encode(), str(balance).encode(), replica.sequences.get(name, 0))
            for name, balance in sorted(
                {
                    name: book.balances.get(name, 0)
                    for name in (*replica.sequences, *book.balances)
                }.items()
            )
        ],
    )
    tables: dict[str, Mapping[int, ClaimState | DisputeState | RequestState]] = {
        "claims": book.claims,
        "disputes": book.disputes,
        "requests": book.requests,
    }
    for table, states in tables.items():
        rows: list[tuple[int | bytes, ...]] = [
            (number, dumps(state.to_json())) for number, state in sorted(states.items())
        ]
        yield table, "number, state", rows
