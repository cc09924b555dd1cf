"""Which plans can be claimed on a ledger: an accusation of every operator has to be possible."""

from __future__ import annotations

import numpy as np

from proofml.errors import UnsupportedModel
from proofml.optimistic.floating.accusation import evidence_bytes
from proofml.optimistic.floating.plan import Operator, Plan, Type
from proofml.optimistic.moves import MAX_POINT_BYTES

#: An answer to a request has room for a leaf and a piece.
MOST_DIGESTS = 900
#: A request has 16 bits for a place.
MOST_PLACES = 1 << 16
#: Its reference would have to be wider than float64.
_TOO_WIDE = "float64"


def largest_accusation(plan: Plan) -> tuple[int, str]:
    """Bytes of the largest accusation that a dispute may need, and the operator's name.

    Raises:
        UnsupportedModel: a tensor whose dims only a run decides, or of float64; by name.
    """
    digests = plan.weight_digests
    found = (0, "")
    for operator in plan.operators:
        tensors = sum(_bytes(operator, kind) for kind in _types(plan, operator))
        leaf = 8 + 32 * (len(operator.inputs) + len(operator.types))
        size = evidence_bytes(operator.descriptor(digests), leaf, tensors)
        found = max(found, (size, operator.label))
    return found


def check_claimable(plan: Plan) -> None:
    """That a float claim about this plan can be disputed wherever it may be false.

    Raises:
        UnsupportedModel: why not, by the operator's name.
    """
    places = len(plan.inputs) + len(plan.operators)
    if places > MOST_PLACES:
        raise UnsupportedModel(
            f"{places} inputs and operators; a request for data can name {MOST_PLACES}"
        )
    for operator in plan.operators:
        digests = len(operator.inputs) + len(operator.types)
        if digests > MOST_DIGESTS:
            raise UnsupportedModel(
                f"{operator.label}: {digests} operands and outputs; a leaf that is asked for on a "
                f"ledger has at most {MOST_DIGESTS}"
            )
    size, label = largest_accusation(plan)
    if size > MAX_POINT_BYTES:
        raise UnsupportedModel(
            f"{label}: what it reads and makes takes {size} bytes, and a move of a dispute shows "
            f"at most {MAX_POINT_BYTES}; claim a smaller input"
        )


def _types(plan: Plan, operator: Operator) -> list[Type]:
    return [*(plan.type_of(ref) for ref in operator.inputs), *operator.types]


def _bytes(operator: Operator, kind: Type) -> int:
    if kind.nbytes is None:
        raise UnsupportedModel(
            f"{operator.label}: only a run decides the dims of a tensor; a float claim on a ledger "
            "needs all of them fixed by the inputs' dims"
        )
    if np.dtype(kind.dtype).name == _TOO_WIDE:
        raise UnsupportedModel(
            f"{operator.label}: a tensor of float64; a ledger judges float16 and float32, by "
            "references in float64"
        )
    return kind.nbytes + 64
