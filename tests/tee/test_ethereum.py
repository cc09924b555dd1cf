"""EIP-191 signatures against published values, and every form of one that must not pass."""

from __future__ import annotations

import hashlib

import pytest
from coincurve import PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.tee import ethereum

# From the documentation of web3.js (web3.eth.accounts.sign) and of EIP-55.
WEB3_KEY = PrivateKey.from_hex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
WEB3_HASH = "1da44b586eb0729ff70a73c326926f6ed5a25f5b056e7f47fbc6e58d86871655"
WEB3_SIGNATURE = (
    "b91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
    "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a029"
    "1c"
)
WEB3_ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
EIP55 = (
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
)
KEY = PrivateKey(hashlib.sha256(b"receipt key").digest())
PUBLIC = KEY.public_key.format(compressed=True)
TEXT = "proofml receipt v1\nsession: ..."


def test_keccak_is_not_sha3() -> None:
    empty = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert ethereum.keccak256(b"").hex() == empty
    assert ethereum.keccak256(b"") != hashlib.sha3_256(b"").digest()


def test_published_signature() -> None:
    assert ethereum.message_hash("Some data").hex() == WEB3_HASH
    signature = ethereum.sign(WEB3_KEY, "Some data")
    assert signature.hex() == WEB3_SIGNATURE
    public = WEB3_KEY.public_key.format(compressed=True)
    assert ethereum.recover("Some data", signature) == public
    assert ethereum.address(public) == WEB3_ADDRESS


def test_length_counts_bytes() -> None:
    text = "Ω" * 60
    prefixed = b"\x19Ethereum Signed Message:\n120" + text.encode()
    assert ethereum.message_hash(text) == ethereum.keccak256(prefixed)


