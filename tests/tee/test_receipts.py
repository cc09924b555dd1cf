"""Receipts and checkpoints: one form, one meaning, and only the session's key signs them."""

from __future__ import annotations

import hashlib
import sys
import tracemalloc
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proofml.canonical import JSON, CanonicalError, dumps, loads
from proofml.errors import BackendUnavailable, UsageError, VerificationError
from proofml.fields import FieldError
from proofml.tee import ethereum
from proofml.tee import receipts as module
from proofml.tee.binding import LATEST_TIME, ReceiptAlgorithm, Session
from proofml.tee.receipt_signer import ReceiptSecret
from proofml.tee.receipts import (
    MAX_COUNTER,
    MAX_RECEIPTS,
    NO_RECEIPT,
    Checkpoint,
    Receipt,
    ReceiptKey,
    SignedCheckpoint,
    SignedReceipt,
    check_checkpoint,
    read_receipts,
    receipts_bytes,
)
from tests.tee.record_cases import (
    ALGORITHMS,
    STARTED,
    STATEMENT,
    assert_strict,
    chain,
    corrupted,
    refusal,
    refused,
    secret,
    session,
)

both = pytest.mark.parametrize("algorithm", ALGORITHMS)
NONCE = b"asked at noon"
OTHER = "c3" * 32


def signed(algorithm: ReceiptAlgorithm, number: int = 0, **changes: Any) -> SignedReceipt:
    """A receipt of the session, signed by its key, or by another one (`number` 1)."""
    values = {
        "session": session(algorithm).digest,
        "statement": STATEMENT,
        "counter": 0,
        "previous": NO_RECEIPT,
        "time": STARTED,
    }
    return secret(algorithm, number).sign_receipt(Receipt(**{**values, **changes}))


def checkpoint(algorithm: ReceiptAlgorithm, number: int = 0, **changes: Any) -> SignedCheckpoint:
    values = {
        "session": session(algorithm).digest,
        "counter": 3,
        "head": "d4" * 32,
        "nonce": NONCE,
    }
    return secret(algorithm, number).sign_checkpoint(Checkpoint(**{**values, **changes}))


# -- forms ----------------------------------------------------------------------------------------

RECEIPT = Receipt("ab" * 32, "cd" * 32, 7, "ef" * 32, 1750330800)
CHECKPOINT = Checkpoint("ab" * 32, 8, "ef" * 32, b"\x01\x02")
RECEIPT_JSON = (
    '{"counter":7,"previous":"' + "ef" * 32 + '","session":"' + "ab" * 32 + '",'
    '"statement":"' + "cd" * 32 + '","time":1750330800,"version":1}'
)
CHECKPOINT_JSON = (
    '{"counter":8,"head":"' + "ef" * 32 + '","nonce":"0102","session":"' + "ab" * 32 + '",'
    '"version":1}'
)


def test_forms_are_the_documented_ones() -> None:
    assert RECEIPT.message == b"proofml/tee/receipt/v1\x00" + RECEIPT_JSON.encode()
    assert RECEIPT.digest == hashlib.sha256(RECEIPT.message).hexdigest()
    assert CHECKPOINT.message == b"proofml/tee/checkpoint/v1\x00" + CHECKPOINT_JSON.encode()
    assert RECEIPT.text == (
        "proofml receipt v1\n"
        f"session: {'ab' * 32}\n"
        f"statement: {'cd' * 32}\n"
        "counter: 7\n"
        f"previous: {'ef' * 32}\n"
        "time: 1750330800"
    )
    assert CHECKPOINT.text == (
        f"proofml checkpoint v1\nsession: {'ab' * 32}\ncounter: 8\nhead: {'ef' * 32}\nnonce: 0102"
    )


HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)
RECEIPTS = st.builds(
    Receipt,
    HEX,
    HEX,
    st.integers(0, MAX_COUNTER) | st.integers(0, 10),
    HEX,
    st.integers(0, LATEST_TIME),
)
CHECKPOINTS = st.builds(
    Checkpoint, HEX, st.integers(0, MAX_COUNTER + 1), HEX, st.binary(min_size=1, max_size=64)
)
SIGNATURES = st.binary(min_size=64, max_size=64) | st.binary(min_size=65, max_size=65)


@given(RECEIPTS, SIGNATURES)
def test_written_directly_as_a_general_writer_does(record: Receipt, signature: bytes) -> None:
    assert record.to_bytes() == dumps(record.to_json())
    whole = SignedReceipt(record, signature)
    assert whole.to_bytes() == dumps(whole.to_json())


