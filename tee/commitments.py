"""Salted commitments to tensors that are sealed: what a Statement says of them.

    value = SHA-256("proofml/tee/commitment/v1" || 0x00 || salt, 32 bytes
                    || role, such as "input.0" || 0x00 || canonical bytes of the tensor)

The canonical bytes (`proofml.tensors`) hold dtype, shape and data. Binding follows from the
collision resistance of SHA-256; hiding takes a salt of 32 random bytes that stays secret.

One salt, chosen by the owner of the inputs, opens everything: the outputs' own salt is derived from
it. Given that one alone, a third party can check the outputs and learns nothing about the inputs.
"""

from __future__ import annotations

import hashlib
from typing import Final

from proofml.canonical import sha256
from proofml.statement import Commitment, TensorClaim, Visibility
from proofml.tensors import Array, dtype_name, to_npy

SCHEME: Final = "sha256-salted"
SALT_BYTES: Final = 32
_TAG: Final = b"proofml/tee/commitment/v1\0"
_OUTPUT_SALT_TAG: Final = b"proofml/tee/output-salt/v1\0"


def commit(salt: bytes, role: str, npy: bytes) -> Commitment:
    """Commitment to one tensor, given by its canonical bytes, in the place `role`.

    Raises:
        ValueError: the salt is not of 32 bytes.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"salt: expected {SALT_BYTES} bytes, got {len(salt)}")
    digest = hashlib.sha256(_TAG + salt + role.encode("ascii") + b"\0")
    digest.update(npy)
    return Commitment(SCHEME, digest.hexdigest())


def output_salt(salt: bytes) -> bytes:
    """The outputs' salt that belongs to the inputs' one, 32 bytes."""
    return hashlib.sha256(_OUTPUT_SALT_TAG + salt).digest()


def claim(name: str, role: str, array: Array, salt: bytes | None = None) -> TensorClaim:
    """A Statement's entry: public without a salt, hashed under one.

    Args:
        array: of one of the Statement's dtypes, any shape.

    Raises:
        ValueError: another dtype, or a salt of another length.
    """
    npy = to_npy(array)
    dtype = dtype_name(array)
    assert dtype is not None  # else it has no canonical bytes
    if salt is None:
        return TensorClaim(name, dtype, array.shape, Visibility.PUBLIC, sha256(npy))
    commitment = commit(salt, role, npy)
    return TensorClaim(name, dtype, array.shape, Visibility.HASHED, commitment=commitment)


def opens(stated: TensorClaim, role: str, array: Array, salt: bytes) -> bool:
    """Whether `stated`, which is hashed, is the commitment to `array` in the place `role`.

    For an output, `salt` may be the inputs' or the outputs' own.
    """
    if len(salt) != SALT_BYTES or dtype_name(array) is None:
        return False
    salts = [salt, output_salt(salt)] if role.startswith("output.") else [salt]
    return any(claim(stated.name, role, array, candidate) == stated for candidate in salts)
