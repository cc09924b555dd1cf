"""What a Statement says of a float claim's computation, and the evidence beside the claim.

`computation.detail` names the float model's plan, the program (plan and bounds together) and the
basis of the bounds. The evidence `bounds` is canonical JSON of the bounds with how they were found;
a ledger has their limits alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from proofml.fields import FieldError, Fields
from proofml.optimistic.about import FLOAT_BOUNDS, FLOAT_KIND
from proofml.optimistic.floating.bounds import Basis, Bounds
from proofml.optimistic.floating.claim import FloatHeader
from proofml.statement import Computation

PROTOCOL = 1
BOUNDS = "bounds"
MAX_BOUNDS_BYTES = 1 << 22


def assumption(basis: Basis) -> str:
    """What a verdict on a claim under bounds of this basis assumes."""
    return FLOAT_BOUNDS[basis.value]


@dataclass(frozen=True, slots=True)
class FloatRecord:
    """What the Statement says of the computation.

    Attributes:
        plan: root of the plan: the model at its inputs' dims.
        program: root of plan and bounds, as the claim's terms have it.
        basis: theoretical or calibrated.
        bounds: SHA-256 of the evidence `bounds`.
        grouped: whether elementwise operators are judged with what they follow.
    """

    plan: str
    program: str
    basis: str
    bounds: str
    grouped: bool = False

    @classmethod
    def of(cls, header: FloatHeader, bounds: Bounds, *, grouped: bool = False) -> FloatRecord:
        return cls(
            header.plan_root.hex(), header.root.hex(), bounds.basis.value, bounds.digest, grouped
        )

    def computation(self) -> Computation:
        """What a prover states."""
        return Computation(
            FLOAT_KIND,
            {
                "protocol": PROTOCOL,
                "plan": self.plan,
                "program": self.program,
                "basis": self.basis,
                "bounds_sha256": self.bounds,
                "grouped": self.grouped,
            },
        )

    @classmethod
    def read(cls, computation: Computation) -> FloatRecord:
        """Raises `FieldError` for anything but a complete record."""
        if computation.kind != FLOAT_KIND:
            raise FieldError("computation.kind", FLOAT_KIND, computation.kind)
        fields = Fields(computation.detail, "computation.detail")
        fields.integer("protocol", PROTOCOL, PROTOCOL)
        found = cls(
            fields.sha256("plan"),
            fields.sha256("program"),
            fields.string("basis", choices=tuple(FLOAT_BOUNDS)),
            fields.sha256("bounds_sha256"),
            fields.boolean("grouped"),
        )
        fields.done()
        return found
