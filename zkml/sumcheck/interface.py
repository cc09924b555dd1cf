"""The Statement's tensors and a circuit's ports: checks sumcheck.2 and sumcheck.7."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from proofml.checks import Checks
from proofml.circuits.codec import encode_input, encode_output
from proofml.circuits.graph import Graph, Ints
from proofml.proof import Proof
from proofml.statement import TensorClaim, Visibility
from proofml.tensors import Array, dtype_name, tensor_digest
from proofml.zkml.sumcheck import checks as numbers

#: Names of the evidence.
PROOF, QUANTISATION = "proof", "quantisation"


def check_interface(proof: Proof, checks: Checks, *, quantised_here: bool) -> None:
    """(2) Every tensor is public, and the evidence is exactly what is read."""
    statement = proof.statement
    for role, claim in statement.tensors():
        if claim.visibility is not Visibility.PUBLIC:
            checks.failed(
                numbers.INTERFACE,
                f"visibility of {role}: this version hides nothing",
                expected=Visibility.PUBLIC,
                got=claim.visibility,
            )
    wanted = {role for role, _ in statement.tensors()} | {PROOF}
    if quantised_here:
        wanted.add(QUANTISATION)
    got = {entry.name for entry in proof.entries if not entry.beside}
    got |= {f"{entry.name} (beside the proof)" for entry in proof.entries if entry.beside}
    if got != wanted:
        checks.failed(numbers.INTERFACE, "evidence", expected=sorted(wanted), got=sorted(got))
    checks.passed(numbers.INTERFACE, "every tensor is public")


def public_values(graph: Graph, proof: Proof, checks: Checks) -> dict[int, Ints]:
    """(7) Names, types and shapes are the circuit's; every public value as centred codes."""
    statement = proof.statement
    found: dict[int, Ints] = {}
    for role, ports, claims, encode in (
        ("input", graph.inputs, statement.inputs, encode_input),
        ("output", graph.outputs, statement.outputs, encode_output),
    ):
        checks.equal(
            numbers.PUBLIC,
            f"name, type and shape of each {role}",
            expected=[(port.name, port.codec.dtype, port.shape) for port in ports],
            got=[(claim.name, claim.dtype, claim.shape) for claim in claims],
        )
        for index, port in enumerate(ports):
            try:
                codes = encode(port, proof.tensor(f"{role}.{index}"))
            except ValueError as error:
                checks.failed(numbers.PUBLIC, f"value of {role}.{index}: {error}")
            # Two ports can show one value; then they have to show the same.
            if not np.array_equal(found.setdefault(port.value, codes), codes):
                checks.failed(
                    numbers.PUBLIC,
                    f"value of {role}.{index}",
                    expected="that of the other port of the same value",
                    got="another one",
                )
    checks.passed(numbers.PUBLIC, f"{sum(codes.size for codes in found.values())} codes")
    return found


def public_claims(tensors: Mapping[str, Array]) -> tuple[TensorClaim, ...]:
    """The Statement's entries of tensors that are shown."""
    claims = []
    for name, array in tensors.items():
        dtype = dtype_name(array)
        assert dtype is not None  # a port has one of the Statement's dtypes
        digest = tensor_digest(array)
        claims.append(TensorClaim(name, dtype, array.shape, Visibility.PUBLIC, digest))
    return tuple(claims)
