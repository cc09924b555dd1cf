"""What the check of a model's file found, kept in the cache by the digest of the file's bytes.

Kept is only what the file alone decides: not a model with external data, since its other files can
change while it stays. An entry holds what this user's own worker found earlier, under the same
versions of proofml and onnx, and both of its parts are checked by digest when they are read; one
that is damaged, or that other code wrote, is none.

Whoever can write to the cache can name another model by this file's digest, as they could name
another circuit. The folder has to be its user's own: it is trusted as the program is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proofml import __version__
from proofml.canonical import JSON, sha256
from proofml.errors import BackendFailed, UsageError, printable
from proofml.graph.external import MAX_MODEL_BYTES, open_plain
from proofml.store import Store

if TYPE_CHECKING:
    from proofml.graph.cost import Shapes

#: Raised with whatever a check does or finds: older entries are then not found.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Found:
    """Of one file.

    Attributes:
        file_digest: SHA-256 of the file.
        canonical: the checked graph's canonical bytes.
        inputs, outputs: name, dtype, dims; the latter None where any shape is taken.
        operators: operator -> number of nodes.
        shapes: value -> data type, dims.
        note: why shape inference gave up.
    """

    file_digest: str
    canonical: bytes
    inputs: Sequence[tuple[str, str, tuple[int | None, ...] | None]]
    outputs: Sequence[tuple[str, str, tuple[int | None, ...] | None]]
    operators: Mapping[str, int]
    shapes: Shapes
    note: str


def file_digest(source: Path | bytes) -> str | None:
    """SHA-256 of a file; None where it cannot be read, or is more than a model can be."""
    if isinstance(source, bytes):
        return sha256(source)
    try:
        with os.fdopen(open_plain(source), "rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_MODEL_BYTES:
                return None
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def find(store: Store, digest: str) -> Found | None:
    """What is kept of the file of this digest."""
    own = _onnx_version()
    parts = None if own is None else store.read(_recipe(digest, own))
    if parts is None:
        return None
    try:
        return _found(digest, parts["canonical"], json.loads(parts["facts"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # written by another version of this code under the same number


def keep(store: Store, folder: Path, result: Mapping[str, Any], name: str) -> Found:
    """What the stage `load` found and wrote to `folder`, kept if the file alone decides it."""
    facts = {key: result[key] for key in ("inputs", "outputs", "operators", "note")}
    facts["shapes"] = json.loads((folder / "shapes.json").read_bytes())
    # Of the bytes that the worker read: the file may have changed since it was looked at here.
    digest = result["file_sha256"]
    found = _found(digest, (folder / "canonical.onnx").read_bytes(), facts)
    # The worker may run another onnx than the one that is installed here.
    if result["complete"] and result["onnx"] == _onnx_version():
        # The model is loaded, whether or not there is room to keep it.
        with suppress(BackendFailed, UsageError, OSError):
            (folder / "facts.json").write_text(json.dumps(facts), "utf-8")
            files = {"canonical": folder / "canonical.onnx", "facts": folder / "facts.json"}
            store.put(
                _recipe(digest, result["onnx"]), files, label=f"checked model {printable(name)}"
            )
    return found


def read_shapes(entries: Mapping[str, Any]) -> Shapes:
    """Types and dims as the stages write them."""
    return {key: (kind, _dims(dims)) for key, (kind, dims) in entries.items()}


def _recipe(digest: str, onnx: str) -> dict[str, JSON]:
    return {
        "kind": "checked model",
        "format": FORMAT,
        "proofml": __version__,
        "onnx": onnx,
        "file": digest,
    }


def _onnx_version() -> str | None:
    """The installed onnx, without importing it."""
    try:
        return version("onnx")
    except PackageNotFoundError:
        return None


def _found(digest: str, canonical: bytes, facts: Mapping[str, Any]) -> Found:
    return Found(
        file_digest=digest,
        canonical=canonical,
        inputs=[(name, dtype, _dims(dims)) for name, dtype, dims in facts["inputs"]],
        outputs=[(name, dtype, _dims(dims)) for name, dtype, dims in facts["outputs"]],
        operators=dict(facts["operators"]),
        shapes=read_shapes(facts["shapes"]),
        note=str(facts["note"]),
    )


def _dims(dims: Sequence[int | None] | None) -> tuple[int | None, ...] | None:
    return None if dims is None else tuple(dims)
