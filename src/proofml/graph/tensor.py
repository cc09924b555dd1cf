"""ONNX tensors: bounded reading of every storage form into raw little-endian bytes.

A TensorProto can hold its data in `raw_data`, in one of six typed fields, or in an external
file. The canonical form is always `raw_data` (or `string_data`), so that the way in which a
producer stored a weight does not change the model's digest.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from proofml.errors import UnsupportedModel

#: Bits an element, by `TensorProto.DataType`; numbers beyond onnx 1.16 are written out.
BITS: dict[int, int] = {
    TensorProto.FLOAT: 32,
    TensorProto.UINT8: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT16: 16,
    TensorProto.INT16: 16,
    TensorProto.INT32: 32,
    TensorProto.INT64: 64,
    TensorProto.BOOL: 8,
    TensorProto.FLOAT16: 16,
    TensorProto.DOUBLE: 64,
    TensorProto.UINT32: 32,
    TensorProto.UINT64: 64,
    TensorProto.COMPLEX64: 64,
    TensorProto.COMPLEX128: 128,
    TensorProto.BFLOAT16: 16,
    TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.FLOAT8E4M3FNUZ: 8,
    TensorProto.FLOAT8E5M2: 8,
    TensorProto.FLOAT8E5M2FNUZ: 8,
    TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
    23: 4,  # FLOAT4E2M1
    24: 8,  # FLOAT8E8M0
    25: 2,  # UINT2
    26: 2,  # INT2
}
FLOATING = frozenset({1, 10, 11, 16, 17, 18, 19, 20, 23, 24})

#: DataType -> name in Statements, for types that have an exact `.npy` form.
DTYPE_OF: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.UINT8: "uint8",
    TensorProto.INT8: "int8",
    TensorProto.UINT16: "uint16",
    TensorProto.INT16: "int16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.BOOL: "bool",
    TensorProto.FLOAT16: "float16",
    TensorProto.DOUBLE: "float64",
    TensorProto.UINT32: "uint32",
    TensorProto.UINT64: "uint64",
}

MAX_MODEL_BYTES = (1 << 31) - 1  # the limit of a protobuf message
_WIDE = {
    TensorProto.FLOAT: ("float_data", "<f4"),
    TensorProto.COMPLEX64: ("float_data", "<f4"),
    TensorProto.INT64: ("int64_data", "<i8"),
    TensorProto.DOUBLE: ("double_data", "<f8"),
    TensorProto.COMPLEX128: ("double_data", "<f8"),
    TensorProto.UINT32: ("uint64_data", "<u4"),
    TensorProto.UINT64: ("uint64_data", "<u8"),
}


def type_name(data_type: int) -> str:
    try:
        return str(TensorProto.DataType.Name(data_type))
    except ValueError:
        return f"type {data_type}"


def expected_bytes(tensor: TensorProto, where: str) -> int:
    """Bytes that the tensor's dims and type demand; bounded before anything is allocated."""
    bits = BITS.get(tensor.data_type)
    if bits is None:
        raise UnsupportedModel(f"{where}: unknown element type {tensor.data_type}")
    if any(dim < 0 for dim in tensor.dims) or len(tensor.dims) > 64:
        raise UnsupportedModel(f"{where}: impossible dims {list(tensor.dims)[:8]}")
    size = (math.prod(tensor.dims) * bits + 7) // 8
    if size > MAX_MODEL_BYTES:
        raise UnsupportedModel(
            f"{where}: dims {list(tensor.dims)[:8]} claim {size} bytes, at most {MAX_MODEL_BYTES}"
        )
    return size


def raw_bytes(tensor: TensorProto, where: str, folder: Path | None) -> bytes:
    """The tensor's data as raw little-endian bytes, exactly as long as dims and type demand.

    Raises:
        UnsupportedModel: data missing, too short or too long, or external data out of bounds.
    """
    size = expected_bytes(tensor, where)
    if tensor.data_location == TensorProto.EXTERNAL:
        data = _external(tensor, where, folder, size)
    elif tensor.HasField("raw_data"):
        data = tensor.raw_data
    elif tensor.data_type in _WIDE:
        field, dtype = _WIDE[tensor.data_type]
        data = np.asarray(getattr(tensor, field)).astype(dtype).tobytes()
    else:
        narrow = np.asarray(tensor.int32_data, dtype="<i4")
        width = max(1, BITS[tensor.data_type] // 8)
        data = narrow.astype(f"<i{width}").tobytes()
    if len(data) != size:
        raise UnsupportedModel(
            f"{where}: {type_name(tensor.data_type)}{list(tensor.dims)} needs {size} bytes of "
            f"data, the file holds {len(data)}"
        )
    return data


def _external(tensor: TensorProto, where: str, folder: Path | None, size: int) -> bytes:
    """External data of one tensor: a plain file inside the model's own folder, or an error."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise UnsupportedModel(
            f"{where}: its data is in the file {location!r}; load the model from its path"
        )
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", str(size)))
    except ValueError as error:
        raise UnsupportedModel(f"{where}: external data: {error}") from error
    root = folder.resolve()
    try:
        path = (root / location).resolve()
        inside = path.is_relative_to(root) and path.is_file()
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not location or not inside:
        raise UnsupportedModel(
            f"{where}: external data {location!r} is not a file inside the model's folder; a "
            "model may read only from beside itself"
        )
    if offset < 0 or length != size:
        raise UnsupportedModel(
            f"{where}: external data: expected {size} bytes, the entry says {length} at {offset}"
        )
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except (OSError, OverflowError) as error:
        raise UnsupportedModel(f"{where}: external data {location!r}: {error}") from error


def canonical_tensor(tensor: TensorProto, where: str, folder: Path | None) -> TensorProto:
    """The same tensor with nothing but name, dims, type and raw data."""
    result = onnx.TensorProto()
    result.dims.extend(tensor.dims)
    result.data_type = tensor.data_type
    if tensor.HasField("name"):
        result.name = tensor.name
    if tensor.HasField("segment"):
        raise UnsupportedModel(f"{where}: a segmented tensor is not supported")
    if tensor.data_type == TensorProto.STRING:
        if len(tensor.string_data) != math.prod(tensor.dims):
            raise UnsupportedModel(f"{where}: {len(tensor.string_data)} strings do not fill dims")
        result.string_data.extend(tensor.string_data)
    else:
        result.raw_data = raw_bytes(tensor, where, folder)
    return result
