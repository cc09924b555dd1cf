"""The cache: content-addressed, checked when read, safe for many processes and for a full disk."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from proofml.errors import BackendFailed, UsageError
from proofml.store import Artifact, Store, file_sha256

RECIPE = {"what": "a test", "version": 1}


def make(store: Store, body: bytes, name: str = "part") -> Path:
    path = store.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def put(store: Store, body: bytes = b"body", **recipe: int) -> dict[str, Path]:
    with store.scratch() as folder:
        (folder / "part").write_bytes(body)
        return store.put(RECIPE | recipe, {"part": folder / "part"}, label="a test")


def put_process(store: Store, body: str) -> subprocess.Popen[bytes]:
    """Another process that puts the same recipe again and again until it is killed."""
    code = (
        "import sys\nfrom proofml.store import Store\nstore = Store(sys.argv[1])\n"
        "print('on', flush=True)\n"
        "while True:\n  with store.scratch() as folder:\n"
        f"    (folder / 'part').write_bytes({body})\n"
        f"    store.put({RECIPE!r}, {{'part': folder / 'part'}}, label='a test')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(store.root)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"on\n"
    return child


def leftovers(store: Store) -> list[str]:
    """Names in the cache that are neither objects, recipes nor locks."""
    return [
        str(path.relative_to(store.root))
        for path in store.root.rglob("*")
        if path.is_file()
        and path.suffix not in (".json", ".lock")
        and (path.parts[-3] != "objects" or len(path.name) != 64)
    ]


# -- putting and finding --------------------------------------------------------------------------


def test_put_and_find(store: Store) -> None:
    assert store.find(RECIPE) is None
    made = put(store)
    assert store.find(RECIPE) == made
    assert made["part"].read_bytes() == b"body"
    assert made["part"].name == hashlib.sha256(b"body").hexdigest()
    assert store.find({"version": 1, "what": "a test"}) == made
    assert store.find(RECIPE | {"version": 2}) is None
    assert leftovers(store) == []


def test_same_content_once(store: Store) -> None:
    one, two = put(store, n=1), put(store, n=2)
    assert one == two
    assert len(store.entries()) == 2
    (entry, _) = store.entries()
    assert entry.size == 4
    assert entry.label == "a test"


def test_ingest(store: Store) -> None:
    path = make(store, b"content")
    artifact = store.ingest(path)
    assert artifact == Artifact(hashlib.sha256(b"content").hexdigest(), 7)
    assert store.intact(artifact)
    assert not path.exists()
    assert file_sha256(store.object_path(artifact.sha256)) == artifact.sha256
    with pytest.raises(BackendFailed, match="No such file"):
        store.ingest(path)


@pytest.mark.parametrize("damage", [b"", b"bodx", b"body2", None])
def test_damage_is_detected_and_repaired(store: Store, damage: bytes | None) -> None:
    path = put(store)["part"]
    assert store.damaged() == ()
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    assert store.find(RECIPE) is None
    ((entry, name),) = store.damaged()
    assert (entry.label, name) == ("a test", "part")
    put(store)
    assert store.damaged() == ()
    assert store.find(RECIPE) is not None


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"artifacts":{}}', b'{"artifacts":[],"label":"x"}', b"\xff",
     b'{"artifacts":{"part":{"sha256":"../../up","size":1}},"label":"x"}',
     b'{"artifacts":{"part":{"sha256":"' + b"0" * 64 + b'","size":-1}},"label":"x"}'],
)  # fmt: skip
def test_damaged_recipe(store: Store, body: bytes) -> None:
    put(store)
    (path,) = (store.root / "recipes").glob("*.json")
    path.write_bytes(body)
    assert store.find(RECIPE) is None
    assert store.entries() == ()
    put(store)
    assert store.find(RECIPE) is not None


# -- several processes, and sudden deaths ---------------------------------------------------------


def test_many_threads_put_the_same(store: Store) -> None:
    errors: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for turn in range(20):
                assert put(store, b"shared")["part"].read_bytes() == b"shared"
                assert put(store, b"own", index=index, turn=turn)["part"].is_file()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert store.damaged() == ()
    assert len(store.entries()) == 1 + 6 * 20
    assert leftovers(store) == []


def test_several_processes(store: Store) -> None:
    """Two writers of different bytes under one recipe: a reader sees one or the other, whole."""
    children = [put_process(store, "b'one' * 1000"), put_process(store, "b'two' * 1000")]
    for child in children:
        assert child.poll() is None
    seen = set()
    for _ in range(200):
        found = store.find(RECIPE)
        if found is not None:
            seen.add(found["part"].read_bytes())
    for child in children:
        assert child.poll() is None, "a writer failed"
        child.kill()
        child.wait()
    assert seen <= {b"one" * 1000, b"two" * 1000}
    assert seen
    assert store.damaged() == ()


def test_killed_at_any_moment(store: Store) -> None:
    """SIGKILL in the middle of a put leaves the old state or the new one."""
    for turn in range(12):
        child = put_process(store, "__import__('os').urandom(200_000)")
        time.sleep(0.003 * turn)
        child.kill()
        child.wait()
        assert store.damaged() == ()
        assert len(store.entries()) <= 1
    with store.scratch():  # sweeps what the dead left behind
        pass
    assert leftovers(store) == []
    put(store)
    assert store.find(RECIPE) is not None


# -- scratch --------------------------------------------------------------------------------------


def test_scratch_is_removed(store: Store) -> None:
    with store.scratch() as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
        assert folder.is_relative_to(store.root)
    assert not folder.exists()
    with pytest.raises(KeyboardInterrupt), store.scratch() as folder:
        raise KeyboardInterrupt
    assert not folder.exists()


def test_scratch_of_the_dead_is_swept(store: Store) -> None:
    """And that of the living is not."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with store.scratch() as mine:
        theirs = mine.parent / f"{dead.pid}-left"
        theirs.mkdir()
        (theirs / "file").write_text("x")
        foreign = mine.parent / "notes"
        foreign.mkdir()
        with store.scratch():
            assert mine.exists()
            assert not theirs.exists()
            assert foreign.exists()


