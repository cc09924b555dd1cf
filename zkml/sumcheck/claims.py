"""Claims that the opening proves."""

from __future__ import annotations

from dataclasses import dataclass

from proofml.circuits.field.ext5 import Element
from proofml.zkml.sumcheck.weights import Weight


@dataclass(frozen=True, eq=False)
class Claim:
    """`sum weight[i] column[i] = value` for the column in a block of a tree."""

    tree: str
    block: str
    weight: Weight
    value: Element
