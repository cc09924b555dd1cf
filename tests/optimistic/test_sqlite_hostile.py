"""Any file -> the ledger that its senders signed, or `VerificationError`.

In every forgery the attacker recomputes all hashes and signs what he can sign.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proofml.errors import VerificationError
from proofml.optimistic import accounts, actions, chain, sqlite_file
from proofml.optimistic.accounts import Account
from proofml.optimistic.chain import Record
from proofml.optimistic.sqlite_file import TABLES
from proofml.optimistic.sqlite_ledger import Audit, SqliteLedger

from .claims import honest
from .test_sqlite_ledger import ALICE, BOB, KEYS, Hands, whole_game

MALLORY = Account.of_seed(bytes((66,)) * 32)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Audit]:
    """A ledger with a whole game in it, as the bytes of its file; Mallory acted last."""
    path = tmp_path_factory.mktemp("original") / "ledger.db"
    with SqliteLedger(path, (*KEYS, MALLORY), create=True, clock=Hands()) as ledger:
        whole_game(ledger)
        run = honest("one")
        ledger.deposit(5000, MALLORY.name)
        ledger.post(run.terms(), run.header, MALLORY.name)
        ledger.challenge(2, BOB.name)
        ledger.deposit(1, MALLORY.name)
        audit = ledger.audit()
    return path.read_bytes(), audit


@pytest.fixture
def path(tmp_path: Path, original: tuple[bytes, Audit]) -> Path:
    found = tmp_path / "ledger.db"
    found.write_bytes(original[0])
    return found


def audited(path: Path) -> Audit:
    with SqliteLedger(path, read_only=True, check="some.7") as reader:
        return reader.audit()


def refusal(path: Path) -> str:
    with pytest.raises(VerificationError) as caught:
        audited(path)
    assert caught.value.check == "some.7"
    return str(caught.value)


def edit(path: Path, *statements: str, values: tuple[Any, ...] = ()) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in statements:
            assert connection.execute(statement, values).rowcount != 0
    finally:
        connection.close()


def test_the_original_is_accepted(path: Path, original: tuple[bytes, Audit]) -> None:
    assert audited(path) == original[1]


# ---------------------------------------------------------------- forged records
def forge(path: Path, change: Callable[[list[Record]], list[Record]]) -> None:
    """Records changed, numbered anew, chained anew, and signed where Mallory is the sender."""
    connection = sqlite3.connect(path, isolation_level=None)
    (ledger,) = connection.execute("SELECT name FROM ledger").fetchone()
    query = "SELECT number, time, sender, sequence, action, signature FROM events ORDER BY number"
    records = change([Record(*row) for row in connection.execute(query)])
    connection.execute("DELETE FROM events")
    before, sequences = chain.genesis(ledger), dict.fromkeys((r.sender for r in records), 0)
    for number, record in enumerate(records, 1):
        record = replace(record, number=number, sequence=sequences[record.sender])
        sequences[record.sender] += 1
        if record.sender == accounts.public_of(MALLORY.name):
            record = replace(record, signature=MALLORY.sign(record.message(ledger, before)))
        before = record.hash(ledger, before)
        row = (record.number, record.time, record.sender, record.sequence, record.action)
        connection.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, record.signature, before)
        )
    connection.close()


def changed(number: int, **fields: Any) -> Callable[[list[Record]], list[Record]]:
    def change(records: list[Record]) -> list[Record]:
        records[number - 1] = replace(records[number - 1], **fields)
        return records

    return change


def by_mallory(action: actions.Action, time: int = 1100) -> Callable[[list[Record]], list[Record]]:
    def change(records: list[Record]) -> list[Record]:
        sender = accounts.public_of(MALLORY.name)
        return [*records, Record(0, time, sender, 0, actions.to_bytes(action), b"")]

    return change


FORGERIES: dict[str, tuple[Callable[[list[Record]], list[Record]], str]] = {
    "an amount": (changed(1, action=actions.to_bytes(actions.Deposit(9999))), "event 1: signature"),
    "a move": (changed(8, action=actions.to_bytes(actions.Challenge(1))), "event 8: signature"),
    "a time": (changed(3, time=1001), "event 3: signature"),
    "a sender": (changed(2, sender=accounts.public_of(ALICE.name)), "event 2: signature"),
    "a sender who signs": (
        changed(2, sender=accounts.public_of(MALLORY.name)),
        "event 3: signature",
    ),
    "dropped": (lambda records: records[:4] + records[5:], "event 5: signature"),
    "the first dropped": (lambda records: records[1:], "event 1: signature"),
    "swapped": (lambda records: [records[1], records[0], *records[2:]], "event 1: signature"),
    "said twice": (lambda records: [*records[:2], *records[1:]], "event 3: signature"),
    "his own, under another's": (
        lambda records: [*records[:-4], records[-1], *records[-4:-1]],
        "signature",
    ),
    "against a rule": (by_mallory(actions.Finalise(2)), "against the rules"),
    "of nothing": (by_mallory(actions.Challenge(77)), "against the rules"),
    "before the last": (by_mallory(actions.Deposit(1), 999), "time"),
    "beyond all times": (by_mallory(actions.Deposit(1), chain.MAX_TIME), "time"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_records(path: Path, name: str) -> None:
    change, message = FORGERIES[name]
    forge(path, change)
    assert message in refusal(path)


def test_what_mallory_may_do_alone(path: Path, original: tuple[bytes, Audit]) -> None:
    """Add to the end, and cut his own end: whoever kept a later hash sees it, nobody else."""
    forge(path, by_mallory(actions.Deposit(1)))
    with pytest.raises(VerificationError, match="a state"):
        audited(path)
    path.write_bytes(original[0])
    with SqliteLedger(path, read_only=True) as reader:
        edit(path, "DELETE FROM events WHERE number = (SELECT max(number) FROM events)")
        with pytest.raises(VerificationError, match="event"):
            reader.balance(ALICE.name)


def test_an_unreadable_action_that_is_signed(path: Path) -> None:
    def change(records: list[Record]) -> list[Record]:
        return [*records, replace(records[-1], action=b"\x63no action")]

    forge(path, change)
    assert "expected 1 to 13" in refusal(path)


def test_records_of_another_ledger(path: Path) -> None:
    edit(path, "UPDATE ledger SET name = ?", values=(bytes(32),))
    forge(path, lambda records: records)
    assert "event 1: signature" in refusal(path)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE events SET number = 1000 WHERE number = 4", "event 5: number"),
        ("UPDATE events SET sequence = 7 WHERE number = 4", "sequence number"),
        ("UPDATE events SET hash = zeroblob(32) WHERE number = 4", "event 4: hash"),
        ("UPDATE events SET signature = zeroblob(63) WHERE number = 4", "bytes of the signature"),
        ("UPDATE events SET sender = zeroblob(31) WHERE number = 4", "bytes of the sender"),
        ("UPDATE events SET time = -1 WHERE number = 4", "numbers and an action"),
        ("UPDATE events SET action = zeroblob(300000) WHERE number = 4", "numbers and an action"),
        ("UPDATE events SET action = zeroblob(20000000) WHERE number = 4", "too big"),
        ("UPDATE events SET time = 'noon' WHERE number = 4", "types of a row"),
        ("UPDATE events SET time = 1.5 WHERE number = 4", "types of a row"),
        ("UPDATE events SET action = 7 WHERE number = 4", "types of a row"),
        ("UPDATE ledger SET name = 'x'", "name"),
        ("UPDATE ledger SET name = 7", "types of a row"),
        ("UPDATE ledger SET id = 2", "name"),
        ("INSERT INTO ledger VALUES (2, zeroblob(32), '{}')", "name"),
        ("DELETE FROM ledger", "name"),
    ],
)
def test_broken_rows(path: Path, statement: str, message: str) -> None:
    edit(path, statement)
    assert message in refusal(path)


@pytest.mark.parametrize("table", ["ledger", "accounts", "claims", "disputes", "requests"])
def test_states_that_do_not_follow(path: Path, original: tuple[bytes, Audit], table: str) -> None:
    """Every value of every row; reading still says what the records say, an audit refuses."""
    with sqlite3.connect(path) as connection:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        rows = list(connection.execute(f"SELECT * FROM {table}"))
    connection.close()
    key, *others = columns
    for row in rows:
        edits = [f"UPDATE {table} SET {other} = {other} || '0' WHERE {key} = ?" for other in others]
        edits.append(f"DELETE FROM {table} WHERE {key} = ?")
        for statement in edits:
            if table == "ledger" and "money" not in statement:
                continue
            path.write_bytes(original[0])
            edit(path, statement, values=(row[0],))
            with SqliteLedger(path, read_only=True) as reader:
                assert reader.balance(ALICE.name) == 4007
            assert f"{table}: a" in refusal(path) or f"{table}: types" in refusal(path)
    if table != "ledger":
        path.write_bytes(original[0])
        marks = ", ".join("?" * len(columns))
        values = ("ed25519:zz", "5", 0)[: len(columns)] if table == "accounts" else (99, "{}")
        edit(path, f"INSERT INTO {table} VALUES ({marks})", values=values)
        assert f"{table}: a state" in refusal(path)


# ---------------------------------------------------------------- forged files
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE more (x)",
        "CREATE INDEX more ON events (time)",
        "CREATE VIEW more AS SELECT 1",
        "CREATE TRIGGER more AFTER INSERT ON events BEGIN SELECT 1; END",
        "ALTER TABLE events ADD COLUMN more INTEGER",
        "ALTER TABLE events RENAME TO other",
        "DROP TABLE requests",
        "PRAGMA user_version = 2",
        "PRAGMA application_id = 0",
    ],
)
def test_another_schema(path: Path, statement: str) -> None:
    edit(path, statement)
    assert any(word in refusal(path) for word in ("schema", "user_version", "application_id"))


def test_a_view_in_place_of_a_table(path: Path) -> None:
    """It would compute for ever when it is read; it is refused before."""
    edit(
        path,
        "DROP TABLE requests",
        "CREATE VIEW requests AS WITH RECURSIVE n(i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS number, '' AS state FROM n",
    )
    assert "schema" in refusal(path)


def test_a_schema_that_only_looks_like_ours(path: Path) -> None:
    """Our names, another affinity: types are ours to the letter or not at all."""
    edit(
        path,
        "DROP TABLE claims",
        TABLES["claims"].replace("state TEXT", "state BLOB"),
    )
    assert "schema" in refusal(path)


@pytest.mark.parametrize("size", [0, 1, 16, 99, 100, 4096, 5000])
def test_files_that_end_early(path: Path, original: tuple[bytes, Audit], size: int) -> None:
    path.write_bytes(original[0][:size])
    assert refusal(path)


def test_files_that_are_something_else(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + bytes(5000))
    assert "not a database" in refusal(path)


def test_a_file_that_is_too_large(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "MAX_FILE_BYTES", 1000)
    assert "size of the file" in refusal(path)


def test_a_query_that_takes_too_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "PATIENCE", -1)
    monkeypatch.setattr(sqlite_file, "_STEPS", 1)
    assert "interrupted" in refusal(path)


@pytest.mark.parametrize("seed", range(120))
def test_bytes_changed_anywhere(path: Path, original: tuple[bytes, Audit], seed: int) -> None:
    """Refused, or the change lay where nothing is."""
    rng = random.Random(seed)
    data = bytearray(original[0])
    for _ in range(rng.choice((1, 3, 30))):
        at = rng.randrange(len(data))
        data[at] = rng.choice((0, 0xFF, data[at] ^ 1 << rng.randrange(8), rng.randrange(256)))
    if rng.random() < 0.2:
        page = rng.randrange(len(data) // 4096) * 4096
        data[page : page + 4096] = data[:4096] if rng.random() < 0.5 else rng.randbytes(4096)
    path.write_bytes(data)
    try:
        found = audited(path)
    except VerificationError:
        return
    assert found == original[1]


@pytest.mark.parametrize("kind", ["-wal", "-journal", "-shm"])
def test_garbage_beside_the_file(path: Path, original: tuple[bytes, Audit], kind: str) -> None:
    path.with_name(path.name + kind).write_bytes(os.urandom(40_000))
    try:
        found = audited(path)
    except VerificationError:
        return
    assert found == original[1]


def test_a_log_that_was_cut(tmp_path: Path) -> None:
    """The end of the log is lost, as in a crash of the machine: what is left is a whole ledger."""
    path = tmp_path / "ledger.db"
    with SqliteLedger(path, KEYS, create=True, clock=Hands()) as ledger:
        whole_game(ledger)
        log = path.with_name("ledger.db-wal").read_bytes()
        main = path.read_bytes()
        most = ledger.audit().events
    seen, early = set(), []
    for cut in range(0, len(log), 40_000):
        copy = tmp_path / f"copy{cut}.db"
        copy.write_bytes(main)
        copy.with_name(copy.name + "-wal").write_bytes(log[:cut])
        try:
            seen.add(audited(copy).events)
        except VerificationError:
            early.append(cut)
    assert max(early) < 60_000, "only where the tables were not there yet"
    assert len(seen) > 5
    assert max(seen) <= most


def test_a_writer_notices_too(path: Path) -> None:
    """Whoever acts replays first: nobody builds upon a forged file."""
    forge(path, FORGERIES["an amount"][0])
    with pytest.raises(VerificationError, match="signature"):
        SqliteLedger(path, KEYS)


def test_an_edit_under_a_running_ledger(path: Path) -> None:
    with SqliteLedger(path, KEYS) as ledger:
        edit(path, "UPDATE events SET action = zeroblob(17) WHERE number = 1")
        with pytest.raises(VerificationError, match="event 1 has changed"):
            ledger.events(0)
        with pytest.raises(VerificationError, match="event 1: hash"):
            ledger.audit()
        edit(path, "UPDATE events SET hash = zeroblob(32) WHERE number > 5")
        with pytest.raises(VerificationError):
            ledger.deposit(1, ALICE.name)
