"""A compiled model as one file: canonical bytes, read strictly, no machine code in it.

A container (`proofml.container`); the first section is canonical JSON (`type`, `version`, `model`,
`name`, `inputs`, `outputs`, `kind`, `libraries`, `choice`, `report`), the others are

    head, tail       ONNX; what the owner computes in the clear, absent where there is nothing
    program          the circuit in Concrete's dialect of MLIR, checked by `grammar`
    parameters       what Concrete derives from it, checked by `program` and derived again by all
    quantiser        .npy arrays of `quantiser`, one after the other in the order of its fields
    samples          .npy, float32 [n, ...]: the calibration samples, by which anybody can derive
                     the circuit again from the model
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofml.canonical import JSON, CanonicalError, dumps, loads, sha256
from proofml.container import pack, unpack
from proofml.errors import VerificationError
from proofml.fhe.concrete import grammar, program
from proofml.fhe.concrete.environment import FRONT_END, LIBRARY
from proofml.fhe.concrete.program import Program
from proofml.fhe.concrete.quantiser import KINDS, Quantiser
from proofml.fhe.scheme import Malformed
from proofml.fields import FieldError, Fields
from proofml.model import TensorSpec
from proofml.tensors import DTYPES, MAX_RANK, Array, to_npy

SCHEME = "concrete"
LIBRARIES = {"concrete-ml": FRONT_END, "concrete-python": LIBRARY}
TYPE = "proofml/concrete-circuit"
VERSION = 1
MAX_BYTES = 512 << 20
MAX_PART_BYTES = 64 << 20
MAX_SAMPLES = 4096
_SECTIONS = {"program", "parameters", "quantiser", "samples"}


@dataclass(frozen=True)
class Choice:
    """What the search chose. `bits` of inputs and weights, or of leaves; `rounding` to so many
    bits before a table lookup, None for none; `p_error` of one lookup, as it was asked for."""

    bits: int
    rounding: int | None
    p_error: float

    def to_json(self) -> dict[str, JSON]:
        return {"bits": self.bits, "rounding": self.rounding, "p_error": repr(self.p_error)}


@dataclass(frozen=True, eq=False)
class ConcreteCircuit:
    """See `proofml.fhe.scheme.Circuit`; made by `make` and `read`. Equal if their bytes are."""

    data: bytes
    model: str
    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    libraries: Mapping[str, str]
    choice: Choice
    report: Mapping[str, JSON]
    head: bytes
    tail: bytes
    text: bytes
    program: Program
    quantiser: Quantiser
    samples: Array

    @property
    def scheme(self) -> str:
        return SCHEME

    @property
    def security_bits(self) -> int:
        return program.SECURITY_BITS

    @property
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return sha256(self.data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConcreteCircuit) and other.data == self.data

    def __hash__(self) -> int:
        return hash(self.digest)


def make(
    *,
    model: str,
    name: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    libraries: Mapping[str, str],
    choice: Choice,
    report: Mapping[str, JSON],
    head: bytes,
    tail: bytes,
    text: bytes,
    parameters: bytes,
    quantiser: Quantiser,
    samples: Array,
) -> ConcreteCircuit:
    """Pack, and read again: what is made is what others can read."""
    header: dict[str, JSON] = {
        "type": TYPE,
        "version": VERSION,
        "model": model,
        "name": name,
        "inputs": [_spec_json(spec) for spec in inputs],
        "outputs": [_spec_json(spec) for spec in outputs],
        "kind": quantiser.kind,
        "libraries": dict(libraries),
        "choice": choice.to_json(),
        "report": report,
    }
    arrays = [getattr(quantiser, field.name) for field in dataclasses.fields(quantiser)]
    sections = {
        "program": text,
        "parameters": parameters,
        "quantiser": b"".join(to_npy(array) for array in arrays),
        "samples": to_npy(samples),
    }
    sections |= {key: part for key, part in (("head", head), ("tail", tail)) if part}
    return read(pack(dumps(header), sections))


def read(data: bytes) -> ConcreteCircuit:
    """Raises `Malformed` for all that `make` would not have written."""
    if len(data) > MAX_BYTES:
        raise Malformed("circuit", f"at most {MAX_BYTES} bytes", len(data))
    header, sections = open_container(data, "circuit", TYPE, VERSION)
    try:
        return _read(data, header, sections)
    except FieldError as error:
        raise Malformed(f"circuit {error.path}", error.expected, error.got) from error


def open_container(
    data: bytes, what: str, kind: str, version: int
) -> tuple[Fields, dict[str, bytes]]:
    """The header's other fields, and the sections, of a container of this type and version."""
    try:
        first, sections = unpack(data)
    except VerificationError as error:
        raise Malformed(what, error.expected or "a container", error.got or error.reason) from error
    try:
        fields = Fields(loads(first), "")
        if fields.string("type") != kind:
            raise Malformed(what, kind, fields.string("type"))
        found = fields.integer("version", 0, 1 << 30)
    except (CanonicalError, FieldError) as error:
        raise Malformed(what, "a header in canonical JSON", error) from error
    if found != version:
        raise Malformed(f"{what}: version", version, found)
    return fields, sections


