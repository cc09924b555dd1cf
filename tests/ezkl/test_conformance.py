"""EZKL passes the suite that every backend passes, in each way of hiding that it offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from proofml.backend import Request
from proofml.guarantee import Integrity
from proofml.statement import Visibility
from proofml.testing import Case, ConformanceSuite

from .models import ALLOWED, DEVELOPMENT, OPTIONS, OTHER_X, X, mlp

#: Every stage that a worker reports while it proves, in the order in which they first run.
STAGES = ("calibrate", "settings", "generate srs", "compile", "setup", "witness", "prove", "verify")

#: The Statement's digest is in the instances, so ezkl.8 refuses whatever nothing else looks at.
BOUND_BY: Mapping[str, str | tuple[str, ...] | None] = {
    "model.canonical_sha256": "ezkl.8",
    "model.file_sha256": "ezkl.8",
    "model.kind": "ezkl.1",
    "input.name": "core.14",
    "input.dtype": "core.14",
    "input.shape": "core.14",
    "input.visibility": "ezkl.5",
    "input.value": "ezkl.9",
    "input.count": "core.14",
    "output.name": "core.14",
    "output.dtype": "core.14",
    "output.shape": "core.14",
    "output.visibility": "ezkl.5",
    "output.value": "ezkl.8",
    "output.count": "core.14",
    "nonce": "ezkl.8",
    "computation.kind": "ezkl.1",
    "computation.detail": "ezkl.1",
    "computation.detail.ezkl": "ezkl.8",
    "computation.detail.settings_sha256": "ezkl.4",
    "computation.detail.verifying_key_sha256": "ezkl.8",
    "computation.detail.srs_sha256": "ezkl.6",
    "computation.detail.srs_k": "ezkl.6",
    "evidence.extra": "ezkl.2",
    "evidence:proof": ("ezkl.2", "ezkl.7", "ezkl.15"),
    "evidence:settings": ("ezkl.2", "ezkl.3", "ezkl.4"),
    "evidence:srs": "ezkl.6",
    "evidence:verifying-key": ("ezkl.2", "ezkl.13"),
}


class TestPublic(ConformanceSuite):
    """Everything is shown; the model is named by digest."""

    case: ClassVar[Case] = Case(
        backend="ezkl",
        model=mlp(0),
        other_model=mlp(1),
        inputs=X,
        other_inputs=OTHER_X,
        integrity=frozenset({Integrity.CRYPTOGRAPHIC}),
        bits=100,
        assumptions=frozenset(DEVELOPMENT),
        request=Request(options=OPTIONS),
        policy=ALLOWED,
        bound_by=BOUND_BY,
        verify_needs_model=True,
        stages=STAGES,
        examples=40,
    )


class TestHashedInput(ConformanceSuite):
    """The input is committed to by EZKL's Poseidon; whoever holds it has it compared."""

    case: ClassVar[Case] = Case(
        backend="ezkl",
        model=mlp(0),
        other_model=mlp(1),
        inputs=X,
        other_inputs=OTHER_X,
        integrity=frozenset({Integrity.CRYPTOGRAPHIC}),
        bits=100,
        assumptions=frozenset(DEVELOPMENT),
        request=Request(input_visibility=Visibility.HASHED, options=OPTIONS),
        policy=ALLOWED,
        bound_by=BOUND_BY,
        verify_needs_model=True,
        examples=8,
    )


class TestHashedParameters(ConformanceSuite):
    """The weights are committed to; a verifier who holds them recomputes the commitment."""

    case: ClassVar[Case] = Case(
        backend="ezkl",
        model=mlp(0),
        other_model=mlp(1),
        inputs=X,
        other_inputs=OTHER_X,
        integrity=frozenset({Integrity.CRYPTOGRAPHIC}),
        bits=100,
        assumptions=frozenset(DEVELOPMENT),
        request=Request(parameters="hashed", options=OPTIONS),
        policy=ALLOWED,
        bound_by={**BOUND_BY, "computation.detail.parameters_commitment": "ezkl.11"},
        verify_needs_model=True,
        examples=8,
    )
