"""The folder of a simulated root: its private keys and its certificate, for its owner alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from proofml.errors import UsageError
from proofml.tee.known_simulators import ROOT_FILE

Key: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def save(folder: Path, keys: Mapping[str, Key], root_der: bytes) -> None:
    """Write `NAME.pem` for each key, and the root's certificate; all of mode 0600."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, key in keys.items():
        data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write(folder / f"{name}.pem", data)
    write(folder / ROOT_FILE, root_der)


def write(path: Path, data: bytes) -> None:
    """Replace the file as a whole; from its first byte on it is its owner's alone."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    part.replace(path)


def load_elliptic(folder: Path, names: Iterable[str]) -> dict[str, ec.EllipticCurvePrivateKey]:
    """Elliptic-curve keys by name.

    Raises:
        OSError, ValueError, TypeError: one is not there, or broken, or of another kind.
    """
    found: dict[str, ec.EllipticCurvePrivateKey] = {}
    for name in names:
        key = _load(folder, name)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise _another_kind(name)
        found[name] = key
    return found


def load_rsa(folder: Path, names: Iterable[str]) -> dict[str, rsa.RSAPrivateKey]:
    """RSA keys by name; as `load_elliptic`."""
    found: dict[str, rsa.RSAPrivateKey] = {}
    for name in names:
        key = _load(folder, name)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise _another_kind(name)
        found[name] = key
    return found


def _load(folder: Path, name: str) -> object:
    data = (folder / f"{name}.pem").read_bytes()
    # Validating an RSA key takes half a second; whoever can write here needs no tricks.
    return load_pem_private_key(data, None, unsafe_skip_rsa_key_validation=True)


def _another_kind(name: str) -> TypeError:
    return TypeError(f"{name}.pem holds a key of another kind")


def load_root(folder: Path, name: str, key: Key) -> bytes:
    """The root's certificate as DER, which has to be that of the key `name`.

    Raises:
        OSError, ValueError: it is not there, or broken, or of another key.
    """
    data = (folder / ROOT_FILE).read_bytes()
    if x509.load_der_x509_certificate(data).public_key() != key.public_key():
        raise ValueError(f"{ROOT_FILE} is not the certificate of {name}.pem")
    return data


def broken(vendor: str, folder: Path, error: Exception) -> UsageError:
    """For a folder that cannot be read."""
    return UsageError(
        f"simulated {vendor} root in {folder}: {error}; delete the folder to get a new one"
    )
