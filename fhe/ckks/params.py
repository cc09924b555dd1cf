"""Ring degree and primes, and the security that they give.

Bounds: Albrecht et al., Homomorphic encryption security standard, HomomorphicEncryption.org 2018,
table 1: secret with coefficients in {-1, 0, 1}, classical attacks. The modulus that counts is the
product of all primes, that of key switching included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from proofml.canonical import JSON, dumps, tagged_sha256
from proofml.fhe.scheme import Malformed
from proofml.fields import FieldError, Fields

#: Security bits -> ring degree -> most bits of the modulus.
STANDARD: Mapping[int, Mapping[int, int]] = MappingProxyType(
    {
        128: {4096: 109, 8192: 218, 16384: 438, 32768: 881},
        192: {4096: 75, 8192: 152, 16384: 305, 32768: 611},
        256: {4096: 58, 8192: 118, 16384: 237, 32768: 476},
    }
)
LEAST_SECURITY = 128
DEGREES = tuple(STANDARD[LEAST_SECURITY])
#: SEAL takes primes of 2 to 60 bits; below 20 there are too few that a transform can use.
MIN_PRIME_BITS, MAX_PRIME_BITS = 20, 60
MAX_PRIMES = 40
#: Of the largest ring.
MAX_SLOTS = max(DEGREES) // 2
_TAG = "proofml/ckks-parameters/v1"
#: Bases that make the Miller-Rabin test exact below 3.3e24 (Sorenson and Webster 2015).
_BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


@dataclass(frozen=True)
class Parameters:
    """Checked when made.

    Attributes:
        degree: of the ring, a power of two; there are half as many slots.
        primes: of the modulus, in SEAL's order. The last one is used by key switching only; of
            the others the last one goes with the first rescale, and so on: the first one stays.
    """

    degree: int
    primes: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.degree not in DEGREES:
            raise Malformed("ring degree", f"one of {', '.join(map(str, DEGREES))}", self.degree)
        if not 2 <= len(self.primes) <= MAX_PRIMES or len(set(self.primes)) != len(self.primes):
            raise Malformed(
                "primes of the modulus", f"2 to {MAX_PRIMES} different ones", len(self.primes)
            )
        for prime in self.primes:
            bits = prime.bit_length()
            if not MIN_PRIME_BITS <= bits <= MAX_PRIME_BITS:
                raise Malformed(
                    "prime of the modulus", f"{MIN_PRIME_BITS} to {MAX_PRIME_BITS} bits", bits
                )
            if prime % (2 * self.degree) != 1 or not is_prime(prime):
                raise Malformed(
                    "prime of the modulus", f"a prime that is 1 modulo {2 * self.degree}", prime
                )
        if self.primes[-1] < max(self.primes):
            # Key switching adds noise in proportion to the others' sizes relative to this one.
            raise Malformed("last prime of the modulus", "the largest one", self.primes[-1])
        if self.security_bits < LEAST_SECURITY:
            raise Malformed(
                f"modulus at ring degree {self.degree}",
                f"at most {STANDARD[LEAST_SECURITY][self.degree]} bits, for {LEAST_SECURITY}-bit "
                "security by the HomomorphicEncryption.org tables",
                f"{self.modulus_bits} bits",
            )

    @property
    def slots(self) -> int:
        return self.degree // 2

    @property
    def data_primes(self) -> tuple[int, ...]:
        """Without that of key switching."""
        return self.primes[:-1]

    @property
    def levels(self) -> int:
        """How often a fresh ciphertext can be rescaled."""
        return len(self.primes) - 2

    def bits_at(self, level: int) -> float:
        """Bits of the primes that are left at this level."""
        return sum(math.log2(prime) for prime in self.primes[: level + 1])

    @cached_property
    def modulus_bits(self) -> int:
        return math.prod(self.primes).bit_length()

    @cached_property
    def security_bits(self) -> int:
        """The highest row of the table that holds; 0 where none does."""
        held = [
            bits for bits, row in STANDARD.items() if self.modulus_bits <= row.get(self.degree, 0)
        ]
        return max(held, default=0)

    @cached_property
    def digest(self) -> str:
        """SHA-256, in a domain of its own."""
        return tagged_sha256(_TAG, dumps(self.to_json()))

    def to_json(self) -> dict[str, JSON]:
        # Primes may lie beyond 2^53, the largest integer of canonical JSON.
        return {"degree": self.degree, "primes": [str(prime) for prime in self.primes]}

    @classmethod
    def read(cls, fields: Fields) -> Parameters:
        """Raises `FieldError` for the form, `Malformed` for what the form holds."""
        degree = fields.integer("degree", 1, 1 << 20)
        primes = fields.items("primes", _prime, most=MAX_PRIMES)
        fields.done()
        return cls(degree, primes)


def _prime(value: object, path: str) -> int:
    text = value if isinstance(value, str) else ""
    if not (text.isascii() and text.isdigit() and len(text) <= 20) or str(int(text)) != text:
        raise FieldError(path, "a whole number as digits", value)
    return int(text)


def is_prime(number: int) -> bool:
    """Miller-Rabin with bases that leave no doubt for numbers of 64 bits."""
    if number < 2:
        return False
    for base in _BASES:
        if number % base == 0:
            return number == base
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in _BASES:
        power = pow(base, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def _near(center: int, step: int) -> Iterator[int]:
    """Primes that are 1 modulo `step`, the nearest to `center` first."""
    start = center // step
    for distance in range(1 << 16):
        for factor in dict.fromkeys((start - distance, start + distance)):
            candidate = factor * step + 1
            if factor > 0 and is_prime(candidate):
                yield candidate


def choose_primes(
    degree: int, scale_bits: int, levels: int, base_bits: int, special_bits: int
) -> tuple[int, ...]:
    """A base prime, `levels` primes next to 2^scale_bits, and the prime of key switching.

    Raises:
        ValueError: there are not as many.
    """
    step = 2 * degree
    # Just below the power, so that the bits are those that were asked for.
    special = _below(special_bits, step, set())
    base = _below(base_bits, step, {special})
    chain: list[int] = []
    for prime in _near(1 << scale_bits, step):
        if len(chain) == levels:
            break
        if prime not in (base, special):
            chain.append(prime)
    if len(chain) < levels:
        raise ValueError(f"too few primes of {scale_bits} bits at ring degree {degree}")
    return (base, *chain, special)


def _below(bits: int, step: int, taken: set[int]) -> int:
    for factor in range((1 << bits) // step - 1, 0, -1):
        candidate = factor * step + 1
        if candidate not in taken and is_prime(candidate):
            if candidate.bit_length() == bits:
                return candidate
            break
    raise ValueError(f"no prime of {bits} bits that is 1 modulo {step}")
