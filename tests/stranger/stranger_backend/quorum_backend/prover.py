"""Collects the receipts. Here the members' keys lie in files; a real quorum would be asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proofml.backend import Context, Evidence, Request
from proofml.errors import BackendFailed
from proofml.keys import SigningKey
from proofml.proof import Blob
from proofml.statement import Computation, Statement, TensorClaim, Visibility
from proofml.tensors import Array, dtype_name, same_bits, tensor_digest
from proofml.worker import run
from quorum_backend.receipts import DETAIL, SECTION, message, pack

if TYPE_CHECKING:
    from proofml.model import Model


def prove(
    model: Model, inputs: Mapping[str, Array], request: Request, context: Context
) -> Evidence:
    outputs = _evaluate(model, inputs, context)
    statement = Statement(
        model=model.claim,
        inputs=tuple(_claim(name, array) for name, array in inputs.items()),
        outputs=tuple(_claim(name, array) for name, array in outputs.items()),
        computation=Computation("quorum", DETAIL),
        nonce=request.nonce,
    )
    receipts = {}
    for path in request.options["members"].split(":"):
        key = SigningKey.load(Path(path))
        _agree(outputs, _evaluate(model, inputs, context), key.public)
        receipts[key.public] = key.sign(message(statement.digest))
    tensors = {f"input.{i}": array for i, array in enumerate(inputs.values())}
    tensors |= {f"output.{i}": array for i, array in enumerate(outputs.values())}
    return Evidence(statement, {SECTION: Blob(pack(receipts), "application/json")}, tensors)


def _claim(name: str, array: Array) -> TensorClaim:
    return TensorClaim(
        name, str(dtype_name(array)), array.shape, Visibility.PUBLIC, tensor_digest(array)
    )


def _evaluate(model: Model, inputs: Mapping[str, Array], context: Context) -> dict[str, Array]:
    """In a worker: a member would not run a stranger's graph in its own process either."""
    with context.store.scratch() as folder:
        (folder / "model.onnx").write_bytes(model.canonical)
        np.savez(folder / "in.npz", **inputs)
        run(
            "quorum_backend.evaluate_stages:evaluate",
            {},
            folder,
            stage="evaluate",
            backend="quorum",
            limits=context.limits,
            progress=context.progress,
        )
        with np.load(folder / "out.npz", allow_pickle=False) as found:
            return {spec.name: found[spec.name] for spec in model.outputs}


def _agree(stated: Mapping[str, Array], own: Mapping[str, Array], member: str) -> None:
    if not all(same_bits(stated[name], own[name]) for name in stated):
        raise BackendFailed(f"{member} computed something else and does not sign")
