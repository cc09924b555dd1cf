"""Keys and ciphertexts belong together by parameters and by key, and have the size they must."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.canonical import dumps
from proofml.container import pack, unpack
from proofml.fhe.concrete.circuit import ConcreteCircuit
from proofml.fhe.concrete.messages import (
    read_ciphertext,
    read_evaluation,
    read_secret,
    write_ciphertext,
    write_evaluation,
    write_secret,
)
from proofml.fhe.scheme import Malformed

from .evaluation import evaluation

KEY, OTHER = "1" * 64, "2" * 64


def test_what_is_written_is_read(linear: ConcreteCircuit) -> None:
    program = linear.program
    keys = write_evaluation(program, evaluation(program))
    assert read_evaluation(keys.data, program) == keys
    bodies = tuple(b"s" * (8 * size + 71) for size in program.secrets)
    secret = write_secret(program, keys.key, bodies)
    assert read_secret(secret.data, program) == secret
    assert "s" * 20 not in repr(secret)
    for role, size in (("input", program.input_bytes), ("output", program.output_bytes)):
        data = write_ciphertext(program, KEY, role, b"c" * (size + 9))
        assert read_ciphertext(data, program, KEY, role) == b"c" * (size + 9)


def test_a_ciphertext_of_another(linear: ConcreteCircuit, network: ConcreteCircuit) -> None:
    program = linear.program
    data = write_ciphertext(program, KEY, "input", bytes(program.input_bytes))
    with pytest.raises(Malformed, match="under the key"):
        read_ciphertext(data, program, OTHER, "input")
    with pytest.raises(Malformed, match="role output"):
        read_ciphertext(data, program, KEY, "output")
    with pytest.raises(Malformed, match="parameters"):
        read_ciphertext(data, network.program, KEY, "input")
    for size in (program.input_bytes - 1, program.input_bytes + (1 << 13)):
        with pytest.raises(Malformed):
            read_ciphertext(
                write_ciphertext(program, KEY, "input", bytes(size)), program, KEY, "input"
            )


def test_keys_of_another_circuit(linear: ConcreteCircuit, network: ConcreteCircuit) -> None:
    program = network.program
    for size in (0, program.evaluation_bytes - 1, program.evaluation_bytes + (1 << 16)):
        with pytest.raises(Malformed):
            read_evaluation(write_evaluation(program, bytes(size)).data, program)
    keys = write_evaluation(linear.program, bytes(linear.program.evaluation_bytes + 8))
    with pytest.raises(Malformed, match="parameters"):
        read_evaluation(keys.data, program)
    short = tuple(bytes(8 * size + 70) for size in program.secrets[:-1])
    with pytest.raises(Malformed):
        read_secret(write_secret(program, KEY, short).data, program)
    wrong = tuple(bytes(8 * size - 1) for size in program.secrets)
    with pytest.raises(Malformed):
        read_secret(write_secret(program, KEY, wrong).data, program)
    more = tuple(bytes(8 * size + 71) for size in (*program.secrets, 1))
    with pytest.raises(Malformed):
        read_secret(write_secret(program, KEY, more).data, program)


def test_nothing_of_a_secret_is_quoted(linear: ConcreteCircuit) -> None:
    bodies = tuple(b"HUSH" * (2 * size + 18) for size in linear.program.secrets)
    data = write_secret(linear.program, KEY, bodies).data
    for changed in (data[:-1], data + b"\0", data.replace(b'"key"', b'"kex"')):
        with pytest.raises(Malformed) as caught:
            read_secret(changed, linear.program)
        assert "HUSH" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        {"type": "proofml/concrete-secret"},
        {"version": 2},
        {"version": 0},
        {"role": "both"},
        {"key": "0"},
        {"parameters": "0" * 64},
        {"more": 1},
    ],
)
def test_other_headers(linear: ConcreteCircuit, header: dict[str, Any]) -> None:
    program = linear.program
    first, sections = unpack(write_ciphertext(program, KEY, "input", bytes(program.input_bytes)))
    changed = pack(dumps(json.loads(first) | header), sections)
    with pytest.raises(Malformed):
        read_ciphertext(changed, program, KEY, "input")


def test_other_sections(linear: ConcreteCircuit) -> None:
    program = linear.program
    first, sections = unpack(write_ciphertext(program, KEY, "input", bytes(program.input_bytes)))
    for others in ({}, {"corpus": sections["body"]}, sections | {"more": b""}):
        with pytest.raises(Malformed):
            read_ciphertext(pack(first, others), program, KEY, "input")


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400))
def test_any_bytes(linear: ConcreteCircuit, data: bytes) -> None:
    with pytest.raises(Malformed):
        read_ciphertext(data, linear.program, KEY, "input")
    with pytest.raises(Malformed):
        read_secret(data, linear.program)
    with pytest.raises(Malformed):
        read_evaluation(data, linear.program)