@pytest.mark.parametrize("address", EIP55)
def test_capitals_of_addresses(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The four examples of EIP-55: capitals alone, so the key's hash is put in by hand."""
    real, digits = ethereum.keccak256, address[2:].lower()
    uncompressed = KEY.public_key.format(compressed=False)[1:]

    def keccak(data: bytes) -> bytes:
        return bytes(12) + bytes.fromhex(digits) if data == uncompressed else real(data)

    monkeypatch.setattr(ethereum, "keccak256", keccak)
    assert ethereum.address(PUBLIC) == address


@settings(max_examples=50)
@given(st.text(max_size=200))
def test_round_trip(text: str) -> None:
    signature = ethereum.sign(KEY, text)
    assert len(signature) == 65
    assert signature[64] in (27, 28)
    assert int.from_bytes(signature[32:64], "big") <= ethereum.ORDER // 2
    assert signature == ethereum.sign(KEY, text)
    assert ethereum.recover(text, signature) == PUBLIC
    assert ethereum.recover(text + " ", signature) != PUBLIC


def test_both_v_occur_and_only_the_right_one_gives_the_key() -> None:
    seen = set()
    for number in range(20):
        signature = ethereum.sign(KEY, f"{number}")
        seen.add(signature[64])
        flipped = signature[:64] + bytes([55 - signature[64]])
        assert ethereum.recover(f"{number}", flipped) != PUBLIC
    assert seen == {27, 28}


def test_the_higher_s_is_refused() -> None:
    """(r, n - s) with the other v is valid to `ecrecover`, which is why contracts refuse it."""
    signature = ethereum.sign(KEY, TEXT)
    s = int.from_bytes(signature[32:64], "big")
    mirrored = signature[:32] + (ethereum.ORDER - s).to_bytes(32, "big")
    for v in (27, 28):
        assert ethereum.recover(TEXT, mirrored + bytes([v])) is None


@pytest.mark.parametrize("v", [v for v in range(256) if v not in (27, 28)])
def test_other_v(v: int) -> None:
    assert ethereum.recover(TEXT, ethereum.sign(KEY, TEXT)[:64] + bytes([v])) is None


@pytest.mark.parametrize("r", [0, ethereum.ORDER, ethereum.ORDER + 1, 2**256 - 1])
@pytest.mark.parametrize("v", [27, 28])
def test_r_out_of_range(r: int, v: int) -> None:
    signature = ethereum.sign(KEY, TEXT)
    forged = r.to_bytes(32, "big") + signature[32:64] + bytes([v])
    assert ethereum.recover(TEXT, forged) is None


@pytest.mark.parametrize("s", [0, ethereum.ORDER // 2 + 1, ethereum.ORDER, 2**256 - 1])
@pytest.mark.parametrize("v", [27, 28])
def test_s_out_of_range(s: int, v: int) -> None:
    forged = ethereum.sign(KEY, TEXT)[:32] + s.to_bytes(32, "big") + bytes([v])
    assert ethereum.recover(TEXT, forged) is None


@pytest.mark.parametrize("s", [1, ethereum.ORDER // 2])
def test_the_ends_of_the_range_of_s(s: int) -> None:
    """With any r that is a point, such an s is a signature by some key."""
    forged = ethereum.sign(KEY, TEXT)[:32] + s.to_bytes(32, "big")
    found = {ethereum.recover(TEXT, forged + bytes([v])) for v in (27, 28)}
    assert len(found) == 2
    assert None not in found


def test_the_least_r() -> None:
    """x = 1 is on two points of the curve, so each v gives a key of its own."""
    forged = (1).to_bytes(32, "big") + (1).to_bytes(32, "big")
    found = {ethereum.recover(TEXT, forged + bytes([v])) for v in (27, 28)}
    assert len(found) == 2
    assert None not in found


@pytest.mark.parametrize("size", [*range(65), 66, 97, 130])
def test_other_lengths(size: int) -> None:
    """Cut short or with something behind it, a good signature is none."""
    signature = ethereum.sign(KEY, TEXT)
    assert ethereum.recover(TEXT, (signature + bytes(65))[:size]) is None


def test_r_that_is_no_point() -> None:
    """x = 5 is on no point of the curve: recovery fails, and is refused without an exception."""
    forged = (5).to_bytes(32, "big") + (1).to_bytes(32, "big")
    assert ethereum.recover(TEXT, forged + b"\x1b") is None
    assert ethereum.recover(TEXT, forged + b"\x1c") is None


@settings(max_examples=200)
@given(st.binary(max_size=70) | st.binary(min_size=65, max_size=65))
def test_any_bytes(signature: bytes) -> None:
    assert ethereum.recover(TEXT, signature) != PUBLIC


@given(st.integers(0, 519))
def test_each_bit(bit: int) -> None:
    signature = bytearray(ethereum.sign(KEY, TEXT))
    signature[bit // 8] ^= 1 << bit % 8
    assert ethereum.recover(TEXT, bytes(signature)) != PUBLIC


@pytest.mark.parametrize(
    "key",
    [
        b"",
        PUBLIC[:-1],
        PUBLIC + b"\0",
        b"\x04" + PUBLIC[1:],
        bytes(33),
        b"\x02" + b"\xff" * 32,
        b"\x02" + (5).to_bytes(32, "big"),
        KEY.public_key.format(compressed=False),
    ],
)
def test_what_is_no_key(key: bytes) -> None:
    assert ethereum.is_key(PUBLIC)
    assert not ethereum.is_key(key)


def test_no_key_has_no_address() -> None:
    with pytest.raises(ValueError, match="public key"):
        ethereum.address(b"\x02" + b"\xff" * 32)


def test_the_order_of_the_group() -> None:
    """The highest secret key is the order less one (its point is the mirrored generator)."""
    highest = PrivateKey((ethereum.ORDER - 1).to_bytes(32, "big"))
    one = PrivateKey((1).to_bytes(32, "big"))
    assert highest.public_key.format()[1:] == one.public_key.format()[1:]
    assert highest.public_key.format() != one.public_key.format()
    with pytest.raises(ValueError, match=r"[Ss]ecret"):
        PrivateKey(ethereum.ORDER.to_bytes(32, "big"))


def test_generate() -> None:
    (first, public), (_, other) = ethereum.generate(), ethereum.generate()
    assert ethereum.is_key(public)
    assert public != other
    assert ethereum.recover(TEXT, ethereum.sign(first, TEXT)) == public
