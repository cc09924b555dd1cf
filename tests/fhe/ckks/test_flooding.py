"""Noise for shown results: its size, what it is measured by, and what it does not hide."""

from __future__ import annotations

import math

import numpy as np
import pytest

from proofml.backend import Context
from proofml.errors import UsageError
from proofml.fhe.ckks import circuit as circuits
from proofml.fhe.ckks import owner
from proofml.fhe.ckks.flooding import LEAST_BITS, MAX_BITS, NOISIER, factor, flood
from proofml.fhe.ckks.noise import SIGMAS
from proofml.fhe.ckks.scheme import CkksScheme
from proofml.fhe.scheme import Malformed
from proofml.store import Store

from ..roles.attacks import header
from .models import Builder, samples


@pytest.mark.parametrize("bits", [1, LEAST_BITS, MAX_BITS])
@pytest.mark.parametrize("elements", [1, 10, 4096])
def test_hides_all_elements_of_a_result(bits: int, elements: int) -> None:
    """Divergence of two Gaussians whose means differ by the bound in every element: 2^-s / 24."""
    bound = NOISIER * SIGMAS
    divergence = elements * bound**2 / (2 * factor(bits, elements) ** 2)
    assert divergence <= 2.0**-bits / 24 * (1 + 1e-9)
    assert divergence >= 2.0**-bits / 25, "more noise than was asked for"


def test_nothing_is_added_for_no_bits() -> None:
    values = np.array([0.1, 1 / 3])
    assert flood(values, 1e-3, 0, 2) is values


def test_last_digits_tell_nothing() -> None:
    """What is shown lies on one grid, whatever was decrypted."""
    wide = 1e-7 * factor(40, 4)
    step = 2.0 ** (math.floor(math.log2(wide)) - 20)
    for value in (0.1, 1 / 3, 12345.678):
        shown = flood(np.full(500, value), 1e-7, 40, 4) / step
        assert np.array_equal(shown, np.rint(shown))
        assert len(set(shown.tolist())) > 490


def test_fresh_noise_of_the_systems_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import random

    values = np.zeros(8)
    random.seed(1)
    np.random.seed(1)
    first = flood(values, 1.0, 30, 1)
    random.seed(1)
    np.random.seed(1)
    assert not np.array_equal(first, flood(values, 1.0, 30, 1))
    drawn = []
    real = os.urandom
    monkeypatch.setattr(random, "_urandom", lambda size: drawn.append(size) or real(size))  # type: ignore[func-returns-value]
    flood(values, 1.0, 30, 1)
    assert sum(drawn) >= 8 * 7


@pytest.fixture(scope="module")
def flooded(scheme: CkksScheme, context: Context) -> circuits.CkksCircuit:
    b = Builder(["n", 8])
    b.gemm(8, 4)
    model = b.model(context.store)
    return scheme.compile(model, samples(model), {"flood": "16"}, context)


def test_every_inference_of_a_batch_is_looked_at(flooded: circuits.CkksCircuit) -> None:
    """One that is noisier than the circuit tells, far behind in the batch."""
    inputs = {"x": np.zeros((200, 8), np.float32)}
    owner.check_noise(flooded, inputs)
    inputs["x"][150] = 1e7
    with pytest.raises(UsageError, match="too little to hide it"):
        owner.check_noise(flooded, inputs)


@pytest.mark.parametrize("noise", ["0.0", "5e-324", "1e+300"])
def test_noise_of_nothing_hides_nothing(flooded: circuits.CkksCircuit, noise: str) -> None:
    """And none that floats cannot add."""

    def silent(head: dict[str, dict[str, object]]) -> None:
        head["record"]["noise"] = [noise]

    with pytest.raises(Malformed, match=r"deviations from 1e-30 to 1e\+30"):
        circuits.read(header(flooded.data, silent))


@pytest.mark.parametrize("deviation", [1e-30, 1e30])
@pytest.mark.parametrize("bits", [1, MAX_BITS])
def test_any_noise_that_a_circuit_may_tell(deviation: float, bits: int) -> None:
    shown = flood(np.zeros(16), deviation, bits, 1 << 22)
    assert np.isfinite(shown).all()
    assert shown.any()


def test_no_secret_key_in_a_folder(
    flooded: circuits.CkksCircuit, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither among the files of a worker, nor in what SEAL is given to read."""
    from pathlib import Path

    pytest.importorskip("tenseal")
    from proofml.fhe.ckks import messages
    from proofml.fhe.ckks.seal import Seal

    folder = Path(str(tmp_path))
    context = Context(Store(folder / "cache"))
    found: dict[str, list[bytes]] = {}
    call = owner.call

    def watched(stage: str, args: object, place: Path, *rest: object, **more: object) -> object:
        made = call(stage, args, place, *rest, **more)  # type: ignore[arg-type]
        found[stage] = [one.read_bytes() for one in place.rglob("*") if one.is_file()]
        return made

    monkeypatch.setattr(owner, "call", watched)
    secret, _ = owner.keygen(flooded, context)
    inputs = {"x": np.zeros((1, 8), np.float32)}
    given = owner.encrypt(flooded, secret, inputs, context)
    parameters = flooded.program.parameters
    residues = messages.read_secret(secret, parameters).residues
    packed = messages.pack(residues, parameters.primes)
    assert set(found) == {"owner_stages:keygen", "owner_stages:encrypt"}
    for files in found.values():
        assert files
        assert not any(packed[:64] in data or secret[-64:] in data for data in files)
    assert given
    seal = Seal(parameters, folder)
    monkeypatch.setattr(Seal, "_load", lambda *args: pytest.fail("a key was written to a file"))
    again = seal.secret_key(residues)
    flat = np.array([again.data()[i] for i in range(64)], np.uint64)
    assert np.array_equal(flat, residues.reshape(-1)[:64])
