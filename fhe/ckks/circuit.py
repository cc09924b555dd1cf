"""A compiled model as one file: canonical bytes, read strictly.

A container; the first section is canonical JSON (`type`, `version`, `name`, `model`, `inputs`,
`outputs`, `record`, `program`, `tail`, `results`, `report`), the others are

    constants    elements of the program's constants, float64
    slots        int32: for each input the element in each slot of a period or -1, then for each
                 argument of an approximation, and
                 each result, the slots of its elements

`record` is all that compiling needs besides the model, so that anybody can derive the rest again.
`report` tells what its writer measured; nothing follows from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofml.canonical import JSON, real, sha256
from proofml.errors import CONTROL
from proofml.fhe.ckks import files
from proofml.fhe.ckks.affine import Index
from proofml.fhe.ckks.flooding import MAX_BITS
from proofml.fhe.ckks.minimax import MAX_DEGREE, Polynomial
from proofml.fhe.ckks.network import FUNCTIONS
from proofml.fhe.ckks.program import MAX_CONSTANT_ELEMENTS, MAX_INPUTS, Program
from proofml.fhe.ckks.tail import Tail, read_real
from proofml.fhe.scheme import Malformed
from proofml.fields import FieldError, Fields
from proofml.model import TensorSpec
from proofml.tensors import DTYPES, MAX_RANK

SCHEME = "ckks"
TYPE = "proofml/ckks-circuit"
MAX_BYTES = 8 * MAX_CONSTANT_ELEMENTS + (64 << 20)
FINAL = ("client", "server")
_SECTIONS = frozenset({"constants", "slots"})
_MAX_ACTIVATIONS = 256
#: And its inverse: beyond them floats would overflow, or vanish.
_MOST_NOISE = 1e30


@dataclass(frozen=True)
class Approximation:
    """A polynomial in the place of a function.

    Attributes:
        value: number that the network gives to what it makes.
        function: name in `network.FUNCTIONS`.
        polynomial: on the interval that calibration saw, widened.
        error: its largest difference from the function there.
    """

    value: int
    function: str
    polynomial: Polynomial
    error: float

    def to_json(self) -> dict[str, JSON]:
        return {
            "coefficients": [real(c) for c in self.polynomial.coefficients],
            "error": real(self.error),
            "function": self.function,
            "high": real(self.polynomial.high),
            "low": real(self.polynomial.low),
            "value": self.value,
        }


@dataclass(frozen=True)
class Record:
    """All that compiling needs besides the model.

    Attributes:
        final: who computes last activations.
        flood: bits of statistical security that noise is added for after decryption; 0 for none.
        scale: of inputs and of what matrices make.
        noise: estimated standard deviation in each result.
        approximations: of activations, in the network's order.
    """

    final: str
    flood: int
    scale: float
    noise: tuple[float, ...]
    approximations: tuple[Approximation, ...]

    def to_json(self) -> dict[str, JSON]:
        return {
            "approximations": [a.to_json() for a in self.approximations],
            "final": self.final,
            "flood": self.flood,
            "noise": [real(deviation) for deviation in self.noise],
            "scale": real(self.scale),
        }


@dataclass(frozen=True, eq=False)
class Place:
    """Where a decrypted tensor lies: name, shape with a batch of 1, features of its elements."""

    name: str
    shape: tuple[int, ...]
    slots: Index


@dataclass(frozen=True, eq=False)
class Argument:
    """Where the argument of an approximation lies: in [-1, 1], if the input is as calibrated."""

    register: int
    slots: Index


@dataclass(frozen=True, eq=False)
class CkksCircuit:
    """See `proofml.fhe.scheme.Circuit`; made by `make` and `read`.

    Attributes:
        name: of the model's file, for messages.
        record: what it was compiled with.
        program: with parameters and constants.
        layouts: for each input the element in each slot of a period, -1 for none.
        arguments: of the record's approximations.
        results: what is decrypted, one for each output of the program.
        tail: what the owner computes from them.
    """

    data: bytes
    name: str
    model: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    record: Record
    program: Program
    layouts: tuple[Index, ...]
    arguments: tuple[Argument, ...]
    results: tuple[Place, ...]
    tail: Tail
    report: Mapping[str, JSON]

    @property
    def scheme(self) -> str:
        return SCHEME

    @property
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return sha256(self.data)

    @property
    def security_bits(self) -> int:
        return self.program.parameters.security_bits

    def shape(self, index: int) -> tuple[int, ...]:
        """Of an input, with a batch of 1."""
        return tuple(dim or 1 for dim in self.inputs[index].shape or ())

    @property
    def is_batched(self) -> bool:
        """Whether the model leaves its batch free."""
        return any(spec.shape is not None and spec.shape[0] is None for spec in self.inputs)


def make(
    *,
    name: str,
    model: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    record: Record,
    program: Program,
    layouts: Sequence[Index],
    arguments: Sequence[Argument],
    results: Sequence[Place],
    tail: Tail,
    report: Mapping[str, JSON],
) -> CkksCircuit:
    """Write, and read again: what is made is what others can read."""
    header: dict[str, JSON] = {
        "arguments": [{"count": len(a.slots), "register": a.register} for a in arguments],
        "inputs": [_spec(spec) for spec in inputs],
        "model": model,
        "name": name,
        "outputs": [_spec(spec) for spec in outputs],
        "periods": [len(layout) for layout in layouts],
        "program": program.to_json(),
        "record": record.to_json(),
        "report": report,
        "results": [{"name": r.name, "shape": list(r.shape)} for r in results],
        "tail": tail.to_json(),
    }
    parts = [*layouts, *(a.slots for a in arguments), *(result.slots for result in results)]
    slots = b"".join(np.asarray(part, "<i4").tobytes() for part in parts)
    return read(files.write(TYPE, header, {"constants": program.block(), "slots": slots}))


def read(data: bytes) -> CkksCircuit:
    """Raises `Malformed` for all that `make` would not have written."""
    fields, sections = files.read(data, "circuit", TYPE, _SECTIONS, MAX_BYTES)
    with files.strict("circuit"):
        return _read(data, fields, sections)


def _read(data: bytes, fields: Fields, sections: Mapping[str, bytes]) -> CkksCircuit:
    name = fields.string("name", longest=256)
    model = fields.sha256("model")
    inputs = fields.items("inputs", _read_spec, most=MAX_INPUTS)
    outputs = fields.items("outputs", _read_spec, most=64)
    record = _read_record(fields.table("record"))
    program = Program.read(fields.table("program"), sections["constants"])
    periods = fields.items("periods", _number, most=MAX_INPUTS)
    named = fields.items("results", _read_result, most=64)
    arguments = fields.items("arguments", _read_argument, most=_MAX_ACTIVATIONS)
    tail = Tail.read(fields.table("tail"), [result[0] for result in named])
    report = fields.raw("report")
    if not isinstance(report, Mapping) or not {"error", "p_error"} <= set(report):
        raise FieldError("report", "a table with error and p_error", report)
    if any(read_real(report[key], f"report.{key}") < 0 for key in ("error", "p_error")):
        raise FieldError("report", "an error and a probability of 0 or more", report)
    fields.done()
    if not len(inputs) == len(periods) == len(program.inputs) or len(named) != len(program.outputs):
        raise Malformed("circuit", "one layout for each input and result", "others")
    if len(record.noise) != len(named) or len(record.approximations) != len(arguments):
        raise Malformed("circuit: record", "an entry for each result and activation", "others")
    if any(register >= len(program.registers) for register, _ in arguments):
        raise Malformed("circuit: arguments", "registers of the program", "others")
    if any(not 1 <= n <= program.features or program.features % n for n in periods):
        raise Malformed("circuit: periods", f"divisors of {program.features}", periods)
    counts = [*periods, *(n for _, n in arguments), *(math.prod(shape) for _, shape in named)]
    parts = _read_slots(sections["slots"], counts)
    layouts, rest = parts[: len(periods)], parts[len(periods) :]
    for spec, layout in zip(inputs, layouts, strict=True):
        size = math.prod(dim or 1 for dim in spec.shape or ())
        if layout.min() < -1 or layout.max() >= size:
            raise Malformed("circuit: layout of an input", f"elements below {size}", "others")
    if any(part.size and (part.min() < 0 or part.max() >= program.features) for part in rest):
        raise Malformed("circuit: slots", f"features below {program.features}", "others")
    return CkksCircuit(
        data,
        name,
        model,
        inputs,
        outputs,
        record,
        program,
        tuple(layouts),
        tuple(Argument(r, part) for (r, _), part in zip(arguments, rest, strict=False)),
        tuple(
            Place(title, shape, part)
            for (title, shape), part in zip(named, rest[len(arguments) :], strict=True)
        ),
        tail,
        report,
    )


def _read_slots(block: bytes, counts: Sequence[int]) -> list[Index]:
    if len(block) != 4 * sum(counts):
        raise Malformed("circuit: slots", f"{4 * sum(counts)} bytes", len(block))
    flat = np.frombuffer(block, "<i4").astype(np.int64)
    return list(np.split(flat, np.cumsum(counts)[:-1]))


def _spec(spec: TensorSpec) -> dict[str, JSON]:
    return {"dtype": spec.dtype, "name": spec.name, "shape": list(spec.shape or ())}


def _name(value: object, path: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 1024 or CONTROL.search(value):
        raise FieldError(path, "a name of at most 1024 characters", value)
    return value


def _read_spec(value: object, path: str) -> TensorSpec:
    fields = Fields(value, path)
    name = _name(fields.raw("name"), fields.at("name"))
    dtype = fields.string("dtype", choices=tuple(DTYPES))

    def dim(item: object, at: str) -> int | None:
        return None if item is None else _number(item, at)

    shape = fields.items("shape", dim, most=MAX_RANK)
    fields.done()
    if not shape or shape[0] not in (None, 1) or None in shape[1:]:
        raise FieldError(path, "a first axis that is free or 1, and fixed other ones", value)
    if math.prod(d or 1 for d in shape) > 1 << 22:
        raise FieldError(path, "at most 2^22 elements", value)
    return TensorSpec(name, dtype, shape)


def _read_argument(value: object, path: str) -> tuple[int, int]:
    fields = Fields(value, path)
    found = _number(fields.raw("register"), path), _number(fields.raw("count"), path)
    fields.done()
    return found


def _read_result(value: object, path: str) -> tuple[str, tuple[int, ...]]:
    fields = Fields(value, path)
    name = _name(fields.raw("name"), fields.at("name"))
    shape = fields.items("shape", _number, most=MAX_RANK)
    fields.done()
    if math.prod(shape) > 1 << 22:
        raise FieldError(path, "at most 2^22 elements", list(shape))
    return name, shape


def _number(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1 << 22:
        raise FieldError(path, "a whole number up to 2^22", value)
    return value


def _read_record(fields: Fields) -> Record:
    final = fields.string("final", choices=FINAL)
    flood = fields.integer("flood", 0, MAX_BITS)
    scale = read_real(fields.raw("scale"), fields.at("scale"))
    if not 1.0 <= scale <= 2.0**60:
        raise FieldError(fields.at("scale"), "a scale from 1 to 2^60", scale)
    noise = fields.items("noise", read_real, most=64)
    # Where it is hidden, noise of nothing would hide nothing.
    least = 1 / _MOST_NOISE if flood else 0.0
    if not all(least <= deviation <= _MOST_NOISE for deviation in noise):
        raise FieldError(
            fields.at("noise"), f"deviations from {least:g} to {_MOST_NOISE:g}", list(noise)
        )
    found = fields.items("approximations", _read_approximation, most=_MAX_ACTIVATIONS)
    fields.done()
    return Record(final, flood, scale, noise, found)


def _read_approximation(value: object, path: str) -> Approximation:
    fields = Fields(value, path)
    low, high, error = (
        read_real(fields.raw(key), fields.at(key)) for key in ("low", "high", "error")
    )
    coefficients = fields.items("coefficients", read_real, most=MAX_DEGREE + 1)
    function = fields.string("function", choices=tuple(FUNCTIONS))
    number = _number(fields.raw("value"), fields.at("value"))
    fields.done()
    if not low < high or len(coefficients) < 2 or error < 0:
        raise FieldError(path, "an interval, two coefficients or more, and an error", value)
    return Approximation(number, function, Polynomial(low, high, coefficients), error)
