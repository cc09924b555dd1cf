"""Nonces: single use, whatever else runs at the same time, and whatever dies in between."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.errors import BackendFailed, UsageError, VerificationError
from proofml.tee import nonces as module
from proofml.tee.binding import LATEST_TIME
from proofml.tee.nonces import Nonces, Used
from tests.tee.record_cases import STATEMENT, refusal, refused

NOW = 1_750_000_000
OTHER = "c3" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nonces.sqlite"


@pytest.fixture
def store(path: Path) -> Nonces:
    return Nonces(path)


# -- single use -----------------------------------------------------------------------------------


def test_a_nonce_is_used_once(store: Nonces) -> None:
    nonce = store.issue(NOW)
    assert len(nonce) == 32
    used = store.consume(nonce, STATEMENT, NOW + 5)
    assert used == Used(nonce, NOW, NOW + 5)
    assert used.age == 5
    with refused("tee.15"):
        store.consume(nonce, STATEMENT, NOW + 5)
    with refused("tee.15"):
        store.consume(nonce, OTHER, NOW + 5)


def test_a_replay_says_of_what(store: Nonces) -> None:
    nonce = store.issue(NOW)
    store.consume(nonce, STATEMENT, NOW)
    with pytest.raises(VerificationError, match=f"used at {NOW} for this Statement"):
        store.consume(nonce, STATEMENT, NOW + 1)
    with pytest.raises(VerificationError, match=f"used at {NOW} for another Statement"):
        store.consume(nonce, OTHER, NOW + 1)


def test_nonces_differ(store: Nonces) -> None:
    assert len({store.issue(NOW) for _ in range(10)}) == 10


@pytest.mark.parametrize("nonce", [b"never issued", bytes(32), b"\0"])
def test_an_unknown_nonce(store: Nonces, nonce: bytes) -> None:
    store.issue(NOW)
    with refused("tee.15"):
        store.consume(nonce, STATEMENT, NOW)


def test_no_nonce(store: Nonces) -> None:
    with refused("tee.15"):
        store.consume(None, STATEMENT, NOW)


def test_nonces_of_another_store(store: Nonces, tmp_path: Path) -> None:
    with refused("tee.15"):
        Nonces(tmp_path / "other").consume(store.issue(NOW), STATEMENT, NOW)


def test_it_is_kept_between_runs(store: Nonces, path: Path) -> None:
    used, left = store.issue(NOW), store.issue(NOW)
    store.consume(used, STATEMENT, NOW)
    again = Nonces(path)
    with refused("tee.15"):
        again.consume(used, STATEMENT, NOW)
    again.consume(left, STATEMENT, NOW)


# -- a verifier's own nonces ----------------------------------------------------------------------


def test_own_nonces_are_used_once_for_ever(store: Nonces) -> None:
    used = store.consume(b"chosen here", STATEMENT, NOW, own=True)
    assert used.issued is None
    assert used.age is None
    for later in (NOW, NOW + 1, NOW + 10**9):
        store.issue(later)  # which forgets what has expired
        for own in (True, False):
            with refused("tee.15"):
                store.consume(b"chosen here", STATEMENT, later, own=own)


def test_an_issued_nonce_keeps_its_expiry_when_it_is_pinned(store: Nonces) -> None:
    nonce = store.issue(NOW)
    with refused("tee.15"):
        store.consume(nonce, STATEMENT, NOW + 10_000, own=True)


@pytest.mark.parametrize("use", [True, False], ids=["used", "not used"])
def test_an_issued_nonce_that_was_forgotten_is_not_the_verifiers_own(path: Path, use: bool) -> None:
    """It expired and is not in the file any more: pinned, it would else be accepted again."""
    store = Nonces(path, lifetime=60)
    nonce = store.issue(NOW)
    if use:
        store.consume(nonce, STATEMENT, NOW)
    store.issue(NOW + 60)  # which forgets it
    for again in (store, Nonces(path)):
        with refused("tee.15", "has expired and was forgotten"):
            again.consume(nonce, STATEMENT, NOW + 61, own=True)


def test_nonces_that_another_store_issued_are_ones_own_here(store: Nonces, tmp_path: Path) -> None:
    nonce = Nonces(tmp_path / "other").issue(NOW)
    assert store.consume(nonce, STATEMENT, NOW, own=True).issued is None


@pytest.mark.parametrize("bit", range(0, 256, 5))
def test_what_differs_from_an_issued_nonce_by_a_bit_was_not_issued(store: Nonces, bit: int) -> None:
    changed = bytearray(store.issue(NOW))
    changed[bit // 8] ^= 1 << bit % 8
    with refused("tee.15", "never issued here"):
        store.consume(bytes(changed), STATEMENT, NOW)
    assert store.consume(bytes(changed), STATEMENT, NOW, own=True).issued is None


@pytest.mark.parametrize("size", [1, 31, 32, 33, 64])
def test_own_nonces_of_any_length(store: Nonces, size: int) -> None:
    nonce = bytes(range(size))
    store.consume(nonce, STATEMENT, NOW, own=True)
    with refused("tee.15"):
        store.consume(nonce, STATEMENT, NOW, own=True)


# -- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "accepted"), [(0, True), (1, True), (59, True), (60, False), (61, False), (-1, False)]
)
def test_expiry(path: Path, after: int, accepted: bool) -> None:
    store = Nonces(path, lifetime=60)
    nonce = store.issue(NOW)
    if accepted:
        assert store.consume(nonce, STATEMENT, NOW + after).age == after
    else:
        with refused("tee.15"):
            store.consume(nonce, STATEMENT, NOW + after)


def test_a_nonce_holds_for_ten_minutes(store: Nonces) -> None:
    first, second = store.issue(NOW), store.issue(NOW)
    store.consume(first, STATEMENT, NOW + 599)
    with refused("tee.15", f"holds from {NOW} to {NOW + 600}"):
        store.consume(second, STATEMENT, NOW + 600)


@pytest.mark.parametrize("now", [0, LATEST_TIME])
def test_first_and_last_time(path: Path, now: int) -> None:
    store = Nonces(path, lifetime=1, most=2)
    store.consume(store.issue(now), STATEMENT, now)
    store.consume(b"own", STATEMENT, now, own=True)


def test_a_refused_use_uses_nothing_up(store: Nonces) -> None:
    nonce = store.issue(NOW)
    with refused("tee.15"):
        store.consume(nonce, STATEMENT, NOW - 1)
    store.consume(nonce, STATEMENT, NOW)


def test_a_clock_that_is_set_back_revives_nothing(path: Path) -> None:
    """Used, then expired and forgotten, then the clock stands where it stood before."""
    store = Nonces(path, lifetime=60)
    used, unused = store.issue(NOW), store.issue(NOW)
    store.consume(used, STATEMENT, NOW)
    store.issue(NOW + 1000)
    for nonce in (used, unused):
        with refused("tee.15"):
            store.consume(nonce, STATEMENT, NOW)


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["issue", "use", "use", "own", "pinned"]),
            st.integers(0, 3),
            st.sampled_from([0, 1, 49, 50, 99]),
        ),
        min_size=4,
        max_size=10,
    )
)
def test_against_a_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """Any order of issues, uses and jumps of the clock: what was accepted is not accepted again."""
    store = Nonces(tmp_path_factory.mktemp("store") / "nonces", lifetime=50)
    issued: dict[bytes, int] = {}
    gone: set[bytes] = set()
    accepted: set[bytes] = set()
    for what, which, offset in steps:
        now = NOW + offset
        if what in ("use", "pinned") and issued:
            nonce = list(issued)[which % len(issued)]
            since = issued[nonce]
            allowed = nonce not in accepted | gone and since <= now < since + 50
        else:
            nonce = b"own %d" % which
            allowed = what in ("own", "pinned") and nonce not in accepted
        if what == "issue" or (allowed and nonce not in issued):
            gone |= {old for old, since in issued.items() if since + 50 <= now}
        if what == "issue":
            issued[store.issue(now)] = now
            continue
        own = what in ("own", "pinned")
        found = refusal(partial(store.consume, nonce, STATEMENT, now, own=own))
        assert found == ("accepted" if allowed else "tee.15")
        accepted |= {nonce} if allowed else set()


# -- bounds ---------------------------------------------------------------------------------------


def test_a_full_store(path: Path) -> None:
    store = Nonces(path, lifetime=60, most=3)
    first, *_ = (store.issue(NOW) for _ in range(3))
    with pytest.raises(UsageError, match="at most 3"):
        store.issue(NOW + 1)
    with pytest.raises(UsageError, match="at most 3"):
        store.consume(b"own", STATEMENT, NOW + 1, own=True)
    store.consume(first, STATEMENT, NOW + 1)  # a use needs no room
    store.issue(NOW + 60)  # all three have expired


def test_used_nonces_keep_their_place_until_they_expire(path: Path) -> None:
    store = Nonces(path, lifetime=60, most=1)
    nonce = store.issue(NOW)
    store.consume(nonce, STATEMENT, NOW)
    with pytest.raises(UsageError):
        store.issue(NOW + 59)
    store.issue(NOW + 60)
    with refused("tee.15"):
        store.consume(nonce, STATEMENT, NOW + 59)


@pytest.mark.parametrize("changes", [{"lifetime": 0}, {"most": 0}, {"lifetime": -5}])
def test_vacuous_bounds(path: Path, changes: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Nonces(path, **changes)


def test_misuse(store: Nonces) -> None:
    nonce = store.issue(NOW)
    for digest in ("", "short", "B2" * 32):
        with pytest.raises(UsageError):
            store.consume(nonce, digest, NOW)
    for bad in (b"", bytes(65)):
        with pytest.raises(UsageError):
            store.consume(bad, STATEMENT, NOW)
    for now in (-1, LATEST_TIME + 1, 2**70):
        with pytest.raises(UsageError):
            store.consume(nonce, STATEMENT, now)
        with pytest.raises(UsageError):
            store.issue(now)
    store.consume(nonce, STATEMENT, NOW)


# -- files ----------------------------------------------------------------------------------------


def test_the_file_is_the_owners(store: Nonces, path: Path) -> None:
    store.issue(NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_files_that_are_no_store(tmp_path: Path) -> None:
    text, foreign, newer = tmp_path / "text", tmp_path / "foreign", tmp_path / "newer"
    text.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with sqlite3.connect(foreign) as rows:
        rows.execute("CREATE TABLE other (a)")
    with sqlite3.connect(newer) as rows:
        rows.execute(f"PRAGMA application_id = {module._MAGIC}")
        rows.execute(f"PRAGMA user_version = {module._VERSION + 1}")
    before = foreign.read_bytes()
    for path in (text, foreign, newer, tmp_path, tmp_path / "none" / "file"):
        with pytest.raises(UsageError):
            Nonces(path)
    assert foreign.read_bytes() == before


@pytest.mark.parametrize(
    ("magic", "version"),
    [(module._MAGIC, 0), (0, module._VERSION), (module._MAGIC, 1), (1, module._VERSION)],
)
def test_databases_that_are_marked_otherwise(tmp_path: Path, magic: int, version: int) -> None:
    """An application's mark or a version of the table alone makes no store, empty or not."""
    path = tmp_path / "marked"
    with sqlite3.connect(path) as rows:
        rows.execute(f"PRAGMA application_id = {magic}")
        rows.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(UsageError, match="another database"):
        Nonces(path)


