"""ONNX tensors: bounded reading of every storage form into raw little-endian bytes.

A TensorProto can hold its data in `raw_data`, in one of six typed fields, or in an external
file. The canonical form is always `raw_data` (or `string_data`), so that the way in which a
producer stored a weight does not change the model's digest. What runtimes read differently is
refused: two storages at once, typed values outside the element type, booleans other than 0 and 1.
"""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from proofml.errors import UnsupportedModel
from proofml.graph.external import MAX_MODEL_BYTES, Storage
from proofml.graph.names import text

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
#: Types in which models keep numbers that were learnt: floating point, and what it is quantised to.
FLOATING = frozenset({1, 10, 11, 16, 17, 18, 19, 20, 23, 24})
QUANTISED = frozenset({2, 3, 4, 5, 21, 22, 25, 26})

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

MAX_DIMS = 64
#: Element types whose typed field holds their own little-endian bytes, with the field's name.
_PACKED: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.COMPLEX64: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.COMPLEX128: "double_data",
}
#: Element types in an integer field: the field, the bytes stored for each entry, their range.
_INTEGER: dict[int, tuple[str, str]] = {
    TensorProto.INT64: ("int64_data", "<i8"),
    TensorProto.UINT64: ("uint64_data", "<u8"),
    TensorProto.UINT32: ("uint64_data", "<u4"),
    TensorProto.INT32: ("int32_data", "<i4"),
    TensorProto.INT16: ("int32_data", "<i2"),
    TensorProto.INT8: ("int32_data", "|i1"),
    TensorProto.UINT16: ("int32_data", "<u2"),
    TensorProto.FLOAT16: ("int32_data", "<u2"),
    TensorProto.BFLOAT16: ("int32_data", "<u2"),
}
_STORAGES = (
    "raw_data",
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "double_data",
    "uint64_data",
)


def type_name(data_type: int) -> str:
    try:
        return str(TensorProto.DataType.Name(data_type))
    except ValueError:
        return f"type {data_type}"


def elements(tensor: TensorProto, where: str) -> int:
    """Product of the dims, each of which must be a possible one."""
    if len(tensor.dims) > MAX_DIMS or any(dim < 0 for dim in tensor.dims):
        raise UnsupportedModel(f"{where}: impossible dims {list(tensor.dims)[:8]}")
    return math.prod(tensor.dims)


def expected_bytes(tensor: TensorProto, where: str) -> int:
    """Bytes that the tensor's dims and type demand; bounded before anything is allocated."""
    bits = BITS.get(tensor.data_type)
    if bits is None:
        raise UnsupportedModel(f"{where}: unknown element type {tensor.data_type}")
    size = (elements(tensor, where) * bits + 7) // 8
    if size > MAX_MODEL_BYTES:
        raise UnsupportedModel(
            f"{where}: dims {list(tensor.dims)[:8]} claim {size} bytes, at most {MAX_MODEL_BYTES}"
        )
    return size


def raw_bytes(tensor: TensorProto, where: str, storage: Storage) -> bytes:
    """The tensor's data as raw little-endian bytes, exactly as long as dims and type demand.

    Raises:
        UnsupportedModel: data missing, too short, too long or ambiguous, or external data out
            of bounds.
    """
    size = expected_bytes(tensor, where)
    storage.charge(size, where)
    used = [field for field in _STORAGES if len(getattr(tensor, field))]
    if tensor.data_location == TensorProto.EXTERNAL:
        if used:
            raise UnsupportedModel(f"{where}: data in {used[0]} and in an external file")
        data = storage.external(
            {text(e.key, where): text(e.value, where) for e in tensor.external_data}, size, where
        )
    elif not used:
        data = b""
    elif len(used) > 1:
        raise UnsupportedModel(f"{where}: data in {used[0]} and in {used[1]}")
    elif used[0] == "raw_data":
        data = tensor.raw_data
    else:
        data = _typed(tensor, used[0], where)
    if len(data) != size:
        raise UnsupportedModel(
            f"{where}: {type_name(tensor.data_type)}{list(tensor.dims)[:8]} needs {size} bytes "
            f"of data, the file holds {len(data)}"
        )
    if tensor.data_type == TensorProto.BOOL and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise UnsupportedModel(f"{where}: a boolean that is neither 0 nor 1")
    return _without_padding(data, math.prod(tensor.dims) * BITS[tensor.data_type] % 8)


def _typed(tensor: TensorProto, field: str, where: str) -> bytes:
    kind = type_name(tensor.data_type)
    # What is missing here (booleans, 8 bits and less) has one unsigned byte an entry.
    expected, dtype = _INTEGER.get(tensor.data_type, ("int32_data", "|u1"))
    expected = _PACKED.get(tensor.data_type, expected)
    if field != expected:
        raise UnsupportedModel(f"{where}: {kind} data in {field}; expected {expected}")
    if tensor.data_type in _PACKED:
        return _packed(tensor, field)
    values = np.asarray(getattr(tensor, field))
    limits = np.iinfo(np.dtype(dtype))
    if int(values.min()) < limits.min or int(values.max()) > limits.max:
        raise UnsupportedModel(f"{where}: {field} holds numbers outside {kind}")
    return values.astype(dtype).tobytes()


def _packed(tensor: TensorProto, field: str) -> bytes:
    """The bytes of a packed floating-point field, bit for bit.

    Through protobuf's own encoding, whose tail they are: Python's floats would turn a signalling
    NaN into a quiet one.
    """
    bare = TensorProto()
    bare.CopyFrom(tensor)
    bare.DiscardUnknownFields()
    for descriptor, _ in bare.ListFields():
        if descriptor.name != field:
            bare.ClearField(descriptor.name)
    width = 4 if field == "float_data" else 8
    data: bytes = bare.SerializeToString()
    return data[-width * len(getattr(tensor, field)) :]


def _without_padding(data: bytes, bits: int) -> bytes:
    """Zero the bits behind the last element (`bits` of the last byte are its own; 0: all)."""
    if not bits or data[-1] < 1 << bits:
        return data
    return data[:-1] + bytes([data[-1] & ((1 << bits) - 1)])


def canonical_tensor(
    tensor: TensorProto, result: TensorProto, where: str, storage: Storage, *, name: str = ""
) -> None:
    """Fill `result` (empty) with the same tensor: name, dims, type and raw data, nothing else."""
    if tensor.HasField("segment"):
        raise UnsupportedModel(f"{where}: a segmented tensor is not supported")
    if tensor.data_type == TensorProto.STRING:
        if tensor.data_location == TensorProto.EXTERNAL:
            raise UnsupportedModel(f"{where}: strings in an external file are not supported")
        if len(tensor.string_data) != elements(tensor, where):
            raise UnsupportedModel(
                f"{where}: expected {math.prod(tensor.dims)} strings, got {len(tensor.string_data)}"
            )
        storage.charge(sum(map(len, tensor.string_data)), where)
        result.string_data.extend(tensor.string_data)
    else:
        result.raw_data = raw_bytes(tensor, where, storage)
    result.dims.extend(tensor.dims)
    result.data_type = tensor.data_type
    if name:
        result.name = name