def _read(data: bytes, fields: Fields, sections: dict[str, bytes]) -> ConcreteCircuit:
    extra = set(sections) - _SECTIONS - {"head", "tail"}
    missing = _SECTIONS - set(sections)
    if extra or missing:
        raise Malformed(
            "circuit's sections", ", ".join(sorted(_SECTIONS)), ", ".join(sorted(sections))
        )
    for key, body in sections.items():
        if not body or len(body) > MAX_PART_BYTES:
            raise Malformed(f"circuit's {key}", f"1 to {MAX_PART_BYTES} bytes", len(body))
    choice = fields.table("choice")
    rounding = choice.raw("rounding")
    if rounding is not None:
        rounding = choice.integer("rounding", 1, 16)
    chosen = Choice(choice.integer("bits", 1, 16), rounding, _probability(choice, "p_error"))
    choice.done()
    libraries = fields.table("libraries")
    versions = {
        key: libraries.string(key, longest=32) for key in ("concrete-ml", "concrete-python")
    }
    libraries.done()
    report = fields.raw("report")
    if not isinstance(report, Mapping) or not {"error", "p_error"} <= set(report):
        raise FieldError("report", "a table with error and p_error", report)
    for key in ("error", "p_error"):  # a reader is shown them
        _number(report[key], f"report.{key}")
    kind = fields.string("kind", choices=tuple(KINDS))
    function = grammar.check(sections["program"])
    parameters = program.read(sections["parameters"])
    if parameters.function != function:
        raise Malformed("circuit's parameters", f"those of {function}", parameters.function)
    quantiser = _read_quantiser(sections["quantiser"], kind)
    samples = _read_samples(sections["samples"])
    circuit = ConcreteCircuit(
        data,
        fields.sha256("model"),
        fields.string("name", longest=256),
        fields.items("inputs", _read_spec, most=1),
        fields.items("outputs", _read_spec, most=1),
        versions,
        chosen,
        report,
        sections.get("head", b""),
        sections.get("tail", b""),
        sections["program"],
        parameters,
        quantiser,
        samples,
    )
    fields.done()
    if len(circuit.inputs) != 1 or len(circuit.outputs) != 1:
        raise Malformed("circuit", "one input and one output", "none")
    if not circuit.inputs[0].admits(samples.shape[1:]) or circuit.inputs[0].dtype != "float32":
        raise Malformed("circuit's samples", circuit.inputs[0], list(samples.shape[1:]))
    return circuit


def _number(value: object, path: str) -> None:
    """A number as its shortest text, and nothing else."""
    try:
        number = float(value) if isinstance(value, str) else -1.0
    except ValueError:
        number = -1.0
    if not 0 <= number < np.inf or repr(number) != value:
        raise FieldError(path, "a number of 0 or more as its shortest text", value)


def _probability(fields: Fields, key: str) -> float:
    text = fields.string(key, longest=32)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1 or repr(value) != text:
        raise FieldError(fields.at(key), "a probability in shortest form", text)
    return value


def _spec_json(spec: TensorSpec) -> JSON:
    shape = None if spec.shape is None else list(spec.shape)
    return {"name": spec.name, "dtype": spec.dtype, "shape": shape}


def _read_spec(value: object, path: str) -> TensorSpec:
    fields = Fields(value, path)
    name = fields.string("name")
    dtype = fields.string("dtype", choices=tuple(DTYPES))
    shape = fields.raw("shape")
    fields.done()
    if shape is None:
        return TensorSpec(name, dtype, None)
    if not isinstance(shape, (list, tuple)) or len(shape) > MAX_RANK:
        raise FieldError(f"{path}.shape", f"a list of at most {MAX_RANK} items", shape)
    for dim in shape:
        if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int) or dim < 0):
            raise FieldError(f"{path}.shape", "whole numbers or null", dim)
    return TensorSpec(name, dtype, tuple(shape))


def _read_npy(file: io.BytesIO, what: str) -> Array:
    """One canonical array from where the file stands."""
    start = file.tell()
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("another version")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=1024)
        if dtype.kind not in "fiu" or len(shape) > MAX_RANK:
            raise ValueError(f"{dtype} of rank {len(shape)}")
        size = int(np.prod([int(dim) for dim in shape], dtype=object)) * dtype.itemsize
        body = file.read(size) if 0 <= size <= MAX_PART_BYTES else b""
        if len(body) != size:
            raise ValueError("it is cut short")
        array = np.frombuffer(body, dtype).reshape(shape)
    except (ValueError, EOFError, MemoryError, OverflowError, SyntaxError, TypeError) as error:
        raise Malformed(what, "an array in .npy form", error) from error
    if to_npy(array) != file.getvalue()[start : file.tell()]:
        raise Malformed(what, "an array in canonical .npy form", "another form")
    return array


def _read_quantiser(data: bytes, kind: str) -> Quantiser:
    file = io.BytesIO(data)
    found = KINDS[kind]
    arrays = [_read_npy(file, f"quantiser {field.name}") for field in dataclasses.fields(found)]
    if file.read(1):
        raise Malformed("quantiser", "its arrays and no more", "more bytes")
    made: Quantiser = found(*arrays)
    made.check()
    return made


def _read_samples(data: bytes) -> Array:
    file = io.BytesIO(data)
    array = _read_npy(file, "samples")
    if file.read(1):
        raise Malformed("samples", "one array and no more", "more bytes")
    if array.dtype != np.float32 or array.ndim < 2 or not 1 <= len(array) <= MAX_SAMPLES:
        raise Malformed(
            "samples", f"float32, 1 to {MAX_SAMPLES} rows", f"{array.dtype}{array.shape}"
        )
    if not np.isfinite(array).all():
        raise Malformed("samples", "finite numbers", "others")
    return array
