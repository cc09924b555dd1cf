"""The program in the clear: what a run computes, but for encryption's noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from proofml.fhe.ckks.affine import Reals
from proofml.fhe.ckks.program import Instruction, Program

#: Called with the register and its values [samples, features].
Watch = Callable[[int, Reals], None]


#: Numbers that a simulation holds at once, in all registers together.
_MOST_NUMBERS = 1 << 25


def samples_at_once(program: Program) -> int:
    """How many a simulation may take in one go, at least one."""
    return max(1, _MOST_NUMBERS // (program.features * program.held))


def simulate(program: Program, inputs: Sequence[Reals], watch: Watch | None = None) -> list[Reals]:
    """Values of the outputs [samples, features] in float64.

    Args:
        inputs: [samples, features] for each input ciphertext, lanes one by one; not more samples
            than `samples_at_once`, where the program is a stranger's.
        watch: told of every register.
    """
    known: dict[int, Reals] = dict(enumerate(inputs))
    last = program.last_uses()
    for register, values in known.items():
        if watch is not None:
            watch(register, values)
    for number, instruction in enumerate(program.instructions):
        register = len(program.inputs) + number
        operands = [known[operand] for operand in instruction.operands]
        known[register] = step(program, instruction, operands)
        if watch is not None:
            watch(register, known[register])
        for operand in instruction.operands:
            if last.get(operand) == number:
                known.pop(operand, None)
    return [known[output] for output in program.outputs]


def step(program: Program, instruction: Instruction, operands: Sequence[Reals]) -> Reals:
    """What one instruction makes of values [..., features]."""
    first, op = operands[0], instruction.op
    if op == "rotate":
        return np.roll(first, -instruction.amount, axis=-1)
    if op == "dot":
        total = np.zeros_like(first)
        for operand, constant in zip(operands, instruction.constants, strict=True):
            total += operand * wide(program, constant)
        return total
    if op == "add":
        return first + operands[1]
    if op == "shift":
        return first + wide(program, instruction.constants[0])
    if op == "multiply":
        return first * operands[1]
    if op == "negate":
        return -first
    if op == "label":
        before = program.registers[instruction.operands[0]].scale
        return first * (before / instruction.scale)
    return first  # rescale, drop


def wide(program: Program, constant: int) -> Reals:
    """A constant in all features."""
    vector = program.constants[constant]
    return np.tile(vector, program.features // len(vector))
