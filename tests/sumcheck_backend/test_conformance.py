"""The native backend passes the suite that every backend passes: single, batch, float."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from proofml.backend import Request
from proofml.guarantee import Integrity
from proofml.policy import Policy
from proofml.salts import read_salt
from proofml.statement import Visibility
from proofml.testing import Case, ConformanceSuite, gemm

from .models import BATCH, OTHER_BATCH, OTHER_X, X, qdq_gemm

#: The Statement's digest starts the transcript, so whatever no earlier check looks at changes
#: every challenge: the lookups' sumcheck (10) is the first to notice.
BOUND_BY: Mapping[str, str | tuple[str, ...] | None] = {
    "model.canonical_sha256": "sumcheck.5",
    "model.file_sha256": "sumcheck.10",
    "model.kind": "sumcheck.1",
    "input.name": "core.14",
    "input.dtype": "core.14",
    "input.shape": "core.14",
    "input.visibility": "sumcheck.2",
    "input.value": "sumcheck.10",
    "input.count": "core.14",
    "output.name": "core.14",
    "output.dtype": "core.14",
    "output.shape": "core.14",
    "output.visibility": "sumcheck.2",
    "output.value": ("sumcheck.7", "sumcheck.10"),
    "output.count": "core.14",
    "nonce": "sumcheck.10",
    "computation.kind": "sumcheck.1",
    "computation.detail": "sumcheck.1",
    "computation.detail.circuit_sha256": "sumcheck.5",
    "computation.detail.parameters": "sumcheck.3",
    "evidence.extra": "sumcheck.2",
    "evidence:proof": tuple(f"sumcheck.{n}" for n in (2, *range(8, 24))),
}
FIXED_SALT = Path(__file__).with_name("fixed.salt")
CRYPTOGRAPHIC = frozenset({Integrity.CRYPTOGRAPHIC})


class TestQuantised(ConformanceSuite):
    """A model of 8-bit integers: nothing is assumed that a verifier could have pinned."""

    case: ClassVar[Case] = Case(
        backend="sumcheck",
        model=qdq_gemm(0),
        other_model=qdq_gemm(1),
        inputs=X,
        other_inputs=OTHER_X,
        integrity=CRYPTOGRAPHIC,
        bits=100,
        bound_by=BOUND_BY,
        verify_needs_model=True,
    )


class TestCommittedInput(ConformanceSuite):
    """The input under a salted root: bound, and said not to be hidden."""

    case: ClassVar[Case] = Case(
        backend="sumcheck",
        model=qdq_gemm(0),
        other_model=qdq_gemm(1),
        inputs=X,
        other_inputs=OTHER_X,
        integrity=CRYPTOGRAPHIC,
        bits=100,
        assumptions=frozenset({"hiding:none"}),
        request=Request(
            input_visibility=Visibility.HASHED,
            options={"hiding": "none", "salt-file": str(FIXED_SALT)},
        ),
        policy=Policy().allow(["hiding:none"]),
        salt=read_salt(FIXED_SALT),
        bound_by={**BOUND_BY, "input.value": ("sumcheck.7", "sumcheck.10")},
        verify_needs_model=True,
        examples=20,
    )


class TestBatch(ConformanceSuite):
    """Many inputs under one proof, where the first dimension is free; a lookup after the sum."""

    case: ClassVar[Case] = Case(
        backend="sumcheck",
        model=qdq_gemm(0, batch="n", activation="Relu"),
        other_model=qdq_gemm(1, batch="n", activation="Relu"),
        inputs=BATCH,
        other_inputs=OTHER_BATCH,
        integrity=CRYPTOGRAPHIC,
        bits=100,
        # Another batch is another circuit: its shape is in the Statement, and in the compiled one.
        bound_by={**BOUND_BY, "input.shape": ("core.14", "sumcheck.5")},
        verify_needs_model=True,
        examples=20,
    )


class TestFloat(ConformanceSuite):
    """A float model: its quantisation record travels with the proof, and the verdict says so."""

    case: ClassVar[Case] = Case(
        backend="sumcheck",
        model=gemm(0, relu=True),
        other_model=gemm(1, relu=True),
        inputs=X,
        other_inputs={"x": np.array([[1.25, 0.5, -0.25, -1.5]], np.float32)},
        integrity=CRYPTOGRAPHIC,
        bits=100,
        assumptions=frozenset({"quantisation:prover-chosen"}),
        request=Request(calibration=(X, OTHER_X)),
        policy=Policy().allow(["quantisation:prover-chosen"]),
        bound_by={
            **BOUND_BY,
            "model.canonical_sha256": "sumcheck.4",
            "computation.detail.quantisation_sha256": "sumcheck.4",
            "evidence:quantisation": ("sumcheck.2", "sumcheck.4"),
        },
        verify_needs_model=True,
        examples=20,
    )
