"""A claimed run of a float model: what it made, operator by operator, and the root over it.

    leaf   u32 operator || u16 operands || digest each || u16 outputs || digest each
    root   of the tree over the leaves of all operators, in order

Digests are those of `digests`, big-endian integers. An operand's digest must be that of its
producer's output: the wiring is part of the claim, and whoever points at an operator checks it.

A published trace is a folder: `trace.json` (canonical JSON) with types, digests and the root, and
each tensor's raw bytes in `i<input>.bin` or `o<operator>.<port>.bin`.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proofml.canonical import JSON, CanonicalError, dumps, loads
from proofml.errors import UsageError, VerificationError
from proofml.fields import FieldError, Fields
from proofml.optimistic.floating.digests import CODES, bind, chunk_roots, raw, tensor_digests
from proofml.optimistic.floating.plan import Plan, Ref
from proofml.optimistic.floating.settings import Settings
from proofml.optimistic.merkle import Tree, tree_of_leaves
from proofml.optimistic.program import Source
from proofml.optimistic.wire import Reader, unsigned
from proofml.tensors import DTYPES, MAX_RANK, MAX_TENSOR_BYTES, Array, nbytes
from proofml.worker import Limits, Progress, silent

if TYPE_CHECKING:
    from proofml.optimistic.floating.expose import Piece

VERSION = 1
RECORD = "trace.json"
_MAX_RECORD_BYTES = 1 << 28
_MAX_OPERATORS = 200_000
_MAX_PORTS = 1 << 16
_MAX_LEAF_BYTES = 4 + 2 * (2 + 32 * _MAX_PORTS)
#: Operators that copy their first operand's bytes: their output needs no second hashing.
_COPIES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})


@dataclass(frozen=True, slots=True)
class Tensor:
    """A claimed tensor: element type by NumPy's name, dims, digest."""

    dtype: str
    shape: tuple[int, ...]
    digest: bytes

    def to_json(self) -> dict[str, JSON]:
        return {"dtype": self.dtype, "shape": self.shape, "digest": self.digest.hex()}


@dataclass(frozen=True, slots=True)
class Leaf:
    """What the trace root says of one operator."""

    index: int
    inputs: tuple[bytes, ...]
    outputs: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        parts = [unsigned(self.index, 4, "operator")]
        for digests in (self.inputs, self.outputs):
            parts += [unsigned(len(digests), 2, "digests"), *digests]
        return b"".join(parts)

    @classmethod
    def read(cls, data: bytes) -> Leaf:
        """The leaf of these bytes.

        Raises:
            WireError: they are none.
        """
        reader = Reader(data, "leaf of a float trace", _MAX_LEAF_BYTES)
        index = reader.unsigned(4, "operator")
        inputs = reader.hashes(reader.unsigned(2, "operands"), "operands")
        outputs = reader.hashes(reader.unsigned(2, "outputs"), "outputs")
        reader.done()
        return cls(index, inputs, outputs)


@dataclass(frozen=True, eq=False)
class FloatTrace:
    """A claimed run of a plan.

    Attributes:
        plan: the model, as whoever reads the trace prepared it himself.
        inputs: claimed inputs, in the plan's order.
        outputs: of each operator, by port.
        leaves: one for each operator, as claimed: nothing here is checked but its form.
        folder: where the tensors are published; None where they are in memory.
        arrays: tensors in memory.
    """

    plan: Plan
    inputs: tuple[Tensor, ...]
    outputs: tuple[tuple[Tensor, ...], ...]
    leaves: tuple[Leaf, ...]
    folder: Path | None = None
    arrays: Mapping[Ref, Array] = field(default_factory=dict, repr=False)

    @cached_property
    def tree(self) -> Tree:
        return tree_of_leaves([leaf.to_bytes() for leaf in self.leaves])

    @property
    def root(self) -> bytes:
        """What the claim says of the whole run."""
        return self.tree.root

    def tensor(self, ref: Ref) -> Tensor:
        """What is claimed of an input or of an operator's output."""
        if ref.source is Source.INPUT:
            return self.inputs[ref.index]
        if ref.source is Source.OPERATOR:
            return self.outputs[ref.index][ref.port]
        weight = self.plan.weights[ref.index]
        return Tensor(weight.dtype.name, weight.shape, self.plan.weight_digests[ref.index])

    def array(self, ref: Ref) -> Array:
        """The published data, read-only; a weight is the reader's own.

        Raises:
            VerificationError: it is not there, or not of the claimed size or digest.
        """
        if ref.source is Source.WEIGHT:
            return self.plan.weights[ref.index]
        if ref in self.arrays:
            return self.arrays[ref]
        claimed = self.tensor(ref)
        name = file_name(ref)
        if self.folder is None:
            raise VerificationError("float.1", f"{name}: the claimant has not published it")
        array = _read_file(self.folder / name, claimed)
        (digest,) = tensor_digests([array])
        if digest != claimed.digest:
            raise VerificationError(
                "float.2", f"{name}: not the committed bytes", expected=claimed.digest.hex(),
                got=digest.hex(),
            )  # fmt: skip
        return array

    def results(self) -> tuple[Array, ...]:
        """The model's outputs."""
        return tuple(self.array(ref) for ref in self.plan.ports)

    def to_json(self) -> dict[str, JSON]:
        return {
            "version": VERSION,
            "program": self.plan.root.hex(),
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "operators": [
                {
                    "inputs": [digest.hex() for digest in leaf.inputs],
                    "outputs": [tensor.to_json() for tensor in outputs],
                }
                for leaf, outputs in zip(self.leaves, self.outputs, strict=True)
            ],
            "root": self.root.hex(),
        }


