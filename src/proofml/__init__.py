"""Verifiable machine-learning inference.

`prove(model, inputs)` makes a `Proof`, `verify(proof, expect, policy)` judges it. Names are
imported when they are first used, so that `import proofml` stays fast and light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proofml.api import open, prove, seal, verify
    from proofml.backend import Backend, Context, Request
    from proofml.errors import (
        BackendFailed,
        BackendUnavailable,
        PolicyRefused,
        ProofmlError,
        UnsupportedModel,
        UsageError,
        VerificationError,
    )
    from proofml.expectation import Expectation
    from proofml.export import export_sklearn, export_torch
    from proofml.guarantee import Finality, Guarantee, Integrity
    from proofml.keys import SigningKey
    from proofml.model import Model
    from proofml.policy import Policy
    from proofml.proof import Proof
    from proofml.sealed import Sealed, Secret
    from proofml.statement import Statement, Visibility
    from proofml.store import Store
    from proofml.verdict import Status, Verdict
    from proofml.worker.limits import Limits

__version__ = "0.1.0"

_HOME = {
    "api": ("open", "prove", "seal", "verify"),
    "backend": ("Backend", "Context", "Request"),
    "errors": (
        "BackendFailed",
        "BackendUnavailable",
        "PolicyRefused",
        "ProofmlError",
        "UnsupportedModel",
        "UsageError",
        "VerificationError",
    ),
    "expectation": ("Expectation",),
    "export": ("export_sklearn", "export_torch"),
    "guarantee": ("Finality", "Guarantee", "Integrity"),
    "keys": ("SigningKey",),
    "model": ("Model",),
    "policy": ("Policy",),
    "proof": ("Proof",),
    "sealed": ("Sealed", "Secret"),
    "statement": ("Statement", "Visibility"),
    "store": ("Store",),
    "verdict": ("Status", "Verdict"),
    "worker.limits": ("Limits",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Backend",
    "BackendFailed",
    "BackendUnavailable",
    "Context",
    "Expectation",
    "Finality",
    "Guarantee",
    "Integrity",
    "Limits",
    "Model",
    "Policy",
    "PolicyRefused",
    "Proof",
    "ProofmlError",
    "Request",
    "Sealed",
    "Secret",
    "SigningKey",
    "Statement",
    "Status",
    "Store",
    "UnsupportedModel",
    "UsageError",
    "Verdict",
    "VerificationError",
    "Visibility",
    "export_sklearn",
    "export_torch",
    "open",
    "prove",
    "seal",
    "verify",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'proofml' has no attribute {name!r}")
    return getattr(import_module(f"proofml.{module}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
