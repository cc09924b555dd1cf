"""What the optimistic backend says of itself, for whoever registers it or only verifies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proofml.guarantee import Integrity

NAME: Final = "optimistic"
#: Of the evidence.
VERSION: Final = 1
INTEGRITY: Final = frozenset({Integrity.ECONOMIC})

#: `computation.kind` of a Statement about a float claim.
FLOAT_KIND: Final = "proofml-optimistic-float"

LEDGER_LOCAL: Final = "ledger:local"
WINDOW_OPEN: Final = "window:open"
WINDOW_NONE: Final = "window:none"
INPUTS_NOT_ASKABLE: Final = "claim:inputs-not-askable"
QUANTISATION_CHOSEN: Final = "quantisation:prover-chosen"
DEFINED_HERE: Final = "semantics:defined-here"

#: Basis of a float claim's bounds -> what a verdict assumes then.
FLOAT_BOUNDS: Final[Mapping[str, str]] = {
    "theoretical": "float-bounds:theoretical",
    "calibrated": "float-bounds:calibrated",
}

_DRIFT: Final = (
    "the outputs are not exact: each operator may lie anywhere within its bound, and whoever "
    "pushes all of them one way changes a decision that is near enough to another one; on four "
    "models the attack of docs/optimistic/floating.md reached"
)

ASSUMPTIONS: Final[Mapping[str, str]] = {
    LEDGER_LOCAL: "the ledger is a file: its bonds are bookkeeping, its time is that of whoever "
    "writes, and whoever may write the file can leave out the newest of what happened",
    WINDOW_OPEN: "the claim can still be challenged: the verdict is pending, or accepted early "
    "where this is allowed by name",
    WINDOW_NONE: "nobody had the time that the policy demands to challenge the claim",
    INPUTS_NOT_ASKABLE: "nobody can ask the claim's ledger for all its inputs in the time that it "
    "leaves, or for at most a quarter of what a challenger wins: only who has them from elsewhere "
    "can challenge it",
    QUANTISATION_CHOSEN: "the prover chose the integer version of the float model",
    DEFINED_HERE: "nodes of class D compute a function that proofml defines: near onnxruntime's, "
    "not equal to it",
    FLOAT_BOUNDS["theoretical"]: f"{_DRIFT} 1.1 logits (0.04 to 0.13 in classifiers); the bound is "
    "IEEE-754's worst case for any order of the sums",
    FLOAT_BOUNDS["calibrated"]: f"{_DRIFT} 0.1 logits; the bound is a share of IEEE-754's worst "
    "case for each operator, which the claimant chose, by runs of his own: a machine that he did "
    "not try may round more, and an honest claim of it be lost",
}
