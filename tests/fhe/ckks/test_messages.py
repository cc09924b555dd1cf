"""Files of keys, ciphertexts and circuits: one form, and hostile bytes.

Invariant: any bytes are read as what wrote them would write them again, or `Malformed`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.canonical import dumps, loads
from proofml.container import pack as pack_container
from proofml.container import unpack as unpack_container
from proofml.fhe.ckks import circuit as circuits
from proofml.fhe.ckks import messages
from proofml.fhe.ckks.messages import Ciphertext, SecretKey
from proofml.fhe.ckks.params import Parameters, choose_primes
from proofml.fhe.scheme import Malformed

from .conftest import Party

PARAMETERS = Parameters(4096, choose_primes(4096, 24, 1, 34, 36))
OTHER = Parameters(4096, choose_primes(4096, 25, 1, 34, 36))
KEY = "ab" * 32


def drawn(*shape: int, primes: tuple[int, ...] = PARAMETERS.primes) -> messages.Residues:
    rng = np.random.default_rng(0)
    found = np.empty((*shape, len(primes), PARAMETERS.degree), np.uint64)
    for i, prime in enumerate(primes):
        found[..., i, :] = rng.integers(0, prime, (*shape, PARAMETERS.degree), dtype=np.uint64)
        found[..., i, 0] = prime - 1
        found[..., i, 1] = 0
    return found


@pytest.mark.parametrize("bits", [21, 24, 25, 32, 33, 40, 41, 48, 56, 57, 60])
def test_residues_of_every_width(bits: int) -> None:
    prime = (1 << bits) - 1
    residues = drawn(3, primes=(prime,))
    data = messages.pack(residues, [prime])
    assert len(data) == 3 * messages.polynomial_bytes([prime], PARAMETERS.degree)
    assert len(data) == 3 * PARAMETERS.degree * -(-bits // 8)
    again = messages.unpack(memoryview(data), [prime], PARAMETERS.degree, 3, "residues")
    assert np.array_equal(again, residues)
    with pytest.raises(Malformed, match="residues below"):
        messages.unpack(memoryview(data), [prime - 1], PARAMETERS.degree, 3, "residues")


def ciphertext() -> bytes:
    primes = PARAMETERS.primes[:2]
    return messages.write_ciphertext(PARAMETERS, Ciphertext(KEY, 1, 3, drawn(2, primes=primes)))


def key() -> bytes:
    digits = len(PARAMETERS.data_primes)
    return messages.pack(drawn(digits, 2), PARAMETERS.primes)


def evaluation() -> bytes:
    return messages.write_evaluation(PARAMETERS, [1, 64], True, [key()] * 3)


def secret() -> bytes:
    return messages.write_secret(PARAMETERS, SecretKey(KEY, drawn(1)[0]))


def read_ciphertext(data: bytes) -> bytes:
    found = messages.read_ciphertext(data, PARAMETERS, KEY, 1, 4, "ciphertext")
    return messages.write_ciphertext(PARAMETERS, found)


def read_evaluation(data: bytes) -> bytes:
    found = messages.read_evaluation(data, PARAMETERS, [64], True)
    keys = [messages.pack(one, PARAMETERS.primes) for one in found.residues]
    return messages.write_evaluation(PARAMETERS, found.rotations, found.multiplies, keys)


def read_secret(data: bytes) -> bytes:
    return messages.write_secret(PARAMETERS, messages.read_secret(data, PARAMETERS))


FILES: dict[str, tuple[Callable[[], bytes], Callable[[bytes], bytes]]] = {
    "ciphertext": (ciphertext, read_ciphertext),
    "evaluation": (evaluation, read_evaluation),
    "secret": (secret, read_secret),
}
each = pytest.mark.parametrize("name", FILES)


@each
def test_one_form(name: str) -> None:
    write, read = FILES[name]
    assert read(write()) == write()


def with_header(data: bytes, **changes: object) -> bytes:
    head, sections = unpack_container(data)
    header = {**loads(head), **changes}
    return pack_container(
        dumps({key: value for key, value in header.items() if value is not None}), sections
    )


def with_body(data: bytes, change: Callable[[bytes], bytes], name: str = "body") -> bytes:
    head, sections = unpack_container(data)
    return pack_container(head, {**sections, name: change(sections[name])})


@each
def test_refused_headers(name: str) -> None:
    write, read = FILES[name]
    data = write()
    for changes in (
        {"type": "proofml/ckks-other"},
        {"version": 0},
        {"version": 2},
        {"parameters": OTHER.digest},
        {"parameters": "00"},
        {"extra": 1},
        {"type": None},
        {"parameters": None},
    ):
        with pytest.raises(Malformed):
            read(with_header(data, **changes))


@each
def test_refused_bodies(name: str) -> None:
    write, read = FILES[name]
    data = write()
    for change in (
        lambda body: body[:-1],
        lambda body: body + b"\0",
        lambda body: b"",
        lambda body: b"\xff" * len(body),
    ):
        with pytest.raises(Malformed):
            read(with_body(data, change))
    head, sections = unpack_container(data)
    with pytest.raises(Malformed):
        read(pack_container(head, {**sections, "more": b"x"}))
    with pytest.raises(Malformed):
        read(pack_container(head, {}))
    with pytest.raises(Malformed):
        read(data + bytes(1 << 26))
    with pytest.raises(Malformed):
        read(data[:-5])
    with pytest.raises(Malformed):
        read(b"")


def test_refused_ciphertexts() -> None:
    data = ciphertext()
    with pytest.raises(Malformed, match="under the key"):
        read_ciphertext(with_header(data, key="cd" * 32))
    for changes in ({"count": 0}, {"count": 5}, {"level": 0}, {"level": "1"}, {"key": "x"}):
        with pytest.raises(Malformed):
            read_ciphertext(with_header(data, **changes))
    half = len(unpack_container(data)[1]["body"]) // 2
    with pytest.raises(Malformed, match="a plaintext in its form"):
        read_ciphertext(with_body(data, lambda body: body[:half] + bytes(half)))


def test_refused_evaluation_keys() -> None:
    data = evaluation()
    with pytest.raises(Malformed, match=r"keys for the rotations \[5\]"):
        messages.read_evaluation(data, PARAMETERS, [5], True)
    without = messages.write_evaluation(PARAMETERS, [1], False, [key()])
    with pytest.raises(Malformed, match="a key for products"):
        messages.read_evaluation(without, PARAMETERS, [1], True)
    for rotations in ([64, 1], [1, 1], [1, 4096], [0, 1], [1], [1, 64, 65], "1"):
        with pytest.raises(Malformed):
            read_evaluation(with_header(data, rotations=rotations))


def test_nothing_of_a_secret_is_quoted() -> None:
    data = with_body(secret(), lambda body: b"\xee" * len(body))
    with pytest.raises(Malformed) as caught:
        read_secret(data)
    assert "238" not in str(caught.value)
    assert str(0xEEEEEEEEEE) not in str(caught.value)
    assert "residues" not in repr(SecretKey(KEY, drawn(1)[0]))


@settings(max_examples=200)
@given(st.data())
@each
def test_mutations(name: str, data: st.DataObject) -> None:
    write, read = FILES[name]
    file = bytearray(write())
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "number"]))
        # Mostly where the structure is.
        place = data.draw(st.one_of(st.integers(0, 400), st.integers(0, max(0, len(file) - 1))))
        place = min(place, max(0, len(file) - 1))
        if kind == "flip" and file:
            file[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del file[place : place + data.draw(st.integers(1, 50))]
        elif kind == "insert":
            file[place:place] = data.draw(st.binary(min_size=1, max_size=16))
        else:
            number = data.draw(st.sampled_from([0, 1, 255, 1 << 31, (1 << 63) - 1]))
            file[place : place + 8] = struct.pack("<Q", number)
    try:
        again = read(bytes(file))
    except Malformed:
        return
    assert again == bytes(file)


# -- circuits -------------------------------------------------------------------------------------


def test_a_circuit_has_one_form(party: Party) -> None:
    again = circuits.read(party.circuit.data)
    assert again.data == party.circuit.data
    assert again.digest == party.circuit.digest
    assert again.record == party.circuit.record
    assert again.security_bits == 128


def test_refused_circuits(party: Party) -> None:
    data = party.circuit.data
    head, sections = unpack_container(data)
    header = loads(head)
    weak = json.loads(json.dumps(header))
    parameters = weak["program"]["parameters"]
    parameters["degree"] = 4096  # the same modulus in half the ring
    cases: list[tuple[dict[str, object], str]] = [
        ({"version": 2}, "version"),
        ({"version": 0}, "version"),
        ({"type": "proofml/ckks-secret"}, "ckks-circuit"),
        ({"model": "zz"}, "model"),
        ({"inputs": []}, "layout"),
        ({"inputs": [{**header["inputs"][0], "dtype": "complex64"}]}, "dtype"),
        ({"inputs": [{**header["inputs"][0], "shape": [None, None]}]}, "fixed other"),
        ({"inputs": [{**header["inputs"][0], "shape": [None, 2]}]}, "layout"),
        ({"periods": [3]}, "divisors"),
        ({"periods": [header["periods"][0] // 2]}, "slots"),
        ({"record": {**header["record"], "final": "nobody"}}, "final"),
        ({"record": {**header["record"], "scale": "inf"}}, "scale"),
        ({"record": {**header["record"], "noise": []}}, "record"),
        ({"record": {**header["record"], "approximations": []}}, "record"),
        ({"report": {}}, "report"),
        ({"results": []}, "outputs"),
        ({"program": weak["program"]}, "128-bit security"),
        ({"arguments": [{"count": 6, "register": 9999}]}, "registers"),
        ({"tail": {**header["tail"], "outputs": ["nothing"]}}, "outputs"),
        ({"extra": 1}, "extra"),
    ]
    for changes, words in cases:
        with pytest.raises(Malformed, match=words):
            circuits.read(pack_container(dumps({**header, **changes}), sections))
    for name in sections:
        for change in (lambda b: b[:-8], lambda b: b + bytes(8), lambda b: b"\xff" * len(b)):
            with pytest.raises(Malformed):
                circuits.read(with_body(data, change, name))


def test_slots_have_to_be_there(party: Party) -> None:
    """One number of the layout, then one of a result, out of range on either side."""
    inputs = party.circuit.inputs[0].shape
    assert inputs is not None
    assert inputs[1] is not None
    elements, features = inputs[1], party.circuit.program.features
    for place, numbers in ((0, (-2, elements)), (-1, (-1, features))):
        for number in numbers:

            def change(body: bytes, place: int = place, number: int = number) -> bytes:
                slots = np.frombuffer(body, "<i4").copy()
                slots[place] = number
                return slots.tobytes()

            with pytest.raises(Malformed, match=r"layout|slots"):
                circuits.read(with_body(party.circuit.data, change, "slots"))


@settings(max_examples=300)
@given(data=st.data())
def test_mutated_circuits(party: Party, data: st.DataObject) -> None:
    file = bytearray(party.circuit.data)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(file) - 1))
        if data.draw(st.booleans()):
            file[place] ^= 1 << data.draw(st.integers(0, 7))
        else:
            replacement = data.draw(
                st.sampled_from([b"9", b"-", b"null", b"1e9", b'"', b"[]", b""])
            )
            file[place : place + data.draw(st.integers(0, 3))] = replacement
    try:
        again = circuits.read(bytes(file))
    except Malformed:
        return
    assert again.data == bytes(file)
    made = circuits.make(
        name=again.name,
        model=again.model,
        inputs=again.inputs,
        outputs=again.outputs,
        record=again.record,
        program=again.program,
        layouts=again.layouts,
        arguments=again.arguments,
        results=again.results,
        tail=again.tail,
        report=again.report,
    )
    assert made.data == again.data


def test_equal_parameters_have_equal_digests() -> None:
    assert replace(PARAMETERS).digest == PARAMETERS.digest
    assert OTHER.digest != PARAMETERS.digest
