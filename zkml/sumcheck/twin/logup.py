"""The LogUp-GKR prover: section 5 of the protocol, from the leaves to the final point.

A lookup is a sum of fractions (Haboeck, ePrint 2022/1530); the sum is proven by the GKR protocol
over a binary tree of fractions (Papini and Haboeck, ePrint 2023/1284). Node i of layer k has the
children i and i + 2^k of layer k + 1, and
    p = p0 q1 + p1 q0,    q = q0 q1.
Not audited.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.field import ext5
from proofml.circuits.field.babybear import Array, modp
from proofml.circuits.field.ext5 import ONE, Element
from proofml.zkml.sumcheck.transcript import Transcript
from proofml.zkml.sumcheck.twin.rounds import Folded, Writer, bind, halves, inner

Ints = NDArray[np.int32]


def leaves(ids: Ints, c1: Ints, c2: Ints, num: Ints, alpha: Element, beta: Element) -> Folded:
    """Numerators and denominators: num / (alpha - id - beta c1 - beta^2 c2), or 0 / 1."""
    used = ids != 0
    fingerprint = ext5.lift(modp(ids))
    for column, power in ((c1, beta), (c2, ext5.mul(beta, beta))):
        term = ext5.vscale(modp(column), ext5.vector([power]))
        fingerprint = ext5.vadd(fingerprint, term)
    denominators = ext5.vsub(ext5.vector([alpha]), fingerprint)
    denominators[~used] = ONE
    return ext5.lift(modp(np.where(used, num, 0))), denominators


def _fold_layer(layer: Folded) -> Folded:
    p, q = layer
    half = len(p) // 2
    p0, p1, q0, q1 = p[:half], p[half:], q[:half], q[half:]
    return ext5.vadd(ext5.vmul(p0, q1), ext5.vmul(p1, q0)), ext5.vmul(q0, q1)


def _round(eq: Array, p0: Array, p1: Array, q0: Array, q1: Array, lam: Array) -> list[Element]:
    """c0, c2 and c3 of X -> sum over pairs of eq(X) (p0 q1 + p1 q0 + lambda q0 q1)(X)."""
    factors = [
        (halves(ext5.vadd(p0, ext5.vmul(lam, q0))), halves(q1)),
        (halves(p1), halves(q0)),
    ]
    b0, b1, b2 = (np.zeros((len(eq) // 2, 5), np.uint64) for _ in range(3))
    for (x0, x1), (y0, y1) in factors:
        b0 = ext5.vadd(b0, ext5.vmul(x0, y0))
        b1 = ext5.vadd(b1, ext5.vadd(ext5.vmul(x0, y1), ext5.vmul(x1, y0)))
        b2 = ext5.vadd(b2, ext5.vmul(x1, y1))
    e0, e1 = halves(eq)
    return [inner(e0, b0), ext5.add(inner(e0, b2), inner(e1, b1)), inner(e1, b2)]


def logup_prove(
    ids: Ints,
    c1: Ints,
    c2: Ints,
    num: Ints,
    alpha: Element,
    beta: Element,
    state: bytearray,
) -> tuple[bytes, list[Element]]:
    """The messages "logup root", "logup round" and "logup evals", and the point at the leaves.

    All four columns have 2^N entries, N >= 1; `state` is that of the transcript, changed in place.
    """
    count = len(ids)
    if count < 2 or count & (count - 1) or not count == len(c1) == len(c2) == len(num):
        raise ValueError("expected four columns of 2^N entries, N >= 1")
    writer = Writer(Transcript.over(state))
    layers = [leaves(ids, c1, c2, num, alpha, beta)]
    while len(layers[-1][0]) > 2:
        layers.append(_fold_layer(layers[-1]))
    p, q = layers.pop()
    writer.elements("logup root", [ext5.element(a) for a in (p[0], p[1], q[0], q[1])])
    z = [writer.transcript.challenge("logup line")]
    while layers:
        p, q = layers.pop()
        half = len(p) // 2
        lam = ext5.vector([writer.transcript.challenge("logup lambda")])
        vectors = [ext5.eq_table(z), p[:half], p[half:], q[:half], q[half:]]
        z = []
        while len(vectors[0]) > 1:
            eq, p0, p1, q0, q1 = vectors
            r = writer.round("logup round", _round(eq, p0, p1, q0, q1, lam))
            vectors = [bind(a, r) for a in vectors]
            z.append(r)
        writer.elements("logup evals", [ext5.element(a) for a in vectors[1:]])
        z.append(writer.transcript.challenge("logup line"))
    return writer.bytes(), z
