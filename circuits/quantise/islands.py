"""Chains of float functions of one value become one node: one rounding, one table.

`x * sigmoid(x)`, a HardSwish or a Mish written out, `exp(-abs(x))`: quantised one by one, each
operator would round to 8 bits. Between one DequantizeLinear and one QuantizeLinear they stay what
they are, and all together are a function of one code.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from proofml.circuits.quantise.graph import Graph, Node
from proofml.circuits.quantise.operators import CLIPPING, UNARY

#: Longer chains are cut: a bound for files of strangers.
MAX_NODES = 64
_BINARY = frozenset({"Add", "Div", "Mul", "Sub"})


@dataclass(frozen=True)
class _Island:
    """`source`, the value that the function is of, and its nodes by their place in the graph."""

    source: str
    body: tuple[int, ...]


def form_islands(graph: Graph) -> None:
    """Replace chains of two and more such nodes by a node `Island` with a list `body`.

    Its inputs are the source and the constants of the body. Nothing else reads what lies inside.
    """
    uses = graph.uses()
    found: dict[str, _Island] = {}
    absorbed: set[str] = set()
    for place, node in enumerate(graph.nodes):
        island = _extend(graph, node, place, found, uses)
        if island is not None:
            found[node.output] = island
            absorbed.update(name for name in node.inputs if _inside(name, found, island))
    inner: set[int] = set()
    last: dict[int, _Island] = {}
    for name in found:
        island = _without_clips(graph, name, found)
        if name not in absorbed and len(island.body) > 1:
            inner.update(island.body)
            last[island.body[-1]] = island
    result: list[Node] = []
    for place, node in enumerate(graph.nodes):
        if place in last:
            result.append(_node(graph, last[place]))
        elif place not in inner:
            result.append(node)
    graph.nodes = result


def _without_clips(graph: Graph, name: str, found: dict[str, _Island]) -> _Island:
    """The island without a Relu or Clip at its end, which the saturation of codes does."""
    island = found[name]
    while graph.nodes[island.body[-1]].op in CLIPPING and len(island.body) > 1:
        island = found[graph.nodes[island.body[-1]].inputs[0]]
    return island


def _inside(name: str, found: dict[str, _Island], island: _Island) -> bool:
    return name in found and found[name].body[-1] in island.body and name != island.source


def _extend(
    graph: Graph, node: Node, place: int, found: dict[str, _Island], uses: Counter[str]
) -> _Island | None:
    """The island that ends with this node; None where it is no function of one value."""
    values = [name for name in node.inputs if name and name not in graph.constants]
    if node.op in UNARY | CLIPPING:
        if not values or values[0] != node.inputs[0]:
            return None
        values = values[:1]
    elif node.op not in _BINARY or not values or not _scalars(graph, node):
        return None
    # Each operand as the end of an island that may grow, or as a value like any other.
    islands = {
        name: found[name] for name in values if name in found and uses[name] == values.count(name)
    }
    sources = {islands[name].source if name in islands else name for name in values}
    if len(sources) > 1:
        # One operand is the source of the other one, or is no function of the same value.
        plain = {name: islands.pop(name) for name in values if name in islands}
        islands = {name: plain[name] for name in plain if plain[name].source in values}
        sources = {islands[name].source if name in islands else name for name in values}
        if len(sources) > 1:
            return None
    if not islands and (node.op in CLIPPING or len(values) > 1):
        return None  # saturation does it, or QLinearMul and QLinearAdd of a value with itself
    body = {place}.union(*(island.body for island in islands.values()))
    if len(body) > MAX_NODES:
        return _Island(values[0], (place,)) if len(values) == 1 else None
    return _Island(sources.pop(), tuple(sorted(body)))


def _scalars(graph: Graph, node: Node) -> bool:
    """Whether the constant operands are single numbers that add no dimension."""
    for name in node.inputs:
        constant = graph.constants.get(name)
        if constant is None:
            continue
        other = next(value for value in node.inputs if value not in graph.constants)
        if constant.size != 1 or constant.ndim > (graph.rank(other) or 0):
            return False
    return True


def _node(graph: Graph, island: _Island) -> Node:
    body = [graph.nodes[place] for place in island.body]
    constants = {
        name: None for node in body for name in node.inputs if name and name in graph.constants
    }
    end = body[-1]
    operators = ", ".join(node.op for node in body)
    where = f"{end.where}, with what it is made of ({operators})"
    return Node("Island", [island.source, *constants], end.outputs, {"body": body}, where)
