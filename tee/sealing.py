"""Sealed inputs and outputs: HPKE (RFC 9180) to a key that only the enclave's memory holds.

Base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, one message for each direction, by
`cryptography`. What is sealed is bound to its place by HPKE's `info`:

    inputs    "proofml/tee/seal/inputs/v1" || 0x00 || session digest, 32 bytes
    outputs   "proofml/tee/seal/outputs/v1" || 0x00 || session digest || Statement digest

A payload is a length (4 bytes, big-endian), canonical JSON of that length, and the canonical bytes
of the tensors one after the other. Inputs carry a salt and the client's response key; outputs are
sealed to that key, and only the client and the enclave know which key it is. The sender of a base
mode message is not authenticated: what holds the outputs is the commitment in the Statement.

The length of a sealed message tells the sizes of its tensors, as their shapes in the Statement do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from proofml.canonical import JSON, CanonicalError, dumps, loads
from proofml.errors import UsageError
from proofml.fields import FieldError, Fields
from proofml.statement import MAX_TENSORS, Statement, TensorClaim
from proofml.tee.binding import Session
from proofml.tee.checks import EVIDENCE, refuse
from proofml.tee.commitments import SALT_BYTES, claim, opens, output_salt
from proofml.tee.tensor_blobs import MAX_TENSORS_BYTES, TensorSpec, read_specs, specs_of
from proofml.tensors import Array, from_npy, to_npy

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.hpke import Suite

INPUTS_TAG: Final = b"proofml/tee/seal/inputs/v1\0"
OUTPUTS_TAG: Final = b"proofml/tee/seal/outputs/v1\0"
KEY_BYTES: Final = 32
MAX_HEAD_BYTES: Final = 4 << 20
MAX_SEALED_BYTES: Final = MAX_TENSORS_BYTES + MAX_HEAD_BYTES + 1024
MAX_SECRET_BYTES: Final = 2 << 20


def _suite() -> Suite:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class SealError(ValueError):
    """What came is not sealed to this key and this place, or not what a payload looks like."""


class SealingKey:
    """The enclave's X25519 key; `public` goes into the session record."""

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> SealingKey:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        return cls(X25519PrivateKey.generate())

    def open(self, sealed: bytes, session: str) -> OpenedInputs:
        """Inputs that were sealed to this key in the session of this digest.

        Raises:
            SealError: anything else; says nothing about what is inside.
        """
        payload = _decrypt(sealed, self._key, INPUTS_TAG + bytes.fromhex(session))
        head, tensors = _unpack(payload, "inputs")
        try:
            salt = head.hexadecimal("salt", longest=SALT_BYTES)
            response_key = head.hexadecimal("response_key", longest=KEY_BYTES)
            head.done()
        except FieldError as error:
            raise SealError("the payload is not of this version") from error
        if len(salt) != SALT_BYTES or len(response_key) != KEY_BYTES:
            raise SealError("the payload is not of this version")
        return OpenedInputs(tensors, salt, response_key)


@dataclass(frozen=True)
class OpenedInputs:
    """What the enclave finds in sealed inputs; tensors are name -> array, in the client's order."""

    tensors: Mapping[str, Array] = field(repr=False)
    salt: bytes = field(repr=False)
    response_key: bytes


@dataclass(frozen=True)
class Secret:
    """What the owner of sealed inputs keeps, to read the outputs.

    Attributes:
        session: digest of the session to which the inputs were sealed.
        salt: opens the commitments, of inputs and outputs (`proofml.tee.commitments`).
        response_key: raw X25519 private key, 32 bytes.
        inputs: the claims that the Statement has to make.
    """

    session: str
    salt: bytes = field(repr=False)
    response_key: bytes = field(repr=False)
    inputs: tuple[TensorClaim, ...]

    def to_bytes(self) -> bytes:
        """Canonical JSON; for a file that its owner alone may read."""
        return dumps(
            {
                "version": 1,
                "session": self.session,
                "salt": self.salt.hex(),
                "response_key": self.response_key.hex(),
                "inputs": [entry.to_json() for entry in self.inputs],
            }
        )

    @classmethod
    def read(cls, data: bytes) -> Secret:
        """Raises `UsageError` for anything that `to_bytes` does not write."""
        try:
            fields = Fields(loads(data, max_bytes=MAX_SECRET_BYTES), "secret")
            fields.integer("version", 1, 1)
            found = cls(
                fields.sha256("session"),
                fields.hexadecimal("salt", longest=SALT_BYTES),
                fields.hexadecimal("response_key", longest=KEY_BYTES),
                fields.items("inputs", TensorClaim.read, most=MAX_TENSORS),
            )
            fields.done()
        except (CanonicalError, FieldError) as error:
            raise UsageError(f"secret of sealed inputs: {error}") from error
        if len(found.salt) != SALT_BYTES or len(found.response_key) != KEY_BYTES:
            raise UsageError("secret of sealed inputs: a salt and a key of 32 bytes are expected")
        return found