def _read_file(path: Path, claimed: Tensor) -> Array:
    size = nbytes(claimed.dtype, claimed.shape)
    try:
        found = regular(path).stat().st_size
        if found != size:
            raise VerificationError(
                "float.1", f"{path.name}: not of the claimed size", expected=size, got=found
            )
        # Read once: what is hashed is what is used, whatever somebody writes there meanwhile.
        data = np.fromfile(path, np.uint8, size)
        if data.size != size:
            raise VerificationError(
                "float.1", f"{path.name}: not of the claimed size", expected=size, got=data.size
            )
        found_array = data.view(DTYPES[claimed.dtype]).reshape(claimed.shape)
        found_array.flags.writeable = False
        return found_array
    except OSError as error:
        raise VerificationError(
            "float.1", f"{path.name}: the claimant has not published it: {error.strerror}"
        ) from error


def regular(path: Path) -> Path:
    """The path, if it is a file: opening a pipe, which somebody may have put there, waits for ever.

    Raises:
        OSError: it is none.
    """
    if not path.is_file():
        raise OSError(errno.ENOENT, "No such file")
    return path


def file_name(ref: Ref) -> str:
    """Where a published tensor lies."""
    if ref.source is Source.INPUT:
        return f"i{ref.index}.bin"
    return f"o{ref.index}.{ref.port}.bin"


def trace_of_arrays(plan: Plan, inputs: Sequence[Array], made: Mapping[Ref, Array]) -> FloatTrace:
    """A trace in memory, honest in its digests and wiring; `made` has every operator's outputs."""
    arrays = {Ref(Source.INPUT, index): array for index, array in enumerate(inputs)}
    arrays.update(made)
    digests = dict(zip(arrays, tensor_digests(list(arrays.values())), strict=True))
    tensors = {
        ref: Tensor(array.dtype.name, array.shape, digests[ref]) for ref, array in arrays.items()
    }
    return _wired(plan, tensors, None, arrays)


def _wired(
    plan: Plan, tensors: Mapping[Ref, Tensor], folder: Path | None, arrays: Mapping[Ref, Array]
) -> FloatTrace:
    inputs = tuple(tensors[Ref(Source.INPUT, index)] for index in range(len(plan.inputs)))
    outputs, leaves = [], []
    for operator in plan.operators:
        made = tuple(
            tensors[Ref(Source.OPERATOR, operator.index, port)]
            for port in range(len(operator.outputs))
        )
        read = tuple(
            plan.weight_digests[ref.index] if ref.source is Source.WEIGHT else tensors[ref].digest
            for ref in operator.inputs
        )
        outputs.append(made)
        leaves.append(Leaf(operator.index, read, tuple(tensor.digest for tensor in made)))
    return FloatTrace(plan, inputs, tuple(outputs), tuple(leaves), folder, arrays)


class Recorder:
    """Commits to a run as it goes, and publishes it where there is a folder."""

    def __init__(self, plan: Plan, folder: Path | None) -> None:
        self._plan = plan
        self._folder = folder
        self._tensors: dict[Ref, Tensor] = {}
        self._roots: dict[Ref, bytes] = {}

    def inputs(self, arrays: Sequence[Array]) -> None:
        refs = [Ref(Source.INPUT, index) for index in range(len(arrays))]
        self._add(refs, arrays, {})

    def piece(self, piece: Piece, arrays: Sequence[Array]) -> None:
        """What a piece made; hashed, and written if it is to be published."""
        copies = {}
        for operator in self._plan.operators[piece.first : piece.last]:
            source = operator.inputs[0] if operator.inputs else None
            if operator.op in _COPIES and source is not None:
                copies[Ref(Source.OPERATOR, operator.index)] = source
        self._add(piece.makes, arrays, copies)

    def _add(self, refs: Sequence[Ref], arrays: Sequence[Array], copies: Mapping[Ref, Ref]) -> None:
        fresh = [i for i, ref in enumerate(refs) if ref not in copies]
        roots = chunk_roots([arrays[i] for i in fresh])
        self._roots.update({refs[i]: root for i, root in zip(fresh, roots, strict=True)})
        for ref, array in zip(refs, arrays, strict=True):
            if ref in copies:
                self._roots[ref] = self._root(copies[ref])
            name = array.dtype.newbyteorder("=").name
            self._tensors[ref] = Tensor(
                name, array.shape, bind(name, array.shape, self._roots[ref])
            )
            if self._folder is not None:
                raw(array).tofile(self._folder / file_name(ref))

    def _root(self, ref: Ref) -> bytes:
        if ref.source is Source.WEIGHT:
            return chunk_roots([self._plan.weights[ref.index]])[0]
        return self._roots[ref]

    def finish(self) -> FloatTrace:
        """The trace; its `trace.json` is written last."""
        trace = _wired(self._plan, self._tensors, self._folder, {})
        if self._folder is not None:
            (self._folder / RECORD).write_bytes(dumps(trace.to_json()))
        return trace


