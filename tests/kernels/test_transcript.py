"""The transcript's steps against the twin: every step must leave the same state."""

from __future__ import annotations

import numpy as np
import pytest

from proofml.circuits import kernels

from .twins import Transcript

TAGS = ["a", "logup round", "", "x" * 255]


@pytest.mark.parametrize("tag", TAGS)
def test_absorb(level, rng, tag):
    twin = Transcript(rng.bytes(32))
    state = bytearray(twin.state)
    for n in (0, 1, 19, 20, 40, 63, 64, 65, 300):
        data = rng.bytes(n)
        twin.absorb(tag, data)
        kernels.absorb(state, tag, data)
        assert state == twin.state


@pytest.mark.parametrize("tag", TAGS)
def test_challenge(level, rng, tag):
    """About one word of 16 is dropped, so hundreds of draws meet every place to drop one."""
    twin = Transcript(rng.bytes(32))
    state = bytearray(twin.state)
    for _ in range(300):
        assert kernels.challenge(state, tag) == twin.challenge(tag)
        assert state == twin.state


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 102])
@pytest.mark.parametrize("log_n", [0, 1, 15, 27, 32])
def test_indices(level, count, log_n):
    twin, state = Transcript(), bytearray(Transcript().state)
    expected = twin.indices("queries", count, log_n) if count else []
    assert kernels.indices(state, "queries", count, log_n).tolist() == expected
    if count:
        assert state == twin.state


def test_seed(level):
    twin, state = Transcript(), bytearray(Transcript().state)
    assert kernels.seed(state, "grind") == twin.seed("grind")
    assert state == twin.state


@pytest.mark.parametrize(
    ("state", "tag"),
    [(bytearray(31), "a"), (bytes(32), "a"), (bytearray(32), "x" * 256), (bytearray(32), "a\0b")],
)
def test_wrong_arguments(state, tag):
    with pytest.raises(ValueError, match="expected"):
        kernels.absorb(state, tag, b"")
    with pytest.raises(ValueError, match="expected"):
        kernels.challenge(state, tag)


def test_wrong_index_sizes():
    for count, log_n in ((-1, 3), (1, 33), (1, -1)):
        with pytest.raises(ValueError, match="expected"):
            kernels.indices(bytearray(32), "q", count, log_n)
    assert kernels.indices(bytearray(32), "q", 3, 2).dtype == np.uint32
