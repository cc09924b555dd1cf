"""Committing to a vector: code word and Merkle tree, by the C kernels or NumPy.

Prover and verifier alike need it: the verifier recomputes the root of the weights of a model.
"""

from __future__ import annotations

import numpy as np

from proofml.circuits import kernels
from proofml.circuits.field import babybear
from proofml.circuits.kernels.claims import Tree, Words
from proofml.zkml.sumcheck import merkle


def commit(tag: str, values: Words, mu: int, rate: int) -> Tree:
    """Code word and Merkle tree of 2^m canonical numbers, m >= mu."""
    m = (len(values) - 1).bit_length()
    if kernels.available():
        code = kernels.encode(values, m - mu, rate)
        return Tree(tag, m, values, code, kernels.merkle(tag, code))
    code = babybear.encode(values.astype(np.uint64), m - mu, rate).astype(np.uint32)
    return Tree(tag, m, values, code, merkle.build(tag, [row.tobytes() for row in code]))
