"""The tree of committed inputs and outputs: docs/commitments.md.

One tree a proof holds every tensor that is not public, as centred codes, and a salt. Its root is
in the Statement, the same one in the claim of each of these tensors. Whoever knows them all and
the salt can compute it again. A proof shows rows and linear combinations of what lies under the
root: this binds, it does not hide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from proofml.circuits.codec import encode_input, encode_output
from proofml.circuits.field.babybear import P
from proofml.circuits.graph import Graph, Ints
from proofml.circuits.kernels.claims import Tree
from proofml.errors import UsageError
from proofml.statement import Visibility as Shown
from proofml.tensors import Array
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.columns import fill
from proofml.zkml.sumcheck.commit import commit
from proofml.zkml.sumcheck.layout import PORTS, SALT_CELLS, Visibility

#: Name of the commitment in Statements.
SCHEME: Final = "proofml/sumcheck/ports/v1"
#: Raised wherever a tensor is committed; docs/commitments.md.
NOT_HIDDEN: Final = "hiding:none"
_WORD = 4
SALT_BYTES: Final = _WORD * SALT_CELLS


def circuit_visibility(inputs: Shown, outputs: Shown) -> Visibility:
    """That of a circuit for tensors that are public or hashed."""
    return Visibility(inputs is Shown.PUBLIC, outputs is Shown.PUBLIC)


def committed(visibility: Visibility) -> str:
    """The roles that a circuit commits to, in words; empty where all is public."""
    roles = {"inputs": not visibility.inputs, "outputs": not visibility.outputs}
    return " and ".join(role for role, hashed in roles.items() if hashed)


def salt_numbers(salt: bytes) -> Ints:
    """The cells of a salt: 4 bytes each, little-endian, below p.

    Raises:
        UsageError: not a salt of this scheme.
    """
    if len(salt) != SALT_BYTES:
        raise UsageError(f"salt: expected {SALT_BYTES} bytes, got {len(salt)}")
    numbers = np.frombuffer(salt, "<u4").astype(np.int64)
    if numbers.max() >= P:
        raise UsageError(f"salt: expected {SALT_CELLS} numbers below {P}, got {numbers.max()}")
    return numbers


def salt_bytes(numbers: Ints) -> bytes:
    """The inverse of `salt_numbers`."""
    return numbers.astype("<u4").tobytes()


def ports_tree(circuit: Circuit, values: Mapping[int, Ints], salt: Ints) -> Tree:
    """The tree of the committed inputs and outputs of a circuit that has some.

    Args:
        values: number -> cells of every committed value, within its range.
        salt: `SALT_CELLS` numbers below p.
    """
    blocks = {
        name: values[number]
        for number, (tree, name) in circuit.layout.column.items()
        if tree == PORTS
    }
    params = circuit.params
    cells = fill(circuit.layout.trees[PORTS], {**blocks, "salt": salt}, params.mu)
    return commit(PORTS, cells, params.mu, params.rate)


def expected_codes(
    graph: Graph,
    visibility: Visibility,
    inputs: Mapping[str, Array] | None,
    outputs: Mapping[str, Array] | None,
) -> dict[int, Ints] | None:
    """Codes of all tensors that a circuit commits to; None where one of them is not known.

    Raises:
        ValueError: a tensor without codes, or two for one value.
    """
    found: dict[int, Ints] = {}
    for public, ports, tensors, encode in (
        (visibility.inputs, graph.inputs, inputs, encode_input),
        (visibility.outputs, graph.outputs, outputs, encode_output),
    ):
        if public:
            continue
        for port in ports:
            if tensors is None or port.name not in tensors:
                return None
            codes = encode(port, tensors[port.name])
            if not np.array_equal(found.setdefault(port.value, codes), codes):
                raise ValueError(f"{port.name}: another value than that of the port it equals")
    return found
