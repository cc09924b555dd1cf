"""Any bytes: a value, or the one error that belongs to the reader; never another exception.

`Proof.read` and `verify`: accepted or `VerificationError`. Files of the verifier's own (policy,
key, tensors): read or `UsageError`. What was read is written back to the same bytes, so that no
two files mean the same.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proofml.api import verify
from proofml.canonical import CanonicalError, dumps, loads
from proofml.cli.common import read_tensors
from proofml.container import ATTESTATION, MAGIC
from proofml.errors import UsageError, VerificationError
from proofml.expectation import Expectation
from proofml.fields import FieldError
from proofml.keys import SigningKey
from proofml.policy import Policy
from proofml.proof import Blob, Proof
from proofml.statement import Computation, ModelClaim, Statement, TensorClaim, Visibility
from proofml.tensors import tensor_digest
from proofml.testing import Attacker
from proofml.testing.attacker import join
from proofml.testing.hostile import HOSTILE, mutated, replaced

SEEDS = st.integers(0, 2**64)
TIMES = st.integers(1, 6)
READING = {f"core.{n}" for n in range(1, 7)}


def made() -> bytes:
    """A small proof with two tensors and one piece of evidence, signed."""
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    claims = tuple(
        TensorClaim(name, "int16", (2, 3), Visibility.PUBLIC, tensor_digest(array)) for name in "xy"
    )
    statement = Statement(
        ModelClaim("1" * 64, "2" * 64),
        claims[:1],
        claims[1:],
        Computation("none", {"a": 1}),
        b"nonce",
    )
    tensors = {"input.0": array, "output.0": array}
    evidence = {"e": Blob(b"evidence")}
    key = SigningKey.generate()
    return Proof.build(statement, "reexec", 1, evidence, tensors, signers=[key]).to_bytes()


PROOF = made()
PINNED = Expectation(
    model_sha256="1" * 64,
    inputs={"x": np.arange(6, dtype=np.int16).reshape(2, 3)},
    nonce=b"nonce",
)


def read(data: bytes) -> Proof | None:
    """The proof or None; anything but a VerificationError of reading is an error of this test."""
    try:
        return Proof.read(data)
    except VerificationError as error:
        number = error.check
    assert number in READING
    return None


# -- proofs ---------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
@example(b"")
@example(MAGIC)
@example(MAGIC + b"\x01\x00\x00\x00")
@example(MAGIC + b"\x01\x00\xff\xff" + b"\xff" * 100)
def test_any_bytes(data: bytes) -> None:
    assert read(data) is None
    verdict = verify(data)
    assert verdict.error is not None
    assert verdict.error.check in READING


@settings(max_examples=400)
@given(SEEDS, TIMES)
def test_mutated_file(seed: int, times: int) -> None:
    data = mutated(PROOF, random.Random(seed), times)
    found = read(data)
    assert found is None or data == PROOF


@settings(max_examples=300)
@given(SEEDS, TIMES, st.booleans())
def test_mutated_attestation(seed: int, times: int, sign: bool) -> None:
    """The payload's bytes changed, signed anew: read back only in canonical form."""
    attacker = Attacker.of(PROOF)
    payload = mutated(dumps(attacker.payload), random.Random(seed), times)
    try:
        attacker.payload = loads(payload)
    except CanonicalError:
        body = payload
    else:
        body = b""
    if body or not isinstance(attacker.payload, dict):
        data = join([(ATTESTATION, body or payload), *attacker.sections.items()])
    else:
        data = attacker.forge(recompute=False, sign=sign)
    found = read(data)
    assert found is None or found.to_bytes() == data


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, 2**32), HOSTILE), min_size=1, max_size=3), st.booleans())
def test_replaced_values(changes: list[tuple[int, Any]], recompute: bool) -> None:
    """Values of the attestation replaced, removed and added; all that can be is recomputed."""
    attacker = Attacker.of(PROOF)
    for place, value in changes:
        if attacker.payload:
            replaced(attacker.payload, place, value)
    try:
        data = attacker.forge(recompute=recompute)
    except (FieldError, CanonicalError, KeyError, TypeError, AttributeError, ValueError):
        data = Attacker.of(PROOF).forge(recompute=False)
    found = read(data)
    assert found is None or found.to_bytes() == data


