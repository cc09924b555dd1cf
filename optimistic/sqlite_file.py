"""The file of an embedded ledger: its tables, how it is opened, and how rows are read.

Whoever verifies opens files that strangers wrote. So nothing in a file is believed: its schema
must be ours to the letter (no view, trigger or generated column may run when a row is read), every
value has the type and at most the length that ours has, rows are read in order and counted by us,
and a query that takes too long ends. What a file says wrong is a `VerificationError`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from proofml.canonical import JSON, dumps
from proofml.errors import BackendFailed, UsageError, VerificationError
from proofml.optimistic.actions import MAX_POINTING_BYTES, most_bytes
from proofml.optimistic.chain import Record

APPLICATION_ID = 0x504D4C4C  # "PMLL"
VERSION = 1
LEDGER_ID_BYTES = 32
#: A row holds an action, or a state with what was revealed in a dispute as hexadecimal digits.
MAX_ROW_BYTES = MAX_POINTING_BYTES + (1 << 20)
MAX_FILE_BYTES = 2 << 30
#: Seconds that a query may take where the file is a stranger's.
PATIENCE = 300
#: Seconds that a writer waits for another one.
BUSY = 60
_STEPS = 100_000  # of SQLite's machine between two looks at the time

#: Table -> its statement. Balances and totals are decimal: they can be beyond 64 bits.
TABLES = {
    "ledger": (
        "CREATE TABLE ledger (id INTEGER PRIMARY KEY, name BLOB NOT NULL, money TEXT NOT NULL)"
    ),
    "events": (
        "CREATE TABLE events (number INTEGER PRIMARY KEY, time INTEGER NOT NULL, "
        "sender BLOB NOT NULL, sequence INTEGER NOT NULL, action BLOB NOT NULL, "
        "signature BLOB NOT NULL, hash BLOB NOT NULL)"
    ),
    "accounts": (
        "CREATE TABLE accounts (account TEXT PRIMARY KEY, balance TEXT NOT NULL, "
        "sequence INTEGER NOT NULL) WITHOUT ROWID"
    ),
    "claims": "CREATE TABLE claims (number INTEGER PRIMARY KEY, state TEXT NOT NULL)",
    "disputes": "CREATE TABLE disputes (number INTEGER PRIMARY KEY, state TEXT NOT NULL)",
    "requests": "CREATE TABLE requests (number INTEGER PRIMARY KEY, state TEXT NOT NULL)",
}


class LedgerFile:
    """A connection, with transactions.

    Args:
        read_only: as a verifier opens it: no write, no waiting for ever.
        check: number of the check that a bad file fails.

    Raises:
        UsageError: no such file, or a folder.
        VerificationError: not a ledger.
        BackendFailed: the file cannot be used now (locked, no space, no permission).
    """

    def __init__(self, path: Path, *, read_only: bool, create: bool, check: str) -> None:
        self.path = path
        self.check = check
        self.read_only = read_only
        self._until = 0.0
        if not path.is_file() and (path.exists() or not create):
            raise UsageError(f"{path}: expected a ledger's file; create one, or name another")
        with self._errors():
            self._connection = self._connect()
            try:
                if create:
                    self._create()
                self._check_schema()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        self._connection.close()

    # ------------------------------------------------------------ opening
    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self.read_only else "rwc"
        try:
            return self._prepared(f"mode={mode}")
        except sqlite3.OperationalError:
            # A folder that cannot be written has no room for the files beside a database in WAL
            # mode; without a log there is nothing in them.
            log = self.path.with_name(self.path.name + "-wal")
            if not self.read_only or (log.exists() and log.stat().st_size):
                raise
            return self._prepared("mode=ro&immutable=1")

    def _prepared(self, options: str) -> sqlite3.Connection:
        if self.read_only and (size := self._size()) > MAX_FILE_BYTES:
            raise self.refuse("size of the file", f"at most {MAX_FILE_BYTES}", size)
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?{options}",
            uri=True,
            timeout=BUSY,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.text_factory = bytes  # text that is no UTF-8 is a value like any other
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_ROW_BYTES)
            if self.read_only:
                self._renew()
                connection.set_progress_handler(lambda: time.monotonic() > self._until, _STEPS)
            for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
                connection.execute(f"PRAGMA {pragma}")
            if not self.read_only:
                self._journal(connection)
            connection.execute("SELECT count(*) FROM (SELECT 1 FROM sqlite_master LIMIT 1)")
        except BaseException:
            connection.close()
            raise
        return connection

    def _size(self) -> int:
        paths = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())

    @staticmethod
    def _journal(connection: sqlite3.Connection) -> None:
        """Write-ahead log, synced at every commit. Changing the mode does not wait by itself."""
        end = time.monotonic() + BUSY
        while True:
            with suppress(sqlite3.OperationalError):
                if connection.execute("PRAGMA journal_mode=WAL").fetchone() == (b"wal",):
                    break
            if time.monotonic() > end:
                raise sqlite3.OperationalError("cannot be put into WAL mode")
            time.sleep(0.01)
        connection.execute("PRAGMA synchronous=FULL")

    def _create(self) -> None:
        """The tables, unless they are there: another process may be as fast."""
        with self.transaction(write=True):
            if self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                return
            for statement in TABLES.values():
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version={VERSION}")

    def _check_schema(self) -> None:
        with self.transaction():
            for pragma, expected in (("application_id", APPLICATION_ID), ("user_version", VERSION)):
                (found,) = self._connection.execute(f"PRAGMA {pragma}").fetchone()
                if found != expected:
                    raise self.refuse(pragma, expected, found)
            statement = "SELECT type, name, sql FROM sqlite_master LIMIT ?"
            found = set(self._connection.execute(statement, (2 * len(TABLES),)))
            expected_rows = {
                (b"table", name.encode(), sql.encode()) for name, sql in TABLES.items()
            }
            if found != expected_rows:
                raise self.refuse("schema", sorted(TABLES), sorted(map(str, found)))

    # ------------------------------------------------------------ using
    def refuse(self, what: str, expected: object, got: object) -> VerificationError:
        return VerificationError(self.check, f"ledger: {what}", expected=expected, got=got)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            # Locked, full, not permitted: says nothing about the file, if it is our own.
            if self.read_only:
                raise self.refuse(f"cannot be read: {error}", "a ledger", self.path) from error
            raise BackendFailed(f"{self.path}: {error}", stage="ledger") from error
        except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
            raise self.refuse(f"cannot be read: {error}", "a ledger", self.path) from error

    def _renew(self) -> None:
        self._until = time.monotonic() + PATIENCE

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[None]:
        """All or nothing; writers wait for each other, readers see one state throughout."""
        self._renew()
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # Nothing to roll back where SQLite did it itself.
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    # ------------------------------------------------------------ rows
    def name(self) -> bytes | None:
        """The ledger's random name; None in a file that was just created."""
        rows = self.rows("ledger", "id, name", (int, bytes), "LIMIT 2")
        first = next(rows, None)
        if first is None:
            return None
        if first[0] != 1 or len(first[1]) != LEDGER_ID_BYTES or next(rows, None) is not None:
            raise self.refuse("name", f"one of {LEDGER_ID_BYTES} bytes", first)
        return bytes(first[1])

    def baptise(self, name: bytes, money: JSON) -> None:
        """The ledger's only row: its name, and the totals."""
        self.put("ledger", id=1, name=name, money=money)

    def records(self, after: int, limit: int = -1) -> Iterator[tuple[Record, bytes]]:
        """Stored records above a number, in the order of their numbers, with their hashes."""
        columns = "number, time, sender, sequence, action, signature, hash"
        types = (int, int, bytes, int, bytes, bytes, bytes)
        where = "WHERE number > ? ORDER BY number LIMIT ?"
        for row in self.rows("events", columns, types, where, (after, limit)):
            number, at, sender, sequence, action, signature, stated = row
            if min(number, at, sequence) < 0 or len(action) > most_bytes(action):
                raise self.refuse(f"event {after + 1}", "numbers and an action", row[:2])
            yield Record(number, at, sender, sequence, action, signature), stated

    def rows(
        self,
        table: str,
        columns: str,
        types: tuple[type, ...] | None,
        where: str = "",
        values: tuple[int, ...] = (),
    ) -> Iterator[tuple[Any, ...]]:
        """Rows; any but these types are a VerificationError."""
        with self._errors():
            for row in self._connection.execute(f"SELECT {columns} FROM {table} {where}", values):
                if types is not None and tuple(map(type, row)) != types:
                    raise self.refuse(f"{table}: types of a row", types, row)
                yield row

    def put(self, table: str, **values: JSON | bytes) -> None:
        """One row, over the one of the same key; states are written as canonical JSON."""
        plain = [
            value if isinstance(value, (int, bytes, str)) else dumps(value).decode()
            for value in values.values()
        ]
        columns = ", ".join(values)
        places = ", ".join("?" * len(values))
        self._connection.execute(
            f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})", plain
        )

    def append(self, record: Record, stated: bytes) -> None:
        """A new record; never over one that is there."""
        self._connection.execute(
            "INSERT INTO events (number, time, sender, sequence, action, signature, hash) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                record.number,
                record.time,
                record.sender,
                record.sequence,
                record.action,
                record.signature,
                stated,
            ),
        )
