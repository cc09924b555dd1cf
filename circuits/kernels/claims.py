"""What an opening is about: committed trees, and linear claims on them with separable weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.field.ext5 import Element

Words: TypeAlias = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Tree:
    """One committed vector of 2^m canonical base elements, with its code word and its nodes.

    `code` has 2^(mu + rate) rows of 2^(m - mu) elements (`encode`), `nodes` twice as many digests
    as rows (`merkle`).
    """

    tag: str
    m: int
    values: Words
    code: Words
    nodes: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Claim:
    """coef * sum over a block of values[i] * prod_t axes[t][i_t], a term of an opening.

    The block begins at `offset` of tree number `tree`. Axis 0 has the lowest bits; axis t is
    padded to 2^logs[t] cells, and its weights `axes[t]`, of shape (length, 5), may be fewer: the
    cells beyond them have no weight. No axis at all: a single cell. One axis over all of the
    block: dense weights.
    """

    tree: int
    offset: int
    logs: tuple[int, ...]
    axes: tuple[Words, ...]
    coef: Element
