"""What is found of one operator of a claimed trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from proofml.canonical import JSON, real

_REALS = ("claimed", "reference", "tolerance", "margin")


class Verdict(Enum):
    """What was found of one operator."""

    INSIDE = "inside"
    #: A value lies beyond its bound.
    OUTSIDE = "outside"
    #: An operand is not what its producer made, or a weight is not the model's.
    MISWIRED = "miswired"
    #: The claimed output has another element type or other dims than the operator makes.
    MISSHAPEN = "misshapen"
    #: What is published is not what was committed, or is not published.
    WITHHELD = "withheld"


@dataclass(frozen=True)
class Finding:
    """One operator's verdict, at its worst element.

    Attributes:
        operator, label: which one.
        verdict: `INSIDE` or why it is refused.
        basis: which bound was applied.
        port, element: of the output, the index of the element; None where it is not one's fault.
        claimed, reference, tolerance: there; all reals as float64.
        margin: |claimed - reference| / tolerance, the largest of all elements that were looked
            at: up to 1 is inside; infinite where the tolerance is 0.
        elements: looked at.
        unbounded: of these, how many have no worst case (a variance that may vanish, an
            intermediate result that may overflow): whatever is claimed there is accepted.
        detail: in words, where it is refused.
    """

    operator: int
    label: str
    verdict: Verdict
    basis: str
    port: int = 0
    element: tuple[int, ...] | None = None
    claimed: float = 0.0
    reference: float = 0.0
    tolerance: float = 0.0
    margin: float = 0.0
    elements: int = 0
    unbounded: int = 0
    detail: str = ""

    @property
    def inside(self) -> bool:
        return self.verdict is Verdict.INSIDE

    def to_json(self) -> dict[str, JSON]:
        return {
            "operator": self.operator,
            "label": self.label,
            "verdict": self.verdict.value,
            "basis": self.basis,
            "port": self.port,
            "element": self.element,
            "claimed": real(self.claimed),
            "reference": real(self.reference),
            "tolerance": real(self.tolerance),
            "margin": real(self.margin),
            "elements": self.elements,
            "unbounded": self.unbounded,
            "detail": self.detail,
        }

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Finding:
        """From a worker's JSON."""
        element = value["element"]
        reals = {key: float(value[key]) for key in _REALS}
        known = {**value, **reals, "verdict": Verdict(value["verdict"])}
        return cls(**{**known, "element": None if element is None else tuple(element)})
