"""Sealed inputs and outputs: what opens where, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from hypothesis import given
from hypothesis import strategies as st

from proofml.canonical import dumps
from proofml.errors import UsageError
from proofml.statement import (
    Commitment,
    Computation,
    ModelClaim,
    Statement,
    TensorClaim,
    Visibility,
)
from proofml.tee.binding import ReceiptAlgorithm, Session
from proofml.tee.commitments import claim, commit, opens, output_salt
from proofml.tee.sealing import (
    INPUTS_TAG,
    OpenedInputs,
    SealError,
    SealingKey,
    Secret,
    open_outputs,
    seal_inputs,
    seal_outputs,
)
from proofml.tensors import Array, same_bits, to_npy

from .record_cases import refused

INPUTS: dict[str, Array] = {
    "image": np.random.default_rng(3).normal(size=(2, 3, 4)).astype(np.float32),
    "flags": np.array([True, False]),
    "age": np.array(42, dtype=np.int64),
}
OUTPUTS: dict[str, Array] = {
    "score": np.array([0.25, float("nan"), -0.0], dtype=np.float64),
    "empty": np.zeros((0, 3), dtype=np.uint8),
}
KEY = SealingKey.generate()


def session(key: bytes = KEY.public, **changes: object) -> Session:
    fields = {
        "receipt_algorithm": ReceiptAlgorithm.ED25519,
        "receipt_key": bytes(32),
        "sealing_key": key,
        "model": "aa" * 32,
        "config": "bb" * 32,
        "challenge": None,
        "started": 1_750_000_000,
    }
    return Session(**{**fields, **changes})  # type: ignore[arg-type]


SESSION = session()


def statement(secret: Secret, outputs: dict[str, Array] = OUTPUTS) -> Statement:
    salt = output_salt(secret.salt)
    return Statement(
        ModelClaim("aa" * 32, "cc" * 32),
        secret.inputs,
        tuple(claim(name, f"output.{i}", a, salt) for i, (name, a) in enumerate(outputs.items())),
        Computation("tee", {}),
        b"nonce",
    )


def run() -> tuple[Secret, Statement, bytes, OpenedInputs]:
    """An honest exchange."""
    sealed, secret = seal_inputs(INPUTS, SESSION)
    opened = KEY.open(sealed, SESSION.digest)
    stated = statement(secret)
    return secret, stated, seal_outputs(OUTPUTS, opened, SESSION.digest, stated.digest), opened


# -- honest ---------------------------------------------------------------------------------------


def test_inputs_open_in_the_enclave() -> None:
    sealed, secret = seal_inputs(INPUTS, SESSION)
    opened = KEY.open(sealed, SESSION.digest)
    assert list(opened.tensors) == list(INPUTS)
    assert all(same_bits(opened.tensors[name], array) for name, array in INPUTS.items())
    assert opened.salt == secret.salt
    response = X25519PrivateKey.from_private_bytes(secret.response_key)
    assert opened.response_key == response.public_key().public_bytes_raw()


def test_outputs_open_with_the_secret() -> None:
    secret, stated, sealed, _ = run()
    found = open_outputs(sealed, secret, stated)
    assert list(found) == list(OUTPUTS)
    assert all(same_bits(found[name], array) for name, array in OUTPUTS.items())


def test_the_secret_survives_a_file() -> None:
    secret, stated, sealed, _ = run()
    again = Secret.read(secret.to_bytes())
    assert again == secret
    assert open_outputs(sealed, again, stated)


def test_nothing_of_the_inputs_is_in_the_message_or_the_secret() -> None:
    sealed, secret = seal_inputs(INPUTS, SESSION)
    for array in INPUTS.values():
        if array.nbytes >= 8:
            assert array.tobytes() not in sealed
            assert array.tobytes() not in secret.to_bytes()
    for hidden in (secret.salt.hex(), secret.response_key.hex(), repr(INPUTS["image"][0, 0, 0])):
        assert hidden not in repr(secret)


def test_each_message_is_sealed_anew() -> None:
    first, one = seal_inputs(INPUTS, SESSION)
    second, other = seal_inputs(INPUTS, SESSION)
    assert first != second
    assert one.salt != other.salt
    assert one.response_key != other.response_key
    assert one.inputs != other.inputs, "equal inputs must not show by equal commitments"


# -- what does not open ---------------------------------------------------------------------------


@given(st.integers(min_value=0))
def test_a_flipped_bit_does_not_open(bit: int) -> None:
    sealed, _ = seal_inputs(INPUTS, SESSION)
    changed = bytearray(sealed)
    bit %= 8 * len(sealed)
    changed[bit >> 3] ^= 1 << (bit & 7)
    # The topmost bit of an X25519 point is not part of it (RFC 7748), but HPKE binds all bytes.
    with pytest.raises(SealError):
        KEY.open(bytes(changed), SESSION.digest)


@given(st.binary(max_size=300))
def test_any_bytes_do_not_open(data: bytes) -> None:
    with pytest.raises(SealError):
        KEY.open(data, SESSION.digest)


def test_another_session_or_key_does_not_open() -> None:
    sealed, _ = seal_inputs(INPUTS, SESSION)
    with pytest.raises(SealError):
        KEY.open(sealed, session(started=1).digest)
    with pytest.raises(SealError):
        SealingKey.generate().open(sealed, SESSION.digest)


def test_a_truncated_message_does_not_open() -> None:
    sealed, _ = seal_inputs(INPUTS, SESSION)
    for size in (0, 16, 31, 32, 47, 48, len(sealed) - 1):
        with pytest.raises(SealError):
            KEY.open(sealed[:size], SESSION.digest)


def forged(payload: bytes) -> bytes:
    """Sealed by somebody who knows the session, as everybody does."""
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    info = INPUTS_TAG + bytes.fromhex(SESSION.digest)
    return suite.encrypt(payload, X25519PublicKey.from_public_bytes(KEY.public), info)


def payload(**changes: object) -> bytes:
    head = {
        "version": 1,
        "inputs": [{"name": "x", "dtype": "int8", "shape": [2]}],
        "salt": "11" * 32,
        "response_key": "22" * 32,
    }
    data = dumps({**head, **changes})  # type: ignore[dict-item]
    return len(data).to_bytes(4, "big") + data + to_npy(np.array([1, 2], np.int8))


def test_the_forger_can_seal_an_honest_payload() -> None:
    """Else the next test would show nothing."""
    assert KEY.open(forged(payload()), SESSION.digest).tensors["x"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\x02{}",
        b"\xff\xff\xff\xff{}",
        payload() + b"\0",
        payload()[:-1],
        payload(version=2),
        payload(salt="11" * 31),
        payload(response_key="22" * 31),
        payload(extra=1),
        payload(inputs=[]),
        payload(inputs=[{"name": "x", "dtype": "int8", "shape": [2**40, 2**40]}]),
        payload(inputs=[{"name": "x", "dtype": "complex64", "shape": [2]}]),
        payload(inputs=[{"name": "x", "dtype": "int8", "shape": [2]}] * 2),
        payload(inputs=[{"name": "x", "dtype": "int8", "shape": [-2]}]),
    ],
    ids=range(14),
)
def test_a_payload_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(SealError):
        KEY.open(forged(data), SESSION.digest)


def test_bytes_behind_a_payload_are_named() -> None:
    with pytest.raises(SealError, match="longer than it says"):
        KEY.open(forged(payload() + b"\0"), SESSION.digest)


def test_a_key_of_small_order_is_refused() -> None:
    """All of these give one shared secret, which everybody knows (RFC 9180, section 7.1.4)."""
    for point in (bytes(32), b"\x01" + bytes(31)):
        with pytest.raises(UsageError, match="sealing key"):
            seal_inputs(INPUTS, session(point))
        opened = OpenedInputs({}, bytes(32), point)
        with pytest.raises(SealError):
            seal_outputs(OUTPUTS, opened, SESSION.digest, "00" * 32)


# -- what the owner refuses -----------------------------------------------------------------------


def test_outputs_of_another_statement_are_refused() -> None:
    secret, stated, sealed, _ = run()
    other = replace(stated, nonce=b"another")
    with refused("tee.2"):
        open_outputs(sealed, secret, other)


def test_outputs_for_another_secret_are_refused() -> None:
    _, stated, sealed, _ = run()
    _, stranger = seal_inputs(INPUTS, SESSION)
    mine = replace(stated, inputs=stranger.inputs)
    with refused("tee.2"):
        open_outputs(sealed, stranger, mine)


def test_a_statement_over_other_inputs_is_refused() -> None:
    """An operator runs the model on inputs of its own, and shows a good proof of that."""
    secret, stated, sealed, _ = run()
    other = claim("image", "input.0", np.zeros((2, 3, 4), np.float32), secret.salt)
    with refused("tee.2"):
        open_outputs(sealed, secret, replace(stated, inputs=(other, *stated.inputs[1:])))


def test_outputs_that_were_not_committed_to_are_refused() -> None:
    """The enclave is not asked: whoever knows the response key seals other outputs."""
    secret, stated, _, opened = run()
    other = {**OUTPUTS, "score": np.array([0.75, 0.0, 0.0])}
    sealed = seal_outputs(other, opened, SESSION.digest, stated.digest)
    with refused("tee.2"):
        open_outputs(sealed, secret, stated)


def test_outputs_in_another_order_are_refused() -> None:
    secret, stated, _, opened = run()
    other = dict(reversed(OUTPUTS.items()))
    sealed = seal_outputs(other, opened, SESSION.digest, stated.digest)
    with refused("tee.2"):
        open_outputs(sealed, secret, stated)


@given(st.binary(max_size=200))
def test_any_outputs_are_refused(data: bytes) -> None:
    secret, stated, _, _ = run()
    with refused("tee.2"):
        open_outputs(data, secret, stated)


@given(st.binary(max_size=200))
def test_a_secret_is_read_strictly(data: bytes) -> None:
    with pytest.raises(UsageError):
        Secret.read(data)


def test_a_secret_of_another_form_is_refused() -> None:
    secret = run()[0]
    text = secret.to_bytes()
    for changed in (
        text.replace(b'"version":1', b'"version":2'),
        text.replace(secret.salt.hex().encode(), b"11"),
        text.replace(secret.response_key.hex().encode(), b""),
        text[:-1] + b',"x":1}',
    ):
        with pytest.raises(UsageError):
            Secret.read(changed)


# -- commitments ----------------------------------------------------------------------------------

SALT = bytes(range(32))


def test_a_commitment_is_what_the_page_says() -> None:
    import hashlib

    npy = to_npy(INPUTS["age"])
    message = b"proofml/tee/commitment/v1\0" + SALT + b"input.2\0" + npy
    found = commit(SALT, "input.2", npy)
    assert found == Commitment("sha256-salted", hashlib.sha256(message).hexdigest())
    tag = b"proofml/tee/output-salt/v1\0"
    assert output_salt(SALT) == hashlib.sha256(tag + SALT).digest()


def test_a_commitment_opens_with_its_tensor_place_and_salt_alone() -> None:
    array = INPUTS["age"]
    stated = claim("age", "input.2", array, SALT)
    assert stated.visibility is Visibility.HASHED
    assert stated.sha256 is None
    assert opens(stated, "input.2", array, SALT)
    assert not opens(stated, "input.1", array, SALT)
    assert not opens(stated, "input.2", array + 1, SALT)
    assert not opens(stated, "input.2", array.astype(np.int32), SALT)
    assert not opens(stated, "input.2", array.reshape(1), SALT)
    assert not opens(stated, "input.2", array, bytes(32))
    assert not opens(stated, "input.2", array, SALT[:31])
    assert not opens(stated, "input.2", array, output_salt(SALT))
    other = TensorClaim("age", "int64", (), Visibility.HASHED, commitment=Commitment("x", "00"))
    assert not opens(other, "input.2", array, SALT)


def test_outputs_open_with_either_salt() -> None:
    """The owner has the inputs' salt; somebody who may only see outputs is given their own."""
    stated = claim("score", "output.0", OUTPUTS["score"], output_salt(SALT))
    assert opens(stated, "output.0", OUTPUTS["score"], SALT)
    assert opens(stated, "output.0", OUTPUTS["score"], output_salt(SALT))
    assert not opens(stated, "output.0", OUTPUTS["score"], bytes(32))


def test_a_salt_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        commit(b"short", "input.0", b"")
