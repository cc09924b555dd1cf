"""Keys of accounts on a chain: a file of 64 hexadecimal digits, or a keystore with a passphrase.

A keystore is the JSON of Web3 Secret Storage, version 3, which wallets and nodes write. A bare key
is only taken from a file that nobody else can read.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from proofml.errors import UsageError
from proofml.optimistic.evm_library import Account, LocalAccount
from proofml.optimistic.evm_rpc import check_depth

MAX_FILE = 1 << 16
#: Of the key derivation: what a keystore may demand of who opens it.
MAX_SCRYPT = 1 << 20
MAX_ROUNDS = 10_000_000
_KEY_DIGITS = 64


def load(path: Path, passphrase: str | None = None) -> LocalAccount:
    """The account of a key's file.

    Raises:
        UsageError: no such file, one that others can read, no key, or another passphrase.
    """
    text = _read(path)
    if text.lstrip().startswith("{"):
        return _open(path, text, passphrase)
    digits = text.strip().removeprefix("0x")
    if len(digits) != _KEY_DIGITS or set(digits.lower()) - set("0123456789abcdef"):
        raise UsageError(
            f"{path}: expected a private key of {_KEY_DIGITS} hexadecimal digits, or a keystore's "
            "JSON"
        )
    if passphrase is not None:
        raise UsageError(f"{path}: a bare key has no passphrase; expected a keystore")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"{path}: others can read this key (mode {mode:o}); chmod 600 it")
    return _account(path, bytes.fromhex(digits))


def generate(path: Path, passphrase: str | None = None) -> LocalAccount:
    """A new account; its key is written with mode 0600, and never over a file.

    Raises:
        UsageError: the file exists, or cannot be written.
    """
    account: LocalAccount = Account.create()
    if passphrase is None:
        text = "0x" + bytes(account.key).hex()
    else:
        text = json.dumps(Account.encrypt(account.key, passphrase))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text + "\n")
    except FileExistsError as error:
        raise UsageError(f"{path}: exists; a key is never overwritten, choose another") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    return account


def name_of(account: LocalAccount) -> str:
    """How ledgers name it: its address in lower case."""
    return str(account.address).lower()


def _read(path: Path) -> str:
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise UsageError(f"{path}: no such file; expected the key of an account")
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise UsageError(f"{path}: expected a key, got more than {MAX_FILE} bytes")
        return data.decode("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot read the key: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: expected a key in text, got bytes") from error


def _open(path: Path, text: str, passphrase: str | None) -> LocalAccount:
    if passphrase is None:
        raise UsageError(f"{path}: a keystore; expected its passphrase (--passphrase-file)")
    try:
        check_depth(text.encode())
        keystore = json.loads(text)
        _check_work(keystore)
        key = Account.decrypt(keystore, passphrase)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except Exception as error:  # whatever the library finds wrong with the file
        raise UsageError(
            f"{path}: expected a keystore, version 3, that this passphrase opens: {error!r}"
        ) from error
    return _account(path, bytes(key))


def _check_work(keystore: object) -> None:
    """That opening it takes a bounded time and memory."""
    found = keystore.get("crypto", keystore.get("Crypto")) if isinstance(keystore, dict) else None
    given = found.get("kdfparams") if isinstance(found, dict) else None
    if not isinstance(given, dict):
        raise UsageError("keystore: expected crypto.kdfparams")
    for name, most in (("n", MAX_SCRYPT), ("r", 8), ("p", 16), ("c", MAX_ROUNDS), ("dklen", 64)):
        value = given.get(name, 1)
        if type(value) is not int or not 1 <= value <= most:
            raise UsageError(f"keystore: kdfparams.{name}: expected 1 to {most}, got {value!r}")


def _account(path: Path, key: bytes) -> LocalAccount:
    try:
        account: LocalAccount = Account.from_key(key)
    except Exception as error:  # zero, or not below the order of the group
        raise UsageError(f"{path}: no private key of secp256k1: {error!r}") from error
    return account