# -- a full disk, a forbidden folder --------------------------------------------------------------


def test_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC while a recipe is written: an error, no recipe, nothing left over."""

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("proofml.store.os.fsync", full)
    with pytest.raises(BackendFailed, match="No space left on device"):
        put(store)
    monkeypatch.undo()
    assert store.find(RECIPE) is None
    assert leftovers(store) == []


def test_file_size_limit(store: Store) -> None:
    """The system refuses the write itself; the cache stays as it was."""
    put(store, b"before")
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom proofml.store import Store\n"
        "from proofml.errors import BackendFailed\n"
        "store = Store(sys.argv[1])\n"
        "with store.scratch() as folder:\n"
        "  (folder / 'part').write_bytes(b'after')\n"
        "  resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))\n"
        "  try:\n"
        f"    store.put({RECIPE!r}, {{'part': folder / 'part'}}, label='x')\n"
        "  except BackendFailed as error:\n"
        "    sys.exit(f'refused: {error}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(store.root)], capture_output=True, text=True, check=False
    )
    assert "refused: cache" in done.stderr
    assert "File too large" in done.stderr
    found = store.find(RECIPE)
    assert found is not None
    assert found["part"].read_bytes() == b"before"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 8


def test_unusable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.raises(UsageError, match="PROOFML_CACHE"):
            put(Store(root))


def test_default_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROOFML_CACHE", str(tmp_path / "mine"))
    assert Store.default().root == tmp_path / "mine"
    monkeypatch.delenv("PROOFML_CACHE")
    assert Store.default().root.name == "proofml"


# -- housekeeping ---------------------------------------------------------------------------------


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_prune_drops_what_is_unused(store: Store) -> None:
    old, new = put(store, b"old", n=1), put(store, b"new", n=2)
    digest = store.recipe_digest(RECIPE | {"n": 1})
    for path in (store.root / "recipes" / f"{digest}.json", old["part"], new["part"]):
        age(path, 1000)
    assert store.prune(older_than=2000) == 0
    assert store.prune(older_than=500, keep=frozenset({digest})) == 0
    assert store.prune(older_than=500) == 3
    assert store.find(RECIPE | {"n": 1}) is None
    assert not old["part"].exists()
    assert store.find(RECIPE | {"n": 2}) == new


def test_prune_keeps_what_is_still_named(store: Store) -> None:
    shared = put(store, b"shared", n=1)["part"]
    put(store, b"shared", n=2)
    age(shared, 1000)
    one = store.root / "recipes" / f"{store.recipe_digest(RECIPE | {'n': 1})}.json"
    age(one, 1000)
    assert store.prune(older_than=500) == 0
    assert store.find(RECIPE | {"n": 1}) is None
    assert store.find(RECIPE | {"n": 2}) is not None


def test_prune_spares_an_object_that_has_just_come(store: Store) -> None:
    """Another process may be about to write the recipe that names it."""
    artifact = store.ingest(make(store, b"fresh"))
    assert store.prune() == 0
    assert store.intact(artifact)
    age(store.object_path(artifact.sha256), 100)
    assert store.prune() == 5
    assert not store.intact(artifact)


def test_finding_is_using(store: Store) -> None:
    path = put(store)["part"]
    recipe = store.root / "recipes" / f"{store.recipe_digest(RECIPE)}.json"
    age(recipe, 1000)
    age(path, 1000)
    assert store.find(RECIPE) is not None
    assert store.prune(older_than=500) == 0


def test_prune_of_nothing(store: Store) -> None:
    assert store.prune() == 0
    assert store.entries() == ()
    assert store.damaged() == ()


# -- reading --------------------------------------------------------------------------------------


def test_read(store: Store) -> None:
    assert store.read(RECIPE) is None
    put(store)
    assert store.read(RECIPE) == {"part": b"body"}
    assert store.put(RECIPE | {"none": 1}, {}, label="a fact") == {}
    assert store.read(RECIPE | {"none": 1}) == {}


@pytest.mark.parametrize("damage", [b"", b"bodx", b"body2", None])
def test_damage_is_not_read(store: Store, damage: bytes | None) -> None:
    path = put(store)["part"]
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    assert store.read(RECIPE) is None


def test_reading_is_using(store: Store) -> None:
    path = put(store)["part"]
    for old in (store.root / "recipes" / f"{store.recipe_digest(RECIPE)}.json", path):
        age(old, 1000)
    assert store.read(RECIPE) is not None
    assert store.prune(older_than=500) == 0
