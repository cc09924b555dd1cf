"""Proving keys: a circuit with its weights, their code word and their tree; committed ports."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from proofml.circuits.execute import Executor
from proofml.circuits.field.babybear import P
from proofml.circuits.graph import Graph, Ints
from proofml.circuits.kernels.claims import Tree
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.columns import fill
from proofml.zkml.sumcheck.commit import commit
from proofml.zkml.sumcheck.layout import MODEL, PORTS, SALT_CELLS, Visibility, arrange
from proofml.zkml.sumcheck.params import Params, choose
from proofml.zkml.sumcheck.ports import ports_tree


@dataclass(frozen=True)
class ProvingKey:
    """Made by `commit_model`, once a model.

    Attributes:
        circuit: its `bytes` are the verifying key.
        weights: block -> numbers, in the narrowest signed type that holds them.
        tree: the committed weights; None where there are none.
    """

    circuit: Circuit
    weights: Mapping[str, Ints] = field(repr=False)
    tree: Tree | None = field(repr=False)

    @cached_property
    def executor(self) -> Executor:
        """Runs the circuit."""
        return Executor(
            self.circuit.graph,
            {
                number: self.weights[name].astype(np.int64)
                for number, (tree, name) in self.circuit.layout.column.items()
                if tree == MODEL
            },
        )


def narrow(values: Ints) -> Ints:
    """The same numbers in the narrowest signed type."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    for kind in (np.int8, np.int16, np.int32):
        info = np.iinfo(kind)
        if info.min <= low and high <= info.max:
            smaller: Any = np.ascontiguousarray(values, dtype=kind)
            return smaller  # type: ignore[no-any-return]
    return values


def commit_model(
    graph: Graph,
    weights: Mapping[int, Ints],
    *,
    visibility: Visibility | None = None,
    params: Params | None = None,
    bits: int = 100,
) -> ProvingKey:
    """Commit to the weights of a compiled model.

    Args:
        graph, weights: of `proofml.circuits.onnx.compile_model`.
        visibility: which ports are public; all, if None.
        params: of the commitment; chosen for `bits` of soundness if None.
    """
    layout = arrange(graph, visibility)
    if params is None:
        params = choose({name: stack.log for name, stack in layout.trees.items()}, bits=bits)
    blocks = {
        name: narrow(weights[number])
        for number, (tree, name) in layout.column.items()
        if tree == MODEL
    }
    tree = None
    if MODEL in layout.trees:
        values = fill(layout.trees[MODEL], blocks, params.mu)
        tree = commit(MODEL, values, params.mu, params.rate)
    root = None if tree is None else tree.nodes[1].tobytes()
    circuit = Circuit(graph, params, root, layout.visibility)
    return ProvingKey(circuit, blocks, tree)


def commit_ports(circuit: Circuit, values: Mapping[int, Ints], *, salt: Ints | None = None) -> Tree:
    """The tree of the inputs and outputs that are not public; its root goes into the Statement.

    Whoever opens the root later needs the salt as well. What a proof shows of the tree is not
    masked: see `prover`.

    Args:
        values: number -> cells of every committed value, within its range.
        salt: `SALT_CELLS` numbers below p; drawn from the system's generator if None.

    Raises:
        ValueError: the circuit commits to no input or output.
    """
    if PORTS not in circuit.layout.trees:
        raise ValueError("expected a circuit with committed inputs or outputs, got a public one")
    if salt is None:
        salt = new_salt()
    return ports_tree(circuit, values, salt)


def new_salt() -> Ints:
    """`SALT_CELLS` random numbers: 247 bits from the system's generator."""
    return np.array([secrets.randbelow(P) for _ in range(SALT_CELLS)], np.int64)
