"""The program of a circuit: instructions on ciphertexts, each of which makes one.

Register i is input i, or what instruction i - inputs makes. Slots hold `lanes` inferences side by
side: slot = feature * lanes + lane, and all rotations and constants act on features.

    ["rotate", a, n]         feature f becomes feature f + n
    ["dot", scale, [a..], [c..]]   sum of registers times constants; not yet rescaled
    ["add", a, b]            registers of one level and (but for rounding) one scale
    ["shift", a, c]          plus a constant
    ["multiply", a, b]       product, relinearised; a square where both are one
    ["rescale", a]           divide by the last prime, which goes
    ["drop", a, n]           the last n primes go, the scale stays
    ["negate", a]
    ["label", a, scale]      the same integers read at another scale: times a constant, for nothing

Level and scale of each register follow from the instructions (`Register`, by `Rules`); scales are
float64 and made by the same IEEE operations wherever a program is read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from proofml.canonical import JSON, real
from proofml.fhe.ckks.encoding import most
from proofml.fhe.ckks.params import Parameters
from proofml.fhe.ckks.tail import read_real
from proofml.fhe.scheme import Malformed
from proofml.fields import FieldError, Fields

Reals = NDArray[np.float64]

MAX_INSTRUCTIONS = 20_000
MAX_TERMS = 4096
MAX_CONSTANTS = 1 << 16
#: Elements of all constants.
MAX_CONSTANT_ELEMENTS = 1 << 25
MAX_INPUTS = 16
#: Registers that are held at once: what a run needs in memory.
MAX_HELD = 1024
#: Two scales that are added may differ by rounding.
_CLOSE = 2.0**-40


@dataclass(frozen=True)
class Instruction:
    """See the module; `operands` are registers, `constants` numbers of constants.

    Attributes:
        amount: features to rotate by, primes to drop.
        scale: of a dot product before it is rescaled, or the new label.
    """

    op: str
    operands: tuple[int, ...]
    constants: tuple[int, ...] = ()
    amount: int = 0
    scale: float = 0.0

    def to_json(self) -> list[JSON]:
        if self.op == "dot":
            return [self.op, real(self.scale), list(self.operands), list(self.constants)]
        row: list[JSON] = [self.op, *self.operands, *self.constants]
        if self.op in ("rotate", "drop"):
            row.append(self.amount)
        if self.op == "label":
            row.append(real(self.scale))
        return row


#: op -> registers, constants, whether an amount, whether a scale follows.
_FORMS: Mapping[str, tuple[int, int, bool, bool]] = MappingProxyType(
    {
        "rotate": (1, 0, True, False),
        "add": (2, 0, False, False),
        "shift": (1, 1, False, False),
        "multiply": (2, 0, False, False),
        "rescale": (1, 0, False, False),
        "drop": (1, 0, True, False),
        "negate": (1, 0, False, False),
        "label": (1, 0, False, True),
    }
)


def read_instruction(value: object, path: str) -> Instruction:
    """Raises `FieldError`."""
    if not isinstance(value, (list, tuple)) or not value or not isinstance(value[0], str):
        raise FieldError(path, "an instruction", value)
    op, *rest = value
    if op == "dot":
        if len(rest) != 3:
            raise FieldError(path, "a scale, registers and constants", rest)
        fields = Fields({"registers": rest[1], "constants": rest[2]}, path)
        operands = fields.items("registers", _number, most=MAX_TERMS)
        constants = fields.items("constants", _number, most=MAX_TERMS)
        if not operands or len(operands) != len(constants):
            raise FieldError(path, "as many registers as constants", rest[1:])
        return Instruction(op, operands, constants, scale=_scale(rest[0], path))
    if op not in _FORMS:
        raise FieldError(path, f"one of dot, {', '.join(_FORMS)}", op)
    registers, constant_count, has_amount, has_scale = _FORMS[op]
    if len(rest) != registers + constant_count + has_amount + has_scale:
        raise FieldError(path, f"the operands of {op}", rest)
    numbers = [_number(item, path) for item in rest[: registers + constant_count]]
    return Instruction(
        op,
        tuple(numbers[:registers]),
        tuple(numbers[registers:]),
        amount=_number(rest[-1], path) if has_amount else 0,
        scale=_scale(rest[-1], path) if has_scale else 0.0,
    )


def _number(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise FieldError(path, "a whole number below 2^31", value)
    return value


def _scale(value: object, path: str) -> float:
    scale = read_real(value, path)
    if not 1.0 <= scale <= 2.0**200:
        raise FieldError(path, "a scale from 1 to 2^200", value)
    return scale


@dataclass(frozen=True)
class Register:
    """What is known of a ciphertext: primes left but one, and the scale of its integers."""

    level: int
    scale: float


@dataclass(frozen=True)
class Rules:
    """What each instruction makes of its operands, and whether it can be run.

    Attributes:
        parameters: ring and primes.
        features: slots of one lane.
        largest: period of each constant, and the largest magnitude in it.
    """

    parameters: Parameters
    features: int
    largest: Sequence[tuple[int, float]]

    def fits(self, register: Register, where: str) -> None:
        """Raises `Malformed` where the scale leaves no room in what is left of the modulus."""
        bits = self.parameters.bits_at(register.level)
        if not register.scale >= 1.0 or math.log2(register.scale) >= bits - 1:
            raise Malformed(where, f"a scale from 1 to 2^{bits - 1:.0f}", f"{register.scale:g}")

    def follow(
        self, instruction: Instruction, operands: Sequence[Register], where: str
    ) -> Register:
        """What the instruction makes of such operands; raises `Malformed`."""
        first, op = operands[0], instruction.op
        if any(operand.level != first.level for operand in operands):
            raise Malformed(where, "operands of one level", [o.level for o in operands])
        if op == "dot":
            for operand, constant in zip(operands, instruction.constants, strict=True):
                self._constant_fits(constant, instruction.scale / operand.scale, where)
            return Register(first.level, instruction.scale)
        if op == "shift":
            self._constant_fits(instruction.constants[0], first.scale, where)
            return first
        if op == "multiply":
            return Register(first.level, first.scale * operands[1].scale)
        if op in ("rescale", "drop"):
            count = 1 if op == "rescale" else instruction.amount
            if not 1 <= count <= first.level:
                raise Malformed(where, f"1 to {first.level} primes to drop", count)
            if op == "drop":
                return Register(first.level - count, first.scale)
            return Register(first.level - 1, first.scale / self.parameters.primes[first.level])
        if op == "label":
            return Register(first.level, instruction.scale)
        if op == "rotate" and not 0 < instruction.amount < self.features:
            raise Malformed(where, f"1 to {self.features - 1} features", instruction.amount)
        if op == "add" and abs(operands[1].scale / first.scale - 1.0) > _CLOSE:
            raise Malformed(where, f"operands of scale {first.scale:g}", operands[1].scale)
        return first

    def _constant_fits(self, constant: int, scale: float, where: str) -> None:
        period, largest = self.largest[constant]
        if not scale >= 1.0 or largest * scale > most(period):
            raise Malformed(
                where,
                f"a constant below 2^{math.log2(most(period)):.0f} times its scale",
                f"{largest:g} at {scale:g}",
            )


@dataclass(frozen=True, eq=False)
class Program:
    """Checked when its registers are asked for.

    Attributes:
        parameters: ring and primes.
        lanes: inferences side by side.
        inputs: level and scale of each input ciphertext.
        instructions: in order.
        constants: vectors, each of a period that is a power of two, finite.
        outputs: registers.
    """

    parameters: Parameters
    lanes: int
    inputs: tuple[Register, ...]
    instructions: tuple[Instruction, ...]
    constants: tuple[Reals, ...]
    outputs: tuple[int, ...]

    @property
    def features(self) -> int:
        return self.parameters.slots // self.lanes

    @cached_property
    def registers(self) -> tuple[Register, ...]:
        """Of inputs and instructions.

        Raises:
            Malformed: an instruction that cannot be run.
        """
        rules = Rules(self.parameters, self.features, self.largest)
        known = list(self.inputs)
        for register in known:
            if not 0 <= register.level <= self.parameters.levels:
                raise Malformed(
                    "level of an input", f"0 to {self.parameters.levels}", register.level
                )
            rules.fits(register, "input")
        for number, instruction in enumerate(self.instructions):
            where = f"instruction {number} ({instruction.op})"
            if any(operand >= len(known) for operand in instruction.operands):
                raise Malformed(where, f"registers below {len(known)}", instruction.operands)
            if any(c >= len(self.constants) for c in instruction.constants):
                raise Malformed(
                    where, f"constants below {len(self.constants)}", instruction.constants
                )
            made = rules.follow(instruction, [known[o] for o in instruction.operands], where)
            rules.fits(made, where)
            known.append(made)
        if not self.outputs or any(output >= len(known) for output in self.outputs):
            raise Malformed("outputs of the program", "registers of it", self.outputs)
        return tuple(known)

    @cached_property
    def largest(self) -> tuple[tuple[int, float], ...]:
        """Period and largest magnitude of each constant."""
        return tuple((len(c), float(np.max(np.abs(c), initial=0.0))) for c in self.constants)

    @cached_property
    def rotations(self) -> tuple[int, ...]:
        """Steps in slots that need a key, sorted."""
        found = {i.amount * self.lanes for i in self.instructions if i.op == "rotate"}
        return tuple(sorted(found))

    @property
    def multiplies(self) -> bool:
        """Whether a relinearisation key is needed."""
        return any(i.op == "multiply" for i in self.instructions)

    def last_uses(self) -> dict[int, int]:
        """Register -> number of the last instruction that reads it; outputs are kept."""
        found: dict[int, int] = {}
        for number, instruction in enumerate(self.instructions):
            for operand in instruction.operands:
                found[operand] = number
        for output in self.outputs:
            found.pop(output, None)
        return found

    @cached_property
    def held(self) -> int:
        """Most registers that are needed at one time, each kept to its last use."""
        ends = self.last_uses()
        now = most = len(self.inputs)
        going = Counter(ends.values())
        for number in range(len(self.instructions)):
            now += 1
            most = max(most, now)
            now -= going[number]
        return most

    def to_json(self) -> dict[str, JSON]:
        """All but the constants' elements, which follow in one block of float64."""
        return {
            "constants": [len(c) for c in self.constants],
            "inputs": [{"level": r.level, "scale": real(r.scale)} for r in self.inputs],
            "instructions": [i.to_json() for i in self.instructions],
            "lanes": self.lanes,
            "outputs": list(self.outputs),
            "parameters": self.parameters.to_json(),
        }

    def block(self) -> bytes:
        """The constants' elements, little-endian float64, one constant after the other."""
        return b"".join(c.astype("<f8").tobytes() for c in self.constants)

    @classmethod
    def read(cls, fields: Fields, block: bytes) -> Program:
        """Strictly.

        Raises:
            FieldError, Malformed: anything that `to_json` and `block` do not write.
        """
        parameters = Parameters.read(fields.table("parameters"))
        lanes = fields.integer("lanes", 1, parameters.slots)
        if parameters.slots % lanes:
            raise FieldError(fields.at("lanes"), "a power of two", lanes)
        inputs = fields.items("inputs", _read_register, most=MAX_INPUTS)
        instructions = fields.items("instructions", read_instruction, most=MAX_INSTRUCTIONS)
        outputs = fields.items("outputs", _number, most=64)
        features = parameters.slots // lanes
        lengths = fields.items("constants", _number, most=MAX_CONSTANTS)
        fields.done()
        if any(n < 1 or features % n for n in lengths) or sum(lengths) > MAX_CONSTANT_ELEMENTS:
            raise Malformed(
                "constants",
                f"periods that divide {features}, at most {MAX_CONSTANT_ELEMENTS} elements",
                sum(lengths),
            )
        if len(block) != 8 * sum(lengths):
            raise Malformed("constants", f"{8 * sum(lengths)} bytes", len(block))
        flat = np.frombuffer(block, "<f8").astype(np.float64)
        # One form only: a negative zero would be another byte string for the same constant.
        if not np.isfinite(flat).all() or bool((np.signbit(flat) & (flat == 0)).any()):
            raise Malformed("constants", "finite numbers, no negative zero", "others")
        constants = tuple(np.split(flat, np.cumsum(lengths)[:-1])) if lengths else ()
        program = cls(parameters, lanes, inputs, instructions, constants, outputs)
        _ = program.registers
        if program.held > MAX_HELD:
            raise Malformed("registers held at once", f"at most {MAX_HELD}", program.held)
        return program


def _read_register(value: object, path: str) -> Register:
    fields = Fields(value, path)
    level = fields.integer("level", 0, 64)
    scale = _scale(fields.raw("scale"), fields.at("scale"))
    fields.done()
    return Register(level, scale)
