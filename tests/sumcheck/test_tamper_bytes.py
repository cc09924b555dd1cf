"""Any bytes -> accepted or `VerificationError`; any change of a proof -> `VerificationError`.

Every byte, every number and every digest of small proofs is changed in every way that this file
knows. The C kernels and the NumPy twins refuse alike.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from proofml.circuits.field.babybear import P
from proofml.errors import VerificationError
from proofml.zkml.sumcheck import engine
from proofml.zkml.sumcheck.params import Params

from .graphs import CASES, toy
from .malicious import Lie, Segment, Trial

SMALL = ("tiny", "argmaxes", "linear")
#: Three trees, two layers, every kind of message but the outputs of `linear`.
WHOLE = ("committed", "attention")


@functools.cache
def honest(name: str) -> tuple[Trial, bytes]:
    """Enough work that no other nonce is right by chance."""
    case = CASES[name]()
    params = replace(toy(case.layout, queries=4), grind=10)
    if name == "tiny":
        params = Params(1, (1,), 2, 3, 10)
    run = Trial.of(case, params=params)
    return run, run.prove(Lie())


def check(run: Trial, proof: bytes, original: bytes) -> str | None:
    """The check that refuses it; None where nothing was changed."""
    return None if proof == original else run.refused(proof)


def numbers(log: list[Segment]) -> Iterator[tuple[Segment, int]]:
    """Offsets of all field elements."""
    for segment in log:
        if segment.absorbed and ("root" not in segment.tag or segment.tag == "logup root"):
            if segment.tag != "nonce":
                for at in range(segment.start, segment.start + segment.size, 4):
                    yield segment, at
        elif not segment.absorbed:
            for at in range(segment.start, segment.start + segment.size, 4):
                yield segment, at


def word(proof: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", proof, at)[0])


def with_word(proof: bytes, at: int, value: int) -> bytes:
    return proof[:at] + struct.pack("<I", value) + proof[at + 4 :]


CHANGES: dict[str, Callable[[bytes, int], bytes]] = {
    "plus one": lambda p, at: with_word(p, at, (word(p, at) + 1) % P),
    "negated": lambda p, at: with_word(p, at, -word(p, at) % P),
    "zero": lambda p, at: with_word(p, at, 0),
    "swapped": lambda p, at: p[:at] + p[at + 4 : at + 8] + p[at : at + 4] + p[at + 8 :],
    "dropped": lambda p, at: p[:at] + p[at + 4 :],
    "doubled": lambda p, at: p[: at + 4] + p[at:],
    "largest": lambda p, at: with_word(p, at, 0xFFFFFFFF),
}


def not_canonical(proof: bytes, at: int) -> bytes:
    value = word(proof, at) + P
    return with_word(proof, at, value if value < 1 << 32 else P)


def tamper(name: str, *, every: int, bits: range) -> set[str]:
    run, proof = honest(name)
    found: set[str | None] = set()
    for at in range(0, len(proof), every):
        for bit in bits:
            flipped = bytes([proof[at] ^ 1 << (bit + at) % 8])
            found.add(check(run, proof[:at] + flipped + proof[at + 1 :], proof))
    for index, (_, at) in enumerate(numbers(run.log)):
        if index % every == 0:
            for change in CHANGES.values():
                found.add(check(run, change(proof, at), proof))
    found.discard(None)
    return {c for c in found if c}


@pytest.mark.parametrize("name", SMALL)
def test_every_byte_and_every_number(name: str, arithmetic: str) -> None:
    step = 1 if name == "tiny" else 17
    assert "sumcheck.8" in tamper(name, every=step, bits=range(1))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, *WHOLE])
def test_every_bit_and_every_number(name: str, arithmetic: str) -> None:
    tamper(name, every=1, bits=range(8) if name == "tiny" else range(1))


@pytest.mark.parametrize("name", WHOLE)
def test_every_kind_of_message(name: str, arithmetic: str) -> None:
    """The first and the last byte of each message; the segment map covers the proof."""
    run, proof = honest(name)
    at = 0
    tags: dict[str, list[Segment]] = {}
    for segment in run.log:
        assert segment.start == at
        at += segment.size
        tags.setdefault(segment.tag, []).append(segment)
    assert at == len(proof)
    for segments in tags.values():
        for segment in {segments[0], segments[len(segments) // 2], segments[-1]}:
            for place in {segment.start, segment.start + segment.size - 1} if segment.size else ():
                bent = proof[:place] + bytes([proof[place] ^ 4]) + proof[place + 1 :]
                run.refused(bent)


@pytest.mark.parametrize("name", [*SMALL, *WHOLE])
def test_trap_13_numbers_that_are_not_canonical(name: str, arithmetic: str) -> None:
    """x + p is x to the arithmetic; the encoding has one form only."""
    run, proof = honest(name)
    tried = 0
    places = list(numbers(run.log))
    opened = {id(s) for s in run.log if not s.absorbed}
    for segment, at in places[:: 1 if name == "tiny" else 11]:
        bent = not_canonical(proof, at)
        if bent != proof:
            found = run.refused(bent)
            tried += 1
            # In the opened part an offset may be that of a digest.
            assert found == "sumcheck.8" or id(segment) in opened
    assert tried > 10


def test_trap_13_p_is_not_zero(arithmetic: str) -> None:
    """The smallest number that is not canonical, wherever numbers are read."""
    least = struct.pack("<5I", 0, 1, P, 2, 3)
    good = struct.pack("<5I", 0, 1, P - 1, 2, 3)
    for read in (engine.decode_elements, engine.decode_vector):
        with pytest.raises(VerificationError) as error:
            read(least, "tag")
        assert error.value.check == "sumcheck.8"
        assert np.array(read(good, "tag")).tolist() == [[0, 1, P - 1, 2, 3]]
    eq = np.ones((1, 5), np.uint64)
    with pytest.raises(VerificationError):
        engine.fold_rows(least, 0, eq, "tag")
    assert engine.fold_rows(good, 0, eq, "tag").shape == (5, 5)
    run, proof = honest("committed")
    for segment, at in numbers(run.log):
        if segment.absorbed and (at - segment.start) % 24 == 0:
            assert run.refused(with_word(proof, at, P)) == "sumcheck.8"


def test_trap_13_rows_that_are_not_canonical(arithmetic: str) -> None:
    """A prover who hashes x + p: the row lies under its root, and is refused."""
    run = Trial.of("mlp", params=Params(6, (3,), 2, 20, 1))

    def tree(tree: object) -> object:
        code = tree.code.astype(np.int64)  # type: ignore[attr-defined]
        small = code < (1 << 32) - P
        code[small] += P
        from proofml.zkml.sumcheck import merkle

        words = code.astype(np.uint32)
        rows = [row.tobytes() for row in words]
        return replace(tree, code=words, nodes=merkle.build(tree.tag, rows))  # type: ignore[type-var, attr-defined]

    assert run.refused(run.prove(Lie(tree=tree))) == "sumcheck.8"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*SMALL, *WHOLE])
def test_the_length(name: str, arithmetic: str) -> None:
    run, proof = honest(name)
    for segment in run.log[:: 1 if name in SMALL else 4]:
        for end in {segment.start, segment.start + segment.size // 2}:
            if end < len(proof):
                assert run.refused(proof[:end]) == "sumcheck.8"
    for more in (b"\0", bytes(4), bytes(20), bytes(32), proof[-32:], proof):
        assert run.refused(proof + more) == "sumcheck.23"
    assert run.refused(b"") == "sumcheck.8"
    assert run.refused(proof[1:]) != "sumcheck.23"


@pytest.mark.parametrize("name", [*SMALL, *WHOLE])
def test_sections_dropped_doubled_and_exchanged(name: str, arithmetic: str) -> None:
    run, proof = honest(name)
    every = list(zip(run.log, run.log[1:], strict=False))
    for segment, after in every[:: 1 if name in SMALL else 5]:
        a, b = segment.start, segment.start + segment.size
        c = after.start + after.size
        for bent in (
            proof[:a] + proof[b:],
            proof[:b] + proof[a:],
            proof[:a] + proof[b:c] + proof[a:b] + proof[c:],
        ):
            if bent != proof:
                run.refused(bent)


@pytest.mark.parametrize("name", ["tiny", "committed"])
def test_digests_exchanged(name: str, arithmetic: str) -> None:
    """Siblings of one path in another order, doubled or all the same."""
    run, proof = honest(name)
    for segment in run.log:
        if segment.absorbed or segment.size % 32 or segment.size < 64:
            continue
        for at in range(
            segment.start, segment.start + segment.size - 32, 32 if name == "tiny" else 128
        ):
            one, two = proof[at : at + 32], proof[at + 32 : at + 64]
            for pair in (two + one, one + one, two + two):
                if pair != one + two:
                    run.refused(proof[:at] + pair + proof[at + 64 :])


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 500, 5000])
def test_random_bytes(size: int, arithmetic: str) -> None:
    rng = np.random.default_rng(size)
    for name in (*SMALL, *WHOLE):
        run, _ = honest(name)
        for data in (rng.bytes(size), bytes(size), b"\xff" * size):
            with pytest.raises(VerificationError):
                run.verify(data)
        # Canonical numbers only.
        words = rng.integers(0, P, size // 4).astype("<u4").tobytes()
        with pytest.raises(VerificationError):
            run.verify(words)


def test_a_proof_for_another_statement(arithmetic: str) -> None:
    for name in (*SMALL, *WHOLE):
        run, proof = honest(name)
        for bit in (0, 77, 255):
            other = bytearray(run.statement)
            other[bit // 8] ^= 1 << bit % 8
            with pytest.raises(VerificationError):
                run.verify(proof, statement=bytes(other))
        for size in (0, 31, 33):
            with pytest.raises(ValueError):
                run.verify(proof, statement=bytes(size))


def test_a_proof_for_another_circuit(arithmetic: str) -> None:
    run, proof = honest("committed")
    for name in CASES:
        other = Trial.of(name)
        with pytest.raises(VerificationError):
            other.verify(proof)
    params = run.key.circuit.params
    for change in ({"queries": params.queries + 1}, {"folds": ()}, {"rate": params.rate + 1}):
        circuit = replace(run.key.circuit, params=replace(params, **change))  # type: ignore[arg-type]
        assert run.refused(proof, circuit=circuit)
