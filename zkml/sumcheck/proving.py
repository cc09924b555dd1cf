"""The prover's heavy functions: the C kernels where they are loaded, their NumPy twins elsewhere.

Both write the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proofml.circuits import kernels
from proofml.circuits.field import babybear
from proofml.circuits.field.ext5 import Element
from proofml.circuits.kernels.claims import Claim, Tree, Words
from proofml.zkml.sumcheck import merkle
from proofml.zkml.sumcheck.twin import logup, opening, product

Ints32 = NDArray[np.int32]


def commit(tag: str, values: Words, mu: int, rate: int) -> Tree:
    """Code word and Merkle tree of 2^m canonical numbers, m >= mu."""
    m = (len(values) - 1).bit_length()
    if kernels.available():
        code = kernels.encode(values, m - mu, rate)
        return Tree(tag, m, values, code, kernels.merkle(tag, code))
    code = babybear.encode(values.astype(np.uint64), m - mu, rate).astype(np.uint32)
    return Tree(tag, m, values, code, merkle.build(tag, [row.tobytes() for row in code]))


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
