"""Sealed and Secret as files: one byte string for one content, and nothing shown of a secret."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml import container
from proofml import sealed as module
from proofml.canonical import dumps, loads, sha256
from proofml.errors import UsageError
from proofml.sealed import Sealed, Secret, protect, unprotect
from proofml.testing.attacker import join, split

SEALED = Sealed("box", "1" * 64, b"what nobody reads")
SECRET = Secret("box", "1" * 64, SEALED.digest, b"the key to it")
PASS = "correct horse"


@pytest.fixture(scope="module")
def protected() -> bytes:
    return protect(SECRET.to_bytes(), PASS)


def refused(call: Callable[[], object], what: str = "proofml seal") -> None:
    with pytest.raises(UsageError, match=what):
        call()


# -- one content, one byte string -----------------------------------------------------------------

NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(NAMES, DIGESTS, DIGESTS, st.binary(max_size=200))
def test_round_trip(backend: str, model: str, digest: str, data: bytes) -> None:
    sealed = Sealed(backend, model, data)
    secret = Secret(backend, model, digest, data)
    assert Sealed.read(sealed.to_bytes()) == sealed
    assert Secret.read(secret.to_bytes()) == secret
    assert sealed.digest == sha256(sealed.to_bytes())


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for read in (Sealed.read, Secret.read, lambda d: unprotect(d, PASS)):
        refused(lambda read=read: read(data))  # type: ignore[misc]


@settings(max_examples=300)
@given(st.data())
def test_one_bit_is_another_file(data: st.DataObject) -> None:
    """Refused, or read as what it then says; never as the same."""
    for one in (SEALED, SECRET):
        body = one.to_bytes()
        bit = data.draw(st.integers(0, 8 * len(body) - 1))
        changed = bytearray(body)
        changed[bit >> 3] ^= 1 << (bit & 7)
        try:
            found = type(one).read(bytes(changed))
        except UsageError:
            continue
        assert found != one
        assert found.to_bytes() == bytes(changed)


def test_cut_and_extended() -> None:
    for one in (SEALED, SECRET):
        body = one.to_bytes()
        for wrong in (*(body[:end] for end in range(len(body))), body + b"\0", body + body):
            refused(lambda one=one, wrong=wrong: type(one).read(wrong))  # type: ignore[misc]


def headed(data: bytes, **changes: Any) -> bytes:
    """A file whose first section was changed; None takes a key away."""
    head, sections = container.unpack(data)
    value = {**loads(head), **changes}
    return container.pack(dumps({k: v for k, v in value.items() if v is not None}), sections)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "proofml/other"},
        {"type": None},
        {"version": 2},
        {"version": True},
        {"version": None},
        {"backend": None},
        {"backend": "x" * 65},
        {"backend": "a\x1b[2J"},
        {"backend": 5},
        {"model": None},
        {"model": "1" * 63},
        {"model": "A" * 64},
        {"extra": 1},
    ],
    ids=str,
)
def test_wrong_record(change: dict[str, Any]) -> None:
    for one in (SEALED, SECRET):
        data = headed(one.to_bytes(), **change)
        refused(lambda one=one, data=data: type(one).read(data))  # type: ignore[misc]


def test_secret_names_its_sealed_file() -> None:
    for change in ({"sealed": None}, {"sealed": "0" * 63}):
        data = headed(SECRET.to_bytes(), **change)
        refused(lambda data=data: Secret.read(data))  # type: ignore[misc]


def test_one_kind_for_the_other(protected: bytes) -> None:
    refused(lambda: Sealed.read(SECRET.to_bytes()))
    refused(lambda: Secret.read(SEALED.to_bytes()))
    refused(lambda: Secret.read(protected))
    refused(lambda: unprotect(SECRET.to_bytes(), PASS))


def test_sections() -> None:
    """One body, and nothing beside it."""
    first, body = split(SEALED.to_bytes())
    for sections in ([first], [first, body, ("more", b"x")], [first, ("other", b"x")], [body]):
        refused(lambda sections=sections: Sealed.read(join(sections)))  # type: ignore[misc]


def test_not_canonical() -> None:
    head, sections = container.unpack(SEALED.to_bytes())
    refused(lambda: Sealed.read(container.pack(b" " + head, sections)))


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SEALED_BYTES", 100)
    monkeypatch.setattr(module, "MAX_SECRET_BYTES", 100)
    refused(lambda: SEALED.to_bytes(), "at most 100")
    refused(lambda: SECRET.to_bytes(), "at most 100")
    for read in (Sealed.read, Secret.read, lambda data: unprotect(data, PASS)):
        refused(lambda read=read: read(bytes(101)), "at most 100")  # type: ignore[misc]


def test_a_record_that_nobody_could_read() -> None:
    refused(lambda: replace(SEALED, backend="\ud800").to_bytes(), "cannot be written down")


# -- files ----------------------------------------------------------------------------------------


def test_files(tmp_path: Path) -> None:
    sealed, secret = tmp_path / "x.sealed", tmp_path / "x.secret"
    SEALED.save(sealed)
    SECRET.save(secret)
    assert Sealed.load(sealed) == SEALED
    assert Secret.load(secret) == SECRET
    assert sealed.read_bytes() == SEALED.to_bytes()
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["x.sealed", "x.secret"]


def test_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    refused(lambda: SEALED.save(path), "exists")
    refused(lambda: SECRET.save(path), "exists")
    assert path.read_bytes() == b"mine"
    SEALED.save(path, force=True)
    assert Sealed.load(path) == SEALED
    assert os.listdir(tmp_path) == ["file"]


def test_cannot_be_written(tmp_path: Path) -> None:
    nowhere = tmp_path / "no folder" / "file"
    for save in (SEALED.save, SECRET.save, lambda path: SEALED.save(path, force=True)):
        refused(lambda save=save: save(nowhere), "cannot be written")  # type: ignore[misc]
    refused(lambda: SEALED.save(tmp_path, force=True), "cannot be written")
    assert not os.listdir(tmp_path)


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None: ...

        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("proofml.sealed.os.fdopen", lambda handle, mode: Full())
    for save in (SEALED.save, SECRET.save, lambda path: SEALED.save(path, force=True)):
        refused(lambda save=save: save(tmp_path / "file"), "No space left")  # type: ignore[misc]
    assert not os.listdir(tmp_path)


def test_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, what in (("none", "cannot be read"), (".", "expected a file"), ("pipe", "a file")):
        for load in (Sealed.load, Secret.load):
            refused(lambda load=load, name=name: load(tmp_path / name), what)  # type: ignore[misc]


def test_large_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(101))
    monkeypatch.setattr(module, "MAX_SEALED_BYTES", 100)
    monkeypatch.setattr(module, "MAX_SECRET_BYTES", 100)
    for load in (Sealed.load, Secret.load):
        refused(lambda load=load: load(path), "at most 100")  # type: ignore[misc]


# -- passphrases ----------------------------------------------------------------------------------


def test_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "x.secret"
    SECRET.save(path, passphrase=PASS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SECRET.data not in path.read_bytes()
    assert Secret.load(path, passphrase=PASS) == SECRET
    refused(lambda: Secret.load(path, passphrase="battery staple"), "does not open")
    refused(lambda: Secret.load(path), "--passphrase-file")


def test_passphrase_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.secret"
    SECRET.save(path)
    refused(lambda: Secret.load(path, passphrase=PASS), "this one has none")


@pytest.mark.parametrize("length", [0, 1024])
def test_length_of_a_passphrase(tmp_path: Path, length: int) -> None:
    refused(
        lambda: SECRET.save(tmp_path / "x.secret", passphrase="x" * length), "1 to 1023 bytes, got"
    )
    assert not os.listdir(tmp_path)


def test_no_two_are_alike(protected: bytes) -> None:
    """Salt and nonce are drawn for each file."""
    one, two = (loads(container.unpack(data)[0]) for data in (protected, protect(b"", PASS)))
    assert one["kdf"]["salt"] != two["kdf"]["salt"]
    assert one["cipher"]["nonce"] != two["cipher"]["nonce"]


def test_damaged_under_a_passphrase(protected: bytes) -> None:
    """Body, tag and each field of the record are authenticated; few tries, each costs a scrypt."""
    head, sections = container.unpack(protected)
    body, value = sections["body"], loads(head)

    def packed(body: bytes, **changes: Any) -> bytes:
        return container.pack(dumps({**value, **changes}), {"body": body})

    salt = (
        bytes([bytes.fromhex(value["kdf"]["salt"])[0] ^ 1])
        + bytes.fromhex(value["kdf"]["salt"])[1:]
    )
    for wrong in (
        packed(bytes([body[0] ^ 1]) + body[1:]),
        packed(body[:-1] + bytes([body[-1] ^ 1])),
        packed(body[:5]),
        packed(body, kdf={**value["kdf"], "salt": salt.hex()}),
        packed(body, cipher={**value["cipher"], "nonce": "00" * 12}),
    ):
        refused(lambda wrong=wrong: unprotect(wrong, PASS), "does not open")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("kdf", {"n": 1 << 30}),
        ("kdf", {"n": 1 << 16}),
        ("kdf", {"r": 1 << 20}),
        ("kdf", {"p": 1 << 20}),
        ("kdf", {"name": "none"}),
        ("kdf", {"salt": "00" * 31}),
        ("kdf", {"salt": "00" * 33}),
        ("kdf", {"extra": 1}),
        ("cipher", {"name": "aes-128-gcm"}),
        ("cipher", {"nonce": "00" * 11}),
        ("cipher", {"extra": 1}),
        ("", {"extra": 1}),
        ("", {"kdf": 1}),
    ],
    ids=str,
)
def test_no_file_asks_for_other_work(
    protected: bytes, monkeypatch: pytest.MonkeyPatch, table: str, change: dict[str, Any]
) -> None:
    """Refused before any key is derived: a file cannot ask for more memory or for less work."""

    def never(*_: object) -> bytes:
        raise AssertionError("a key was derived")

    monkeypatch.setattr(module, "_key", never)
    head, _ = container.unpack(protected)
    value = loads(head)
    changes = {table: {**value[table], **change}} if table else change
    refused(lambda: unprotect(headed(protected, **changes), PASS))


# -- what is shown --------------------------------------------------------------------------------


def test_repr_shows_no_secret() -> None:
    for one in (SEALED, SECRET):
        shown = repr(one) + str(one) + f"{one!r:>10}"
        assert "box" in shown
        for hidden in (b"the key to it", b"what nobody reads"):
            assert hidden.decode() not in shown
            assert hidden.hex() not in shown


def test_errors_show_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "x.secret"
    path.write_bytes(headed(SECRET.to_bytes(), extra="more"))
    with pytest.raises(UsageError) as caught:
        Secret.load(path)
    assert str(path) in str(caught.value)
    assert "the key to it" not in str(caught.value)


@pytest.mark.parametrize("passphrase", [None, PASS])
def test_secret_that_others_can_read(tmp_path: Path, passphrase: str | None) -> None:
    path = tmp_path / "x.secret"
    SECRET.save(path, passphrase=passphrase)
    for mode in (0o640, 0o604, 0o666):
        path.chmod(mode)
        refused(lambda: Secret.load(path, passphrase=passphrase), "expected mode 0600")
    path.chmod(0o400)
    assert Secret.load(path, passphrase=passphrase) == SECRET
