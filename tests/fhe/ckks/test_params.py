"""Rings, primes and the security that they give."""

from __future__ import annotations

import math

import pytest

from proofml.canonical import dumps, loads
from proofml.fhe.ckks.params import (
    DEGREES,
    STANDARD,
    Parameters,
    choose_primes,
    is_prime,
)
from proofml.fhe.scheme import Malformed
from proofml.fields import FieldError, Fields


def test_table_is_that_of_the_standard() -> None:
    """HomomorphicEncryption.org 2018, table 1, ternary secrets, classical attacks."""
    assert dict(STANDARD[128]) == {4096: 109, 8192: 218, 16384: 438, 32768: 881}
    assert dict(STANDARD[192]) == {4096: 75, 8192: 152, 16384: 305, 32768: 611}
    assert dict(STANDARD[256]) == {4096: 58, 8192: 118, 16384: 237, 32768: 476}


def test_primes_by_trial_division() -> None:
    assert [n for n in range(200) if is_prime(n)] == [
        n for n in range(2, 200) if all(n % d for d in range(2, math.isqrt(n) + 1))
    ]
    # Strong pseudoprimes to the first bases (OEIS A014233).
    for number in (2047, 1373653, 25326001, 3215031751, 2152302898747, 3474749660383):
        assert not is_prime(number)
    assert is_prime((1 << 61) - 1)


@pytest.mark.parametrize("degree", DEGREES)
def test_chosen_primes_are_what_was_asked_for(degree: int) -> None:
    primes = choose_primes(degree, 30, 2, 34, 36)
    assert len(set(primes)) == 4
    assert all(prime % (2 * degree) == 1 and is_prime(prime) for prime in primes)
    assert primes[0].bit_length() == 34
    assert primes[-1].bit_length() == 36
    assert all(abs(math.log2(prime) - 30) < 0.1 for prime in primes[1:-1])


@pytest.mark.parametrize("degree", DEGREES)
def test_modulus_at_the_bound_and_above_it(degree: int) -> None:
    """The largest modulus of the table is taken, one bit more is refused."""
    most = STANDARD[128][degree]

    def modulus(bits: int) -> tuple[int, ...]:
        """So many bits in primes of about 50, the largest one last."""
        count = -(-bits // 50)
        sizes = [bits // count + (i < bits % count) for i in range(count)]
        taken: list[int] = []
        for size in sizes:
            factor = (1 << size) // (2 * degree)
            while True:
                factor -= 1
                prime = factor * 2 * degree + 1
                if is_prime(prime) and prime not in taken:
                    taken.append(prime)
                    break
        return (*taken[1:], taken[0])

    good = Parameters(degree, modulus(most))
    assert good.modulus_bits <= most
    assert good.security_bits == 128
    with pytest.raises(Malformed, match=f"at most {most} bits"):
        Parameters(degree, modulus(most + 2))


def test_security_is_the_highest_row_that_holds() -> None:
    assert Parameters(8192, choose_primes(8192, 30, 1, 40, 40)).security_bits == 256
    assert Parameters(8192, choose_primes(8192, 30, 2, 40, 40)).security_bits == 192
    assert Parameters(8192, choose_primes(8192, 30, 4, 40, 40)).security_bits == 128


def test_refused_parameters() -> None:
    primes = choose_primes(8192, 30, 2, 40, 40)
    for degree, given in (
        (2048, primes),
        (8191, primes),
        (8192, primes[:1]),
        (8192, (primes[0], *primes)),
        (8192, (primes[0] + 2, *primes[1:])),
        (8192, (15, primes[-1])),
        (8192, (primes[-1], primes[1])),  # the last one is not the largest
        (32768, primes),  # not 1 modulo 65536, most of them
    ):
        with pytest.raises(Malformed):
            Parameters(degree, given)


def test_one_form() -> None:
    made = Parameters(8192, choose_primes(8192, 30, 2, 40, 40))
    data = dumps(made.to_json())
    again = Parameters.read(Fields(loads(data), ""))
    assert again == made
    assert again.digest == made.digest
    value = loads(data)
    for primes in (["12a"], ["01"], ["-5"], [5], ["9" * 30], []):
        with pytest.raises((FieldError, Malformed)):
            Parameters.read(Fields({**value, "primes": primes}, ""))
    with pytest.raises(FieldError):
        Parameters.read(Fields({**value, "extra": 1}, ""))