def run_trace(
    plan: Plan,
    inputs: Mapping[str, Array],
    folder: Path,
    *,
    settings: Settings | None = None,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> FloatTrace:
    """Run a plan in a worker and publish its trace in `folder`, which exists and is empty.

    Args:
        inputs: by name, of the plan's types (`Model.check_inputs` and the shapes of the plan).

    Raises:
        UsageError: inputs of other names, types or dims than the plan's.
        UnsupportedModel, BackendUnavailable, WorkerFailed: as `plan_of`.
    """
    from proofml.optimistic.floating.work import in_worker

    arrays = []
    for name, kind in zip(plan.inputs, plan.input_types, strict=True):
        array = np.asarray(inputs.get(name))
        if array.dtype.name != kind.dtype or array.shape != kind.shape:
            raise UsageError(
                f"input {name!r}: expected {kind.dtype}{list(kind.shape or ())}, "
                f"got {array.dtype}{list(array.shape)}"
            )
        arrays.append(np.ascontiguousarray(array))
    plan.write(folder)
    for index, array in enumerate(arrays):
        np.save(folder / f"in.{index}.npy", array)
    args = {"settings": (settings or Settings()).to_json()}
    in_worker("execute", args, folder, limits=limits, progress=progress)
    return read_trace(plan, folder)


def read_trace(plan: Plan, folder: Path) -> FloatTrace:
    """A published trace, by whoever prepared `plan` himself. Its form alone is checked.

    Raises:
        VerificationError: float.0, it is no trace of this plan.
    """
    try:
        with regular(folder / RECORD).open("rb") as file:
            data = file.read(_MAX_RECORD_BYTES + 1)
        fields = Fields(loads(data, max_bytes=_MAX_RECORD_BYTES), RECORD)
        fields.integer("version", VERSION, VERSION)
        program = fields.sha256("program")
        inputs = fields.items("inputs", _tensor, most=_MAX_PORTS)
        operators = fields.items("operators", _operator, most=_MAX_OPERATORS)
        root = fields.sha256("root")
        fields.done()
    except OSError as error:
        raise VerificationError("float.0", f"{RECORD}: {error.strerror}") from error
    except (FieldError, CanonicalError) as error:
        raise VerificationError("float.0", str(error)) from error
    if program != plan.root.hex():
        raise VerificationError(
            "float.0", "a trace of another program", expected=plan.root.hex(), got=program
        )
    if len(inputs) != len(plan.inputs) or [len(outputs) for _, outputs in operators] != [
        len(operator.outputs) for operator in plan.operators
    ]:
        raise VerificationError("float.0", "not one tensor for each input and output")
    leaves = tuple(
        Leaf(index, digests, tuple(tensor.digest for tensor in outputs))
        for index, (digests, outputs) in enumerate(operators)
    )
    trace = FloatTrace(plan, inputs, tuple(outputs for _, outputs in operators), leaves, folder)
    if trace.root.hex() != root:
        raise VerificationError("float.0", "root", expected=trace.root.hex(), got=root)
    return trace


def _tensor(value: object, path: str) -> Tensor:
    fields = Fields(value, path)
    dtype = fields.string("dtype", choices=tuple(CODES))
    shape = fields.items("shape", _dim, most=MAX_RANK)
    digest = bytes.fromhex(fields.sha256("digest"))
    fields.done()
    if nbytes(dtype, shape) > MAX_TENSOR_BYTES:
        raise FieldError(path, f"a tensor of at most {MAX_TENSOR_BYTES} bytes", "more")
    return Tensor(dtype, shape, digest)


def _dim(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise FieldError(path, "a dimension from 0 to 2^32 - 1", value)
    return value


def _operator(value: object, path: str) -> tuple[tuple[bytes, ...], tuple[Tensor, ...]]:
    fields = Fields(value, path)
    digests = fields.items("inputs", _digest, most=_MAX_PORTS)
    outputs = fields.items("outputs", _tensor, most=_MAX_PORTS)
    fields.done()
    return digests, outputs


def _digest(value: object, path: str) -> bytes:
    return bytes.fromhex(Fields({"digest": value}, path).sha256("digest"))
