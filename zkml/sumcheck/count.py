"""How many claims and contractions a proof has: counted on the graph, without any arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from proofml.circuits.graph import (
    ONES,
    Affine,
    ArgMax,
    Contraction,
    Input,
    Maximum,
    Reshape,
    Step,
)
from proofml.zkml.sumcheck.layout import Layout, ceil_log2
from proofml.zkml.sumcheck.reduction import Sums
from proofml.zkml.sumcheck.soundness import Shape

#: Claims of one proof: what a verifier of an honest circuit never reaches.
MAX_CLAIMS = 1 << 20


class TooManyClaims(ValueError):
    """A graph whose expressions multiply; such a circuit is refused."""


def count(layout: Layout) -> Shape:
    """The sizes that enter soundness.

    Raises:
        TooManyClaims: more than `MAX_CLAIMS`.
    """
    counter = _Counter(layout)
    claims = 0
    instances: list[Contraction] = []

    def add(value: int) -> None:
        nonlocal claims
        columns, contractions = counter.parts(value)
        claims += columns
        instances.extend(contractions)

    for lookup in layout.lookups:
        node = layout.graph.nodes[lookup.node]
        claims += lookup.windows >= 0
        match node:
            case Input():
                add(lookup.node)
            case ArgMax():
                add(node.value)
                add(node.value)
            case Maximum():
                claims += 1
                add(node.left)
                add(node.right)
            case Step():
                claims += lookup.node not in layout.public
                add(node.value)
            case _:  # pragma: no cover - no other node has a lookup
                raise AssertionError(node)
    claims += len(layout.plan.tables)
    for index in layout.bound_outputs:
        add(layout.graph.outputs[index].value)
    for contraction in instances:
        for value in (contraction.left, contraction.right):
            claims += counter.parts(value)[0]
    if claims > MAX_CLAIMS:
        raise TooManyClaims(f"{claims} claims, expected at most {MAX_CLAIMS}")
    graph = layout.graph
    return Shape(
        leaves=layout.leaves.log,
        contractions=len(instances),
        rounds=max((Sums(c.sums).rounds for c in instances), default=0),
        claims=claims,
        outputs=tuple(
            sum(ceil_log2(n) for n in graph.shape(graph.outputs[i].value))
            for i in layout.bound_outputs
        ),
        trees={name: stack.log for name, stack in layout.trees.items()},
    )


class _Counter:
    """Claims on columns, and contractions, that a claim on a value leads to."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._known: dict[int, tuple[int, Sequence[Contraction]]] = {}

    def parts(self, value: int) -> tuple[int, Sequence[Contraction]]:
        if value not in self._known:
            self._known[value] = self._parts(value)
            if self._known[value][0] > MAX_CLAIMS:
                raise TooManyClaims(f"value {value}: more than {MAX_CLAIMS} claims")
        return self._known[value]

    def _parts(self, value: int) -> tuple[int, Sequence[Contraction]]:
        if value in self._layout.public:
            return 0, ()
        node = self._layout.graph.nodes[value]
        match node:
            case Affine():
                columns, found = 0, list(node.contractions)
                for term in node.terms:
                    if term.value != ONES:
                        more, contractions = self.parts(term.value)
                        columns += more
                        found += contractions
                return columns, found
            case Reshape():
                return self.parts(node.value)
            case Maximum():
                columns, contractions = self.parts(node.right)
                return columns + 1, contractions
            case _:
                return 1, ()
