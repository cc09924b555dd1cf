"""What the native backend says of itself, for whoever registers it and whoever only verifies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proofml.guarantee import Integrity

NAME: Final = "sumcheck"
#: Of the evidence.
VERSION: Final = 1
INTEGRITY: Final = frozenset({Integrity.CRYPTOGRAPHIC})
ASSUMPTIONS: Final[Mapping[str, str]] = {
    "hiding:none": "tensors are committed to, not hidden: the proof shows linear combinations of "
    "them",
    "quantisation:prover-chosen": "the prover chose the integer version of the float model",
    "semantics:defined-here": "nodes of class D compute a function that proofml defines: near "
    "onnxruntime's, not equal to it",
}
