"""The numbered checks of the optimistic verifier; each number means one check for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RECORD: Final = "optimistic.1"
INTERFACE: Final = "optimistic.2"
CLAIM: Final = "optimistic.3"
QUANTISATION: Final = "optimistic.4"
PROGRAM: Final = "optimistic.5"
RANGES: Final = "optimistic.6"
TENSORS: Final = "optimistic.7"
INPUTS: Final = "optimistic.8"
OUTPUTS: Final = "optimistic.9"
STATEMENT: Final = "optimistic.10"
LEDGER: Final = "optimistic.11"
POSTED: Final = "optimistic.12"
STATUS: Final = "optimistic.13"
STAKES: Final = "optimistic.14"
BOUNDS: Final = "optimistic.15"

CHECKS: Final[Mapping[str, str]] = {
    RECORD: "computation: a complete record, of this protocol's version",
    INTERFACE: "interface: every tensor is public, and exactly the evidence that is read",
    CLAIM: "claim: a strict record, with terms that read back to their bytes",
    QUANTISATION: "quantisation record: strict schema, the digest that the Statement names",
    PROGRAM: "program: lowered again from the model, or pinned; its root in Statement and claim",
    RANGES: "program: no value can leave the range in which integers are exact",
    TENSORS: "tensors: names, types and shapes of the program's, every value a code",
    INPUTS: "claim: its input roots are those of the stated inputs",
    OUTPUTS: "claim: its output roots are those of the stated outputs",
    STATEMENT: "claim: it is about this Statement",
    LEDGER: "ledger: the one that the policy pins, whole and by its rules",
    POSTED: "ledger: the claim of this number has exactly these terms",
    STATUS: "ledger: the claim is not defeated",
    STAKES: "terms: the bonds, shares and times that the policy demands",
    BOUNDS: "float bounds: strict schema, the digest that the Statement names, the claim's limits",
}