def test_a_file_that_breaks_later(store: Nonces, path: Path) -> None:
    nonce = store.issue(NOW)
    path.write_bytes(b"overwritten" * 1000)
    with pytest.raises(UsageError):
        store.consume(nonce, STATEMENT, NOW)


def test_a_file_that_goes_away(store: Nonces, path: Path) -> None:
    """An empty file in its place has no table: nothing is accepted."""
    nonce = store.issue(NOW)
    path.unlink()
    with pytest.raises((UsageError, BackendFailed)):
        store.consume(nonce, STATEMENT, NOW)


# -- several at once ------------------------------------------------------------------------------


def test_a_writer_that_never_ends(
    store: Nonces, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nonce = store.issue(NOW)
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BackendFailed, match="locked"):
        store.consume(nonce, STATEMENT, NOW)
    other.close()
    store.consume(nonce, STATEMENT, NOW)


RACER = """
import sys
from pathlib import Path
from proofml.errors import VerificationError
from proofml.tee.nonces import Nonces
path, now, statement = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
store = Nonces(path)
if not sys.argv[4:]:
    print(store.issue(now).hex())
for nonce in sys.argv[4:]:
    try:
        store.consume(bytes.fromhex(nonce), statement, now)
    except VerificationError as error:
        assert error.check == "tee.15"
    else:
        print(nonce)
"""


