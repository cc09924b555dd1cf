"""What a verifier does not work on: parameters out of all proportion, proofs of any length.

Parameters are the prover's choice, and everything that the verifier builds (the code word of its
own weights above all) grows with them. So they are held to the sizes of the layout first.
"""

from __future__ import annotations

from proofml.zkml.sumcheck import checks
from proofml.zkml.sumcheck.checks import refuse
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.layout import Layout
from proofml.zkml.sumcheck.params import MAX_COLUMNS_LOG, Params, columns_logs
from proofml.zkml.sumcheck.reader import DIGEST_BYTES, ELEMENT_BYTES
from proofml.zkml.sumcheck.soundness import Report

#: Bits below which nothing is called a proof, whatever the policy says.
MIN_BITS = 80
DEFAULT_BITS = 100
#: More than this no parameters reach: the lookups' share of the field.
MAX_BITS = 120
#: A code word is at most this many times its message.
MAX_RATE = 4
#: The final vector has at most 2^12 elements.
MAX_FINAL_LOG = 12
_NONCE_BYTES = 8


def check_parameters(params: Params, layout: Layout) -> None:
    """Part of sumcheck.3: in proportion to the trees of this layout.

    Raises:
        VerificationError: sumcheck.3.
    """
    largest = max(stack.log for stack in layout.trees.values())
    for name, value, low, high in (
        ("rate", params.rate, 1, MAX_RATE),
        ("mu", params.mu, max(0, largest - MAX_COLUMNS_LOG), largest),
        ("log2 of the final vector", params.log_final, 0, MAX_FINAL_LOG),
    ):
        if not low <= value <= high:
            refuse(checks.PARAMETERS, name, expected=f"{low} to {high}", got=value)


def check_bits(report: Report) -> None:
    """Part of sumcheck.3: below `MIN_BITS` there is nothing that a policy could accept.

    Raises:
        VerificationError: sumcheck.3.
    """
    if report.bits < MIN_BITS:
        refuse(
            checks.PARAMETERS,
            f"bits of soundness (weakest: {report.weakest.name})",
            expected=f"at least {MIN_BITS}",
            got=f"{report.total:.1f}",
        )


def most_bytes(circuit: Circuit) -> int:
    """An upper bound of a proof's length: only shared and repeated positions make it shorter."""
    params, shape = circuit.params, circuit.shape
    columns = columns_logs(shape.trees, params.mu)
    layers = shape.leaves
    elements = 4 * layers + 3 * layers * (layers - 1) // 2
    elements += shape.claims + shape.contractions + 2 * shape.rounds
    elements += 2 * (max(columns.values()) + (len(columns) - 1).bit_length() + params.mu)
    elements += 1 << params.log_final
    size = ELEMENT_BYTES * elements + DIGEST_BYTES * (1 + len(params.folds)) + _NONCE_BYTES
    row = sum((4 << k) + DIGEST_BYTES * params.log_domain for k in columns.values())
    log_n = params.log_domain
    for fold in params.folds:
        log_n -= fold
        row += (ELEMENT_BYTES << fold) + DIGEST_BYTES * log_n
    return size + params.queries * row
