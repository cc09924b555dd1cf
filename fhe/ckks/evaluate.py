"""Runs instructions on SEAL's ciphertexts. Nothing here samples, encrypts or decrypts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from proofml.fhe.ckks import encoding
from proofml.fhe.ckks.messages import EvaluationKeys
from proofml.fhe.ckks.program import Instruction, Program
from proofml.fhe.ckks.seal import Seal

#: Constants that are encoded in one go, in elements.
_BATCH = 1 << 18


class Machine:
    """Evaluation keys loaded, ready to run instructions of one program."""

    def __init__(self, seal: Seal, program: Program, keys: EvaluationKeys) -> None:
        self._seal = seal
        self._program = program
        self.constants = Constants(seal, program)
        self._used = {
            step: key
            for step, key in zip(keys.rotations, keys.residues, strict=False)
            if step in set(program.rotations)
        }
        self._rotations = (
            seal.galois_keys(list(self._used), list(self._used.values())) if self._used else None
        )
        self._products = (
            seal.relinearisation_keys(keys.residues[-1]) if program.multiplies else None
        )

    def run(
        self,
        groups: Sequence[Sequence[Any]],
        progress: Callable[[float], None],
        watch: Callable[[int, int, Any], None] | None = None,
    ) -> list[list[Any]]:
        """Ciphertexts of the outputs of each group of inputs.

        Instruction by instruction through all groups, so that each constant is encoded once.

        Args:
            groups: input ciphertexts of each.
            watch: told group, number of the instruction and what it made.
        """
        program = self._program
        known: list[dict[int, Any]] = [dict(enumerate(group)) for group in groups]
        last = program.last_uses()
        first = len(program.inputs)
        for number, instruction in enumerate(program.instructions):
            plain = self.constants.of(instruction)
            for group, registers in enumerate(known):
                operands = [registers[operand] for operand in instruction.operands]
                made = self.step(number, operands, plain)
                registers[first + number] = made
                if watch is not None:
                    watch(group, number, made)
                for operand in instruction.operands:
                    if last.get(operand) == number:
                        registers.pop(operand, None)
            progress((number + 1) / len(program.instructions))
        return [[registers[output] for output in program.outputs] for registers in known]

    def step(self, number: int, operands: Sequence[Any], plain: Sequence[Any]) -> Any:
        """What the instruction makes of its operands, with its constants encoded."""
        api, evaluator = self._seal.api, self._seal.evaluator
        instruction = self._program.instructions[number]
        made = self._program.registers[len(self._program.inputs) + number]
        # SEAL follows scales by itself, to the last bit; here the program's count.
        for register, operand in zip(instruction.operands, operands, strict=True):
            operand.scale = self._program.registers[register].scale
        first, op, result = operands[0], instruction.op, api.Ciphertext()
        if op == "rotate":
            step = instruction.amount * self._program.lanes
            element = self._seal.element(step)
            evaluator.apply_galois(first, element, self._rotations, result)
        elif op == "dot":
            result = self._dot(operands, plain, made.scale)
        elif op == "add":
            operands[1].scale = first.scale
            evaluator.add(first, operands[1], result)
        elif op == "shift":
            plain[0].scale = first.scale
            evaluator.add_plain(first, plain[0], result)
        elif op == "multiply":
            product = api.Ciphertext()
            if instruction.operands[0] == instruction.operands[1]:
                evaluator.square(first, product)
            else:
                evaluator.multiply(first, operands[1], product)
            evaluator.relinearize(product, self._products, result)
        elif op == "rescale":
            evaluator.rescale_to_next(first, result)
        elif op == "drop":
            evaluator.mod_switch_to(first, self._seal.id_of(made.level), result)
        elif op == "negate":
            evaluator.negate(first, result)
        else:  # label: another scale only
            evaluator.mod_switch_to(first, self._seal.id_of(made.level), result)
        result.scale = made.scale
        return result

    def _dot(self, operands: Sequence[Any], plain: Sequence[Any], scale: float) -> Any:
        api, evaluator = self._seal.api, self._seal.evaluator
        total = None
        for operand, constant in zip(operands, plain, strict=True):
            term = api.Ciphertext()
            evaluator.multiply_plain(operand, constant, term)
            term.scale = scale
            if total is None:
                total = term
            else:
                evaluator.add_inplace(total, term)
        return total


class Constants:
    """Encodes the constants of one program."""

    def __init__(self, seal: Seal, program: Program) -> None:
        self._seal = seal
        self._program = program

    def of(self, instruction: Instruction) -> list[Any]:
        """Plaintexts of an instruction's constants, in its order."""
        if not instruction.constants:
            return []
        registers = self._program.registers
        scales = [
            instruction.scale / registers[operand].scale
            if instruction.op == "dot"
            else registers[operand].scale
            for operand in instruction.operands[: len(instruction.constants)]
        ]
        level = registers[instruction.operands[0]].level
        found: list[Any] = [None] * len(scales)
        alike: dict[tuple[int, float], list[int]] = {}
        for index, (number, scale) in enumerate(zip(instruction.constants, scales, strict=True)):
            length = len(self._program.constants[number])
            alike.setdefault((length, scale), []).append(index)
        for (length, scale), places in alike.items():
            period = length * self._program.lanes if length > 1 else 1
            size = max(1, _BATCH // period)
            for start in range(0, len(places), size):
                batch = places[start : start + size]
                vectors = np.stack(
                    [self._program.constants[instruction.constants[place]] for place in batch]
                )
                if period > 1:
                    vectors = np.repeat(vectors, self._program.lanes, axis=1)
                encoded = encoding.values(encoding.encode(vectors, scale))
                for place, values in zip(batch, encoded, strict=True):
                    found[place] = self._plaintext(values, level, scale)
        return found

    def _plaintext(self, values: encoding.Reals, level: int, scale: float) -> Any:
        """Whole coefficients, from their values; SEAL is given them at scale 1."""
        plain = self._seal.api.Plaintext()
        parms_id = self._seal.id_of(level)
        if len(values) == 1:
            self._seal.encoder.encode(float(values[0]), parms_id, 1.0, plain)
        else:
            repeats = self._program.parameters.slots // len(values)
            self._seal.encoder.encode(np.tile(values, repeats).tolist(), parms_id, 1.0, plain)
        plain.scale = scale
        return plain
