"""Fiat-Shamir transcript over SHA-256: section 2 of the protocol, profile `ud`.

Every use of the hash begins with its own byte, so that no two uses can collide by format, and
every squeeze ratchets the state, so that two challenges in a row differ. The C kernels carry on
from the same 32 bytes (`Transcript.state`), in place; see `proofml.circuits.kernels`.

The transformation is that of Fiat and Shamir (CRYPTO 1986), its security for protocols of many
rounds the round-by-round soundness of Canetti et al. (ePrint 2018/1004). Not audited.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from proofml.circuits.field.babybear import P
from proofml.circuits.field.ext5 import Element

LABEL: Final = b"proofml/sumcheck/1"
STATE_BYTES: Final = 32

_START, _ABSORB, _SQUEEZE, _STREAM, _GRIND, _SEED = (bytes([n]) for n in range(6))


def _tagged(tag: str) -> bytes:
    data = tag.encode("ascii")
    return bytes([len(data)]) + data


class Transcript:
    """Absorbs what the prover sends, gives what the verifier would have asked.

    `state` is mutable and may be shared: whoever holds the same bytearray continues the same
    transcript.
    """

    def __init__(self, statement_hash: bytes) -> None:
        if len(statement_hash) != STATE_BYTES:
            raise ValueError(f"expected a hash of 32 bytes, got {len(statement_hash)}")
        self.state = bytearray(sha256(_START + LABEL + statement_hash).digest())

    @classmethod
    def over(cls, state: bytearray) -> Transcript:
        """The transcript that continues from `state`, and changes it in place."""
        if len(state) != STATE_BYTES:
            raise ValueError(f"expected a state of 32 bytes, got {len(state)}")
        transcript = cls.__new__(cls)
        transcript.state = state
        return transcript

    def absorb(self, tag: str, data: bytes) -> None:
        head = _ABSORB + _tagged(tag) + self.state + struct.pack("<Q", len(data))
        self.state[:] = sha256(head + data).digest()

    def challenge(self, tag: str) -> Element:
        """A uniform element of F: words of 31 bits, those that are not below p dropped."""
        found: list[int] = []
        for word in self._words(tag):
            value = word & 0x7FFFFFFF
            if value < P:
                found.append(value)
            if len(found) == 5:
                break
        return (found[0], found[1], found[2], found[3], found[4])

    def indices(self, tag: str, count: int, log_n: int) -> list[int]:
        """`count` numbers below 2^log_n, with replacement, in the order drawn."""
        if not 0 <= log_n <= 32:
            raise ValueError(f"expected 0 to 32 bits for an index, got {log_n}")
        words, mask = self._words(tag), (1 << log_n) - 1
        return [next(words) & mask for _ in range(count)]

    def seed(self, tag: str) -> bytes:
        """32 bytes for grinding."""
        self._ratchet(tag)
        return sha256(_SEED + self.state).digest()

    def _ratchet(self, tag: str) -> None:
        self.state[:] = sha256(_SQUEEZE + _tagged(tag) + self.state).digest()

    def _words(self, tag: str) -> Iterator[int]:
        self._ratchet(tag)
        counter = 0
        while True:
            block = sha256(_STREAM + self.state + struct.pack("<I", counter)).digest()
            yield from struct.unpack("<8I", block)
            counter += 1


def grind_ok(seed: bytes, nonce: int, bits: int) -> bool:
    """Whether the first `bits` bits of H(04, seed, nonce) are zero."""
    digest = sha256(_GRIND + seed + struct.pack("<Q", nonce)).digest()
    return int.from_bytes(digest, "big") >> (256 - bits) == 0


def grind(seed: bytes, bits: int) -> int:
    """The smallest valid nonce."""
    nonce = 0
    while not grind_ok(seed, nonce, bits):
        nonce += 1
    return nonce