def raced(path: Path, orders: list[list[bytes]]) -> list[bytes]:
    """One process for each order of nonces, all let go at once; what they say that they got."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path), str(NOW), STATEMENT, *map(bytes.hex, order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for order in orders
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    got = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(orders)
    return [bytes.fromhex(line) for text in got for line in text.split()]


def test_processes_that_race(path: Path) -> None:
    """Four processes want the same nonces at the same time: each goes to exactly one."""
    store = Nonces(path)
    nonces = [store.issue(NOW) for _ in range(12)]
    orders = [nonces, nonces[::-1], nonces[6:] + nonces[:6], nonces[::2] + nonces[1::2]]
    assert sorted(raced(path, orders)) == sorted(nonces)


def test_processes_that_make_the_store_at_once(path: Path) -> None:
    found = raced(path, [[], [], []])
    assert len(set(found)) == 3
    store = Nonces(path)
    for nonce in found:
        store.consume(nonce, STATEMENT, NOW)


def test_threads_that_race(path: Path) -> None:
    store = Nonces(path)
    nonce = store.issue(NOW)
    found: list[str] = []

    def use() -> None:
        found.append(refusal(partial(store.consume, nonce, STATEMENT, NOW)))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["accepted", *["tee.15"] * 7]


# -- crashes --------------------------------------------------------------------------------------

KILLED_AFTER = """
import os, signal, sys
from pathlib import Path
from proofml.tee.nonces import Nonces
Nonces(Path(sys.argv[1])).consume(bytes.fromhex(sys.argv[2]), sys.argv[3], {now})
os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_WITHIN = """
import os, signal, sys
from pathlib import Path
from proofml.tee import nonces
from proofml.tee.nonces import Nonces
store = Nonces(Path(sys.argv[1]))
class Dying:
    # Of sqlite3's connection: dies at COMMIT, with changed pages written to the file already.
    def __init__(self, real): self.real = real
    def execute(self, text, *values):
        if text == "COMMIT":
            self.real.execute("PRAGMA cache_size = 5")
            self.real.executemany(
                "INSERT INTO nonces (nonce, used) VALUES (?, 1)",
                [(os.urandom(64),) for _ in range(2000)],
            )
            os.kill(os.getpid(), signal.SIGKILL)
        return self.real.execute(text, *values)
    def close(self): self.real.close()
connect = nonces.sqlite3.connect
nonces.sqlite3.connect = lambda *a, **k: Dying(connect(*a, **k))
store.consume(bytes.fromhex(sys.argv[2]), sys.argv[3], {now})
"""


