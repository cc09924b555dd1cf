"""The embedded ledger: durable, shared by processes, and true to the pure book."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proofml.errors import BackendFailed, UsageError
from proofml.keys import SigningKey
from proofml.optimistic import accounts, actions, sqlite_file
from proofml.optimistic.accounts import Account
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.chain import Replica
from proofml.optimistic.game import Status
from proofml.optimistic.ledger import Ledger
from proofml.optimistic.moves import Select
from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.optimistic.sqlite_ledger import SqliteLedger

from .claims import false_run, honest
from .players import Challenger, Claimant

ALICE, BOB = (Account.of_seed(bytes((i,)) * 32) for i in (1, 2))
KEYS = (ALICE, BOB)


class Hands:
    """A clock that is set by hand."""

    def __init__(self, now: int = 1000) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now + 0.9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    with SqliteLedger(path, KEYS, create=True, clock=Hands()) as found:
        yield found


def hands(ledger: SqliteLedger) -> Hands:
    clock = ledger._clock
    assert isinstance(clock, Hands)
    return clock


def whole_game(ledger: SqliteLedger) -> None:
    """A false claim, its requests for data, its dispute to the end."""
    run = false_run("network", "cell", 3)
    for key in KEYS:
        ledger.deposit(5000, key.name)
    assert ledger.post(run.terms(), run.header, ALICE.name) == 1
    assert ledger.request(1, 0, 0, BOB.name) == 1
    tensor = run.inputs[0]
    ledger.answer(1, tensor.chunk(0), tensor.tree.path(0), ALICE.name)
    assert ledger.challenge(1, BOB.name) == 1
    claimant, challenger = Claimant(run), Challenger(honest("network"))
    while (dispute := ledger.dispute(1)).status is Status.RUNNING:
        turn = dispute.account(dispute.clock.turn)
        player = claimant if turn == ALICE.name else challenger
        try:
            ledger.move(1, player.move(run.terms(), dispute), turn)
        except IllegalMove:
            hands(ledger).now += 100
            ledger.timeout(1, BOB.name)


def test_a_whole_game(ledger: SqliteLedger, path: Path) -> None:
    whole_game(ledger)
    assert ledger.claim(1).status is ClaimStatus.DEFEATED
    assert ledger.dispute(1).status is Status.WON_BY_CHALLENGER
    assert ledger.balance(ALICE.name) == 4000 + 7
    assert ledger.balance(BOB.name) == 5900 - 7
    assert ledger.withdraw(BOB.name) == 5893
    money = ledger.money()
    assert (money.held, money.burnt, money.deposited, money.withdrawn) == (0, 100, 10_000, 5893)
    audit = ledger.audit()
    assert audit.events == len(ledger.events(0))
    # Whoever opens it later, with no keys, sees the same.
    with SqliteLedger(path, read_only=True) as reader:
        assert reader.audit() == audit
        assert reader.name == ledger.name == audit.ledger
        assert reader.claim(1) == ledger.claim(1)
        assert reader.dispute(1) == ledger.dispute(1)
        assert reader.requested(1) == ledger.requested(1)
        assert reader.events(0) == ledger.events(0)
        assert reader.now() >= ledger.now()


def test_it_is_a_ledger(ledger: SqliteLedger) -> None:
    general: Ledger = ledger
    assert general.now() == 1000


def test_events_carry_all_bytes(ledger: SqliteLedger) -> None:
    whole_game(ledger)
    events = ledger.events(0)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    replica = Replica(ledger.name)
    for event in events:
        key = next(key for key in KEYS if key.name == event.sender)
        record, draft = replica.propose(event.action, key, event.time)
        assert draft.result == event.result
        replica.adopt(record, draft)
    assert replica.head == ledger.audit().head, "signatures are deterministic, so is the chain"
    assert ledger.events(3, 2) == events[3:5]
    assert ledger.events(len(events)) == []
    post = events[2].action
    assert isinstance(post, actions.Post)
    assert post.terms == ledger.claim(1).terms
    assert events[2].result == 1


def test_a_refused_action_leaves_no_trace(ledger: SqliteLedger) -> None:
    whole_game(ledger)
    before = ledger.audit()
    with pytest.raises(IllegalMove) as caught:
        ledger.challenge(1, BOB.name)
    assert caught.value.refusal is Refusal.CLAIM_CLOSED
    with pytest.raises(IllegalMove):
        ledger.dispute(2)
    assert ledger.audit() == before


def test_two_that_are_open_see_each_other(ledger: SqliteLedger, path: Path) -> None:
    with SqliteLedger(path, KEYS, clock=Hands(1001)) as other:
        ledger.deposit(10, ALICE.name)
        assert other.balance(ALICE.name) == 10
        other.deposit(5, ALICE.name)
        ledger.deposit(1, ALICE.name)
        assert other.balance(ALICE.name) == ledger.balance(ALICE.name) == 16
        assert [event.time for event in other.events(0)] == [1000, 1001, 1001]
        assert ledger.audit() == other.audit()


def test_the_time_never_goes_back(ledger: SqliteLedger) -> None:
    ledger.deposit(1, ALICE.name)
    hands(ledger).now = 900
    assert ledger.now() == 1000
    ledger.deposit(1, ALICE.name)
    assert [event.time for event in ledger.events(0)] == [1000, 1000]


def test_balances_beyond_64_bits(ledger: SqliteLedger) -> None:
    most = (1 << 128) - 1
    for _ in range(3):
        ledger.deposit(most, ALICE.name)
    assert ledger.balance(ALICE.name) == 3 * most
    assert ledger.audit().events == 3


def test_names_of_accounts_that_only_receive(ledger: SqliteLedger, path: Path) -> None:
    """Money comes to an account that never acted: its row is there, with no action of its own."""
    whole_game(ledger)
    with sqlite3.connect(path) as connection:
        rows = dict(connection.execute("SELECT account, sequence FROM accounts"))
    played = [event.sender for event in ledger.events(0)]
    assert rows == {key.name: played.count(key.name) for key in KEYS}


# ---------------------------------------------------------------- who may write
def test_only_with_a_key(ledger: SqliteLedger, path: Path) -> None:
    stranger = Account.generate().name
    with pytest.raises(UsageError, match="no key"):
        ledger.deposit(1, stranger)
    with (
        SqliteLedger(path, KEYS, read_only=True) as reader,
        pytest.raises(UsageError, match="to be read"),
    ):
        reader.deposit(1, ALICE.name)
    assert ledger.events(0) == []


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for options in ({}, {"read_only": True}):
        with pytest.raises(UsageError, match="expected a ledger"):
            SqliteLedger(tmp_path / "none.db", **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected a ledger"):
        SqliteLedger(tmp_path, create=True)
    with pytest.raises(UsageError, match="one of them"):
        SqliteLedger(tmp_path / "x.db", create=True, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_creating_twice_opens(ledger: SqliteLedger, path: Path) -> None:
    ledger.deposit(3, ALICE.name)
    with SqliteLedger(path, KEYS, create=True) as again:
        assert again.name == ledger.name
        assert again.balance(ALICE.name) == 3


ARCHIVE = """
import os, sys
from pathlib import Path
from proofml.canonical import dumps
from proofml.optimistic.sqlite_ledger import SqliteLedger
dumps({"all": "codecs are loaded"})
if os.getuid() == 0:  # for whom no folder is closed
    os.setgid(65534)
    os.setuid(65534)