@given(st.lists(st.builds(SignedReceipt, RECEIPTS, SIGNATURES), min_size=1, max_size=4))
def test_segments_round_trip(found: list[SignedReceipt]) -> None:
    assert read_receipts(receipts_bytes(tuple(found))) == tuple(found)


@given(RECEIPTS, RECEIPTS, CHECKPOINTS, CHECKPOINTS)
def test_equal_messages_mean_equal_records(
    first: Receipt, second: Receipt, third: Checkpoint, fourth: Checkpoint
) -> None:
    """In both forms; and no receipt is a checkpoint."""
    for a, b in ((first, second), (third, fourth), (first, third)):
        assert (a == b) == (a.message == b.message)
        assert (a == b) == (a.text == b.text)


# -- signatures -----------------------------------------------------------------------------------


@both
def test_honest_records(algorithm: ReceiptAlgorithm) -> None:
    key = ReceiptKey.of(session(algorithm))
    one = signed(algorithm)
    assert key.check(one) == one.record.message
    two = checkpoint(algorithm)
    assert check_checkpoint(two.to_bytes(), key, NONCE) == two
    assert check_checkpoint(two.to_bytes(), key, None) == two


def test_secp256k1_is_what_a_contract_recovers() -> None:
    """v, r, s over the EIP-191 hash of the text give the address of the session's key."""
    record = session(ReceiptAlgorithm.SECP256K1)
    one = signed(ReceiptAlgorithm.SECP256K1)
    recovered = ethereum.recover(one.record.text, one.signature)
    assert recovered == record.receipt_key
    assert ethereum.address(recovered) == ethereum.address(record.receipt_key)
    assert one.signature[64] in (27, 28)


CHANGES: dict[str, Any] = {
    "session": OTHER,
    "statement": OTHER,
    "counter": 1,
    "previous": OTHER,
    "time": STARTED + 1,
}
CHECKPOINT_CHANGES: dict[str, Any] = {
    "session": OTHER,
    "counter": 4,
    "head": OTHER,
    "nonce": b"another nonce",
}


def test_every_field_has_a_change() -> None:
    assert set(CHANGES) == {field.name for field in fields(Receipt)}
    assert set(CHECKPOINT_CHANGES) == {field.name for field in fields(Checkpoint)}


@both
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("signer", ["nobody", "attacker"])
def test_each_field_of_a_receipt_is_signed(
    algorithm: ReceiptAlgorithm, name: str, signer: str
) -> None:
    """Changed under the old signature, and signed anew by the attacker's own key."""
    change = {name: CHANGES[name]}
    honest = signed(algorithm)
    forged = (
        signed(algorithm, 1, **change)
        if signer == "attacker"
        else SignedReceipt(replace(honest.record, **change), honest.signature)
    )
    (found,) = read_receipts(receipts_bytes((forged,)))
    with refused("tee.13"):
        ReceiptKey.of(session(algorithm)).check(found)


@both
@pytest.mark.parametrize("name", CHECKPOINT_CHANGES)
@pytest.mark.parametrize("signer", ["nobody", "attacker"])
def test_each_field_of_a_checkpoint_is_signed(
    algorithm: ReceiptAlgorithm, name: str, signer: str
) -> None:
    change = {name: CHECKPOINT_CHANGES[name]}
    honest = checkpoint(algorithm)
    forged = (
        checkpoint(algorithm, 1, **change)
        if signer == "attacker"
        else SignedCheckpoint(replace(honest.record, **change), honest.signature)
    )
    key = ReceiptKey.of(session(algorithm))
    nonce = forged.record.nonce
    with refused("tee.13"):
        check_checkpoint(forged.to_bytes(), key, nonce)


@both
def test_receipts_of_another_session_with_the_same_key(algorithm: ReceiptAlgorithm) -> None:
    """Signed by the right key, but naming a session that this quote does not bind."""
    other = session(algorithm, started=STARTED + 1)
    assert other.digest != session(algorithm).digest
    with refused("tee.13"):
        ReceiptKey.of(session(algorithm)).check(signed(algorithm, session=other.digest))


@both
def test_an_old_checkpoint(algorithm: ReceiptAlgorithm) -> None:
    key = ReceiptKey.of(session(algorithm))
    with refused("tee.15"):
        check_checkpoint(checkpoint(algorithm).to_bytes(), key, b"another nonce")


