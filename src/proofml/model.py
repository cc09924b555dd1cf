"""The Model: a canonical ONNX graph with digests that two parties can agree on."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proofml.canonical import sha256, tagged_sha256
from proofml.errors import BackendFailed, UnsupportedModel, UsageError, printable
from proofml.graph import kept
from proofml.graph.external import MAX_MODEL_BYTES
from proofml.statement import ModelClaim
from proofml.store import Store
from proofml.tensors import DTYPES, MAX_RANK, MAX_TENSOR_BYTES, Array, dtype_name
from proofml.worker import Limits

# `onnx` is imported where a graph is looked at: proving and verifying again need none of it.
if TYPE_CHECKING:
    import onnx

    from proofml.graph.cost import Shapes

#: Three copies of the largest model, and time to read it.
CHECK_LIMITS = Limits(memory=8 << 30, seconds=120)
#: An architecture can be no model: their digests lie in different domains.
ARCHITECTURE_TAG = "proofml/architecture/v1"


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
        shapes: inferred types and dims of the main graph's values, where known.
        note: why shape inference gave up; empty where it did not.
        store: the cache that it was loaded with, where more that is found of it may be kept.
    """

    name: str
    canonical: bytes = field(repr=False)
    file_digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    shapes: Shapes = field(repr=False)
    note: str = field(default="", repr=False)
    store: Store | None = field(default=None, repr=False, compare=False)

    @classmethod
    def load(cls, source: Path | str | bytes, *, store: Store | None = None) -> Model:
        """Read, check and canonicalise an ONNX file (opset 11 and later, external data too).

        Parsing, onnx's checker and shape inference run in a worker with bounded memory and time;
        what they find is kept in the cache by the file's digest (`graph.kept`).

        Args:
            source: a path, or the file's bytes (then without external data).
            store: the cache, and where scratch files go; the default one if None.

        Raises:
            UsageError: the file cannot be read.
            UnsupportedModel: it is not ONNX, broken, hostile, or outside the bounds.
        """
        store = store or Store.default()
        origin = source if isinstance(source, bytes) else _path(source)
        name = "model" if isinstance(origin, bytes) else origin.name
        digest = kept.file_digest(origin)
        found = None if digest is None else kept.find(store, digest)
        if found is None:
            with store.scratch() as scratch:
                args = {"name": name, **_source(origin, scratch)}
                found = kept.keep(store, scratch, _work("load", args, name, scratch), name)
        model = cls(
            name=name,
            canonical=found.canonical,
            file_digest=found.file_digest,
            inputs=tuple(TensorSpec(*entry) for entry in found.inputs),
            outputs=tuple(TensorSpec(*entry) for entry in found.outputs),
            shapes=found.shapes,
            note=found.note,
            store=store,
        )
        # Counted by the worker: a cached property looks here first, a copy with other bytes counts.
        vars(model)["operators"] = Counter(found.operators)
        return model

    def infer(
        self, shapes: Mapping[str, tuple[int, ...]], *, store: Store | None = None
    ) -> tuple[Shapes, str]:
        """Shapes of all values with these inputs' dims fixed, and why inference gave up, if so.

        Raises:
            UsageError: an unknown input, or dims that it does not admit.
            UnsupportedModel: onnx's shape inference ran out of memory or time.
        """
        wanted = {spec.name: spec for spec in self.inputs}
        for key, dims in shapes.items():
            if key not in wanted:
                raise UsageError(
                    f"{self.name}: no input {key!r}; expected {', '.join(wanted) or 'none'}"
                )
            if not wanted[key].admits(dims) or any(dim < 0 for dim in dims):
                raise UsageError(
                    f"{self.name}: input {key!r}: expected {wanted[key]}, got {list(dims)}"
                )
        with (store or Store.default()).scratch() as scratch:
            _put(scratch / "canonical.onnx", self.canonical)
            args = {"name": self.name, "shapes": {key: list(d) for key, d in shapes.items()}}
            result = _work("infer", args, self.name, scratch)
            return kept.read_shapes(json.loads((scratch / "shapes.json").read_bytes())), result[
                "note"
            ]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        return sha256(self.canonical)

    @cached_property
    def architecture_digest(self) -> str:
        """Digest of the canonical bytes without the data of learnt constants, in its own domain."""
        from proofml.graph.walk import strip_learnt

        proto = self.proto
        strip_learnt(proto)
        return tagged_sha256(ARCHITECTURE_TAG, proto.SerializeToString(deterministic=True))

    @property
    def proto(self) -> onnx.ModelProto:
        """A fresh copy of the canonical graph."""
        import onnx

        proto: onnx.ModelProto = onnx.ModelProto.FromString(self.canonical)
        return proto

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
        from proofml.graph.walk import count_operators

        return count_operators(self.proto)

    @cached_property
    def parameters(self) -> int:
        """Number of learnt constants, wherever the graph keeps them.

        Elements of floating-point and quantised tensors of rank 1 and more, and of the lists of
        ai.onnx.ml's operators. An int32 bias looks like an index and is not counted.
        """
        from proofml.graph.walk import count_parameters

        return count_parameters(self.proto)

    def check_inputs(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs in graph order, checked against names, dtypes and shapes.

        Raises:
            UsageError: naming the input, what was expected and what came.
        """
        wanted = {spec.name: spec for spec in self.inputs}
        if not isinstance(inputs, Mapping) or set(inputs) != set(wanted):
            got = ", ".join(map(str, inputs)) if isinstance(inputs, Mapping) else type(inputs)
            raise UsageError(
                f"{self.name}: expected a mapping of the inputs {', '.join(wanted) or 'none'} to "
                f"arrays; got {got or 'none'}"
            )
        result: dict[str, Array] = {}
        for name, spec in wanted.items():
            try:
                array = np.asarray(inputs[name])
            except ValueError as error:
                raise UsageError(f"{self.name}: input {name!r} is no array: {error}") from error
            if dtype_name(array) != spec.dtype or not spec.admits(array.shape):
                raise UsageError(
                    f"{self.name}: input {name!r}: expected {spec}, "
                    f"got {array.dtype}{list(array.shape)}"
                )
            if array.nbytes > MAX_TENSOR_BYTES or array.ndim > MAX_RANK:
                raise UsageError(
                    f"{self.name}: input {name!r}: expected at most {MAX_TENSOR_BYTES} bytes and "
                    f"rank {MAX_RANK}, got {array.nbytes} and {array.ndim}"
                )
            result[name] = np.asarray(array, dtype=DTYPES[spec.dtype], order="C")
        return result


def _path(source: Path | str) -> Path:
    """The file, by its absolute name."""
    path = Path(source)
    try:
        if not path.is_file():
            raise UsageError(f"{path}: no such file; expected an ONNX model")
        # Links are not resolved: external data lies beside the name that was given.
        return Path(os.path.abspath(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be read: {reason}") from error


def _source(source: Path | bytes, scratch: Path) -> dict[str, str | None]:
    """Path of the file, and the folder of its external data, as the stage `load` takes them."""
    if isinstance(source, bytes):
        path = scratch / "source.onnx"
        _put(path, source)
        return {"source": str(path), "folder": None}
    return {"source": str(source), "folder": str(source.parent)}


def _put(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise BackendFailed(f"cache {path.parent}: {error.strerror}; free some room") from error


def _work(stage: str, args: Mapping[str, Any], name: str, folder: Path) -> Any:
    from proofml.worker import WorkerFailed, run

    title = f"{stage} model"
    try:
        return run(
            f"proofml.graph.stages:{stage}",
            args,
            folder,
            stage=title,
            limits=CHECK_LIMITS,
            file_bytes=MAX_MODEL_BYTES,
        )
    except WorkerFailed as error:
        reason = {
            "memory": f"takes more than {CHECK_LIMITS.memory} bytes of memory",
            "timeout": f"takes longer than {CHECK_LIMITS.seconds} s",
        }.get(error.kind)
        # Where no stage of ours had begun, it is not the model's fault.
        if reason is None and (error.kind == "disk" or error.stage == title):
            raise BackendFailed(str(error), stage=title) from error
        raise UnsupportedModel(
            f"{name}: reading it {reason or f'failed: {printable(error)}'}"
        ) from error