print(SqliteLedger(Path(sys.argv[1]), read_only=True).audit().head.hex())
"""


def test_a_file_in_a_folder_that_cannot_be_written() -> None:
    """As an archive: no log beside it, and no place for one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "ledger.db"
        with SqliteLedger(path, KEYS, create=True, clock=Hands()) as ledger:
            whole_game(ledger)
            head = ledger.audit().head.hex()
        assert list(folder.iterdir()) == [path]
        path.chmod(0o444)
        folder.chmod(0o555)
        try:
            done = subprocess.run(
                [sys.executable, "-c", ARCHIVE, str(path)],
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            folder.chmod(0o755)
        assert done.stdout.strip() == head, done.stderr


def test_not_across_a_fork(ledger: SqliteLedger) -> None:
    child = os.fork()
    if child == 0:
        try:
            ledger.balance(ALICE.name)
        except UsageError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# ---------------------------------------------------------------- many at once
WRITER = """
import sys
from pathlib import Path
from proofml.optimistic.accounts import Account
from proofml.optimistic.sqlite_ledger import SqliteLedger
key = Account.of_seed(bytes((int(sys.argv[2]),)) * 32)
shared = Account.of_seed(bytes((9,)) * 32)
with SqliteLedger(Path(sys.argv[1]), (key, shared), create=True) as ledger:
    for _ in range(20):
        ledger.deposit(1, key.name)
        ledger.deposit(1, shared.name)
"""


def test_many_processes_write_at_once(path: Path) -> None:
    """They create the file at the same moment, and one account acts in all of them."""
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(number)])
        for number in range(1, 5)
    ]
    assert [process.wait(120) for process in running] == [0] * 4
    with SqliteLedger(path, read_only=True) as reader:
        assert reader.audit().events == 160
        assert reader.balance(Account.of_seed(bytes((9,)) * 32).name) == 80
        for number in range(1, 5):
            assert reader.balance(Account.of_seed(bytes((number,)) * 32).name) == 20