@both
def test_a_receipt_is_no_checkpoint(algorithm: ReceiptAlgorithm) -> None:
    """A signature over one never serves for the other, whatever the records say."""
    one, two = signed(algorithm), checkpoint(algorithm)
    key = ReceiptKey.of(session(algorithm))
    with refused("tee.13"):
        key.check(SignedReceipt(one.record, two.signature))
    with refused("tee.13"):
        key.check(SignedCheckpoint(two.record, one.signature))
    with refused("tee.2"):
        check_checkpoint(one.to_bytes(), key, NONCE)
    with refused("tee.2"):
        read_receipts(b"[" + two.to_bytes() + b"]")


def test_a_signature_of_the_other_algorithm() -> None:
    """Same digest of session in the record; the key decides which signature is looked for."""
    for algorithm, other in (ALGORITHMS, ALGORITHMS[::-1]):
        record = signed(algorithm).record
        forged = secret(other).sign_receipt(record)
        with refused("tee.13"):
            ReceiptKey.of(session(algorithm)).check(forged)


def test_raw_secp256k1_signatures_are_refused() -> None:
    """Over the bytes that Ed25519 signs, or over SHA-256 of them: not EIP-191."""
    from coincurve import PrivateKey

    own = PrivateKey()
    record = session(ReceiptAlgorithm.SECP256K1, receipt_key=own.public_key.format(compressed=True))
    receipt = replace(signed(ReceiptAlgorithm.SECP256K1).record, session=record.digest)
    key = ReceiptKey.of(record)
    key.check(SignedReceipt(receipt, ethereum.sign(own, receipt.text)))
    for digest in (
        hashlib.sha256(receipt.message).digest(),
        ethereum.keccak256(receipt.message),
        ethereum.keccak256(receipt.text.encode()),
    ):
        raw = own.sign_recoverable(digest, hasher=None)
        with refused("tee.13"):
            key.check(SignedReceipt(receipt, raw[:64] + bytes([27 + raw[64]])))


