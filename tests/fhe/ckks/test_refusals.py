"""The table of bad inputs: what each of them is told, by role."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from proofml.backend import Context
from proofml.canonical import dumps, loads
from proofml.container import pack, unpack
from proofml.errors import BackendUnavailable, ProofmlError, UnsupportedModel, UsageError
from proofml.fhe.ckks import call
from proofml.fhe.ckks.compiler import levels_that_fit
from proofml.fhe.ckks.scheme import CkksScheme
from proofml.fhe.scheme import Malformed
from proofml.model import Model
from proofml.tensors import Array

from .conftest import Party
from .models import Builder, mlp, samples

pytest.importorskip("tenseal")


@dataclass(frozen=True)
class Desk:
    """What a case may use."""

    scheme: CkksScheme
    context: Context
    party: Party

    def compile(self, model: Model, given: object = None, **options: object) -> None:
        inputs = samples(model) if given is None else given
        texts = {key.replace("_", "-"): str(value) for key, value in options.items()}
        self.scheme.compile(model, inputs, texts, self.context)  # type: ignore[arg-type]

    def encrypt(self, **inputs: Array) -> None:
        self.scheme.encrypt(self.party.circuit, self.party.secret, inputs, self.context)

    def run(self, evaluation: bytes | None = None, given: tuple[bytes, ...] | None = None) -> None:
        keys = self.party.evaluation if evaluation is None else evaluation
        ciphertexts = self.party.ciphertexts if given is None else given
        self.scheme.run(self.party.circuit, keys, ciphertexts, self.context)

    def decrypt(self, given: tuple[bytes, ...], secret: bytes | None = None) -> None:
        key = self.party.secret if secret is None else secret
        self.scheme.decrypt(self.party.circuit, key, given, self.context)

    def outputs(self) -> tuple[bytes, ...]:
        return self.scheme.run(
            self.party.circuit, self.party.evaluation, self.party.ciphertexts, self.context
        )

    def stranger(self) -> tuple[bytes, bytes, tuple[bytes, ...]]:
        """Another client of the same circuit."""
        secret, evaluation = self.scheme.keygen(self.party.circuit, self.context)
        given = self.scheme.encrypt(self.party.circuit, secret, self.party.inputs, self.context)
        return secret, evaluation, given


def deep(desk: Desk, layers: int) -> Model:
    b = Builder([1, 4])
    for _ in range(layers):
        b.gemm(4, 4)
        b.op("Sigmoid")
    b.gemm(4, 4)
    return b.model(desk.context.store)


def other_parameters(desk: Desk) -> tuple[bytes, bytes]:
    model = mlp(desk.context.store)
    options = {"degree": "2", "tolerance": "1", "ring": "8192"}
    circuit = desk.scheme.compile(model, samples(model), options, desk.context)
    return desk.scheme.keygen(circuit, desk.context)


def pooled(desk: Desk) -> Model:
    b = Builder([1, 1, 4, 4])
    b.op("MaxPool", kernel_shape=[2, 2])
    return b.model(desk.context.store)


def wide(desk: Desk) -> Model:
    b = Builder([1, 8])
    b.op("MatMul", b.last, b.const(np.ones((8, 17000))))
    b.op("Relu")
    b.op("MatMul", b.last, b.const(np.ones((17000, 2))))
    return b.model(desk.context.store)


def steep(desk: Desk) -> Model:
    b = Builder([1, 8])
    b.gemm(8, 6, gain=500.0)
    b.op("Sigmoid")
    b.gemm(6, 4)
    return b.model(desk.context.store)


def narrow(desk: Desk) -> Model:
    return mlp(desk.context.store)


def edited(data: bytes, **changes: object) -> bytes:
    head, sections = unpack(data)
    return pack(dumps({**loads(head), **changes}), sections)


def weak(desk: Desk) -> bytes:
    program = loads(unpack(desk.party.circuit.data)[0])["program"]
    program["parameters"]["degree"] = 4096
    return edited(desk.party.circuit.data, program=program)


X = np.zeros((1, 8), np.float32)


def with_one(value: float) -> Array:
    found = X.copy()
    found[0, 3] = value
    return found


Case = tuple[Callable[[Desk], object], type[Exception], str]

CASES: dict[str, Case] = {
    # the compiler
    "unknown operator": (
        lambda d: d.compile(pooled(d)), UnsupportedModel, "MaxPool cannot be computed on CKKS"),
    "too deep": (
        lambda d: d.compile(deep(d, 20), degree=2, tolerance=1e6), UnsupportedModel,
        r"too deep: needs 41 levels, \d+ fit at 128-bit security \(ring degree 32768\)"),
    "too deep for the ring": (
        lambda d: d.compile(deep(d, 5), ring=8192, degree=2, tolerance=9), UnsupportedModel,
        r"too deep: needs 11 levels, 7 fit at 128-bit security \(ring degree 8192\)"),
    "too wide": (
        lambda d: d.compile(wide(d)), UnsupportedModel,
        "too wide: needs 17000 slots, one ciphertext has at most 16384"),
    "too wide for the batch": (
        lambda d: d.compile(narrow(d), batch=2048, ring=8192, degree=2, tolerance=1),
        UnsupportedModel, "too wide: needs 8 slots, one inference of 2048 in a ciphertext has 2"),
    "batch of no power": (
        lambda d: d.compile(narrow(d), batch=3), UsageError, "batch=3: expected a power of two"),
    "batch beyond the ring": (
        lambda d: d.compile(narrow(d), batch=8192, ring=4096), UnsupportedModel,
        "no ring that may be used has the slots for a batch of 8192"),
    "polynomials too coarse": (
        lambda d: d.compile(steep(d)), UnsupportedModel,
        "polynomials of degree 32 put the outputs"),
    "noise too large": (
        lambda d: d.compile(narrow(d), degree=2, tolerance=1, noise=1e-9, ring=8192),
        UnsupportedModel, "a noise of .* at ring degree 8192"),
    "unknown option": (
        lambda d: d.compile(narrow(d), speed=9), UsageError, "no option speed; known: degree"),
    "degree out of range": (
        lambda d: d.compile(narrow(d), degree=65), UsageError, "a whole number from 1 to 64"),
    "ring below the table": (
        lambda d: d.compile(narrow(d), ring=2048), UsageError, "one of 4096, 8192, 16384, 32768"),
    "no samples": (
        lambda d: d.compile(narrow(d), []), UsageError, "at least one calibration sample"),
    "samples with NaN": (
        lambda d: d.compile(narrow(d), [{"x": with_one(np.nan)}]), UsageError, "got NaN"),
    "samples of another shape": (
        lambda d: d.compile(narrow(d), [{"x": np.zeros((1, 9), np.float32)}]), UsageError,
        r"expected float32\[1, 8\]"),
    # circuits
    "parameters below 128 bits": (
        lambda d: d.scheme.read_circuit(weak(d)), Malformed, "at most 109 bits, for 128-bit"),
    "downgraded version": (
        lambda d: d.scheme.read_circuit(edited(d.party.circuit.data, version=0)), Malformed,
        "circuit: version: expected 1, got 0"),
    "truncated circuit": (
        lambda d: d.scheme.read_circuit(d.party.circuit.data[:-100]), Malformed, "circuit"),
    "circuit of another model": (
        lambda d: d.scheme.check_circuit(
            d.party.circuit, mlp(d.context.store, "Relu", batch="n"), d.context),
        Malformed, "circuit's model"),
    # the owner
    "NaN": (lambda d: d.encrypt(x=with_one(np.nan)), UsageError, "got NaN or infinity"),
    "infinity": (lambda d: d.encrypt(x=with_one(np.inf)), UsageError, "got NaN or infinity"),
    "wrong shape": (
        lambda d: d.encrypt(x=np.zeros((1, 7), np.float32)), UsageError,
        r"expected float32\[\?, 8\], got float32\[1, 7\]"),
    "wrong type": (
        lambda d: d.encrypt(x=np.zeros((1, 8))), UsageError, r"got float64\[1, 8\]"),
    "wrong name": (lambda d: d.encrypt(y=X), UsageError, "expected a mapping of the inputs x"),
    "empty batch": (
        lambda d: d.encrypt(x=np.zeros((0, 8), np.float32)), UsageError, "a batch of 1 to"),
    "beyond calibration": (
        lambda d: d.encrypt(x=with_one(1e6)), UsageError, "its polynomial was made for"),
    "secret key of other parameters": (
        lambda d: d.scheme.encrypt(
            d.party.circuit, other_parameters(d)[0], {"x": X}, d.context),
        Malformed, "secret key: parameters"),
    "truncated secret key": (
        lambda d: d.decrypt(d.outputs(), d.party.secret[:-1]), Malformed, "secret key"),
    "evaluation keys for a secret key": (
        lambda d: d.decrypt(d.outputs(), d.party.evaluation), Malformed, "secret key"),
    "secret key of another client": (
        lambda d: d.decrypt(d.outputs(), d.stranger()[0]), Malformed, "one under the key"),
    "inputs for outputs": (
        lambda d: d.decrypt(d.party.ciphertexts), Malformed, "ciphertext 0"),
    "no outputs": (lambda d: d.decrypt(()), Malformed, "output ciphertexts"),
    # server and verifier
    "ciphertext of another client": (
        lambda d: d.run(given=d.stranger()[2]), Malformed, "one under the key"),
    "keys of another client": (
        lambda d: d.run(evaluation=d.stranger()[1]), Malformed, "one under the key"),
    "keys of other parameters": (
        lambda d: d.run(evaluation=other_parameters(d)[1]), Malformed,
        "evaluation keys: parameters"),
    "truncated keys": (
        lambda d: d.run(evaluation=d.party.evaluation[:-1]), Malformed, "evaluation keys"),
    "secret key for evaluation keys": (
        lambda d: d.run(evaluation=d.party.secret), Malformed, "ckks-evaluation"),
    "truncated ciphertext": (
        lambda d: d.run(given=(d.party.ciphertexts[0][:-1],)), Malformed, "ciphertext 0"),
    "oversized ciphertext": (
        lambda d: d.run(given=(d.party.ciphertexts[0] + bytes(1 << 20),)), Malformed, "at most"),
    "ciphertext of another level": (
        lambda d: d.run(given=d.outputs()), Malformed, "ciphertext 0"),
    "ciphertext of another version": (
        lambda d: d.run(given=(edited(d.party.ciphertexts[0], version=9),)), Malformed,
        "ciphertext 0: version: expected 1, got 9"),
    "ciphertext of too many lanes": (
        lambda d: d.run(given=(edited(d.party.ciphertexts[0], count=99999),)), Malformed, "count"),
    "no ciphertext": (lambda d: d.run(given=()), Malformed, "a multiple of 1"),
    "operands too few": (
        lambda d: d.scheme.replay(d.party.circuit, d.party.evaluation, [(0, [])], d.context),
        UsageError, "operator 0: expected"),
    "operator below the first": (
        lambda d: d.scheme.replay(
            d.party.circuit, d.party.evaluation, [(-1, list(d.party.ciphertexts))], d.context),
        UsageError, "operator -1"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_is_told(name: str, scheme: CkksScheme, context: Context, party: Party) -> None:
    case, kind, words = CASES[name]
    with pytest.raises(kind, match=words) as caught:
        case(Desk(scheme, context, party))
    assert isinstance(caught.value, (ProofmlError, Malformed))
    assert len(str(caught.value)) < 1200


def test_there_are_many() -> None:
    assert len(CASES) >= 40


def test_levels_that_fit() -> None:
    found = [levels_that_fit(ring) for ring in (4096, 8192, 16384, 32768)]
    assert found == sorted(found)
    assert found[0] == 2


def test_without_the_library(
    monkeypatch: pytest.MonkeyPatch, scheme: CkksScheme, context: Context, party: Party
) -> None:
    monkeypatch.setattr(call, "library_version", lambda: None)
    assert not scheme.probe().available
    assert "proofml[tenseal]" in scheme.probe().detail
    with pytest.raises(BackendUnavailable, match=r"proofml\[tenseal\]"):
        scheme.keygen(party.circuit, context)