def seal_inputs(inputs: Mapping[str, Array], session: Session) -> tuple[bytes, Secret]:
    """Seal inputs, in the model's order, to the key of a session whose quote was verified.

    Args:
        inputs: name -> array, as `Model.check_inputs` gives them.

    Returns:
        The sealed message, for whoever runs the enclave, and the secret, for nobody.

    Raises:
        UsageError: the session's key is no X25519 key, or the inputs are too large.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    salt = os.urandom(SALT_BYTES)
    response = X25519PrivateKey.generate()
    head: dict[str, JSON] = {
        "salt": salt.hex(),
        "response_key": response.public_key().public_bytes_raw().hex(),
    }
    payload = _pack(head, "inputs", inputs)
    info = INPUTS_TAG + bytes.fromhex(session.digest)
    try:
        sealed = _encrypt(payload, session.sealing_key, info)
    except ValueError as error:
        raise UsageError(f"session's sealing key: {error}") from error
    claims = tuple(
        claim(name, f"input.{index}", array, salt)
        for index, (name, array) in enumerate(inputs.items())
    )
    return sealed, Secret(session.digest, salt, response.private_bytes_raw(), claims)


def seal_outputs(
    outputs: Mapping[str, Array], opened: OpenedInputs, session: str, statement: str
) -> bytes:
    """Seal outputs to the client's response key; digests of 64 hexadecimal digits.

    Raises:
        SealError: the client's key is no X25519 key.
    """
    head: dict[str, JSON] = {"salt": output_salt(opened.salt).hex()}
    info = OUTPUTS_TAG + bytes.fromhex(session) + bytes.fromhex(statement)
    try:
        return _encrypt(_pack(head, "outputs", outputs), opened.response_key, info)
    except ValueError as error:
        raise SealError("the client's response key cannot be used") from error


def open_outputs(sealed: bytes, secret: Secret, statement: Statement) -> dict[str, Array]:
    """The outputs of an accepted proof over inputs that were sealed with `secret`.

    Returns:
        Name -> array, in the Statement's order.

    Raises:
        VerificationError: tee.2, the Statement is over other inputs, the message does not open, or
            does not hold the outputs to which the Statement commits.
        UsageError: the secret's key is no key.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    what = "sealed outputs"
    if statement.inputs != secret.inputs:
        refuse(
            EVIDENCE,
            f"{what}: the Statement's inputs are not those that were sealed with this secret",
            expected=", ".join(entry.name for entry in secret.inputs) + " with its commitments",
            got="other names, shapes or commitments",
        )
    key = X25519PrivateKey.from_private_bytes(secret.response_key)
    info = OUTPUTS_TAG + bytes.fromhex(secret.session) + bytes.fromhex(statement.digest)
    try:
        head, tensors = _unpack(_decrypt(sealed, key, info), "outputs")
        salt = head.hexadecimal("salt", longest=SALT_BYTES)
        head.done()
    except (SealError, FieldError) as error:
        refuse(
            EVIDENCE,
            f"{what}: {error}",
            expected="outputs of this Statement, sealed to this secret's key",
            got=f"{len(sealed)} bytes that are not",
        )
    names = [entry.name for entry in statement.outputs]
    if list(tensors) != names:
        refuse(EVIDENCE, f"{what}: names", expected=", ".join(names), got=", ".join(tensors))
    for index, stated in enumerate(statement.outputs):
        if not opens(stated, f"output.{index}", tensors[stated.name], salt):
            refuse(
                EVIDENCE,
                f"{what}: {stated.name}",
                expected="the tensor to which the Statement commits",
                got="another one",
            )
    return tensors


# -- payloads and HPKE ----------------------------------------------------------------------------


def _encrypt(payload: bytes, public: bytes, info: bytes) -> bytes:
    """Raises `ValueError` for a key that HPKE cannot use."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    return _suite().encrypt(payload, X25519PublicKey.from_public_bytes(public), info)


def _decrypt(sealed: bytes, key: X25519PrivateKey, info: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag

    if len(sealed) > MAX_SEALED_BYTES:
        raise SealError(f"{len(sealed)} bytes are sealed, at most {MAX_SEALED_BYTES} can be")
    try:
        return _suite().decrypt(sealed, key, info)
    except (InvalidTag, ValueError) as error:
        raise SealError("the message does not open with this key, in this place") from error


def _pack(head: dict[str, JSON], kind: str, tensors: Mapping[str, Array]) -> bytes:
    specs: Sequence[TensorSpec] = specs_of(tensors)
    if sum(spec.size for spec in specs) > MAX_TENSORS_BYTES:
        raise UsageError(f"{kind}: expected at most {MAX_TENSORS_BYTES} bytes in all")
    record: dict[str, Any] = {"version": 1, kind: [spec.to_json() for spec in specs], **head}
    data = dumps(record)
    parts = [len(data).to_bytes(4, "big"), data, *(to_npy(array) for array in tensors.values())]
    return b"".join(parts)


def _unpack(payload: bytes, kind: str) -> tuple[Fields, dict[str, Array]]:
    """Head, for the caller to read on, and tensors; raises `SealError`."""
    size = int.from_bytes(payload[:4], "big")
    try:
        head = Fields(loads(payload[4 : 4 + size], max_bytes=MAX_HEAD_BYTES), "payload")
        head.integer("version", 1, 1)
        specs = read_specs(head, kind)
        view, tensors = memoryview(payload), {}
        at = 4 + size
        for spec in specs:
            tensors[spec.name] = from_npy(bytes(view[at : at + spec.size]), spec.dtype, spec.shape)
            at += spec.size
    except (CanonicalError, FieldError, ValueError) as error:
        raise SealError("the payload is not of this version") from error
    if at != len(payload):
        raise SealError("the payload is longer than it says")
    return head, tensors
