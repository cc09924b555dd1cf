"""Stages that run in a worker: whatever native code does with a file of strangers.

protobuf's parser turns each empty message of two bytes into a hundred, onnx's shape inference
computes with values that the file gives. Both are bounded by the worker's limits.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from proofml.errors import UnsupportedModel, UsageError, printable
from proofml.graph.canonicalise import canonicalise, parse
from proofml.graph.external import MAX_MODEL_BYTES, Storage, open_plain
from proofml.graph.interface import interface
from proofml.graph.tensor import MAX_DIMS
from proofml.graph.walk import constants, count_operators
from proofml.worker.job import Job

#: Shapes, axes and indices are smaller; larger constants are not shown to shape inference.
_SMALL_BYTES = 1 << 16
#: What shape inference may take: it copies the graph a few times.
_INFERENCE_BYTES, _INFERENCE_FACTOR = 1 << 29, 6
#: What parsing may take: a number stored in one byte becomes eight.
_PARSE_BYTES, _PARSE_FACTOR = 1 << 29, 8


def load(job: Job) -> dict[str, Any]:
    """Read `args.source`, write `canonical.onnx` and `shapes.json`.

    Args of the job: `name` for messages; `source`, a path; `folder` for external data, or None.

    Returns `{"file_sha256", "complete", "onnx", "inputs", "outputs", "operators", "note"}`:
    whether the file alone decides the result, the version that checked it, and the note as
    `_infer` gives it.
    """
    name, folder = job.args["name"], job.args["folder"]
    job.progress("read model")
    digest, model = _read(Path(job.args["source"]), name)
    job.progress("canonicalise")
    storage = Storage(None if folder is None else Path(folder))
    model = canonicalise(model, name, storage)
    result = {
        "file_sha256": digest,
        "complete": not storage.foreign,
        "onnx": onnx.__version__,
        "inputs": interface(model.graph.input, name, "input"),
        "outputs": interface(model.graph.output, name, "output"),
        "operators": count_operators(model),
    }
    path = job.folder / "canonical.onnx"
    _write(model, path, name)
    job.progress("check model")
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise UnsupportedModel(f"{name}: {_clean(error)}") from error
    result["note"] = _infer(model, name, job)
    return result


def infer(job: Job) -> dict[str, Any]:
    """Infer shapes of the canonical model in `canonical.onnx` with some inputs' dims fixed.

    Args of the job: `name`; `shapes`, a table of input -> dims. Writes `shapes.json`.
    """
    model = onnx.ModelProto.FromString((job.folder / "canonical.onnx").read_bytes())
    for value in model.graph.input:
        dims = job.args["shapes"].get(value.name)
        if dims is not None:
            fixed = onnx.helper.make_tensor_type_proto(value.type.tensor_type.elem_type, dims)
            value.type.CopyFrom(fixed)
    return {"note": _infer(model, job.args["name"], job)}


def _read(path: Path, name: str) -> tuple[str, onnx.ModelProto]:
    try:
        with os.fdopen(open_plain(path), "rb") as file:
            large = os.fstat(file.fileno()).st_size > MAX_MODEL_BYTES
            data = b"" if large else file.read(MAX_MODEL_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if large or len(data) > MAX_MODEL_BYTES:
        raise UnsupportedModel(
            f"{name}: larger than {MAX_MODEL_BYTES} bytes; ONNX keeps larger weights in external "
            "data"
        )
    with _at_most(_PARSE_BYTES + _PARSE_FACTOR * len(data), f"{name}: parsing it"):
        return hashlib.sha256(data).hexdigest(), parse(data, name)


def _write(model: onnx.ModelProto, path: Path, name: str) -> None:
    try:
        data = model.SerializeToString(deterministic=True)
    except Exception as error:  # protobuf's own EncodeError, or ValueError, by its version
        raise UnsupportedModel(
            f"{name}: larger than {MAX_MODEL_BYTES} bytes with its data: {error}"
        ) from error
    path.write_bytes(data)


def _infer(model: onnx.ModelProto, name: str, job: Job) -> str:
    """Write what is known of values' types to `shapes.json`; `model` is not used after that.

    Returns why inference gave up; empty where it did not.
    """
    job.progress("infer shapes")
    for tensor in constants(model):
        if len(tensor.raw_data) > _SMALL_BYTES:
            tensor.ClearField("raw_data")
    note = ""
    try:
        # A shape that is doubled again and again is held value by value: hence the bound.
        extra = _INFERENCE_BYTES + _INFERENCE_FACTOR * model.ByteSize()
        with _at_most(extra, f"{name}: inferring its shapes"):
            model = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except UnsupportedModel:
        raise
    except Exception as error:  # noqa: BLE001 - InferenceError lives in C++; shapes stay unknown
        note = _clean(error)
    graph = model.graph
    shapes = _shapes([*graph.input, *graph.value_info, *graph.output])
    (job.folder / "shapes.json").write_text(json.dumps(shapes), "utf-8")
    return note


def _shapes(values: Iterable[onnx.ValueInfoProto]) -> Mapping[str, Any]:
    """Value -> [data type, [dim or None, ...] or None]."""
    result: dict[str, Any] = {}
    for value in values:
        tensor = value.type.tensor_type
        dims: list[int | None] | None = None
        if tensor.HasField("shape") and len(tensor.shape.dim) <= MAX_DIMS:
            dims = [
                dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None
                for dim in tensor.shape.dim
            ]
        result[value.name] = [tensor.elem_type, dims]
    return result


@contextmanager
def _at_most(extra: int, what: str) -> Iterator[None]:
    """Bound this process's address space to `extra` bytes more than it has, for a while."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):  # another system: the worker's own limit is all there is
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + extra
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    except MemoryError as error:
        raise UnsupportedModel(f"{what} takes more than {extra >> 20} MiB") from error
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _clean(error: Exception) -> str:
    """onnx's message on one line: it quotes names of the file."""
    return printable(" ".join(str(error).split()))
