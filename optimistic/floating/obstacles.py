"""Why a model cannot be claimed with float operators, as far as its operators' names tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proofml.errors import UnsupportedModel
from proofml.graph.walk import nodes
from proofml.optimistic.floating.node import Node
from proofml.optimistic.floating.rules import kind_of
from proofml.runtime import runtime_version

if TYPE_CHECKING:
    from proofml.model import Model

#: Why a contract takes no float claim.
CHAINS = (
    "float claims need an embedded ledger (--set ledger=FILE): a contract's arbiter has no float "
    "operators; on a chain claim the quantised model (--set arithmetic=exact)"
)
_FOLDED = frozenset({"Constant", "Shape", "Size"})


def obstacles(model: Model) -> tuple[str, ...]:
    """Reasons; none where `plan_of` may find a rule for each operator."""
    if runtime_version() is None:
        return ("float claims run the model; pip install 'proofml[reexec]'",)
    found: dict[str, None] = {}
    proto = model.proto
    local = {function.domain for function in proto.functions}  # inlined before rules are looked up
    for each in nodes(proto):
        node = Node(each, 0)
        if node.op in _FOLDED or each.domain in local:
            continue
        try:
            kind_of(node, ())
        except UnsupportedModel as error:
            found[str(error)] = None
    return tuple(found)
