"""The opening of several trees at once: section 8 of the protocol.

One sumcheck proves all linear claims; it runs over the columns of each tree, over the choice of
the tree, and over what is left, which is folded and committed on the way as in BaseFold
(Zeilberger, Chen and Fisch, ePrint 2023/1705) over Reed-Solomon codes (FRI: Ben-Sasson et al.,
ICALP 2018).
Not audited.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from proofml.circuits.field import babybear, ext5
from proofml.circuits.field.babybear import TWO_ADICITY, Array
from proofml.circuits.field.ext5 import ONE, ZERO
from proofml.circuits.kernels.claims import Claim, Tree
from proofml.zkml.sumcheck import merkle
from proofml.zkml.sumcheck.transcript import Transcript, grind
from proofml.zkml.sumcheck.twin.rounds import Writer, bind, inner, product_round

MAX_TREES = 4


def claim_weights(claim: Claim) -> Array:
    """coef times the product of the axes on every cell of the block, zero beyond the lengths."""
    weights = ext5.vector([claim.coef])
    for log, axis in zip(claim.logs, claim.axes, strict=True):
        padded = np.zeros((1 << log, ext5.DEGREE), np.uint64)
        padded[: len(axis)] = axis
        weights = ext5.vmul(padded[:, None, :], weights[None, :, :]).reshape(-1, ext5.DEGREE)
    return weights


def _tree_weights(trees: Sequence[Tree], claims: Sequence[Claim]) -> list[Array]:
    totals = [np.zeros((1 << tree.m, ext5.DEGREE), np.uint64) for tree in trees]
    for claim in claims:
        weights = claim_weights(claim)
        place = slice(claim.offset, claim.offset + len(weights))
        totals[claim.tree][place] = ext5.vadd(totals[claim.tree][place], weights)
    return totals


def _join(writer: Writer, trees: Sequence[Tree], claims: Sequence[Claim], mu: int) -> list[Array]:
    """Rounds over the columns and the choice of the tree; one vector and its weights are left."""
    values = [ext5.lift(tree.values.astype(np.uint64)) for tree in trees]
    weights = _tree_weights(trees, claims)
    columns = [tree.m - mu for tree in trees]
    rounds = max(columns)
    for t in range(rounds):
        active = [t >= rounds - k for k in columns]
        c0, c2 = ZERO, ZERO
        for v, w, takes_part in zip(values, weights, active, strict=True):
            # A tree that sits out is constant, and its weight lies on 0: it adds s (1 - X).
            low, high = product_round(v, w) if takes_part else (inner(v, w), ZERO)
            c0, c2 = ext5.add(c0, low), ext5.add(c2, high)
        r = writer.round("open round", [c0, c2])
        rest = ext5.vector([ext5.sub(ONE, r)])
        for i, takes_part in enumerate(active):
            values[i] = bind(values[i], r) if takes_part else values[i]
            weights[i] = bind(weights[i], r) if takes_part else ext5.vmul(weights[i], rest)
    selectors = (len(trees) - 1).bit_length()
    absent = [np.zeros((1 << mu, ext5.DEGREE), np.uint64)] * ((1 << selectors) - len(trees))
    joined = [np.stack(a + absent, axis=1).reshape(-1, ext5.DEGREE) for a in (values, weights)]
    for _ in range(selectors):
        joined = _step(writer, "open select", joined)
    return joined


def _step(writer: Writer, tag: str, pair: list[Array]) -> list[Array]:
    r = writer.round(tag, product_round(pair[0], pair[1]))
    return [bind(a, r) for a in pair]


def _rows(code: Array) -> list[bytes]:
    words = code.reshape(len(code), -1).astype("<u4")
    return [row.tobytes() for row in words]


def _check(trees: Sequence[Tree], claims: Sequence[Claim], mu: int, rate: int) -> None:
    if not 1 <= len(trees) <= MAX_TREES:
        raise ValueError(f"expected 1 to {MAX_TREES} trees, got {len(trees)}")
    if mu < 0 or rate < 0 or mu + rate > TWO_ADICITY:
        raise ValueError(f"no code of length 2^{mu + rate}")
    for tree in trees:
        if tree.m < mu or len(tree.values) != 1 << tree.m or len(tree.code) != 1 << (mu + rate):
            raise ValueError(f"tree {tree.tag} does not fit 2^{tree.m} cells and mu = {mu}")
    for claim in claims:
        if not 0 <= claim.tree < len(trees):
            raise ValueError(f"no tree number {claim.tree}")
        size = 1 << sum(claim.logs)
        fits = all(len(axis) <= 1 << k for axis, k in zip(claim.axes, claim.logs, strict=True))
        inside = 0 <= claim.offset <= (1 << trees[claim.tree].m) - size
        if not fits or not inside or claim.offset % size:
            raise ValueError(f"a claim does not fit tree {trees[claim.tree].tag}")


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
    _check(trees, claims, mu, rate)
    if any(k < 1 for k in folds) or sum(folds) > mu or queries < 1:
        raise ValueError(f"cannot fold 2^{mu} values by {list(folds)}, or no queries")
    writer = Writer(Transcript.over(state))
    pair = _join(writer, trees, claims, mu)
    layers: list[tuple[list[bytes], merkle.Nodes]] = []
    for i, k in enumerate(folds):
        rows = _rows(babybear.encode(pair[0], k, rate))
        nodes = merkle.build(f"F{i}", rows)
        layers.append((rows, nodes))
        writer.send(f"fold {i} root", merkle.root(nodes))
        for _ in range(k):
            pair = _step(writer, "open round", pair)
    writer.send("final", pair[0].astype("<u4").tobytes())
    while len(pair[0]) > 1:
        pair = _step(writer, "open round", pair)
    nonce = grind(writer.transcript.seed("grind"), grind_bits)
    writer.send("nonce", struct.pack("<Q", nonce))

    indices = sorted(set(writer.transcript.indices("queries", queries, mu + rate)))
    for tree in trees:
        for i in indices:
            writer.silent(tree.code[i].astype("<u4").tobytes())
        writer.silent(merkle.open_multi(tree.nodes, indices))
    for rows, nodes in layers:
        indices = sorted({i % len(rows) for i in indices})
        for i in indices:
            writer.silent(rows[i])
        writer.silent(merkle.open_multi(nodes, indices))
    return writer.bytes()
