"""Sumcheck rounds and LogUp-GKR on the verifier's side, against a slow prover and verifier."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.circuits import kernels
from proofml.circuits.field import ext5
from proofml.circuits.field.babybear import P

from . import twins
from .twins import Transcript


@pytest.mark.parametrize("degree", range(1, 9))
@pytest.mark.parametrize("rounds", [0, 1, 5])
def test_rounds(level, field, degree, rounds):
    messages = [[ext5.element(e) for e in field(degree, 5)] for _ in range(rounds)]
    data = b"".join(twins.encode(m) for m in messages)
    claim = start = ext5.element(field(5))
    twin, point = Transcript(), []
    for message in messages:
        r, claim = twins.receive(twin, "tag", message, claim)
        point.append(r)
    state = bytearray(Transcript().state)
    got = kernels.rounds_verify("tag", rounds, degree, data + b"rest", state, start)
    assert got == (len(data), claim, point)
    assert state == twin.state


def test_round_values(level, field):
    """The claim that is left is the polynomial's value: degree 2 from its values at 0 and 1."""
    c0, c1, c2 = (ext5.element(e) for e in field(3, 5))
    claim = ext5.total([c0, c0, c1, c2])
    data, state = twins.encode([c0, c2]), bytearray(32)
    _, value, (r,) = kernels.rounds_verify("t", 1, 2, data, state, claim)
    assert value == ext5.total([c0, ext5.mul(c1, r), ext5.mul(c2, ext5.mul(r, r))])


def test_bad_bytes_in_rounds(level, field):
    data = field(3, 2, 5).tobytes()
    for offset in range(0, len(data), 4):
        for value in (P, 2**32 - 1):
            spoilt = data[:offset] + struct.pack("<I", value) + data[offset + 4 :]
            with pytest.raises(kernels.BadBytes) as caught:
                kernels.rounds_verify("t", 3, 2, spoilt, bytearray(32), ext5.ONE)
            assert caught.value.offset == offset
    for length in range(len(data)):
        with pytest.raises(kernels.BadBytes) as caught:
            kernels.rounds_verify("t", 3, 2, data[:length], bytearray(32), ext5.ONE)
        assert caught.value.offset == length


@pytest.mark.parametrize("variables", range(1, 7))
def test_logup(level, rng, variables):
    p, q = twins.fractions(rng, variables)
    twin = Transcript()
    proof, z = twins.logup_prove(p, q, twin)
    n = variables
    assert len(proof) == 80 + 30 * n * (n - 1) + 80 * (n - 1)
    state = bytearray(Transcript().state)
    result = kernels.logup_verify(variables, proof + b"rest", state)
    assert (result.failed_check, result.failed_layer) == (0, 0)
    assert result.used == len(proof)
    assert result.point == z
    assert result.p == twins.evaluate(p, z)
    assert result.q == twins.evaluate(q, z)
    assert state == twin.state


def test_logup_root_checks(level, rng):
    p, q = twins.fractions(rng, 3)
    for wrong_p, wrong_q in (
        ([ext5.add(p[0], ext5.ONE), *p[1:]], q),  # the sum is not zero
        (p, [ext5.ZERO, *q[1:]]),  # a denominator is zero
    ):
        proof, _ = twins.logup_prove(wrong_p, wrong_q, Transcript())
        result = kernels.logup_verify(3, proof, bytearray(Transcript().state))
        assert (result.failed_check, result.failed_layer, result.used) == (4, 0, 80)


def test_every_changed_number_fails(level, rng):
    """The root fails check 4, a later message check 5 of its own layer."""
    n = 4
    p, q = twins.fractions(rng, n)
    proof, _ = twins.logup_prove(p, q, Transcript())
    ends = [80]
    for k in range(1, n):
        ends.append(ends[-1] + 60 * k + 80)
    for offset in range(0, len(proof), 4):
        word = struct.unpack_from("<I", proof, offset)[0]
        changed = struct.pack("<I", (word + 1) % P)
        spoilt = proof[:offset] + changed + proof[offset + 4 :]
        result = kernels.logup_verify(n, spoilt, bytearray(Transcript().state))
        layer = next(i for i, end in enumerate(ends) if offset < end)
        assert (result.failed_check, result.failed_layer) == ((4, 0) if layer == 0 else (5, layer))
        assert result.used == ends[layer]
        assert result.point == []
        big = struct.pack("<I", word + P if word < P // 8 else P)
        spoilt = proof[:offset] + big + proof[offset + 4 :]
        with pytest.raises(kernels.BadBytes) as caught:
            kernels.logup_verify(n, spoilt, bytearray(Transcript().state))
        assert caught.value.offset == offset
    for length in range(0, len(proof), 7):
        with pytest.raises(kernels.BadBytes) as caught:
            kernels.logup_verify(n, proof[:length], bytearray(Transcript().state))
        assert caught.value.offset == length


def where(call):
    """How far a call came: the bytes consumed, or the offset of bad ones."""
    try:
        return call()
    except kernels.BadBytes as bad:
        return bad.offset


@given(st.binary(max_size=400), st.integers(1, 27), st.integers(1, 8))
def test_any_bytes(data, n, degree):
    """Any bytes: a result, a failed check, or BadBytes."""
    for call in (
        lambda: kernels.logup_verify(n, data, bytearray(32)).used,
        lambda: kernels.rounds_verify("t", n, degree, data, bytearray(32), ext5.ONE)[0],
    ):
        assert 0 <= where(call) <= len(data)


def test_wrong_arguments():
    for rounds, degree in ((-1, 2), (65, 2), (1, 0), (1, 9)):
        with pytest.raises(ValueError, match="expected"):
            kernels.rounds_verify("t", rounds, degree, b"", bytearray(32), ext5.ONE)
    for n in (0, 28):
        with pytest.raises(ValueError, match="expected"):
            kernels.logup_verify(n, b"", bytearray(32))