def test_threads_share_one(ledger: SqliteLedger) -> None:
    def work() -> None:
        for _ in range(25):
            ledger.deposit(1, ALICE.name)
            ledger.balance(BOB.name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.balance(ALICE.name) == 100
    assert ledger.audit().events == 100


# ---------------------------------------------------------------- when writing fails
def test_a_full_disk(ledger: SqliteLedger) -> None:
    """SQLite's own limit stands for the disk's."""
    ledger.deposit(1, ALICE.name)
    connection = ledger._file._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count={pages}")

    def fill() -> None:
        for _ in range(1000):
            ledger.deposit(1, ALICE.name)

    with pytest.raises(BackendFailed, match="full"):
        fill()
    before = ledger.audit()
    assert ledger.balance(ALICE.name) == before.events
    connection.execute("PRAGMA max_page_count=100000")
    ledger.deposit(1, ALICE.name)
    assert ledger.audit().events == before.events + 1


def test_another_writer_who_does_not_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY", 0.2)
    with SqliteLedger(path, KEYS, create=True) as ledger:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendFailed, match="locked"):
            ledger.deposit(1, ALICE.name)
        assert ledger.balance(ALICE.name) == 0, "reading waits for nobody"
        other.execute("ROLLBACK")
        other.close()
        ledger.deposit(1, ALICE.name)
        assert ledger.audit().events == 1


def test_an_interruption_after_the_commit(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The action is in the file and not in the replica; the next look finds it."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Replica, "adopt", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ledger.deposit(5, ALICE.name)
    assert ledger.balance(ALICE.name) == 5
    ledger.deposit(1, ALICE.name)
    assert ledger.audit().events == 2


@pytest.mark.parametrize("statement", range(1, 6))
def test_an_interruption_between_two_statements(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch, statement: int
) -> None:
    run = honest("one")
    ledger.deposit(5000, ALICE.name)
    before = ledger.audit()
    made = 0
    put = sqlite_file.LedgerFile.put

    def counted(self: sqlite_file.LedgerFile, table: str, **values: object) -> None:
        nonlocal made
        made += 1
        if made == statement:
            raise KeyboardInterrupt
        put(self, table, **values)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_file.LedgerFile, "put", counted)
        if statement <= 3:
            with pytest.raises(KeyboardInterrupt):
                ledger.post(run.terms(), run.header, ALICE.name)
            assert ledger.audit() == before
        else:
            assert ledger.post(run.terms(), run.header, ALICE.name) == 1
            assert ledger.audit().events == before.events + 1


# ---------------------------------------------------------------- accounts
def test_keys_made_elsewhere_are_accounts(tmp_path: Path) -> None:
    key = SigningKey.generate()
    key.save(tmp_path / "plain.pem")
    key.save(tmp_path / "locked.pem", passphrase="secret")
    account = Account.load(tmp_path / "plain.pem")
    assert account.name == key.public
    assert Account.load(tmp_path / "locked.pem", passphrase="secret").name == key.public
    for name, passphrase in (("locked.pem", None), ("locked.pem", "other"), ("none.pem", None)):
        with pytest.raises(UsageError):
            Account.load(tmp_path / name, passphrase=passphrase)
    (tmp_path / "bad.pem").write_bytes(b"no key")
    with pytest.raises(UsageError, match="PEM"):
        Account.load(tmp_path / "bad.pem")


def test_signatures_of_a_ledger_are_of_their_own_kind() -> None:
    key = SigningKey.generate()
    public = accounts.public_of(key.public)
    assert not accounts.signed(public, b"message", key.sign(b"message"))
    assert accounts.signed(accounts.public_of(ALICE.name), b"message", ALICE.sign(b"message"))
    assert not accounts.signed(public, b"message", ALICE.sign(b"message"))
    assert not accounts.signed(b"short", b"message", ALICE.sign(b"message"))
    assert accounts.name_of(public) == key.public
    with pytest.raises(UsageError, match="hexadecimal"):
        accounts.public_of("alice")


def test_moves_of_others_are_refused(ledger: SqliteLedger) -> None:
    run = honest("deep")
    for key in KEYS:
        ledger.deposit(5000, key.name)
    ledger.post(run.terms(), run.header, ALICE.name)
    ledger.challenge(1, BOB.name)
    with pytest.raises(IllegalMove) as caught:
        ledger.move(1, Select(0), BOB.name)
    assert caught.value.refusal is Refusal.NOT_YOUR_TURN
