"""What the public instances of a circuit must be, computed from the Statement alone.

EZKL lays out one column: a hash for each hashed input, the hash of hashed parameters, the public
inputs in graph order, then the public outputs, or a hash for each hashed output. The Statement's
words stand among the inputs (last) and, where they are carried to an output, among the outputs
(last). See `wrap.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proofml.checks import Checks
from proofml.proof import Proof
from proofml.statement import Statement, TensorClaim, Visibility
from proofml.tensors import same_bits
from proofml.zkml.ezkl import field
from proofml.zkml.ezkl.settings import Settings
from proofml.zkml.ezkl.wrap import WORDS, needs_output, statement_words

#: Name of the commitment in Statements: EZKL's Poseidon (width 2, rate 1) over quantised values.
SCHEME = "ezkl-poseidon-bn254"

STATEMENT_CHECK = "ezkl.8"
INPUT_CHECK = "ezkl.9"
OUTPUT_CHECK = "ezkl.10"
PARAMETER_CHECK = "ezkl.11"

#: EZKL's name of the input type of each dtype; decides how it is quantised.
TYPE_OF = {
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "bool": "Bool",
    **dict.fromkeys(
        ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), "Int"
    ),
}


@dataclass(frozen=True, slots=True)
class Part:
    """A run of instances: which check looks at it, of which tensor, and how long it is."""

    check: str
    role: str
    length: int


def layout(statement: Statement, parameters: str) -> list[Part]:
    """The column, part by part, for a Statement whose visibilities are uniform."""
    inputs, outputs = visibility_of(statement.inputs), visibility_of(statement.outputs)
    parts: list[Part] = []
    if inputs is Visibility.HASHED:
        parts += [Part(INPUT_CHECK, f"input.{i}", 1) for i in range(len(statement.inputs))]
        parts.append(Part(STATEMENT_CHECK, "hash", 1))
    if parameters == "hashed":
        parts.append(Part(PARAMETER_CHECK, "parameters", 1))
    if inputs is Visibility.PUBLIC:
        parts += _values(INPUT_CHECK, "input", statement.inputs)
        parts.append(Part(STATEMENT_CHECK, "words", WORDS))
    carried = needs_output(inputs.value)
    if outputs is Visibility.PUBLIC:
        parts += _values(OUTPUT_CHECK, "output", statement.outputs)
        if carried:
            parts.append(Part(STATEMENT_CHECK, "words", WORDS))
    elif outputs is Visibility.HASHED:
        parts += [Part(OUTPUT_CHECK, f"output.{i}", 1) for i in range(len(statement.outputs))]
        if carried:
            parts.append(Part(STATEMENT_CHECK, "hash", 1))
    return parts


def visibility_of(claims: Sequence[TensorClaim]) -> Visibility:
    """The visibility that all claims share (`uniform` was checked); public where there is none."""
    return claims[0].visibility if claims else Visibility.PUBLIC


def uniform(claims: Sequence[TensorClaim]) -> bool:
    return len({claim.visibility for claim in claims}) <= 1


def _values(check: str, role: str, claims: Sequence[TensorClaim]) -> list[Part]:
    return [Part(check, f"{role}.{i}", math.prod(claim.shape)) for i, claim in enumerate(claims)]


def check_instances(
    proof: Proof,
    settings: Settings,
    parameters: str,
    parameters_commitment: bytes | None,
    instances: Sequence[bytes],
    hash_words: Callable[[list[int]], bytes],
    checks: Checks,
) -> None:
    """Checks ezkl.8 to ezkl.11: every instance is the one that the Statement implies.

    Args:
        proof: gives the Statement and the public tensors.
        settings: its scales are believed here and confirmed by check ezkl.12.
        instances: canonical field elements, as carried.
        hash_words: EZKL's Poseidon of a list of integers.

    Raises:
        VerificationError: with the number of the part that differs.
    """
    statement = proof.statement
    parts = layout(statement, parameters)
    total = sum(part.length for part in parts)
    if total != len(instances):
        checks.failed(STATEMENT_CHECK, "number of instances", expected=total, got=len(instances))
    claims = dict(statement.tensors())
    words = statement_words(statement.digest)
    position = 0
    for part in parts:
        got = list(instances[position : position + part.length])
        position += part.length
        if part.check == STATEMENT_CHECK:
            wanted = (
                [hash_words(words)] if part.role == "hash" else [field.encode(w) for w in words]
            )
            _same(part, wanted, got, "the Statement's digest", checks)
        elif part.check == PARAMETER_CHECK:
            _same(part, [parameters_commitment or b""], got, "commitment to parameters", checks)
        elif part.role.startswith("input."):
            _check_input(part, proof, claims[part.role], settings, got, checks)
        else:
            _check_output(part, proof, claims[part.role], settings, got, checks)
    for number in (STATEMENT_CHECK, INPUT_CHECK, OUTPUT_CHECK, PARAMETER_CHECK):
        count = sum(part.length for part in parts if part.check == number)
        if count:
            checks.passed(number, f"{count} instances")
        else:
            checks.skipped(number, "no instance shows it")


def _same(
    part: Part, wanted: Sequence[bytes], got: Sequence[bytes], what: str, checks: Checks
) -> None:
    for index, (one, other) in enumerate(zip(wanted, got, strict=True)):
        if one != other:
            checks.failed(
                part.check,
                f"{part.role}, instance {index}: {what}",
                expected=one.hex(),
                got=other.hex(),
            )


def _commitment(claim: TensorClaim, part: Part, checks: Checks) -> bytes:
    assert claim.commitment is not None  # a hashed claim without one is no Statement
    if claim.commitment.scheme != SCHEME or len(claim.commitment.value) != 2 * field.BYTES:
        checks.failed(
            part.check, f"{part.role}: commitment", expected=SCHEME, got=claim.commitment.scheme
        )
    return bytes.fromhex(claim.commitment.value)


def _check_input(
    part: Part,
    proof: Proof,
    claim: TensorClaim,
    settings: Settings,
    got: Sequence[bytes],
    checks: Checks,
) -> None:
    index = int(part.role.split(".")[1])
    kind = settings.input_types[index] if index < len(settings.input_types) else "nothing"
    if kind != TYPE_OF[claim.dtype] or index >= len(settings.input_scales):
        checks.failed(
            part.check,
            f"{part.role}: type in the settings",
            expected=TYPE_OF[claim.dtype],
            got=kind,
        )
    if claim.visibility is Visibility.HASHED:
        _same(part, [_commitment(claim, part, checks)], got, "commitment", checks)
        return
    try:
        values = field.quantise(proof.tensor(part.role), settings.input_scales[index])
    except ValueError as error:
        checks.failed(part.check, f"{part.role}: {error}")
    _same(part, [field.encode(value) for value in values], got, "quantised value", checks)


def _check_output(
    part: Part,
    proof: Proof,
    claim: TensorClaim,
    settings: Settings,
    got: Sequence[bytes],
    checks: Checks,
) -> None:
    if claim.visibility is Visibility.HASHED:
        _same(part, [_commitment(claim, part, checks)], got, "commitment", checks)
        return
    index = int(part.role.split(".")[1])
    if index >= len(settings.output_scales):
        checks.failed(part.check, f"{part.role}: the settings give it no scale")
    values = [field.decode(element) for element in got]
    if any(abs(value) >= settings.range_limit for value in values):
        checks.failed(
            part.check, part.role, expected=f"below {settings.range_limit}", got="an overflow"
        )
    stated = proof.tensor(part.role)
    try:
        proven = field.dequantise(values, settings.output_scales[index], claim.dtype, claim.shape)
    except ValueError as error:
        checks.failed(part.check, f"{part.role}: {error}")
    if not same_bits(stated, proven):
        checks.failed(
            part.check,
            f"{part.role} ({claim.name}): stated and proven value",
            expected=proven.reshape(-1)[:4].tolist(),
            got=stated.reshape(-1)[:4].tolist(),
        )
