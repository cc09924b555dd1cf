"""The estimate of noise against SEAL, instruction by instruction, over slots and keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.fhe.ckks.affine import Reals
from proofml.fhe.ckks.builder import Builder
from proofml.fhe.ckks.evaluate import Machine
from proofml.fhe.ckks.messages import EvaluationKeys
from proofml.fhe.ckks.noise import estimate, variances
from proofml.fhe.ckks.params import Parameters, choose_primes
from proofml.fhe.ckks.program import Program
from proofml.fhe.ckks.seal import Seal
from proofml.fhe.ckks.simulate import simulate

pytest.importorskip("tenseal")

#: The prime of key switching is hardly larger than the others, so that its noise shows.
PARAMETERS = Parameters(8192, choose_primes(8192, 40, 2, 44, 45))
SCALE = 2.0**40
KEYS = 12


class Owner:
    """Keys of one client, in this process."""

    def __init__(self, folder: Path, program: Program) -> None:
        self.seal = Seal(PARAMETERS, folder)
        self.program = program
        api = self.seal.api
        generator = api.KeyGenerator(self.seal.context)
        self._secret = generator.secret_key()
        self.encryptor = api.Encryptor(self.seal.context, self._secret)
        self.decryptor = api.Decryptor(self.seal.context, self._secret)
        keys = []
        if program.rotations:
            galois = api.GaloisKeys()
            elements = [self.seal.element(step) for step in program.rotations]
            generator.create_galois_keys(elements, galois)
            keys += [self._residues(galois.key(element)) for element in elements]
        if program.multiplies:
            products = api.RelinKeys()
            generator.create_relin_keys(products)
            keys.append(self._residues(products.key(2)))
        known = EvaluationKeys("", program.rotations, program.multiplies, tuple(keys))
        self.machine = Machine(self.seal, program, known)

    def _residues(self, digits: Any) -> Any:
        return np.stack([self.seal.residues(digit.data()) for digit in digits])

    def errors(self, values: Reals) -> Reals:
        """Of one run: decrypted less simulated."""
        register = self.program.inputs[0]
        plain, given = self.seal.api.Plaintext(), self.seal.api.Ciphertext()
        parms_id = self.seal.id_of(register.level)
        self.seal.encoder.encode(values.tolist(), parms_id, register.scale, plain)
        self.encryptor.encrypt_symmetric(plain, given)
        ((made,),) = self.machine.run([[given]], lambda done: None)
        result = self.seal.api.Plaintext()
        self.decryptor.decrypt(made, result)
        found = np.array(self.seal.encoder.decode_double(result))
        (wanted,) = simulate(self.program, [values[None]])
        return np.asarray(found - wanted[0])


def fresh(b: Builder, x: int) -> int:
    return b.shift(x, np.linspace(-1, 1, b.features))


def rotated(b: Builder, x: int) -> int:
    return b.rotate(x, 5)


def doubled(b: Builder, x: int) -> int:
    return b.add(x, x)


def product(b: Builder, x: int) -> int:
    return b.multiply(x, x)


def rescaled(b: Builder, x: int) -> int:
    return b.rescale(b.label(b.multiply(x, x), SCALE * SCALE))


def weighted(b: Builder, x: int) -> int:
    return b.dot([(x, np.linspace(1, 2, b.features)), (b.negate(x), np.array([0.5]))], SCALE**1.6)


def labelled(b: Builder, x: int) -> int:
    return b.label(b.rescale(b.dot([(x, np.array([1.0]))], SCALE * SCALE)), SCALE / 4)


EACH = (fresh, rotated, doubled, product, rescaled, weighted, labelled)


@pytest.mark.parametrize("build", EACH, ids=lambda build: build.__name__)
def test_estimates(build: Callable[[Builder, int], int], tmp_path: Path) -> None:
    """Squares of errors in parts of their variances: about 1 over all slots."""
    builder = Builder(PARAMETERS, 1)
    program = builder.finish([build(builder, builder.input(2, SCALE))])
    values = np.random.default_rng(0).uniform(0.5, 3, program.features)
    errors = np.array([Owner(tmp_path, program).errors(values) for _ in range(KEYS)])
    (variance,), _ = variances(program, [values[None]])
    parts = np.mean(errors**2, axis=0) / variance
    # What is multiplied with constants of both signs and added is not independent.
    assert (0.5 if build is weighted else 0.8) < float(np.mean(parts)) < 1.2
    assert estimate(program, [values[None]], [np.arange(program.features)]).deviation == (
        pytest.approx(float(np.sqrt(variance.max()))),
    )
    if build in (rotated, product):
        # Twelve draws in each of the first slots, where key switching is worst.
        assert float(parts[:8].max()) < 4
        assert float(parts[:8].min()) > 0.03


def test_key_switching_is_worst_in_the_first_slots(tmp_path: Path) -> None:
    builder = Builder(PARAMETERS, 1)
    program = builder.finish([builder.rotate(builder.input(2, SCALE), 5)])
    values = np.ones(program.features)
    errors = np.array([Owner(tmp_path, program).errors(values) for _ in range(KEYS)])
    first = float(np.sqrt(np.mean(errors[:, 0] ** 2)))
    rest = float(np.sqrt(np.mean(errors[:, 64:] ** 2)))
    assert first > 10 * rest


def test_arguments_at_the_end_of_their_interval() -> None:
    """There a polynomial is steepest, wherever the samples were."""
    b = Builder(Parameters(8192, choose_primes(8192, 40, 2, 44, 60)), 1)
    t = b.input(2, SCALE)
    square = b.rescale(b.multiply(t, t))
    program = b.finish([b.rescale(b.multiply(square, square))])
    slots = np.arange(4)
    near, end = np.zeros((3, program.features)), np.zeros((3, program.features))
    near[:, slots], end[:, slots] = 0.01, 1.0
    found = [
        estimate(program, [near], [slots]),
        estimate(program, [near], [slots], [(square, slots)]),
        estimate(program, [end], [slots]),
    ]
    deviations = [one.deviation[0] for one in found]
    assert 2 * deviations[0] < deviations[1]
    assert deviations[1] < deviations[2] < 3 * deviations[1]
    assert found[1].headroom == found[0].headroom > found[2].headroom
