"""The Statement: what is claimed, and nothing about how it is shown.

A Statement names the model (or only its architecture, where weights are hidden), every input and
output with its visibility, the verifier's nonce, and *which function* was computed. Its digest
is what each backend binds its evidence to.

A private tensor carries no plain digest: low-entropy data (an age, a pixel mask) could be found
by trying. It carries a commitment that the evidence itself binds, or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from proofml.canonical import JSON, dumps, tagged_sha256
from proofml.fields import FieldError, Fields
from proofml.tensors import DTYPES, MAX_RANK, MAX_TENSOR_BYTES, nbytes

STATEMENT_TAG = "proofml/statement/v1"
MAX_TENSORS = 1024
MAX_NONCE_BYTES = 64


class Visibility(StrEnum):
    """Who learns a tensor from the proof file."""

    PUBLIC = "public"
    HASHED = "hashed"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class Commitment:
    """A binding digest of a tensor that is not shown; `scheme` says how to recompute it."""

    scheme: str
    value: str

    def to_json(self) -> dict[str, JSON]:
        return {"scheme": self.scheme, "value": self.value}

    @classmethod
    def read(cls, value: object, path: str) -> Commitment:
        fields = Fields(value, path)
        result = cls(
            fields.string("scheme", longest=64), fields.hexadecimal("value", longest=128).hex()
        )
        fields.done()
        return result


@dataclass(frozen=True, slots=True)
class TensorClaim:
    """One input or output: `sha256` is the digest of its canonical bytes where it is public."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    visibility: Visibility
    sha256: str | None = None
    commitment: Commitment | None = None

    def to_json(self) -> dict[str, JSON]:
        result: dict[str, JSON] = {
            "name": self.name,
            "dtype": self.dtype,
            "shape": self.shape,
            "visibility": self.visibility.value,
        }
        if self.sha256 is not None:
            result["sha256"] = self.sha256
        if self.commitment is not None:
            result["commitment"] = self.commitment.to_json()
        return result

    @classmethod
    def read(cls, value: object, path: str) -> TensorClaim:
        fields = Fields(value, path)
        name = fields.string("name", longest=512)
        dtype = fields.string("dtype", choices=tuple(DTYPES))
        shape = fields.items("shape", _dimension, most=MAX_RANK)
        visibility = Visibility(fields.string("visibility", choices=tuple(Visibility)))
        digest = fields.sha256("sha256") if "sha256" in fields else None
        commitment = (
            Commitment.read(fields.raw("commitment"), fields.at("commitment"))
            if "commitment" in fields
            else None
        )
        fields.done()
        if nbytes(dtype, shape) > MAX_TENSOR_BYTES:
            raise FieldError(f"{path}.shape", f"at most {MAX_TENSOR_BYTES} bytes", list(shape))
        if (visibility is Visibility.PUBLIC) != (digest is not None):
            raise FieldError(
                f"{path}.sha256", "a digest exactly where the tensor is public", visibility.value
            )
        if visibility is Visibility.PUBLIC and commitment is not None:
            raise FieldError(f"{path}.commitment", "none for a public tensor", "one")
        if visibility is Visibility.HASHED and commitment is None:
            raise FieldError(f"{path}.commitment", "one for a hashed tensor", "nothing")
        return cls(name, dtype, shape, visibility, digest, commitment)


@dataclass(frozen=True, slots=True)
class ModelClaim:
    """The model by digests, or (weights hidden) by its architecture alone.

    Exactly one of the two forms: `canonical_sha256` with `file_sha256`, or
    `architecture_sha256`.
    """

    canonical_sha256: str | None = None
    file_sha256: str | None = None
    architecture_sha256: str | None = None

    @property
    def weights_hidden(self) -> bool:
        return self.architecture_sha256 is not None

    def to_json(self) -> dict[str, JSON]:
        if self.architecture_sha256 is not None:
            return {"kind": "architecture", "architecture_sha256": self.architecture_sha256}
        return {
            "kind": "onnx",
            "canonical_sha256": self.canonical_sha256,
            "file_sha256": self.file_sha256,
        }

    @classmethod
    def read(cls, value: object, path: str) -> ModelClaim:
        fields = Fields(value, path)
        if fields.string("kind", choices=("onnx", "architecture")) == "onnx":
            result = cls(fields.sha256("canonical_sha256"), fields.sha256("file_sha256"))
        else:
            result = cls(architecture_sha256=fields.sha256("architecture_sha256"))
        fields.done()
        return result


@dataclass(frozen=True, slots=True)
class Computation:
    """Exactly which function was computed; `kind` names the owner of `detail`'s schema."""

    kind: str
    detail: Mapping[str, JSON]

    def to_json(self) -> dict[str, JSON]:
        return {"kind": self.kind, "detail": self.detail}

    @classmethod
    def read(cls, value: object, path: str) -> Computation:
        fields = Fields(value, path)
        kind = fields.string("kind", longest=64)
        detail = fields.raw("detail")
        if not isinstance(detail, Mapping):
            raise FieldError(f"{path}.detail", "a table of keys", detail)
        fields.done()
        return cls(kind, detail)


@dataclass(frozen=True)
class Statement:
    """The whole claim. Immutable; equal statements have equal digests."""

    model: ModelClaim
    inputs: tuple[TensorClaim, ...]
    outputs: tuple[TensorClaim, ...]
    computation: Computation
    nonce: bytes | None = None

    def to_json(self) -> dict[str, JSON]:
        return {
            "version": 1,
            "model": self.model.to_json(),
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "outputs": [tensor.to_json() for tensor in self.outputs],
            "nonce": None if self.nonce is None else self.nonce.hex(),
            "computation": self.computation.to_json(),
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the domain tag and the canonical JSON; 64 hexadecimal digits."""
        return tagged_sha256(STATEMENT_TAG, dumps(self.to_json()))

    def tensors(self) -> tuple[tuple[str, TensorClaim], ...]:
        """Every tensor with its role: `input.0`, `input.1`, ..., `output.0`, ..."""
        inputs = tuple((f"input.{i}", tensor) for i, tensor in enumerate(self.inputs))
        return inputs + tuple((f"output.{i}", tensor) for i, tensor in enumerate(self.outputs))

    @classmethod
    def read(cls, value: Any, path: str = "statement") -> Statement:
        """Strictly from its JSON form; raises `FieldError` for anything else."""
        fields = Fields(value, path)
        fields.integer("version", 1, 1)
        result = cls(
            model=ModelClaim.read(fields.raw("model"), fields.at("model")),
            inputs=fields.items("inputs", TensorClaim.read, most=MAX_TENSORS),
            outputs=fields.items("outputs", TensorClaim.read, most=MAX_TENSORS),
            computation=Computation.read(fields.raw("computation"), fields.at("computation")),
            nonce=None
            if fields.raw("nonce") is None
            else fields.hexadecimal("nonce", longest=MAX_NONCE_BYTES),
        )
        fields.done()
        if result.nonce == b"":
            raise FieldError(f"{path}.nonce", "null or at least one byte", "an empty one")
        for role, tensors in (("inputs", result.inputs), ("outputs", result.outputs)):
            names = [tensor.name for tensor in tensors]
            if len(set(names)) != len(names):
                raise FieldError(f"{path}.{role}", "names that differ", "a name twice")
        return result


def _dimension(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 2**40:
        raise FieldError(path, "a dimension from 0 to 2^40", value)
    return value