@given(st.recursive(HOSTILE, lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_any_json_as_attestation(value: Any) -> None:
    data = join([(ATTESTATION, dumps(value))])
    assert read(data) is None


@settings(max_examples=200)
@given(SEEDS, TIMES)
def test_mutated_evidence(seed: int, times: int) -> None:
    """Evidence changed, every digest recomputed: the core reads it, and the claim has changed."""
    rng = random.Random(seed)
    attacker = Attacker.of(PROOF)
    name = rng.choice(sorted(attacker.sections))
    before = attacker.sections[name]
    attacker.sections[name] = mutated(before, rng, times)
    found = read(attacker.forge())
    if found is not None:
        assert name == "e" or attacker.sections[name] == before


@settings(max_examples=150)
@given(SEEDS, TIMES)
def test_a_verdict_whatever_comes(seed: int, times: int) -> None:
    """Through the whole of `verify`, with a backend that has no model to run."""
    data = mutated(PROOF, random.Random(seed), times)
    if data == PROOF:
        data += b"\0"
    verdict = verify(data, PINNED)
    assert verdict.error is not None
    assert verdict.error.check != "core.15"


# -- the verifier's own files ---------------------------------------------------------------------

POLICY = b"""version = 1
[accept]
backends = ["ezkl", "reexec"]
integrity = ["cryptographic"]
min_bits = 100
assumptions = ["srs:local-dev"]
require_nonce = true
[signers]
keys = ["ed25519:0000000000000000000000000000000000000000000000000000000000000000"]
[backends.reexec]
tolerance = 1e-6
"""


@settings(max_examples=200)
@given(SEEDS, TIMES)
def test_mutated_policy(tmp_path_factory: pytest.TempPathFactory, seed: int, times: int) -> None:
    path = tmp_path_factory.getbasetemp() / "policy.toml"
    path.write_bytes(mutated(POLICY, random.Random(seed), times))
    try:
        policy = Policy.load(path)
    except UsageError as error:
        assert_named(error, path)
        return
    assert policy.integrity
    assert 1 <= policy.min_bits <= 1024


def assert_named(error: UsageError, path: Path) -> None:
    assert path.name in str(error)


@settings(max_examples=100)
@given(SEEDS, TIMES)
def test_mutated_key(tmp_path_factory: pytest.TempPathFactory, seed: int, times: int) -> None:
    path = tmp_path_factory.getbasetemp() / "key.pem"
    path.unlink(missing_ok=True)
    key = SigningKey.generate()
    key.save(path)
    path.write_bytes(mutated(path.read_bytes(), random.Random(seed), times))
    try:
        found = SigningKey.load(path).public
    except UsageError as error:
        assert_named(error, path)
        return
    assert found.startswith("ed25519:")


def tensor_files(folder: Path) -> list[bytes]:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(folder / "t.npy", array)
    np.savez(folder / "t.npz", a=array, b=array[0].astype(np.int8))
    np.savez_compressed(folder / "c.npz", a=array)
    text = json.dumps({"a": array.tolist(), "b": [1, 2]}).encode()
    return [*((folder / name).read_bytes() for name in ("t.npy", "t.npz", "c.npz")), text]


@settings(max_examples=250)
@given(SEEDS, TIMES, st.integers(0, 3))
def test_mutated_tensors(
    tmp_path_factory: pytest.TempPathFactory, seed: int, times: int, which: int
) -> None:
    """An input that is damaged is read as numbers or refused; nothing is ever unpickled."""
    folder = tmp_path_factory.getbasetemp()
    path = folder / "tensors"
    path.write_bytes(mutated(tensor_files(folder)[which], random.Random(seed), times))
    try:
        found = read_tensors(str(path), None)
    except UsageError as error:
        assert_named(error, path)
        return
    assert all(array.dtype.kind in "biuf" for array in found.values())
