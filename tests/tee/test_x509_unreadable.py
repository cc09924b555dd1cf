"""Certificates and lists that their issuer signed, with a key or a date that nobody can read.

An attacker who runs a simulator holds all its keys: whatever he has signed, it ends in a refusal.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from proofml.tee import x509
from tests.tee.der_cases import element, elements
from tests.tee.platform_cases import number
from tests.tee.test_x509 import CHAIN, KEYS, NOW, List, walk

#: Places in the signed part of a certificate, and of a list of version 2.
VALIDITY, KEY = 4, 6
THIS_UPDATE, NEXT_UPDATE = 3, 4
P256 = bytes.fromhex("2a8648ce3d030107")
EC_KEY = bytes.fromhex("2a8648ce3d0201")


def resigned(
    data: bytes, at: int, change: Callable[[bytes], bytes], key: ec.EllipticCurvePrivateKey
) -> bytes:
    """One part of what is signed is another, and it is signed anew."""
    outer, algorithm, _ = elements(element(data).content)
    parts = elements(element(outer).content)
    changed = change(parts[at])
    assert changed != parts[at]
    body = element(outer).around(b"".join([*parts[:at], changed, *parts[at + 1 :]]))
    signature = key.sign(body, ec.ECDSA(hashes.SHA384()))
    bits = bytes((3, len(signature) + 1, 0)) + signature
    return element(data).around(body + algorithm + bits)


def time(text: bytes) -> bytes:
    """A GeneralizedTime."""
    return bytes((0x18, len(text))) + text


KEYS_OF_NOBODY: dict[str, Callable[[bytes], bytes]] = {
    "a point that is not on the curve": lambda key: key[:-64] + b"\xff" * 64,
    "a curve that does not exist": lambda key: key.replace(P256, P256[:-1] + b"\x77"),
    "a kind of key that does not exist": lambda key: key.replace(EC_KEY, EC_KEY[:-1] + b"\x77"),
    "no key": lambda key: element(key).around(elements(element(key).content)[0] + b"\3\1\0"),
}


@pytest.mark.parametrize("name", KEYS_OF_NOBODY)
@pytest.mark.parametrize("at", range(4))
def test_a_key_that_nobody_can_read_is_refused(name: str, at: int) -> None:
    """Of the leaf, by whose key nothing in the chain is signed, as of every other one."""
    signer = KEYS[max(3 - at - 1, 0)]
    data = resigned(x509.der(CHAIN[at]), KEY, KEYS_OF_NOBODY[name], signer)
    chain = [*CHAIN[:at], x509.load_der(data, "it"), *CHAIN[at + 1 :]]
    assert number(lambda: walk(chain)) == "tee.5"


YEAR_0, YEAR_1, LAST = time(b"00000101000000Z"), time(b"00010101000000Z"), time(b"99991231235959Z")


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (YEAR_0 + LAST, "tee.5"),
        (YEAR_1 + YEAR_0, "tee.5"),
        (YEAR_1 + LAST, "accepted"),
        (LAST + YEAR_1, "tee.5"),
    ],
)
def test_a_certificate_with_a_date_that_nobody_can_read_is_refused(
    dates: bytes, expected: str
) -> None:
    data = resigned(x509.der(CHAIN[0]), VALIDITY, lambda old: element(old).around(dates), KEYS[2])
    assert number(lambda: walk([x509.load_der(data, "it"), *CHAIN[1:]])) == expected


@pytest.mark.parametrize(
    ("at", "date", "expected"),
    [
        (THIS_UPDATE, YEAR_0, "tee.6"),
        (THIS_UPDATE, YEAR_1, "accepted"),
        (NEXT_UPDATE, YEAR_0, "tee.6"),
        (NEXT_UPDATE, LAST, "accepted"),
    ],
)
def test_a_list_with_a_date_that_nobody_can_read_is_refused(
    at: int, date: bytes, expected: str
) -> None:
    data = resigned(List().make().public_bytes(Encoding.DER), at, lambda _: date, KEYS[1])

    def read() -> None:
        x509.check_crl(x509.load_crl(data, "it"), CHAIN[2], CHAIN[:2], NOW)

    assert number(read) == expected
