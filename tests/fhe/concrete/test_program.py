"""Invariant: parameters are Concrete's own and of 128 bits, or `Malformed`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from proofml.fhe.concrete import program
from proofml.fhe.concrete.circuit import ConcreteCircuit
from proofml.fhe.scheme import Malformed


def test_golden_parameters_are_read(network: ConcreteCircuit) -> None:
    found = network.program
    assert found.input_shape == (1, 4)
    assert found.output_shape == (1, 2)
    assert len(found.secrets) >= 2
    assert found.evaluation_bytes > 1 << 20
    assert program.read(found.data) == found
    assert len(found.parameters) == 64


def _change(network: ConcreteCircuit, change: Callable[[Any], object]) -> bytes:
    found = json.loads(network.program.data)
    change(found)
    return json.dumps(found).encode()


def _noisier(keys: str, factor: float) -> Callable[[Any], object]:
    def change(found: Any) -> None:
        found["keyset"][keys][0]["params"]["variance"] *= factor

    return change


@pytest.mark.parametrize("keys", ["lweBootstrapKeys", "lweKeyswitchKeys"])
def test_less_noise_is_less_security(network: ConcreteCircuit, keys: str) -> None:
    program.read(_change(network, _noisier(keys, 1.0)))
    with pytest.raises(Malformed, match="128-bit security"):
        program.read(_change(network, _noisier(keys, 0.9)))


def test_noise_of_inputs_counts_too(network: ConcreteCircuit) -> None:
    def change(found: Any) -> None:
        gate = found["circuits"][0]["inputs"][0]["typeInfo"]["lweCiphertext"]
        gate["encryption"]["variance"] *= 0.5

    with pytest.raises(Malformed, match="input: noise"):
        program.read(_change(network, change))


def test_small_dimension_is_refused_at_any_noise() -> None:
    with pytest.raises(Malformed, match="dimension of at least 450"):
        program._secure("key", 449, 0.2)
    program._secure("key", 450, 0.2)


@pytest.mark.parametrize("variance", [0.0, -1.0, 1.0, math.nan, math.inf])
def test_noise_that_is_none(variance: float) -> None:
    with pytest.raises(Malformed):
        program._secure("key", 1024, variance)


def _set(path: str, value: object) -> Callable[[Any], object]:
    def change(found: Any) -> None:
        *steps, last = path.split(".")
        for step in steps:
            found = found[int(step) if step.isdigit() else step]
        found[int(last) if last.isdigit() else last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("keyset.lweSecretKeys.0.params.keyType", "ternary"),
        ("keyset.lweSecretKeys.0.params.integerPrecision", 32),
        ("keyset.lweSecretKeys.0.params.lweDimension", True),
        ("keyset.lweSecretKeys.0.params.lweDimension", 1 << 40),
        ("keyset.lweSecretKeys.0.id", 7),
        ("keyset.lweSecretKeys", []),
        ("keyset.packingKeyswitchKeys", [{}]),
        ("keyset.lweBootstrapKeys.0.compression", "none"),
        ("keyset.lweBootstrapKeys.0.params.polynomialSize", 2),
        ("keyset.lweBootstrapKeys.0.params.inputLweDimension", 451),
        ("keyset.lweBootstrapKeys.0.outputId", 99),
        ("keyset.lweKeyswitchKeys.0.params.outputLweDimension", 451),
        ("keyset.lweKeyswitchKeys.0.params.levelCount", 0),
        ("circuits", []),
        ("circuits.0.inputs", []),
        ("circuits.0.inputs.0.typeInfo", {"plaintext": {}}),
        ("circuits.0.inputs.0.typeInfo.lweCiphertext.abstractShape.dimensions", [0]),
        ("circuits.0.inputs.0.typeInfo.lweCiphertext.abstractShape.dimensions", [1 << 40]),
        ("circuits.0.outputs.0.typeInfo.lweCiphertext.encryption.keyId", 99),
    ],
)
def test_other_parameters(network: ConcreteCircuit, path: str, value: object) -> None:
    with pytest.raises(Malformed):
        program.read(_change(network, _set(path, value)))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"keyset": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000],
)
def test_no_parameters(data: bytes) -> None:
    with pytest.raises(Malformed):
        program.read(data)
