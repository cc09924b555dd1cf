"""Writes a program instruction by instruction; each call returns the register that it makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proofml.fhe.ckks.affine import Reals
from proofml.fhe.ckks.encoding import encode
from proofml.fhe.ckks.params import Parameters
from proofml.fhe.ckks.program import Instruction, Program, Register, Rules


class Vanishing(ValueError):
    """A result that would be zero whatever is encrypted."""


class Builder:
    """Levels and scales are followed on the way, so that callers can ask for them."""

    def __init__(self, parameters: Parameters, lanes: int) -> None:
        self.parameters = parameters
        self._lanes = lanes
        self._inputs: list[Register] = []
        self._instructions: list[Instruction] = []
        self._registers: list[Register] = []
        self._constants: list[Reals] = []
        self._largest: list[tuple[int, float]] = []
        self._rules = Rules(parameters, self.features, self._largest)
        self._numbers: dict[bytes, int] = {}
        self._made: dict[Instruction, int] = {}

    @property
    def features(self) -> int:
        return self.parameters.slots // self._lanes

    @property
    def steps(self) -> frozenset[int]:
        """Of the rotations until now."""
        return frozenset(i.amount for i in self._instructions if i.op == "rotate")

    def input(self, level: int, scale: float) -> int:
        if self._instructions:
            raise AssertionError("inputs come before instructions")
        self._inputs.append(Register(level, scale))
        self._registers.append(self._inputs[-1])
        return len(self._registers) - 1

    def level(self, register: int) -> int:
        return self._registers[register].level

    def scale(self, register: int) -> float:
        return self._registers[register].scale

    def prime(self, level: int) -> int:
        """The one that a rescale at this level divides by."""
        return self.parameters.primes[level]

    def constant(self, vector: Reals) -> int:
        """Its number; equal ones are kept once, at their least period, without negative zeros."""
        vector = np.ascontiguousarray(vector) + 0.0
        while len(vector) > 1 and np.array_equal(
            vector[: len(vector) // 2], vector[len(vector) // 2 :]
        ):
            vector = vector[: len(vector) // 2]
        key = vector.tobytes()
        if key not in self._numbers:
            self._numbers[key] = len(self._constants)
            self._constants.append(vector)
            self._largest.append((len(vector), float(np.max(np.abs(vector)))))
        return self._numbers[key]

    def rotate(self, register: int, features: int) -> int:
        amount = features % self.features
        return self._add(Instruction("rotate", (register,), amount=amount)) if amount else register

    def dot(self, terms: Sequence[tuple[int, Reals]], scale: float) -> int:
        """Without terms whose constants are encoded to nothing: SEAL refuses products with them.

        Raises:
            Vanishing: no term is left.
        """
        kept = [
            (register, self.constant(vector))
            for register, vector in terms
            if not self._vanishes(vector, scale / self.scale(register))
        ]
        if not kept:
            raise Vanishing("a sum of products with constants that are next to nothing")
        registers, constants = zip(*kept, strict=True)
        return self._add(Instruction("dot", registers, constants, scale=scale))

    def _vanishes(self, vector: Reals, scale: float) -> bool:
        """Whether all coefficients are rounded to zero."""
        lanes = self._lanes if len(vector) > 1 else 1
        if float(np.max(np.abs(vector))) * scale >= 2 * len(vector) * lanes:
            return False  # a slot is at most twice the sum of all coefficients
        return not encode(np.repeat(vector, lanes)[None], scale).any()

    def add(self, left: int, right: int) -> int:
        return self._add(Instruction("add", (left, right)))

    def shift(self, register: int, vector: Reals) -> int:
        """Plus a constant; nothing where it is zero."""
        if not vector.any():
            return register
        return self._add(Instruction("shift", (register,), (self.constant(vector),)))

    def multiply(self, left: int, right: int) -> int:
        return self._add(Instruction("multiply", (left, right)))

    def rescale(self, register: int) -> int:
        return self._add(Instruction("rescale", (register,)))

    def drop_to(self, register: int, level: int) -> int:
        count = self.level(register) - level
        if count < 0:
            raise AssertionError(f"level {self.level(register)} is below {level}")
        return self._add(Instruction("drop", (register,), amount=count)) if count else register

    def negate(self, register: int) -> int:
        return self._add(Instruction("negate", (register,)))

    def label(self, register: int, scale: float) -> int:
        if scale == self.scale(register):
            return register
        return self._add(Instruction("label", (register,), scale=scale))

    def _add(self, instruction: Instruction) -> int:
        if instruction in self._made:
            return self._made[instruction]
        operands = [self._registers[o] for o in instruction.operands]
        register = self._rules.follow(instruction, operands, instruction.op)
        self._instructions.append(instruction)
        self._registers.append(register)
        self._made[instruction] = len(self._registers) - 1
        return len(self._registers) - 1

    def finish(self, outputs: Sequence[int]) -> Program:
        program = Program(
            self.parameters,
            self._lanes,
            tuple(self._inputs),
            tuple(self._instructions),
            tuple(self._constants),
            tuple(outputs),
        )
        _ = program.registers
        return program
