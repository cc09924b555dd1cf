"""Ethereum's signed messages: EIP-191 `personal_sign`, recoverable secp256k1, addresses.

What a wallet signs is Keccak-256 of 0x19 || "Ethereum Signed Message:\\n" || length in decimal ||
text (EIP-191, version 0x45), so a signature here is never one over a transaction. A signature has
65 bytes: r || s || v, v 27 or 28, as the precompiled contract `ecrecover` takes it. Only the lower
of the two possible s is accepted (EIP-2), so that one signature cannot be turned into another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proofml.errors import BackendUnavailable

# Third-party packages are imported where they are used: an Ed25519 session needs neither.
if TYPE_CHECKING:
    from coincurve import PrivateKey

SIGNATURE_BYTES: Final = 65
KEY_BYTES: Final = 33
#: Order of the group of secp256k1 (SEC 2, section 2.4.1).
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_V_BASE = 27


def _missing(name: str) -> BackendUnavailable:
    return BackendUnavailable(
        f"{name} is not installed, and secp256k1 receipts need it; pip install 'proofml[tee]'"
    )


def keccak256(data: bytes) -> bytes:
    """Keccak with the original padding, which Ethereum kept; not SHA3-256. 32 bytes."""
    try:
        from Crypto.Hash import keccak
    except ImportError as error:
        raise _missing("pycryptodome") from error
    return keccak.new(digest_bits=256, data=data).digest()


def message_hash(text: str) -> bytes:
    """What `personal_sign` signs of a text, 32 bytes."""
    data = text.encode("utf-8")
    return keccak256(b"\x19Ethereum Signed Message:\n%d%s" % (len(data), data))


def generate() -> tuple[PrivateKey, bytes]:
    """A new private key, and its public one: a compressed point, 33 bytes."""
    try:
        from coincurve import PrivateKey
    except ImportError as error:
        raise _missing("coincurve") from error
    key = PrivateKey()
    return key, key.public_key.format(compressed=True)


def sign(key: PrivateKey, text: str) -> bytes:
    """r || s || v over the text, 65 bytes; deterministic (RFC 6979), s is the lower one."""
    found = key.sign_recoverable(message_hash(text), hasher=None)
    # libsecp256k1 gives 0 or 1; 2 and 3 mean an r of at least the order, one in 2^127.
    return found[:64] + bytes([_V_BASE + found[64]])


def recover(text: str, signature: bytes) -> bytes | None:
    """The compressed key, 33 bytes, that signed the text; None if no key can have.

    Refused as well: another length, v other than 27 or 28, the higher s, r or s of zero or not
    below the order.
    """
    try:
        from coincurve import PublicKey
    except ImportError as error:
        raise _missing("coincurve") from error
    if len(signature) != SIGNATURE_BYTES or signature[64] not in (_V_BASE, _V_BASE + 1):
        return None
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if not 0 < r < ORDER or not 0 < s <= ORDER // 2:
        return None
    raw, digest = signature[:64] + bytes([signature[64] - _V_BASE]), message_hash(text)
    try:
        key = PublicKey.from_signature_and_message(raw, digest, hasher=None)
    except Exception:  # noqa: BLE001 - coincurve raises bare Exception where recovery fails
        return None
    return key.format(compressed=True)


def is_key(key: bytes) -> bool:
    """Whether these are a compressed point of the curve."""
    try:
        from coincurve import PublicKey
    except ImportError as error:
        raise _missing("coincurve") from error
    if len(key) != KEY_BYTES:
        return False
    try:
        PublicKey(key)
    except ValueError:
        return False
    return True


def address(key: bytes) -> str:
    """Address of a compressed key: `0x` and 40 hexadecimal digits, with EIP-55's capitals.

    Raises:
        ValueError: not a point of the curve; ask `is_key` first.
    """
    try:
        from coincurve import PublicKey
    except ImportError as error:
        raise _missing("coincurve") from error
    digits = keccak256(PublicKey(key).format(compressed=False)[1:])[-20:].hex()
    capitals = keccak256(digits.encode("ascii")).hex()
    return "0x" + "".join(
        digit.upper() if int(capital, 16) >= 8 else digit
        for digit, capital in zip(digits, capitals, strict=False)
    )
