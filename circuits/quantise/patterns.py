"""Sub-graphs that are one function: GELU as exporters write it out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np

from proofml.circuits.quantise.graph import Graph, Node

#: Constants come in float32, from decimal literals or from computations.
_TOLERANCE = 1e-5


def match_gelu(graph: Graph) -> None:
    """`0.5 x (1 + erf(x / sqrt 2))`, its factors in any order, becomes one Gelu node.

    Quantised one by one its five operators would each round to 8 bits; as one function of x it
    is one table.
    """
    producers, uses = graph.producers(), graph.uses()
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in set(node.inputs):
            readers.setdefault(name, []).append(node)
    gone: set[Node] = set()
    for node in graph.nodes:
        if node.op == "Erf" and node not in gone:
            _match(graph, node, producers, uses, readers, gone)
    graph.nodes = [node for node in graph.nodes if node not in gone]


def _match(
    graph: Graph,
    erf: Node,
    producers: dict[str, Node],
    uses: Counter[str],
    readers: dict[str, list[Node]],
    gone: set[Node],
) -> None:
    x = _scaled_input(graph, producers.get(erf.inputs[0]))
    if x is None or uses[erf.output] != 1 or uses[erf.inputs[0]] != 1:
        return
    plus = _only(readers.get(erf.output, ()))
    if plus is None or plus.op != "Add" or not _near(graph, _other(plus, erf.output), 1.0):
        return
    # From here two multiplications follow, by x and by 1/2; or x is halved before.
    inner, last = [producers[erf.inputs[0]], erf, plus], plus
    missing = {"x", "half"}
    while missing:
        mul = _only(readers.get(last.output, ()))
        if mul is None or mul.op != "Mul" or uses[last.output] != 1:
            return
        other = _other(mul, last.output)
        halved = producers.get(other)
        if "x" in missing and other == x:
            missing.remove("x")
        elif "half" in missing and _near(graph, other, 0.5):
            missing.remove("half")
        elif (
            missing == {"x", "half"}
            and halved is not None
            and halved.op == "Mul"
            and x in halved.inputs
            and _near(graph, _other(halved, x), 0.5)
        ):
            missing.clear()
            if uses[other] == 1:
                inner.append(halved)
        else:
            return
        inner.append(mul)
        last = mul
    gone.update(inner[:-1])
    last.op, last.inputs, last.attributes = "Gelu", [x], {}


def _scaled_input(graph: Graph, node: Node | None) -> str | None:
    """x, where the node makes x / sqrt(2)."""
    if node is None or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    if node.op == "Div":
        return left if _near(graph, right, math.sqrt(2)) else None
    if node.op == "Mul":
        for name, factor in ((left, right), (right, left)):
            if _near(graph, factor, math.sqrt(0.5)):
                return name
    return None


def _near(graph: Graph, name: str, value: float) -> bool:
    array = graph.constants.get(name)
    return (
        array is not None
        and array.size == 1
        and array.dtype == np.float32
        and abs(float(array.reshape(-1)[0]) - value) < _TOLERANCE
    )


def _other(node: Node, name: str) -> str:
    """The operand that is not `name`; `name` itself where it is both."""
    left, right = node.inputs
    return right if left == name else left


def _only(nodes: Iterable[Node]) -> Node | None:
    found = list(nodes)
    return found[0] if len(found) == 1 else None
