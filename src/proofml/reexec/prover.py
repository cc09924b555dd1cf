"""The claim of a re-execution: run once, state what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from proofml.backend import Context, Evidence, Request
from proofml.runtime import RUN_LIMITS, SETTINGS, run_model, runtime_version
from proofml.statement import Computation, Statement, TensorClaim, Visibility
from proofml.tensors import Array, dtype_name, tensor_digest

if TYPE_CHECKING:
    from proofml.model import Model


def public_claim(name: str, array: Array) -> TensorClaim:
    """A public tensor's entry in a Statement."""
    dtype = dtype_name(array)
    assert dtype is not None  # inputs and outputs were checked against the model's own dtypes
    return TensorClaim(name, dtype, array.shape, Visibility.PUBLIC, tensor_digest(array))


def prove(
    model: Model, inputs: Mapping[str, Array], request: Request, context: Context
) -> Evidence:
    """Run the model and state its outputs; the evidence is the tensors themselves."""
    outputs = run_model(
        model,
        inputs,
        context.store,
        limits=context.limits.or_else(RUN_LIMITS),
        progress=context.progress,
    )
    detail = {"version": runtime_version(), **SETTINGS}
    statement = Statement(
        model=model.claim,
        inputs=tuple(public_claim(name, array) for name, array in inputs.items()),
        outputs=tuple(public_claim(name, array) for name, array in outputs.items()),
        computation=Computation("onnxruntime", detail),
        nonce=request.nonce,
    )
    tensors = {f"input.{i}": array for i, array in enumerate(inputs.values())}
    tensors |= {f"output.{i}": array for i, array in enumerate(outputs.values())}
    unbound = frozenset() if request.nonce is None else frozenset({"nonce:unauthenticated"})
    return Evidence(statement, {}, tensors, assumptions=unbound)
