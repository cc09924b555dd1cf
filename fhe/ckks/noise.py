"""How much encryption's noise adds to the outputs, estimated before a key exists.

Variances of the coefficients' errors are followed through the program and turned into those of
slots: a slot is a sum of all `degree` coefficients times roots of unity, of which the real part
keeps half. Errors of different slots and ciphertexts count as independent. The terms are those of
SEAL: secrets with coefficients in {-1, 0, 1}, errors of standard deviation 3.2, key switching by
one digit for each prime. After Costache et al., ePrint 2022/162. An average case, not a proof.

SEAL's digits lie in [0, prime), not around zero. Their mean is a polynomial of equal coefficients,
which is large next to the root 1: at zeta^e it is 2 / (1 - zeta^e). So key switching's error is
many times larger in a few slots, the first ones among them, and the same for all ciphertexts under
one key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proofml.fhe.ckks.affine import Index, Reals
from proofml.fhe.ckks.program import Instruction, Program
from proofml.fhe.ckks.simulate import step, wide

#: Standard deviation of SEAL's errors.
_ERROR = 3.2
#: Standard deviations that a bound takes; for 2^15 Gaussian slots the largest is beyond it in one
#: of some 20,000 runs.
SIGMAS = 6.0


@dataclass(frozen=True)
class Noise:
    """Of each output.

    Attributes:
        deviation: largest standard deviation of a slot that is read.
        headroom: bits by which the largest message of any register stays below half of its
            modulus; negative where a result wraps around.
    """

    deviation: tuple[float, ...]
    headroom: float

    @property
    def bound(self) -> tuple[float, ...]:
        return tuple(SIGMAS * deviation for deviation in self.deviation)


def estimate(
    program: Program,
    inputs: Sequence[Reals],
    slots: Sequence[Index],
    arguments: Sequence[tuple[int, Index]] = (),
) -> Noise:
    """Of a run on such inputs.

    Args:
        inputs: [samples, features] for each input ciphertext: what noise is multiplied with.
        slots: features of each output that are read.
        arguments: register and features of each polynomial's argument: noise is estimated for
            runs that drive it to the end of its interval as well, where polynomials are steepest.
            An owner lets no input through that goes beyond.
    """
    found, headroom = variances(program, inputs, arguments)
    deviations = tuple(
        float(np.sqrt(np.max(variance[index])))
        for variance, index in zip(found, slots, strict=True)
    )
    return Noise(deviations, headroom)


def variances(
    program: Program, inputs: Sequence[Reals], arguments: Sequence[tuple[int, Index]] = ()
) -> tuple[list[Reals], float]:
    """Of each output in every feature; and the headroom of `Noise`."""
    rules = _Rules(program)
    ends = dict(arguments)
    # One more sample, the first one but for arguments: all of them at the end of their interval.
    values: dict[int, Reals] = {i: np.concatenate([one, one[:1]]) for i, one in enumerate(inputs)}
    known = {i: rules.fresh(register.scale) for i, register in enumerate(program.inputs)}
    headroom = np.inf
    last = program.last_uses()
    for register, array in values.items():
        headroom = min(headroom, rules.headroom(register, array[:-1]))
    for number, instruction in enumerate(program.instructions):
        register = len(program.inputs) + number
        operands = [values[operand] for operand in instruction.operands]
        values[register] = step(program, instruction, operands)
        if register in ends:
            values[register] = _driven(values[register], ends[register])
        known[register] = rules.after(
            register, instruction, operands, [known[o] for o in instruction.operands]
        )
        headroom = min(headroom, rules.headroom(register, values[register][:-1]))
        for operand in instruction.operands:
            if last.get(operand) == number:
                values.pop(operand, None)
                known.pop(operand, None)
    return [known[output] for output in program.outputs], float(headroom)


def _driven(values: Reals, features: Index) -> Reals:
    """With one in these features of the last sample."""
    found = values.copy()
    found[-1, features] = 1.0
    return found


class _Rules:
    """Variances in slots, [features] each, in units of the values."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._registers = program.registers
        self._degree = program.parameters.degree
        self._half = self._degree / 2
        # One coefficient of (rounding errors of both parts) times (1, secret).
        self._rounding = (1 + 2 * self._degree / 3) / 12
        self._means = self._mean_digits()

    def fresh(self, scale: float) -> Reals:
        return np.full(self._program.features, self._half * (_ERROR**2 + 2 / 12) / scale**2)

    def _encoded(self, constant: int, scale: float) -> float:
        """Of a constant's plaintext: of real values, so that all of its error is real."""
        single = len(self._program.constants[constant]) == 1
        return (1.0 if single else float(self._degree)) / 12 / scale**2

    def _mean_digits(self) -> Reals:
        """|2 / (1 - zeta^e)|^2 / 4 in each feature, the largest over lanes."""
        slots, doubled = self._program.parameters.slots, 2 * self._degree
        powers = np.empty(slots)
        power = 1
        for slot in range(slots):
            powers[slot] = power
            power = power * 3 % doubled
        means = 1 / (4 * np.sin(np.pi * powers / doubled) ** 2)
        found: Reals = np.max(means.reshape(self._program.features, -1), axis=1)
        return found

    def _switched(self, level: int, scale: float) -> Reals:
        primes = self._program.parameters.primes
        digits = sum(prime * prime for prime in primes[: level + 1]) / primes[-1] ** 2
        spread = self._degree * digits / 12 * _ERROR**2 + self._rounding
        mean = digits * _ERROR**2 * self._means
        return np.asarray(self._half * (spread + mean) / scale**2)

    def after(
        self,
        register: int,
        instruction: Instruction,
        values: Sequence[Reals],
        variances: Sequence[Reals],
    ) -> Reals:
        op, made = instruction.op, self._registers[register]
        before = self._registers[instruction.operands[0]]
        first = variances[0]
        if op == "rotate":
            moved = np.roll(first, -instruction.amount)
            return moved + self._switched(made.level, made.scale)
        if op == "dot":
            return self._dot(instruction, values, variances)
        if op == "add":
            twice = instruction.operands[0] == instruction.operands[1]
            return 4 * first if twice else first + variances[1]
        if op == "shift":
            return first + self._encoded(instruction.constants[0], made.scale)
        if op == "multiply":
            switched = self._switched(made.level, made.scale)
            left: Reals = np.max(values[0] ** 2, axis=0)
            if instruction.operands[0] == instruction.operands[1]:
                return 4 * left * first + 2 * first**2 + switched
            right: Reals = np.max(values[1] ** 2, axis=0)
            second = variances[1]
            return left * second + right * first + first * second + switched
        if op == "rescale":
            return np.asarray(first + self._half * self._rounding / made.scale**2)
        if op == "label":
            return np.asarray(first * (before.scale / made.scale) ** 2)
        return first  # negate, drop

    def _dot(
        self, instruction: Instruction, values: Sequence[Reals], variances: Sequence[Reals]
    ) -> Reals:
        total = np.zeros(self._program.features)
        for i, constant in enumerate(instruction.constants):
            scale = instruction.scale / self._registers[instruction.operands[i]].scale
            total += wide(self._program, constant) ** 2 * variances[i]
            total += self._encoded(constant, scale) * np.max(values[i] ** 2, axis=0)
        return total

    def headroom(self, register: int, values: Reals) -> float:
        """Bits between the largest message and half of the modulus."""
        made = self._registers[register]
        largest = float(np.max(np.abs(values), initial=0.0)) * made.scale
        return self._program.parameters.bits_at(made.level) - 1 - float(np.log2(max(largest, 1.0)))
