"""Declared inputs and outputs: only tensors of numbers, as a Statement can carry them."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ValueInfoProto

from proofml.errors import UnsupportedModel
from proofml.graph.names import shown
from proofml.graph.tensor import DTYPE_OF, type_name
from proofml.statement import MAX_TENSORS
from proofml.tensors import MAX_RANK

MAX_NAME = 512


def interface(
    values: Sequence[ValueInfoProto], name: str, role: str
) -> list[tuple[str, str, list[int | None]]]:
    """Name, dtype and dims (None where free) of canonical inputs or outputs.

    Raises:
        UnsupportedModel: no shape; sequences, strings and other types without an exact `.npy` form;
            more, longer or deeper than a Statement takes.
    """
    if len(values) > MAX_TENSORS:
        raise UnsupportedModel(f"{name}: {len(values)} {role}s; at most {MAX_TENSORS}")
    return [_entry(value, f"{name}: {role} {shown(value.name)}") for value in values]


def _entry(value: ValueInfoProto, where: str) -> tuple[str, str, list[int | None]]:
    if len(value.name) > MAX_NAME:
        raise UnsupportedModel(f"{where}: its name is longer than {MAX_NAME} characters")
    kind = value.type.WhichOneof("value")
    tensor = value.type.tensor_type
    dtype = DTYPE_OF.get(tensor.elem_type)
    if kind != "tensor_type" or dtype is None:
        got = type_name(tensor.elem_type) if kind == "tensor_type" else kind or "of no type"
        raise UnsupportedModel(f"{where} is {got}; expected a tensor of numbers or booleans")
    if not tensor.HasField("shape"):
        raise UnsupportedModel(
            f"{where} declares no shape; expected one, with open dimensions where they vary"
        )
    if len(tensor.shape.dim) > MAX_RANK:
        raise UnsupportedModel(f"{where} has rank {len(tensor.shape.dim)}; at most {MAX_RANK}")
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    return value.name, dtype, dims
