"""What a verifier does not work on: parameters out of all proportion, proofs of any length.

Parameters are the prover's choice (and so is the size of a batch), and what the verifier builds,
the code word and the tree of its own weights, grows with them. So they are held to the sizes of
the layout first, and what is left to build to the memory that it may take.
"""

from __future__ import annotations

from proofml.errors import BackendFailed
from proofml.worker.limits import Limits
from proofml.zkml.sumcheck import checks
from proofml.zkml.sumcheck.checks import refuse
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.layout import MODEL, Layout
from proofml.zkml.sumcheck.params import MAX_COLUMNS_LOG, Params, choose, columns_logs
from proofml.zkml.sumcheck.reader import DIGEST_BYTES, ELEMENT_BYTES
from proofml.zkml.sumcheck.soundness import Report

#: Bits below which nothing is called a proof, whatever the policy says.
MIN_BITS = 80
DEFAULT_BITS = 100
#: More than this no parameters reach: the lookups' share of the field.
MAX_BITS = 120
#: log2 of the inverse rate.
MAX_RATE = 4
#: log2 of the domain: this much is always taken, and this much more than what is usual.
FREE_DOMAIN_LOG = 18
MORE_DOMAIN_LOG = 2
#: The final vector has at most 2^12 elements.
MAX_FINAL_LOG = 12
_NONCE_BYTES = 8
#: Where no limit is given.
MEMORY = 4 << 30


def check_parameters(params: Params, layout: Layout) -> None:
    """Part of sumcheck.3: in proportion to the trees of this layout.

    Raises:
        VerificationError: sumcheck.3.
    """
    logs = {name: stack.log for name, stack in layout.trees.items()}
    largest = max(logs.values())
    domain = max(FREE_DOMAIN_LOG, choose(logs, bits=DEFAULT_BITS).log_domain + MORE_DOMAIN_LOG)
    for name, value, low, high in (
        ("rate", params.rate, 1, MAX_RATE),
        ("mu", params.mu, max(0, largest - MAX_COLUMNS_LOG), largest),
        ("log2 of the domain", params.log_domain, 0, domain),
        ("log2 of the final vector", params.log_final, 0, MAX_FINAL_LOG),
    ):
        if not low <= value <= high:
            refuse(checks.PARAMETERS, name, expected=f"{low} to {high}", got=value)


def check_memory(params: Params, layout: Layout, limits: Limits, tree: str = MODEL) -> None:
    """Whether this machine may commit to a tree, that of the weights, under these parameters.

    Raises:
        BackendFailed: that it may not says nothing of the proof.
    """
    if tree not in layout.trees:
        return
    stack, most = layout.trees[tree], limits.memory or MEMORY
    columns = columns_logs({tree: stack.log}, params.mu)[tree]
    needed = (1 << params.log_domain) * ((4 << columns) + 2 * DIGEST_BYTES)
    what, without = ("weights", "a pinned circuit")
    if tree != MODEL:
        what, without = ("committed tensors", "a verifier who does not compare them")
    if needed > most:
        raise BackendFailed(
            f"computing the root of the {what} takes about {needed >> 20} MiB, at most "
            f"{most >> 20} are allowed; --memory-limit allows more, {without} needs none",
            stage=f"commit to the {what}",
        )


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
