"""SHA-256 against hashlib, and grinding."""

from __future__ import annotations

import hashlib

import pytest

from proofml.circuits import kernels

from .twins import grind_ok


def test_every_short_length(level, rng):
    for n in range(201):
        data = rng.bytes(n)
        assert kernels.sha256(data) == hashlib.sha256(data).digest(), n


@pytest.mark.parametrize("n", [1 << 10, (1 << 16) - 1, 1 << 16, (1 << 20) + 55, (1 << 20) + 56])
def test_long(level, rng, n):
    data = rng.bytes(n)
    assert kernels.sha256(data) == hashlib.sha256(data).digest()


def test_standard_example(level):
    """FIPS 180-4, appendix: the message "abc"."""
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert kernels.sha256(b"abc").hex() == expected


@pytest.mark.parametrize("bits", range(13))
def test_smallest_nonce(level, threads, rng, bits):
    seed = rng.bytes(32)
    nonce = 0
    while not grind_ok(seed, nonce, bits):
        nonce += 1
    assert kernels.grind(seed, bits) == nonce


def test_large_nonce_does_not_depend_on_threads(level, rng):
    """Beyond one batch: 2^18 hashes on average, many batches on one thread, few on many."""
    seed, before = rng.bytes(32), kernels.threads()
    found = set()
    for count in (1, 2, 7):
        kernels.set_threads(count)
        found.add(kernels.grind(seed, 15))
    kernels.set_threads(before)
    assert len(found) == 1
    assert grind_ok(seed, found.pop(), 15)


@pytest.mark.parametrize(("length", "bits"), [(31, 1), (33, 1), (32, -1), (32, 41)])
def test_wrong_arguments(length, bits):
    with pytest.raises(ValueError, match="expected a seed"):
        kernels.grind(bytes(length), bits)
