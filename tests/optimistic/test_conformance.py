"""The optimistic backend passes the suite that every backend passes: quantised, float.

The claims have no window, so that they are final at once; the verdict says so for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np

from proofml.backend import Request
from proofml.guarantee import Integrity
from proofml.keys import SigningKey
from proofml.optimistic.accounts import Account
from proofml.optimistic.sqlite_ledger import SqliteLedger
from proofml.policy import Policy
from proofml.testing import Case, ConformanceSuite, gemm

from ..sumcheck_backend.models import BATCH, OTHER_BATCH, OTHER_X, X, qdq_gemm

ECONOMIC = frozenset({Integrity.ECONOMIC})
SHORTCUTS = frozenset({"ledger:local", "window:none"})
#: Whatever a liar changes in the Statement, the claim is about the one it was.
BOUND_BY: Mapping[str, str | tuple[str, ...] | None] = {
    "model.canonical_sha256": "optimistic.5",
    "model.file_sha256": "optimistic.10",
    "model.kind": "optimistic.1",
    "input.name": "core.14",
    "input.dtype": "core.14",
    "input.shape": "core.14",
    "input.visibility": "optimistic.2",
    "input.value": "optimistic.8",
    "input.count": "core.14",
    "output.name": "core.14",
    "output.dtype": "core.14",
    "output.shape": "core.14",
    "output.visibility": "optimistic.2",
    "output.value": ("optimistic.7", "optimistic.9"),
    "output.count": "core.14",
    "nonce": "optimistic.10",
    "computation.kind": "optimistic.1",
    "computation.detail": "optimistic.1",
    "computation.detail.program": "optimistic.5",
    "computation.detail.classes": "optimistic.1",
    "evidence.extra": "optimistic.2",
    # Its middle byte lies in the root of the input.
    "evidence:claim": ("optimistic.2", "optimistic.3", "optimistic.8"),
}


@cache
def folder() -> Path:
    """Of the ledger and its account, for as long as this process runs."""
    made = TemporaryDirectory(prefix="proofml-ledger-")
    _KEPT.append(made)
    path = Path(made.name)
    SigningKey.generate().save(path / "claimant.pem")
    account = Account.load(path / "claimant.pem")
    with SqliteLedger(path / "ledger.db", [account], create=True) as ledger:
        ledger.deposit(1_000_000, account.name)
    return path


_KEPT: list[TemporaryDirectory[str]] = []


def request(**options: str) -> dict[str, str]:
    return {
        "ledger": str(folder() / "ledger.db"),
        "key": str(folder() / "claimant.pem"),
        "window": "0",
        **options,
    }


def policy() -> Policy:
    return Policy(sections={"optimistic": {"ledger": str(folder() / "ledger.db")}}).allow(SHORTCUTS)


class TestQuantised(ConformanceSuite):
    case: ClassVar[Case] = Case(
        backend="optimistic",
        model=qdq_gemm(0),
        other_model=qdq_gemm(1),
        inputs=X,
        other_inputs=OTHER_X,
        integrity=ECONOMIC,
        assumptions=SHORTCUTS,
        request=Request(options=request()),
        policy=policy(),
        bound_by=BOUND_BY,
        verify_needs_model=True,
    )


class TestBatch(ConformanceSuite):
    """Many inputs in one claim, where the first dimension is free."""

    case: ClassVar[Case] = Case(
        backend="optimistic",
        model=qdq_gemm(0, batch="n", activation="Relu"),
        other_model=qdq_gemm(1, batch="n", activation="Relu"),
        inputs=BATCH,
        other_inputs=OTHER_BATCH,
        integrity=ECONOMIC,
        assumptions=SHORTCUTS,
        request=Request(options=request()),
        policy=policy(),
        # Another batch is another program: its shape is in the Statement, and in the one lowered.
        bound_by={**BOUND_BY, "input.shape": ("core.14", "optimistic.5")},
        verify_needs_model=True,
        examples=20,
    )


class TestFloat(ConformanceSuite):
    """A float model: its quantisation record travels with the proof, and the verdict says so."""

    case: ClassVar[Case] = Case(
        backend="optimistic",
        model=gemm(0, relu=True),
        other_model=gemm(1, relu=True),
        inputs=X,
        other_inputs={"x": np.array([[1.25, 0.5, -0.25, -1.5]], np.float32)},
        integrity=ECONOMIC,
        assumptions=SHORTCUTS | {"quantisation:prover-chosen"},
        request=Request(options=request(), calibration=(X, OTHER_X)),
        policy=policy().allow(["quantisation:prover-chosen"]),
        bound_by={
            **BOUND_BY,
            "model.canonical_sha256": "optimistic.4",
            "computation.detail.quantisation_sha256": "optimistic.4",
            "evidence:quantisation": ("optimistic.2", "optimistic.4"),
        },
        verify_needs_model=True,
        examples=20,
    )
