"""Names, types and shapes of tensors whose canonical bytes travel beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proofml.canonical import JSON
from proofml.fields import FieldError, Fields
from proofml.statement import MAX_TENSORS
from proofml.tensors import DTYPES, MAX_RANK, Array, dtype_name, nbytes, npy_header

#: Of all inputs, or all outputs, of one inference.
MAX_TENSORS_BYTES: Final = 1 << 30
_MAX_DIMENSION: Final = 2**40


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """`size` is that of the canonical bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(npy_header(self.dtype, self.shape)) + nbytes(self.dtype, self.shape)

    def to_json(self) -> dict[str, JSON]:
        return {"name": self.name, "dtype": self.dtype, "shape": self.shape}

    @classmethod
    def read(cls, value: object, path: str) -> TensorSpec:
        fields = Fields(value, path)
        found = cls(
            fields.string("name", longest=512),
            fields.string("dtype", choices=tuple(DTYPES)),
            fields.items("shape", _dimension, most=MAX_RANK),
        )
        fields.done()
        return found


def specs_of(tensors: Mapping[str, Array]) -> tuple[TensorSpec, ...]:
    """Raises `ValueError` for an element type that has no canonical form."""
    found = []
    for name, array in tensors.items():
        dtype = dtype_name(array)
        if dtype is None:
            raise ValueError(f"{name}: {array.dtype} has no canonical form")
        found.append(TensorSpec(name, dtype, array.shape))
    return tuple(found)


def read_specs(fields: Fields, key: str) -> tuple[TensorSpec, ...]:
    """The list at `key`: names that differ, and no more than `MAX_TENSORS_BYTES` in all.

    Raises:
        FieldError: anything else.
    """
    specs = fields.items(key, TensorSpec.read, most=MAX_TENSORS)
    if len({spec.name for spec in specs}) != len(specs):
        raise FieldError(fields.at(key), "names that differ", "a name twice")
    size = sum(spec.size for spec in specs)
    if size > MAX_TENSORS_BYTES:
        raise FieldError(fields.at(key), f"at most {MAX_TENSORS_BYTES} bytes in all", size)
    return specs


def _dimension(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_DIMENSION:
        raise FieldError(path, f"a dimension from 0 to {_MAX_DIMENSION}", value)
    return value
