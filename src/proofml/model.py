"""The Model: a canonical ONNX graph with digests that two parties can agree on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from proofml.canonical import sha256
from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.graph.canonicalise import architecture, canonicalise, parse
from proofml.graph.tensor import DTYPE_OF, MAX_MODEL_BYTES, type_name
from proofml.statement import ModelClaim
from proofml.store import Store
from proofml.tensors import MAX_RANK, Array, dtype_name
from proofml.worker import Limits, WorkerFailed, run

CHECK_LIMITS = Limits(memory=6 << 30, seconds=120)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A declared input or output: `shape` has None where a dimension is free."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether a concrete shape fits the declared one."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            want is None or want == have for want, have in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype}[any shape]"
        return f"{self.dtype}[{', '.join('?' if d is None else str(d) for d in self.shape)}]"


@dataclass(frozen=True)
class Model:
    """Made by `Model.load`; immutable.

    Attributes:
        name: of the file, for messages; not part of any digest.
        canonical: canonical bytes; `digest` is their SHA-256.
        file_digest: SHA-256 of the file as it was given.
        inputs, outputs: declared tensors, in graph order.
        shapes: inferred `name -> (DataType, dims)` of intermediate values, where known.
    """

    name: str
    canonical: bytes = field(repr=False)
    file_digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    shapes: Mapping[str, tuple[int, tuple[int | None, ...] | None]] = field(repr=False)

    @classmethod
    def load(cls, source: Path | str | bytes, *, store: Store | None = None) -> Model:
        """Read, check and canonicalise an ONNX file (opset 11 and later, external data too).

        The native checker and shape inference run in a worker with bounded memory and time.

        Args:
            source: a path, or the file's bytes (then without external data).
            store: where scratch files go; the default cache if None.

        Raises:
            UsageError: the file cannot be read.
            UnsupportedModel: it is not ONNX, broken, hostile, or outside the bounds.
        """
        name, data, folder = _read(source)
        proto = canonicalise(parse(data, name), name, folder)
        try:
            canonical = proto.SerializeToString(deterministic=True)
        except Exception as error:
            raise UnsupportedModel(f"{name}: over {MAX_MODEL_BYTES} bytes with its data") from error
        if not proto.graph.output:
            raise UnsupportedModel(f"{name}: the graph has no output")
        shapes = _check(canonical, name, store or Store.default())
        return cls(
            name=name,
            canonical=canonical,
            file_digest=sha256(data),
            inputs=tuple(_spec(value, name, "input") for value in proto.graph.input),
            outputs=tuple(_spec(value, name, "output") for value in proto.graph.output),
            shapes=shapes,
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        return sha256(self.canonical)

    @cached_property
    def architecture_digest(self) -> str:
        """SHA-256 of the canonical bytes without the data of floating-point constants."""
        return sha256(architecture(self.proto).SerializeToString(deterministic=True))

    @property
    def proto(self) -> onnx.ModelProto:
        """A fresh copy of the canonical graph."""
        return onnx.ModelProto.FromString(self.canonical)

    @property
    def claim(self) -> ModelClaim:
        """The Statement's entry for a public model."""
        return ModelClaim(canonical_sha256=self.digest, file_sha256=self.file_digest)

    @property
    def architecture_claim(self) -> ModelClaim:
        """The Statement's entry where the weights are hidden."""
        return ModelClaim(architecture_sha256=self.architecture_digest)

    @cached_property
    def operators(self) -> Counter[str]:
        """Operator -> number of nodes, sub-graphs and functions included."""
        counts: Counter[str] = Counter()
        proto = self.proto
        pending = [list(proto.graph.node), *(list(f.node) for f in proto.functions)]
        while pending:
            for node in pending.pop():
                counts[f"{node.domain}:{node.op_type}" if node.domain else node.op_type] += 1
                for attribute in node.attribute:
                    if attribute.HasField("g"):
                        pending.append(list(attribute.g.node))
                    pending.extend(list(graph.node) for graph in attribute.graphs)
        return counts

    @cached_property
    def parameters(self) -> int:
        """Number of elements in floating-point and quantised initialisers of rank 1 and more."""
        return sum(math.prod(tensor.dims) for tensor in self.proto.graph.initializer if tensor.dims)

    def check_inputs(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs in graph order, checked against names, dtypes and shapes.

        Raises:
            UsageError: naming the input, what was expected and what came.
        """
        wanted = {spec.name: spec for spec in self.inputs}
        if set(inputs) != set(wanted):
            raise UsageError(
                f"{self.name}: expected the inputs {', '.join(wanted) or 'none'}; "
                f"got {', '.join(inputs) or 'none'}"
            )
        result: dict[str, Array] = {}
        for name, spec in wanted.items():
            array = np.ascontiguousarray(inputs[name]).reshape(np.shape(inputs[name]))
            if dtype_name(array) != spec.dtype or not spec.admits(array.shape):
                raise UsageError(
                    f"{self.name}: input {name!r}: expected {spec}, "
                    f"got {array.dtype}{list(array.shape)}"
                )
            result[name] = array
        return result


def _read(source: Path | str | bytes) -> tuple[str, bytes, Path | None]:
    if isinstance(source, bytes):
        return "model", source, None
    path = Path(source)
    try:
        if not path.is_file():
            raise UsageError(f"{path}: no such file; expected an ONNX model")
        with path.open("rb") as file:
            data = file.read(MAX_MODEL_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_MODEL_BYTES:
        raise UnsupportedModel(
            f"{path}: larger than {MAX_MODEL_BYTES} bytes; ONNX keeps larger weights in external data"
        )
    return path.name, data, path.parent


def _check(canonical: bytes, name: str, store: Store) -> dict[str, Any]:
    with store.scratch() as folder:
        (folder / "model.onnx").write_bytes(canonical)
        try:
            result = run(
                "proofml.graph.stages:check",
                {"name": name},
                folder,
                stage="check model",
                limits=CHECK_LIMITS,
            )
        except WorkerFailed as error:
            if error.kind == "disk":
                raise BackendFailed(str(error), stage="check model") from error
            raise UnsupportedModel(f"{name}: onnx's checker gave up on it: {error}") from error
    return {
        key: (value[0], None if value[1] is None else tuple(value[1]))
        for key, value in result["shapes"].items()
    }


def _spec(value: onnx.ValueInfoProto, name: str, role: str) -> TensorSpec:
    kind = value.type.WhichOneof("value")
    tensor = value.type.tensor_type
    dtype = DTYPE_OF.get(tensor.elem_type)
    if kind != "tensor_type" or dtype is None:
        got = kind if kind != "tensor_type" else type_name(tensor.elem_type)
        raise UnsupportedModel(
            f"{name}: {role} {value.name!r} is {got}; expected a tensor of numbers or booleans"
        )
    if not tensor.HasField("shape"):
        return TensorSpec(value.name, dtype, None)
    if len(tensor.shape.dim) > MAX_RANK:
        raise UnsupportedModel(f"{name}: {role} {value.name!r} has rank over {MAX_RANK}")
    dims = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return TensorSpec(value.name, dtype, dims)
