"""What comes from files: any bytes are read back to themselves, or are a FieldError."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.canonical import dumps
from proofml.fields import FieldError
from proofml.optimistic.interface import Interface, read_interface
from proofml.optimistic.record import ClaimRecord, Record, classes_of, computation, read_address
from proofml.statement import Computation

from .liars import digit_inputs, digits, terms_of

SQLITE = {"kind": "sqlite", "name": "ab" * 32}
EVM = {"kind": "evm", "chain_id": 31337, "contract": "0x" + "0a" * 20}


def record(**changes: Any) -> ClaimRecord:
    machine = digits()
    terms = terms_of(machine.run(digit_inputs(machine)))
    return replace(ClaimRecord(SQLITE, 3, terms), **changes)


def interface() -> Interface:
    return Interface.of(digits().graph, digits().program)


@pytest.mark.parametrize("ledger", [SQLITE, EVM], ids=["sqlite", "evm"])
def test_claims_are_read_back(ledger: dict[str, Any]) -> None:
    made = record(ledger=ledger)
    assert ClaimRecord.read(made.to_bytes()) == made


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"number": 0},
        {"number": 1 << 54},
        {"number": "3"},
        {"terms": ""},
        {"terms": "00"},
        {"terms": "zz"},
        {"more": 1},
        {"ledger": {}},
        {"ledger": {**SQLITE, "name": "ab" * 31}},
        {"ledger": {**SQLITE, "path": "/somewhere"}},
        {"ledger": {**EVM, "contract": "0x" + "0A" * 20}},
        {"ledger": {**EVM, "contract": "0a" * 20}},
        {"ledger": {**EVM, "chain_id": 0}},
        {"ledger": {"kind": "other"}},
    ],
    ids=str,
)
def test_other_claims_are_refused(change: dict[str, Any]) -> None:
    value = {**json.loads(record().to_bytes()), **change}
    with pytest.raises(FieldError):
        ClaimRecord.read(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


@given(st.binary(max_size=400))
def test_any_bytes_as_a_claim(data: bytes) -> None:
    with pytest.raises(FieldError):
        ClaimRecord.read(data)
    with pytest.raises(FieldError):
        read_interface(data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte(at: int, change: int) -> None:
    """A claim of other bytes is another claim, or none."""
    for data, read, write in (
        (record().to_bytes(), ClaimRecord.read, ClaimRecord.to_bytes),
        (interface().data, read_interface, lambda found: found.data),
    ):
        place = at % len(data)
        changed = data[:place] + bytes([data[place] ^ change]) + data[place + 1 :]
        try:
            found = read(changed)  # type: ignore[operator]
        except FieldError:
            continue
        assert write(found) == changed  # type: ignore[operator]


def test_interfaces_are_read_back() -> None:
    made = interface()
    assert read_interface(made.data) == made
    assert read_interface(made.data).digest == made.digest
    machine = digits()
    assert made.root == terms_of(machine.run(digit_inputs(machine))).program


@pytest.mark.parametrize(
    "change",
    [
        {"format": "another"},
        {"header": ""},
        {"header": "00" * 40},
        {"inputs": []},
        {"outputs": [["y", [2], 0, "codes", "int8", 0, 0, -128, 127]]},
        {"classes": {"E": 1, "T": 1}},
        {"defined": [3]},
        {"moves": [1, 2]},
        {"moves": [0] * 6},
        {"more": 1},
    ],
    ids=str,
)
def test_other_interfaces_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FieldError):
        read_interface(dumps({**json.loads(interface().data), **change}))


def test_records_of_computations() -> None:
    root, classes = bytes(32), classes_of(digits().graph)
    made = computation(root, classes, None)
    assert Record.read(made) == Record(root.hex(), classes, None)
    assert Record.read(computation(root, classes, "1" * 64)).quantisation == "1" * 64
    for change in (
        {"protocol": 2},
        {"onnxruntime": "1.31"},
        {"program": "00"},
        {"classes": {}},
        {"quantisation_sha256": 3},
        {"more": 1},
    ):
        with pytest.raises(FieldError):
            Record.read(Computation(made.kind, {**made.detail, **change}))
    with pytest.raises(FieldError):
        Record.read(Computation("another", made.detail))


@pytest.mark.parametrize("value", [None, 1, "", "0x", "0x" + "g" * 40, "0x" + "0" * 41])
def test_addresses(value: object) -> None:
    with pytest.raises(FieldError):
        read_address(value, "contract")
