"""Keys of accounts on a chain: what is taken, and what is refused by name."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from proofml.errors import UsageError
from proofml.optimistic import evm_keys
from proofml.optimistic.evm_library import Account

DIGITS = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
#: Of these digits, as the documentation of eth-account has it.
ADDRESS = "0x2c7536e3605d9c16a7a3d7b1898e529396a65c23"
#: Keystore of the test vector of Web3 Secret Storage, version 3 (PBKDF2).
VECTOR = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}
VECTOR_KEY = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("text", [DIGITS, f"0x{DIGITS}\n", f" {DIGITS.upper()} "])
def test_a_bare_key(tmp_path: Path, text: str) -> None:
    assert evm_keys.name_of(evm_keys.load(written(tmp_path / "key", text))) == ADDRESS


def test_a_keystore_of_another_program(tmp_path: Path) -> None:
    path = written(tmp_path / "key", json.dumps(VECTOR), 0o644)  # it is encrypted
    account = evm_keys.load(path, "testpassword")
    assert bytes(account.key).hex() == VECTOR_KEY


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_new_keys_open_again_and_are_never_overwritten(
    tmp_path: Path, passphrase: str | None
) -> None:
    path = tmp_path / "key"
    made = evm_keys.generate(path, passphrase)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert evm_keys.load(path, passphrase).key == made.key
    assert (bytes(made.key).hex() in path.read_text()) == (passphrase is None)
    with pytest.raises(UsageError, match="never overwritten"):
        evm_keys.generate(path, passphrase)
    assert evm_keys.load(path, passphrase).key == made.key
    with pytest.raises(UsageError, match="cannot be written"):
        evm_keys.generate(tmp_path / "none" / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_bare_key_that_others_can_read(tmp_path: Path, mode: int) -> None:
    with pytest.raises(UsageError, match="others can read"):
        evm_keys.load(written(tmp_path / "key", DIGITS, mode))


ZERO = "0" * 64
ORDER = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"


@pytest.mark.parametrize(
    ("text", "passphrase", "said"),
    [
        ("", None, "64 hexadecimal digits"),
        (DIGITS[:-1], None, "64 hexadecimal digits"),
        (DIGITS + "0", None, "64 hexadecimal digits"),
        (DIGITS[:-1] + "g", None, "64 hexadecimal digits"),
        (ZERO, None, "no private key"),
        (ORDER, None, "no private key"),
        (DIGITS, "x", "no passphrase"),
        (json.dumps(VECTOR), None, "expected its passphrase"),
        (json.dumps(VECTOR), "wrong", "that this passphrase opens"),
        ("{", "x", "that this passphrase opens"),
        ("{}", "x", "kdfparams"),
        (json.dumps({**VECTOR, "version": 2}), "testpassword", "version 3"),
        ("[" * 60_000, None, "64 hexadecimal digits"),
        ("{" * 60_000, "x", "that this passphrase opens"),
        ("0" * 70_000, None, "more than"),
    ],
)
def test_what_is_no_key(tmp_path: Path, text: str, passphrase: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        evm_keys.load(written(tmp_path / "key", text), passphrase)


@pytest.mark.parametrize(
    "params", [{name: 1 << 40} for name in ("c", "n", "r", "p", "dklen")] + [{"c": "x"}]
)
def test_keystores_that_would_work_for_ever(tmp_path: Path, params: dict[str, object]) -> None:
    keystore = json.loads(json.dumps(VECTOR))
    keystore["crypto"]["kdfparams"] |= params
    with pytest.raises(UsageError, match=r"kdfparams\." + next(iter(params))):
        evm_keys.load(written(tmp_path / "key", json.dumps(keystore)), "testpassword")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        evm_keys.load(tmp_path / "none")
    with pytest.raises(UsageError, match="no such file"):
        evm_keys.load(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="got bytes"):
        evm_keys.load(tmp_path / "bytes")


def test_names_are_addresses_in_lower_case() -> None:
    assert evm_keys.name_of(Account.from_key(DIGITS)) == ADDRESS
