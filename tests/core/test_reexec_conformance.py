"""Re-execution passes the suite that every backend passes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from proofml.guarantee import Integrity
from proofml.policy import Policy
from proofml.testing import Case, ConformanceSuite, gemm


class TestReexec(ConformanceSuite):
    case: ClassVar[Case] = Case(
        backend="reexec",
        model=gemm(seed=0),
        other_model=gemm(seed=1),
        inputs={"x": np.array([[1.0, -2.0, 0.5, 3.25]], np.float32)},
        other_inputs={"x": np.array([[0.25, 1.0, -1.5, 2.0]], np.float32)},
        integrity=frozenset({Integrity.RE_EXECUTION}),
        bits=None,
        # The file was run here, so nothing but the nonce rests on anybody's word.
        assumptions=frozenset({"nonce:unauthenticated"}),
        policy=Policy().allow(["nonce:unauthenticated"]),
        unbound={
            "nonce": "nonce:unauthenticated",
            "computation.detail.version": "runtime:other-version",
        },
        bound_by={
            "model.canonical_sha256": "reexec.4",
            "model.file_sha256": None,
            "model.kind": "reexec.1",
            "input.name": "core.14",
            "input.dtype": "core.14",
            "input.shape": "core.14",
            "input.visibility": "reexec.3",
            "input.value": "reexec.4",
            "input.count": "core.14",
            "output.name": "core.14",
            "output.dtype": "core.14",
            "output.shape": "core.14",
            "output.visibility": "reexec.3",
            "output.value": "reexec.4",
            "output.count": "core.14",
            "nonce": None,
            "computation.kind": "reexec.1",
            "computation.detail": "reexec.1",
            "computation.detail.version": None,
            "evidence.extra": "reexec.2",
        },
        verify_needs_model=True,
        stages=("onnxruntime",),
        examples=90,
    )
