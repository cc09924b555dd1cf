"""Which values share quantisation parameters, and whose ranges decide them.

Data movement, maxima and clipping pass codes on, so that inputs and outputs form one set with one
scale and zero point. A value that only a Relu or Clip reads is not looked at: what these cut off
need not be represented, and the saturation of the codes does their work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from proofml.circuits.quantise.graph import Graph
from proofml.circuits.quantise.operators import (
    BINARY,
    CLIPPING,
    SHARED,
    WEIGHTED,
    activations,
)
from proofml.circuits.quantise.record import MAX_ACTIVATIONS, MAX_NAME, Params, acceptable
from proofml.errors import UnsupportedModel, printable

_CODES: dict[int, str] = {TensorProto.UINT8: "uint8", TensorProto.INT8: "int8"}
_ONE = int(np.float32(1).view(np.uint32))


@dataclass(frozen=True)
class Plan:
    """Sets of values, each named by its first one in the order of the graph.

    Attributes:
        set_of: value -> name of its set.
        observed: set -> values whose ranges its parameters must hold.
        fixed: set -> parameters that the model itself gives (casts of 8-bit inputs).
    """

    set_of: Mapping[str, str]
    observed: Mapping[str, tuple[str, ...]]
    fixed: Mapping[str, Params]


def make_plan(graph: Graph) -> Plan:
    """The plan of a prepared graph.

    Raises:
        UnsupportedModel: a name that cannot stand in a record; too many values; an 8-bit input
            moved together with values of another scale.
    """
    parents: dict[str, str] = {}
    order: dict[str, int] = {}

    def root(name: str) -> str:
        while parents[name] != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    def join(left: str, right: str) -> None:
        first, second = sorted((root(left), root(right)), key=order.__getitem__)
        parents[second] = first

    def add(name: str) -> None:
        order[name] = len(order)
        parents[name] = name

    for value in graph.inputs:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            add(value.name)
    for node in graph.nodes:
        if node.op == "ArgMax":
            continue
        for name in filter(None, node.outputs):
            add(name)
        if node.op in SHARED:
            values = [name for name in activations(node) if name not in graph.constants]
            for name in (*values, *filter(None, node.outputs)):
                join(values[0], name)
    hidden = _hidden(graph)
    observed: dict[str, list[str]] = {}
    for name in order:
        if name not in hidden:
            observed.setdefault(root(name), []).append(name)
    fixed = _fixed(graph, {name: root(name) for name in order})
    for name in fixed:
        del observed[name]
    if len(observed) > MAX_ACTIVATIONS:
        raise UnsupportedModel(
            f"{graph.name}: {len(observed)} values to quantise, at most {MAX_ACTIVATIONS}"
        )
    for name in observed:
        if not acceptable(name):
            raise UnsupportedModel(
                f"{graph.name}: the value {printable(name)!r}: expected a name of 1 to {MAX_NAME} "
                "printable characters; rename it"
            )
    return Plan(
        set_of={name: root(name) for name in order},
        observed={name: tuple(values) for name, values in sorted(observed.items())},
        fixed=fixed,
    )


#: What carries each value to one place or more, and nothing else.
_CARRYING = frozenset(
    {"Flatten", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)


def _hidden(graph: Graph) -> set[str]:
    """Values read by nothing but one clipping node, directly or through maxima and movement."""
    uses = graph.uses()
    hidden: set[str] = set()
    inputs = {value.name for value in graph.inputs}
    for node in reversed(graph.nodes):
        cut = node.op in CLIPPING or (node.op in _CARRYING and node.output in hidden)
        if cut and uses[node.inputs[0]] == 1 and node.inputs[0] not in inputs:
            hidden.add(node.inputs[0])
    return hidden


def _fixed(graph: Graph, set_of: Mapping[str, str]) -> dict[str, Params]:
    dtypes = {value.name: value.type.tensor_type.elem_type for value in graph.inputs}
    fixed: dict[str, Params] = {}
    for node in graph.nodes:
        if node.op == "Cast":
            name = set_of[node.output]
            params = Params(_ONE, 0, _CODES[dtypes[node.inputs[0]]])
            if fixed.setdefault(name, params) != params:
                raise UnsupportedModel(
                    f"{node.where}: a uint8 and an int8 input of the model are moved together"
                )
    if not fixed:
        return fixed
    makers = {name: node for node in graph.nodes for name in node.outputs}
    for name, owner in set_of.items():
        maker = makers.get(name)
        if owner in fixed and (maker is None or maker.op not in SHARED | {"Cast"}):
            raise UnsupportedModel(
                f"{graph.name}: {printable(name)!r} is joined with a cast input of another scale; "
                "give the model float inputs"
            )
    return fixed


def check_dtypes(graph: Graph, plan: Plan, dtype: str) -> None:
    """Refuse where an 8-bit input meets codes of the other signedness.

    Raises:
        UnsupportedModel: naming the first operator; the runtimes have no kernel for it.
    """
    if all(params.dtype == dtype for params in plan.fixed.values()):
        return
    for node in graph.nodes:
        if node.op not in SHARED | BINARY | WEIGHTED | {"AveragePool", "GlobalAveragePool"}:
            continue
        mine = {
            plan.fixed[plan.set_of[name]].dtype if plan.set_of[name] in plan.fixed else dtype
            for name in (*activations(node), node.output)
            if name in plan.set_of
        }
        if len(mine) > 1:
            raise UnsupportedModel(
                f"{node.where}: it joins uint8 and int8 codes; quantise activations to "
                f"{'int8' if dtype == 'uint8' else 'uint8'}, as the model's input"
            )
