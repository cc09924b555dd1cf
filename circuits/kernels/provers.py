"""The three provers in C: LogUp-GKR, the batched product sumcheck, and the opening.

Each writes the messages of the protocol and carries the transcript `state` on in place. The twins
are in `proofml.zkml.sumcheck.twin`, with the same signatures.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.field.ext5 import DEGREE, Element
from proofml.circuits.kernels.claims import Claim, Tree
from proofml.circuits.kernels.library import (
    Words,
    address,
    checked,
    elements_from,
    elements_of,
    log2,
    native,
    state_of,
    tag_of,
    words,
)

_MAX_TREES = 4
_MAX_RANK = 8


def logup_prove(
    ids: NDArray[np.int32],
    c1: NDArray[np.int32],
    c2: NDArray[np.int32],
    num: NDArray[np.int32],
    alpha: Element,
    beta: Element,
    state: bytearray,
) -> tuple[bytes, list[Element]]:
    """The messages "logup root", "logup round" and "logup evals", and the point at the leaves."""
    n = log2(len(ids), name="ids")
    if not 1 <= n <= 27:
        raise ValueError(f"ids: expected 2 to 2^27 leaves, got 2^{n}")
    columns = [
        address(column, np.int32, 1 << n, name=name)
        for column, name in ((ids, "ids"), (c1, "c1"), (c2, "c2"), (num, "num"))
    ]
    scalars = elements_of([alpha, beta])
    out = np.empty(80 + 30 * n * (n - 1) + 80 * (n - 1), np.uint8)
    point = np.empty((n, DEGREE), np.uint32)
    length = checked(
        native().pml_logup_prove(
            n,
            *columns,
            scalars[0].ctypes.data,
            scalars[1].ctypes.data,
            state_of(state),
            out.ctypes.data,
            point.ctypes.data,
        )
    )
    return out[:length].tobytes(), elements_from(point)


def product_prove(
    tag: str,
    rounds: int,
    logs: Sequence[int],
    coef: Sequence[Element],
    u: Words,
    w: Words,
    state: bytearray,
) -> tuple[bytes, list[Element]]:
    """The round messages, c0 and c2 each, and the point; vectors lie one after the other."""
    if not 0 <= rounds <= 27 or len(logs) != len(coef):
        raise ValueError("expected at most 27 rounds, and one size and one coefficient each")
    if any(not 0 <= log <= rounds for log in logs):
        raise ValueError(f"logs: expected 0 to {rounds}, got {list(logs)}")
    total = sum(1 << log for log in logs)
    vectors = words(u, total, DEGREE, name="u"), words(w, total, DEGREE, name="w")
    factors = elements_of(coef)
    sizes = np.array(logs, np.uintc)
    out = np.empty(40 * rounds, np.uint8)
    point = np.empty((rounds, DEGREE), np.uint32)
    length = checked(
        native().pml_product_prove(
            tag_of(tag),
            rounds,
            len(logs),
            sizes.ctypes.data,
            factors.ctypes.data,
            *vectors,
            state_of(state),
            out.ctypes.data,
            point.ctypes.data,
        )
    )
    return out[:length].tobytes(), elements_from(point)


class _CTree(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("m", ctypes.c_uint),
        ("v", ctypes.c_void_p),
        ("code", ctypes.c_void_p),
        ("nodes", ctypes.c_void_p),
    )


class _CClaim(ctypes.Structure):
    _fields_ = (
        ("tree", ctypes.c_uint),
        ("offset", ctypes.c_uint64),
        ("rank", ctypes.c_uint),
        ("logs", ctypes.c_void_p),
        ("lens", ctypes.c_void_p),
        ("axes", ctypes.c_void_p),
        ("coef", ctypes.c_void_p),
    )


def _tree(tree: Tree, mu: int, rate: int) -> _CTree:
    if not mu <= tree.m <= 40:
        raise ValueError(f"tree {tree.tag}: 2^{tree.m} cells do not fit mu = {mu}")
    rows = 1 << (mu + rate)
    return _CTree(
        tag_of(tree.tag),
        tree.m,
        words(tree.values, 1 << tree.m, name="values"),
        words(tree.code, rows, 1 << (tree.m - mu), name="code"),
        address(tree.nodes, np.uint8, 2 * rows, 32, name="nodes"),
    )


def _claim(claim: Claim, trees: Sequence[Tree], keep: list[object]) -> _CClaim:
    """`keep` holds what the structure points to, until the call is over."""
    if not 0 <= claim.tree < len(trees) or len(claim.axes) != len(claim.logs):
        raise ValueError("a claim needs a tree, and one size for each axis")
    if len(claim.logs) > _MAX_RANK or any(not 0 <= log <= 40 for log in claim.logs):
        raise ValueError(f"a claim has too many or too long axes: {list(claim.logs)}")
    size = 1 << sum(claim.logs)
    if claim.offset < 0 or claim.offset + size > 1 << trees[claim.tree].m:
        raise ValueError(f"a claim lies outside of tree {trees[claim.tree].tag}")
    for axis, log in zip(claim.axes, claim.logs, strict=True):
        if len(axis) > 1 << log:
            raise ValueError(f"an axis of {len(axis)} weights does not fit 2^{log} cells")
    rank = len(claim.logs)
    logs = (ctypes.c_uint * rank)(*claim.logs)
    lens = (ctypes.c_uint * rank)(*(len(axis) for axis in claim.axes))
    axes = (ctypes.c_void_p * rank)(
        *(words(axis, len(axis), DEGREE, name="axis") for axis in claim.axes)
    )
    coef = elements_of([claim.coef])
    keep.extend((logs, lens, axes, coef))
    return _CClaim(
        claim.tree,
        claim.offset,
        rank,
        ctypes.addressof(logs),
        ctypes.addressof(lens),
        ctypes.addressof(axes),
        coef.ctypes.data,
    )


def open_prove(
    trees: Sequence[Tree],
    claims: Sequence[Claim],
    mu: int,
    rate: int,
    folds: Sequence[int],
    queries: int,
    grind_bits: int,
    state: bytearray,
) -> bytes:
    """Everything that is sent from the first "open round" to the last path."""
    if not 1 <= len(trees) <= _MAX_TREES or mu < 0 or rate < 0 or mu + rate > 27:
        raise ValueError("expected 1 to 4 trees and a code of length 2^27 at most")
    if any(k < 1 for k in folds) or sum(folds) > mu or queries < 1:
        raise ValueError(f"cannot fold 2^{mu} values by {list(folds)}, or no queries")
    keep: list[object] = []
    c_trees = (_CTree * len(trees))(*(_tree(tree, mu, rate) for tree in trees))
    c_claims = (_CClaim * len(claims))(*(_claim(claim, trees, keep) for claim in claims))
    fold = (ctypes.c_uint * len(folds))(*folds)
    sizes = (ctypes.c_uint * len(trees))(*(tree.m for tree in trees))
    bound = native().pml_open_size_bound(len(trees), sizes, mu, rate, len(folds), fold, queries)
    if bound == 0:
        raise ValueError("sizes out of bounds")
    out = np.empty(bound, np.uint8)
    length = checked(
        native().pml_open_prove(
            len(trees),
            c_trees,
            len(claims),
            c_claims,
            mu,
            rate,
            len(folds),
            fold,
            queries,
            grind_bits,
            state_of(state),
            out.ctypes.data,
            bound,
        )
    )
    return out[:length].tobytes()
