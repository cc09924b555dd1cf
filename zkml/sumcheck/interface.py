"""The Statement's tensors and a circuit's ports: checks sumcheck.2 and sumcheck.7.

The tensors of a role are all public, or all hashed: then each claim names the scheme of `ports`
and the one root of the proof's committed tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from proofml.backend import Trial
from proofml.checks import Checks
from proofml.circuits.codec import encode_input, encode_output
from proofml.circuits.graph import Graph, Ints
from proofml.proof import Proof
from proofml.statement import Commitment, Statement, TensorClaim, Visibility
from proofml.tensors import Array, dtype_name, tensor_digest
from proofml.zkml.sumcheck import checks as numbers
from proofml.zkml.sumcheck import layout
from proofml.zkml.sumcheck.bounds import check_memory
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.ports import (
    SCHEME,
    circuit_visibility,
    committed,
    expected_codes,
    ports_tree,
    salt_numbers,
)

#: Names of the evidence.
PROOF, QUANTISATION = "proof", "quantisation"
_ROOT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Ports:
    """What the Statement says of the tensors.

    Attributes:
        visibility: that the circuit has to have.
        root: of the tree of committed tensors; None where all are public.
    """

    visibility: layout.Visibility
    root: bytes | None


def check_interface(proof: Proof, checks: Checks, *, quantised_here: bool) -> Ports:
    """(2) One visibility a role, one root, and the evidence is exactly what is read."""
    statement = proof.statement
    for role, claim in statement.tensors():
        if claim.visibility is Visibility.PRIVATE:
            checks.failed(
                numbers.INTERFACE,
                f"visibility of {role}: this version hides nothing",
                expected=f"{Visibility.PUBLIC} or {Visibility.HASHED}",
                got=claim.visibility,
            )
    visibility = circuit_visibility(
        _visibility("inputs", statement.inputs, checks),
        _visibility("outputs", statement.outputs, checks),
    )
    root = _root(statement, checks)
    wanted = {role for role, claim in statement.tensors() if claim.sha256 is not None} | {PROOF}
    if quantised_here:
        wanted.add(QUANTISATION)
    got = {entry.name for entry in proof.entries if not entry.beside}
    got |= {f"{entry.name} (beside the proof)" for entry in proof.entries if entry.beside}
    if got != wanted:
        checks.failed(numbers.INTERFACE, "evidence", expected=sorted(wanted), got=sorted(got))
    hashed = committed(visibility)
    checks.passed(numbers.INTERFACE, f"committed: {hashed}" if hashed else "every tensor is public")
    return Ports(visibility, root)


def _visibility(role: str, claims: tuple[TensorClaim, ...], checks: Checks) -> Visibility:
    """The one that all claims of a role have; public where there is none."""
    found = {claim.visibility for claim in claims}
    if len(found) > 1:
        checks.failed(
            numbers.INTERFACE,
            f"visibility of the {role}",
            expected="one for all",
            got=", ".join(sorted(found)),
        )
    return found.pop() if found else Visibility.PUBLIC


def _root(statement: Statement, checks: Checks) -> bytes | None:
    """The one root that all hashed tensors name."""
    first: bytes | None = None
    for role, claim in statement.tensors():
        commitment = claim.commitment
        if commitment is None:
            continue
        checks.equal(
            numbers.INTERFACE,
            f"scheme of the commitment to {role}",
            expected=SCHEME,
            got=commitment.scheme,
        )
        root = bytes.fromhex(commitment.value)
        if len(root) != _ROOT_BYTES or root != (first or root):
            checks.failed(
                numbers.INTERFACE,
                f"commitment to {role}",
                expected=f"a root of {_ROOT_BYTES} bytes, the same for all committed tensors",
                got=commitment.value,
            )
        first = root
    return first


def public_values(graph: Graph, proof: Proof, checks: Checks) -> dict[int, Ints]:
    """(7) Names, types and shapes are the circuit's; every public value as centred codes.

    What is committed has none: the root stands for it.
    """
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
        for index, (port, claim) in enumerate(zip(ports, claims, strict=True)):
            if claim.visibility is not Visibility.PUBLIC:
                continue
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
    return found


def check_root(trial: Trial, circuit: Circuit, root: bytes | None) -> str:
    """(7) The root is that of the expected tensors, where the verifier knows all of them.

    One tensor alone cannot be compared: where another one or the salt is missing, the roles stay
    in `open_commitments`, and the core refuses the proof if the verifier insists on one of them.

    Returns:
        What was found, for the check's detail.

    Raises:
        VerificationError: sumcheck.7.
        UsageError: the salt that is expected is none of this scheme.
        BackendFailed: this machine may not compute the tree.
    """
    expect, checks = trial.expect, trial.checks
    if root is None:
        return "nothing is committed"
    if expect.salt is None:
        return "the root is not compared: no salt is known"
    try:
        codes = expected_codes(circuit.graph, circuit.visibility, expect.inputs, expect.outputs)
    except ValueError as error:
        checks.failed(numbers.PUBLIC, f"expected tensors that are committed: {error}")
    if codes is None:
        return f"the root is not compared: it takes all {committed(circuit.visibility)}"
    check_memory(circuit.params, circuit.layout, trial.context.limits, layout.PORTS)
    tree = ports_tree(circuit, codes, salt_numbers(expect.salt))
    checks.equal(
        numbers.PUBLIC,
        "root of the expected tensors under the expected salt",
        expected=tree.nodes[1].tobytes().hex(),
        got=root.hex(),
    )
    for role, claim in trial.proof.statement.tensors():
        if claim.commitment is not None:
            checks.open_commitments.discard(role)
    return "the root is that of the expected tensors"


def claims_of(tensors: Mapping[str, Array], root: bytes | None = None) -> tuple[TensorClaim, ...]:
    """The Statement's entries of tensors: shown, or committed to under a root."""
    if root is None:
        return public_claims(tensors)
    return tuple(
        replace(
            claim,
            visibility=Visibility.HASHED,
            sha256=None,
            commitment=Commitment(SCHEME, root.hex()),
        )
        for claim in public_claims(tensors)
    )


def public_claims(tensors: Mapping[str, Array]) -> tuple[TensorClaim, ...]:
    """The Statement's entries of tensors that are shown."""
    claims = []
    for name, array in tensors.items():
        dtype = dtype_name(array)
        assert dtype is not None  # a port has one of the Statement's dtypes
        digest = tensor_digest(array)
        claims.append(TensorClaim(name, dtype, array.shape, Visibility.PUBLIC, digest))
    return tuple(claims)
