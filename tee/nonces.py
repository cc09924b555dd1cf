"""Nonces of a verifier that keeps state: each is issued once, expires, and is used up by one proof.

A SQLite file, shared by any number of processes on one machine. Whatever `consume` accepted is on
the disk when it returns, so that no crash lets a nonce be used again. The file holds at most `most`
nonces. An issued one is forgotten when it expires. The store knows it all the same, and refuses it:

    nonce = 16 random bytes || HMAC-SHA-256(key of the store, these), its first 16 bytes

A nonce that the verifier chose by itself was never issued, so its use has to be remembered for
ever.
"""

from __future__ import annotations

import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proofml.errors import BackendFailed, UsageError
from proofml.fields import HEX_SHA256
from proofml.statement import MAX_NONCE_BYTES
from proofml.tee.binding import LATEST_TIME
from proofml.tee.checks import FRESHNESS, refuse

NONCE_BYTES: Final = 32
_RANDOM_BYTES: Final = 16
_KEY_BYTES: Final = 32
LIFETIME: Final = 600
MOST: Final = 100_000
#: Seconds that a process waits for another one to finish writing.
PATIENCE: Final = 30

#: SQLite's `application_id` and `user_version`: "pmlN", and the version of these tables.
_MAGIC, _VERSION = 0x706D6C4E, 2
# No nonce is negative in time; NULL in `expires` stands for never (a nonce of the verifier's own).
_TABLES = (
    """
CREATE TABLE nonces (
    nonce BLOB PRIMARY KEY NOT NULL,
    issued INTEGER,
    expires INTEGER,
    used INTEGER,
    statement TEXT
) WITHOUT ROWID
""",
    "CREATE INDEX by_expiry ON nonces (expires) WHERE expires IS NOT NULL",
    "CREATE TABLE secret (key BLOB NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class Used:
    """A nonce that was just used up; `issued` in seconds since 1970, None for an own one."""

    nonce: bytes
    issued: int | None
    now: int

    @property
    def age(self) -> int | None:
        """Seconds since it was issued: what it vouches for is no older."""
        return None if self.issued is None else self.now - self.issued


class Nonces:
    """The store in one file, made when it is not there (mode 0600, its folder must exist).

    Args:
        path: of the file.
        lifetime: seconds from issue to expiry, at least 1.
        most: nonces in the file at one time, at least 1.

    Raises:
        UsageError: an argument out of bounds, or a file that is not such a store.
    """

    def __init__(self, path: Path, *, lifetime: int = LIFETIME, most: int = MOST) -> None:
        if lifetime < 1 or most < 1:
            raise UsageError(f"nonces: lifetime {lifetime} and most {most} have to be positive")
        self._path = path
        self._lifetime = lifetime
        self._most = most
        try:
            # SQLite would make it readable for all; whoever may write it can undo a use.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise UsageError(
                f"{path}: no store of nonces can be there: {error.strerror}"
            ) from error
        with self._transaction() as rows:
            magic, version = (
                rows.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("application_id", "user_version")
            )
            if (magic, version) == (0, 0) and not rows.execute(
                "SELECT count(*) FROM sqlite_master"
            ).fetchone()[0]:
                for table in _TABLES:
                    rows.execute(table)
                key = secrets.token_bytes(_KEY_BYTES)
                rows.execute("INSERT INTO secret (key) VALUES (?)", (key,))
                rows.execute(f"PRAGMA application_id = {_MAGIC}")
                rows.execute(f"PRAGMA user_version = {_VERSION}")
            elif (magic, version) != (_MAGIC, _VERSION):
                raise UsageError(
                    f"{path}: expected a store of nonces, version {_VERSION}, got another "
                    "database; name a file of its own"
                )

    def issue(self, now: int) -> bytes:
        """A fresh nonce for one proof, 32 bytes; it expires `lifetime` seconds after `now`.

        Raises:
            UsageError: the store is full of nonces that did not expire yet.
        """
        _check_time(now)
        random = secrets.token_bytes(_RANDOM_BYTES)
        with self._transaction() as rows:
            self._make_room(rows, now)
            nonce = random + _tag(rows, random)
            rows.execute(
                "INSERT INTO nonces (nonce, issued, expires) VALUES (?, ?, ?)",
                (nonce, now, now + self._lifetime),
            )
        return nonce

    def consume(
        self, nonce: bytes | None, statement_digest: str, now: int, *, own: bool = False
    ) -> Used:
        """Use up the nonce of a proof for which all else was checked: the last check of all.

        Args:
            nonce: of the Statement.
            statement_digest: is kept, to tell a proof that comes again from another one.
            now: seconds since 1970 by the verifier's own clock, whatever time its policy pins.
            own: the verifier pinned this nonce itself, so it need not have been issued here. One
                that was not is remembered for ever.

        Raises:
            UsageError: what is no nonce or no digest; a store that is full (`own`).
            VerificationError: tee.15, no nonce, one that was never issued here, that has expired
                (or is younger than `now`, by a clock that was set back), or that was used.
        """
        if not HEX_SHA256.fullmatch(statement_digest):
            raise UsageError(f"nonces: expected a Statement's digest, got {statement_digest!r}")
        _check_time(now)
        if nonce is None:
            refuse(FRESHNESS, "nonce", expected="one that was issued here", got="none")
        if not 1 <= len(nonce) <= MAX_NONCE_BYTES:
            raise UsageError(f"nonce: expected 1 to {MAX_NONCE_BYTES} bytes, got {len(nonce)}")
        with self._transaction() as rows:
            found = rows.execute(
                "SELECT issued, expires, used, statement FROM nonces WHERE nonce = ?", (nonce,)
            ).fetchone()
            if found is None:
                random = nonce[:_RANDOM_BYTES]
                if hmac.compare_digest(nonce, random + _tag(rows, random)):
                    _refuse(nonce, "one that has expired and was forgotten")
                if not own:
                    _refuse(nonce, "one that was never issued here")
                self._make_room(rows, now)
                rows.execute(
                    "INSERT INTO nonces (nonce, used, statement) VALUES (?, ?, ?)",
                    (nonce, now, statement_digest),
                )
                return Used(nonce, None, now)
            issued, expires, used, statement = found
            if used is not None:
                same = "this" if statement == statement_digest else "another"
                _refuse(nonce, f"one used at {used} for {same} Statement: a replay")
            if not issued <= now < expires:
                _refuse(nonce, f"one that holds from {issued} to {expires}, and it is {now}")
            rows.execute(
                "UPDATE nonces SET used = ?, statement = ? WHERE nonce = ?",
                (now, statement_digest, nonce),
            )
        return Used(nonce, issued, now)

    def _make_room(self, rows: sqlite3.Connection, now: int) -> None:
        """Forget what has expired, and leave a place for one more."""
        rows.execute("DELETE FROM nonces WHERE expires <= ?", (now,))
        (count,) = rows.execute("SELECT count(*) FROM nonces").fetchone()
        if count >= self._most:
            raise UsageError(
                f"{self._path}: {count} nonces are kept, at most {self._most} may be; wait until "
                "some expire, or raise the limit"
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One writer at a time; all of it is on the disk afterwards, or nothing is.

        A connection for each transaction: it may not be carried across threads or a fork.
        """
        try:
            rows = sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None)
        except sqlite3.Error as error:
            raise UsageError(f"{self._path}: cannot be opened: {error}") from error
        try:
            rows.execute("PRAGMA trusted_schema = OFF")
            rows.execute("PRAGMA synchronous = EXTRA")
            rows.execute("BEGIN IMMEDIATE")
            yield rows
            rows.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise BackendFailed(f"{self._path}: {error}", stage="nonces") from error
        except sqlite3.DatabaseError as error:
            raise UsageError(f"{self._path}: not a store of nonces: {error}") from error
        finally:
            rows.close()  # what was not committed is rolled back


def _tag(rows: sqlite3.Connection, random: bytes) -> bytes:
    """By which the store knows a nonce that it issued, when the nonce is in the file no more."""
    (key,) = rows.execute("SELECT key FROM secret").fetchone()
    return hmac.digest(key, random, "sha256")[: NONCE_BYTES - _RANDOM_BYTES]


def _check_time(now: int) -> None:
    if not 0 <= now <= LATEST_TIME:
        raise UsageError(f"nonces: expected seconds since 1970, got {now}")


def _refuse(nonce: bytes, got: str) -> None:
    refuse(FRESHNESS, f"nonce {nonce.hex()}", expected="one issued here, not used yet", got=got)
