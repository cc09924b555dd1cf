"""The prover's heavy functions: the C kernels where they are loaded, their NumPy twins elsewhere.

Both write the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proofml.circuits import kernels
from proofml.circuits.field.ext5 import Element
from proofml.circuits.kernels.claims import Claim, Tree, Words
from proofml.zkml.sumcheck.commit import commit
from proofml.zkml.sumcheck.twin import logup, opening, product

__all__ = ["commit", "logup_prove", "open_prove", "product_prove"]

Ints32 = NDArray[np.int32]


def logup_prove(
    ids: Ints32,
    c1: Ints32,
    c2: Ints32,
    num: Ints32,
    alpha: Element,
    beta: Element,
    state: bytearray,
) -> tuple[bytes, list[Element]]:
    """See `twin.logup`."""
    if kernels.available():
        return kernels.logup_prove(ids, c1, c2, num, alpha, beta, state)
    return logup.logup_prove(ids, c1, c2, num, alpha, beta, state)


def product_prove(
    tag: str,
    rounds: int,
    logs: Sequence[int],
    coef: Sequence[Element],
    u: Words,
    w: Words,
    state: bytearray,
) -> tuple[bytes, list[Element]]:
    """See `twin.product`."""
    if kernels.available():
        return kernels.product_prove(tag, rounds, logs, coef, u, w, state)
    return product.product_prove(tag, rounds, logs, coef, u, w, state)


def open_prove(
    trees: Sequence[Tree],
    claims: Sequence[Claim],
    mu: int,
    rate: int,
    folds: Sequence[int],
    queries: int,
    grind: int,
    state: bytearray,
) -> bytes:
    """See `twin.opening`."""
    if kernels.available():
        return kernels.open_prove(trees, claims, mu, rate, folds, queries, grind, state)
    return opening.open_prove(trees, claims, mu, rate, folds, queries, grind, state)