@both
@given(data=st.data())
@settings(max_examples=60)
def test_each_bit_of_a_signature(algorithm: ReceiptAlgorithm, data: st.DataObject) -> None:
    honest = signed(algorithm)
    changed = bytearray(honest.signature)
    bit = data.draw(st.integers(0, 8 * len(changed) - 1))
    changed[bit // 8] ^= 1 << bit % 8
    with refused("tee.13"):
        ReceiptKey.of(session(algorithm)).check(SignedReceipt(honest.record, bytes(changed)))


def test_ed25519_signatures_are_not_malleable() -> None:
    """S plus the order of the group: the same equation, another signature (RFC 8032, 8.4)."""
    order = 2**252 + 27742317777372353535851937790883648493
    honest = signed(ReceiptAlgorithm.ED25519)
    s = int.from_bytes(honest.signature[32:], "little") + order
    forged = honest.signature[:32] + s.to_bytes(32, "little")
    with refused("tee.13"):
        ReceiptKey.of(session()).check(SignedReceipt(honest.record, forged))


# -- keys that are no keys ------------------------------------------------------------------------

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def points_of_small_order() -> list[tuple[int, int]]:
    """The eight points whose order divides 8, computed from the curve's equation alone."""
    root = pow(2, (P - 1) // 4, P)  # of -1

    def square_root(value: int) -> int | None:
        candidate = pow(value, (P + 3) // 8, P)
        for found in (candidate, candidate * root % P):
            if found * found % P == value % P:
                return found
        return None

    # Doubling a point of order 8 gives one of order 4, whose y is 0: there y^2 = -x^2, so that
    # with the curve -x^2 + y^2 = 1 + d x^2 y^2 follows d y^4 + 2 y^2 - 1 = 0.
    ys = {1, P - 1, 0}
    inner = square_root(1 + D)
    assert inner is not None
    for sign in (1, -1):
        y = square_root((-1 + sign * inner) * pow(D, -1, P) % P)
        if y is not None:
            ys |= {y, P - y}
    found = []
    for y in ys:
        x = square_root((y * y - 1) * pow(D * y * y + 1, -1, P) % P)
        if x is not None:
            found += [(x, y)] if x == 0 else [(x, y), (P - x, y)]
    return found


def test_ed25519_keys_of_small_order_are_refused() -> None:
    """Under such a key one signature fits one message in eight, or all; nobody needs a secret."""
    points = points_of_small_order()
    assert len(points) == 8
    for x, y in points:
        for encoded in {y + (x % 2 << 255), y + ((1 - x % 2) << 255)}:
            with refused("tee.13"):
                ReceiptKey.of(session(receipt_key=encoded.to_bytes(32, "little")))


@pytest.mark.parametrize("y", [P, P + 1, 2**255 - 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_ed25519_keys_in_a_second_encoding_are_refused(y: int, sign: int) -> None:
    with refused("tee.13"):
        ReceiptKey.of(session(receipt_key=(y + (sign << 255)).to_bytes(32, "little")))


@pytest.mark.parametrize("key", [bytes(33), b"\x02" + b"\xff" * 32, b"\x04" + bytes(32)])
def test_secp256k1_keys_off_the_curve_are_refused(key: bytes) -> None:
    with refused("tee.13"):
        ReceiptKey.of(session(ReceiptAlgorithm.SECP256K1, receipt_key=key))


def test_ed25519_keys_off_the_curve_sign_nothing() -> None:
    """y = 2 is on no point: OpenSSL takes the key and accepts no signature."""
    record = session(receipt_key=(2).to_bytes(32, "little"))
    forged = SignedReceipt(
        replace(signed(ReceiptAlgorithm.ED25519).record, session=record.digest), bytes(64)
    )
    with refused("tee.13"):
        ReceiptKey.of(record).check(forged)


# -- bytes ----------------------------------------------------------------------------------------


@both
def test_checkpoints_are_read_strictly(algorithm: ReceiptAlgorithm) -> None:
    key = ReceiptKey.of(session(algorithm))

    def read(data: bytes) -> SignedCheckpoint:
        try:
            return check_checkpoint(data, key, None)
        except VerificationError as error:
            if error.check == "tee.13":  # it could be read
                return SignedCheckpoint.read(loads(data), "")
            raise

    assert_strict(checkpoint(algorithm).to_bytes(), read, "tee.2")


def oracle(data: bytes) -> tuple[SignedReceipt, ...] | None:
    """A segment by the general reader."""
    try:
        value = loads(data)
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_RECEIPTS:
            return None
        return tuple(SignedReceipt.read(item, "") for item in value)
    except (CanonicalError, FieldError):
        return None


def same_as_oracle(data: bytes) -> None:
    expected = oracle(data)
    assert refusal(lambda: read_receipts(data)) == ("accepted" if expected else "tee.2"), data
    assert expected is None or read_receipts(data) == expected, data


@both
def test_each_damage_of_a_segment(algorithm: ReceiptAlgorithm) -> None:
    """The quick reader and the general one agree, and what is read is not what was signed."""
    honest = chain(2, algorithm)
    data = receipts_bytes(honest)
    key = ReceiptKey.of(session(algorithm))
    damages = 0
    for name, value in corrupted(loads(data)):
        changed = dumps(value)
        if changed == data:
            continue
        damages += 1
        same_as_oracle(changed)

        def judge(data: bytes = changed) -> None:
            for one in read_receipts(data):
                key.check(one)

        number = refusal(judge)
        assert number in ("tee.2", "tee.13"), name
    assert damages > 100


@settings(max_examples=400)
@given(st.integers(0, 10**6), st.integers(0, 255), st.sampled_from(["set", "cut", "insert"]))
def test_each_changed_byte_of_a_segment(place: int, byte: int, how: str) -> None:
    data = bytearray(receipts_bytes(chain(2)))
    at = place % len(data)
    match how:
        case "set":
            data[at] = byte
        case "cut":
            del data[at]
        case _:
            data.insert(at, byte)
    same_as_oracle(bytes(data))


@settings(max_examples=300)
@given(st.binary(max_size=100))
@example(b"")
@example(b"[")
@example(b"[]")
@example(b"[" * 100_000)
@example(b"[null]")
def test_any_bytes(data: bytes) -> None:
    with refused("tee.2"):
        read_receipts(data)


NUMBERS = ["00", "-1", "-0", "1.0", "1e3", " 7", "9007199254740992", "10000000000000000", "1" * 400]


@pytest.mark.parametrize("field", ["counter", "time"])
@pytest.mark.parametrize("number", [*NUMBERS, "true", '"7"', "0", "9007199254740991"])
def test_numbers(field: str, number: str) -> None:
    text = receipts_bytes((SignedReceipt(RECEIPT, bytes(64)),)).decode()
    value = {"counter": 7, "time": 1750330800}[field]
    same_as_oracle(text.replace(f'"{field}":{value}', f'"{field}":{number}').encode())
    if number in NUMBERS:
        with refused("tee.2"):
            read_receipts(text.replace(f'"{field}":{value}', f'"{field}":{number}').encode())


@pytest.mark.parametrize("size", [0, 63, 66, 32])
def test_lengths_of_signatures(size: int) -> None:
    data = b"[" + SignedReceipt(RECEIPT, bytes(size)).to_bytes() + b"]"
    same_as_oracle(data)
    with refused("tee.2"):
        read_receipts(data)


@pytest.mark.parametrize("separator", [b"", b";", b"]", b"{", b",,", b", ", b"\0", b"\xff"])
def test_what_stands_between_receipts(separator: bytes) -> None:
    first, second = (one.to_bytes() for one in chain(2))
    for data in (
        b"[" + first + separator + second + b"]",
        b"[" + first + separator + b"]" if separator != b"" else b"[" + first,
        separator + b"[" + first + b"]" if separator != b"" else first + b"]",
    ):
        same_as_oracle(data)
        with refused("tee.2"):
            read_receipts(data)


def test_a_segment_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    one = SignedReceipt(RECEIPT, bytes(64))
    assert len(read_receipts(receipts_bytes((one,) * MAX_RECEIPTS))) == MAX_RECEIPTS
    with refused("tee.2"):
        read_receipts(receipts_bytes((one,) * (MAX_RECEIPTS + 1)))
    monkeypatch.setattr(module, "MAX_RECEIPTS_BYTES", 1000)
    with refused("tee.2"):
        read_receipts(receipts_bytes((one,) * 3))


@pytest.mark.parametrize("unit", [b"[],", b"1,", b'{"":0},', b"[[[[[[]]]]]],"])
def test_memory_for_hostile_segments(unit: bytes) -> None:
    """As large as a segment may be, and nothing like one: refused before objects are made of it."""
    data = b"[" + unit * (module.MAX_RECEIPTS_BYTES // len(unit) - 1) + b"1]"
    tracemalloc.start()
    with refused("tee.2"):
        read_receipts(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"counter": -1}, "receipt.counter"),
        ({"session": "short"}, "receipt.session"),
        ({"version": 2}, "receipt.version"),
    ],
)
def test_what_is_wrong_is_said(damage: dict[str, JSON], words: str) -> None:
    whole = SignedReceipt(RECEIPT, bytes(64))
    data = dumps([whole.to_json(), {**whole.to_json(), "receipt": {**RECEIPT.to_json(), **damage}}])
    with pytest.raises(VerificationError, match=rf"receipts\[1\]\.{words}"):
        read_receipts(data)


def test_largest_values() -> None:
    largest = 2**53 - 1
    record = replace(RECEIPT, counter=largest, time=253402300799)
    found = SignedReceipt(record, bytes(64))
    assert read_receipts(receipts_bytes((found,))) == (found,)
    assert Checkpoint.read(replace(CHECKPOINT, counter=largest + 1).to_json(), "")
    with pytest.raises(FieldError):
        Checkpoint.read(replace(CHECKPOINT, counter=largest + 2).to_json(), "")
    key = ReceiptKey.of(session())
    for nonce in (b"\0", bytes(64)):
        data = checkpoint(ReceiptAlgorithm.ED25519, nonce=nonce).to_bytes()
        assert check_checkpoint(data, key, nonce).record.nonce == nonce


def test_nonces_of_checkpoints() -> None:
    key = ReceiptKey.of(session())
    for nonce in (b"", bytes(65)):
        with pytest.raises(UsageError):
            check_checkpoint(checkpoint(ReceiptAlgorithm.ED25519).to_bytes(), key, nonce)
    with refused("tee.2"):
        check_checkpoint(checkpoint(ReceiptAlgorithm.ED25519, nonce=b"").to_bytes(), key, None)


# -- what else can go wrong ----------------------------------------------------------------------


@pytest.mark.parametrize("package", ["coincurve", "Crypto.Hash"])
def test_packages_that_are_missing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = session(ReceiptAlgorithm.SECP256K1)
    one = signed(ReceiptAlgorithm.SECP256K1)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendUnavailable, match=r"pip install"):
        ReceiptKey.of(record).check(one)
    if package == "coincurve":
        with pytest.raises(BackendUnavailable, match=r"pip install"):
            ReceiptSecret.generate(ReceiptAlgorithm.SECP256K1)
    ReceiptKey.of(session()).check(signed(ReceiptAlgorithm.ED25519))


def test_a_session_read_back_has_the_same_receipts() -> None:
    record = Session.read(session().to_bytes())
    ReceiptKey.of(record).check(signed(ReceiptAlgorithm.ED25519))