def _killed(program: str, path: Path, nonce: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program.format(now=NOW), str(path), nonce.hex(), STATEMENT],
        env={**os.environ},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_killed_after_a_use(store: Nonces, path: Path) -> None:
    """What was accepted stays used."""
    nonce = store.issue(NOW)
    _killed(KILLED_AFTER, path, nonce)
    with refused("tee.15"):
        store.consume(nonce, STATEMENT, NOW)


def test_killed_within_a_use(store: Nonces, path: Path) -> None:
    """Nothing was accepted, so nothing was used; and the store works on."""
    nonce = store.issue(NOW)
    size = path.stat().st_size
    _killed(KILLED_WITHIN, path, nonce)
    assert path.stat().st_size > size, "the change has to be in the file, half done"
    assert path.with_name(f"{path.name}-journal").stat().st_size > 0
    store.consume(nonce, STATEMENT, NOW)
    with refused("tee.15"):
        store.consume(nonce, STATEMENT, NOW)


def test_a_fork_of_the_process(store: Nonces) -> None:
    """A store made before the fork serves both sides."""
    nonce = store.issue(NOW)
    child = os.fork()
    if child == 0:
        try:
            store.consume(nonce, STATEMENT, NOW)
        except BaseException:  # noqa: BLE001 - the child must not come back into pytest
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with refused("tee.15"):
        store.consume(nonce, STATEMENT, NOW)
