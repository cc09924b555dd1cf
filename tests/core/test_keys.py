"""Keys on disk, DSSE's own vector, and every malformed envelope."""

from __future__ import annotations

import base64
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from proofml.canonical import loads
from proofml.errors import UsageError, VerificationError
from proofml.fields import FieldError, Fields
from proofml.keys import (
    KEY_ID,
    MAX_SIGNATURES,
    PAYLOAD_TYPE,
    SigningKey,
    envelope,
    key_id,
    open_envelope,
    pae,
)


def opened(value: Any) -> tuple[bytes, tuple[str, ...]]:
    return open_envelope(Fields(value, "envelope"))


# -- DSSE -----------------------------------------------------------------------------------------


def test_pae_of_the_specification() -> None:
    """The vector of the DSSE protocol document."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(st.text(max_size=9), st.binary(max_size=9), st.text(max_size=9), st.binary(max_size=9))
def test_pae_is_injective(kind: str, body: bytes, kind2: str, body2: bytes) -> None:
    assert (pae(kind, body) == pae(kind2, body2)) == ((kind, body) == (kind2, body2))


def test_signature_of_a_known_key() -> None:
    """RFC 8032, test 1: the public key that belongs to this secret."""
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(secret))
    name = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.public == name
    value = loads(envelope(b"payload", [key]))
    assert value["payloadType"] == PAYLOAD_TYPE
    assert base64.b64decode(value["payload"]) == b"payload"
    assert value["signatures"][0]["keyid"] == name
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key()
    public.verify(
        base64.b64decode(value["signatures"][0]["sig"]),
        b"DSSEv1 28 application/vnd.in-toto+json 7 payload",
    )


@given(st.binary(max_size=40), st.integers(1, MAX_SIGNATURES))
def test_round_trip(payload: bytes, count: int) -> None:
    keys = [SigningKey.generate() for _ in range(count)]
    found, names = opened(loads(envelope(payload, keys)))
    assert found == payload
    assert names == tuple(sorted(key.public for key in keys))


def test_one_signature_a_key() -> None:
    key = SigningKey.generate()
    assert opened(loads(envelope(b"", [key, key])))[1] == (key.public,)
    with pytest.raises(UsageError, match="at most 8"):
        envelope(b"", [SigningKey.generate() for _ in range(9)])


def change(value: Any, path: str, to: Any) -> None:
    for key in path.split(".")[:-1]:
        value = value[int(key) if key.isdigit() else key]
    value[path.split(".")[-1]] = to


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("payloadType", "text/plain"),
        ("payload", "not base64!"),
        ("payload", "cGF5bG9hZB=="),
        ("payload", "cGF5bG9hZA"),
        ("payload", "cGF5\nbG9hZA=="),
        ("payload", None),
        ("signatures", []),
        ("signatures", {}),
        ("signatures.0.keyid", "ed25519:xyz"),
        ("signatures.0.keyid", "rsa:" + "0" * 64),
        ("signatures.0.keyid", 5),
        ("signatures.0.sig", "!"),
        ("signatures.0.extra", 1),
        ("extra", 1),
    ],
)
def test_malformed(path: str, to: Any) -> None:
    value = loads(envelope(b"payload", [SigningKey.generate()]))
    change(value, path, to)
    with pytest.raises(FieldError):
        opened(value)


def test_signatures_are_ordered() -> None:
    value = loads(envelope(b"payload", [SigningKey.generate(), SigningKey.generate()]))
    value["signatures"].reverse()
    with pytest.raises(FieldError, match="ascending"):
        opened(value)
    value["signatures"] = [value["signatures"][0]] * 2
    with pytest.raises(FieldError, match="ascending"):
        opened(value)


@pytest.mark.parametrize(
    "signature", [b"", b"\0" * 63, b"\0" * 64, b"\xff" * 64, b"\0" * 65], ids=len
)
def test_bad_signature(signature: bytes) -> None:
    value = loads(envelope(b"payload", [SigningKey.generate()]))
    value["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    with pytest.raises(VerificationError) as caught:
        opened(value)
    assert caught.value.check == "core.3"


def test_signature_by_somebody_else() -> None:
    """Each signature is checked under the key that it names, the second as well."""
    honest, liar = SigningKey.generate(), SigningKey.generate()
    value = loads(envelope(b"payload", [liar]))
    value["signatures"][0]["keyid"] = honest.public
    with pytest.raises(VerificationError) as caught:
        opened(value)
    assert caught.value.check == "core.3"
    value = loads(envelope(b"payload", [honest, liar]))
    last = value["signatures"][1]
    last["sig"] = value["signatures"][0]["sig"]
    with pytest.raises(VerificationError) as caught:
        opened(value)
    assert caught.value.check == "core.3"


def test_signature_is_over_the_type_too() -> None:
    """A signature over the bare payload, without the PAE, is none."""
    raw = Ed25519PrivateKey.generate()
    value = loads(envelope(b"payload", [SigningKey(raw)]))
    value["signatures"][0]["sig"] = base64.b64encode(raw.sign(b"payload")).decode()
    with pytest.raises(VerificationError) as caught:
        opened(value)
    assert caught.value.check == "core.3"


# -- files ----------------------------------------------------------------------------------------


def test_key_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    key = SigningKey.generate()
    key.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load(path).public == key.public
    assert KEY_ID.fullmatch(key.public)
    assert "PRIVATE" not in repr(key)


def test_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    SigningKey.generate().save(path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        SigningKey.generate().save(path)
    assert path.read_bytes() == before
    with pytest.raises(UsageError, match="cannot be written"):
        SigningKey.generate().save(tmp_path / "no folder" / "key.pem")


def test_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    key = SigningKey.generate()
    key.save(path, passphrase="correct horse")
    assert b"ENCRYPTED" in path.read_bytes()
    assert SigningKey.load(path, passphrase="correct horse").public == key.public
    for wrong in ("battery staple", None, ""):
        with pytest.raises(UsageError, match="--passphrase-file"):
            SigningKey.load(path, passphrase=wrong)
    for length in (0, 1024):
        with pytest.raises(UsageError, match="expected 1 to 1023 bytes"):
            key.save(tmp_path / "other.pem", passphrase="x" * length)
    assert not (tmp_path / "other.pem").exists()


def test_full_disk_leaves_no_broken_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None: ...

        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    path = tmp_path / "key.pem"
    monkeypatch.setattr("proofml.keys.os.fdopen", lambda handle, mode: Full())
    with pytest.raises(UsageError, match="No space left"):
        SigningKey.generate().save(path)
    assert not path.exists()


def pem(key: Any) -> bytes:
    encoded: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return encoded


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not a key",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(x25519.X25519PrivateKey.generate()),
        pem(Ed25519PrivateKey.generate())[:60],
    ],
    ids=["empty", "text", "no key", "P-256", "X25519", "cut"],
)
def test_not_an_ed25519_key(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(body)
    with pytest.raises(UsageError, match=r"expected an Ed25519"):
        SigningKey.load(path)


def test_unreadable_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the key"):
        SigningKey.load(tmp_path / "none.pem")
    with pytest.raises(UsageError, match="cannot read the key"):
        SigningKey.load(tmp_path)


def test_key_id() -> None:
    key = Ed25519PrivateKey.generate()
    assert key_id(key.public_key()) == SigningKey(key).public
