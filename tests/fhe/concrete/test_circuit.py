"""Invariant: any bytes are a circuit with exactly these bytes, or `Malformed`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.canonical import dumps
from proofml.container import pack, unpack
from proofml.fhe.concrete import circuit as circuits
from proofml.fhe.concrete.circuit import ConcreteCircuit
from proofml.fhe.scheme import Circuit, Malformed
from proofml.tensors import to_npy


def test_a_circuit_has_one_byte_string(network: ConcreteCircuit, linear: ConcreteCircuit) -> None:
    held: Circuit = network
    assert held.scheme == "concrete"
    assert held.security_bits == 128
    assert float(str(held.report["p_error"])) < 2**-30
    for one in (network, linear):
        again = circuits.make(
            **{
                field.name: getattr(one, field.name)
                for field in dataclasses.fields(one)
                if field.name not in ("data", "program")
            },
            parameters=one.program.data,
        )
        assert again.data == one.data


def _repack(circuit: ConcreteCircuit, header: dict[str, Any], **sections: bytes | None) -> bytes:
    first, old = unpack(circuit.data)
    table = json.loads(first) | header
    kept = {**old, **sections}
    return pack(
        dumps({key: value for key, value in table.items() if value is not ...}),
        {key: body for key, body in kept.items() if body is not None},
    )


@pytest.mark.parametrize(
    "header",
    [
        {"type": "proofml/ckks-circuit"},
        {"version": 0},
        {"version": 2},
        {"version": "1"},
        {"extra": 1},
        {"model": ...},
        {"model": "0" * 63},
        {"name": "x" * 257},
        {"inputs": []},
        {"outputs": []},
        {"inputs": [{"name": "x", "dtype": "float64", "shape": [1, 4]}]},
        {"inputs": [{"name": "x", "dtype": "float32", "shape": [1, 5]}]},
        {"inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 4]}]},
        {"inputs": [{"name": "x", "dtype": "float32", "shape": [1, 4], "more": 1}]},
        {"kind": "trees"},
        {"kind": "none"},
        {"libraries": {"concrete-ml": "1"}},
        {"choice": {"bits": 0, "rounding": None, "p_error": "0.5"}},
        {"choice": {"bits": 4, "rounding": 17, "p_error": "0.5"}},
        {"choice": {"bits": 4, "rounding": None, "p_error": "0.50"}},
        {"choice": {"bits": 4, "rounding": None, "p_error": "1.5"}},
        {"choice": {"bits": 4, "rounding": None, "p_error": "nan"}},
        {"choice": {"bits": 4, "rounding": None}},
        {"report": {}},
        {"report": []},
    ],
)
def test_other_headers(network: ConcreteCircuit, header: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        circuits.read(_repack(network, header))


@pytest.mark.parametrize("name", ["program", "parameters", "quantiser", "samples"])
def test_sections_are_whole(network: ConcreteCircuit, linear: ConcreteCircuit, name: str) -> None:
    _, sections = unpack(network.data)
    for body in (None, b"", sections[name][:-1], sections[name] + b"\0"):
        with pytest.raises(Malformed):
            circuits.read(_repack(network, {}, **{name: body}))
    if name in ("program", "parameters"):  # each fits, but not with the other
        _, other = unpack(linear.data)
        changed = other[name].replace(b"_clear_forward_proxy", b"f")
        with pytest.raises(Malformed):
            circuits.read(_repack(network, {}, **{name: changed}))


def test_more_sections(network: ConcreteCircuit) -> None:
    with pytest.raises(Malformed):
        circuits.read(_repack(network, {}, machine=b"\x7fELF"))


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((2, 1, 4), np.float64),
        np.zeros((0, 1, 4), np.float32),
        np.zeros((4,), np.float32),
        np.full((2, 1, 4), np.nan, np.float32),
        np.zeros((2, 1, 5), np.float32),
        np.zeros((circuits.MAX_SAMPLES + 1, 1, 4), np.float32),
    ],
)
def test_other_samples(network: ConcreteCircuit, samples: Any) -> None:
    with pytest.raises(Malformed):
        circuits.read(_repack(network, {}, samples=to_npy(samples)))


def _quantiser(circuit: ConcreteCircuit, **changes: Any) -> bytes:
    parts = dataclasses.asdict(circuit.quantiser) | changes
    return b"".join(to_npy(np.asarray(part)) for part in parts.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("in_scale", np.float64(0)),
        ("in_scale", np.float64(np.inf)),
        ("in_scale", np.float32(1)),
        ("in_scale", np.ones(2)),
        ("in_zero", np.int64(1 << 40)),
        ("in_low", np.int64(99)),
        ("in_high", np.int64(1 << 20)),
        ("out_scale", np.float64(-1)),
        ("out_zero", np.float64(np.nan)),
        ("out_zero", np.int64(1)),
    ],
)
def test_other_scales(network: ConcreteCircuit, name: str, value: Any) -> None:
    circuits.read(_repack(network, {}, quantiser=_quantiser(network)))
    with pytest.raises(Malformed):
        circuits.read(_repack(network, {}, quantiser=_quantiser(network, **{name: value})))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("features", np.array([-1])),
        ("features", np.array([[0]])),
        ("modes", np.array([9], np.uint8)),
        ("scores", np.array([7])),
        ("scores", np.array([], np.int64)),
        ("scale", np.float64(0)),
        ("base", np.array([np.inf, 0.0])),
        ("base", np.zeros(3)),
        ("post", np.int64(3)),
        ("columns", np.int64(0)),
        ("divisor", np.int64(0)),
    ],
)
def test_other_trees(forest: ConcreteCircuit, name: str, value: Any) -> None:
    circuits.read(_repack(forest, {}, quantiser=_quantiser(forest)))
    with pytest.raises(Malformed):
        circuits.read(_repack(forest, {}, quantiser=_quantiser(forest, **{name: value})))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_changed_bytes(network: ConcreteCircuit, data: st.DataObject) -> None:
    old = bytearray(network.data)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(old) - 1))
        old[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([0, 0, 0, 1, 7, 4000]))
    changed = bytes(old[: len(old) - cut])
    try:
        found = circuits.read(changed)
    except Malformed:
        return
    assert found.data == changed
    assert changed == network.data or found.digest != network.digest


def test_too_large() -> None:
    with pytest.raises(Malformed, match="at most"):
        circuits.read(bytes(circuits.MAX_BYTES + 1))
